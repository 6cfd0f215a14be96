//! What a CLI does after its final event is its own affair for a moment: it may
//! finish its files and exit. One that does not exit holds up neither its reply nor
//! its session.

use std::time::{Duration, Instant};

use crate::support::fake::{Fake, lives};
use crate::support::root::Root;
use crate::support::words::words;

/// Longer than the grace and the end of a stubborn process tree; far shorter than
/// the time that a turn may take.
const SECONDS: Duration = Duration::from_secs(30);

/// Sends a message to a `claude` with this script, which has to end in seconds.
fn sent(test: &str, script: &str) -> (Root, Fake, crate::support::root::Output) {
    let mut root = Root::new(&format!("lingering::{test}"));
    let fake = Fake::claude(&mut root, script);
    let start = Instant::now();
    let output = root.run(&["send", "alder", "hello", "--json"]);
    assert!(start.elapsed() < SECONDS, "{:?}: {output:?}", start.elapsed());
    (root, fake, output)
}

/// Fails unless the turn was answered with its usage, and the next one can begin.
fn assert_answered(root: &Root, fake: &Fake, output: &crate::support::root::Output) {
    let reply: serde_json::Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((output.code, &reply["text"]), (Some(0), &"done".into()), "{output:?}");
    assert_eq!(reply["usage"]["input_tokens"], 3, "{output:?}");
    fake.claude_script("answer next");
    assert_eq!(root.ok(&["send", "alder", "again"]), "next\n");
    assert!(fake.argv().contains(&"-r".to_owned()), "the conversation goes on: {:?}", fake.argv());
}

#[test]
fn a_cli_that_never_exits_is_ended() {
    for (name, script) in [
        ("sleeps", "say $$; answer done; exec sleep 1000"),
        ("ignores", "say $$; trap '' TERM INT HUP; answer done; while :; do sleep 1; done"),
        ("waits for more", "say $$; answer done; while :; do read -r line || sleep 1; done"),
    ] {
        let (root, fake, output) = sent(name, script);
        assert!(!lives(&fake.said()[0]), "{name}");
        assert_answered(&root, &fake, &output);
    }
}

#[test]
fn a_cli_that_takes_a_moment_to_exit_is_not_disturbed() {
    let script = "answer done; sleep 3; echo late >> \"$T/late\"; say late";
    let (root, fake, output) = sent("late", script);
    assert_eq!(fake.said(), ["late"]);
    assert_answered(&root, &fake, &output);
}

#[test]
fn what_it_prints_afterwards_wins_no_time() {
    let (root, fake, output) = sent("prints", "say $$; answer done; while :; do echo '{}' || exit; done");
    assert!(!lives(&fake.said()[0]));
    assert_answered(&root, &fake, &output);
}

#[test]
fn how_it_exits_afterwards_does_not_matter() {
    for (name, end) in [("code", "exit 7"), ("signal", "kill -9 $$"), ("words", "echo 'it burns' >&2; exit 1")] {
        let (root, fake, output) = sent(name, &format!("answer done; {end}"));
        assert_answered(&root, &fake, &output);
    }
}

#[test]
fn children_that_it_leaves_behind_hold_nothing() {
    let (root, fake, output) = sent("children", "sleep 1000 & say $!; answer done; exit 0");
    assert!(!lives(&fake.said()[0]));
    assert_answered(&root, &fake, &output);
}

#[test]
fn a_cli_that_says_that_it_failed_and_stays_is_ended_too() {
    let script = r#"
        printf '{"type":"result","subtype":"success","is_error":true,"result":"no such luck","session_id":"%s"}\n' "$id"
        exec sleep 1000"#;
    let (root, fake, output) = sent("failed", script);
    assert!(words(&root, &output).contains("no such luck"), "{output:?}");
    assert_eq!(output.code, Some(3));
    fake.claude_script("answer next");
    assert_eq!(root.ok(&["send", "alder", "again"]), "next\n");
}

#[test]
fn an_interrupt_does_not_take_the_reply_away() {
    use crate::support::fake::Running;
    let mut root = Root::new("lingering::interrupt");
    let fake = Fake::claude(&mut root, "answer done; say answered; exec sleep 1000");
    let running = Running::denizen(&root, &["send", "alder", "hello"]);
    fake.wait_for(1);
    running.signal(rustix::process::Signal::INT);
    let output = running.end();
    // It may be heard before what the CLI has just printed.
    if output.code == Some(0) {
        assert_eq!(output.stdout, "done\n");
    } else {
        assert!(words(&root, &output).starts_with("1\nerror: the turn was stopped"), "{output:?}");
    }
}
