//! With every real CLI: a conversation that nobody used for months is still
//! there when somebody resumes it. The CLIs delete what is old by themselves:
//! Claude Code some seconds after its start, Gemini CLI at its start, and
//! OpenCode the whole outputs of tools a minute after its start.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::{Timestamp, ToSpan};

use crate::support::clis::Cli;
use crate::support::root::{full, run};
use crate::support::talk::Talk;

#[test]
fn claude_keeps_what_is_old() {
    keeps_what_is_old(Cli::Claude, "claude_keeps_what_is_old");
}

#[test]
fn codex_keeps_what_is_old() {
    keeps_what_is_old(Cli::Codex, "codex_keeps_what_is_old");
}

#[test]
fn opencode_keeps_what_is_old() {
    keeps_what_is_old(Cli::OpenCode, "opencode_keeps_what_is_old");
}

#[test]
fn gemini_keeps_what_is_old() {
    keeps_what_is_old(Cli::Gemini, "gemini_keeps_what_is_old");
}

/// How old the conversation becomes: all CLIs that delete do so after 30 days.
const DAYS: i64 = 70;

/// The whole output of a tool, named as OpenCode does.
const TOOL_OUTPUT: &str = "tool-output/tool_01a1ff3b53c2";

fn keeps_what_is_old(cli: Cli, test: &str) {
    let words = &["alder-old", "alder-slow", "alder-back"];
    let Some(talk) = Talk::new(cli, test, words) else { return };
    talk.say("alder", "alder-old", &[]);
    let old = talk.conversation("alder");
    talk.ok(&["new", "alder"]);
    let files = talk.session("alder").join("provider").join(cli.name());
    age(&talk, cli, &files);

    // Long enough for its clean-up.
    let long = match cli {
        Cli::Claude => 8,
        Cli::OpenCode if full() => 70,
        _ if full() => 15,
        _ => 0,
    };
    talk.model.think("alder-slow", Duration::from_secs(long));
    let before = names(&files);
    talk.say("alder", "alder-slow", &[]);
    let gone: Vec<_> = before.iter().filter(|file| !file.exists()).collect();
    assert!(gone.is_empty(), "deleted: {gone:?}");
    if cli == Cli::OpenCode {
        // Without the long turn: what it deletes by is the time of change.
        let changed = files.join(TOOL_OUTPUT).metadata().and_then(|metadata| metadata.modified()).expect("a time");
        assert!(changed.elapsed().is_ok_and(|age| age < Duration::from_secs(7 * 24 * 60 * 60)), "{changed:?}");
    }
    talk.ok(&["resume", "alder", &old]);
    talk.say("alder", "alder-back", &["alder-old"]);
    assert_eq!(talk.conversation("alder"), old);
}

/// Makes everything of the conversations look as if it had been written long
/// ago: the times of the files, and the dates in them and in their names.
fn age(talk: &Talk, cli: Cli, files: &Path) {
    if cli == Cli::OpenCode {
        fs_err::write(files.join(TOOL_OUTPUT), "a long output\n").expect("written");
        let database = files.join("opencode.db");
        let apart = talk.root.dir().join("apart");
        let back = format!("- {DAYS} * 86400000");
        let mut command = talk.root.command("opencode");
        command.env("OPENCODE_DB", &database).env("OPENCODE_DISABLE_MODELS_FETCH", "1");
        for directory in ["XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
            command.env(directory, apart.join(directory));
        }
        command.arg("db");
        command.arg(format!("update session set time_created=time_created{back}, time_updated=time_updated{back}"));
        let output = run(command, "");
        assert_eq!(output.code, Some(0), "{output:?}");
    } else {
        // The day may have changed meanwhile.
        for day in [-1, 0, 1] {
            let date = |days: i64| (Timestamp::now() + (24 * days).hours()).strftime("%Y-%m-%d").to_string();
            replace_date(files, &date(day), &date(day - DAYS));
        }
    }
    // What was made for these files then would say where they stood.
    fs_err::remove_dir_all(talk.at().join("state/homes")).expect("removed");
    let then = SystemTime::now() - Duration::from_secs(DAYS.unsigned_abs() * 24 * 60 * 60);
    for file in names(files) {
        fs_err::File::options().write(true).open(&file).expect("a file").set_modified(then).expect("aged");
    }
}

/// Replaces a date in the files below a directory, and in their paths.
fn replace_date(files: &Path, from: &str, to: &str) {
    for file in names(files) {
        let text = fs_err::read_to_string(&file).expect("a file of text");
        fs_err::write(&file, text.replace(from, to)).expect("written");
        let path = file.strip_prefix(files).expect("a path below").to_str().expect("a path of text");
        let parts = |date: &str| date.replace('-', "/");
        let aged = files.join(path.replace(from, to).replace(&parts(from), &parts(to)));
        fs_err::create_dir_all(aged.parent().expect("a parent")).expect("its directory");
        fs_err::rename(&file, &aged).expect("renamed");
    }
}

/// All files below a directory.
fn names(files: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(files).into_iter().map(|entry| entry.expect("an entry"));
    entries.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}
