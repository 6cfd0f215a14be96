//! What a command that was cut short must leave behind: the cases, and the
//! oracle that looks at each of them.
//!
//! The files are read here with nothing of the program's own code; then the
//! program itself has to go on with them.

#![cfg(target_arch = "x86_64")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::clis::did_not_run;
use super::killat::{self, Calls, Scope, Strike, Traced};
pub(crate) use super::many::all;
pub(crate) use super::root::full;
use super::root::{self, Root, write};
use super::tree::copy_tree;

/// A command that is cut short somewhere.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Its arguments; empty for the writer that is unsafe on purpose.
    pub(crate) args: &'static [&'static str],
    pub(crate) check: fn(&Point<'_>) -> Checked,
}

/// Nothing, or what is wrong.
pub(crate) type Checked = Result<(), String>;

/// Every case.
pub(crate) const CASES: &[Case] = &[
    Case { name: "create", args: &["send", "fresh", "delta one", "--provider", "notes"], check: check_create },
    Case { name: "update", args: &["send", "s", "alpha three"], check: check_update },
    Case { name: "retry", args: &["retry", "left"], check: check_retry },
    Case { name: "new", args: &["new", "s"], check: check_new },
    Case { name: "resume", args: &["resume", "s", "1"], check: check_resume },
    Case { name: "fork", args: &["fork", "s", "copy"], check: check_fork },
    Case { name: "rm", args: &["rm", "s"], check: check_remove },
    Case { name: "trash restore", args: &["trash", "restore", "gone"], check: check_restore },
    Case { name: "rename", args: &["rename", "s", "Title"], check: check_rename },
    Case { name: "set", args: &["set", "s", "model", "opus"], check: check_set },
    Case { name: "archive", args: &["archive", "s"], check: check_archive },
];

/// Changes the title as `rename` does, in place: the same oracle has to find it out.
pub(crate) const UNSAFE: Case = Case { name: "in place", args: &[], check: check_rename };

/// The variable that tells the test program to be the unsafe writer.
pub(crate) const UNSAFE_WRITER: &str = "DENIZEN_TEST_UNSAFE_WRITER";

/// What was said to `s` in its current conversation.
const SAID: &[&str] = &["alpha one", "alpha two"];

/// A root with known content, which is copied for every point.
pub(crate) struct Base {
    pub(crate) root: Root,
    template: PathBuf,
}

impl Base {
    pub(crate) fn new(test: &str) -> Self {
        let root = Root::new(test);
        let base = Self { template: root.path(), root };
        for (key, text) in [("s", "alpha zero"), ("other", "beta one"), ("gone", "gamma one"), ("left", "epsilon one")]
        {
            base.root.ok(&["send", key, text, "--provider", "notes"]);
        }
        base.root.ok(&["new", "s"]);
        for text in SAID {
            base.root.ok(&["send", "s", text]);
        }
        base.root.ok(&["rm", "gone"]);
        // A message whose owner died before its turn began.
        let message = r#"{"at":"2026-01-01T00:00:00Z","text":"epsilon two","options":{}}"#;
        write(&base.template.join("state/queue/left/0000000000000007.entry"), &format!("{message}\n"));
        base
    }

    /// The same, or nothing where processes may not be traced: the test then
    /// names itself among those that did not run.
    pub(crate) fn traceable(test: &str) -> Option<Self> {
        let base = Self::new(test);
        if killat::is_permitted(base.root.dir()) {
            return Some(base);
        }
        did_not_run(test, "ptrace is not permitted", "run it where one's own processes may be traced");
        None
    }

    /// Runs a case with nothing done to it, which has to satisfy the oracle.
    pub(crate) fn unharmed(&self, case: Case, scope: Scope) -> Traced {
        let dir = self.copy(&format!("{}, {scope:?}", case.name));
        let traced =
            killat::run(&self.command(case, &dir), &dir, scope, Calls::Changing, Strike::None).expect("traced");
        assert_eq!(traced.code, Some(0), "{}: {traced:#?}", case.name);
        self.check(case, &dir, &traced).unwrap_or_else(|wrong| panic!("{}, unharmed: {wrong}", case.name));
        fs_err::remove_dir_all(&dir).expect("removed");
        traced
    }

