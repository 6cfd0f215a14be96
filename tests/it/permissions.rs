//! What an agent may not do unasked is asked for, once each, while the turn
//! runs. Nothing that an agent, a person or a signal does meanwhile lets a turn
//! hang, or makes a no out of a yes or the other way round.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use denizen::session::AnswerOutcome;
use denizen::turn::approval::{Decision, PermissionRequest};

use crate::support::asked::{Ask, Sent, send, send_within};
use crate::support::clis::did_not_run;
use crate::support::fake::{Fake, Running, until};
use crate::support::root::Root;

/// `request <id> <command>` asks as the CLI does, `heard` keeps the next answer;
/// `over` is what a CLI does at last: it reads to the end of its input.
const ASKING: &str = r#"
request() {
    printf '{"type":"control_request","request_id":"%s","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"%s"},"tool_use_id":"call-%s"}}\n' "$1" "$2" "$1"
}
cancel() { printf '{"type":"control_cancel_request","request_id":"%s"}\n' "$1"; }
heard() { read -r line; printf '%s\n' "$line" >> "$T/heard"; }
over() { cat >> "$T/heard"; say over; }
"#;

/// Longer than a turn takes to end, shorter than its time limit.
const SOON: Duration = Duration::from_secs(20);

fn asking(test: &str, body: &str) -> (Root, Fake) {
    let mut root = Root::new(&format!("permissions::{test}"));
    let fake = Fake::claude(&mut root, &format!("{ASKING}{body}"));
    (root, fake)
}

/// What the agent was answered, without what is the same in all answers.
fn heard(root: &Root) -> Vec<String> {
    let text = fs_err::read_to_string(root.dir().join("heard")).expect("what was heard");
    let answer = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&line["type"], &line["response"]["subtype"]), (&"control_response".into(), &"success".into()));
        let response = &line["response"]["response"];
        let words = response.get("message").unwrap_or(&response["updatedInput"]);
        format!("{} {} {words}", line["response"]["request_id"], response["behavior"]).replace('"', "")
    };
    text.lines().map(answer).collect()
}

fn allow(ask: Ask) {
    assert_eq!(ask.decide(Decision::Allow), AnswerOutcome::Counts);
}

/// Decides by what is asked for.
fn decide(ask: Ask) {
    match ask.detail() {
        "yes" => allow(ask),
        "no" => assert_eq!(ask.decide(Decision::Deny("rather not".to_owned())), AnswerOutcome::Counts),
        _ => {}
    }
}

#[test]
fn a_request_is_answered_as_was_decided() {
    let body = r#"request 1 yes; heard; request 2 no; heard; request 3 drop; heard; answer done; over"#;
    let (root, fake) = asking("a_request_is_answered_as_was_decided", body);
    let patience = Duration::from_secs(1);
    let sent = send_within(&root, "alder", "/hello \"you\"", patience, |ask, _| decide(ask));
    assert_eq!(sent.text(), "done");
    let request = |detail: &str| PermissionRequest { tool: "Bash".to_owned(), detail: detail.to_owned() };
    assert_eq!(sent.asked, ["yes", "no", "drop"].map(request));
    assert_eq!(heard(&root), ["1 allow {command:yes}", "2 deny rather not", "3 deny nobody decided within 1s"]);
    // Its input had an end, and began with the message.
    assert_eq!(fake.said(), ["over"]);
    let kept = root.session("alder").join("provider/claude");
    let line = r#"{"type":"user","message":{"role":"user","content":"\n/hello \"you\""}}"#;
    assert_eq!(root.files_with(&kept, line).len(), 1);
    assert!(fake.argv().windows(2).any(|pair| pair == ["--permission-prompt-tool", "stdio"]), "{:?}", fake.argv());
}

#[test]
fn nobody_is_asked_where_nobody_can_be_or_need_be() {
    let (root, fake) = asking("nobody_is_asked_where_nobody_can_be_or_need_be", "request 1 yes; answer done");
    assert_eq!(root.ok(&["send", "alder", "hello"]), "done\n");
    assert!(!fake.argv().contains(&"--permission-prompt-tool".to_owned()), "{:?}", fake.argv());
    // Where the agent may do everything, there is nothing to ask.
    root.write_config("provider = \"claude\"\n[providers.claude]\npermission_mode = \"bypassPermissions\"\n");
    root.ok(&["set", "alder", "permission_mode", "bypassPermissions"]);
    let sent = send(&root, "alder", "hello", |ask, _| allow(ask));
    assert_eq!((sent.text(), sent.details()), ("done", vec![]));
    assert!(!fake.argv().contains(&"--permission-prompt-tool".to_owned()), "{:?}", fake.argv());
}

