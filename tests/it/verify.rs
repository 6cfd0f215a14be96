//! `denizen verify` finds what disks, people, agents, copiers and crashes do to
//! sessions, in a live root and in a copy of it, names the file and the sort of
//! damage, and says what is lost and what to do; it finds nothing in what is
//! sound, and it writes nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::clis::did_not_run;
use crate::support::fake::{Fake, until};
use crate::support::many::all;
use crate::support::root::{Output, Root, full, run, write};
use crate::support::tree::{Tree, copy_tree};

/// The sessions of a grove.
const KINDS: [&str; 7] = ["alder", "birch", "cedar", "dogwood", "elm", "fern", "ginkgo"];

/// A database as SQLite writes it, with this session in it.
const DATABASE: &[u8] = include_bytes!("../fixtures/opencode.db");
const IN_DATABASE: &str = "ses_4a1ffabc0001Alder";
const CODEX_ID: &str = "0199d3f2-4f5b-7c11-8d2e-5a0f6f3c9b11";
const GEMINI_ID: &str = "9b7e1c52-90f4-4f5e-8f40-cc8d7a3ad1f0";

const CODEX_FILE: &str =
    "provider/codex/2026/01/02/rollout-2026-01-02T03-04-05-0199d3f2-4f5b-7c11-8d2e-5a0f6f3c9b11.jsonl";
const GEMINI_FILE: &str = "provider/gemini/chats/session-2026-01-02T03-04-9b7e1c52.jsonl";

/// A root with a session of every sort: `alder` (Claude Code, three turns, and a
/// conversation before), `birch` (notes), `cedar` (OpenCode), `dogwood` (Codex),
/// `elm` (Gemini CLI), `fern` (a command), `ginkgo` (a fork of `birch`).
pub(crate) fn grove(test: &str) -> Root {
    let mut root = Root::new(test);
    let _fake = Fake::claude(&mut root, "answer heard");
    let script = root.dir().join("command.sh");
    write(&script, "cat > /dev/null; echo heard\n");
    root.write_config(&format!(
        "provider = \"claude\"\nworking_dirs = [\"{0}\"]\n[providers.fake]\nprogram = \"/bin/sh\"\nargs = [\"{1}\"]\n",
        root.home().display(),
        script.display()
    ));
    // Each message is a line of the conversation's file, which holds JSON.
    root.ok(&["send", "alder", "\"zero\""]);
    root.ok(&["new", "alder"]);
    root.ok(&["send", "alder", "\"one\""]);
    root.ok(&["send", "alder", "\"two\""]);
    root.ok(&["cd", "alder", &root.home().display().to_string()]);
    write(&root.session("alder").join("memory/MEMORY.md"), "the gate is blue\n");
    for text in ["one", "two"] {
        root.ok(&["send", "birch", text, "--provider", "notes"]);
        root.ok(&["send", "fern", text, "--provider", "fake"]);
    }
    root.ok(&["fork", "birch", "ginkgo"]);
    root.ok(&["send", "holly", "one", "--provider", "notes"]);
    root.ok(&["rm", "holly"]);
    let lines = b"{\"type\":\"one\"}\n{\"type\":\"two\"}\n".as_slice();
    reshape(&root, "cedar", "opencode", IN_DATABASE, "provider/opencode/opencode.db", DATABASE);
    reshape(&root, "dogwood", "codex", CODEX_ID, CODEX_FILE, lines);
    reshape(&root, "elm", "gemini", GEMINI_ID, GEMINI_FILE, lines);
    fs_err::remove_file(root.dir().join("gate")).expect("removed");
    root
}

/// Makes a session that another provider's conversation is in, out of `birch`.
fn reshape(root: &Root, key: &str, provider: &str, id: &str, file: &str, content: &[u8]) {
    let dir = root.session(key);
    copy_tree(&root.session("birch"), &dir);
    fs_err::remove_dir_all(dir.join("provider")).expect("removed");
    let file = dir.join(file);
    fs_err::create_dir_all(file.parent().expect("a parent")).expect("its directory");
    fs_err::write(&file, content).expect("written");
    rename(&dir, key, |record| {
        record["provider"]["name"] = provider.into();
        let conversation = &mut record["conversation"];
        conversation["provider"] = provider.into();
        conversation["id"] = id.into();
        if file.extension().is_some_and(|ending| ending == "jsonl") {
            conversation["file"]["bytes"] = content.len().into();
        } else {
            conversation.as_object_mut().expect("an object").remove("file");
        }
    });
}

/// Makes a copied folder a session of its own.
fn rename(dir: &Path, key: &str, change: impl FnOnce(&mut Value)) {
    let path = dir.join("session.json");
    let mut record: Value = serde_json::from_slice(&fs_err::read(&path).expect("a record")).expect("JSON");
    record["key"] = key.into();
    record["uuid"] = Uuid::new_v4().to_string().into();
    change(&mut record);
    fs_err::write(&path, serde_json::to_vec_pretty(&record).expect("JSON")).expect("written");
}

/// Runs `denizen verify` on a directory.
fn verify(root: &Root, dir: &Path) -> (Output, Vec<Value>, Value) {
    verified(root, &["verify", &dir.display().to_string()])
}

fn verified(root: &Root, args: &[&str]) -> (Output, Vec<Value>, Value) {
    let output = root.run(&[args, &["--json"]].concat());
    let values = serde_json::Deserializer::from_str(&output.stdout).into_iter::<Value>();
    let mut values: Vec<Value> = values.map(|value| value.expect("JSON")).collect();
    let verdict = values.pop().unwrap_or_default()["verdict"].take();
    (output, values.into_iter().map(|mut value| value["finding"].take()).collect(), verdict)
}

