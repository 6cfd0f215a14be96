//! `cleanup`: it archives, trashes and deletes what the configuration says and
//! nothing else, says beforehand what it would do, and is taken back by
//! `--undo`, also after it was killed.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::fake::{Fake, Running};
use crate::support::root::{Output, Root, write};
use crate::support::tree::Tree;

/// Long ago.
const THEN: &str = "2020-01-01T00:00:00Z";

fn root(test: &str) -> Root {
    let root = Root::new(&format!("tidy::{test}"));
    root.write_config("provider = \"notes\"\n");
    root
}

/// Sessions that were last used long ago.
fn make(root: &Root, keys: &[&str]) {
    for key in keys {
        root.ok(&["send", key, "one"]);
        set(root, key, "last_used_at", json!(THEN));
    }
}

/// An owner's edit of a record.
fn set(root: &Root, key: &str, field: &str, value: Value) {
    let path = root.session(key).join("session.json");
    let mut record = record(&root.path(), key);
    record[field] = value;
    write(&path, &record.to_string());
}

fn record(root: &Path, key: &str) -> Value {
    let text = fs_err::read_to_string(root.join("sessions").join(key).join("session.json")).expect("a record");
    serde_json::from_str(&text).expect("JSON")
}

fn is_archived(root: &Root, key: &str) -> bool {
    record(&root.path(), key).get("archived_at").is_some()
}

