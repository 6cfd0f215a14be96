//! Plain `rsync -a` while a session of a real CLI takes one turn after the
//! other: each copy goes on with every turn that was acknowledged before the
//! copy was begun.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::clis::{Cli, did_not_run};
use crate::support::root::run;
use crate::support::talk::{Talk, all};

/// How many copies are made and gone on with.
fn copies() -> usize {
    if is_full() { 100 } else { 3 }
}

#[test]
fn opencode_goes_on_in_every_copy() {
    goes_on_in_every_copy(Cli::OpenCode, "opencode_goes_on_in_every_copy");
}

/// A slow copy reads the database before a turn and its log after it.
#[test]
fn opencode_goes_on_in_a_copy_of_two_moments() {
    let words = &["alder-one", "alder-two", "alder-three", "alder-copied"];
    let Some(mut talk) = Talk::new(Cli::OpenCode, "opencode_goes_on_in_a_copy_of_two_moments", words) else { return };
    talk.say("alder", "alder-one", &[]);
    talk.say("alder", "alder-two", &["alder-one"]);
    let (source, copy) = (talk.root.path(), talk.root.dir().join("copy"));
    copy_root(&talk, &copy);
    talk.say("alder", "alder-three", &["alder-one", "alder-two"]);
    for name in ["opencode.db-shm", "opencode.db-wal"] {
        let file = Path::new("sessions/alder/provider/opencode").join(name);
        fs_err::copy(source.join(&file), copy.join(&file)).expect("copied");
    }
    talk.go_to(&copy);
    talk.say("alder", "alder-copied", &["alder-one", "alder-two"]);
}

#[test]
fn claude_goes_on_in_every_copy() {
    in_full(goes_on_in_every_copy, Cli::Claude, "claude_goes_on_in_every_copy");
}

#[test]
fn codex_goes_on_in_every_copy() {
    in_full(goes_on_in_every_copy, Cli::Codex, "codex_goes_on_in_every_copy");
}

#[test]
fn gemini_goes_on_in_every_copy() {
    in_full(goes_on_in_every_copy, Cli::Gemini, "gemini_goes_on_in_every_copy");
}

/// Runs in the long version only: the files of these CLIs just grow.
fn in_full(tried: fn(Cli, &str), cli: Cli, test: &str) {
    if is_full() {
        tried(cli, test);
    }
}

fn is_full() -> bool {
    std::env::var_os("DENIZEN_TEST_FULL").is_some()
}

fn goes_on_in_every_copy(cli: Cli, test: &str) {
    if std::process::Command::new("rsync").arg("--version").output().is_err() {
        did_not_run(&format!("real_rsync::{test}"), "rsync is missing", "install rsync");
        return;
    }
    // No word is a part of another.
    let words: Vec<&str> = (0..1000).map(|number| &*format!("alder-{number:03}").leak()).collect();
    let words: &[&str] = words.leak();
    let Some(mut talk) = Talk::new(cli, test, words) else { return };
    let (taken, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let take = |talk: &Talk| {
        let number = taken.load(Ordering::SeqCst);
        let word = words[number];
        let reply = talk.ok(&["send", "alder", &format!("Listen: {word}.")]);
        assert_eq!(reply.trim(), format!("heard-{word}"));
        taken.store(number + 1, Ordering::SeqCst);
    };
    take(&talk);
    let mut copied: Vec<(PathBuf, usize)> = Vec::new();
    thread::scope(|scope| {
        let (talk, over, take) = (&talk, &over, &take);
        scope.spawn(move || {
            while !over.load(Ordering::SeqCst) {
                take(talk);
            }
        });
        let _over = Over(over);
        // The copies begin anywhere in a turn: they follow one another at once,
        // and some of them are kept.
        for number in 0.. {
            let copy = talk.root.dir().join(format!("copy-{number}"));
            let before = taken.load(Ordering::SeqCst);
            copy_root(talk, &copy);
            let enough = before >= 3 || copies() > 3;
            if number % 3 == 0 && enough {
                copied.push((copy, before));
            } else {
                fs_err::remove_dir_all(&copy).expect("removed");
            }
            if copied.len() == copies() {
                break;
            }
        }
    });
    let probe = words.last().expect("a word");
    for (copy, before) in &copied {
        talk.go_to(copy);
        let text = format!("Listen: {probe}.");
        let (printed, requests) = talk.model.during(|| talk.ok(&["send", "alder", &text]));
        assert_eq!(printed.trim(), format!("heard-{probe}"), "{}", copy.display());
        let sent = all(&requests);
        let lost: Vec<_> = words[..*before].iter().filter(|word| !sent.contains(**word)).collect();
        assert!(lost.is_empty(), "{} of {before} turns are not known in {}: {lost:?}", lost.len(), copy.display());
    }
    println!("{test}: {} copies over {} turns", copied.len(), taken.load(Ordering::SeqCst));
}

/// Says that it is over when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn copy_root(talk: &Talk, to: &Path) {
    let mut rsync = talk.root.command("rsync");
    rsync.args(["-a", "--exclude=/state", "--exclude=/logs", "--exclude=/names"]);
    rsync.arg(format!("{}/", talk.root.path().display())).arg(to);
    let output = run(rsync, "");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

#[test]
fn claude_goes_on_behind_a_line_that_was_cut_short() {
    in_full(goes_on_behind_a_cut_line, Cli::Claude, "claude_goes_on_behind_a_line_that_was_cut_short");
}

#[test]
fn codex_goes_on_behind_a_line_that_was_cut_short() {
    in_full(goes_on_behind_a_cut_line, Cli::Codex, "codex_goes_on_behind_a_line_that_was_cut_short");
}

#[test]
fn gemini_goes_on_behind_a_line_that_was_cut_short() {
    in_full(goes_on_behind_a_cut_line, Cli::Gemini, "gemini_goes_on_behind_a_line_that_was_cut_short");
}

/// A copy that was made while the CLI wrote a long line holds its start.
fn goes_on_behind_a_cut_line(cli: Cli, test: &str) {
    let words = &["alder-one", "alder-two", "alder-three", "alder-four"];
    let Some(mut talk) = Talk::new(cli, test, words) else { return };
    talk.say("alder", "alder-one", &[]);
    talk.say("alder", "alder-two", &["alder-one"]);
    let copy = talk.root.dir().join("copy");
    copy_root(&talk, &copy);
    let files: Vec<PathBuf> = walkdir::WalkDir::new(copy.join("sessions/alder/provider"))
        .into_iter()
        .map(|entry| entry.expect("an entry").into_path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    assert!(!files.is_empty(), "{} keeps no lines", cli.name());
    for file in &files {
        let text = fs_err::read_to_string(file).expect("a conversation");
        let last = text.trim_end().rsplit('\n').next().expect("a line");
        let start: String = last.chars().take(last.len() / 2).collect();
        crate::support::root::write(file, &format!("{text}{start}"));
    }
    talk.go_to(&copy);
    talk.say("alder", "alder-three", &["alder-one", "alder-two"]);
    talk.say("alder", "alder-four", &["alder-one", "alder-two", "alder-three"]);
}
