//! A session whose files are not what they should be is left as it is and
//! named; the others go on.

use std::process::Command;

use crate::support::fake::Fake;
use crate::support::root::{Root, run};
use crate::support::tree::Tree;
use crate::support::words::words;

/// What is done to the sessions, and what is said of it.
struct Bad {
    name: &'static str,
    /// Run in `sessions/`.
    script: &'static str,
    said: &'static str,
    /// Whether it concerns only those who need the settings.
    settings: bool,
}

const BAD: &[Bad] = &[
    Bad {
        name: "the folder is a link",
        script: "mv alder gone; ln -s birch alder",
        said: "`~test/root/sessions/alder` is or leads through a symbolic link, which is never followed\n\
               hint: put a real file or directory there: ls -l ~test/root/sessions/alder",
        settings: false,
    },
    Bad {
        name: "the folder is a file",
        script: "mv alder gone; echo x > alder",
        said: "could not open the directory `~test/root/sessions/alder`: Not a directory (os error 20)\n\
               hint: move what stands there away: ls -ld ~test/root/sessions/alder",
        settings: false,
    },
    Bad {
        name: "the folder is a FIFO",
        script: "mv alder gone; mkfifo alder",
        said: "could not open the directory `~test/root/sessions/alder`: Not a directory (os error 20)\n\
               hint: move what stands there away: ls -ld ~test/root/sessions/alder",
        settings: false,
    },
    Bad {
        name: "session.json is gone",
        script: "rm alder/session.json",
        said: "could not read `~test/root/sessions/alder/session.json`: No such file or directory (os error 2)\n\
               hint: bring it back from a backup: `denizen restore BACKUP alder`, or move the folder away",
        settings: false,
    },
    Bad {
        name: "session.json is of a later version",
        script: r#"echo '{"version": 2, "other": true}' > alder/session.json"#,
        said: "`~test/root/sessions/alder/session.json` has version 2, this program knows up to 1\n\
               hint: update denizen; the file was left as it is",
        settings: false,
    },
    Bad {
        name: "session.json is a directory",
        script: "rm alder/session.json; mkdir alder/session.json",
        said: "`~test/root/sessions/alder/session.json` is a directory, not a regular file\n\
               hint: move it away: ls -ld ~test/root/sessions/alder/session.json",
        settings: false,
    },
    Bad {
        name: "session.json is a FIFO",
        script: "rm alder/session.json; mkfifo alder/session.json",
        said: "`~test/root/sessions/alder/session.json` is a FIFO, not a regular file\n\
               hint: move it away: ls -ld ~test/root/sessions/alder/session.json",
        settings: false,
    },
    Bad {
        name: "session.json is a link",
        script: "mv alder/session.json alder/x; ln -s x alder/session.json",
        said: "`~test/root/sessions/alder/session.json` is or leads through a symbolic link, which is never followed\n\
               hint: put a real file or directory there: ls -l ~test/root/sessions/alder/session.json",
        settings: false,
    },
    Bad {
        name: "session.json has two names",
        script: "ln alder/session.json alder/x",
        said: "`~test/root/sessions/alder/session.json` has 2 hard links, it must have one\n\
               hint: make it a file of its own: cp --remove-destination ~test/root/sessions/alder/session.json ~test/root/sessions/alder/session.json.new && mv ~test/root/sessions/alder/session.json.new ~test/root/sessions/alder/session.json",
        settings: false,
    },
    Bad {
        name: "session.json is huge",
        script: "truncate -s 1G alder/session.json",
        said: "`~test/root/sessions/alder/session.json` has 1073741824 bytes, at most 16777216 are read\n\
               hint: look at it, and move it away: ls -l ~test/root/sessions/alder/session.json",
        settings: false,
    },
    Bad {
        name: "session.json is not UTF-8",
        script: r#"printf '{"version": 1, "key": "\377"}' > alder/session.json"#,
        said: "~test/root/sessions/alder/session.json:1:24: invalid unicode code point\n\
               hint: correct it by hand, or bring it back: `denizen restore BACKUP KEY`; it was left as it is",
        settings: false,
    },
    Bad {
        name: "settings.json is broken",
        script: r#"printf '{\n "model": opus\n}' > alder/settings.json"#,
        said: "~test/root/sessions/alder/settings.json:2:11: expected value\n\
               hint: correct it by hand, or bring it back: `denizen restore BACKUP KEY`; it was left as it is",
        settings: true,
    },
    Bad {
        name: "settings.json is a directory",
        script: "rm alder/settings.json; mkdir alder/settings.json",
        said: "`~test/root/sessions/alder/settings.json` is a directory, not a regular file\n\
               hint: move it away: ls -ld ~test/root/sessions/alder/settings.json",
        settings: true,
    },
    Bad {
        name: "settings.json is a FIFO",
        script: "rm alder/settings.json; mkfifo alder/settings.json",
        said: "`~test/root/sessions/alder/settings.json` is a FIFO, not a regular file\n\
               hint: move it away: ls -ld ~test/root/sessions/alder/settings.json",
        settings: true,
    },
    Bad {
        name: "settings.json is a link",
        script: "ln -sf ../birch/settings.json alder/settings.json",
        said: "`~test/root/sessions/alder/settings.json` is or leads through a symbolic link, which is never followed\n\
               hint: put a real file or directory there: ls -l ~test/root/sessions/alder/settings.json",
        settings: true,
    },
    Bad {
        name: "settings.json has two names",
        script: "ln alder/settings.json alder/x",
        said: "`~test/root/sessions/alder/settings.json` has 2 hard links, it must have one\n\
               hint: make it a file of its own: cp --remove-destination ~test/root/sessions/alder/settings.json ~test/root/sessions/alder/settings.json.new && mv ~test/root/sessions/alder/settings.json.new ~test/root/sessions/alder/settings.json",
        settings: true,
    },
    Bad {
        name: "settings.json is huge",
        script: "truncate -s 1G alder/settings.json",
        said: "`~test/root/sessions/alder/settings.json` has 1073741824 bytes, at most 16777216 are read\n\
               hint: look at it, and move it away: ls -l ~test/root/sessions/alder/settings.json",
        settings: true,
    },
];

