//! Disks that are full, read-only, or partly so: what was acknowledged stays,
//! what could not be done is named, and all goes on when there is room again.
//!
//! The disks are small file systems in a mount namespace of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::clis::did_not_run;
use crate::support::fake::Fake;
use crate::support::proof::USER;
use crate::support::root::{Output, Root, run};
use crate::support::words::{plain, words};

/// Runs a script in a mount namespace, in which `$1` is the root and `denizen`
/// the program. `None` if there are no such namespaces.
pub(crate) fn in_namespace(root: &Root, test: &str, script: &str) -> Option<String> {
    let mut probe = Command::new("unshare");
    probe.args(["--user", "--map-root-user", "--mount", "true"]);
    let user = if rustix::process::getuid().is_root() { &[][..] } else { &["--user", "--map-root-user"] };
    if !probe.output().is_ok_and(|output| output.status.success()) && !rustix::process::getuid().is_root() {
        did_not_run(test, "there are no mount namespaces for this user", "run as root, or allow user namespaces");
        return None;
    }
    let mut command = root.command("unshare");
    let path = root.path().display().to_string();
    let denizen = format!(
        "denizen() {{ code=0; '{}' \"$@\" > \"$1.said\" 2>&1 || code=$?; sed 's|state/tmp/[0-9-]*|state/tmp/<name>|' \"$1.said\"; echo \"= $code\"; }}\n{script}",
        env!("CARGO_BIN_EXE_denizen")
    );
    command.args(user).args(["--mount", "--propagation", "private", "sh", "-ec", &denizen, "sh", &path]);
    let output = run(command, "");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    Some(plain(root, &output.stdout))
}

#[test]
fn a_full_disk_loses_nothing() {
    let test = "a_full_disk_loses_nothing";
    let root = Root::new(test);
    // The script fills the disk in the middle of its turn, where it is told to.
    let _fake = Fake::new(
        &root,
        r#"if [ "$message" = fill ]; then dd if=/dev/zero of="$1/../../filler" bs=4k >/dev/null 2>&1; fi; echo "heard $message""#,
    );
    let script = r#"
        cp "$1/denizen.toml" "$1/../kept.toml"
        mount -t tmpfs -o size=1m,mode=700 none "$1"
        cp "$1/../kept.toml" "$1/denizen.toml"
        denizen send alder one
        denizen send alder fill
        denizen send alder two
        denizen send birch one
        denizen history alder --json | grep -o '"text":"[a-z ]*"'
        ls "$1/sessions" "$1/state/queue/alder" "$1/state/queue/birch" "$1/state/tmp"
        rm "$1/filler"
        denizen send alder three
        denizen pending alder
        denizen status alder --json | grep -o '"turns":[0-9]*'
        denizen send birch one
    "#;
    let Some(said) = in_namespace(&root, test, script) else { return };
    assert_eq!(
        said,
        r#"heard one
= 0
heard fill
error: the reply could not be recorded: could not write the temporary `~test/root/state/tmp/<name>`: No space left on device (os error 28)
hint: free some space; what was there before is still there
= 1
error: could not write the temporary `~test/root/state/tmp/<name>`: No space left on device (os error 28)
hint: free some space; what was there before is still there
= 1
error: could not write `~test/root/state/tmp/<name>/session.json`: No space left on device (os error 28)
hint: free some space; what was there before is still there
= 1
"text":"one"
"text":"heard one"
"text":"fill"
"text":"heard fill"
~test/root/sessions:
alder

~test/root/state/queue/alder:

~test/root/state/queue/birch:

~test/root/state/tmp:
heard three
= 0
every message was answered
= 0
"turns":3
"turns":3
heard one
= 0"#
    );
}

