//! With every real CLI: a copy of the whole root goes on where it was copied,
//! also while its source goes on, and again after the copy was moved; and one
//! that was rsynced away and back goes on at home.

use std::path::Path;

use crate::support::clis::{Cli, did_not_run};
use crate::support::root::run;
use crate::support::talk::Talk;

#[test]
fn claude_goes_on_in_a_copy() {
    goes_on_in_a_copy(Cli::Claude, "claude_goes_on_in_a_copy");
}

#[test]
fn codex_goes_on_in_a_copy() {
    goes_on_in_a_copy(Cli::Codex, "codex_goes_on_in_a_copy");
}

#[test]
fn opencode_goes_on_in_a_copy() {
    goes_on_in_a_copy(Cli::OpenCode, "opencode_goes_on_in_a_copy");
}

#[test]
fn gemini_goes_on_in_a_copy() {
    goes_on_in_a_copy(Cli::Gemini, "gemini_goes_on_in_a_copy");
}

fn goes_on_in_a_copy(cli: Cli, test: &str) {
    let words = &["alder-one", "alder-copied", "alder-stayed", "alder-moved"];
    let Some(mut talk) = Talk::new(cli, test, words) else { return };
    let (source, copied, moved) = (talk.root.path(), talk.root.dir().join("copied"), talk.root.dir().join("moved"));
    talk.say("alder", "alder-one", &[]);

    let mut copy = talk.root.command("cp");
    copy.arg("-a").args([&source, &copied]);
    assert_eq!(run(copy, "").code, Some(0));
    talk.go_to(&copied);
    talk.say("alder", "alder-copied", &["alder-one"]);

    talk.go_to(&source);
    talk.say("alder", "alder-stayed", &["alder-one"]);
    let found = talk.root.files_with(&source, "alder-copied");
    assert!(found.is_empty(), "{found:?}");

    fs_err::rename(&copied, &moved).expect("moved");
    talk.go_to(&moved);
    talk.say("alder", "alder-moved", &["alder-one", "alder-copied"]);
    let found = talk.root.files_with(&moved.join("sessions"), "alder-stayed");
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn claude_goes_there_and_back() {
    goes_there_and_back(Cli::Claude, "claude_goes_there_and_back");
}

#[test]
fn codex_goes_there_and_back() {
    goes_there_and_back(Cli::Codex, "codex_goes_there_and_back");
}

#[test]
fn opencode_goes_there_and_back() {
    goes_there_and_back(Cli::OpenCode, "opencode_goes_there_and_back");
}

#[test]
fn gemini_goes_there_and_back() {
    goes_there_and_back(Cli::Gemini, "gemini_goes_there_and_back");
}

fn goes_there_and_back(cli: Cli, test: &str) {
    let words = &["alder-one", "alder-away", "alder-home"];
    let Some(mut talk) = Talk::new(cli, test, words) else { return };
    if std::process::Command::new("rsync").arg("--version").output().is_err() {
        did_not_run(test, "rsync is missing", "install rsync");
        return;
    }
    let (home, away) = (talk.root.path(), talk.root.dir().join("away"));
    talk.say("alder", "alder-one", &[]);
    sync(&talk, &home, &away);
    talk.go_to(&away);
    talk.say("alder", "alder-away", &["alder-one"]);
    // Back over the folder whose provider home was made before it left.
    sync(&talk, &away, &home);
    talk.go_to(&home);
    talk.say("alder", "alder-home", &["alder-one", "alder-away"]);
}

fn sync(talk: &Talk, from: &Path, to: &Path) {
    let mut rsync = talk.root.command("rsync");
    rsync.args(["-a", "--delete", "--exclude", "state"]).arg(format!("{}/", from.display())).arg(to);
    assert_eq!(run(rsync, "").code, Some(0));
}