/// Runs a script in `sessions/`.
fn in_sessions(root: &Root, script: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-ec", script]).current_dir(root.path().join("sessions"));
    let output = run(shell, "");
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn a_session_with_bad_files_is_left_as_it_is() {
    let root = Root::new("a_session_with_bad_files_is_left_as_it_is");
    let _fake = Fake::new(&root, "echo heard");
    root.ok(&["send", "birch", "x"]);
    root.ok(&["send", "alder", "x"]);
    in_sessions(&root, "cp -a alder ../../whole");
    let mut wrong = Vec::new();
    for bad in BAD {
        in_sessions(&root, "rm -rf alder gone; cp -a ../../whole alder");
        in_sessions(&root, bad.script);
        let before = Tree::of_root(&root.path());
        let everywhere =
            [&["new", "alder"][..], &["rename", "alder", "x"], &["status", "alder"], &["archive", "alder"]];
        let settings = [&["send", "alder", "x"][..], &["set", "alder", "model", "x"]];
        let commands = settings.iter().chain(if bad.settings { [].iter() } else { everywhere.iter() });
        for args in commands {
            let said = words(&root, &root.run(args));
            if said != format!("1\nerror: {}", bad.said) {
                wrong.push(format!("{}: denizen {args:?}: {said}", bad.name));
            }
            before.assert_same(&Tree::of_root(&root.path()), &format!("{}: denizen {args:?}", bad.name));
        }
        let listed = root.run(&["ls"]);
        assert_eq!(
            (listed.code, listed.stderr.contains("alder")),
            (Some(0), !bad.settings),
            "{}: {listed:?}",
            bad.name
        );
        assert_eq!(root.ok(&["send", "birch", "y"]), "heard\n");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_working_directory_that_is_gone_is_named() {
    let root = Root::new("a_working_directory_that_is_gone_is_named");
    let granted = root.dir().join("granted");
    fs_err::create_dir(&granted).expect("a directory");
    let fake = Fake::with_config(
        &root,
        "say \"in $(pwd)\"; echo heard",
        &format!("working_dirs = [\"{}\"]", granted.display()),
    );
    root.ok(&["send", "alder", "x"]);
    root.ok(&["cd", "alder", &granted.display().to_string()]);
    root.ok(&["send", "alder", "x"]);
    fs_err::remove_dir(&granted).expect("removed");
    let before = Tree::of_root(&root.path());
    for args in [&["send", "alder", "x"][..], &["exec", "alder", "--", "true"]] {
        assert_eq!(
            words(&root, &root.run(args)),
            "1\nerror: the working directory `~test/granted` is not there: No such file or directory (os error 2)\n\
             hint: make it again, or let the session work in its own folder: `denizen cd <key> --home`"
        );
        before.assert_same(&Tree::of_root(&root.path()), "a turn without its directory");
    }
    root.ok(&["cd", "alder", "--home"]);
    root.ok(&["send", "alder", "x"]);
    let home = format!("in {}", root.session("alder").display());
    assert_eq!(fake.said(), [home.clone(), format!("in {}", granted.display()), home]);
}

/// Links for people are derived: that they cannot be made is nobody's problem.
#[test]
fn names_that_cannot_be_kept_keep_nobody_from_anything() {
    let root = Root::new("names_that_cannot_be_kept_keep_nobody_from_anything");
    let _fake = Fake::new(&root, "echo heard");
    fs_err::write(root.path().join("names"), "in the way").expect("written");
    assert_eq!(root.ok(&["send", "alder", "x"]), "heard\n");
    root.ok(&["rename", "alder", "a title"]);
    root.ok(&["rm", "alder"]);
    root.ok(&["trash", "restore", "alder"]);
    assert_eq!(root.json(&["status", "alder"])["record"]["title"], "a title");
}