/// The folders of all sessions.
fn folders(root: &Path) -> Vec<String> {
    names(&root.join("sessions"))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// What is printed, one line each, with single blanks.
fn lines(printed: &str) -> Vec<String> {
    printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Moves what is in the trash under a folder's name there long ago.
fn age(root: &Root, folder: &str) -> String {
    let trash = root.path().join("trash");
    let name = names(&trash).into_iter().find(|name| name.ends_with(&format!("-{folder}"))).expect("in the trash");
    let aged = format!("20200101T000000.000Z-{folder}");
    fs_err::rename(trash.join(name), trash.join(&aged)).expect("renamed");
    aged
}

/// Runs a cleanup that changes nothing with `--dry-run` and then for real; both
/// have to say the same. Gives what was done.
fn cleanup(root: &Root, args: &[&str]) -> Vec<String> {
    let before = Tree::of_root(&root.path());
    let planned = lines(&root.ok(&[&["cleanup", "--dry-run"], args].concat()));
    before.assert_same(&Tree::of_root(&root.path()), "a dry run");
    let done = lines(&root.ok(&[&["cleanup"], args].concat()));
    let past = |line: &String| {
        let (_, rest) = line.split_once("would ").expect("a plan");
        let words = [
            ("unarchive ", "unarchived "),
            ("archive ", "archived "),
            ("trash ", "trashed "),
            ("delete ", "deleted "),
            ("restore ", "restored "),
            ("leave ", "left "),
        ];
        let (will, did) = words.iter().find(|(will, _)| rest.starts_with(will)).expect("a known word");
        rest.replacen(will, did, 1)
    };
    assert_eq!(planned.iter().map(past).collect::<Vec<_>>(), done);
    done
}

const NOTHING: &[&str] = &[];

#[test]
fn never_means_never() {
    let root = root("never_means_never");
    make(&root, &["alder", "birch", "cedar"]);
    root.ok(&["archive", "birch"]);
    set(&root, "birch", "archived_at", json!(THEN));
    root.ok(&["rm", "cedar"]);
    age(&root, "cedar");
    let before = Tree::of_root(&root.path());
    assert_eq!(cleanup(&root, &["-c", "retention.trash=never"]), NOTHING);
    before.assert_same(&Tree::of_root(&root.path()), "a cleanup without a rule");
    let undo = root.run(&["cleanup", "--undo"]);
    assert_eq!((undo.code, undo.stderr.as_str()), (Some(1), "error: there is no cleanup to undo\n"));
    before.assert_same(&Tree::of_root(&root.path()), "an undo of nothing");
}

#[test]
fn each_rule_does_its_own() {
    let root = root("each_rule_does_its_own");
    make(&root, &["alder", "birch", "cedar"]);
    root.ok(&["send", "fresh", "one"]);
    root.ok(&["archive", "birch"]);
    set(&root, "birch", "archived_at", json!(THEN));
    root.ok(&["send", "dogwood", "one"]);
    root.ok(&["archive", "dogwood"]);
    root.ok(&["rm", "cedar"]);
    let cedar = age(&root, "cedar");

    assert_eq!(cleanup(&root, &["--idle", "30d", "-c", "retention.trash=never"]), ["archived alder"]);
    assert_eq!(cleanup(&root, &["-c", "retention.archived=30d", "-c", "retention.trash=never"]), ["trashed birch"]);
    assert_eq!(folders(&root.path()), ["alder", "dogwood", "fresh"]);
    // 30 days are the default of `retention.trash`.
    assert_eq!(cleanup(&root, &[]), [format!("deleted {cedar}")]);
    assert_eq!(names(&root.path().join("trash")).len(), 1, "birch is there");
    assert_eq!(names(&root.path().join("state/tmp")), NOTHING);
    assert_eq!((is_archived(&root, "alder"), is_archived(&root, "fresh")), (true, false));
}

#[test]
fn all_rules_at_once_are_told_as_json_and_taken_back() {
    let root = root("all_rules_at_once_are_told_as_json_and_taken_back");
    make(&root, &["alder", "birch", "cedar"]);
    root.ok(&["archive", "birch"]);
    set(&root, "birch", "archived_at", json!(THEN));
    root.ok(&["rm", "cedar"]);
    let cedar = age(&root, "cedar");
    root.write_config("provider = \"notes\"\n[retention]\nidle = \"1d\"\narchived = \"1d\"\ntrash = \"1d\"\n");

    let values = |printed: &str| -> Vec<Value> {
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    assert_eq!(
        values(&root.ok(&["cleanup", "--json"])),
        [
            json!({"action": "archived", "name": "alder"}),
            json!({"action": "trashed", "name": "birch"}),
            json!({"action": "deleted", "name": cedar}),
        ]
    );
    assert_eq!(names(&root.path().join("state/cleanup")).len(), 1);
    assert_eq!(
        values(&root.ok(&["cleanup", "--undo", "--dry-run", "--json"])),
        [
            json!({"action": "would unarchive", "name": "alder"}),
            json!({"action": "would restore", "name": "birch"}),
            json!({"action": "would leave", "name": cedar, "reason": "it was deleted for good"}),
        ]
    );
    assert_eq!(
        cleanup(&root, &["--undo"]),
        ["unarchived alder", "restored birch", &format!("left {cedar}: it was deleted for good")]
    );
    // Birch is what it was: archived, since long ago.
    assert_eq!(
        (is_archived(&root, "alder"), record(&root.path(), "birch")["archived_at"].clone()),
        (false, json!(THEN))
    );
    assert!(root.ok(&["send", "birch", "what did I say"]).contains("one"));
    assert_eq!(names(&root.path().join("state/cleanup")), NOTHING);
    assert_eq!(root.run(&["cleanup", "--undo"]).code, Some(1));
}

#[test]
fn what_changed_since_is_named_and_left_alone() {
    let root = root("what_changed_since_is_named_and_left_alone");
    let archived = ["revived", "again", "gone", "renamed", "replaced"];
    let trashed = ["back", "taken", "purged", "twice"];
    make(&root, &archived);
    make(&root, &trashed);
    for key in trashed {
        root.ok(&["archive", key]);
        set(&root, key, "archived_at", json!(THEN));
    }
    let done = cleanup(&root, &["--idle", "1d", "-c", "retention.archived=1d"]);
    assert_eq!(done.len(), archived.len() + trashed.len());

    root.ok(&["send", "revived", "two"]);
    root.ok(&["unarchive", "again"]);
    root.ok(&["archive", "again"]);
    root.ok(&["rm", "gone"]);
    root.ok(&["rename", "renamed", "Another title"]);
    root.ok(&["rm", "replaced"]);
    root.ok(&["send", "replaced", "two"]);
    root.ok(&["archive", "replaced"]);
    root.ok(&["trash", "restore", "back"]);
    root.ok(&["send", "taken", "two"]);
    age(&root, "purged");
    assert_eq!(cleanup(&root, &["-c", "retention.trash=never"]), NOTHING, "which is no cleanup to undo");
    fs_err::remove_dir_all(root.path().join("trash/20200101T000000.000Z-purged")).expect("removed");
    root.ok(&["trash", "restore", "twice"]);
    root.ok(&["rm", "twice"]);

    let again = record(&root.path(), "again");
    assert_eq!(
        cleanup(&root, &["--undo"]),
        [
            "left again: it was archived again since",
            "left gone: it was removed or moved away since",
            "unarchived renamed",
            "left replaced: another session has its name now",
            "left revived: it is not archived",
            "left back: it is not in the trash",
            "left purged: it is not in the trash",
            "left taken: another session has its name now; it stays in the trash",
            "left twice: it is not in the trash",
        ]
    );
    assert_eq!(record(&root.path(), "again"), again);
    assert_eq!((is_archived(&root, "replaced"), is_archived(&root, "renamed")), (true, false));
    assert!(root.ok(&["send", "taken", "what did I say"]).contains("two"));
    assert_eq!(root.run(&["cleanup", "--undo"]).code, Some(1));
}

#[test]
fn only_the_last_cleanup_is_taken_back() {
    let root = root("only_the_last_cleanup_is_taken_back");
    make(&root, &["alder"]);
    assert_eq!(cleanup(&root, &["--idle", "1d"]), ["archived alder"]);
    make(&root, &["birch"]);
    assert_eq!(cleanup(&root, &["--idle", "1d"]), ["archived birch"]);
    assert_eq!(names(&root.path().join("state/cleanup")).len(), 1);
    assert_eq!(cleanup(&root, &["--undo"]), ["unarchived birch"]);
    assert!(is_archived(&root, "alder"));
}

#[test]
fn busy_sessions_and_unanswered_messages_keep_their_place() {
    let root = Root::new("tidy::busy_sessions_and_unanswered_messages_keep_their_place");
    let mut fake = Fake::new(&root, "case \"$message\" in *slow*) say slow; gate ;; esac\necho heard");
    make(&root, &["alder", "birch", "cedar"]);
    for key in ["alder", "birch", "cedar"] {
        root.ok(&["archive", key]);
        set(&root, key, "archived_at", json!(THEN));
    }
    make(&root, &["dogwood"]);
    let message = r#"{"at":"2026-01-01T00:00:00Z","text":"two","options":{}}"#;
    write(&root.path().join("state/queue/birch/0000000000000007.entry"), &format!("{message}\n"));
    let busy = ["alder", "dogwood"].map(|key| Running::denizen(&root, &["send", key, "slow"]));
    fake.wait_for(2);
    assert_eq!(cleanup(&root, &["--idle", "1d", "-c", "retention.archived=1d"]), ["trashed cedar"]);
    assert_eq!(folders(&root.path()), ["alder", "birch", "dogwood"]);
    fake.release(2);
    for running in busy {
        assert_eq!(running.end().code, Some(0));
    }
    assert_eq!((is_archived(&root, "alder"), is_archived(&root, "birch")), (false, true));

    // An undo that finds a session busy can be asked for again.
    make(&root, &["elder"]);
    assert_eq!(root.ok(&["cleanup", "--idle", "1d", "-c", "retention.archived=never"]), "archived        elder\n");
    let busy = Running::denizen(&root, &["send", "elder", "slow"]);
    fake.wait_for(3);
    let Output { code, stdout, stderr } = root.run(&["cleanup", "--undo", "--wait", "1ms"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.starts_with("not unarchived: `elder`: the session is busy"), "{stderr}");
    fake.release(1);
    assert_eq!(busy.end().code, Some(0));
    assert_eq!(cleanup(&root, &["--undo"]), ["left elder: it is not archived"]);
}

#[cfg(target_arch = "x86_64")]
mod killed {
    //! A cleanup that is killed before any of its changing system calls.

    use super::{cleanup, folders, json, make, names, record, root, set};
    use crate::support::clis::did_not_run;
    use crate::support::killat::{self, Calls, Scope, Strike};
    use crate::support::root::run;

    #[test]
    fn a_cleanup_that_was_killed_anywhere_is_taken_back_whole() {
        let root = root("a_cleanup_that_was_killed_anywhere_is_taken_back_whole");
        if !killat::is_permitted(root.dir()) {
            let how = "run it where one's own processes may be traced";
            did_not_run(
                "tidy::killed::a_cleanup_that_was_killed_anywhere_is_taken_back_whole",
                "ptrace is not permitted",
                how,
            );
            return;
        }
        make(&root, &["alder", "birch", "cedar", "dogwood"]);
        for key in ["cedar", "dogwood"] {
            root.ok(&["archive", key]);
            set(&root, key, "archived_at", json!("2020-01-01T00:00:00Z"));
        }
        let (template, work) = (root.path(), root.dir().join("work"));
        let keys = folders(&template);
        let before: Vec<_> = keys.iter().map(|key| record(&template, key)).collect();
        let (mut kills, mut taken_back) = (0, 0);
        for at in 1.. {
            let mut copy = root.command("cp");
            copy.arg("-a").args([&template, &work]);
            assert_eq!(run(copy, "").code, Some(0));
            let mut command = root.denizen();
            command.args(["cleanup", "--idle", "1d", "-c", "retention.archived=1d"]);
            command.env("DENIZEN_ROOT", &work);
            let traced =
                killat::run(&command, root.dir(), Scope::Program, Calls::Changing, Strike::Kill(at)).expect("traced");
            let mut undo = root.denizen();
            undo.args(["cleanup", "--undo"]).env("DENIZEN_ROOT", &work);
            let undone = run(undo, "");
            // Nothing was begun where there is nothing to undo.
            assert!(undone.code == Some(0) || undone.stderr.contains("no cleanup to undo"), "{at}: {undone:#?}");
            taken_back += usize::from(undone.code == Some(0));
            assert_eq!(folders(&work), keys, "{at}: {undone:#?}");
            let after: Vec<_> = keys.iter().map(|key| record(&work, key)).collect();
            assert_eq!(after, before, "{at}: {undone:#?}");
            assert_eq!(names(&work.join("trash")).len(), 0, "{at}");
            fs_err::remove_dir_all(&work).expect("removed");
            if !traced.struck {
                break;
            }
            kills += 1;
        }
        println!("{kills} kills, {taken_back} cleanups taken back");
        assert!(taken_back > 10, "{taken_back} of {kills}");
        assert_eq!(cleanup(&root, &["--idle", "1d"]), ["archived alder", "archived birch"]);
    }
}
