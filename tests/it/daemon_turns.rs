//! The daemon from a message to its reply: order, parallelism, full queues,
//! attachments, files, long replies, progress.

use super::support::fake::{Fake, until};
use super::support::net::{Net, end};
use super::support::root::{Root, write};

/// Says when it begins, waits to be let through, answers.
const GATED: &str = "say \"begin $message\"; gate; say \"end $message\"; echo \"you said $message\"";

#[test]
fn a_message_is_answered_in_its_channel_and_its_session() {
    let root = Root::new("daemon_turns::a_message_is_answered");
    let net = Net::new(&root);
    let _fake = Fake::with_config(&root, "echo \"you said $message\"", &net.section());
    let daemon = net.serve(&root);
    net.say("a", "ann", "hello");
    net.say("b", "bob", "good day");
    net.until_says("a", "you said hello");
    net.until_says("b", "you said good day");
    end(daemon);
    assert_eq!(net.texts("a"), ["you said hello"]);
    let record = root.json(&["status", "net-a"])["record"].clone();
    assert_eq!((record["title"].as_str(), record["where"].as_str()), (Some("#a"), Some("net")));
    assert_eq!(root.json(&["status"])["pending"], 0);
    let log = fs_err::read_to_string(root.path().join("logs/sessions/net-a.log")).expect("a log");
    assert!(log.contains("turn 1 answered by fake") && !log.contains("hello"), "{log}");
}

#[test]
fn one_session_is_in_order_and_several_are_side_by_side() {
    let root = Root::new("daemon_turns::in_order");
    let net = Net::new(&root);
    let mut fake = Fake::with_config(&root, GATED, &net.section());
    let daemon = net.serve(&root);
    for text in ["1", "2", "3"] {
        net.say("a", "ann", text);
    }
    net.say("b", "bob", "4");
    // Both have begun, and the second of one waits for its first.
    let mut begun = fake.wait_for(2);
    begun.sort();
    assert_eq!(begun, ["begin 1", "begin 4"]);
    fake.release(4);
    net.until_says("a", "you said 3");
    net.until_says("b", "you said 4");
    end(daemon);
    let said: Vec<String> = fake.said().into_iter().filter(|said| !said.ends_with('4')).collect();
    assert_eq!(said, ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]);
    assert_eq!(net.texts("a"), ["you said 1", "you said 2", "you said 3"]);
}

#[test]
fn no_more_turns_run_than_may_and_each_session_gets_its_turn() {
    let root = Root::new("daemon_turns::limit");
    let net = Net::new(&root);
    let mut fake = Fake::with_config(&root, GATED, &format!("[limits]\nturns = 1\n{}", net.section()));
    let daemon = net.serve(&root);
    net.say("a", "ann", "a1");
    fake.wait_for(1);
    let waiting = net.say("b", "bob", "b1");
    net.until_accepted(&waiting);
    // Behind the other session, not before it.
    let waiting = net.say("a", "ann", "a2");
    net.until_accepted(&waiting);
    until("word that it waits", || {
        let texts = net.texts("b");
        if texts.iter().any(|text| text.contains("many turns are running")) {
            Ok(())
        } else {
            Err(format!("{texts:?}"))
        }
    });
    assert_eq!(fake.said(), ["begin a1"]);
    fake.release(3);
    net.until_says("a", "you said a2");
    net.until_says("b", "you said b1");
    end(daemon);
    assert_eq!(fake.said(), ["begin a1", "end a1", "begin b1", "end b1", "begin a2", "end a2"]);
}

#[test]
fn a_full_queue_is_answered_honestly() {
    let root = Root::new("daemon_turns::full");
    let net = Net::new(&root);
    let mut fake = Fake::with_config(&root, GATED, &format!("[limits]\nqueued = 2\n{}", net.section()));
    let daemon = net.serve(&root);
    net.say("a", "ann", "1");
    fake.wait_for(1);
    net.say("a", "ann", "2");
    let third = net.say("a", "ann", "3");
    let told = net.until_shown("a", |shown| shown.text.contains("2 messages wait here already"));
    assert!(told.buttons.is_empty());
    let refused = until("refusal", || {
        let done = net.done();
        done.iter().find(|done| done.what == "refused").cloned().ok_or_else(|| format!("{done:?}"))
    });
    assert_eq!(refused.id, third);
    // Another session is not concerned.
    net.say("b", "bob", "4");
    fake.release(3);
    net.until_says("a", "you said 2");
    net.until_says("b", "you said 4");
    end(daemon);
    assert!(!fake.said().contains(&"begin 3".to_owned()));
}

