//! A question of a terminal's turn is seen and answered from other processes:
//! once, whoever else answers, and whoever is killed meanwhile.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use denizen::key::Key;
use denizen::ops::{Approver, ControlError};
use denizen::session::{AnswerOutcome, Question};
use denizen::turn::approval::Decision;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::asked::control;
use crate::support::fake::{Fake, until};
use crate::support::pty::Pty;
use crate::support::root::{Root, amount};

/// Asks one question and keeps the answer.
const ASKS: &str = r#"
printf '{"type":"control_request","request_id":"r","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"rm -rf x"},"tool_use_id":"t"}}\n'
read -r line && printf '%s\n' "$line" >> "$T/heard"
case $line in *'"behavior":"allow"'*) answer allowed ;; *) answer refused ;; esac
"#;

/// Where the helper process finds the root it answers in; what it decides.
const ANSWERER: &str = "DENIZEN_TEST_ANSWERER";

fn alder() -> Key {
    "alder".parse().expect("a key")
}

fn question(root: &Root) -> Question {
    let control = control(root);
    until("the question", || {
        let mut questions = control.questions(&alder()).map_err(|error| error.to_string())?;
        questions.pop().ok_or_else(|| "nothing is asked".to_owned())
    })
}

fn send(root: &Root) -> Command {
    let mut command = root.denizen();
    command.args(["send", "alder", "hello"]);
    command
}

/// The files beside entries, and the answers that the agent has heard.
fn left(root: &Root) -> (Vec<String>, Vec<String>) {
    let names = fs_err::read_dir(root.path().join("state/queue/alder")).into_iter().flatten();
    let names = names.map(|name| name.expect("one").file_name().to_string_lossy().into_owned());
    let heard = fs_err::read_to_string(root.dir().join("heard")).unwrap_or_default();
    (names.filter(|name| !name.ends_with(".entry")).collect(), heard.lines().map(str::to_owned).collect())
}

#[test]
fn a_question_of_a_terminal_is_answered_from_another_process() {
    let mut root = Root::new("answering::another");
    let _fake = Fake::claude(&mut root, ASKS);
    let pty = Pty::new();
    let turn = pty.start(&root, &send(&root));
    let asked = question(&root);
    assert_eq!((asked.tool.as_str(), asked.detail.as_str(), asked.number), ("Bash", "rm -rf x", 1));
    assert!(asked.deadline > asked.asked_at);
    let control = control(&root);
    let mut waits = control.questions(&alder()).expect("read");
    assert_eq!(waits.len(), 1);
    // Nobody who may not decide does.
    let stranger = Approver::Chat { name: "Ann".to_owned(), may_decide: false };
    let refused = control.decide(&asked, Decision::Allow, &stranger);
    assert!(matches!(refused, Err(ControlError::MayNotDecide(_))), "{refused:?}");
    let refused = control.decide(&asked, Decision::Allow, &Approver::Denizen);
    assert!(matches!(refused, Err(ControlError::MayNotDecide(_))), "{refused:?}");
    // Nor does an answer to another question, also of the same number.
    waits[0].id = uuid::Uuid::new_v4();
    let over = control.decide(&waits[0], Decision::Allow, &Approver::Terminal).expect("written");
    assert_eq!(over, AnswerOutcome::Over);
    let owner = Approver::Chat { name: "Olga".to_owned(), may_decide: true };
    assert_eq!(control.decide(&asked, Decision::Allow, &owner).expect("written"), AnswerOutcome::Counts);
    let (code, screen) = turn.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("allowed\r\n") && screen.contains("the question no longer stands"), "{screen}");
    assert_eq!(control.questions(&alder()).expect("read"), []);
    assert_eq!(control.decide(&asked, Decision::Allow, &owner).expect("looked"), AnswerOutcome::Over);
    let (files, heard) = left(&root);
    assert_eq!((files, heard.len()), (Vec::new(), 1));
}

