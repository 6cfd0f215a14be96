//! Tests of the whole program, from outside.

#![expect(clippy::disallowed_methods, reason = "tests start the program and read the environment themselves")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a test prints is for the person who runs it")]

mod adoption;
mod arrival;
mod attach;
mod bad_disks;
mod bad_files;
mod bad_input;
mod bad_providers;
mod crash_elsewhere;
mod crash_errors;
mod crash_kill;
mod cut_short;
mod daemon_turns;
mod discord;
mod endings;
mod generated_docs;
mod hand_edits;
mod hostile_agent;
mod hostile_archives;
mod hostile_folder;
mod hostile_keys;
mod hostile_sessions;
mod init;
mod keep;
mod layering;
mod migrate_bad;
mod migrate_crash;
mod migrate_formats;
mod operations;
mod permissions;
mod powercut;
mod readme;
mod real_conversations;
mod real_logins;
mod real_memory;
mod real_migrations;
mod real_moves;
mod real_permissions;
mod real_plants;
mod real_retention;
mod real_rsync;
mod real_walks;
mod real_walls;
mod rsync_loop;
mod secrets;
mod service;
mod support;
mod tidy;
mod torn_lines;
mod two_keys;
mod usage;
mod verify;
mod walls;
