//! However a turn ends, everything that it had started ends with it, the
//! session can be used again, and the message is not lost.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::fake::{Fake, Running, lives, until};
use crate::support::root::{Output, Root};
use crate::support::words::words;

/// Starts what does not want to end: a child in a session of its own that
/// ignores every polite signal, one by `nohup` in the background, and one
/// whose parent is gone; then waits to be let through.
const STUBBORN: &str = r#"
case "$message" in
stubborn*)
    stay='trap "" TERM INT HUP; echo $$ >> "$0/pids"; while :; do sleep 1000; done'
    setsid sh -c "$stay" "$T" </dev/null >/dev/null 2>&1 &
    nohup sh -c "$stay" "$T" </dev/null >/dev/null 2>&1 &
    (setsid sh -c "$stay" "$T" </dev/null >/dev/null 2>&1 &)
    while [ "$(cat "$T/pids" 2>/dev/null | wc -l)" -lt 3 ]; do sleep 0.01; done
    trap '' TERM
    say "begin $message"
    case "$message" in *gate*) gate ;; *) while :; do sleep 1000; done ;; esac
    ;;
esac
for pid in $(cat "$T/pids" 2>/dev/null); do kill -0 "$pid" 2>/dev/null && echo "$pid still lives"; done
echo "answer to $message"
"#;

/// Longer than the grace of a turn that is ended, shorter than anybody's patience.
const SOON: Duration = Duration::from_secs(10);

/// A root in which a stubborn turn runs, and the numbers of its processes.
fn stubborn(test: &str, args: &[&str]) -> (Root, Fake, Running, Vec<String>) {
    let root = Root::new(test);
    let fake = Fake::new(&root, STUBBORN);
    root.ok(&["send", "alder", "hello"]);
    let running = Running::denizen(&root, &[&["send", "alder", "stubborn"], args].concat());
    fake.wait_for(1);
    let pids = fs_err::read_to_string(root.dir().join("pids")).expect("numbers");
    let pids: Vec<String> = pids.lines().map(str::to_owned).collect();
    assert_eq!(pids.iter().filter(|pid| lives(pid)).count(), 3);
    (root, fake, running, pids)
}

/// Fails unless all of them are gone.
fn assert_gone(pids: &[String]) {
    let living: Vec<&String> = pids.iter().filter(|pid| lives(pid)).collect();
    assert!(living.is_empty(), "{living:?} of {pids:?} live");
}