#[test]
fn a_read_only_disk_can_be_looked_at() {
    let test = "a_read_only_disk_can_be_looked_at";
    let root = Root::new(test);
    let _fake = Fake::new(&root, "echo heard");
    root.ok(&["send", "alder", "one"]);
    let script = r#"
        mount --bind "$1" "$1"
        mount -o remount,ro,bind "$1"
        denizen send alder two
        denizen send birch two
        denizen new alder
        denizen rm alder
        denizen path alder
        denizen status alder --json | grep -o '"turns":[0-9]*'
        denizen ls --json | grep -o '"key":"[a-z]*"'
        denizen history alder --json | grep -o '"text":"[a-z]*"'
        denizen pending alder
        denizen usage alder --json
    "#;
    let Some(said) = in_namespace(&root, test, script) else { return };
    assert_eq!(
        said,
        r#"error: could not make `~test/root/state/queue/alder/<number>.hold`: Read-only file system (os error 30)
hint: the file system is mounted read-only
= 1
error: could not make the directory `~test/root/state/queue/birch`: Read-only file system (os error 30)
hint: the file system is mounted read-only
= 1
error: could not make `~test/root/state/queue/alder/<number>.hold`: Read-only file system (os error 30)
hint: the file system is mounted read-only
= 1
error: could not make `~test/root/state/queue/alder/<number>.hold`: Read-only file system (os error 30)
hint: the file system is mounted read-only
= 1
~test/root/sessions/alder
= 0
"turns":1
"turns":1
"key":"alder"
"text":"one"
"text":"heard"
every message was answered
= 0
{"key":"alder","turns":1,"usage":{"input_tokens":0,"cached_tokens":0,"output_tokens":0}}
= 0"#
    );
}

/// Runs `denizen` as its own user without the rights of root; `None` if that
/// is not possible.
fn unprivileged(root: &Root, test: &str, args: &[&str]) -> Option<Output> {
    if !rustix::process::getuid().is_root() {
        return Some(root.run(args));
    }
    let mut command = root.command("unshare");
    command.args(["--user", "--map-user=1000", "--map-group=1000", env!("CARGO_BIN_EXE_denizen")]).args(args);
    let output = run(command, "");
    if output.stderr.starts_with("unshare: ") {
        did_not_run(test, "root cannot give up its rights here", "run as another user, or allow user namespaces");
        return None;
    }
    Some(output)
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let test = "a_folder_that_cannot_be_written_is_named";
    let root = Root::new(test);
    let _fake = Fake::new(&root, "echo \"heard $message\"");
    root.ok(&["send", "alder", "one"]);
    root.ok(&["send", "birch", "one"]);
    let mode = |mode| fs_err::set_permissions(root.session("alder"), PermissionsExt::from_mode(mode)).expect("a mode");
    if rustix::process::getuid().is_root() {
        std::os::unix::fs::chown(root.session("alder"), Some(USER), None).expect("given away");
    } else {
        did_not_run(test, "a folder of another user is needed", "run as root");
        return;
    }
    let unopened = "1\nerror: could not open the directory `~test/root/sessions/alder`: Permission denied (os error 13)\n\
                    hint: check who owns it: ls -ld ~test/root/sessions/alder";
    let unreplaced = |name: &str| {
        format!(
            "could not replace `~test/root/sessions/alder/{name}`: Permission denied (os error 13)\n\
             hint: check who owns it: ls -ld ~test/root/sessions/alder/{name}"
        )
    };
    for (bits, args, said) in [
        (0o000, &["send", "alder", "two"][..], unopened.to_owned()),
        (0o000, &["new", "alder"], unopened.to_owned()),
        (0o000, &["status", "alder"], unopened.to_owned()),
        (0o755, &["new", "alder"], format!("1\nerror: {}", unreplaced("session.json"))),
        (0o755, &["set", "alder", "model", "x"], format!("1\nerror: {}", unreplaced("settings.json"))),
        (
            0o755,
            &["send", "alder", "three"],
            format!("1\nerror: the reply could not be recorded: {}", unreplaced("session.json")),
        ),
    ] {
        mode(bits);
        let Some(output) = unprivileged(&root, test, args) else { return };
        assert_eq!(words(&root, &output), said, "{bits:o} {args:?}");
        let other = unprivileged(&root, test, &["send", "birch", "two"]).expect("as before");
        assert_eq!((other.code, other.stdout.as_str()), (Some(0), "heard two\n"), "{other:?}");
    }
    std::os::unix::fs::chown(root.session("alder"), Some(0), None).expect("taken back");
    // What is its own is opened again; the one turn that was asked is in the history.
    for bits in [0o000, 0o500] {
        mode(bits);
        let output = unprivileged(&root, test, &["send", "alder", "four"]).expect("as before");
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), "heard four\n"), "{output:?}");
    }
    assert_eq!(root.json(&["status", "alder"])["record"]["turns"], 4);
}
