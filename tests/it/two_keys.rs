//! Every command acts on the session that it names, and leaves every byte of
//! another one alone. The other one's key starts like the first's.

use serde_json::Value;

use crate::support::fake::{Fake, Running};
use crate::support::root::Root;
use crate::support::tree::Tree;

const MINE: &str = "discord-1";
const OTHER: &str = "discord-11";

/// Answers with the message, after the gate where it is asked to; fails where
/// it is told to.
const CLAUDE: &str = r#"
case "$message" in
gate*) say "begin $message"; gate ;;
fail*) say "failed $message"; echo "it failed" >&2; exit 1 ;;
esac
answer "heard $message"
"#;

/// Two sessions, each with a current and an earlier conversation.
fn two(test: &str) -> (Root, Fake) {
    let mut root = Root::new(test);
    let fake = Fake::claude(&mut root, CLAUDE);
    let granted = root.dir().join("granted");
    fs_err::create_dir_all(granted.join("deep")).expect("directories");
    root.write_config(&format!("provider = \"claude\"\nworking_dirs = [\"{}\"]\n", granted.display()));
    for (key, word) in [(MINE, "mine"), (OTHER, "others")] {
        root.ok(&["send", key, &format!("{word} one")]);
        root.ok(&["new", key]);
        root.ok(&["send", key, &format!("{word} two")]);
        root.ok(&["rename", key, &format!("the {word}")]);
        root.ok(&["set", key, "model", &format!("{word}-model")]);
        fs_err::write(root.session(key).join("memory/MEMORY.md"), format!("{word} memory\n")).expect("written");
    }
    root.ok(&["cd", OTHER, &granted.display().to_string()]);
    root.ok(&["send", OTHER, "others three"]);
    (root, fake)
}

/// All that belongs to a session.
fn all_of(root: &Root, key: &str) -> Tree {
    let state = |name: &str| root.path().join("state").join(name).join(key);
    let grant = root.path().join("access/sessions").join(format!("{key}.json"));
    let names = root.path().join("names/terminal");
    let links = std::fs::read_dir(names).into_iter().flatten().flatten().map(|entry| entry.path());
    let own = links.filter(|link| fs_err::read_link(link).is_ok_and(|target| target.ends_with(key)));
    let mut paths = vec![root.session(key), grant, state("queue"), state("homes")];
    paths.extend(own);
    Tree::of(&paths)
}

fn status(root: &Root, key: &str) -> Value {
    root.json(&["status", key])
}

/// A command on the first session, and what is so afterwards.
type Change = (&'static [&'static str], fn(&Root, before: &Value) -> bool);

const CHANGES: &[Change] = &[
    (&["send", MINE, "hello"], |root, before| {
        let record = &status(root, MINE)["record"];
        record["turns"].as_u64() == before["record"]["turns"].as_u64().map(|turns| turns + 1)
            && record["conversation"]["id"] == before["record"]["conversation"]["id"]
    }),
    (&["resume", MINE, "1"], |root, before| {
        status(root, MINE)["record"]["conversation"]["id"] == before["record"]["earlier"][0]["id"]
    }),
    (&["new", MINE], |root, _| status(root, MINE)["record"]["conversation"].is_null()),
    (&["resume", MINE, "1"], |root, _| !status(root, MINE)["record"]["conversation"].is_null()),
    (&["rename", MINE, "renamed"], |root, _| status(root, MINE)["record"]["title"] == "renamed"),
    (&["compact", MINE], |root, before| {
        let turns = |status: &Value| status["record"]["conversation"]["turns"].as_u64().expect("a number");
        let text = fs_err::read_to_string(root.session(MINE).join("transcript.jsonl")).expect("a transcript");
        turns(&status(root, MINE)) == turns(before) + 1 && text.contains("\"/compact\"")
    }),
    (&["set", MINE, "model", "changed"], |root, _| status(root, MINE)["settings"]["model"] == "changed"),
    (&["set", MINE, "provider", "notes"], |root, _| status(root, MINE)["record"]["provider"]["name"] == "notes"),
    (&["set", MINE, "provider", "claude"], |root, _| status(root, MINE)["record"]["provider"]["name"] == "claude"),
    (&["cd", MINE, "../granted/deep"], |root, _| {
        status(root, MINE)["working_dir"] == root.dir().join("granted/deep").display().to_string()
    }),
    (&["send", MINE, "from there"], |root, before| status(root, MINE)["record"]["turns"] != before["record"]["turns"]),
    (&["cd", MINE, "--home"], |root, _| status(root, MINE)["working_dir"] == root.session(MINE).display().to_string()),
    (&["archive", MINE], |root, _| status(root, MINE)["record"]["archived_at"].is_string()),
    (&["unarchive", MINE], |root, _| status(root, MINE)["record"]["archived_at"].is_null()),
    (&["exec", MINE, "--", "sh", "-c", "echo made > made"], |root, _| root.session(MINE).join("made").exists()),
    (&["fork", MINE, "copy"], |root, before| {
        let record = &status(root, "copy")["record"];
        record["forked_from"]["uuid"] == before["record"]["uuid"] && record["uuid"] != before["record"]["uuid"]
    }),
    (&["export", MINE, "-o", "mine"], |root, before| status(root, MINE) == *before),
    (&["stop", MINE], |root, before| status(root, MINE) == *before),
    (&["rm", MINE], |root, _| !root.session(MINE).exists()),
    (&["trash", "restore", MINE], |root, before| status(root, MINE)["record"] == before["record"]),
    (&["rm", MINE, "--purge"], |root, _| !root.session(MINE).exists()),
    (&["import", "mine"], |root, before| status(root, MINE)["record"]["turns"] == before["record"]["turns"]),
];

