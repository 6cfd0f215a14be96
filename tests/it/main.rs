//! Tests of the whole program, from outside.

#![expect(clippy::disallowed_methods, reason = "tests start the program and read the environment themselves")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a test prints is for the person who runs it")]

mod generated_docs;
mod layering;
mod real_conversations;
mod real_logins;
mod real_memory;
mod support;
