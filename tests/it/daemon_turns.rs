//! The daemon from a message to its reply: order, parallelism, full queues,
//! attachments, files, long replies, progress.

use super::support::fake::Fake;
use super::support::net::{Net, end};
use super::support::root::Root;

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
}
