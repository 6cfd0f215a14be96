//! Messages are answered in their order of arrival, one at a time in a session,
//! and as many sessions at once as `limits.turns` says, whoever sends them.

use std::path::Path;

use serde_json::Value;

use crate::support::fake::{Fake, Running, until};
use crate::support::root::Root;
use crate::support::words::words;

/// Answers when it is let through.
const ANSWER_AT_THE_GATE: &str = r#"
say "begin $message"
gate
say "end $message"
echo "answer to $message"
"#;

/// The numbers of those who stand in a line.
fn standing(line: &Path, ending: &str) -> usize {
    let entries = std::fs::read_dir(line).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|found| found == ending)).count()
}

/// Sends a message and returns when it stands in the session's queue.
fn send(root: &Root, key: &str, text: &str) -> Running {
    let queue = root.path().join("state/queue").join(key);
    let before = standing(&queue, "entry");
    let running = Running::denizen(root, &["send", key, text]);
    until("ticket", || match standing(&queue, "entry") {
        now if now > before => Ok(()),
        now => Err(format!("{now} entries")),
    });
    running
}

/// Who said what, line by line.
fn transcript(root: &Root, key: &str) -> Vec<(u64, String, String)> {
    let text = fs_err::read_to_string(root.session(key).join("transcript.jsonl")).expect("a transcript");
    let line = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
    let text_of = |value: &Value| value.as_str().expect("text").to_owned();
    text.lines()
        .map(line)
        .map(|line| (line["turn"].as_u64().expect("a number"), text_of(&line["who"]), text_of(&line["text"])))
        .collect()
}

#[test]
fn one_session_answers_in_order_of_arrival() {
    let root = Root::new("one_session_answers_in_order_of_arrival");
    let mut fake = Fake::new(&root, ANSWER_AT_THE_GATE);
    let names: Vec<String> = (1..=8).map(|number| format!("m{number}")).collect();
    let first = send(&root, "alder", &names[0]);
    fake.wait_for(1);
    let mut sent = vec![first];
    sent.extend(names[1..].iter().map(|name| send(&root, "alder", name)));
    assert_eq!(fake.said(), ["begin m1"], "while the first runs no other begins");
    fake.release(8);
    for (running, name) in sent.into_iter().zip(&names) {
        let output = running.end();
        assert_eq!((output.code, output.stdout), (Some(0), format!("answer to {name}\n")), "{}", output.stderr);
    }

    let one_by_one: Vec<String> =
        names.iter().flat_map(|name| [format!("begin {name}"), format!("end {name}")]).collect();
    assert_eq!(fake.said(), one_by_one);
    let mut said = Vec::new();
    for (turn, name) in (1..).zip(&names) {
        said.push((turn, "user".to_owned(), name.clone()));
        said.push((turn, "agent".to_owned(), format!("answer to {name}")));
    }
    assert_eq!(transcript(&root, "alder"), said);
    let record = &root.json(&["status", "alder"])["record"];
    assert_eq!(record["turns"], 8);
    assert_eq!((&record["conversation"]["turns"], &record["earlier"]), (&Value::from(8), &Value::Null), "{record}");
    assert_eq!(standing(&root.path().join("state/queue/alder"), "entry"), 0);
}

#[test]
fn sessions_run_side_by_side_up_to_the_limit() {
    let root = Root::new("sessions_run_side_by_side_up_to_the_limit");
    let mut fake = Fake::with_config(&root, ANSWER_AT_THE_GATE, "[limits]\nturns = 3");
    let keys: Vec<String> = (1..=8).map(|number| format!("key-{number}")).collect();
    let sent: Vec<Running> = keys.iter().map(|key| send(&root, key, key)).collect();
    let waiting = || standing(&root.path().join("state/permits/line"), "hold");
    let running = |said: &[String]| {
        let begun = said.iter().filter(|event| event.starts_with("begin")).count();
        begun - said.iter().filter(|event| event.starts_with("end")).count()
    };
    // As long as nobody is let through, three run and five stand in line for a permit.
    let five_wait = || match waiting() {
        5 => Ok(()),
        other => Err(format!("{other} wait")),
    };
    until("five who wait", five_wait);
    assert_eq!(running(&fake.wait_for(3)), 3);
    // Each end lets one in.
    for ended in 1..=5 {
        fake.release(1);
        let said = fake.wait_for(3 + 2 * ended);
        assert_eq!(running(&said), 3, "{said:?}");
    }
    fake.release(3);
    for (sent, key) in sent.into_iter().zip(&keys) {
        let output = sent.end();
        assert_eq!((output.code, output.stdout), (Some(0), format!("answer to {key}\n")), "{}", output.stderr);
    }
    let said = fake.said();
    let most = (1..=said.len()).map(|end| running(&said[..end])).max();
    assert_eq!((said.len(), most), (16, Some(3)), "{said:?}");
    assert!(keys.iter().all(|key| transcript(&root, key).len() == 2));
}

#[test]
fn a_busy_session_is_waited_for_as_long_as_was_said() {
    let root = Root::new("a_busy_session_is_waited_for_as_long_as_was_said");
    let mut fake = Fake::new(&root, ANSWER_AT_THE_GATE);
    let first = send(&root, "alder", "first");
    fake.wait_for(1);
    for args in [&["send", "alder", "second", "--wait", "1s"][..], &["new", "alder", "--wait", "1s"]] {
        let output = root.run(args);
        assert_eq!(
            words(&root, &output),
            "4\nerror: the session is busy: another turn or terminal has it\n\
             hint: `--wait 10m` waits longer, `denizen stop <key>` ends the running turn",
            "{args:?}"
        );
        assert_eq!(output.stdout, "");
    }
    // Whoever was told does not stand in line any more.
    let pending = root.json(&["pending", "alder"]);
    assert_eq!((&pending["state"], &pending["text"]), (&Value::from("running"), &Value::from("first")));
    fake.release(1);
    assert_eq!(first.end().code, Some(0));
    assert_eq!(fake.said(), ["begin first", "end first"]);
}

#[test]
fn a_full_queue_refuses_and_keeps_what_it_has() {
    let root = Root::new("a_full_queue_refuses_and_keeps_what_it_has");
    let mut fake = Fake::with_config(&root, ANSWER_AT_THE_GATE, "[limits]\nqueued = 2");
    let first = send(&root, "alder", "first");
    fake.wait_for(1);
    let second = send(&root, "alder", "second");
    let output = root.run(&["send", "alder", "third"]);
    assert_eq!(
        words(&root, &output),
        "4\nerror: 2 messages wait in `alder` already, as many as may\n\
         hint: `denizen pending alder` lists them, `limits.queued` raises the limit"
    );
    fake.release(2);
    assert_eq!((first.end().code, second.end().code), (Some(0), Some(0)));
    assert_eq!(transcript(&root, "alder").len(), 4);
}