#[test]
fn several_requests_wait_at_once_and_are_answered_in_any_order() {
    let body = "request 1 one; request 2 two; heard; heard; answer done; over";
    let (root, _fake) = asking("several_requests_wait_at_once_and_are_answered_in_any_order", body);
    let mut first = None;
    let sent = send(&root, "alder", "hello", |ask, _| match first.take() {
        None => first = Some(ask),
        Some(first) => {
            allow(ask);
            assert_eq!(first.decide(Decision::Deny("rather not".to_owned())), AnswerOutcome::Counts);
        }
    });
    assert_eq!((sent.text(), sent.details()), ("done", vec!["one", "two"]));
    let mut answers = heard(&root);
    answers.sort_unstable();
    assert_eq!(answers, ["1 deny rather not", "2 allow {command:two}"]);
}

#[test]
fn more_than_a_person_can_look_at_is_denied() {
    let body = r#"
for number in $(seq 20); do request $number x; done
for number in $(seq 4); do heard; done
say flooded
for number in $(seq 16); do heard; done
answer done; over"#;
    let (root, fake) = asking("more_than_a_person_can_look_at_is_denied", body);
    let (put, waiting) = std::sync::mpsc::channel();
    let person = thread::spawn(move || {
        // The other four have their answer without anybody's doing.
        fake.wait_for(1);
        waiting.iter().take(16).for_each(allow);
    });
    let sent = send(&root, "alder", "hello", |ask, _| put.send(ask).expect("somebody"));
    person.join().expect("it was decided");
    assert_eq!((sent.text(), sent.asked.len()), ("done", 16));
    let answers = heard(&root);
    assert_eq!(answers[0], "17 deny 16 other requests wait for a decision already");
    assert_eq!(answers.iter().filter(|answer| answer.contains("allow")).count(), 16);
}

#[test]
fn a_request_that_is_taken_back_is_not_asked_any_longer() {
    let body = "request 1 x; gate; cancel 1; gate; request 2 yes; heard; answer done; over";
    let (root, mut fake) = asking("a_request_that_is_taken_back_is_not_asked_any_longer", body);
    let waiting = Arc::new(Mutex::new(None::<Ask>));
    let watched = Arc::clone(&waiting);
    let watch = thread::spawn(move || {
        until("question", || watched.lock().expect("the question").is_some().then_some(()).ok_or_else(String::new));
        fake.release(1);
        until("end of the question", || match &*watched.lock().expect("the question") {
            Some(ask) if ask.is_over() => Ok(()),
            _ => Err("it stands".to_owned()),
        });
        fake.release(1);
    });
    let sent = send(&root, "alder", "hello", |ask, _| match ask.detail() {
        "x" => *waiting.lock().expect("the question") = Some(ask),
        _ => allow(ask),
    });
    watch.join().expect("it was taken back");
    assert_eq!(sent.text(), "done");
    assert_eq!(heard(&root), ["2 allow {command:yes}"]);
}

/// Sends a message about which nobody decides, and demands that the question
/// has ended with the turn, and the turn soon.
fn undecided(root: &Root, mut act: impl FnMut(&tokio::sync::Notify)) -> Sent {
    let mut waiting = None;
    let start = Instant::now();
    let sent = send(root, "alder", "hello", |ask, interrupt| {
        waiting = Some(ask);
        act(interrupt);
    });
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let ask = waiting.expect("it was asked");
    assert!(ask.is_over(), "{:?}", sent.result);
    assert_eq!(ask.decide(Decision::Allow), AnswerOutcome::Over);
    sent
}

