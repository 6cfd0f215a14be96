//! The daemon is killed, and starts again: nothing that was accepted is lost,
//! nothing is answered twice, and what was interrupted says so.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::support::fake::{Fake, PATIENCE, until};
use super::support::net::{Act, Net, end, until_answered};
use super::support::root::{Root, amount, full};

const INTERRUPTED: &str = "⚠ This was interrupted by a restart";

#[test]
fn a_second_daemon_is_refused_and_nothing_serves_nothing() {
    let root = Root::new("daemon_crash::second");
    let net = Net::new(&root);
    let _fake = Fake::with_config(&root, "echo done", &net.section());
    let daemon = net.serve(&root);
    let second = net.start(&root).end();
    assert_eq!(second.code, Some(101), "{second:#?}");
    assert!(second.stderr.contains("a daemon runs on"), "{second:#?}");
    assert_eq!(root.json(&["status"])["daemon"], true);
    end(daemon);
    assert_eq!(root.json(&["status"])["daemon"], false);
    // The real program knows no such network, and without any there is nothing to do.
    let unknown = root.run(&["serve"]);
    assert_eq!(unknown.code, Some(2), "{unknown:#?}");
    assert!(unknown.stderr.contains("there is no channel `net`"), "{unknown:#?}");
    root.write_config("");
    let nothing = root.run(&["serve"]);
    assert_eq!(nothing.code, Some(2), "{nothing:#?}");
    assert!(nothing.stderr.contains("nothing to listen to") && nothing.stderr.contains("hint: "), "{nothing:#?}");
}

#[test]
fn an_interrupted_turn_is_labelled_once_and_what_waited_goes_on() {
    let root = Root::new("daemon_crash::interrupted");
    let net = Net::new(&root);
    let mut fake = Fake::with_config(&root, "say \"begin $message\"; gate; echo \"you said $message\"", &net.section());
    let daemon = net.serve(&root);
    net.say("a", "ann", "1");
    fake.wait_for(1);
    for text in ["2", "3"] {
        let id = net.say("a", "ann", text);
        net.until_accepted(&id);
    }
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.end().code, None);
    let states = |root: &Root| -> Vec<String> {
        let pending = root.json(&["status", "net-a"])["pending"].clone();
        pending
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["state"].as_str().expect("a state").to_owned())
            .collect()
    };
    assert_eq!(states(&root), ["interrupted", "left", "left"]);
    let daemon = net.serve(&root);
    let label = net.until_shown("a", |shown| shown.text.starts_with(INTERRUPTED));
    assert_eq!(label.buttons[0].1, "Retry");
    fake.release(2);
    net.until_says("a", "you said 3");
    assert_eq!(fake.said(), ["begin 1", "begin 2", "begin 3"]);
    end(daemon);
    // It is not said again, and not forgotten.
    let daemon = net.serve(&root);
    net.say("a", "ann", "4");
    fake.release(1);
    net.until_says("a", "you said 4");
    assert_eq!(states(&root), ["interrupted"]);
    assert_eq!(net.texts("a").iter().filter(|text| text.starts_with(INTERRUPTED)).count(), 1);
    // The button belongs to its own channel.
    let wrong = net.press("b", "ann", &label, "Retry").text;
    assert!(wrong.contains("something else was asked here since"), "{wrong}");
    net.press("a", "ann", &label, "Retry");
    fake.release(1);
    net.until_says("a", "you said 1");
    assert_eq!(states(&root), Vec::<String>::new());
    end(daemon);
    assert_eq!(fake.said()[3..], ["begin 4", "begin 1"]);
}

#[test]
fn a_retry_in_a_terminal_is_answered_in_the_chat_too() {
    let root = Root::new("daemon_crash::terminal");
    let net = Net::new(&root);
    let mut fake = Fake::with_config(&root, "say \"$message\"; gate; echo \"you said $message\"", &net.section());
    let mut daemon = net.serve(&root);
    for channel in ["a", "b"] {
        net.say(channel, "ann", &format!("to {channel}"));
    }
    fake.wait_for(2);
    daemon.signal(Signal::KILL);
    daemon.end();
    // What is still being ended would pass the gate too.
    until("end of both turns", || {
        let busy = root.json(&["status"])["busy"].clone();
        if busy == 0 { Ok(()) } else { Err(busy.to_string()) }
    });
    fake.release(2);
    let retried = root.run(&["retry", "net-b"]);
    assert_eq!(retried.stdout, "you said to b\n", "{retried:#?}");
    assert!(retried.stderr.contains("it is said on net too when the daemon runs again"), "{retried:#?}");
    daemon = net.serve(&root);
    net.until_says("b", "you said to b");
    net.until_shown("a", |shown| shown.text.starts_with(INTERRUPTED));
    let retried = root.run(&["retry", "net-a"]);
    assert_eq!(retried.stdout, "you said to a\n", "{retried:#?}");
    assert!(retried.stderr.contains("it is said on net too\n"), "{retried:#?}");
    net.until_says("a", "you said to a");
    for key in ["net-a", "net-b"] {
        until_answered(&root, key);
    }
    end(daemon);
    assert_eq!(fake.said().len(), 4);
}

