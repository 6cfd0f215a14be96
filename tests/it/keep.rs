//! `export`, `import` and `restore` as a person expects them: what goes in comes
//! out, nothing is overwritten, and nothing is lost when they are cut short.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bad_disks::in_namespace;
use crate::support::clis::did_not_run;
use crate::support::fake::{Fake, Running};
use crate::support::many::all;
use crate::support::root::full;
use crate::support::root::{Output, Root, run, write};
use crate::support::tree::{Tree, copy_tree};
use crate::verify::{grove, shell};

const SECRET: &str = "secret-of-the-owner-77c1";

/// What an archive carries of a folder: kind, whether it may be run, whole
/// seconds of the time of change, and content, by path.
fn carried(dir: &Path) -> BTreeMap<PathBuf, String> {
    let entries = walkdir::WalkDir::new(dir).min_depth(1).into_iter().map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| {
            let metadata = entry.metadata().expect("its metadata");
            let value = if metadata.is_symlink() {
                format!("link {}", fs_err::read_link(entry.path()).expect("a target").display())
            } else if metadata.is_dir() {
                format!("directory {:o}", metadata.mode() & 0o777)
            } else {
                let content = fs_err::read(entry.path()).expect("a readable file");
                format!("{:o} {} {}", metadata.mode() & 0o777, metadata.mtime(), String::from_utf8_lossy(&content))
            };
            (entry.path().strip_prefix(dir).expect("below").to_owned(), value)
        })
        .collect()
}

/// The paths and content of a folder, without times.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = walkdir::WalkDir::new(dir).into_iter().map(|entry| entry.expect("an entry"));
    entries
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            (entry.path().strip_prefix(dir).expect("below").to_owned(), fs_err::read(entry.path()).expect("a file"))
        })
        .collect()
}

fn record(dir: &Path) -> Value {
    serde_json::from_slice(&fs_err::read(dir.join("session.json")).expect("a record")).expect("JSON")
}

/// Runs `denizen` in another root, which is made if it is missing.
fn elsewhere(root: &Root, name: &str, args: &[&str]) -> Output {
    let other = root.dir().join(name);
    fs_err::create_dir_all(&other).expect("a root");
    root.run(&[&["--root", &other.display().to_string()], args].concat())
}

fn ok(output: &Output) -> &str {
    assert_eq!(output.code, Some(0), "{output:?}");
    &output.stdout
}

