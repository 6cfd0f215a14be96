//! With every real CLI: a message that names files of another session, in the
//! ways in which the CLIs take files into a message, brings nothing of them along.

use crate::support::clis::Cli;
use crate::support::talk::{Talk, all, assert_has, assert_lacks};

#[test]
fn claude_brings_no_mentioned_file_of_another_session() {
    brings_no_mentioned_file(Cli::Claude, "claude_brings_no_mentioned_file_of_another_session");
}

#[test]
fn codex_brings_no_mentioned_file_of_another_session() {
    brings_no_mentioned_file(Cli::Codex, "codex_brings_no_mentioned_file_of_another_session");
}

#[test]
fn opencode_brings_no_mentioned_file_of_another_session() {
    brings_no_mentioned_file(Cli::OpenCode, "opencode_brings_no_mentioned_file_of_another_session");
}

#[test]
fn gemini_brings_no_mentioned_file_of_another_session() {
    brings_no_mentioned_file(Cli::Gemini, "gemini_brings_no_mentioned_file_of_another_session");
}

fn brings_no_mentioned_file(cli: Cli, test: &str) {
    let Some(mut talk) = Talk::new(cli, test, &["birch-one", "alder-one", "alder-two"]) else { return };
    talk.say("birch", "birch-one", &[]);
    let memory = talk.session("birch").join("memory/MEMORY.md");
    fs_err::write(&memory, "the heron is shy\n").expect("written");
    talk.say("alder", "alder-one", &[]);
    let text = format!(
        "Listen: alder-two. @../birch/memory/MEMORY.md @{memory} @birch/memory/MEMORY.md {memory} ![x](file://{memory})",
        memory = memory.display()
    );
    for walls in ["full", "kernel"] {
        talk.root.set_env("DENIZEN_WALLS", walls);
        let (_, requests) = talk.model.during(|| talk.ok(&["send", "alder", "--new", &text]));
        let sent = all(&requests);
        assert_has(&sent, "alder-two");
        assert_lacks(&sent, "heron");
    }
}
