//! The daemon's life: it leaves in its own time, takes a changed configuration
//! into use, and tells the service manager.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use super::support::fake::{Fake, until};
use super::support::net::{Net, end};
use super::support::root::Root;

const GATED: &str = "say \"begin $message\"; gate; echo \"you said $message\"";

/// The configuration of a root, with something replaced.
fn change(root: &Root, from: &str, to: &str) {
    let path = root.path().join("denizen.toml");
    let config = fs_err::read_to_string(&path).expect("a configuration");
    assert!(config.contains(from), "{config}");
    root.write_config(&config.replace(from, to));
}

#[test]
fn it_leaves_when_what_runs_has_finished_and_takes_nothing_in() {
    let root = Root::new("daemon_life::leaves");
    let net = Net::new(&root);
    let mut fake = Fake::with_config(&root, GATED, &net.section());
    let mut daemon = net.serve(&root);
    net.say("a", "ann", "1");
    fake.wait_for(1);
    let waits = net.say("a", "ann", "2");
    net.until_accepted(&waits);
    daemon.signal(Signal::TERM);
    let log = || fs_err::read_to_string(root.dir().join("log")).unwrap_or_default();
    until("that it leaves", || if log().contains("leaving; ") { Ok(()) } else { Err(log()) });
    assert!(daemon.runs());
    fake.release(1);
    net.until_says("a", "you said 1");
    let output = daemon.end();
    assert_eq!(output.code, Some(0), "{output:#?}");
    assert!(output.stderr.contains("leaving; 1 turns are running"), "{}", output.stderr);
    assert_eq!(fake.said(), ["begin 1"]);
    assert!(root.ok(&["pending", "net-a"]).starts_with("never begun"));
    let late = net.say("a", "ann", "3");
    let daemon = net.serve(&root);
    net.until_accepted(&late);
    fake.release(2);
    net.until_says("a", "you said 3");
    end(daemon);
    assert_eq!(fake.said(), ["begin 1", "begin 2", "begin 3"]);
}

#[test]
fn what_takes_longer_than_the_grace_is_interrupted_and_says_so() {
    let root = Root::new("daemon_life::grace");
    let net = Net::new(&root);
    let fake = Fake::with_config(&root, GATED, &format!("[limits]\ngrace = \"100ms\"\n{}", net.section()));
    let daemon = net.serve(&root);
    net.say("a", "ann", "hello");
    fake.wait_for(1);
    let output = end(daemon);
    assert!(output.stderr.contains("the turns that still run are interrupted"), "{}", output.stderr);
    let stopped = net.until_shown("a", |shown| shown.text.contains("the turn was stopped"));
    assert_eq!(stopped.buttons[0].1, "Retry");
    assert_eq!(root.ok(&["pending", "net-a"]), "");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let root = Root::new("daemon_life::at_once");
    let net = Net::new(&root);
    let fake = Fake::with_config(&root, GATED, &format!("[limits]\ngrace = \"1h\"\n{}", net.section()));
    let daemon = net.serve(&root);
    net.say("a", "ann", "hello");
    fake.wait_for(1);
    daemon.signal(Signal::TERM);
    let log = || fs_err::read_to_string(root.dir().join("log")).unwrap_or_default();
    until("that it leaves", || if log().contains("leaving; ") { Ok(()) } else { Err(log()) });
    daemon.signal(Signal::TERM);
    let output = daemon.end();
    assert!(output.stderr.contains("leaving at once"), "{}", output.stderr);
    assert!(root.ok(&["pending", "net-a"]).starts_with("interrupted"));
}

#[test]
fn a_changed_configuration_is_taken_into_use_and_a_broken_one_is_not() {
    let root = Root::new("daemon_life::reload");
    let net = Net::new(&root);
    let fake = Fake::with_config(&root, "say \"$message\"; echo \"one: $message\"", &net.section());
    let daemon = net.serve(&root);
    net.say("a", "ann", "1");
    net.until_says("a", "one: 1");
    // Another provider, and nothing of the network: it stays connected.
    let other = root.dir().join("other.sh");
    super::support::root::write(&other, "echo \"two: $(tail -n 1)\"\n");
    change(&root, "fake.sh", "other.sh");
    until("the other provider", || {
        net.say("b", "ann", "2");
        let texts = net.texts("b");
        if texts.contains(&"two: 2".to_owned()) { Ok(()) } else { Err(format!("{texts:?}")) }
    });
    net.until_ready(1);
    // A broken file is told to the owners once, and changes nothing.
    change(&root, "[channels.net]", "[channels.net]\nrespnd = 1");
    let told = until("word to the owners", || {
        let done = net.done();
        done.iter().find(|done| done.what == "owners").cloned().ok_or_else(|| format!("{done:?}"))
    });
    assert!(told.text.contains("there is no key `channels.net.respnd`"), "{told:?}");
    net.say("c", "ann", "3");
    net.until_says("c", "two: 3");
    // Its own section starts it again.
    change(&root, "respnd = 1", "busy = \"merge\"");
    net.until_ready(2);
    net.say("c", "ann", "4");
    net.until_says("c", "two: 4");
    let output = end(daemon);
    assert!(output.stderr.contains("the last good one stays in force"), "{}", output.stderr);
    assert!(!fake.said().contains(&"3".to_owned()), "{:?}", fake.said());
}

#[test]
fn the_service_manager_is_told() {
    let mut root = Root::new("daemon_life::notify");
    let path = root.dir().join("notify.socket");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    root.set_env("NOTIFY_SOCKET", path.display().to_string());
    let net = Net::new(&root);
    let _fake = Fake::with_config(&root, "env | grep NOTIFY; echo done", &net.section());
    let daemon = net.serve(&root);
    let heard = || {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).expect("a datagram");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    net.say("a", "ann", "hello");
    // What it runs has nothing to do with the service manager.
    net.until_says("a", "done");
    end(daemon);
    assert_eq!(heard(), "STOPPING=1");
}

#[test]
fn without_walls_no_chat_drives_an_agent_that_asks_nobody() {
    let root = Root::new("daemon_life::bypass");
    let net = Net::new(&root);
    let fake = Fake::with_config(&root, "echo done", &net.section());
    let daemon = net.serve(&root);
    net.say("a", "ann", "hello");
    net.until_says("a", "done");
    change(&root, "[providers.fake]", "[providers.fake]\npermission_mode = \"bypassPermissions\"");
    until("word to the owners", || {
        let done = net.done();
        if done.iter().any(|done| done.what == "owners" && done.text.contains("bypassPermissions")) {
            Ok(())
        } else {
            Err(format!("{done:?}"))
        }
    });
    end(daemon);
    let refused = net.start(&root).end();
    assert!(refused.stderr.contains("while there are no walls"), "{refused:#?}");
    drop(fake);
}
