//! Every command acts on the session of the channel it was given in, and on no
//! other: two sessions, a command in one, and the other byte for byte as it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use denizen::ops::commands::{COMMANDS, MayGive};

use super::support::fake::{Fake, until};
use super::support::net::{Net, end, until_answered};
use super::support::root::Root;

/// A root whose agent is a program named `claude`, with two sessions of two
/// conversations each.
fn two_sessions(test: &str) -> (Root, Net, Fake, super::support::fake::Running) {
    let mut root = Root::new(test);
    let net = Net::new(&root);
    let fake = Fake::claude(
        &mut root,
        "case $message in *slow*) say \"$(basename \"$PWD\") slow\"; sleep 60 ;; esac; answer 'done'",
    );
    let projects = root.dir().join("projects");
    fs_err::create_dir(&projects).expect("a directory");
    root.write_config(&format!(
        "provider = \"claude\"\nworking_dirs = [\"{}\"]\n{}",
        projects.display(),
        net.section()
    ));
    let daemon = net.serve(&root);
    for channel in ["a", "b"] {
        for text in ["first", "second"] {
            net.say(channel, "ann", text);
            let turns = if text == "first" { 1 } else { 2 };
            until("turns", || {
                let status = root.run(&["status", &format!("net-{channel}"), "--json"]).stdout;
                if status.contains(&format!("\"turns\":{turns},\"created")) || turns_of(&status) == turns {
                    Ok(())
                } else {
                    Err(status)
                }
            });
            if text == "first" {
                net.command(channel, "owner", "/new");
            }
        }
        // The last reply is on the disk before it is shown, and leaves it after.
        until_answered(&root, &format!("net-{channel}"));
    }
    (root, net, fake, daemon)
}

fn turns_of(status: &str) -> u64 {
    let status: serde_json::Value = serde_json::from_str(status).unwrap_or_default();
    status["record"]["turns"].as_u64().unwrap_or_default()
}

/// Every file of a session, with what was granted to it and waits for it.
fn files(root: &Root, key: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let grant = root.path().join(format!("access/sessions/{key}.json"));
    let places = [root.session(key), grant, root.path().join("state/queue").join(key)];
    for file in places.iter().flat_map(walkdir::WalkDir::new).flatten().filter(|entry| entry.file_type().is_file()) {
        files.insert(file.path().to_owned(), fs_err::read(file.path()).expect("a file"));
    }
    files
}

