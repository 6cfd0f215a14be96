//! Denizen gives every conversation with an agent CLI a home of its own.
//!
//! This file is the code map: the modules stand in layers, and a module names
//! only modules above it in this list (`tests/it/layering.rs` checks that).

#[cfg(not(target_os = "linux"))]
compile_error!("Denizen runs on Linux only so far: its launcher needs pidfd, subreapers and /proc");

/// An error and its causes, on one line.
pub mod causes;

/// Sizes as people write them.
pub mod sizes;

/// Characters that nobody sees.
pub mod unseen;

/// Session keys, and the folder names that belong to them.
pub mod key;

/// Files: replaced whole or not at all, read defensively, locked.
pub mod files;

/// What of a directory that is granted to sessions the person's own programs run.
pub mod repository;

/// What a child may see and do, and how the launcher applies it.
pub mod sandbox;

/// The configuration, and where each value came from.
pub mod config;

/// Sessions: the folder, what is in it, and who may change it.
pub mod session;

/// Providers: one file per agent CLI, each pure.
pub mod provider;

/// Logins: a copy for each child, one renewal at a time, and the way back.
pub mod login;

/// The only place that starts children, and the launcher.
pub mod process;

/// Performing a provider's steps, so that its conversation is found where the session is.
pub mod provider_home;

/// Sessions in a backup or a file: verified, packed, unpacked, copied.
pub mod backup;

/// Moving in from earlier systems: found, planned, applied; what they left is only read.
pub mod migrate;

/// What comes in from a channel, and where the reply goes.
pub mod message;

/// One turn: a prompt in, a reply out, the record saved.
pub mod turn;

/// The operations on sessions, once, for every way of asking for them.
pub mod ops;

/// The proof: an adversary that tries to get out of a session, and the table of its attempts.
pub mod prove;

/// Chat networks: one file or folder per network, wire format only.
pub mod channel;

/// The daemon: one loop, a worker for each active session, delivery, recovery.
pub mod daemon;

/// Denizen as a service of systemd: installed, removed, looked at.
pub mod service;

/// Arguments, environment, words, exit codes; one file per command.
pub mod cli;