/// Fails unless the session answers soon, with nothing of the last turn left.
fn assert_usable(root: &Root) {
    let start = Instant::now();
    assert_eq!(root.ok(&["send", "alder", "again"]), "answer to again\n");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

fn state_of(root: &Root) -> Vec<(String, String)> {
    let printed = root.ok(&["pending", "alder", "--json"]);
    let pending = printed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    pending.map(|pending| (pending["state"].to_string(), pending["text"].to_string())).collect()
}

#[test]
fn killing_denizen_ends_the_turn_and_keeps_the_message() {
    let (root, fake, running, pids) = stubborn("killing_denizen_ends_the_turn_and_keeps_the_message", &[]);
    running.signal(Signal::KILL);
    assert_eq!(running.end().code, None);
    let next = root.run(&["send", "alder", "again"]);
    assert_eq!(
        (next.code, next.stdout.as_str(), next.stderr.as_str()),
        (Some(0), "answer to again\n", "note: 1 earlier message was never answered: `denizen pending alder`\n")
    );
    assert_gone(&pids);
    assert_eq!(state_of(&root), [("\"interrupted\"".to_owned(), "\"stubborn\"".to_owned())]);
    // It is offered again, and then it is answered.
    fake.script("echo \"at last: $message\"");
    assert_eq!(root.ok(&["retry", "alder"]), "at last: stubborn\n");
    assert!(state_of(&root).is_empty());
    let nothing = root.run(&["retry", "alder"]);
    assert_eq!(words(&root, &nothing), "1\nerror: there is nothing to retry in `alder`: every message was answered");
}

#[test]
fn killing_the_launcher_ends_the_turn() {
    let (root, _fake, running, pids) = stubborn("killing_the_launcher_ends_the_turn", &[]);
    let number = running.pid().as_raw_nonzero();
    let children = fs_err::read_to_string(format!("/proc/{number}/task/{number}/children")).expect("children");
    let launcher: i32 = children.trim().parse().unwrap_or_else(|_| panic!("one child, not {children:?}"));
    let line = fs_err::read_to_string(format!("/proc/{launcher}/cmdline")).expect("a command line");
    assert_eq!(line.split('\0').nth(1), Some("__run"), "{line}");
    rustix::process::kill_process(rustix::process::Pid::from_raw(launcher).expect("a number"), Signal::KILL)
        .expect("it runs");
    let output = running.end();
    assert_eq!(
        words(&root, &output),
        "3\nerror: fake: its launcher was killed\nhint: `denizen retry <key>` sends the message again"
    );
    assert_gone(&pids);
    assert_usable(&root);
}

#[test]
fn an_interrupt_stops_the_turn() {
    let signals = [(Signal::INT, "int"), (Signal::TERM, "term"), (Signal::HUP, "hup")];
    let started = signals.map(|(_, name)| stubborn(&format!("an_interrupt_stops_the_turn_{name}"), &[]));
    for ((signal, _), (_, _, running, _)) in signals.iter().zip(&started) {
        running.signal(*signal);
    }
    for ((signal, _), (root, _fake, running, pids)) in signals.iter().zip(started) {
        assert_eq!(
            words(&root, &running.end()),
            "1\nerror: the turn was stopped\nhint: `denizen retry <key>` sends the message again",
            "{signal:?}"
        );
        assert_gone(&pids);
        assert_usable(&root);
    }
}

#[test]
fn a_second_interrupt_ends_the_program() {
    let (root, _fake, mut running, pids) = stubborn("a_second_interrupt_ends_the_program", &[]);
    let start = Instant::now();
    // Two that come too close together are one.
    while running.runs() {
        running.signal(Signal::INT);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() < Duration::from_millis(2500), "it waited for the stubborn: {:?}", start.elapsed());
    assert_eq!(words(&root, &running.end()), "1\nerror: interrupted: what the turn had started is still being ended");
    assert_usable(&root);
    assert_gone(&pids);
}

#[test]
fn an_interrupt_is_heard_by_who_waits() {
    let root = Root::new("an_interrupt_is_heard_by_who_waits");
    let mut fake = Fake::with_config(&root, "say begin; gate; echo done", "[limits]\nturns = 1");
    let first = Running::denizen(&root, &["send", "alder", "first"]);
    fake.wait_for(1);
    let in_line = |dir: &str, ending: &str, count: usize| {
        let dir = root.path().join("state").join(dir);
        until("place in line", || {
            let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            let found = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == ending)).count();
            if found == count { Ok(()) } else { Err(format!("{found} in {}", dir.display())) }
        });
    };
    let for_the_session = Running::denizen(&root, &["send", "alder", "second"]);
    in_line("queue/alder", "entry", 2);
    let for_a_permit = Running::denizen(&root, &["send", "birch", "third"]);
    in_line("permits/line", "hold", 1);
    for waiting in [for_the_session, for_a_permit] {
        waiting.signal(Signal::INT);
        let output = waiting.end();
        assert!(words(&root, &output).starts_with("1\nerror: the turn was stopped"), "{output:?}");
    }
    fake.release(1);
    assert_eq!(first.end().code, Some(0));
    assert_eq!(fake.said(), ["begin"]);
}

#[test]
fn another_process_can_stop_the_turn() {
    let (root, _fake, running, pids) = stubborn("another_process_can_stop_the_turn", &[]);
    assert_eq!(root.ok(&["stop", "alder"]), "the turn of `alder` was stopped\n");
    // Whoever asked may rely on it.
    assert_gone(&pids);
    let output = running.end();
    assert_eq!(
        words(&root, &output),
        "1\nerror: the turn was stopped\nhint: `denizen retry <key>` sends the message again"
    );
    assert_eq!(root.ok(&["stop", "alder"]), "nothing runs in `alder`\n");
    assert_usable(&root);
}

#[test]
fn the_deadline_ends_the_turn() {
    let (root, fake, running, pids) = stubborn("the_deadline_ends_the_turn", &["--timeout", "1s"]);
    let output = running.end();
    assert_eq!(
        words(&root, &output),
        "4\nerror: the turn took longer than 1s, and everything it had started was ended\n\
         hint: `--timeout` or `limits.turn_timeout` allows more"
    );
    assert_gone(&pids);
    fake.script("echo \"at last: $message\"");
    assert_eq!(root.ok(&["retry", "alder"]), "at last: stubborn\n");
}

