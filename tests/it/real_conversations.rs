//! With every real CLI: two sessions that talk in turns never hold a word of
//! each other, and each holds all of its own, through new, resume and fork.

use crate::support::clis::Cli;
use crate::support::talk::{Talk, assert_lacks};

#[test]
fn claude_keeps_conversations_apart_and_whole() {
    keeps_conversations_apart_and_whole(Cli::Claude, "claude_keeps_conversations_apart_and_whole");
}

#[test]
fn codex_keeps_conversations_apart_and_whole() {
    keeps_conversations_apart_and_whole(Cli::Codex, "codex_keeps_conversations_apart_and_whole");
}

#[test]
fn opencode_keeps_conversations_apart_and_whole() {
    keeps_conversations_apart_and_whole(Cli::OpenCode, "opencode_keeps_conversations_apart_and_whole");
}

#[test]
fn gemini_keeps_conversations_apart_and_whole() {
    keeps_conversations_apart_and_whole(Cli::Gemini, "gemini_keeps_conversations_apart_and_whole");
}

/// Every word that is said.
const WORDS: &[&str] = &[
    "alder-one",
    "alder-two",
    "alder-three",
    "alder-four",
    "alder-five",
    "alder-six",
    "birch-one",
    "birch-two",
    "cedar-one",
    "cedar-two",
];

fn keeps_conversations_apart_and_whole(cli: Cli, test: &str) {
    let Some(talk) = Talk::new(cli, test, WORDS) else { return };
    let say = |key: &str, word: &str, earlier: &[&str]| {
        let sent = talk.say(key, word, earlier);
        // Nor where another session is. A fork's past was in its source's folder.
        for other in ["alder", "birch", "cedar"].into_iter().filter(|other| *other != key && key != "cedar") {
            assert_lacks(&sent, &format!("sessions/{other}"));
        }
    };

    // Two sessions in turns, a fresh process for each.
    say("alder", "alder-one", &[]);
    say("birch", "birch-one", &[]);
    say("alder", "alder-two", &["alder-one"]);
    say("birch", "birch-two", &["birch-one"]);
    say("alder", "alder-three", &["alder-one", "alder-two"]);

    // A new conversation knows nothing; the old one comes back whole.
    let first = talk.conversation("alder");
    talk.ok(&["new", "alder"]);
    say("alder", "alder-four", &[]);
    assert_ne!(talk.conversation("alder"), first);
    talk.ok(&["resume", "alder", &first]);
    say("alder", "alder-five", &["alder-one", "alder-two", "alder-three"]);
    assert_eq!(talk.conversation("alder"), first);

    // A fork shares the past, and neither knows the other's future.
    let past = ["alder-one", "alder-two", "alder-three", "alder-five"];
    talk.ok(&["fork", "alder", "cedar"]);
    say("cedar", "cedar-one", &past);
    say("alder", "alder-six", &past);
    say("cedar", "cedar-two", &[&past[..], &["cedar-one"]].concat());
}
