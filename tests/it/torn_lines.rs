//! A transcript whose last line was torn, by a crash or a disk, is whole again
//! after the next turn: what was torn is kept aside and told, and nothing that
//! was whole is touched, also when the mending is itself cut short.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::clis::did_not_run;
use crate::support::many::all;
use crate::support::root::{Root, run};
use crate::support::tree::copy_tree;

/// What can stand at the end of a transcript, and whether it goes.
const ENDS: &[(&[u8], bool)] = &[
    (b"{\"at\": \"2026-01-01T00:00:00Z\", \"who\": \"ag", true),
    (b"{", true),
    (&[0; 300], true),
    (b"{\"at\": \"2026\0\0\0\0\0\0\0\0", true),
    (b"\xff\xfe", true),
    // What only lacks its end is whole.
    (b"{\"at\":\"2026-01-01T00:00:00Z\",\"who\":\"denizen\",\"text\":\"x\",\"turn\":1}", false),
    (b"{\"of\": \"a later version\"}", false),
    // What has an end is a person's.
    (b"# a note by hand\n", false),
];

/// A root with `alder`, which took a turn, and these bytes at the end of its transcript.
fn torn(root: &Root, end: &[u8]) -> Vec<u8> {
    root.ok(&["send", "alder", "one", "--provider", "notes"]);
    let path = root.session("alder").join("transcript.jsonl");
    let whole = fs_err::read(&path).expect("a transcript");
    fs_err::write(&path, [whole.as_slice(), end].concat()).expect("written");
    whole
}

fn conflicts(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("state/conflicts")).into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// The last lines of a transcript that begins with these bytes, which are a turn's.
fn turn_after(root: &Path, start: &[u8]) -> Result<(), String> {
    let bytes = fs_err::read(root.join("sessions/alder/transcript.jsonl")).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let rest = bytes.strip_prefix(start).ok_or_else(|| format!("it lost something: {text}"))?;
    let lines: Result<Vec<Value>, _> =
        rest.split_inclusive(|byte| *byte == b'\n').map(serde_json::from_slice).collect();
    let lines = lines.map_err(|error| format!("{error}: {text}"))?;
    let said: Vec<_> = lines.iter().map(|line| (line["who"].as_str(), line["turn"].as_u64())).collect();
    let expected = [(Some("user"), Some(2)), (Some("agent"), Some(2))];
    if said == expected && bytes.ends_with(b"\n") { Ok(()) } else { Err(format!("instead of a turn: {text}")) }
}

#[test]
fn a_torn_last_line_is_set_aside_at_the_next_turn() {
    for (number, (end, goes)) in ENDS.iter().enumerate() {
        let root = Root::new(&format!("a_torn_last_line_is_set_aside-{number}"));
        let mut start = torn(&root, end);
        let said = root.run(&["send", "alder", "two"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let kept = conflicts(&root.path());
        if *goes {
            let [kept] = kept.as_slice() else { panic!("{kept:?}") };
            assert_eq!(fs_err::read(kept).expect("what was kept"), *end);
            let told = format!("kept in `{}`", kept.display());
            assert!(said.stderr.contains(&told), "{said:?}");
            root.ok(&["verify"]);
        } else {
            assert_eq!((kept, said.stderr.as_str()), (Vec::new(), ""));
            start.extend_from_slice(end);
            if !end.ends_with(b"\n") {
                start.push(b'\n');
            }
        }
        turn_after(&root.path(), &start).unwrap_or_else(|wrong| panic!("{end:?}: {wrong}"));
        assert_eq!(root.json(&["status", "alder"])["record"]["turns"], 2);
    }
}

#[test]
fn a_line_that_is_torn_during_a_turn_is_set_aside_as_well() {
    let root = Root::new("a_line_that_is_torn_during_a_turn_is_set_aside_as_well");
    let _fake = crate::support::fake::Fake::new(
        &root,
        r#"[ "$message" = one ] || printf '{"torn' >> "$1/transcript.jsonl"; echo heard"#,
    );
    root.ok(&["send", "alder", "one"]);
    let whole = fs_err::read(root.session("alder").join("transcript.jsonl")).expect("a transcript");
    let said = root.run(&["send", "alder", "two"]);
    assert_eq!((said.code, conflicts(&root.path()).len()), (Some(0), 1), "{said:?}");
    turn_after(&root.path(), &whole).expect("a turn");
    root.ok(&["verify"]);
}

/// Killed before each call that changes something, from the first that has to do
/// with the torn line to the last.
#[cfg(target_arch = "x86_64")]
#[test]
fn mending_survives_a_kill_at_any_step() {
    use crate::support::killat::{self, Calls, Scope, Strike};
    let root = Root::new("mending_survives_a_kill_at_any_step");
    if !killat::is_permitted(root.dir()) {
        let how = "run it where one's own processes may be traced";
        return did_not_run("torn_lines::mending_survives_a_kill_at_any_step", "ptrace is not permitted", how);
    }
    let end = b"{\"at\": torn";
    let whole = torn(&root, end);
    let at = |number: usize, strike| {
        let dir = root.dir().join(number.to_string());
        fs_err::create_dir(&dir).expect("a directory");
        copy_tree(&root.path(), &dir.join("root"));
        let mut command = root.denizen();
        command.args(["send", "alder", "two"]).env("DENIZEN_ROOT", dir.join("root")).env("DENIZEN_DURABILITY", "power");
        (killat::run(&command, &dir, Scope::Program, Calls::Changing, strike).expect("traced"), dir.join("root"))
    };
    let (unharmed, _) = at(0, Strike::None);
    let about = |call: &killat::Call| {
        let path = call.path.to_string_lossy().into_owned();
        path.contains("conflicts") || path.ends_with("transcript.jsonl")
    };
    let first = unharmed.calls.iter().position(about).expect("a mending");
    let last = unharmed.calls.iter().rposition(about).expect("a mending");
    let points: Vec<usize> = (first..=last + 2).collect();
    let wrong = all(&points, |point| {
        let (traced, dir) = at(*point, Strike::Kill(*point));
        let path = dir.join("sessions/alder/transcript.jsonl");
        let bytes = fs_err::read(&path).map_err(|error| error.to_string())?;
        let was_kept = || conflicts(&dir).iter().any(|kept| fs_err::read(kept).is_ok_and(|bytes| bytes == end));
        let wrong = |what: &str| Err(format!("{point} of {:?}: {what}", unharmed.calls));
        if !traced.struck || !bytes.starts_with(&whole) {
            return wrong("the transcript lost something");
        }
        if bytes[whole.len()..] != *end && !was_kept() {
            return wrong("the torn line is lost");
        }
        let dir_text = dir.display().to_string();
        let ok = |args: &[&str]| {
            let output = root.run(&[&["--root", &dir_text], args].concat());
            if output.code == Some(0) { Ok(()) } else { Err(format!("{point}: {output:?}")) }
        };
        ok(&["verify"])?;
        // Where it was recorded already, there is nothing to retry, which is fine too.
        let mut retry = root.denizen();
        retry.args(["--root", &dir_text, "retry", "alder"]);
        let retried = run(retry, "");
        if retried.code != Some(0) && !retried.stderr.contains("every message was answered") {
            return Err(format!("{point}: {retried:?}"));
        }
        if !was_kept() {
            return wrong("the torn line was not kept");
        }
        turn_after(&dir, &whole).map_err(|wrong| format!("{point}: {wrong}"))?;
        ok(&["verify"])
    });
    println!("{} kills", points.len());
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), points.len(), wrong.join("\n"));
}