#[test]
fn what_was_interrupted_can_be_dismissed() {
    let root = Root::new("daemon_crash::dismissed");
    let net = Net::new(&root);
    let fake = Fake::with_config(&root, "say \"$message\"; gate; echo done", &net.section());
    let pending = |key: &str| root.ok(&["pending", key]);
    let mut daemon = net.serve(&root);
    for (at, channel) in ["a", "b", "c"].into_iter().enumerate() {
        net.say(channel, "ann", &format!("to {channel}"));
        fake.wait_for(at + 1);
    }
    daemon.signal(Signal::KILL);
    daemon.end();
    daemon = net.serve(&root);
    let label = net.until_shown("a", |shown| shown.text.starts_with(INTERRUPTED));
    net.until_shown("b", |shown| shown.text.starts_with(INTERRUPTED));
    net.until_shown("c", |shown| shown.text.starts_with(INTERRUPTED));
    assert!(net.press("b", "ann", &label, "Dismiss").text.contains("nothing to dismiss"));
    assert_eq!(net.press("a", "ann", &label, "Dismiss").text, "Dismissed: to a");
    assert!(net.press("a", "ann", &label, "Retry").text.contains("not sent again"));
    assert_eq!(net.command("b", "ann", "/pending dismiss").text, "Dismissed: to b");
    let told = root.ok(&["pending", "net-c", "--dismiss"]);
    assert!(told.starts_with("dismissed") && told.contains("to c"), "{told}");
    for key in ["net-a", "net-b", "net-c"] {
        assert_eq!(pending(key), "", "{key}");
    }
    end(daemon);
    assert_eq!(fake.said().len(), 3);
}

#[test]
fn a_reply_that_could_not_be_delivered_is_delivered_after_the_restart() {
    let root = Root::new("daemon_crash::undelivered");
    let net = Net::new(&root);
    let script = "say \"begin $message\"; gate; mkdir -p outbox; echo made > outbox/file.txt; seq 1 150";
    let mut fake = Fake::with_config(&root, script, &net.section());
    let daemon = net.serve(&root);
    net.say("a", "ann", "hello");
    fake.wait_for(1);
    net.down(true);
    fake.release(1);
    until("a reply that waits", || {
        let pending = root.ok(&["pending", "net-a"]);
        if pending.starts_with("undelivered") { Ok(()) } else { Err(pending) }
    });
    daemon.signal(Signal::KILL);
    daemon.end();
    // Nobody takes it for one that was not answered.
    let retried = root.run(&["retry", "net-a"]);
    assert!(retried.stderr.contains("every message was answered"), "{retried:#?}");
    fake.release(1);
    let sent = root.run(&["send", "net-a", "from a terminal"]);
    assert!(!sent.stderr.contains("never answered"), "{sent:#?}");
    net.down(false);
    let daemon = net.serve(&root);
    net.until_shown("a", |shown| shown.files.iter().any(|(name, _)| name == "file.txt"));
    until_answered(&root, "net-a");
    end(daemon);
    let words = net.texts("a").concat();
    assert_eq!(words.split_whitespace().filter(|word| *word == "150").count(), 1, "{words}");
    assert_eq!(fake.said(), ["begin hello", "begin from a terminal"]);
}