#[test]
fn each_command_acts_on_its_own_session_only() {
    let (root, net, fake, daemon) = two_sessions("daemon_commands::two_keys");
    let before = files(&root, "net-b");
    assert!(before.keys().any(|path| path.ends_with("session.json")), "{before:?}");
    let record = || root.json(&["status", "net-a"])["record"].clone();
    let settings = || root.json(&["status", "net-a"])["settings"].clone();
    let project = root.dir().join("projects");
    let mut tried = Vec::new();
    let mut give = |line: &str| {
        tried.push(line.split(' ').next().expect("a name").trim_start_matches('/').to_owned());
        let answer = net.command("a", "owner", line);
        assert_eq!(files(&root, "net-b"), before, "{line}");
        assert!(!answer.text.contains("net-b") || line == "/sessions", "{line}: {answer:?}");
        answer
    };
    assert!(give("/help").text.contains("`/fork <key>`"));
    assert!(give("/status").text.starts_with("Session `net-a` (#a)"));
    assert_eq!(give("/cost").text, "2 turns used 6 tokens in (0 cached), 4 out");
    assert_eq!(give("/pending").text, "Every message was answered.");
    assert_eq!(give("/pending dismiss").text, "There is nothing to dismiss.");
    assert!(give("/sessions").text.contains("`net-b` (#b)"));
    assert!(!give("/sessions net-a").text.contains("net-b"));
    let earlier = record()["earlier"][0]["id"].as_str().expect("an id").to_owned();
    assert!(give("/resume").text.contains(&earlier));
    assert!(give("/resume 1").text.contains(&earlier));
    assert_eq!(record()["conversation"]["id"], earlier.as_str());
    assert!(give("/new").text.contains("fresh conversation"));
    assert!(record()["conversation"].is_null());
    assert!(give("/name a title").text.contains("a title"));
    assert_eq!(record()["title"], "a title");
    give("/model opus");
    assert_eq!(settings()["model"], "opus");
    assert!(give("/model").text.contains("opus"));
    give("/mode plan");
    assert_eq!(settings()["permission_mode"], "plan");
    give("/provider notes");
    assert_eq!(record()["provider"]["name"], "notes");
    give("/provider default");
    give(&format!("/cd {}", project.display()));
    assert!(give("/cd").text.contains(&project.display().to_string()));
    assert!(give("/cd /etc").text.contains("not below any"));
    give("/cd home");
    assert!(give("/fork net-c").text.contains("net-c"));
    assert!(root.session("net-c").exists());
    assert!(give("/retry").text.contains("nothing to retry"));
    assert_eq!(give("/stop").text, "Nothing is running here.");
    give("/provider claude");
    give("/resume 1");
    let compacted = give("/compact");
    assert_eq!(compacted.text, "done");
    let listed: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    tried.sort();
    tried.dedup();
    let mut all: Vec<String> = listed.iter().map(|name| (*name).to_owned()).collect();
    all.sort();
    assert_eq!(tried, all, "every command was tried");

    // Stopping and sending again, while both are busy.
    for channel in ["a", "b"] {
        net.say(channel, "ann", "slow");
    }
    until("two slow turns", || {
        let said = fake.said();
        if said.iter().filter(|said| said.ends_with("slow")).count() == 2 { Ok(()) } else { Err(format!("{said:?}")) }
    });
    assert_eq!(net.command("a", "ann", "/stop").text, "Stopping.");
    net.until_shown("a", |shown| shown.text.contains("the turn was stopped"));
    assert!(net.command("b", "ann", "/status").text.contains("busy"));
    assert!(net.command("b", "ann", "/retry").text.contains("running here already"));
    assert!(!net.texts("b").iter().any(|text| text.contains("stopped")));
    assert_eq!(net.command("a", "ann", "/retry").text, "It is sent again.");
    until("a third slow turn", || {
        let said = fake.said();
        if said.iter().filter(|said| *said == "net-a slow").count() == 2 { Ok(()) } else { Err(format!("{said:?}")) }
    });
    for channel in ["a", "b"] {
        net.command(channel, "ann", "/stop");
    }
    end(daemon);
}

#[test]
fn what_is_the_owners_is_refused_to_others_and_answered_to_one_person_only() {
    let root = Root::new("daemon_commands::owners");
    let net = Net::new(&root);
    let _fake = Fake::with_config(&root, "echo done", &net.section());
    let daemon = net.serve(&root);
    net.say("a", "ann", "hello");
    net.until_says("a", "done");
    until_answered(&root, "net-a");
    for command in COMMANDS {
        let before = files(&root, "net-a");
        let line = format!("/{} something", command.name);
        if command.who == MayGive::Owners {
            let answer = net.command("a", "ann", &line);
            assert_eq!((answer.text.as_str(), answer.ephemeral), ("Only an owner can do this.", true), "{line}");
            assert_eq!(files(&root, "net-a"), before, "{line}");
        }
        if command.ephemeral && command.who == MayGive::Owners && command.name != "fork" {
            let id = net.give("a", "owner", &format!("/{}", command.name));
            let answer = net.answer(&id);
            assert!(answer.ephemeral, "{line}");
            assert!(net.done().iter().any(|done| done.what == "defer" && done.id == id && done.ephemeral));
        }
    }
    let help = net.command("a", "ann", "/help").text;
    assert!(help.contains("/stop") && !help.contains("/cd"), "{help}");
    assert!(net.command("a", "owner", "/sudo").text.contains("no command `/sudo`"));
    // Nothing is made for a channel that nobody has talked in.
    assert!(net.command("empty", "ann", "/new").text.contains("no session here yet"));
    assert!(!root.session("net-empty").exists());
    assert!(!Path::new(&root.path().join("state/queue/net-empty")).exists());
    end(daemon);
}