    /// A copy of the root, for one point.
    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let dir = self.root.dir().join("points").join(name);
        fs_err::create_dir_all(&dir).expect("a directory");
        copy_tree(&self.template, &dir.join("root"));
        dir
    }

    /// The command of a case, for the copy in `dir`.
    pub(crate) fn command(&self, case: Case, dir: &Path) -> Command {
        let mut command = if case.args.is_empty() {
            let mut command = self.root.command(std::env::current_exe().expect("this program"));
            command.args(["--exact", "crash_kill::the_unsafe_writer", "--ignored", "--test-threads=1"]);
            command.env(UNSAFE_WRITER, dir.join("root/sessions/s/session.json"));
            command
        } else {
            let mut command = self.root.denizen();
            command.args(case.args);
            command
        };
        command.env("DENIZEN_ROOT", dir.join("root")).env("DENIZEN_DURABILITY", "power");
        command
    }

    /// Looks at what a command left behind.
    pub(crate) fn check(&self, case: Case, dir: &Path, traced: &Traced) -> Checked {
        let point = Point { base: self, root: dir.join("root"), traced };
        if traced.hung {
            return Err("something of it never ended".to_owned());
        }
        point.whole()?;
        point.same("sessions/other", "sessions/other")?;
        point.readable()?;
        (case.check)(&point)?;
        point.whole()?;
        point.same("sessions/other", "sessions/other")
    }
}

/// What a command left behind at one point.
pub(crate) struct Point<'a> {
    base: &'a Base,
    root: PathBuf,
    traced: &'a Traced,
}

/// A session's files, as they lie there.
struct Session {
    record: Value,
    settings: Value,
    transcript: Vec<Value>,
}

impl Session {
    /// Every file of it, each of which has to be whole.
    fn read(dir: &Path) -> Result<Self, String> {
        let json = |name: &str| -> Result<Value, String> {
            let path = dir.join(name);
            let text = fs_err::read_to_string(&path).map_err(|error| error.to_string())?;
            if !text.ends_with("}\n") {
                return Err(format!("{} is torn: {text:?}", path.display()));
            }
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}: {text:?}", path.display()))
        };
        let record = json("session.json")?;
        for field in ["key", "uuid", "created_at", "last_used_at", "turns", "transcript_bytes"] {
            if record.get(field).is_none() {
                return Err(format!("{}: no {field}: {record}", dir.display()));
            }
        }
        let transcript = lines(&dir.join("transcript.jsonl"))?;
        for (path, _) in tree(&dir.join("provider")) {
            lines(&dir.join("provider").join(path))?;
        }
        Ok(Self { record, settings: json("settings.json")?, transcript })
    }

    fn said(&self, text: &str) -> usize {
        self.transcript.iter().filter(|line| line["who"] == "user" && line["text"] == text).count()
    }

    fn text(&self, name: &str) -> &str {
        self.record[name].as_str().unwrap_or_default()
    }

    /// The record, the transcript and the numbers of the turns agree.
    fn agrees(&self) -> Checked {
        let turns: Vec<u64> = self
            .transcript
            .iter()
            .filter(|line| line["who"] == "user")
            .filter_map(|line| line["turn"].as_u64())
            .collect();
        let expected: Vec<u64> = (1..=turns.len() as u64).collect();
        let answered = self.transcript.iter().filter(|line| line["who"] == "agent").count();
        if turns != expected || answered != turns.len() || self.record["turns"] != turns.len() {
            return Err(format!("the turns do not agree: {turns:?}, {answered} answered, {}", self.record));
        }
        Ok(())
    }
}

/// The lines of a file, of which each has to be whole.
fn lines(path: &Path) -> Result<Vec<Value>, String> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|error| format!("{}: {error}", path.display()))?,
    };
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(format!("{} has a torn last line: {text:?}", path.display()));
    }
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{}: {error}: {line:?}", path.display())))
        .collect()
}