#[test]
fn a_post_whose_answer_was_lost_is_there_once_or_says_so() {
    let root = Root::new("daemon_crash::lost");
    let net = Net::new(&root);
    let script = "case $message in *slow) sleep 0.3; esac; echo \"you said $message\"";
    let _fake = Fake::with_config(&root, script, &net.section());
    let daemon = net.serve(&root);
    for (text, post) in [("1", "reply"), ("2 slow", "progress")] {
        net.lose_the_answer_to(post);
        net.say("a", "ann", text);
        net.until_says("a", &format!("you said {text}"));
        until_answered(&root, "net-a");
    }
    assert_eq!(net.texts("a"), ["you said 1", "you said 2 slow"]);
    net.without_nonces();
    // Whether progress is shown is then not known, so the reply is a message of its own.
    net.lose_the_answer_to("progress");
    net.lose_the_answer_to("reply");
    net.say("b", "ann", "3");
    net.until_says("b", "(perhaps a second time) you said 3");
    end(daemon);
    let told: Vec<String> = net.texts("b").into_iter().filter(|text| !text.ends_with('…')).collect();
    assert_eq!(told, ["you said 3", "(perhaps a second time) you said 3"]);
}

#[test]
fn a_deleted_channel_ends_the_delivery() {
    let root = Root::new("daemon_crash::gone");
    let net = Net::new(&root);
    let _fake = Fake::with_config(&root, "echo \"you said $message\"", &net.section());
    net.gone("a");
    let daemon = net.serve(&root);
    let id = net.say("a", "ann", "hello");
    net.until_accepted(&id);
    until("an answered message", || {
        let status = root.run(&["status", "net-a", "--json"]).stdout;
        if status.contains("\"turns\":1") && status.contains("\"pending\":[]") { Ok(()) } else { Err(status) }
    });
    net.say("b", "ann", "hello");
    net.until_says("b", "you said hello");
    let output = end(daemon);
    assert!(output.stderr.contains("the channel was deleted"), "{}", output.stderr);
    assert!(net.texts("a").is_empty());
}

#[test]
fn a_message_for_a_session_that_was_moved_is_not_given_to_whoever_took_its_name() {
    let root = Root::new("daemon_crash::moved");
    let net = Net::new(&root);
    let mut fake = Fake::with_config(&root, "say \"$message\"; gate; echo \"you said $message\"", &net.section());
    let daemon = net.serve(&root);
    fake.release(1);
    net.say("a", "ann", "first");
    net.until_says("a", "you said first");
    net.say("a", "ann", "second");
    fake.wait_for(2);
    let waits = net.say("a", "ann", "third");
    net.until_accepted(&waits);
    daemon.signal(Signal::KILL);
    daemon.end();
    until("end of the turn", || {
        let renamed = std::fs::rename(root.session("net-a"), root.session("elsewhere"));
        if root.json(&["ls"]).is_null() { Err("never".to_owned()) } else { renamed.map_err(|error| error.to_string()) }
    });
    fake.release(1);
    root.ok(&["send", "net-a", "somebody else"]);
    let daemon = net.serve(&root);
    net.say("b", "ann", "other");
    fake.release(1);
    net.until_says("b", "you said other");
    let output = end(daemon);
    assert!(!fake.said().contains(&"third".to_owned()), "{:?}", fake.said());
    assert!(output.stderr.contains("a session that was moved or removed"), "{}", output.stderr);
    assert!(root.ok(&["pending", "net-a"]).contains("third"));
}

#[test]
fn kills_under_load_lose_nothing_and_repeat_nothing() {
    if full() {
        batches("daemon_crash::kills", true, 100);
    } else {
        kills("daemon_crash::kills", true, amount(8, 25, 25), 0);
    }
}

#[test]
fn without_nonces_at_most_a_labelled_piece_is_repeated() {
    if full() {
        batches("daemon_crash::kills_without_nonces", false, 10);
    } else {
        kills("daemon_crash::kills_without_nonces", false, amount(4, 12, 12), 0);
    }
}

/// So many times a hundred kills, each hundred with a root of its own, some side by side.
fn batches(test: &str, nonces: bool, count: u64) {
    let next = AtomicU64::new(0);
    let totals = Mutex::new((0, 0, 0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    if batch >= count {
                        return;
                    }
                    let (said, answered, labelled) = kills(&format!("{test}_{batch}"), nonces, 100, batch);
                    let mut totals = totals.lock().expect("no panic");
                    *totals = (totals.0 + said, totals.1 + answered, totals.2 + labelled);
                }
            });
        }
    });
    let (said, answered, labelled) = totals.into_inner().expect("no panic");
    println!("{} kills, {said} messages: {answered} answered, {labelled} interrupted", count * 100);
}

