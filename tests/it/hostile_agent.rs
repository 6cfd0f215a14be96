//! An agent can edit, replace and delete everything in its folder. It gains
//! nothing by it: the next turn neither reads nor writes another session, is
//! granted nothing, and the person is told.
//!
//! What a child does to other folders *while it runs* is the affair of walls,
//! and not tested here.

use crate::support::fake::{Fake, Running};
use crate::support::root::Root;
use crate::support::tree::Tree;
use crate::support::words::{plain, words};

/// Does what `attack` holds, once, and keeps in `knows` all that the CLI would
/// have known in this turn.
const CLAUDE: &str = r#"
memory=$(sed -n 's/.*"autoMemoryDirectory":"\([^"]*\)".*/\1/p' "$T/argv")
{ cat "$T/argv" "$memory/MEMORY.md" AGENTS.md "$kept/$id.jsonl"; printf '%s\n' "$message"; pwd; ls -R "$memory" "$kept"; } \
    > "$T/knows" 2>/dev/null
if [ "$message" = attack ]; then . "$T/attack"; fi
answer "heard"
"#;

/// What the agent does in its folder, and what is said of it: in the same
/// turn, and in the next.
struct Attack {
    name: &'static str,
    script: &'static str,
    now: &'static str,
    next: &'static str,
}

const FINE: &str = "0";
const RECORD_KEPT: &str = "0\nnote: something else had changed a file of the session meanwhile: what it wrote is kept in `~test/root/state/conflicts/alder-<time>-session.json`";
const TRANSCRIPT_KEPT: &str = "0\nnote: something else had changed a file of the session meanwhile: what it wrote is kept in `~test/root/state/conflicts/alder-<time>-transcript.jsonl`";
const NOT_STORED: &str =
    "0\nnote: claude answered, but did not store the conversation: the next message will start a fresh one";
const MEMORY_KEPT: &str = "0\nnote: something else had changed a file of the session meanwhile: what it wrote is kept in `~test/root/state/conflicts/alder-<time>-memory`";
const LOST: &str = "0\nnote: the conversation <id> is no longer in the session's folder, so a fresh one was started with the last turns as context";

