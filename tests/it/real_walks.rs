//! With every real CLI: a random walk over turns, commands and everything that a
//! person may do to the folders by hand. Each step is checked against a
//! reference model of what each session was told.
//!
//! `DENIZEN_TEST_SEED` repeats the walk that a failure names.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::clis::Cli;
use crate::support::root::full;
use crate::support::walk::Walk;

#[test]
fn claude_walks() {
    walks(Cli::Claude, "claude_walks", 7);
}

#[test]
fn codex_walks() {
    walks(Cli::Codex, "codex_walks", 4);
}

#[test]
fn opencode_walks() {
    walks(Cli::OpenCode, "opencode_walks", 6);
}

#[test]
fn gemini_walks() {
    walks(Cli::Gemini, "gemini_walks", 22);
}

/// In a check, twelve steps from a seed of which the first ones are various.
fn walks(cli: Cli, test: &str, seed: u64) {
    let asked = std::env::var("DENIZEN_TEST_SEED").ok();
    let asked = asked.map(|seed| seed.parse().expect("DENIZEN_TEST_SEED is a number"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let (seed, steps) = if full() { (asked.unwrap_or(now), 200) } else { (asked.unwrap_or(seed), 12) };
    Walk::run(cli, test, seed, steps);
}
