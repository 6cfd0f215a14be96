//! With every real CLI: the folder is the session. A conversation goes on, by
//! the provider's own means, wherever its folder went: under another key, in
//! another root, with another HOME, as another user, in a copy, and back again
//! from where it was rsynced to.

use std::path::Path;
use std::process::Command;

use crate::support::clis::{Cli, did_not_run};
use crate::support::root::{Root, run};
use crate::support::talk::Talk;
use crate::support::tree::Tree;

#[test]
fn claude_goes_on_where_its_folder_goes() {
    goes_on_where_its_folder_goes(Cli::Claude, "claude_goes_on_where_its_folder_goes");
}

#[test]
fn codex_goes_on_where_its_folder_goes() {
    goes_on_where_its_folder_goes(Cli::Codex, "codex_goes_on_where_its_folder_goes");
}

#[test]
fn opencode_goes_on_where_its_folder_goes() {
    goes_on_where_its_folder_goes(Cli::OpenCode, "opencode_goes_on_where_its_folder_goes");
}

#[test]
fn gemini_goes_on_where_its_folder_goes() {
    goes_on_where_its_folder_goes(Cli::Gemini, "gemini_goes_on_where_its_folder_goes");
}

/// The user `nobody`, if there is one.
const OTHER_USER: u32 = 65_534;

/// What is said before the first move.
const FIRST: [&str; 4] = ["alder-one", "alder-two", "alder-three", "alder-four"];

/// What is said after each move.
const MOVED: [&str; 4] = ["moved-key", "moved-root", "dropped-in", "other-user"];

fn goes_on_where_its_folder_goes(cli: Cli, test: &str) {
    let words = [&FIRST[..], &MOVED].concat();
    let Some(mut talk) = Talk::new(cli, test, &words) else { return };
    for (count, word) in FIRST.iter().enumerate() {
        talk.say("alder", word, &words[..count]);
    }
    let first = talk.conversation("alder");
    let says = |talk: &Talk, key: &str, turn: usize| {
        talk.say(key, words[turn - 1], &words[..turn - 1]);
        assert_eq!(talk.conversation(key), first);
    };

    // Another key, in the same root.
    fs_err::rename(talk.session("alder"), talk.session("birch")).expect("moved");
    says(&talk, "birch", 5);

    // The whole root, with everything that was made for its old place.
    let moved = talk.root.dir().join("moved");
    fs_err::rename(talk.at(), &moved).expect("moved");
    talk.go_to(&moved);
    says(&talk, "birch", 6);

    // The folder alone, dropped into a root that knows nothing of it.
    let other = talk.root.dir().join("other");
    fs_err::create_dir_all(other.join("sessions")).expect("another root");
    fs_err::rename(moved.join("denizen.toml"), other.join("denizen.toml")).expect("its configuration");
    fs_err::rename(talk.session("birch"), other.join("sessions/cedar")).expect("moved");
    fs_err::remove_dir_all(&moved).expect("removed");
    talk.go_to(&other);
    says(&talk, "cedar", 7);

    // Another HOME with the same login in it, and another user.
    talk.root.move_home("elsewhere");
    become_another_user(&mut talk.root, &format!("{test}, as another user"));
    says(&talk, "cedar", 8);
}

/// Gives everything to another user, where that can be.
fn become_another_user(root: &mut Root, test: &str) {
    if !rustix::process::geteuid().is_root() {
        did_not_run(test, "only root can give files to another user", "run it as root");
        return;
    }
    let mut denizen = root.denizen();
    std::os::unix::process::CommandExt::uid(denizen.arg("--version"), OTHER_USER);
    if !denizen.current_dir("/").output().is_ok_and(|output| output.status.success()) {
        did_not_run(test, "the user 65534 cannot run what was built", "put `target/` where every user can read it");
        return;
    }
    root.give_to(OTHER_USER);
}

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
    let words = &["alder-one", "alder-two", "birch-one", "alder-away", "alder-home"];
    let Some(mut talk) = Talk::new(cli, test, words) else { return };
    let home = talk.root.path();
    talk.say("alder", "alder-one", &[]);

    // A copy of the folder beside it.
    let mut copy = talk.root.command("cp");
    copy.arg("-a").args([talk.session("alder"), talk.session("birch")]);
    assert_eq!(run(copy, "").code, Some(0));
    let source = || Tree::of(&[home.join("sessions/alder"), home.join("state/homes/alder")]);
    let before = source();
    talk.say("birch", "birch-one", &["alder-one"]);
    before.assert_same(&source(), "a turn in a copy of the folder");
    talk.say("alder", "alder-two", &["alder-one"]);
    let found = talk.root.files_with(&talk.session("birch"), "alder-two");
    assert!(found.is_empty(), "{found:?}");

    // A copy of the root, and back over the folder whose provider home was made
    // before it left.
    if Command::new("rsync").arg("--version").output().is_err() {
        did_not_run(&format!("{test}, there and back"), "rsync is missing", "install rsync");
        return;
    }
    let away = talk.root.dir().join("away");
    sync(&talk, &home, &away);
    talk.go_to(&away);
    let before = Tree::of_root(&home);
    talk.say("alder", "alder-away", &["alder-one", "alder-two"]);
    before.assert_same(&Tree::of_root(&home), "a turn in a copy of the root");
    sync(&talk, &away, &home);
    fs_err::remove_dir_all(&away).expect("removed");
    talk.go_to(&home);
    talk.say("alder", "alder-home", &["alder-one", "alder-two", "alder-away"]);
}

fn sync(talk: &Talk, from: &Path, to: &Path) {
    let mut rsync = talk.root.command("rsync");
    rsync.args(["-a", "--delete", "--exclude", "state"]).arg(format!("{}/", from.display())).arg(to);
    assert_eq!(run(rsync, "").code, Some(0));
}

/// Codex keeps an index of its conversations in its home, which outlives what is
/// moved behind its back.
#[test]
fn codex_finds_a_conversation_that_was_moved_in_its_folder() {
    let words = &["alder-one", "alder-two"];
    let test = "codex_finds_a_conversation_that_was_moved_in_its_folder";
    let Some(talk) = Talk::new(Cli::Codex, test, words) else { return };
    talk.say("alder", "alder-one", &[]);
    let conversations = talk.session("alder").join("provider/codex");
    let year = fs_err::read_dir(&conversations).expect("years").next().expect("a year").expect("an entry").path();
    fs_err::rename(&year, conversations.join("1999")).expect("moved");
    talk.say("alder", "alder-two", &["alder-one"]);
}