const ATTACKS: &[Attack] = &[
    Attack {
        name: "session.json is a link to another's",
        script: "rm session.json; ln -s ../birch/session.json session.json",
        now: RECORD_KEPT,
        next: FINE,
    },
    Attack {
        name: "session.json is a hard link to another's",
        script: "ln -f ../birch/session.json session.json",
        now: RECORD_KEPT,
        next: FINE,
    },
    Attack {
        name: "session.json is a FIFO",
        script: "rm session.json; mkfifo session.json",
        now: RECORD_KEPT,
        next: FINE,
    },
    Attack {
        name: "session.json is a directory",
        script: "rm session.json; mkdir session.json; echo x > session.json/x",
        now: RECORD_KEPT,
        next: FINE,
    },
    Attack {
        name: "session.json is another's",
        script: "cp ../birch/session.json session.json",
        now: RECORD_KEPT,
        next: FINE,
    },
    Attack { name: "session.json is broken", script: "echo '{' > session.json", now: RECORD_KEPT, next: FINE },
    Attack { name: "session.json is gone", script: "rm session.json", now: FINE, next: FINE },
    Attack {
        name: "memory is a link to another's",
        script: "rm -r memory; ln -s ../birch/memory memory",
        now: FINE,
        next: MEMORY_KEPT,
    },
    Attack {
        name: "MEMORY.md is a link to another's",
        script: "rm -f memory/MEMORY.md; ln -s ../../birch/memory/MEMORY.md memory/MEMORY.md",
        now: FINE,
        next: "0\nnote: something else had changed a file of the session meanwhile: what it wrote is kept in `~test/root/state/conflicts/alder-<time>-memory-MEMORY.md`",
    },
    Attack { name: "memory is a file", script: "rm -r memory; echo x > memory", now: FINE, next: MEMORY_KEPT },
    Attack {
        name: "AGENTS.md is a link to another's memory",
        script: "ln -sf ../birch/memory/MEMORY.md AGENTS.md",
        now: FINE,
        next: "0\nnote: something else had changed a file of the session meanwhile: what it wrote is kept in `~test/root/state/conflicts/alder-<time>-AGENTS.md`",
    },
    Attack {
        name: "provider/claude is a link to another's",
        script: "rm -r provider/claude; ln -s ../../birch/provider/claude provider/claude; kept=/dev/null; mkdir -p /dev/null 2>/dev/null",
        now: NOT_STORED,
        next: "0\nnote: the conversation <id> is no longer in the session's folder, so a fresh one was started with the last turns as context\nnote: something else had changed a file of the session meanwhile: what it wrote is kept in `~test/root/state/conflicts/alder-<time>-provider-claude`",
    },
    Attack {
        name: "provider is a link to another's",
        script: "rm -r provider; ln -s ../birch/provider provider; kept=/dev/null",
        now: NOT_STORED,
        next: "0\nnote: the conversation <id> is no longer in the session's folder, so a fresh one was started with the last turns as context\nnote: something else had changed a file of the session meanwhile: what it wrote is kept in `~test/root/state/conflicts/alder-<time>-provider`",
    },
    Attack {
        name: "the conversation is a link to another's",
        script: "rm -f \"$kept\"/*.jsonl; ln -s ../../../birch/provider/claude/$(ls ../birch/provider/claude | grep jsonl) \"$kept/$id.jsonl\"; kept=/dev/null",
        now: NOT_STORED,
        next: LOST,
    },
    Attack {
        name: "the conversation is a hard link to another's",
        script: "ln -f ../birch/provider/claude/*.jsonl \"$kept/$id.jsonl\"; kept=/dev/null",
        now: NOT_STORED,
        next: LOST,
    },
    Attack {
        name: "the transcript is a link to another's",
        script: "rm -f transcript.jsonl; ln -s ../birch/transcript.jsonl transcript.jsonl",
        now: TRANSCRIPT_KEPT,
        next: FINE,
    },
    Attack {
        name: "the transcript is a hard link to another's",
        script: "ln -f ../birch/transcript.jsonl transcript.jsonl",
        now: TRANSCRIPT_KEPT,
        next: FINE,
    },
    Attack {
        name: "the transcript is a FIFO",
        script: "rm -f transcript.jsonl; mkfifo transcript.jsonl",
        now: TRANSCRIPT_KEPT,
        next: FINE,
    },
    Attack {
        name: "the settings ask for everything",
        script: r#"echo '{"permission_mode": "bypassPermissions", "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "touch /tmp/x"}]}]}, "apiKeyHelper": "evil", "env": {"A": "b"}}' > settings.json; mkdir -p .claude; cp settings.json .claude/settings.json"#,
        now: FINE,
        next: "0\nnote: permission mode `bypassPermissions` is above the configuration's `acceptEdits`, which is used",
    },
    Attack {
        name: "the settings point memory outside",
        script: r#"echo '{"memory_directory": "../birch/memory"}' > settings.json"#,
        now: FINE,
        next: "1\nerror: ~test/root/sessions/alder/settings.json: memory_directory: `../birch/memory` is not a relative path inside the session's folder\nhint: correct it by hand; the file was left as it is",
    },
    Attack {
        name: "the settings point memory at a link",
        script: r#"ln -s ../birch/memory notes; echo '{"memory_directory": "notes"}' > settings.json"#,
        now: FINE,
        next: "0\nnote: something else had changed a file of the session meanwhile: what it wrote is kept in `~test/root/state/conflicts/alder-<time>-notes`",
    },
    Attack {
        name: "the settings are a link to another's",
        script: "ln -sf ../birch/settings.json settings.json",
        now: FINE,
        next: "1\nerror: `~test/root/sessions/alder/settings.json` is or leads through a symbolic link, which is never followed\nhint: put a real file or directory there: ls -l ~test/root/sessions/alder/settings.json",
    },
    Attack {
        name: "the settings are a FIFO",
        script: "rm settings.json; mkfifo settings.json",
        now: FINE,
        next: "1\nerror: `~test/root/sessions/alder/settings.json` is a FIFO, not a regular file\nhint: move it away: ls -ld ~test/root/sessions/alder/settings.json",
    },
    Attack {
        name: "outbox is a link to another's memory",
        script: "rm -rf outbox; ln -s ../birch/memory outbox",
        now: FINE,
        next: FINE,
    },
    Attack {
        name: "outbox holds links to another's files",
        script: "mkdir -p outbox; ln -s ../../birch/memory/MEMORY.md outbox/a; ln ../birch/transcript.jsonl outbox/b",
        now: FINE,
        next: FINE,
    },
    Attack {
        name: "the folder is gone",
        script: r#"rm -rf "$(pwd)""#,
        now: "1\nnote: claude answered, but did not store the conversation: the next message will start a fresh one\nerror: the reply could not be recorded: the folder `~test/root/sessions/alder` was removed while it was in use\nhint: a new message makes the session anew",
        next: FINE,
    },
    Attack {
        name: "the folder is a link to another's",
        script: r#"cd ..; mv alder gone; ln -s birch alder; kept=/dev/null"#,
        now: NOT_STORED,
        next: "1\nerror: `~test/root/sessions/alder` is or leads through a symbolic link, which is never followed\nhint: put a real file or directory there: ls -l ~test/root/sessions/alder",
    },
];

