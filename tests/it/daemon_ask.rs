//! Questions of an agent for permission: asked in the channel, decided once by
//! somebody who may, and dead with the turn.

use super::support::fake::{Fake, Running, until};
use super::support::net::{Net, Shown, end};
use super::support::root::Root;

/// A `claude` that asks whether it may run something, and says what came of it.
const ASKS: &str = r#"
say "begin"
printf '{"type":"control_request","request_id":"r1","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"rm -rf ```/"},"tool_use_id":"t1"}}\n'
read -r decision || decision=none
say "$decision"
case $decision in *'"behavior":"allow"'*) answer allowed ;; *) answer refused ;; esac
"#;

fn asking(test: &str, config: &str) -> (Root, Net, Fake, Running, Shown) {
    asking_on(test, config, |_| {})
}

fn asking_on(test: &str, config: &str, network: impl FnOnce(&Net)) -> (Root, Net, Fake, Running, Shown) {
    let mut root = Root::new(test);
    let net = Net::new(&root);
    network(&net);
    let fake = Fake::claude(&mut root, ASKS);
    root.write_config(&format!("provider = \"claude\"\n{}{config}", net.section()));
    let daemon = net.serve(&root);
    net.say("a", "ann", "hello");
    let asked = net.until_shown("a", |shown| shown.buttons.iter().any(|(_, label)| label == "Allow"));
    (root, net, fake, daemon, asked)
}

#[test]
fn an_owner_allows_once_and_nobody_else_can() {
    let (_root, net, fake, daemon, asked) = asking("daemon_ask::allow", "");
    assert!(asked.text.starts_with("The agent asks for permission: Bash\n```"), "{asked:?}");
    assert!(asked.text.contains("rm -rf"), "the whole command is shown: {asked:?}");
    assert_eq!(asked.text.matches("```").count(), 2, "it cannot end its block: {asked:?}");
    let allow = &asked.buttons[0].0;
    // Not by others, not in another channel, not on another message, not with another word.
    assert_eq!(net.press("a", "ann", &asked, "Allow").text, "Only an owner can decide this.");
    assert_eq!(net.press("b", "owner", &asked, "Allow").text, "This is no longer asked.");
    assert_eq!(net.press_id("a", "owner", "12345", allow).text, "This is no longer asked.");
    assert_eq!(
        net.press_id("a", "owner", &asked.id, &allow.replace("allow", "always")).text,
        "This is no longer asked."
    );
    assert_eq!(fake.said(), ["begin"]);
    net.press("a", "owner", &asked, "Allow");
    net.until_says("a", "allowed");
    let closed = net.until_shown("a", |shown| shown.id == asked.id && shown.buttons.is_empty());
    assert!(closed.text.contains("Allowed by The owner, this once."), "{closed:?}");
    // The same button once more is nothing.
    assert_eq!(net.press_id("a", "owner", &asked.id, allow).text, "This is no longer asked.");
    end(daemon);
}

#[test]
fn it_is_denied_by_a_person_or_by_time() {
    let (_root, net, _fake, daemon, asked) = asking("daemon_ask::deny", "");
    net.press("a", "owner", &asked, "Deny");
    net.until_says("a", "refused");
    end(daemon);
    let (_root, net, _fake, daemon, asked) = asking("daemon_ask::time", "approval_timeout = \"50ms\"\n");
    net.until_says("a", "refused");
    net.until_shown("a", |shown| shown.id == asked.id && shown.text.contains("nobody decided within 50ms"));
    end(daemon);
}

#[test]
fn a_network_that_does_not_name_its_messages_can_be_asked_in() {
    let (_root, net, _fake, daemon, asked) = asking_on("daemon_ask::nameless", "", Net::without_ids);
    assert_eq!(net.press("a", "ann", &asked, "Allow").text, "Only an owner can decide this.");
    assert_eq!(net.press("b", "owner", &asked, "Allow").text, "This is no longer asked.");
    net.press("a", "owner", &asked, "Allow");
    net.until_says("a", "allowed");
    end(daemon);
}

#[test]
fn it_is_dead_with_the_turn() {
    let (_root, net, fake, daemon, asked) = asking("daemon_ask::dead", "");
    net.command("a", "ann", "/stop");
    let over = net.until_shown("a", |shown| shown.id == asked.id && shown.buttons.is_empty());
    assert!(over.text.contains("No longer asked: the turn has ended."), "{over:?}");
    assert_eq!(net.press_id("a", "owner", &asked.id, &asked.buttons[0].0).text, "This is no longer asked.");
    until("no decision", || {
        let said = fake.said();
        if said.iter().any(|said| said.contains("allow")) { Err(format!("{said:?}")) } else { Ok(()) }
    });
    end(daemon);
}