#[test]
fn what_is_exported_comes_back_as_it_was_and_nothing_else() {
    let root = grove("what_is_exported_comes_back_as_it_was_and_nothing_else");
    let alder = root.session("alder");
    let long = format!("{}/{}", "long ".repeat(30), "deep/".repeat(20));
    shell(
        &alder,
        &format!(
            "mkdir -p work/empty '{long}'; echo x > '{long}/file'; printf '#!/bin/sh\\n' > work/run; chmod 755 work/run
             chmod 644 memory/MEMORY.md; touch -d 2001-02-03T04:05:06Z work/run memory/MEMORY.md; : > work/nothing
             ln -s run work/link; ln -s ../memory/MEMORY.md work/up; ln -s work there; printf '\\377' > \"$(printf 'work/\\377')\"
             dd if=/dev/zero of=work/zeros bs=1k count=300 2> /dev/null"
        ),
    );
    let mut expected = carried(&alder);
    // Modes become private ones; directories have no times.
    for (path, value) in &mut expected {
        if path == Path::new("work/run") {
            *value = value.replace("755 ", "700 ");
        }
        if path == Path::new("memory/MEMORY.md") {
            *value = value.replace("644 ", "600 ");
        }
        for mode in ["644 ", "755 "] {
            if let Some(rest) = value.strip_prefix(mode) {
                *value = format!("600 {rest}");
            }
        }
        if value.starts_with("directory") {
            *value = "directory 700".to_owned();
        }
    }
    // What is left out: what leads out, and what is not a file.
    shell(&alder, "mkfifo work/fifo; ln -s /etc/passwd out; ln -s ../birch sibling");
    // None of this is a session's.
    for (name, text) in [
        ("access/token", SECRET.to_owned()),
        ("state/conflicts/x", SECRET.to_owned()),
        ("state/homes/alder/claude/x", SECRET.to_owned()),
        ("logs/x", SECRET.to_owned()),
        ("legacy/x", SECRET.to_owned()),
    ] {
        write(&root.path().join(name), &text);
    }
    shell(
        &root.path(),
        &format!(
            "echo '# {SECRET}' >> denizen.toml; sed -i 's/^{{/{{\"note\": \"{SECRET}\",/' access/sessions/alder.json"
        ),
    );
    root.write_home(".claude/.credentials.json", SECRET);
    let before = Tree::of_root(&root.path());
    let file = root.dir().join("all.denizen");
    let file_text = file.display().to_string();
    let output = root.run(&["export", "--all", "-o", &file_text]);
    assert_eq!(output.code, Some(0), "{output:?}");
    for left in ["alder/work/fifo", "alder/out", "alder/sibling"] {
        assert!(output.stderr.contains(&format!("left out: `{left}`")), "{output:?}");
    }
    before.assert_same(&Tree::of_root(&root.path()), "export");
    assert_eq!(fs_err::metadata(&file).expect("the file").mode() & 0o777, 0o600);
    let unpacked = zstd::decode_all(fs_err::read(&file).expect("the file").as_slice()).expect("a frame");
    let found = unpacked.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    assert!(!found, "the secret of the owner is in the export");

    let imported = elsewhere(&root, "other", &["import", &file_text]);
    let other = root.dir().join("other");
    let lines: Vec<&str> = ok(&imported).lines().collect();
    let (done, notes): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| line.starts_with("imported "));
    assert_eq!((done.len(), notes.len()), (7, 3), "{imported:?}");
    // What is told of a session names where it now is.
    let here = format!("note     {}/", other.join("sessions/alder").display());
    assert!(notes.iter().all(|note| note.starts_with(&here)), "{notes:?}");
    let found = carried(&other.join("sessions/alder"));
    for (path, value) in &expected {
        assert_eq!(found.get(path), Some(value), "{}", path.display());
    }
    assert_eq!(found.len(), expected.len());
    for key in ["birch", "cedar", "dogwood", "elm", "fern", "ginkgo"] {
        assert_eq!(content(&other.join("sessions").join(key)), content(&root.session(key)), "{key}");
    }
    let names: Vec<String> = fs_err::read_dir(&other)
        .expect("a root")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| name != "sessions" && name != "state" && name != "names")
        .collect();
    assert_eq!(names, Vec::<String>::new());
    assert_eq!(ok(&elsewhere(&root, "other", &["verify", "--quiet"])), "");
    // And it goes on where it stopped.
    let said = elsewhere(&root, "other", &["send", "birch", "what did I say"]);
    assert_eq!(ok(&said), "1. one\n2. two\n");
    let said = elsewhere(&root, "other", &["send", "ginkgo", "what did I say"]);
    assert_eq!(ok(&said), "1. one\n2. two\n");
}

