//! People and places: who is let in by a code, and sessions that follow their
//! channels.

use super::support::fake::{Fake, until};
use super::support::net::{Act, Net, end};
use super::support::root::Root;

#[test]
fn a_stranger_is_told_one_code_which_the_owner_approves() {
    let root = Root::new("daemon_people::pairing");
    let net = Net::new(&root);
    let _fake = Fake::with_config(&root, "echo done", &net.section());
    let daemon = net.serve(&root);
    net.stranger("zoe");
    let told = net.until_shown("dm-zoe", |shown| shown.text.contains("denizen pairing approve"));
    net.stranger("zoe");
    for other in ["yan", "xia", "wim"] {
        net.stranger(other);
    }
    net.say("a", "ann", "hello");
    net.until_says("a", "done");
    let listed = until("three who ask", || {
        let listed = root.ok(&["pairing", "list"]);
        if listed.lines().count() == 3 { Ok(listed) } else { Err(listed) }
    });
    assert!(listed.contains("net zoe (The zoe), now"), "{listed}");
    assert_eq!(net.texts("dm-zoe").len(), 1, "further messages are answered with silence");
    let told_of: usize = ["zoe", "yan", "xia", "wim"].iter().map(|who| net.texts(&format!("dm-{who}")).len()).sum();
    assert_eq!(told_of, 3, "no more than three are told a code");
    end(daemon);
    let code = told.text.split("approve ").nth(1).and_then(|rest| rest.split('`').next()).expect("a code").trim();
    assert_eq!(code.len(), 8);
    assert!(root.ok(&["pairing", "approve", &code.to_lowercase()]).contains("may talk now"));
    assert_eq!(root.run(&["pairing", "approve", code]).code, Some(1), "it is good once");
    let people = root.ok(&["pairing", "list", "--json"]);
    assert!(
        people.lines().any(|line| line.contains("\"state\":\"paired\"") && line.contains("\"id\":\"zoe\"")),
        "{people}"
    );
    let asks = people.lines().find(|line| line.contains("\"asking\"")).expect("another");
    let code: serde_json::Value = serde_json::from_str(asks).expect("JSON");
    assert!(root.ok(&["pairing", "deny", code["code"].as_str().expect("a code")]).contains("was not let in"));
    assert!(root.ok(&["pairing", "revoke", "zoe"]).contains("may talk no longer"));
    assert_eq!(root.run(&["pairing", "revoke", "zoe"]).code, Some(1));
    assert_eq!(root.ok(&["pairing", "list"]).lines().count(), 1);
}

#[test]
fn sessions_follow_their_channels() {
    let root = Root::new("daemon_people::places");
    let net = Net::new(&root);
    let _fake = Fake::with_config(&root, "echo \"you said $message\"", &net.section());
    let daemon = net.serve(&root);
    // A place without a session stays without one.
    net.happens(&Act::Renamed { channel: "empty".to_owned(), title: "nothing".to_owned() });
    net.happens(&Act::Archived { channel: "empty".to_owned() });
    net.say("a", "ann", "hello");
    net.until_says("a", "you said hello");
    let record = |what: &str, is_it: &dyn Fn(&serde_json::Value) -> bool| {
        until(what, || {
            let record = root.json(&["status", "net-a"])["record"].clone();
            if is_it(&record) { Ok(()) } else { Err(record.to_string()) }
        });
    };
    net.happens(&Act::Renamed { channel: "a".to_owned(), title: "a new\nname".to_owned() });
    record("title", &|record| record["title"] == "a newname");
    net.happens(&Act::Archived { channel: "a".to_owned() });
    record("archive", &|record| !record["archived_at"].is_null());
    net.happens(&Act::Revived { channel: "a".to_owned() });
    record("revival", &|record| record["archived_at"].is_null());
    assert!(!root.session("net-empty").exists());
    // Deleted: it stays for as long as configured, and is not forgotten meanwhile.
    net.happens(&Act::Deleted { channel: "a".to_owned() });
    let note = root.path().join("state/channels/deleted/net-a");
    until("note", || if note.exists() { Ok(()) } else { Err(String::new()) });
    end(daemon);
    assert!(root.session("net-a").exists());
    let config = fs_err::read_to_string(root.path().join("denizen.toml")).expect("a configuration");
    root.write_config(&format!("{config}\n[retention]\ndeleted_channels = \"1ms\"\n"));
    let daemon = net.serve(&root);
    until("trash", || if root.session("net-a").exists() { Err("there".to_owned()) } else { Ok(()) });
    until("no note", || if note.exists() { Err("there".to_owned()) } else { Ok(()) });
    end(daemon);
    assert!(root.ok(&["trash", "list"]).contains("net-a"));
}

#[test]
fn what_runs_in_a_deleted_channel_is_stopped_before_its_session_goes() {
    let root = Root::new("daemon_people::deleted");
    let net = Net::new(&root);
    let config = format!("[retention]\ndeleted_channels = \"1ms\"\n{}", net.section());
    let fake = Fake::with_config(&root, "say \"$message\"; [ \"$message\" != 2 ] || sleep 60; echo done", &config);
    let daemon = net.serve(&root);
    net.say("a", "ann", "1");
    net.until_says("a", "done");
    net.happens(&Act::Deleted { channel: "a".to_owned() });
    let note = root.path().join("state/channels/deleted/net-a");
    until("note", || if note.exists() { Ok(()) } else { Err(String::new()) });
    let kept = fs_err::read(&note).expect("a note");
    net.say("a", "ann", "2");
    fake.wait_for(2);
    // Somebody wrote there, so it is there.
    assert!(!note.exists());
    fs_err::write(&note, kept).expect("written");
    daemon.signal(rustix::process::Signal::KILL);
    daemon.end();
    let daemon = net.serve(&root);
    until("trash", || if root.session("net-a").exists() { Err("there".to_owned()) } else { Ok(()) });
    end(daemon);
}