#[test]
fn every_change_is_made_to_the_session_that_was_named() {
    let (root, _fake) = two("every_change_is_made_to_the_session_that_was_named");
    let others = all_of(&root, OTHER);
    let mut before = status(&root, MINE);
    for (args, is_so) in CHANGES {
        root.ok(args);
        assert!(is_so(&root, &before), "denizen {args:?}: {before:#}");
        others.assert_same(&all_of(&root, OTHER), &format!("denizen {args:?}"));
        if root.session(MINE).exists() {
            before = status(&root, MINE);
        }
    }
}

#[test]
fn who_only_looks_sees_the_session_that_was_named_and_changes_nothing() {
    let (root, _fake) = two("who_only_looks_sees_the_session_that_was_named_and_changes_nothing");
    let before = Tree::of(&[root.path()]);
    let looks: &[(&[&str], &str)] = &[
        (&["status", MINE], "the mine"),
        (&["history", MINE], "mine two"),
        (&["path", MINE], "sessions/discord-1"),
        (&["usage", MINE], "the mine"),
        (&["pending", MINE], ""),
        (&["resume", MINE], "mine one"),
        (&["set", MINE], "mine-model"),
        (&["cd", MINE], "sessions/discord-1"),
    ];
    for (args, word) in looks {
        for json in [&[][..], &["--json"]] {
            let printed = root.ok(&[args, json].concat());
            assert!(!printed.contains("others") && !printed.contains(OTHER), "denizen {args:?}: {printed}");
            let word = if *word == "the mine" && args[0] == "usage" && !json.is_empty() { MINE } else { word };
            assert!(printed.contains(word), "denizen {args:?}: {printed}");
        }
    }
    for args in [&["ls"][..], &["status"], &["usage"], &["trash", "list"], &["config"], &["doctor"]] {
        root.run(args);
    }
    before.assert_same(&Tree::of(&[root.path()]), "looking");
}

#[test]
fn stopping_one_session_leaves_the_other_running() {
    let (root, mut fake) = two("stopping_one_session_leaves_the_other_running");
    let mine = Running::denizen(&root, &["send", MINE, "gate mine"]);
    let mut other = Running::denizen(&root, &["send", OTHER, "gate other"]);
    fake.wait_for(2);
    root.ok(&["stop", MINE]);
    assert_eq!(mine.end().code, Some(1));
    assert!(other.runs());
    let pending = root.json(&["pending", OTHER]);
    assert_eq!((&pending["state"], &pending["text"]), (&"running".into(), &"gate other".into()));
    assert_eq!(root.ok(&["pending", MINE]), "");
    fake.release(1);
    let other = other.end();
    assert_eq!((other.code, other.stdout.as_str()), (Some(0), "heard gate other\n"));
}

#[test]
fn retrying_one_session_leaves_the_other_to_wait() {
    let (root, fake) = two("retrying_one_session_leaves_the_other_to_wait");
    for key in [MINE, OTHER] {
        assert_eq!(root.run(&["send", key, &format!("fail {key}")]).code, Some(3));
    }
    fake.claude_script("answer \"at last: $message\"");
    let others = all_of(&root, OTHER);
    assert_eq!(root.ok(&["retry", MINE]), format!("at last: fail {MINE}\n"));
    others.assert_same(&all_of(&root, OTHER), "retry");
    assert_eq!(root.ok(&["retry", OTHER]), format!("at last: fail {OTHER}\n"));
}