/// Two sessions with a past; the other one knows of the heron, and works in a
/// directory that it was granted.
fn roots(test: &str) -> (Root, Fake) {
    let mut root = Root::new(test);
    let fake = Fake::claude(&mut root, CLAUDE);
    fs_err::create_dir(root.dir().join("granted")).expect("a directory");
    root.write_config(&format!(
        "provider = \"claude\"\ndurability = \"process\"\nworking_dirs = [\"{}\"]\n",
        root.dir().join("granted").display()
    ));
    root.ok(&["send", "birch", "a heron nests here"]);
    root.ok(&["send", "alder", "hello"]);
    let birch = root.session("birch");
    fs_err::write(birch.join("memory/MEMORY.md"), "the heron is shy\n").expect("written");
    fs_err::write(birch.join("AGENTS.md"), "speak of the heron\n").expect("written");
    root.ok(&["set", "birch", "model", "heron-model"]);
    root.ok(&["cd", "birch", &root.dir().join("granted").display().to_string()]);
    (root, fake)
}

/// The files of the other session, and what was granted to it.
fn birch(root: &Root) -> Tree {
    Tree::of(&[root.session("birch"), root.path().join("access"), root.path().join("state/homes/birch")])
}

/// What the last turn knew has nothing of the other session, and no right that
/// the configuration does not give.
#[track_caller]
fn assert_knows_nothing(root: &Root, after: &str) {
    let knows = fs_err::read_to_string(root.dir().join("knows")).expect("what it knew");
    assert!(knows.contains("--permission-mode\nacceptEdits\n"), "{after}: {knows}");
    for word in ["heron", "granted", "birch", "bypass", "hooks", "evil"] {
        assert!(!knows.contains(word), "{after}: it knew `{word}`: {knows}");
    }
}