/// Kills the daemon at random moments while twenty channels talk. Returns how many
/// messages there were, how many were answered, and how many labelled.
fn kills(test: &str, nonces: bool, rounds: usize, seed: u64) -> (usize, usize, usize) {
    let root = Root::new(test);
    let net = Net::new(&root);
    if !nonces {
        net.without_nonces();
    }
    let config = format!("[limits]\nturns = 6\nqueued = 1000\n{}", net.section());
    let script = "say \"$message\"; case $message in *7) sleep 0.05 ;; esac; echo \"you said $message\"";
    let fake = Fake::with_config(&root, script, &config);
    let mut said: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..rounds {
        let daemon = net.serve(&root);
        for _ in 0..6 {
            let (channel, text) = (format!("c{}", next(20)), format!("m{}", said.len()));
            let id = net.say(&channel, "ann", &text);
            said.insert(id, (channel, text));
        }
        // A kill may come at any moment; the moments are spread over all that a turn takes.
        std::thread::sleep(Duration::from_millis(next(if round % 5 == 0 { 1200 } else { 250 })));
        daemon.signal(Signal::KILL);
        daemon.end();
    }
    let daemon = net.serve(&root);
    // Everything comes to an end: a reply, or a word that it was interrupted. How long
    // that takes depends on the machine; that something happens does not.
    let (mut before, mut changed) = (String::new(), Instant::now());
    loop {
        let overview = root.json(&["status"]);
        let done = net.done();
        let accepted = done.iter().filter(|done| done.what == "accepted").map(|done| done.id.clone());
        let accepted: std::collections::BTreeSet<String> = accepted.collect();
        let told = said.values().map(|(channel, _)| channel).collect::<std::collections::BTreeSet<_>>();
        let labelled: usize = told.iter().map(|channel| interrupted(&net, channel)).sum();
        let quiet = overview["pending"] == labelled && overview["undelivered"] == 0;
        if accepted.len() == said.len() && quiet {
            break;
        }
        let now = format!("{overview}, {labelled} labelled, {} accepted", accepted.len());
        if now != before {
            (before, changed) = (now, Instant::now());
        }
        assert!(changed.elapsed() < PATIENCE, "it does not come to an end: {before}");
        std::thread::sleep(Duration::from_millis(100));
    }
    end(daemon);
    let (mut answered, mut labelled) = (0, 0);
    for (id, (channel, text)) in &said {
        let reply = format!("you said {text}");
        let shown = net.shown(channel);
        let exact = shown.iter().filter(|shown| shown.text == reply).count();
        let repeated = shown.iter().filter(|shown| shown.text == format!("(perhaps a second time) {reply}")).count();
        let own: Vec<_> = shown.iter().filter(|shown| shown.reply.as_ref() == Some(id)).collect();
        let label = own.iter().filter(|shown| shown.text.starts_with(INTERRUPTED)).count();
        assert!(
            exact <= 1 && exact + repeated + label >= 1,
            "{text} in {channel}: {exact} {repeated} {label} {own:#?}"
        );
        if nonces {
            assert_eq!((exact + label, repeated), (1, 0), "{text} in {channel}: {own:#?}");
        }
        answered += exact.max(repeated.min(1));
        labelled += label.min(1);
    }
    println!("{rounds} kills, {} messages: {answered} answered, {labelled} interrupted", said.len());
    // The agent itself was asked once for each that was answered.
    let asked = fake.said();
    for (_, text) in said.values() {
        assert!(asked.iter().filter(|said| *said == text).count() <= 1, "{text} was asked twice");
    }
    assert!(answered > said.len() / 4, "only {answered} of {} were answered", said.len());
    (said.len(), answered, labelled)
}

/// How many messages of a channel are said to be interrupted.
fn interrupted(net: &Net, channel: &str) -> usize {
    let labels = net.shown(channel).into_iter().filter(|shown| shown.text.starts_with(INTERRUPTED));
    labels.map(|shown| shown.reply).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn a_network_that_will_not_have_it_back_ends_the_daemon_with_words() {
    let root = Root::new("daemon_crash::fatal");
    let net = Net::new(&root);
    let _fake = Fake::with_config(&root, "echo done", &net.section());
    let daemon = net.serve(&root);
    net.happens(&Act::Fatal);
    let output = daemon.end();
    assert_ne!(output.code, Some(0));
    assert!(output.stderr.contains("net: the token is wrong; get another"), "{}", output.stderr);
}
