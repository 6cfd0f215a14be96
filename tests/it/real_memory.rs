//! With every real CLI: what a session's agent writes into its memory is known
//! to that session's next conversation, and to no other session.

use crate::support::clis::{Cli, Clis, Login};
use crate::support::model::{Model, reply, tool_then_reply};
use crate::support::root::Root;
use crate::support::talk::{all, assert_has, assert_lacks};

#[test]
fn claude_remembers_for_one_session_only() {
    remembers_for_one_session_only(Cli::Claude, "claude_remembers_for_one_session_only");
}

#[test]
fn codex_remembers_for_one_session_only() {
    remembers_for_one_session_only(Cli::Codex, "codex_remembers_for_one_session_only");
}

#[test]
fn opencode_remembers_for_one_session_only() {
    remembers_for_one_session_only(Cli::OpenCode, "opencode_remembers_for_one_session_only");
}

#[test]
fn gemini_remembers_for_one_session_only() {
    remembers_for_one_session_only(Cli::Gemini, "gemini_remembers_for_one_session_only");
}

fn remembers_for_one_session_only(cli: Cli, test: &str) {
    let Some(clis) = Clis::find(test) else { return };
    let mut root = Root::new(test);
    let memory = root.session("alder").join("memory/MEMORY.md");
    let write = cli.write_call(&memory, "The heron has landed.");
    let mut fixtures = tool_then_reply("keep-this", &write, "kept").to_vec();
    fixtures.extend(["alder-after", "birch-before", "birch-after"].map(|word| reply(word, "heard")));
    let model = Model::start(&root, &clis, fixtures);
    cli.set_up(&mut root, &clis, &model, Login::Environment);
    let say = |key: &str, text: &str| {
        let (_, requests) = model.during(|| root.ok(&["send", key, text]));
        all(&requests)
    };

    say("birch", "birch-before");
    say("alder", "keep-this");
    assert_eq!(fs_err::read_to_string(&memory).expect("the memory"), "The heron has landed.");
    root.ok(&["new", "alder"]);
    root.ok(&["new", "birch"]);

    let alder = say("alder", "alder-after");
    assert_has(&alder, "The heron has landed.");
    assert_lacks(&alder, "keep-this");
    let birch = say("birch", "birch-after");
    assert_lacks(&birch, "heron");

    // Where its memory is, each is told of its own only.
    for (key, other, sent) in [("alder", "birch", &alder), ("birch", "alder", &birch)] {
        if cli == Cli::Claude {
            assert_has(sent, &root.session(key).join("memory").display().to_string());
        }
        assert_lacks(sent, &format!("sessions/{other}"));
    }
    let found = root.files_with(&root.session("birch"), "heron");
    assert!(found.is_empty(), "{found:?}");
}