#[test]
fn stopping_ends_a_turn_that_waits_for_a_decision() {
    let (root, _fake) = asking("stopping_ends_a_turn_that_waits_for_a_decision", "request 1 x; heard; answer done");
    let sent = undecided(&root, |interrupt| interrupt.notify_one());
    assert_eq!(sent.result.expect_err("stopped"), "the turn was stopped");
    // By the command as well, which other processes use.
    let mut stop = None;
    let sent = undecided(&root, |_| stop = Some(Running::denizen(&root, &["stop", "alder"])));
    assert_eq!(sent.result.expect_err("stopped"), "the turn was stopped");
    assert_eq!(stop.expect("it was asked").end().code, Some(0));
}

#[test]
fn waiting_for_a_decision_counts_as_time_of_the_turn() {
    let (root, _fake) = asking("waiting_for_a_decision_counts_as_time_of_the_turn", "request 1 x; heard; answer done");
    root.write_config("provider = \"claude\"\n[limits]\nturn_timeout = \"2s\"\n");
    let sent = undecided(&root, |_| {});
    let error = sent.result.expect_err("too long");
    assert_eq!(error, "the turn took longer than 2s, and everything it had started was ended");
}

#[test]
fn a_provider_that_dies_while_it_asks_fails_the_turn() {
    let body = "request 1 x; gate; echo 'it burns' >&2; kill -9 $$";
    let (root, mut fake) = asking("a_provider_that_dies_while_it_asks_fails_the_turn", body);
    let sent = undecided(&root, |_| fake.release(1));
    assert_eq!(sent.result.expect_err("dead"), "claude: it burns");
}

#[test]
fn a_provider_that_does_not_listen_cannot_hold_the_turn() {
    // The answers are more than a pipe takes.
    let body = r#"exec 0</dev/null
for number in $(seq 200); do request $number "$(seq -s, 1000)"; done
answer done"#;
    let (root, _fake) = asking("a_provider_that_does_not_listen_cannot_hold_the_turn", body);
    let start = Instant::now();
    let sent = send(&root, "alder", "hello", |ask, _| allow_if_open(ask));
    assert_eq!(sent.text(), "done");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// The turn may end in the moment of the decision.
fn allow_if_open(ask: Ask) {
    let _counts_or_over = ask.decide(Decision::Allow);
}

#[test]
fn a_person_at_a_terminal_is_asked_there() {
    let test = "permissions::a_person_at_a_terminal_is_asked_there";
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return did_not_run(test, "`script` is missing", "install bsdutils");
    }
    let body = r#"request 1 'rm \u001b[2J\nallow it this once'; heard; request 2 two; heard; answer done; over"#;
    let (root, _fake) = asking("a_person_at_a_terminal_is_asked_there", body);
    let mut command = root.command("timeout");
    command.args(["60", "script", "-qec", &format!("{} send alder hello", env!("CARGO_BIN_EXE_denizen")), "/dev/null"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut terminal = command.spawn().expect("a terminal");
    let mut screen = String::new();
    let mut shown = terminal.stdout.take().expect("what it shows");
    let mut typed = terminal.stdin.take().expect("its keys");
    for answer in ["y\n", "\n"] {
        read_until(&mut shown, &mut screen, "anything else is no\r\n");
        std::io::Write::write_all(&mut typed, answer.as_bytes()).expect("typed");
        screen.push('|');
    }
    read_until(&mut shown, &mut screen, "done\r\n");
    assert_eq!(terminal.wait().expect("an end").code(), Some(0), "{screen}");
    assert_eq!(heard(&root)[..1], [r"1 allow {command:rm \u001b[2J\nallow it this once}"]);
    assert_eq!(heard(&root)[1..], ["2 deny the person at the terminal said no"]);
    // What is asked for acts on nothing, and no line of it looks like ours.
    let question = "the agent asks for permission to use Bash:";
    assert!(screen.contains("    rm \\u{1b}[2J\r\n    allow it this once\r\n"), "{screen}");
    assert_eq!(screen.matches(question).count(), 2, "{screen}");
}

/// Reads what a terminal shows until it ends with this.
fn read_until(shown: &mut impl std::io::Read, screen: &mut String, end: &str) {
    let mut byte = [0];
    while !screen.ends_with(end) {
        assert_eq!(shown.read(&mut byte).expect("readable"), 1, "it ended: {screen}");
        screen.push(char::from(byte[0]));
    }
}