impl Point<'_> {
    fn dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Runs a command that has to succeed. No sync: what it does is read back
    /// on this very machine.
    fn ok(&self, args: &[&str]) -> Result<String, String> {
        let mut command = self.base.root.denizen();
        command.args(args).env("DENIZEN_ROOT", &self.root).env("DENIZEN_DURABILITY", "process");
        let output = root::run(command, "");
        if output.code == Some(0) {
            Ok(output.stdout)
        } else {
            Err(format!("afterwards `{args:?}` failed: {output:#?}"))
        }
    }

    fn json(&self, args: &[&str]) -> Result<Vec<Value>, String> {
        let printed = self.ok(&[args, &["--json"]].concat())?;
        let values = serde_json::Deserializer::from_str(&printed).into_iter();
        values.collect::<Result<_, _>>().map_err(|error| format!("{args:?}: {error}: {printed}"))
    }

    /// Every session that is anywhere is whole.
    fn whole(&self) -> Checked {
        for place in ["sessions", "trash"] {
            for name in names(&self.dir(place)) {
                Session::read(&self.dir(place).join(name))?;
            }
        }
        for queue in names(&self.dir("state/queue")) {
            for (path, bytes) in tree(&self.dir("state/queue").join(queue)) {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let torn =
                    !text.ends_with('\n') || text.lines().any(|line| serde_json::from_str::<Value>(line).is_err());
                if path.extension().is_some_and(|ending| ending == "entry") && torn {
                    return Err(format!("the queue entry {} is torn: {text:?}", path.display()));
                }
            }
        }
        Ok(())
    }

    /// The program can read all of it, and none is held by anybody.
    fn readable(&self) -> Checked {
        let listed = self.json(&["ls"])?;
        let wrong =
            |session: &Value| session.get("error").is_some_and(|error| !error.is_null()) || session["busy"] == true;
        if let Some(wrong) = listed.iter().find(|session| wrong(session)) {
            return Err(format!("ls: {wrong}"));
        }
        let all = self.json(&["status"])?.into_iter().next().unwrap_or_default();
        let folders = names(&self.dir("sessions")).len();
        if all["unreadable"] != 0 || all["busy"] != 0 || all["sessions"] != folders || listed.len() != folders {
            return Err(format!("status: {all}, {folders} folders, {} listed", listed.len()));
        }
        Ok(())
    }

    /// A directory is, file for file, what it was in the beginning.
    fn same(&self, now: &str, before: &str) -> Checked {
        let (now, before) = (tree(&self.dir(now)), tree(&self.base.template.join(before)));
        if now == before { Ok(()) } else { Err(format!("changed: {now:?} instead of {before:?}")) }
    }

    fn session(&self, key: &str) -> Result<Session, String> {
        Session::read(&self.dir("sessions").join(key))
    }

    fn before(&self, key: &str) -> Session {
        Session::read(&self.base.template.join("sessions").join(key)).expect("the session as it was")
    }

    /// What the agent says that it was told in the current conversation.
    fn said(&self, key: &str) -> Result<Vec<String>, String> {
        let printed = self.ok(&["send", key, "what did I say", "--provider", "notes"])?;
        if printed.starts_with("Nothing yet") {
            return Ok(Vec::new());
        }
        let text = |line: &str| line.split_once(". ").map(|(_, text)| text.to_owned());
        printed.lines().map(|line| text(line).ok_or_else(|| format!("no list: {printed}"))).collect()
    }

    fn expect_said(&self, key: &str, expected: &[&str]) -> Checked {
        let said = self.said(key)?;
        if said == expected { Ok(()) } else { Err(format!("`{key}` was told {said:?} instead of {expected:?}")) }
    }

    /// The messages of a session that wait: their texts and states.
    fn pending(&self, key: &str) -> Result<Vec<(String, String)>, String> {
        if !self.dir("state/queue").join(key).is_dir() {
            return Ok(Vec::new());
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(self
            .json(&["pending", key])?
            .iter()
            .map(|pending| (text(&pending["text"]), text(&pending["state"])))
            .collect())
    }

    /// Nothing is left in the line of a session.
    fn line_is_empty(&self, key: &str) -> Checked {
        let left = names(&self.dir("state/queue").join(key));
        if left.is_empty() { Ok(()) } else { Err(format!("left in the line of `{key}`: {left:?}")) }
    }

    /// Whether the command said that it is done.
    fn done(&self) -> bool {
        self.traced.code == Some(0)
    }

    /// A message: answered and recorded once, or waiting to be sent again, or
    /// never accepted. `accepted` where it was so before.
    fn message(&self, key: &str, before: &[&str], text: &str, accepted: bool) -> Checked {
        let there = self.dir("sessions").join(key).is_dir();
        let session = if there { Some(self.session(key)?) } else { None };
        let recorded = session.as_ref().map_or(0, |session| session.said(text));
        // The reply on standard output is what tells the sender.
        let replied = self.traced.stdout.contains("(turn ");
        let failed = self.traced.code.is_some_and(|code| code != 0);
        if recorded > 1 || (replied && recorded == 0 && !failed) || (self.done() && !replied) {
            return Err(format!("recorded {recorded} times, {:#?}", self.traced));
        }
        let pending = self.pending(key)?;
        if pending.iter().any(|(pending, _)| pending != text) || pending.len() > 1 {
            return Err(format!("pending: {pending:?}"));
        }
        if recorded == 1 && !pending.is_empty() {
            return Err(format!("it is recorded, and still {pending:?}"));
        }
        if accepted && recorded == 0 && pending.is_empty() && !failed {
            return Err("the message is lost".to_owned());
        }
        let said = self.said(key)?;
        let told = said.iter().filter(|said| *said == text).count();
        let rest: Vec<&str> = said.iter().filter(|said| *said != text).map(String::as_str).collect();
        if rest != before || told > 1 || told < recorded {
            return Err(format!("recorded {recorded} times, and the agent was told {said:?}"));
        }
        if told == 1 && recorded == 0 && pending.iter().any(|(_, state)| state != "interrupted") {
            return Err(format!("the agent was told, and it is {pending:?}"));
        }
        let later = self.pending(key)?;
        if later.is_empty() != (recorded == 1 || pending.is_empty()) {
            return Err(format!(
                "recorded {recorded} times, pending {pending:?}, and after the next message {later:?}"
            ));
        }
        if !later.is_empty() {
            self.ok(&["retry", key])?;
        }
        let end = self.session(key)?;
        if end.said(text) != recorded + later.len() {
            return Err(format!("in the end recorded {} times", end.said(text)));
        }
        end.agrees()?;
        self.line_is_empty(key)
    }
}

