//! What an agent's ordinary work leaves: directories that nobody may write, trees
//! of any depth, homes that are closed or no directories. The next turn answers
//! all the same, and everything that is done with a session works. As an ordinary
//! user, because rights mean nothing to root.

use std::os::unix::fs::PermissionsExt;

use crate::support::clis::did_not_run;
use crate::support::proof::USER;
use crate::support::root::{Root, full, write};

/// A `claude` that keeps its conversation, and needs its home for it.
const CLAUDE: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in --session-id) id=$2 ;; -r) id=$2 ;; esac
    shift
done
cat >> "$(echo "$CLAUDE_CONFIG_DIR"/projects/*)/$id.jsonl" || exit 1
mkdir -p "$HOME/used" && echo x > "${TMPDIR:-/tmp}/denizen-used" && echo x >> memory/MEMORY.md || exit 1
rm -rf "$HOME/used" "${TMPDIR:-/tmp}/denizen-used"
printf '{"type":"system","subtype":"init","session_id":"%s"}\n' "$id"
printf '{"type":"assistant","message":{"content":[{"type":"text","text":"heard"}]}}\n'
printf '{"type":"result","subtype":"success","is_error":false,"result":"heard","session_id":"%s"}\n' "$id"
"#;

/// What is done in the session's folder; `$H` is the directory of its homes.
const DAMAGE: &[(&str, &str)] = &[
    ("a cache that nobody may write", r#"mkdir -p "$H/.tmp/x/y"; touch "$H/.tmp/x/y/z"; chmod -R a-w "$H/.tmp/x""#),
    ("a closed HOME", r#"mkdir -p "$H/.home/a/b"; chmod 000 "$H/.home/a" "$H/.home""#),
    ("closed temporaries", r#"mkdir -p "$H/.tmp/a"; chmod 000 "$H/.tmp/a" "$H/.tmp""#),
    ("a closed home of the provider", r#"chmod 000 "$H/claude/projects" "$H/claude""#),
    ("a home of the provider that nobody may write", r#"chmod -R a-w "$H/claude""#),
    ("closed homes", r#"chmod 000 "$H""#),
    ("homes that nobody may write", r#"chmod 500 "$H""#),
    ("closed memory", "chmod 000 memory"),
    ("memory that nobody may write", "chmod 500 memory; chmod 400 memory/MEMORY.md"),
    ("closed files of memory", "touch AGENTS.md; chmod 000 memory/MEMORY.md AGENTS.md"),
    ("closed conversations", "chmod -R 000 provider"),
    ("conversations that nobody may write", "chmod -R a-w provider"),
    ("closed files for the person", "mkdir -p outbox inbox; touch outbox/x; chmod 000 outbox/x outbox inbox"),
    ("closed files of Denizen", "chmod 000 session.json settings.json transcript.jsonl"),
    ("a closed folder", "chmod 000 ."),
    ("a folder that nobody may write", "chmod 500 ."),
    ("a closed directory in the folder", "mkdir -p a/b; touch a/b/c; chmod 000 a/b a"),
    ("files in the place of the homes", r#"cd "$H"; rm -rf .tmp claude .home; touch .tmp claude .home"#),
    (
        "links in the place of the homes",
        r#"cd "$H"; rm -rf .tmp claude .home; ln -s / .tmp; ln -s / claude; ln -s / .home"#,
    ),
    (
        "sockets and FIFOs",
        r#"cd "$H/.tmp"; mkfifo a; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("b")'"#,
    ),
    (
        "many files",
        r#"mkdir -p "$H/.tmp/a"; cd "$H/.tmp/a"; python3 -c 'for n in range(20000): open(str(n), "w").close()'"#,
    ),
    ("a deep tree for a time", r#"mkdir -p "$H/.tmp"; cd "$H/.tmp"; python3 -c "$DEEP" 1500 d"#),
    ("a deep tree in the home", r#"cd "$H/claude"; python3 -c "$DEEP" 1500 d"#),
    ("a deep tree in the folder", r#"python3 -c "$DEEP" 1500 d"#),
    ("a tree deeper than a path", r#"mkdir -p "$H/.tmp"; cd "$H/.tmp"; python3 -c "$DEEP" 60 "$LONG""#),
    ("a tree deeper than a path in the home", r#"cd "$H/claude"; python3 -c "$DEEP" 60 "$LONG""#),
    (
        "a tree deeper than a path in HOME",
        r#"mkdir -p "$H/.home"; cd "$H/.home"; python3 -c "$DEEP" 60 "$LONG"; chmod 000 "$H/.home""#,
    ),
    ("a tree deeper than a path in the folder", r#"python3 -c "$DEEP" 60 "$LONG""#),
];

const DEEP: &str = "
import os, sys
for _ in range(int(sys.argv[1])):
    os.mkdir(sys.argv[2])
    os.chdir(sys.argv[2])
open('bottom', 'w').write('x')
os.chmod('.', 0o500)
";

/// What has to work with the session, in order; each time a message follows.
const COMMANDS: &[&[&str]] = &[
    &["status", "alder"],
    &["ls"],
    &["fork", "alder", "copy"],
    &["rm", "copy", "--purge"],
    &["rename", "alder", "a title"],
    &["new", "alder"],
    &["send", "alder", "hello"],
    &["rm", "alder"],
    &["trash", "restore", "alder"],
    &["send", "alder", "hello"],
    &["rm", "alder"],
];

fn root(test: &str, walls: &str) -> Option<Root> {
    if !rustix::process::geteuid().is_root() {
        did_not_run(test, "an ordinary user is needed who is not this one", "run the tests as root");
        return None;
    }
    let mut root = Root::new(test);
    let program = root.dir().join("bin/claude");
    write(&program, CLAUDE);
    fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("a program");
    root.add_path(&root.dir().join("bin"));
    root.write_config("provider = \"claude\"\ndurability = \"process\"\n");
    root.set_env("DENIZEN_WALLS", walls);
    root.give_to(USER);
    Some(root)
}

fn everything_works_after(test: &str, walls: &str) {
    let Some(root) = root(test, walls) else { return };
    let (homes, long) = (root.path().join("state/homes/alder"), "d".repeat(255));
    let mut wrong = Vec::new();
    // The second mode differs in what is mounted only.
    let each = if walls == "full" || full() { 1 } else { 3 };
    for (name, script) in DAMAGE.iter().step_by(each) {
        root.ok(&["send", "alder", "hello"]);
        let script = format!("H='{}'; DEEP=\"{DEEP}\"; LONG={long}; {script}", homes.display());
        let _damaged = root.run(&["exec", "alder", "--", "/bin/sh", "-c", &script]);
        for command in [&["send", "alder", "hello"][..]].iter().chain(COMMANDS) {
            let output = root.run(command);
            if output.code != Some(0) || command.contains(&"send") && output.stdout.trim() != "heard" {
                wrong.push(format!("{name}: {command:?}: {output:?}"));
            }
        }
        wrong.extend(left_in(&root, &["state/discarded", "state/tmp", "state/homes", "sessions"], name));
    }
    // What is in the trash has to be there for longer than a second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    root.ok(&["-c", "retention.trash=1s", "cleanup"]);
    wrong.extend(left_in(&root, &["state/discarded", "state/tmp", "trash"], "the trash is emptied"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn left_in(root: &Root, places: &[&str], when: &str) -> Vec<String> {
    let names = |place: &&str| root.path().join(place).read_dir().into_iter().flatten().flatten();
    places.iter().flat_map(names).map(|entry| format!("{when}: left behind: {:?}", entry.path())).collect()
}

#[test]
fn everything_works_after_ordinary_damage_with_full_walls() {
    everything_works_after("everything_works_after_ordinary_damage_with_full_walls", "full");
}

#[test]
fn everything_works_after_ordinary_damage_with_kernel_walls() {
    everything_works_after("everything_works_after_ordinary_damage_with_kernel_walls", "kernel");
}