#[test]
fn of_many_who_answer_at_once_one_counts_and_the_others_are_told_who() {
    let mut root = Root::new("answering::many");
    let _fake = Fake::claude(&mut root, ASKS);
    for round in 0..amount(3, 5, 20) {
        let _heard = std::fs::remove_file(root.dir().join("heard"));
        let pty = Pty::new();
        let turn = pty.start(&root, &send(&root));
        let asked = question(&root);
        let answers: Vec<(String, Result<AnswerOutcome, ControlError>)> = thread::scope(|scope| {
            let answer = |number: usize| {
                let control = control(&root);
                let asked = &asked;
                move || {
                    let name = format!("owner {number}");
                    let decision =
                        if number.is_multiple_of(2) { Decision::Allow } else { Decision::Deny("no".to_owned()) };
                    let by = Approver::Chat { name: name.clone(), may_decide: true };
                    (name, control.decide(asked, decision, &by))
                }
            };
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(answer(number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
        });
        let mut counted = Vec::new();
        let mut named = BTreeSet::new();
        for (name, outcome) in answers {
            match outcome.expect("written") {
                AnswerOutcome::Counts => counted.push(name),
                AnswerOutcome::Decided(answer) => drop(named.insert(answer.by)),
                AnswerOutcome::Over => {}
            }
        }
        assert_eq!(counted.len(), 1, "round {round}: {counted:?}");
        assert!(named.is_empty() || named == BTreeSet::from([counted[0].clone()]), "{named:?} of {counted:?}");
        let (code, screen) = turn.end();
        let allowed = counted[0].trim_start_matches("owner ").parse::<usize>().expect("a number").is_multiple_of(2);
        assert_eq!((code, screen.contains("allowed\r\n")), (Some(0), allowed), "{screen}");
        assert_eq!(left(&root).1.len(), 1, "round {round}");
    }
}

#[test]
#[ignore = "a program that other tests start"]
fn the_answerer() {
    let Some(word) = std::env::var_os(ANSWERER) else { return };
    let word = word.into_string().expect("a word");
    let mut words = word.split('\n');
    let (root, decision) = (words.next().expect("a root"), words.next().expect("a decision"));
    let store = denizen::session::Store::at(Path::new(root), denizen::files::Durability::Process);
    let asked = denizen::session::open_questions(&store, "alder").expect("read").pop().expect("a question");
    println!("ready");
    let answer = denizen::session::QuestionAnswer {
        question: asked.id,
        allow: decision == "allow",
        by: decision.to_owned(),
        reason: None,
        at: jiff::Timestamp::now(),
    };
    let outcome = denizen::session::answer_question(&store, &asked, &answer).expect("written");
    println!("outcome: {outcome:?}");
}

/// Starts a process that answers as soon as it may.
fn answerer(root: &Root, decision: &str) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--ignored", "--exact", "--nocapture", "answering::the_answerer"]);
    command.env(ANSWERER, format!("{}\n{decision}", root.path().display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("an answerer")
}

/// One of an allower, a denier and the turn's own process is killed at some moment.
#[test]
fn whoever_is_killed_a_question_is_answered_at_most_once() {
    let mut root = Root::new("answering::killed");
    let fake = Fake::claude(&mut root, ASKS);
    let mut tally = [0_usize; 3];
    let rounds = amount(6, 15, 200);
    for round in 0..rounds {
        let _heard = std::fs::remove_file(root.dir().join("heard"));
        let pty = Pty::new();
        let turn = pty.start(&root, &send(&root));
        let _asked = question(&root);
        let mut answerers = [answerer(&root, "allow"), answerer(&root, "deny")];
        let victim = round % 3;
        let pid = match victim {
            2 => turn_of(&root),
            other => Some(Pid::from_child(&answerers[other])),
        };
        // From before they begin until after they are done.
        thread::sleep(Duration::from_micros((round as u64 * 7919) % 60_000));
        if let Some(pid) = pid {
            let _gone = kill_process(pid, Signal::KILL);
        }
        let mut counts = 0;
        for answerer in &mut answerers {
            let mut printed = String::new();
            let mut stdout = answerer.stdout.take().expect("what it prints");
            std::io::Read::read_to_string(&mut stdout, &mut printed).expect("read");
            let _collected = answerer.wait();
            counts += usize::from(printed.contains("outcome: Counts"));
        }
        assert!(counts <= 1, "round {round}: both count");
        if victim == 2 {
            let (code, screen) = turn.end();
            tally[0] += usize::from(code != Some(0));
            assert!(left(&root).1.len() <= 1, "round {round}: {screen}");
        } else {
            // The other one answers, if the one that was killed did not.
            let (code, screen) = turn.end();
            let heard = left(&root).1;
            assert_eq!((code, heard.len()), (Some(0), 1), "round {round}: {screen}");
            tally[1] += counts;
            tally[2] += 1;
        }
        // Whatever was left goes, and nothing of it counts for the next turn.
        fake.claude_script("answer next");
        until("the next turn", || match root.run(&["send", "alder", "again"]) {
            output if output.stdout == "next\n" => Ok(()),
            output => Err(format!("{output:?}")),
        });
        assert_eq!(left(&root).0, Vec::<String>::new(), "round {round}");
        while !root.ok(&["pending", "alder"]).is_empty() {
            root.ok(&["retry", "alder"]);
        }
        fake.claude_script(ASKS);
    }
    println!("{rounds} kills: {} of turns, {} of answerers, of whose rivals {} counted", tally[0], tally[2], tally[1]);
}

/// The process of `denizen send` in a root.
fn turn_of(root: &Root) -> Option<Pid> {
    let home = root.home();
    let mut processes = fs_err::read_dir("/proc").expect("/proc").flatten();
    let found = processes.find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).into_owned();
        let is_it = words.contains("denizen\0send\0alder") && !words.contains("setsid");
        (is_it && std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == home)).then_some(pid)
    });
    found.and_then(Pid::from_raw)
}