fn check_create(point: &Point<'_>) -> Checked {
    point.same("sessions/s", "sessions/s")?;
    point.message("fresh", &[], "delta one", false)
}

fn check_update(point: &Point<'_>) -> Checked {
    kept(point, "s")?;
    point.message("s", SAID, "alpha three", false)?;
    kept(point, "s")
}

fn check_retry(point: &Point<'_>) -> Checked {
    kept(point, "left")?;
    // A message that was waiting already is not lost when its sender is told of a failure.
    point.message("left", &["epsilon one"], "epsilon two", true)
}

fn check_new(point: &Point<'_>) -> Checked {
    kept(point, "s")?;
    let (old, now) = (point.before("s"), point.session("s")?);
    match now.record.get("conversation") {
        Some(current) if *current == old.record["conversation"] && !point.done() => {
            point.ok(&["new", "s"])?;
        }
        None => {}
        Some(current) => return Err(format!("another conversation: {current}")),
    }
    point.expect_said("s", &[])?;
    point.ok(&["resume", "s", "1"])?;
    point.expect_said("s", SAID)?;
    point.session("s")?.agrees()
}

fn check_resume(point: &Point<'_>) -> Checked {
    kept(point, "s")?;
    let (old, now) = (point.before("s"), point.session("s")?);
    if now.record["conversation"] == old.record["conversation"] {
        if point.done() {
            return Err("not resumed".to_owned());
        }
        point.ok(&["resume", "s", "1"])?;
    }
    point.expect_said("s", &["alpha zero"])?;
    point.ok(&["resume", "s", "1"])?;
    point.expect_said("s", SAID)?;
    point.session("s")?.agrees()
}

fn check_fork(point: &Point<'_>) -> Checked {
    point.same("sessions/s", "sessions/s")?;
    if !point.dir("sessions/copy").exists() {
        if point.done() {
            return Err("no copy".to_owned());
        }
        point.ok(&["fork", "s", "copy"])?;
    }
    let (source, copy) = (point.session("s")?, point.session("copy")?);
    if copy.record["forked_from"]["uuid"] != source.record["uuid"] || copy.text("uuid") == source.text("uuid") {
        return Err(format!("no fork: {}", copy.record));
    }
    for part in ["provider", "transcript.jsonl", "memory"] {
        point.same(&format!("sessions/copy/{part}"), &format!("sessions/s/{part}"))?;
    }
    point.expect_said("copy", SAID)?;
    point.expect_said("s", SAID)?;
    copy.agrees()?;
    point.line_is_empty("copy")
}