#[test]
fn what_a_provider_leaves_behind_ends_with_its_turn() {
    let root = Root::new("what_a_provider_leaves_behind_ends_with_its_turn");
    let mut fake = Fake::new(&root, STUBBORN);
    let running = Running::denizen(&root, &["send", "alder", "stubborn gate"]);
    fake.wait_for(1);
    fake.release(1);
    let Output { code, stdout, .. } = running.end();
    assert_eq!(code, Some(0));
    assert!(stdout.ends_with("answer to stubborn gate\n"), "{stdout}");
    let pids = fs_err::read_to_string(root.dir().join("pids")).expect("numbers");
    assert_gone(&pids.lines().map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn a_provider_that_closes_its_output_and_lives_on_can_be_ended() {
    let root = Root::new("a_provider_that_closes_its_output_and_lives_on_can_be_ended");
    let fake = Fake::new(&root, "say begin; exec >&- 2>&-; sleep 1000");
    let start = Instant::now();
    let output = root.run(&["send", "alder", "x", "--timeout", "1s"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    let running = Running::denizen(&root, &["send", "alder", "y"]);
    fake.wait_for(2);
    running.signal(Signal::INT);
    let output = running.end();
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
    assert!(start.elapsed() < 2 * SOON, "{:?}", start.elapsed());
}

/// The agent runs as the same user, and walls are not yet there: it can stop
/// the process that watches it.
#[test]
fn a_launcher_that_was_stopped_is_no_way_out() {
    let root = Root::new("a_launcher_that_was_stopped_is_no_way_out");
    let fake = Fake::new(&root, "kill -STOP $PPID; say stopped; while :; do sleep 1000; done");
    let interrupted = Running::denizen(&root, &["send", "alder", "x"]);
    let left_alone = Running::denizen(&root, &["send", "birch", "x", "--timeout", "1s"]);
    fake.wait_for(2);
    interrupted.signal(Signal::INT);
    assert!(words(&root, &interrupted.end()).starts_with("1\nerror: the turn was stopped\n"));
    let output = left_alone.end();
    assert_eq!(
        words(&root, &output),
        "4\nerror: the turn took longer than 1s, and everything it had started was ended\nhint: `--timeout` or \
         `limits.turn_timeout` allows more"
    );
    fake.script("echo \"answer to $message\"");
    assert_usable(&root);
}

#[test]
fn the_death_of_who_waits_lets_the_line_move_on() {
    let root = Root::new("the_death_of_who_waits_lets_the_line_move_on");
    let mut fake = Fake::new(&root, "say \"begin $message\"; gate; echo \"answer to $message\"");
    let in_line = |count: usize| {
        until("place in line", || {
            let entries = std::fs::read_dir(root.path().join("state/queue/alder")).into_iter().flatten().flatten();
            let found = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "entry")).count();
            if found == count { Ok(()) } else { Err(format!("{found}")) }
        });
    };
    let mut waiting = Vec::new();
    for (number, text) in ["first", "second", "third"].iter().enumerate() {
        waiting.push(Running::denizen(&root, &["send", "alder", text]));
        in_line(number + 1);
    }
    fake.wait_for(1);
    let second = waiting.remove(1);
    second.signal(Signal::KILL);
    assert_eq!(second.end().code, None);
    fake.release(2);
    for running in waiting {
        assert_eq!(running.end().code, Some(0));
    }
    assert_eq!(fake.said(), ["begin first", "begin third"]);
    // Its message was accepted, so it is still there.
    assert_eq!(state_of(&root), [("\"left\"".to_owned(), "\"second\"".to_owned())]);
    fake.release(1);
    assert_eq!(root.ok(&["retry", "alder"]), "answer to second\n");
}

#[test]
fn a_message_is_not_delivered_to_who_took_its_key() {
    let (root, fake, running, _pids) = stubborn("a_message_is_not_delivered_to_who_took_its_key", &[]);
    running.signal(Signal::KILL);
    running.end();
    root.ok(&["rm", "alder", "--wait", "20s"]);
    fake.script("echo \"answer to $message\"");
    assert_eq!(root.ok(&["send", "alder", "a new one"]), "answer to a new one\n");
    let nothing = root.run(&["retry", "alder"]);
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    // Its owner still finds it.
    assert_eq!(state_of(&root), [("\"interrupted\"".to_owned(), "\"stubborn\"".to_owned())]);
}