#[test]
fn a_refusal_of_several_pieces_is_there_whole() {
    let root = Root::new("daemon_turns::a_refusal_of_several_pieces_is_there_whole");
    let net = Net::new(&root);
    let _fake = Fake::with_config(&root, "echo done", &net.section());
    let channel = "a-channel-with-a-long-name-".repeat(2) + "x";
    let queue = root.path().join(format!("state/queue/net-{channel}"));
    write(&queue, "no directory");
    let daemon = net.serve(&root);
    net.say(&channel, "ann", "hello");
    let told = until("the last piece", || {
        let texts = net.texts(&channel);
        if texts.concat().contains("(os error ") { Ok(texts) } else { Err(format!("{texts:?}")) }
    });
    assert!(told.len() > 1, "{told:?}");
    assert!(told.concat().starts_with("This message was not taken: "), "{told:?}");
    assert!(told.concat().contains(&queue.display().to_string()), "{told:?}");
    end(daemon);
}

#[test]
fn a_message_that_comes_twice_is_answered_once() {
    let root = Root::new("daemon_turns::twice");
    let net = Net::new(&root);
    let fake = Fake::with_config(&root, "say \"$message\"; echo \"you said $message\"", &net.section());
    let daemon = net.serve(&root);
    let id = net.say("a", "ann", "hello");
    net.until_says("a", "you said hello");
    net.repeat(&id, "a", "ann", "hello");
    net.say("a", "ann", "next");
    net.until_says("a", "you said next");
    end(daemon);
    // Nor after a restart.
    let daemon = net.serve(&root);
    net.repeat(&id, "a", "ann", "hello");
    net.say("a", "ann", "last");
    net.until_says("a", "you said last");
    end(daemon);
    assert_eq!(fake.said(), ["hello", "next", "last"]);
}

#[test]
fn attachments_reach_the_inbox_and_their_names_are_no_paths() {
    let root = Root::new("daemon_turns::attachments");
    let net = Net::new(&root);
    let fake = Fake::with_config(&root, "echo done", &net.section());
    let daemon = net.serve(&root);
    let files = [("../../notes.txt", "what it says"), ("lost.txt", "broken"), ("notes.txt", "more")];
    net.send("a", "ann", "look", &files, false);
    net.until_says("a", "done");
    end(daemon);
    let prompt = fake.prompt();
    assert!(prompt.contains("[the file \"lost.txt\" was not received: the server has lost it]"), "{prompt}");
    let found = root.files_with(&root.session("net-a").join("inbox"), "what it says");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("_.._notes.txt"), "{found:?}");
    assert!(prompt.contains("_.._notes.txt") && prompt.contains("/notes.txt"), "{prompt}");
    let left: Vec<_> = fs_err::read_dir(root.path().join("state/queue/net-a")).expect("a queue").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn files_of_the_outbox_are_sent_and_long_replies_too() {
    let root = Root::new("daemon_turns::outbox");
    let net = Net::new(&root);
    let script = "case \"$message\" in
        files) mkdir -p outbox; echo one > outbox/a.txt; echo two > outbox/b.txt; echo three > outbox/c.txt
            head -c 20000 /dev/zero > outbox/large.bin; ln -s /etc/passwd outbox/link; echo made ;;
        long) for n in $(seq 60); do echo 'a line of a reply that takes several messages'; done ;;
        *) seq 1 150 ;;
    esac";
    let _fake = Fake::with_config(&root, script, &net.section());
    let daemon = net.serve(&root);
    net.say("a", "ann", "files");
    net.until_shown("a", |shown| shown.files.iter().any(|(name, _)| name == "c.txt"));
    net.say("b", "ann", "long");
    let long = net.until_shown("b", |shown| !shown.files.is_empty());
    net.say("c", "ann", "middle");
    net.until_shown("c", |shown| shown.text.ends_with("150"));
    end(daemon);
    let shown = net.shown("a");
    assert!(
        shown[0].text.starts_with("made\n\nNote: the file \"large.bin\" is not sent: it has 20000 bytes"),
        "{shown:?}"
    );
    let sent: Vec<_> = shown.iter().flat_map(|shown| shown.files.clone()).collect();
    let file = |name: &str, content: &str| (name.to_owned(), content.to_owned());
    assert_eq!(sent, [file("a.txt", "one\n"), file("b.txt", "two\n"), file("c.txt", "three\n")]);
    assert_eq!(long.files[0].0, "reply.md");
    assert_eq!(long.files[0].1.lines().count(), 60);
    // One that needs a few messages gets them, whole.
    assert_eq!(net.texts("c").concat().split_whitespace().count(), 150, "{:?}", net.texts("c"));
}

#[test]
fn progress_is_shown_in_one_message_that_becomes_the_reply() {
    let root = Root::new("daemon_turns::progress");
    let net = Net::new(&root);
    let mut root = root;
    let mut fake = Fake::claude(&mut root, "");
    root.write_config(&format!("provider = \"claude\"\n{}", net.section()));
    fake.claude_script(
        "say begun
         printf '{\"type\":\"stream_event\",\"event\":{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Let me\"}}}\\n'
         gate; answer 'Let me see'",
    );
    let daemon = net.serve(&root);
    net.say("a", "ann", "hello");
    fake.wait_for(1);
    let shown = net.until_shown("a", |shown| shown.text.starts_with("Let me"));
    assert_eq!(shown.text, "Let me …");
    assert_eq!(shown.buttons[0].1, "Stop");
    fake.release(1);
    let reply = net.until_says("a", "Let me see");
    end(daemon);
    assert_eq!((reply.id, reply.buttons), (shown.id, Vec::new()));
    assert_eq!(net.shown("a").len(), 1);
}

