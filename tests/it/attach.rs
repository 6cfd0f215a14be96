//! The terminal in a session's place: the provider's own UI, on the same
//! conversation, and under the same lock as every message.

use std::os::unix::fs::PermissionsExt;

use crate::support::clis::did_not_run;
use crate::support::fake::{Fake, Running};
use crate::support::root::{Root, write};

/// A terminal UI: it wants a terminal, keeps a conversation, and stays until
/// the gate lets it go. Its name tells what it was started with.
const UI: &str = r#"#!/bin/sh
T='{T}'
[ -t 0 ] && [ -t 1 ] || exit 9
printf '%s\n' "$@" > "$T/argv"
while [ $# -gt 0 ]; do
    case "$1" in --session-id) id=$2 ;; -r) id=$2 ;; esac
    shift
done
printf '{}\n' >> "$(echo "$CLAUDE_CONFIG_DIR"/projects/*)/$id.jsonl"
printf 'ui %s\n' "$(pwd)" >> "$T/events"
read -r _ < "$T/gate"
"#;

#[test]
fn attach_has_the_session_while_it_lasts() {
    let test = "attach::attach_has_the_session_while_it_lasts";
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return did_not_run(test, "`script` is missing", "install bsdutils");
    }
    let mut root = Root::new(test);
    let mut fake = Fake::claude(&mut root, "answer hello");
    root.ok(&["send", "alder", "first", "--provider", "notes"]);
    root.ok(&["set", "alder", "provider", "claude"]);
    let program = root.dir().join("bin/claude");
    write(&program, &UI.replace("{T}", &root.dir().display().to_string()));
    fs_err::set_permissions(&program, PermissionsExt::from_mode(0o700)).expect("a program");

    let terminal = |root: &Root| {
        let mut command = root.command("script");
        command.args(["-qec", &format!("{} attach alder", env!("CARGO_BIN_EXE_denizen")), "/dev/null"]);
        Running::start(command)
    };
    let first = terminal(&root);
    let said = fake.wait_for(1);
    assert_eq!(said, [format!("ui {}", root.session("alder").display())]);
    let id = following(&fake.argv(), "--session-id");

    let busy = root.run(&["send", "alder", "meanwhile", "--wait", "100ms"]);
    assert_eq!(busy.code, Some(4), "{busy:?}");
    assert_eq!(root.ok(&["send", "birch", "another", "--provider", "notes"]).lines().count(), 1);

    fake.release(1);
    assert_eq!(first.end().code, Some(0));
    assert_eq!(root.json(&["status", "alder"])["record"]["conversation"]["id"], id.as_str());

    // A second time it is the same conversation.
    let second = terminal(&root);
    fake.wait_for(2);
    assert_eq!(following(&fake.argv(), "-r"), id);
    fake.release(1);
    assert_eq!(second.end().code, Some(0));
}

#[test]
fn attach_wants_a_terminal() {
    let root = Root::new("attach::attach_wants_a_terminal");
    root.ok(&["send", "alder", "first", "--provider", "notes"]);
    let output = root.run(&["attach", "alder"]);
    assert_eq!(output.code, Some(2));
    assert_eq!(output.stderr, "error: `attach` needs a terminal\nhint: `denizen send` works without one\n");
}

#[test]
fn exec_passes_on_the_exit_code_and_the_place() {
    let root = Root::new("attach::exec_passes_on_the_exit_code_and_the_place");
    root.ok(&["send", "alder", "first", "--provider", "notes"]);
    let output = root.run(&["exec", "alder", "--", "sh", "-c", "pwd; echo $DENIZEN_SESSION; exit 7"]);
    assert_eq!(output.code, Some(7));
    assert_eq!(output.stdout, format!("{}\nalder\n", root.session("alder").display()));
    let missing = root.run(&["exec", "alder", "--", "no-such-program"]);
    assert_eq!(missing.code, Some(2));
    let expected = "error: the command `no-such-program` is not there, or is not executable\nhint: give a program of PATH, or a path\n";
    assert_eq!(missing.stderr, expected);
}

/// The argument after this one.
fn following(argv: &[String], option: &str) -> String {
    let at = argv.iter().position(|arg| arg == option).unwrap_or_else(|| panic!("{option} in {argv:?}"));
    argv[at + 1].clone()
}