fn check_remove(point: &Point<'_>) -> Checked {
    let trashed = in_trash(point, "s");
    match (point.dir("sessions/s").exists(), trashed.as_slice()) {
        (true, []) if !point.done() => {
            point.same("sessions/s", "sessions/s")?;
            point.ok(&["rm", "s"])?;
        }
        (false, [name]) => point.same(&format!("trash/{name}"), "sessions/s")?,
        found => return Err(format!("there is {found:?}")),
    }
    point.ok(&["trash", "restore", "s"])?;
    point.same("sessions/s", "sessions/s")?;
    point.expect_said("s", SAID)?;
    point.session("s")?.agrees()?;
    point.line_is_empty("s")
}

fn check_restore(point: &Point<'_>) -> Checked {
    let before = names(&point.base.template.join("trash")).into_iter().next().expect("a removed session");
    match (point.dir("sessions/gone").exists(), in_trash(point, "gone").as_slice()) {
        (false, [_]) if !point.done() => {
            point.ok(&["trash", "restore", "gone"])?;
        }
        (true, []) => {}
        found => return Err(format!("there is {found:?}")),
    }
    point.same("sessions/gone", &format!("trash/{before}"))?;
    point.expect_said("gone", &["gamma one"])?;
    point.session("gone")?.agrees()
}

fn check_rename(point: &Point<'_>) -> Checked {
    kept(point, "s")?;
    if point.session("s")?.text("title") != "Title" && point.done() {
        return Err("not renamed".to_owned());
    }
    point.ok(&["rename", "s", "Title"])?;
    if !point.dir("names/terminal/Title").is_dir() {
        return Err("it has no name".to_owned());
    }
    point.expect_said("s", SAID)?;
    point.session("s")?.agrees()
}

fn check_set(point: &Point<'_>) -> Checked {
    kept(point, "s")?;
    match point.session("s")?.settings.get("model").and_then(Value::as_str) {
        Some("opus") => {}
        None if !point.done() => {
            point.ok(&["set", "s", "model", "opus"])?;
        }
        found => return Err(format!("the model is {found:?}")),
    }
    point.expect_said("s", SAID)?;
    point.session("s")?.agrees()
}

fn check_archive(point: &Point<'_>) -> Checked {
    kept(point, "s")?;
    if point.session("s")?.text("archived_at").is_empty() && point.done() {
        return Err("not archived".to_owned());
    }
    point.ok(&["archive", "s"])?;
    point.expect_said("s", SAID)?;
    point.session("s")?.agrees()
}

/// What no command takes from a session: who it is, and its past.
fn kept(point: &Point<'_>, key: &str) -> Checked {
    let (before, now) = (point.before(key), point.session(key)?);
    for field in ["key", "uuid", "created_at"] {
        if before.record[field] != now.record[field] {
            return Err(format!("another {field}: {}", now.record));
        }
    }
    let place = |root: &Path| root.join("sessions").join(key);
    let old = tree(&place(&point.base.template));
    let new = tree(&place(&point.root));
    let past = |path: &Path| path.starts_with("provider") || path == Path::new("transcript.jsonl");
    for (path, bytes) in old.iter().filter(|(path, _)| past(path)) {
        if !new.get(path).is_some_and(|found| found.starts_with(bytes)) {
            return Err(format!("{} lost something", path.display()));
        }
    }
    Ok(())
}

fn in_trash(point: &Point<'_>, key: &str) -> Vec<String> {
    names(&point.dir("trash")).into_iter().filter(|name| name.ends_with(&format!("-{key}"))).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Every file below a directory, or the file itself, with its content.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = walkdir::WalkDir::new(dir).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files
        .filter_map(|entry| Some((entry.path().strip_prefix(dir).ok()?.to_owned(), std::fs::read(entry.path()).ok()?)))
        .collect()
}