/// Findings as lines: sort, session, and file below the directory.
fn lines(findings: &[Value], dir: &Path) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut lines: Vec<String> = findings
        .iter()
        .map(|finding| {
            let path = PathBuf::from(text(&finding["path"]));
            let path = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            format!("{} {} {path}", text(&finding["kind"]), text(&finding["session"]))
        })
        .collect();
    lines.sort();
    lines
}

/// Runs a script in a directory.
pub(crate) fn shell(dir: &Path, script: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-ec", script]).current_dir(dir);
    let output = run(shell, "");
    assert_eq!(output.code, Some(0), "{script}: {output:?}");
}

/// Where something can be done to sessions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    /// Where they are worked in.
    Live,
    /// Where they are worked in, and in a copy.
    Both,
}

struct Damage {
    place: In,
    /// Run in the root, or in the copy of one.
    script: &'static str,
    /// Every finding: sort, session and file.
    found: &'static [&'static str],
}

const fn both(script: &'static str, found: &'static [&'static str]) -> Damage {
    Damage { place: In::Both, script, found }
}

const fn live(script: &'static str, found: &'static [&'static str]) -> Damage {
    Damage { place: In::Live, script, found }
}

const RECORDS: &[Damage] = &[
    both("rm sessions/alder/session.json", &["record-missing alder sessions/alder/session.json"]),
    both(": > sessions/alder/session.json", &["record-broken alder sessions/alder/session.json"]),
    both("truncate -s -20 sessions/alder/session.json", &["record-broken alder sessions/alder/session.json"]),
    both(
        "n=$(stat -c %s sessions/alder/session.json); : > sessions/alder/session.json; truncate -s $n sessions/alder/session.json",
        &["record-broken alder sessions/alder/session.json"],
    ),
    both("echo hello > sessions/alder/session.json", &["record-broken alder sessions/alder/session.json"]),
    both("echo '[]' > sessions/alder/session.json", &["record-broken alder sessions/alder/session.json"]),
    both("sed -i '/\"uuid\"/d' sessions/alder/session.json", &["record-broken alder sessions/alder/session.json"]),
    both(
        "sed -i 's/\"turns\": [0-9]*/\"turns\": \"three\"/' sessions/alder/session.json",
        &["record-broken alder sessions/alder/session.json"],
    ),
    both(
        "sed -i 's/\"key\": \"alder\"/\"key\": \"..\"/' sessions/alder/session.json",
        &["record-broken alder sessions/alder/session.json"],
    ),
    both(
        "sed -i 's/\"key\": \"alder\"/\"key\": \"al\\xffder\"/' sessions/alder/session.json",
        &["record-broken alder sessions/alder/session.json"],
    ),
    both(
        "sed -i 's/\"version\": 1/\"version\": 2/' sessions/alder/session.json",
        &["record-newer alder sessions/alder/session.json"],
    ),
    both(
        "mv sessions/alder/session.json sessions/alder/x; ln -s x sessions/alder/session.json",
        &["not-a-file alder sessions/alder/session.json", "record-unreadable alder sessions/alder/session.json"],
    ),
    both(
        "rm sessions/alder/session.json; ln -s gone sessions/alder/session.json",
        &["not-a-file alder sessions/alder/session.json", "record-unreadable alder sessions/alder/session.json"],
    ),
    both(
        "rm sessions/alder/session.json; mkfifo sessions/alder/session.json; chmod 600 sessions/alder/session.json",
        &["not-a-file alder sessions/alder/session.json", "record-unreadable alder sessions/alder/session.json"],
    ),
    both(
        "rm sessions/alder/session.json; mkdir -m 700 sessions/alder/session.json",
        &["record-unreadable alder sessions/alder/session.json"],
    ),
    both("truncate -s 20M sessions/alder/session.json", &["record-unreadable alder sessions/alder/session.json"]),
    both("chmod 644 sessions/alder/session.json", &["permissions alder sessions/alder/session.json"]),
    live("ln sessions/alder/session.json sessions/alder/x", &["shared alder sessions/alder/session.json"]),
    live("ln sessions/alder/session.json ../x", &["shared alder sessions/alder/session.json"]),
];

const NAMES: &[Damage] = &[
    both("mv sessions/birch sessions/Birch", &["name Birch sessions/Birch"]),
    both("mv sessions/birch 'sessions/birch (1)'", &["name birch (1) sessions/birch (1)"]),
    both(
        "mv sessions/birch sessions/birch--0123456789abcdef0123",
        &["name birch--0123456789abcdef0123 sessions/birch--0123456789abcdef0123"],
    ),
    both("mv sessions/birch sessions/.birch", &["stray - sessions/.birch"]),
    both("cp -a sessions/alder sessions/alder.bak", &["name alder.bak sessions/alder.bak"]),
    both("mkdir -m 700 sessions/empty", &["record-missing empty sessions/empty"]),
    both("mkdir -m 700 sessions/.~tmp~", &["stray - sessions/.~tmp~"]),
    both("echo x > sessions/notes.txt", &["stray - sessions/notes.txt"]),
    both("ln -s alder sessions/link", &["stray - sessions/link"]),
    both("ln -s /nowhere sessions/link", &["stray - sessions/link"]),
    both("mkfifo sessions/fifo", &["stray - sessions/fifo"]),
    both(
        "mv sessions/alder x; mkdir -m 700 sessions/alder; mv x/memory sessions/alder",
        &["record-missing alder sessions/alder/session.json"],
    ),
];

const SETTINGS: &[Damage] = &[
    both("echo '{' > sessions/alder/settings.json", &["settings alder sessions/alder/settings.json"]),
    both(": > sessions/alder/settings.json", &["settings alder sessions/alder/settings.json"]),
    both(
        "echo '{\"permission_mode\": \"god\"}' > sessions/alder/settings.json",
        &["settings alder sessions/alder/settings.json"],
    ),
    both(
        "echo '{\"model\": \"--help\"}' > sessions/alder/settings.json",
        &["settings alder sessions/alder/settings.json"],
    ),
    both(
        "echo '{\"memory_directory\": \"../birch/memory\"}' > sessions/alder/settings.json",
        &["settings alder sessions/alder/settings.json"],
    ),
    both(
        "echo '{\"memory_directory\": \"/etc\"}' > sessions/alder/settings.json",
        &["settings alder sessions/alder/settings.json"],
    ),
    both(
        "ln -sf ../birch/settings.json sessions/alder/settings.json",
        &["not-a-file alder sessions/alder/settings.json", "settings alder sessions/alder/settings.json"],
    ),
    both("chmod 666 sessions/alder/settings.json", &["permissions alder sessions/alder/settings.json"]),
];

const TRANSCRIPTS: &[Damage] = &[
    both("rm sessions/alder/transcript.jsonl", &["transcript-missing alder sessions/alder/transcript.jsonl"]),
    both(": > sessions/alder/transcript.jsonl", &["transcript-cut alder sessions/alder/transcript.jsonl"]),
    both("truncate -s -30 sessions/alder/transcript.jsonl", &["transcript-cut alder sessions/alder/transcript.jsonl"]),
    both("truncate -s -1 sessions/alder/transcript.jsonl", &["transcript-cut alder sessions/alder/transcript.jsonl"]),
    both("sed -i '$d' sessions/alder/transcript.jsonl", &["transcript-cut alder sessions/alder/transcript.jsonl"]),
    both("sed -i '5,6d' sessions/alder/transcript.jsonl", &["transcript-cut alder sessions/alder/transcript.jsonl"]),
    both("sed -i '4d' sessions/alder/transcript.jsonl", &["transcript-cut alder sessions/alder/transcript.jsonl"]),
    both(
        "sed -i '3,4d' sessions/alder/transcript.jsonl",
        &[
            "transcript-cut alder sessions/alder/transcript.jsonl",
            "transcript-gap alder sessions/alder/transcript.jsonl",
        ],
    ),
    both(
        "dd if=/dev/zero of=sessions/alder/transcript.jsonl bs=1 seek=300 count=100 conv=notrunc 2>/dev/null",
        &["transcript-broken alder sessions/alder/transcript.jsonl"],
    ),
    both(
        "n=$(stat -c %s sessions/alder/transcript.jsonl); truncate -s -60 sessions/alder/transcript.jsonl; truncate -s $n sessions/alder/transcript.jsonl",
        &["transcript-broken alder sessions/alder/transcript.jsonl"],
    ),
    both(
        "sed -i '2s/\"who\"/\"wha\"/' sessions/alder/transcript.jsonl",
        &["transcript-broken alder sessions/alder/transcript.jsonl"],
    ),
    both(
        "mv sessions/alder/transcript.jsonl sessions/alder/x; ln -s x sessions/alder/transcript.jsonl",
        &[
            "not-a-file alder sessions/alder/transcript.jsonl",
            "transcript-unreadable alder sessions/alder/transcript.jsonl",
        ],
    ),
    both(
        "rm sessions/alder/transcript.jsonl; mkfifo -m 600 sessions/alder/transcript.jsonl",
        &[
            "not-a-file alder sessions/alder/transcript.jsonl",
            "transcript-unreadable alder sessions/alder/transcript.jsonl",
        ],
    ),
    both(
        "rm sessions/alder/transcript.jsonl; mkdir -m 700 sessions/alder/transcript.jsonl",
        &["transcript-unreadable alder sessions/alder/transcript.jsonl"],
    ),
    both("chmod 640 sessions/alder/transcript.jsonl", &["permissions alder sessions/alder/transcript.jsonl"]),
    live("ln sessions/alder/transcript.jsonl ../x", &["transcript-unreadable alder sessions/alder/transcript.jsonl"]),
];

/// `$now` is the file of alder's current conversation, `$then` of the one before.
const CONVERSATIONS: &[Damage] = &[
    both("rm $now", &["conversation-missing alder provider/claude/now"]),
    both("rm $then", &["conversation-missing alder provider/claude/then"]),
    both(
        "rm -r sessions/alder/provider",
        &["conversation-missing alder provider/claude/now", "conversation-missing alder provider/claude/then"],
    ),
    both(
        "rm -r sessions/alder/provider/claude",
        &["conversation-missing alder provider/claude/now", "conversation-missing alder provider/claude/then"],
    ),
    both("mv $now sessions/alder/provider/claude/x.jsonl", &["conversation-missing alder provider/claude/now"]),
    both(": > $now", &["conversation-cut alder $now"]),
    both("truncate -s -3 $now", &["conversation-broken alder $now", "conversation-cut alder $now"]),
    both("sed -i '$d' $now", &["conversation-cut alder $now"]),
    both("sed -i '1d' $then", &["conversation-cut alder $then"]),
    both("dd if=/dev/zero of=$now bs=1 count=5 conv=notrunc 2>/dev/null", &["conversation-broken alder $now"]),
    both(
        "dd if=/dev/zero of=sessions/birch/provider/notes/$(ls sessions/birch/provider/notes) bs=1 seek=120 count=9 conv=notrunc 2>/dev/null",
        &["conversation-broken birch $birch"],
    ),
    both(
        "mv $now sessions/alder/x; ln -s ../../x $now",
        &["conversation-missing alder provider/claude/now", "not-a-file alder $now"],
    ),
    both("rm $now; mkfifo $now", &["conversation-missing alder provider/claude/now", "not-a-file alder $now"]),
    both(
        "mv sessions/alder/provider sessions/alder/x; ln -s x sessions/alder/provider",
        &[
            "conversation-unreadable alder $now",
            "conversation-unreadable alder $then",
            "not-a-file alder sessions/alder/provider",
        ],
    ),
    both("rm sessions/dogwood/provider/codex/2026/01/02/*", &["conversation-missing dogwood provider/codex/dogwood"]),
    both(
        "truncate -s 20 sessions/elm/provider/gemini/chats/*",
        &["conversation-broken elm $elm", "conversation-cut elm $elm"],
    ),
    both("rm sessions/cedar/provider/opencode/opencode.db", &["conversation-missing cedar provider/opencode/cedar"]),
    both("truncate -s -1024 sessions/cedar/provider/opencode/opencode.db", &["conversation-broken cedar $cedar"]),
    both("truncate -s 50 sessions/cedar/provider/opencode/opencode.db", &["conversation-broken cedar $cedar"]),
    both(": > sessions/cedar/provider/opencode/opencode.db", &["conversation-broken cedar $cedar"]),
    both(
        "printf XXXX | dd of=sessions/cedar/provider/opencode/opencode.db conv=notrunc 2>/dev/null",
        &["conversation-broken cedar $cedar"],
    ),
    both(
        "sed -i 's/4a1ffabc0001Alder/4a1ffabc0001Birch/g' sessions/cedar/provider/opencode/opencode.db",
        &["conversation-broken cedar $cedar"],
    ),
    both(
        "echo 'this is no log of a database' > sessions/cedar/provider/opencode/opencode.db-wal",
        &["conversation-broken cedar $cedar"],
    ),
];

const MEMORY: &[Damage] = &[
    both("rm -r sessions/alder/memory", &["memory-missing alder sessions/alder/memory"]),
    both(
        "mv sessions/alder/memory sessions/alder/x; ln -s x sessions/alder/memory",
        &["memory-unreadable alder sessions/alder/memory", "not-a-file alder sessions/alder/memory"],
    ),
    both(
        "rm -r sessions/alder/memory; echo x > sessions/alder/memory",
        &["memory-unreadable alder sessions/alder/memory"],
    ),
    both(
        "dd if=/dev/zero of=sessions/alder/memory/MEMORY.md bs=1 count=9 conv=notrunc 2>/dev/null",
        &["memory-unreadable alder sessions/alder/memory/MEMORY.md"],
    ),
    both(
        "printf 'gr\\374n' > sessions/alder/memory/MEMORY.md",
        &["memory-unreadable alder sessions/alder/memory/MEMORY.md"],
    ),
    both(
        "rm sessions/alder/memory/MEMORY.md; mkfifo sessions/alder/memory/MEMORY.md",
        &[
            "memory-unreadable alder sessions/alder/memory/MEMORY.md",
            "not-a-file alder sessions/alder/memory/MEMORY.md",
        ],
    ),
    both(
        "rm sessions/alder/memory/MEMORY.md; ln -s /etc/passwd sessions/alder/memory/MEMORY.md",
        &[
            "memory-unreadable alder sessions/alder/memory/MEMORY.md",
            "not-a-file alder sessions/alder/memory/MEMORY.md",
        ],
    ),
];

const AROUND: &[Damage] = &[
    both("chmod 755 sessions", &["permissions - sessions"]),
    both("chmod 750 sessions/alder", &["permissions alder sessions/alder"]),
    both("chmod 777 .", &["permissions - "]),
    both("echo '{' > access/sessions/alder.json", &["grant alder access/sessions/alder.json"]),
    both(": > access/sessions/alder.json", &["grant alder access/sessions/alder.json"]),
    both("chmod 644 access/sessions/alder.json", &["permissions alder access/sessions/alder.json"]),
    both("chmod 755 access", &["permissions - access"]),
    both("echo 'provider = ' >> denizen.toml", &["configuration - denizen.toml"]),
    both("echo 'provder = \"notes\"' > denizen.toml", &["configuration - denizen.toml"]),
    both("chmod 666 denizen.toml", &["configuration - denizen.toml"]),
    live(
        "mkdir -p -m 700 state/queue/alder; echo '{' > state/queue/alder/0000000000000007.entry; chmod 600 state/queue/alder/*",
        &["queue alder state/queue/alder/0000000000000007.entry"],
    ),
    live(
        "mkdir -p -m 700 state/queue/alder; : > state/queue/alder/0000000000000007.entry; chmod 600 state/queue/alder/*",
        &["queue alder state/queue/alder/0000000000000007.entry"],
    ),
];

/// What is only worth knowing: the exit code is 0.
const NOTES: &[Damage] = &[
    both("cp -a sessions/alder sessions/copy", &["adoptable copy sessions/copy"]),
    both(
        "mv sessions/alder sessions/moved",
        &["adoptable moved sessions/moved", "grant-unused alder access/sessions/alder.json"],
    ),
    both("rm -r sessions/alder", &["grant-unused alder access/sessions/alder.json"]),
    both("ln -s /etc/passwd sessions/alder/link", &["agent-file alder sessions/alder/link"]),
    both("ln -s memory/MEMORY.md sessions/alder/link", &["agent-file alder sessions/alder/link"]),
    both("mkfifo sessions/alder/fifo", &["agent-file alder sessions/alder/fifo"]),
    both(
        "cp sessions/alder/session.json sessions/alder/.session.json.Ab12Cd",
        &["left-behind alder sessions/alder/.session.json.Ab12Cd"],
    ),
    both(
        "cp sessions/alder/settings.json sessions/alder/settings.json~",
        &["left-behind alder sessions/alder/settings.json~"],
    ),
    both(
        "cp sessions/alder/session.json sessions/alder/.session.json.swp",
        &["left-behind alder sessions/alder/.session.json.swp"],
    ),
    both(
        "cp sessions/alder/session.json 'sessions/alder/session.sync-conflict-20260102-030405-ABCDEFG.json'",
        &["left-behind alder sessions/alder/session.sync-conflict-20260102-030405-ABCDEFG.json"],
    ),
    both(
        "cp sessions/alder/transcript.jsonl \"sessions/alder/transcript (somebody's conflicted copy 2026-01-02).jsonl\"",
        &["left-behind alder sessions/alder/transcript (somebody's conflicted copy 2026-01-02).jsonl"],
    ),
    both("echo x > access/sessions/.alder.json.Ab12Cd", &["left-behind - access/sessions/.alder.json.Ab12Cd"]),
    both("for t in trash/*; do : > $t/session.json; done", &["trash - $trash"]),
    // A line that was being written when the copy was made, or the program was killed.
    both(
        "printf '{\"at\": \"20' >> sessions/alder/transcript.jsonl",
        &["mid-turn alder sessions/alder/transcript.jsonl"],
    ),
];

/// What only the superuser can do.
const OWNERS: &[Damage] = &[
    both("chown 12345 sessions/alder", &["owner alder sessions/alder"]),
    both("chown 12345 sessions/alder/session.json", &["owner alder sessions/alder/session.json"]),
    both("chown 12345 sessions/alder/memory/MEMORY.md", &["owner alder sessions/alder/memory/MEMORY.md"]),
    both("chown 12345 access/sessions/alder.json", &["owner alder access/sessions/alder.json"]),
];

/// What only the superuser can still read.
const CLOSED: &[Damage] = &[
    both("chmod 000 sessions/alder/session.json", &["permissions alder sessions/alder/session.json"]),
    both("chmod 000 sessions/alder/transcript.jsonl", &["permissions alder sessions/alder/transcript.jsonl"]),
    both("chmod 000 sessions/alder/settings.json", &["permissions alder sessions/alder/settings.json"]),
    both("chmod 200 $now", &["permissions alder $now"]),
    both("chmod 300 sessions/alder/memory", &["permissions alder sessions/alder/memory"]),
    both("chmod 000 sessions/alder", &["permissions alder sessions/alder"]),
];

/// The file of each of `alder`'s conversations, and the names of others.
struct Words {
    replacements: Vec<(&'static str, String)>,
}

impl Words {
    fn of(root: &Root) -> Self {
        let status = root.json(&["status", "alder"]);
        let id = |pointer: &str| status.pointer(pointer).and_then(Value::as_str).expect("an id").to_owned();
        let (now, then) = (id("/record/conversation/id"), id("/record/earlier/0/id"));
        let only = |dir: PathBuf| {
            let entry = fs_err::read_dir(dir).expect("a directory").next().expect("an entry").expect("an entry");
            entry.path().strip_prefix(root.path()).expect("below").display().to_string()
        };
        let claude = "sessions/alder/provider/claude";
        Self {
            replacements: vec![
                ("provider/claude/now", format!("{claude}/{now}")),
                ("provider/claude/then", format!("{claude}/{then}")),
                ("provider/codex/dogwood", format!("sessions/dogwood/provider/codex/{CODEX_ID}")),
                ("provider/opencode/cedar", format!("sessions/cedar/provider/opencode/{IN_DATABASE}")),
                ("$now", format!("{claude}/{now}.jsonl")),
                ("$then", format!("{claude}/{then}.jsonl")),
                ("$birch", only(root.session("birch").join("provider/notes"))),
                ("$elm", format!("sessions/elm/{GEMINI_FILE}")),
                ("$cedar", "sessions/cedar/provider/opencode/opencode.db".to_owned()),
                ("$trash", only(root.path().join("trash"))),
            ],
        }
    }

    fn put(&self, text: &str) -> String {
        self.replacements.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }
}

/// Plants each damage in a root of its own, and in a copy of that; `severities`
/// are those that may be found.
fn plant(test: &str, damages: &[&[Damage]], severities: &[&str]) {
    let root = grove(test);
    let damages: Vec<&Damage> = damages.iter().copied().flatten().collect();
    let words = Words::of(&root);
    let jobs: Vec<(usize, bool, &Damage)> = damages
        .iter()
        .enumerate()
        .flat_map(|(number, damage)| [(number, true, *damage), (number, false, *damage)])
        .filter(|(_, live, damage)| *live || damage.place == In::Both)
        .collect();
    // All copies first: what is done to one is then clearly later than its copying.
    let wrong = all(&jobs, |(number, live, _)| {
        // The copy of last night, without this machine's state; now rsync's, now cp's.
        let copied = match (live, number % 2) {
            (true, _) => "cp -a root \"$0\"",
            (false, 0) => "cp -a root \"$0\"; rm -r \"$0/state\"",
            (false, _) => "rsync -a --exclude=/state root/ \"$0\" || { cp -a root \"$0\"; rm -r \"$0/state\"; }",
        };
        let mut copy = Command::new("sh");
        copy.args(["-ec", copied]).arg(format!("{number}-{live}")).current_dir(root.dir());
        let copied = run(copy, "");
        if copied.code == Some(0) { Ok(()) } else { Err(format!("{copied:?}")) }
    });
    assert_eq!(wrong, Vec::<String>::new());
    let wrong = all(&jobs, |(number, live, damage)| {
        let dir = root.dir().join(format!("{number}-{live}"));
        let script = words.put(damage.script);
        shell(&dir, &script);
        let before = Tree::of(std::slice::from_ref(&dir));
        let at = dir.display().to_string();
        let (output, findings, verdict) =
            if *live { verified(&root, &["--root", &at, "verify"]) } else { verify(&root, &dir) };
        let after = Tree::of(std::slice::from_ref(&dir));
        let mut expected: Vec<String> = damage.found.iter().map(|found| words.put(found)).collect();
        expected.sort();
        let found = lines(&findings, &dir);
        let place = if *live { "live" } else { "in a copy" };
        let wrong =
            |what: &str| Err(format!("{script}, {place}: {what}\n{found:?}\ninstead of {expected:?}\n{output:#?}"));
        if found != expected {
            return wrong("found something else");
        }
        let sound = severities == ["note"];
        if output.code != Some(i32::from(!sound)) || !output.stderr.is_empty() {
            return wrong("said something else");
        }
        for finding in &findings {
            let severity = finding["severity"].as_str().unwrap_or_default();
            let told = |name: &str| finding[name].as_str().is_some_and(|text| !text.is_empty());
            if !severities.contains(&severity)
                || !told("problem")
                || (severity != "note" && !told("remedy"))
                || (severity == "damaged" && !told("lost"))
            {
                return wrong(&format!("did not say enough: {finding:#}"));
            }
        }
        let counted = |severity: &str| findings.iter().filter(|finding| finding["severity"] == severity).count();
        if verdict["damaged"] != counted("damaged") || verdict["wrong"] != counted("wrong") {
            return wrong(&format!("counted otherwise: {verdict}"));
        }
        let changes = before.changes(&after);
        if !changes.is_empty() {
            return wrong(&format!("changed {changes:?}"));
        }
        Ok(())
    });
    println!("{} damages, planted {} times", damages.len(), jobs.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), jobs.len(), wrong[..wrong.len().min(8)].join("\n"));
}

const BAD: &[&str] = &["damaged", "wrong"];

#[test]
fn damage_to_records_and_names_is_found() {
    plant("damage_to_records_and_names_is_found", &[RECORDS, NAMES], BAD);
}

#[test]
fn damage_to_settings_and_transcripts_is_found() {
    plant("damage_to_settings_and_transcripts_is_found", &[SETTINGS, TRANSCRIPTS], BAD);
}

#[test]
fn damage_to_conversations_is_found() {
    plant("damage_to_conversations_is_found", &[CONVERSATIONS], BAD);
}

#[test]
fn damage_to_memory_and_around_the_sessions_is_found() {
    plant("damage_to_memory_and_around_the_sessions_is_found", &[MEMORY, AROUND], BAD);
}

#[test]
fn foreign_owners_and_closed_files_are_found() {
    if !rustix::process::getuid().is_root() {
        did_not_run("foreign_owners_and_closed_files_are_found", "only root can give files away", "run as root");
        return;
    }
    plant("foreign_owners_and_closed_files_are_found", &[OWNERS, CLOSED], BAD);
}

#[test]
fn what_is_only_worth_knowing_is_a_note() {
    plant("what_is_only_worth_knowing_is_a_note", &[NOTES], &["note"]);
}

#[test]
fn nothing_is_found_in_a_thousand_sound_sessions() {
    let root = grove("nothing_is_found_in_a_thousand_sound_sessions");
    let count = if full() { 10_000 } else { 1_000 };
    let numbers: Vec<usize> = (KINDS.len()..count).collect();
    let begun = Instant::now();
    let wrong = all(&numbers, |number| {
        let kind = KINDS[number % KINDS.len()];
        let key = format!("{kind}-{number}");
        copy_tree(&root.session(kind), &root.session(&key));
        rename(&root.session(&key), &key, |_| ());
        Ok(())
    });
    assert!(wrong.is_empty());
    let made = begun.elapsed();
    let (output, findings, verdict) = verified(&root, &["verify"]);
    println!("{count} sessions made in {made:.1?}, verified in {:.1?}", begun.elapsed() - made);
    assert_eq!((output.code, lines(&findings, &root.path())), (Some(0), Vec::new()));
    let counted = ["sessions", "sound", "damaged", "wrong", "notes"].map(|word| verdict[word].as_u64());
    assert_eq!(counted, [count, count, 0, 0, 0].map(|count| Some(count as u64)), "{verdict}");
}

#[test]
fn sound_copies_of_every_sort_are_sound() {
    let root = grove("sound_copies_of_every_sort_are_sound");
    shell(root.dir(), "cp -a root copied; rm -r copied/state; cp -al copied linked; cp -al root whole");
    shell(root.dir(), "cp -a root/sessions part; cp -r root timeless; cp -a root/sessions/alder .");
    // What is in use may not have several names.
    let (output, findings, _) = verified(&root, &["verify"]);
    assert_eq!(output.code, Some(1));
    assert!(findings.iter().all(|finding| finding["problem"].as_str().is_some_and(|text| text.contains("hard links"))));
    let synced = run_if_there(&root, "rsync", &["-a", "--exclude=/state", "root/", "first"]);
    if synced {
        shell(root.dir(), "rsync -a --exclude=/state --link-dest=../first root/ second");
        shell(root.dir(), "rsync -r --exclude=/state --chmod=D700,F600 root/ modeless");
        fs_err::remove_file(root.dir().join("first/sessions/alder/transcript.jsonl")).expect("removed");
    } else {
        did_not_run("sound_copies_of_every_sort_are_sound", "there is no rsync", "install rsync");
    }
    let by_rsync = if synced { &["second", "modeless"][..] } else { &[] };
    for name in ["copied", "linked", "whole", "part", "timeless", "alder"].iter().chain(by_rsync) {
        let dir = root.dir().join(name);
        if *name == "timeless" {
            shell(&dir, "chmod -R go= .");
        }
        let (output, findings, verdict) = verify(&root, &dir);
        assert_eq!((output.code, lines(&findings, &dir)), (Some(0), Vec::new()), "{name}");
        let count = if *name == "alder" { 1 } else { KINDS.len() };
        assert_eq!((&verdict["sessions"], &verdict["sound"]), (&json!(count), &json!(count)), "{name}: {verdict}");
    }
}

fn run_if_there(root: &Root, program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).current_dir(root.dir()).status().is_ok_and(|status| status.success())
}

#[test]
fn what_was_damaged_before_it_was_copied_is_found_in_the_copy() {
    let root = grove("what_was_damaged_before_it_was_copied_is_found_in_the_copy");
    let words = Words::of(&root);
    for (number, (file, script, found)) in [
        ("$now", "sed -i '$d' $now", "conversation-cut alder $now"),
        ("$then", ": > $then", "conversation-cut alder $then"),
        (
            "sessions/alder/transcript.jsonl",
            "truncate -s -30 sessions/alder/transcript.jsonl",
            "transcript-cut alder sessions/alder/transcript.jsonl",
        ),
        ("sessions/alder/provider/claude", "rm $then", "conversation-missing alder provider/claude/then"),
        (
            "sessions/alder",
            "rm sessions/alder/transcript.jsonl",
            "transcript-missing alder sessions/alder/transcript.jsonl",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        // The turns were last year, the damage was last month, the copy is of last night;
        // and the record is what was copied last, as it is in the middle of a turn.
        let script = words.put(&format!(
            "sed -i 's/\"202[0-9]-[^\"]*Z\"/\"2020-01-01T00:00:00Z\"/' sessions/alder/session.json
             find sessions/alder -exec touch -d 2020-01-01T00:00:00Z {{}} +
             {script}; touch -d 2020-02-01T00:00:00Z {file}"
        ));
        let (damaged, copy) = (format!("{number}-live"), format!("{number}-copy"));
        shell(root.dir(), &format!("cp -a root {damaged}; rm -r {damaged}/state"));
        shell(&root.dir().join(&damaged), &script);
        shell(
            root.dir(),
            &format!(
                "cp -a {damaged} {copy}; cp -a {damaged}/sessions/alder/session.json {copy}/x; mv {copy}/x {copy}/sessions/alder/session.json"
            ),
        );
        let copy = root.dir().join(copy);
        let (output, findings, _) = verify(&root, &copy);
        assert_eq!((output.code, lines(&findings, &copy)), (Some(1), vec![words.put(found)]), "{script}: {output:#?}");
    }
}

/// Waits until what is changed now has a later time than all that was changed
/// before the call.
fn until_clock_moves_on(tick: &Path) {
    let now = || {
        fs_err::write(tick, "").expect("written");
        let metadata = fs_err::metadata(tick).expect("its times");
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let before = now();
    until("a later time", || if now() > before { Ok(()) } else { Err(format!("{before:?}")) });
}

#[test]
fn a_conversation_that_began_after_its_directory_was_listed_is_no_damage() {
    let root = grove("a_conversation_that_began_after_its_directory_was_listed_is_no_damage");
    let words = Words::of(&root);
    let missing = words.put("conversation-missing alder provider/claude/now");
    let begun = words.put("mid-turn alder provider/claude/now");
    let birch = words.put("mid-turn birch $birch").trim_end_matches(".jsonl").to_owned();
    for (number, (script, found, code)) in [
        // The file went after the copy was made.
        ("rm $now", &missing, 1),
        // rsync took another one twice, so that the directory's time is the copy's own.
        ("rm $now; cp -a $then x; mv x $then", &begun, 0),
        // The same, long after the conversation began.
        ("sed -i 's/\"20[^\"]*Z\"/\"2020-01-01T00:00:00Z\"/' sessions/alder/session.json; rm $now; cp -a $then x; mv x $then", &missing, 1),
        // The directory was only made by then.
        ("rm -r sessions/birch/provider/notes; mkdir -m 700 sessions/birch/provider/notes", &birch, 0),
        // The directory has the time of before.
        ("rm $now; touch -d 2020-01-01T00:00:00Z sessions/alder/provider/claude", &begun, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let copy = root.dir().join(number.to_string());
        shell(root.dir(), &format!("cp -a root {number}; rm -r {number}/state"));
        // Of another time than what the script does, also by the clock of the file
        // system, which stands still for some milliseconds.
        shell(&copy, "find . -type f -exec touch -d 2020-01-01T00:00:00Z {} +");
        until_clock_moves_on(&root.dir().join("tick"));
        shell(&copy, &words.put(script));
        let (output, findings, _) = verify(&root, &copy);
        let found_now: Vec<String> = lines(&findings, &copy).into_iter().filter(|line| line.contains("provider")).collect();
        assert_eq!((output.code, found_now), (Some(code), vec![found.clone()]), "{script}: {output:#?}");
    }
}

#[test]
fn one_session_or_the_sessions_alone_can_be_looked_at() {
    let root = grove("one_session_or_the_sessions_alone_can_be_looked_at");
    let at = |name: &str| root.path().join(name);
    for (dir, count) in [(at(""), 7), (at("sessions"), 7), (at("sessions/alder"), 1)] {
        let (output, findings, verdict) = verify(&root, &dir);
        assert_eq!((output.code, findings), (Some(0), Vec::new()));
        assert_eq!(verdict["sound"], count);
    }
    shell(&root.path(), ": > sessions/birch/transcript.jsonl");
    for (dir, code) in [(at(""), 1), (at("sessions"), 1), (at("sessions/birch"), 1), (at("sessions/alder"), 0)] {
        assert_eq!(verify(&root, &dir).0.code, Some(code), "{}", dir.display());
    }
    // Not a root, and nothing at all.
    for dir in [root.home(), root.dir().join("nothing"), root.path().join("denizen.toml")] {
        let (output, findings, _) = verify(&root, &dir);
        assert_eq!((output.code, findings), (Some(1), Vec::new()), "{}: {output:?}", dir.display());
        assert!(output.stderr.contains(&dir.display().to_string()), "{output:?}");
    }
}

#[test]
fn a_tree_that_cannot_be_written_and_a_broken_configuration_are_no_obstacle() {
    let root = grove("a_tree_that_cannot_be_written_and_a_broken_configuration_are_no_obstacle");
    shell(root.dir(), "cp -a root backup; rm -r backup/state; chmod -R a-w backup; echo '{' > root/denizen.toml");
    let backup = root.dir().join("backup");
    let (output, findings, verdict) = verify(&root, &backup);
    // Modes are a part of a backup: that its owner may not write is said.
    let kinds: Vec<&Value> = findings.iter().map(|finding| &finding["kind"]).collect();
    assert!(kinds.iter().all(|kind| **kind == "permissions"), "{output:#?}");
    assert_eq!((output.code, &verdict["sessions"], &verdict["damaged"]), (Some(1), &json!(7), &json!(0)));
    let test = "a_tree_that_cannot_be_written_and_a_broken_configuration_are_no_obstacle";
    shell(root.dir(), "chmod -R u+w backup");
    let script = r#"cd "$1/.."; mount --bind backup backup; mount -o remount,ro,bind backup; denizen verify backup"#;
    if let Some(said) = crate::bad_disks::in_namespace(&root, test, script) {
        assert!(said.starts_with("7 sessions, 7 sound: 0 damaged, 0 wrong, 0 to note;"), "{said}");
    }
    // The broken one is found where it is looked for.
    let (output, findings, _) = verify(&root, &root.path());
    assert_eq!(
        (output.code, lines(&findings, &root.path())),
        (Some(1), vec!["configuration - denizen.toml".to_owned()])
    );
}

/// Takes turns in four sessions of a grove, and looks at something meanwhile.
fn while_worked_in(root: &Root, turns: usize, mut look: impl FnMut(usize)) {
    std::thread::scope(|scope| {
        let busy: Vec<_> = [("alder", "claude"), ("birch", "notes"), ("fern", "fake"), ("new", "notes")]
            .into_iter()
            .map(|(key, provider)| {
                scope.spawn(move || {
                    for turn in 0..turns {
                        if turn % 5 == 4 {
                            root.ok(&["new", key]);
                        }
                        root.ok(&["send", key, &format!("\"{turn}\""), "--provider", provider]);
                    }
                })
            })
            .collect();
        let mut looks = 0;
        while busy.iter().any(|busy| !busy.is_finished()) {
            look(looks);
            looks += 1;
        }
        println!("{looks} looks while 4 sessions took {turns} turns each");
        assert!(looks > 1);
    });
}

/// Demands that nothing but notes is found.
fn only_notes(root: &Root, dir: &Path, in_use: bool, what: &str) -> usize {
    let at = dir.display().to_string();
    let (output, findings, verdict) = if in_use { verified(root, &["verify"]) } else { verify(root, dir) };
    let bad: Vec<&Value> = findings.iter().filter(|finding| finding["severity"] != "note").collect();
    assert!(bad.is_empty() && output.code == Some(0), "{what} of {at}: {bad:#?} {verdict}");
    findings.len()
}

#[test]
fn sessions_that_are_worked_in_are_sound() {
    let root = grove("sessions_that_are_worked_in_are_sound");
    while_worked_in(&root, if full() { 60 } else { 12 }, |look| {
        only_notes(&root, &root.path(), look % 2 == 0, &format!("look {look}"));
    });
    let (_, findings, _) = verified(&root, &["verify"]);
    assert_eq!(findings, Vec::<Value>::new());
}

#[test]
fn copies_of_sessions_that_are_worked_in_are_sound() {
    let root = grove("copies_of_sessions_that_are_worked_in_are_sound");
    let mut notes = 0;
    while_worked_in(&root, if full() { 100 } else { 12 }, |look| {
        // What is gone before it can be copied is no failure of the copy.
        let (copy, script) = match look % 4 {
            0 => ("synced", "rsync -a --delete --exclude=/state root/ synced 2> /dev/null || true"),
            1 => ("copied", "rm -rf copied; cp -a root copied 2> /dev/null || true; rm -rf copied/state"),
            2 => {
                ("linked", "rsync -a --delete --exclude=/state --link-dest=../synced root/ linked 2> /dev/null || true")
            }
            _ => ("plain", "umask 077; rm -rf plain; cp -r root plain 2> /dev/null || true; rm -rf plain/state"),
        };
        shell(root.dir(), script);
        if root.dir().join(copy).join("sessions").exists() {
            notes += only_notes(&root, &root.dir().join(copy), false, &format!("copy {look}"));
        }
    });
    println!("{notes} notes");
}

#[test]
fn a_person_is_told_what_is_lost_and_what_to_do() {
    let root = grove("a_person_is_told_what_is_lost_and_what_to_do");
    shell(
        &root.path(),
        ": > sessions/birch/transcript.jsonl; ln -s x sessions/alder/link; chmod 644 sessions/elm/session.json",
    );
    let told = |args: &[&str]| {
        let output = root.run(args);
        let mut lines: Vec<String> =
            output.stdout.replace(&root.path().display().to_string(), "ROOT").lines().map(str::to_owned).collect();
        lines.sort();
        (output.code, output.stderr, lines)
    };
    let bad = [
        "         hint: chmod u=rw,go= ROOT/sessions/elm/session.json",
        "         hint: take it from an older backup: denizen restore BACKUP birch",
        "         lost at most: turns 1 to 2",
    ];
    let (code, stderr, lines) = told(&["verify"]);
    assert_eq!((code, stderr.as_str()), (Some(1), ""));
    assert_eq!(lines[..3], bad);
    assert_eq!(lines.len(), 7, "{lines:#?}");
    assert!(lines[3].starts_with("7 sessions, 5 sound: 1 damaged, 1 wrong, 1 to note; 15 turns,"), "{lines:#?}");
    assert!(lines[4].starts_with("damaged  ROOT/sessions/birch/transcript.jsonl: it has 0 of "), "{lines:#?}");
    assert_eq!(lines[5], "note     ROOT/sessions/alder/link: it is a link to `x`, inside the folder");
    assert_eq!(lines[6], "wrong    ROOT/sessions/elm/session.json: others may use it (mode 644)");
    let (code, _, lines) = told(&["verify", "--quiet"]);
    assert_eq!((code, lines.len()), (Some(1), 5), "{lines:#?}");
}