#[test]
fn an_agent_gains_nothing_by_what_it_does_to_its_folder() {
    let (root, _fake) = roots("an_agent_gains_nothing_by_what_it_does_to_its_folder");
    let before = birch(&root);
    let mut wrong = Vec::new();
    for attack in ATTACKS {
        // Each attack meets the folder as it was made.
        let _removed = fs_err::remove_file(root.session("alder"));
        let _removed = fs_err::remove_dir_all(root.session("alder"));
        let _removed = fs_err::remove_dir_all(root.session("gone"));
        root.ok(&["send", "alder", "hello"]);
        fs_err::write(root.dir().join("attack"), attack.script).expect("written");
        let now = words(&root, &root.run(&["send", "alder", "attack"]));
        fs_err::remove_file(root.dir().join("knows")).expect("removed");
        let output = root.run(&["send", "alder", "what do you know"]);
        let next = words(&root, &output);
        before.assert_same(&birch(&root), attack.name);
        assert!(!output.stdout.contains("heron"), "{}: {output:?}", attack.name);
        if root.dir().join("knows").exists() {
            assert_knows_nothing(&root, attack.name);
        }
        if (now.as_str(), next.as_str()) != (attack.now, attack.next) {
            wrong.push(format!("    {}\nnow: {now}\nnext: {next}", attack.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What an agent that also ends Denizen leaves in `session.json` is what the
/// next turn reads.
#[test]
fn a_forged_record_gains_nothing() {
    let (root, fake) = roots("a_forged_record_gains_nothing");
    let before = birch(&root);
    let of_birch = root.json(&["status", "birch"])["record"].clone();
    let id = of_birch["conversation"]["id"].as_str().expect("an id").to_owned();
    let uuid = of_birch["uuid"].as_str().expect("a uuid").to_owned();
    let lost = "note: the conversation <id> is no longer in the session's folder, so a fresh one was started with the last turns as context";
    let edit = |field: &str, value: &str| {
        format!(r#"sed 's/"{field}": "[^"]*"/"{field}": "{value}"/' session.json > x; mv x session.json"#)
    };
    let forged = [
        ("the conversation", edit("id", &id), lost),
        ("the uuid", edit("uuid", &uuid), ""),
        ("everything", "cp ../birch/session.json session.json".to_owned(), lost),
    ];
    for (what, attack, said) in forged {
        let _removed = fs_err::remove_dir_all(root.session("alder"));
        root.ok(&["send", "alder", "hello"]);
        fs_err::write(root.dir().join("attack"), format!("{attack}; say forged; sleep 1000")).expect("written");
        let count = fake.said().len();
        let running = Running::denizen(&root, &["send", "alder", "attack"]);
        fake.wait_for(count + 1);
        running.signal(rustix::process::Signal::KILL);
        assert_eq!(running.end().code, None);
        let next = root.run(&["send", "alder", "what do you know"]);
        let words = words(&root, &next);
        assert!(words.starts_with("0") && words.contains(said), "{what}: {words}");
        assert_knows_nothing(&root, what);
        before.assert_same(&birch(&root), what);
    }
}

/// The names of what is sent along are known before it is received.
#[test]
fn a_planted_inbox_receives_nothing_for_others() {
    let (root, fake) = roots("a_planted_inbox_receives_nothing_for_others");
    let before = birch(&root);
    let queue = root.path().join("state/queue/alder");
    // The running agent sees the number of the message that comes next.
    let attack = r#"say attacking; gate; for entry in "$Q"/*.entry; do entry=$(basename "$entry" .entry); entry=$(echo "$entry" | sed 's/^0*//')
        mkdir -p "inbox/$entry"; ln -s ../../../birch/memory/planted "inbox/$entry/note.txt"; done"#;
    fs_err::write(root.dir().join("attack"), attack.replace("$Q", &queue.display().to_string())).expect("written");
    fs_err::write(root.home().join("note.txt"), "a note\n").expect("written");
    let mut fake = fake;
    let first = Running::denizen(&root, &["send", "alder", "attack"]);
    fake.wait_for(1);
    let second = Running::denizen(&root, &["send", "alder", "see", "--attach", "note.txt"]);
    crate::support::fake::until("second ticket", || {
        let entries = std::fs::read_dir(&queue).into_iter().flatten().flatten();
        let count = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "entry")).count();
        if count == 2 { Ok(()) } else { Err(format!("{count}")) }
    });
    fake.release(1);
    assert_eq!(first.end().code, Some(0));
    let output = second.end();
    assert_eq!(output.code, Some(0), "{output:?}");
    before.assert_same(&birch(&root), "an attachment");
    let knows = fs_err::read_to_string(root.dir().join("knows")).expect("what it knew");
    let path = knows.lines().find_map(|line| line.strip_prefix("- ")).expect("the attached file");
    assert_eq!(fs_err::read_to_string(path).expect("received"), "a note\n", "{}", plain(&root, path));
}
