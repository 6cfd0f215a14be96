//! Tests of the whole program, from outside.

#![expect(clippy::disallowed_methods, reason = "tests start the program and read the environment themselves")]

mod real_conversations;
mod real_logins;
mod real_memory;
mod support;
