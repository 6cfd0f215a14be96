//! Whoever watches a turn misses nothing that counts, and holds nothing up.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::fake::{Fake, Running, until};
use crate::support::root::Root;

/// More lines than anybody is told one by one, and more bytes than a pipe takes.
const LINES: usize = 3000;

fn turns(root: &Root, key: &str) -> u64 {
    let record = fs_err::read(root.session(key).join("session.json")).unwrap_or_default();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap_or_default();
    record["turns"].as_u64().unwrap_or_default()
}

#[test]
fn a_reader_that_sleeps_holds_no_turn_and_gets_every_word() {
    for provider in ["lines", "texts"] {
        let mut root = Root::new(&format!("watching::sleeps-{provider}"));
        let number = "0000000000111111111122222222223333333333444444444455555555556666666666";
        let (_fake, expected) = match provider {
            "lines" => {
                let fake = Fake::new(
                    &root,
                    &format!("i=0; while [ $i -lt {LINES} ]; do i=$((i + 1)); echo $i {number}; done"),
                );
                let lines: Vec<String> = (1..=LINES).map(|i| format!("{i} {number}")).collect();
                (fake, lines.join("\n"))
            }
            // Several texts, and no part of any.
            _ => {
                let text = r#"printf '{"type":"assistant","message":{"content":[{"type":"text","text":"%s"}]}}\n' "$i $number""#;
                let body = format!(
                    "number={number}; i=0; while [ $i -lt {LINES} ]; do i=$((i + 1)); {text}; done; answer last"
                );
                let fake = Fake::claude(&mut root, &body);
                let texts = (1..=LINES).map(|i| format!("{i} {number}")).chain(["last".to_owned()]);
                (fake, texts.collect::<Vec<_>>().join("\n\n"))
            }
        };
        let mut command = root.denizen();
        command.args(["send", "alder", "hello", "--stream"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut sending = command.spawn().expect("a child");
        // Nobody has read a byte when the turn is over.
        until("end of the turn", || if turns(&root, "alder") == 1 { Ok(()) } else { Err("it runs".to_owned()) });
        let mut printed = String::new();
        let mut stdout = sending.stdout.take().expect("what it prints");
        stdout.read_to_string(&mut printed).expect("read");
        assert_eq!(sending.wait().expect("an end").code(), Some(0));
        // The last line of a part ends with a newline of its own, a whole text does not.
        let ends = [format!("{expected}\n"), format!("{expected}\n\n")];
        assert!(ends.contains(&printed), "{provider}: every word, once, in order ({} bytes)", printed.len());
    }
}

/// The names of the files beside the entries of a queue.
fn beside(root: &Root, key: &str) -> Vec<String> {
    let names = fs_err::read_dir(root.path().join("state/queue").join(key)).into_iter().flatten();
    let names = names.map(|name| name.expect("one").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".entry")).collect();
    names.sort();
    names
}

fn live(root: &Root, key: &str) -> Option<serde_json::Value> {
    let name = beside(root, key).into_iter().find(|name| name.ends_with(".live"))?;
    let bytes = fs_err::read(root.path().join("state/queue").join(key).join(name)).ok()?;
    Some(serde_json::from_slice(&bytes).expect("whole at any moment"))
}

#[test]
fn other_processes_see_what_a_turn_does_as_long_as_it_runs() {
    let mut root = Root::new("watching::live");
    let tool = r#"printf '{"type":"assistant","message":{"content":[{"type":"tool_use","name":"Bash","input":{"command":"ls \\u001b[2J\\n%s"}}]}}\n' "#;
    let mut fake = Fake::claude(&mut root, &format!("{tool} one; gate; {tool} two; gate; answer done"));
    let running = Running::denizen(&root, &["send", "alder", "hello"]);
    let sees = |activity: &str| {
        until("what it does", || match live(&root, "alder") {
            Some(live) if live["activity"] == activity => Ok(live),
            other => Err(format!("{other:?}")),
        })
    };
    let first = sees("Bash: ls \\u{1b}[2J one");
    assert_eq!(first["state"], "running");
    fake.release(1);
    let second = sees("Bash: ls \\u{1b}[2J two");
    assert_eq!(second["since"], first["since"], "it runs since then");
    let changed = root.path().join("state/control/changed/alder");
    assert!(changed.exists(), "the daemon would hear of it");
    fake.release(1);
    assert_eq!(running.end().stdout, "done\n");
    assert_eq!(beside(&root, "alder"), Vec::<String>::new());
}

#[test]
fn a_short_turn_writes_none_of_it() {
    let root = Root::new("watching::short");
    let fake = Fake::new(&root, "echo heard");
    root.ok(&["send", "alder", "one"]);
    // Whatever the machine does meanwhile, one of these is short.
    let short = (0..20).find(|_| {
        let start = Instant::now();
        let _removed = std::fs::remove_dir_all(root.path().join("state/control/changed"));
        root.ok(&["send", "alder", "two"]);
        start.elapsed() < Duration::from_secs(1)
    });
    assert!(short.is_some(), "none was short");
    assert!(!root.path().join("state/control/changed").exists());
    drop(fake);
}

#[test]
fn what_a_killed_turn_showed_goes_with_the_next_one() {
    let mut root = Root::new("watching::killed");
    let fake = Fake::claude(&mut root, "say begun; gate; answer done");
    let running = Running::denizen(&root, &["send", "alder", "hello"]);
    until("the sight of it", || live(&root, "alder").map(drop).ok_or_else(String::new));
    running.signal(rustix::process::Signal::KILL);
    assert_eq!(running.end().code, None);
    assert_eq!(beside(&root, "alder").len(), 1);
    // It counts for nothing, and is no entry.
    assert_eq!(root.json(&["pending", "alder"])["state"], "interrupted");
    assert_eq!(root.run(&["verify"]).code, Some(0));
    fake.claude_script("answer next");
    assert_eq!(root.ok(&["send", "alder", "again"]), "next\n");
    assert_eq!(beside(&root, "alder"), Vec::<String>::new());
    // Also by whoever only lets go of the message.
    let queue = root.path().join("state/queue/alder");
    let entry = fs_err::read_dir(&queue).expect("the queue").map(|name| name.expect("one").file_name());
    let entry = entry.into_iter().next().expect("the entry").to_string_lossy().into_owned();
    fs_err::write(queue.join(entry.replace("entry", "live")), "{}").expect("written");
    assert_eq!(root.ok(&["retry", "alder"]), "next\n");
    assert_eq!(beside(&root, "alder"), Vec::<String>::new());
    assert_eq!(root.ok(&["pending", "alder"]), "");
}