#[test]
fn nothing_is_overwritten_and_a_choice_can_be_made() {
    let root = grove("nothing_is_overwritten_and_a_choice_can_be_made");
    let file = root.dir().join("some");
    let text = file.display().to_string();
    root.ok(&["export", "birch", "fern", "birch", "-o", &text]);
    let packed = fs_err::read(&file).expect("the file");
    let again = root.run(&["export", "birch", "-o", &text]);
    assert!(again.code == Some(1) && again.stderr.contains("is there already"), "{again:?}");
    assert_eq!(fs_err::read(&file).expect("the file"), packed);
    for (args, code, words) in [
        (&["export", "birch", "-o", "/nowhere/x"][..], 1, "/nowhere"),
        (&["export", "birch", "-o", "/"], 2, "is no name for a file"),
        (&["export", "nobody", "-o", "x"], 1, "there is no session `nobody`"),
        (&["export", "-o", "x"], 2, "required"),
        (&["export", "birch", "--all", "-o", "x"], 2, "cannot be used with"),
        (&["import", &text, "nobody"], 1, "there is no session `nobody` in the file"),
        (&["import", &text, "--as", "new"], 2, "`--as` is for one session, and 2 are chosen"),
        (&["import", &text, "birch", "--as", ".."], 2, "may not be `..`"),
        (&["restore", "nowhere"], 1, "nowhere"),
        (&["restore", "."], 1, "is no root"),
        (&["restore", &root.path().display().to_string()], 2, "not a backup"),
        (&["verify", "nowhere"], 1, "nowhere"),
    ] {
        let before = Tree::of(&[root.path(), root.home()]);
        let output = root.run(args);
        assert!(output.code == Some(code) && output.stderr.contains(words), "{args:?}: {output:?}");
        before.assert_same(&Tree::of(&[root.path(), root.home()]), &format!("{args:?}"));
    }
    // Both are here.
    let before = Tree::of_root(&root.path());
    let output = root.run(&["import", &text]);
    assert_eq!((output.code, output.stderr.matches("not imported").count()), (Some(1), 2), "{output:?}");
    before.assert_same(&Tree::of_root(&root.path()), "import of what is here");
    // One is, the other comes in.
    root.ok(&["rm", "fern"]);
    let before = Tree::of_root(&root.path());
    let output = root.run(&["import", &text, "--dry-run"]);
    assert_eq!((output.code, output.stdout.starts_with("would import   fern: ")), (Some(1), true), "{output:?}");
    before.assert_same(&Tree::of_root(&root.path()), "a dry run");
    let output = root.run(&["import", &text]);
    assert_eq!((output.code, output.stdout.starts_with("imported       fern: ")), (Some(1), true), "{output:?}");
    // Beside the original it is a copy with a uuid of its own.
    root.ok(&["import", &text, "birch", "--as", "Birch, again"]);
    let copy = root.json(&["status", "Birch, again"])["record"].clone();
    let birch = record(&root.session("birch"));
    assert_ne!(copy["uuid"], birch["uuid"]);
    assert_eq!((&copy["forked_from"]["uuid"], &copy["forked_from"]["key"]), (&birch["uuid"], &birch["key"]));
    assert_eq!(root.ok(&["send", "Birch, again", "what did I say"]), "1. one\n2. two\n");
    assert_eq!(record(&root.session("birch")), birch);
    // Only what was chosen, and its uuid if it is not known.
    ok(&elsewhere(&root, "other", &["import", &text, "birch"]));
    assert_eq!(record(&root.dir().join("other/sessions/birch")), birch);
    assert!(!root.dir().join("other/sessions/fern").exists());
    ok(&elsewhere(&root, "third", &["import", &text, "fern", "--as", "other"]));
    assert_eq!(record(&root.dir().join("third/sessions/other"))["uuid"], record(&root.session("fern"))["uuid"]);
    assert_eq!(ok(&elsewhere(&root, "third", &["verify", "--quiet"])), "");
}

#[test]
fn a_pipe_carries_sessions() {
    let root = grove("a_pipe_carries_sessions");
    let mut pipe = root.command("sh");
    let denizen = env!("CARGO_BIN_EXE_denizen");
    let script = format!("mkdir other; '{denizen}' export --all -o - | '{denizen}' --root other import - --json");
    pipe.args(["-ec", &script]).current_dir(root.dir());
    let output = run(pipe, "");
    assert_eq!((output.code, output.stdout.lines().count()), (Some(0), 7), "{output:?}");
    for key in ["alder", "birch", "cedar", "dogwood", "elm", "fern", "ginkgo"] {
        let other = root.dir().join("other/sessions").join(key);
        assert_eq!(content(&other), content(&root.session(key)), "{key}");
    }
    assert_eq!(fs_err::read_dir(root.dir().join("other/state/tmp")).expect("a directory").count(), 0);
}

#[test]
fn what_is_imported_gets_no_grant() {
    let root = grove("what_is_imported_gets_no_grant");
    let file = root.dir().join("one").display().to_string();
    let old = record(&root.session("alder"));
    root.ok(&["export", "alder", "-o", &file]);
    root.ok(&["rm", "alder", "--purge"]);
    assert!(root.path().join("access/sessions/alder.json").exists(), "the grant stays for its uuid");
    root.ok(&["import", &file]);
    let new = record(&root.session("alder"));
    assert_ne!(new["uuid"], old["uuid"]);
    assert_eq!(new["forked_from"]["uuid"], old["uuid"]);
    assert_eq!(root.ok(&["exec", "alder", "--", "pwd"]).trim(), root.session("alder").display().to_string());
}