#[test]
fn what_runs_is_stopped_by_its_button_and_sent_again_by_another() {
    let root = Root::new("daemon_turns::buttons");
    let net = Net::new(&root);
    let script =
        "say \"begin $message\"; if [ ! -e $T/second ]; then touch $T/second; sleep 60; fi; echo \"you said $message\"";
    let fake = Fake::with_config(&root, script, &net.section());
    let daemon = net.serve(&root);
    net.say("a", "ann", "hello");
    fake.wait_for(1);
    let shown = net.until_shown("a", |shown| !shown.buttons.is_empty());
    // A button of another message, or in another channel, stops nothing.
    assert_eq!(net.press_id("a", "ann", &shown.id, "stop:12").text, "This has ended already.");
    assert_eq!(net.press("b", "ann", &shown, "Stop").text, "This has ended already.");
    net.press("a", "bob", &shown, "Stop");
    let stopped = net.until_shown("a", |shown| shown.text.contains("the turn was stopped"));
    assert_eq!(net.press("a", "ann", &stopped, "Retry").text, "It is sent again.");
    net.until_says("a", "you said hello");
    // What was answered is not sent again.
    let again = net.press("a", "ann", &stopped, "Retry").text;
    assert!(again.contains("something else was asked here since"), "{again}");
    end(daemon);
    assert_eq!(fake.said(), ["begin hello", "begin hello"]);
}

#[test]
fn a_busy_session_queues_interrupts_or_merges_as_configured() {
    let root = Root::new("daemon_turns::busy");
    let net = Net::new(&root);
    let mut fake = Fake::with_config(&root, GATED, &format!("{}busy = \"merge\"\n", net.section()));
    let daemon = net.serve(&root);
    net.say("a", "ann", "1");
    fake.wait_for(1);
    for (from, text) in [("ann", "2"), ("ann", "3"), ("bob", "4"), ("ann", "5")] {
        let id = net.say("a", from, text);
        net.until_accepted(&id);
    }
    fake.release(4);
    net.until_says("a", "you said 5");
    end(daemon);
    // One author's messages in a row are one; the last line of it is what the script sees.
    let begun: Vec<String> = fake.said().into_iter().filter(|said| said.starts_with("begin")).collect();
    assert_eq!(begun, ["begin 1", "begin 3", "begin 4", "begin 5"]);
    let history = root.ok(&["history", "net-a", "--json"]);
    assert!(history.contains("\"text\":\"2\\n\\n3\""), "{history}");

    fake.script("say \"begin $message\"; [ \"$message\" != 6 ] || sleep 60; echo \"you said $message\"");
    let config = fs_err::read_to_string(root.path().join("denizen.toml")).expect("a configuration");
    root.write_config(&config.replace("merge", "interrupt"));
    let daemon = net.serve(&root);
    net.say("a", "ann", "6");
    fake.wait_for(9);
    net.say("a", "bob", "7");
    net.until_says("a", "you said 7");
    end(daemon);
    assert!(net.texts("a").iter().any(|text| text.contains("the turn was stopped")), "{:?}", net.texts("a"));
}

#[test]
fn one_that_never_ends_and_floods_keeps_nobody_waiting() {
    let root = Root::new("daemon_turns::hostile");
    let net = Net::new(&root);
    let script = "if [ \"$message\" = flood ]; then say flood; trap '' TERM; while :; do echo 'line after line after line'; done; fi
        echo \"you said $message\"";
    let fake = Fake::with_config(&root, script, &format!("[limits]\nturns = 2\n{}", net.section()));
    let daemon = net.serve(&root);
    net.say("bad", "mallory", "flood");
    fake.wait_for(1);
    let begun = std::time::Instant::now();
    for number in 0..20 {
        net.say(&format!("good-{}", number % 4), "ann", &number.to_string());
    }
    for number in 0..20 {
        net.until_says(&format!("good-{}", number % 4), &format!("you said {number}"));
    }
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    net.command("bad", "mallory", "/stop");
    net.until_shown("bad", |shown| shown.text.contains('⚠'));
    end(daemon);
}

#[test]
fn a_message_that_came_while_nobody_listened_says_so() {
    let root = Root::new("daemon_turns::late");
    let net = Net::new(&root);
    let _fake = Fake::with_config(&root, "echo \"you said $message\"", &net.section());
    let daemon = net.serve(&root);
    net.send("a", "ann", "hello", &[], true);
    net.until_says("a", "(To a message that came while I was not connected)\n\nyou said hello");
    end(daemon);
}