#[test]
fn a_busy_session_is_waited_for_or_left_alone() {
    let root = Root::new("a_busy_session_is_waited_for_or_left_alone");
    let mut fake = Fake::new(&root, "[ \"$message\" = one ] || { say begin; gate; }; echo heard");
    root.ok(&["send", "alder", "one"]);
    shell(root.dir(), "cp -a root backup; rm -r backup/state");
    root.ok(&["send", "alder", "one"]);
    let file = root.dir().join("x").display().to_string();
    let backup = root.dir().join("backup").display().to_string();
    let running = Running::denizen(&root, &["send", "alder", "two"]);
    fake.wait_for(1);
    let in_queue = || {
        let entries = fs_err::read_dir(root.path().join("state/queue/alder")).expect("a queue").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    // A turn of more than a second shows what it does, and then does nothing new.
    crate::support::fake::until("the turn to show itself", || {
        let shown = in_queue().iter().any(|name| name.ends_with(".live"))
            && root.path().join("state/control/changed/alder").exists();
        if shown { Ok(()) } else { Err(format!("{:?}", in_queue())) }
    });
    let before = Tree::of_root(&root.path());
    for args in [&["export", "alder", "-o", &file, "--wait", "1s"][..], &["restore", &backup, "alder", "--wait", "1s"]]
    {
        let output = root.run(args);
        assert_eq!(output.code, Some(4), "{args:?}: {output:?}");
        before.assert_same(&Tree::of_root(&root.path()), &format!("{args:?}"));
    }
    let exists = |name: &str| root.dir().join(name).exists();
    assert_eq!((exists("x"), exists("x.partial")), (false, false));
    let waiting = Running::denizen(&root, &["export", "alder", "-o", &file, "--wait", "60s"]);
    // It stands in line behind the turn.
    crate::support::fake::until("a place in line", || {
        let places = in_queue().iter().filter(|name| !name.ends_with(".live")).count();
        if places == 2 { Ok(()) } else { Err(format!("{places} places")) }
    });
    fake.release(1);
    assert_eq!(running.end().code, Some(0));
    let output = waiting.end();
    assert_eq!(output.code, Some(0), "{output:?}");
    ok(&elsewhere(&root, "other", &["import", &file]));
    assert_eq!(record(&root.dir().join("other/sessions/alder"))["turns"], 3);
}

#[test]
fn sessions_that_are_worked_in_are_exported_whole() {
    let root = grove("sessions_that_are_worked_in_are_exported_whole");
    let turns = if full() { 40 } else { 6 };
    std::thread::scope(|scope| {
        let busy: Vec<_> = [("alder", "claude"), ("birch", "notes"), ("fern", "fake"), ("new", "notes")]
            .into_iter()
            .map(|(key, provider)| {
                let root = &root;
                scope.spawn(move || {
                    for turn in 0..turns {
                        root.ok(&["send", key, &format!("\"{turn}\""), "--provider", provider, "--wait", "60s"]);
                    }
                })
            })
            .collect();
        let mut count = 0;
        while busy.iter().any(|busy| !busy.is_finished()) {
            let file = root.dir().join(format!("export-{count}")).display().to_string();
            let exported = root.run(&["export", "--all", "-o", &file, "--wait", "60s"]);
            assert_eq!(exported.code, Some(0), "{exported:?}");
            let name = format!("other-{count}");
            ok(&elsewhere(&root, &name, &["import", &file]));
            // Nothing at all: each was exported between two turns.
            let verified = elsewhere(&root, &name, &["verify", "--json"]);
            assert!(verified.code == Some(0) && verified.stdout.lines().count() == 1, "{verified:?}");
            count += 1;
        }
        println!("{count} exports while 4 sessions took {turns} turns each");
    });
}

#[test]
fn an_export_that_fails_leaves_no_file() {
    let root = grove("an_export_that_fails_leaves_no_file");
    fs_err::write(root.session("birch").join("session.json"), "{").expect("written");
    let file = root.dir().join("x");
    let text = file.display().to_string();
    let output = root.run(&["export", "fern", "birch", "-o", &text]);
    assert!(output.code == Some(1) && output.stderr.contains("birch/session.json"), "{output:?}");
    assert_eq!((file.exists(), root.dir().join("x.partial").exists()), (false, false));
    // Of all sessions, the others are worth having, and it is said which is missing.
    let output = root.run(&["export", "--all", "-o", &text]);
    assert!(output.code == Some(1) && output.stderr.contains("not exported: `birch`"), "{output:?}");
    assert_eq!(ok(&elsewhere(&root, "other", &["import", &text])).lines().count(), 6);
    // One that was killed is in nobody's way for long.
    fs_err::write(root.dir().join("y.partial"), "half").expect("written");
    let output = root.run(&["export", "fern", "-o", &root.dir().join("y").display().to_string()]);
    assert!(output.code == Some(1) && output.stderr.contains("hint: rm "), "{output:?}");
    assert_eq!(fs_err::read_to_string(root.dir().join("y.partial")).expect("the file"), "half");
}

/// A root in which `alder` took two turns, and a backup of after the first.
fn with_backup(test: &str) -> (Root, PathBuf) {
    let root = Root::new(test);
    root.ok(&["send", "alder", "one", "--provider", "notes"]);
    root.ok(&["send", "birch", "here", "--provider", "notes"]);
    shell(root.dir(), "chmod 700 root; cp -a root backup; rm -r backup/state");
    root.ok(&["send", "alder", "two"]);
    let backup = root.dir().join("backup");
    (root, backup)
}

#[test]
fn a_session_is_restored_and_the_other_one_is_in_the_trash() {
    let (root, backup) = with_backup("a_session_is_restored_and_the_other_one_is_in_the_trash");
    let at = backup.display().to_string();
    let before = Tree::of_root(&root.path());
    assert!(root.ok(&["restore", &at, "--dry-run"]).contains("would restore  alder"));
    before.assert_same(&Tree::of_root(&root.path()), "a dry run");
    // The one in place may be damaged in any way.
    for damage in [
        "rm -r alder/provider",
        ": > alder/session.json",
        "rm -r alder; mkdir alder",
        "rm -r alder; echo x > alder",
        "rm -r alder; ln -s birch alder",
        "rm -r alder",
    ] {
        let whole = root.dir().join("whole");
        copy_tree(&root.session("alder"), &whole);
        shell(&root.path().join("sessions"), damage);
        let birch = Tree::of(&[root.session("birch")]);
        let output = root.run(&["restore", &at, "alder"]);
        assert_eq!(output.code, Some(0), "{damage}: {output:?}");
        assert_eq!(content(&root.session("alder")), content(&backup.join("sessions/alder")), "{damage}");
        birch.assert_same(&Tree::of(&[root.session("birch")]), damage);
        let verified = root.run(&["verify", "--quiet"]);
        assert_eq!(verified.code, Some(0), "{damage}: {verified:?}");
        assert_eq!(root.ok(&["send", "alder", "what did I say"]), "1. one\n", "{damage}");
        // Back to how it was, for the next.
        shell(&root.path(), "rm -r sessions/alder; mv ../whole sessions/alder; rm -rf trash");
    }
    // Undone by what it says itself.
    let two = content(&root.session("alder"));
    let said = root.ok(&["restore", &at, "alder"]);
    let name = said.split("denizen trash restore ").nth(1).and_then(|rest| rest.split('`').next()).expect("a name");
    root.ok(&["rm", "alder", "--purge"]);
    root.ok(&["trash", "restore", name]);
    assert_eq!(content(&root.session("alder")), two);
    // Of all, what is the same is left alone.
    let birch = Tree::of(&[root.session("birch")]);
    let said = root.ok(&["restore", &at]);
    let lines: Vec<&str> = said.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
    assert_eq!(lines, ["restored       alder", "unchanged      birch"]);
    birch.assert_same(&Tree::of(&[root.session("birch")]), "restoring all");
    let before = Tree::of_root(&root.path());
    assert_eq!(root.ok(&["restore", &at]).matches("unchanged").count(), 2);
    before.assert_same(&Tree::of_root(&root.path()), "restoring the same again");
}

#[test]
fn a_damaged_backup_is_refused_unless_it_is_forced() {
    let (root, backup) = with_backup("a_damaged_backup_is_refused_unless_it_is_forced");
    let at = backup.display().to_string();
    fs_err::write(backup.join("sessions/alder/transcript.jsonl"), "").expect("written");
    let before = Tree::of_root(&root.path());
    for args in [&["restore", &at, "alder"][..], &["restore", &at], &["restore", &at, "alder", "--dry-run"]] {
        let output = root.run(args);
        assert!(output.code == Some(1) && output.stderr.contains("transcript.jsonl"), "{args:?}: {output:?}");
        before.assert_same(&Tree::of_root(&root.path()), &format!("{args:?}"));
    }
    let output = root.run(&["restore", &at, "alder", "--force"]);
    assert!(output.code == Some(0) && output.stdout.contains("damaged"), "{output:?}");
    assert_eq!(root.ok(&["send", "alder", "what did I say"]), "1. one\n");
    // What cannot even be read is nothing to go on with.
    fs_err::write(backup.join("sessions/alder/session.json"), "").expect("written");
    let before = Tree::of_root(&root.path());
    assert_eq!(root.run(&["restore", &at, "alder", "--force"]).code, Some(1));
    before.assert_same(&Tree::of_root(&root.path()), "a backup without a record");
}

#[test]
fn a_restored_session_works_where_its_owner_let_it() {
    let root = grove("a_restored_session_works_where_its_owner_let_it");
    shell(root.dir(), "cp -a root backup; rm -r backup/state");
    // The machine is lost, with everything.
    shell(&root.path(), "cp denizen.toml ../kept; rm -rf sessions access state names trash");
    let backup = root.dir().join("backup").display().to_string();
    assert_eq!(root.ok(&["restore", &backup]).lines().count(), 7);
    assert_eq!(root.ok(&["exec", "alder", "--", "pwd"]).trim(), root.home().display().to_string());
    for key in ["alder", "birch", "cedar", "dogwood", "elm", "fern", "ginkgo"] {
        let then = root.dir().join("backup/sessions").join(key);
        assert_eq!(content(&root.session(key)), content(&then), "{key}");
    }
    assert_eq!(root.run(&["verify", "--quiet"]).code, Some(0));
    // A copy of one folder only has no grant to bring back.
    root.ok(&["rm", "alder", "--purge"]);
    shell(&root.path(), "rm -r access");
    root.ok(&["restore", &root.dir().join("backup/sessions/alder").display().to_string()]);
    assert_eq!(root.ok(&["exec", "alder", "--", "pwd"]).trim(), root.session("alder").display().to_string());
}

#[test]
fn a_full_disk_during_export_import_and_restore_loses_nothing() {
    let test = "a_full_disk_during_export_import_and_restore_loses_nothing";
    let (root, _) = with_backup(test);
    let random = "head -c 600000 /dev/urandom > ";
    shell(root.dir(), &format!("{random} backup/sessions/alder/big; {random} root/sessions/birch/big"));
    root.ok(&["export", "birch", "-o", &root.dir().join("birch").display().to_string()]);
    let script = r#"
        cp -a "$1" "$1/../kept"; cd "$1/.."
        mount -t tmpfs -o size=2m,mode=700 none "$1"
        cp -a kept/sessions "$1"
        denizen verify --quiet
        dd if=/dev/zero of="$1/filler" bs=4k count=260 2> /dev/null
        before=$(find "$1/sessions" -type f -exec sha256sum {} + | sort | sha256sum)
        denizen export --all -o "$1/all"
        denizen restore backup alder
        denizen import birch --as other
        dd if=/dev/zero of="$1/filler" bs=4k 2> /dev/null || true
        denizen export alder -o "$1/all"
        denizen restore backup alder
        denizen verify --quiet
        after=$(find "$1/sessions" -type f -exec sha256sum {} + | sort | sha256sum)
        [ "$before" = "$after" ] && echo same
        ls "$1" "$1/state/tmp"
        rm "$1/filler"
        denizen restore backup alder
        denizen verify --quiet
    "#;
    let Some(said) = in_namespace(&root, test, script) else { return };
    let number = |word: &str| word.len() > 4 && word.bytes().all(|byte| byte.is_ascii_digit());
    let lines = said.lines().map(|line| {
        let words = line.split(' ').map(|word| if number(word) { "<size>" } else { word });
        words.collect::<Vec<_>>().join(" ")
    });
    assert_eq!(
        lines.collect::<Vec<_>>().join("\n"),
        "= 0
error: could not export `~test/root/sessions/birch/big`: No space left on device (os error 28)
hint: free some space; what was there before is still there
= 1
error: could not write `~test/root/state/tmp/<name>/alder/big`: No space left on device (os error 28)
hint: free some space; what was there before is still there
= 1
error: the archive holds <size> bytes, and <size> are free below `~test/root/state/tmp/<name>`
hint: free some space; nothing was changed
= 1
error: could not write `~test/root/all`: No space left on device (os error 28)
hint: free some space; what was there before is still there
= 1
error: could not write `~test/root/state/tmp/<name>/alder/session.json`: No space left on device (os error 28)
hint: free some space; what was there before is still there
= 1
= 0
same
~test/root:
filler
sessions
state

~test/root/state/tmp:
restored       alder: 1 turn, used now; the one that was here: `denizen trash restore <time>-alder`
= 0
= 0"
    );
}

#[cfg(target_arch = "x86_64")]
mod killed {
    use super::*;
    use crate::support::killat::{self, Calls, Scope, Strike, Traced};

    /// Runs a command in a copy of the root for each of its system calls that
    /// change something, killed before it, and looks at what is left.
    fn sweep(root: &Root, args: &[&str], look: impl Fn(&Path) -> Result<(), String> + Sync) {
        let at = |number: usize, strike| -> (Traced, PathBuf) {
            let dir = root.dir().join(format!("{}-{number}", args[0]));
            fs_err::create_dir(&dir).expect("a directory");
            copy_tree(&root.path(), &dir.join("root"));
            let mut command = root.denizen();
            command.args(args).env("DENIZEN_ROOT", dir.join("root")).env("DENIZEN_DURABILITY", "power");
            (killat::run(&command, &dir, Scope::Program, Calls::Changing, strike).expect("traced"), dir.join("root"))
        };
        let (unharmed, done) = at(0, Strike::None);
        assert_eq!(unharmed.code, Some(0), "{unharmed:#?}");
        look(&done).expect("unharmed");
        let points: Vec<usize> = (1..=unharmed.calls.len()).collect();
        let wrong = all(&points, |point| {
            let call = &unharmed.calls[point - 1];
            let wrong = |what: String| Err(format!("{args:?} killed before {point}, {call:?}: {what}"));
            let (traced, dir) = at(*point, Strike::Kill(*point));
            if !traced.struck {
                return wrong(format!("it had ended: {traced:?}"));
            }
            look(&dir).or_else(wrong)
        });
        println!("{} kills of {args:?}", points.len());
        assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), points.len(), wrong.join("\n"));
    }

    fn permitted(root: &Root, test: &str) -> bool {
        let permitted = killat::is_permitted(root.dir());
        if !permitted {
            did_not_run(test, "ptrace is not permitted", "run it where one's own processes may be traced");
        }
        permitted
    }

    fn run_in(root: &Root, dir: &Path, args: &[&str]) -> Output {
        let mut command = root.denizen();
        command.args(args).env("DENIZEN_ROOT", dir).env("DENIZEN_DURABILITY", "process");
        run(command, "")
    }

    #[test]
    fn a_killed_restore_leaves_the_old_session_or_the_new_one() {
        let (root, backup) = with_backup("a_killed_restore_leaves_the_old_session_or_the_new_one");
        if !permitted(&root, "keep::killed::a_killed_restore_leaves_the_old_session_or_the_new_one") {
            return;
        }
        let (old, new) = (content(&root.session("alder")), content(&backup.join("sessions/alder")));
        let birch = content(&root.session("birch"));
        let at = backup.display().to_string();
        let args = ["restore", &at, "alder"];
        sweep(&root, &args, |dir| {
            let here = dir.join("sessions/alder");
            let trash = std::fs::read_dir(dir.join("trash")).into_iter().flatten().flatten();
            let trashed: Vec<_> = trash.map(|entry| content(&entry.path())).collect();
            let found = here.exists().then(|| content(&here));
            let allowed = match &found {
                Some(found) if *found == old => trashed.is_empty(),
                Some(found) => *found == new && trashed == [old.clone()],
                None => trashed == [old.clone()],
            };
            if !allowed || content(&dir.join("sessions/birch")) != birch {
                return Err(format!("{found:?}, in the trash {trashed:?}"));
            }
            let verified = run_in(&root, dir, &["verify", "--quiet"]);
            let again = run_in(&root, dir, &args);
            let after = content(&here) == new;
            let said = run_in(&root, dir, &["send", "alder", "what did I say"]);
            if verified.code == Some(0) && again.code == Some(0) && after && said.stdout == "1. one\n" {
                return Ok(());
            }
            Err(format!("{verified:?}, {again:?}, {said:?}"))
        });
    }

    #[test]
    fn a_killed_import_leaves_whole_sessions() {
        let (root, _) = with_backup("a_killed_import_leaves_whole_sessions");
        if !permitted(&root, "keep::killed::a_killed_import_leaves_whole_sessions") {
            return;
        }
        let file = root.dir().join("both").display().to_string();
        root.ok(&["export", "--all", "-o", &file]);
        let (alder, birch) = (content(&root.session("alder")), content(&root.session("birch")));
        // One keeps its uuid, the other is beside its original.
        root.ok(&["rm", "alder", "--purge"]);
        let is_copy = |dir: &Path| {
            let mut found = content(dir);
            let record = record(dir);
            found.remove(Path::new("session.json"));
            let mut rest = birch.clone();
            rest.remove(Path::new("session.json"));
            found == rest && record["forked_from"]["key"] == "birch"
        };
        let args = ["import", &file, "alder"];
        sweep(&root, &args, |dir| {
            let here = dir.join("sessions/alder");
            if here.exists() && content(&here) != alder {
                return Err("a part of a session".to_owned());
            }
            let again = run_in(&root, dir, &args);
            let verified = run_in(&root, dir, &["verify", "--quiet"]);
            let fine = again.code == Some(0) || again.stderr.contains("there is a session `alder` already");
            if fine && verified.code == Some(0) && content(&here) == alder {
                return Ok(());
            }
            Err(format!("{again:?}, {verified:?}"))
        });
        let file = root.dir().join("one").display().to_string();
        root.ok(&["export", "birch", "-o", &file]);
        root.ok(&["import", &file, "--as", "copy"]);
        assert!(is_copy(&root.session("copy")));
    }
}

#[test]
fn modes_of_imported_files_are_private() {
    let (root, _) = with_backup("modes_of_imported_files_are_private");
    let file = root.dir().join("x").display().to_string();
    fs_err::set_permissions(root.session("alder").join("memory"), PermissionsExt::from_mode(0o777)).expect("a mode");
    root.ok(&["export", "alder", "-o", &file]);
    let mut import = Command::new("sh");
    let other = root.dir().join("other");
    import.args(["-c", "umask 0; exec \"$0\" --root \"$1\" import \"$2\"", env!("CARGO_BIN_EXE_denizen")]);
    import.arg(&other).arg(&file).env_clear().env("HOME", root.home());
    assert_eq!(run(import, "").code, Some(0));
    let open: Vec<PathBuf> = walkdir::WalkDir::new(&other)
        .min_depth(1)
        .into_iter()
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| !entry.file_type().is_symlink())
        .filter(|entry| entry.metadata().expect("metadata").mode() & 0o077 != 0)
        .map(|entry| entry.path().to_owned())
        .collect();
    assert_eq!(open, Vec::<PathBuf>::new());
}
