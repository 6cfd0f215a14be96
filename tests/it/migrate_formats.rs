//! Every format of every earlier system, with fields that nobody knows, without
//! those that may be missing, and with names that are no names of folders: what
//! becomes of each is compared whole with `expected.json` beside it.
//!
//! `DENIZEN_TEST_UPDATE=1 cargo test migrate_formats` writes what is found there,
//! to be read by a person.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::moving::{Bot, fixtures, sessions, source_tree};
use crate::support::root::run;
use crate::support::words::plain;

/// What a migration left, without what differs from run to run.
fn result(bot: &Bot) -> Value {
    let dry = bot.migrate(&["--dry-run"]);
    assert!(!bot.root.path().join("sessions").exists(), "a dry run makes nothing");
    let before = source_tree(bot);
    let output = bot.migrate(&[]);
    before.assert_same(&source_tree(bot), "a migration");
    let receipts = bot.receipts();
    for (dir, receipt) in &receipts {
        let source = PathBuf::from(receipt["source"].as_str().expect("a source"));
        let bytes = fs_err::read(&source).expect("the original");
        match receipt["copy"].as_str() {
            Some(copy) => assert_eq!(fs_err::read(dir.join(copy)).expect("the copy"), bytes, "{}", source.display()),
            None => assert!(source.ends_with("settings.json"), "{} has no copy", source.display()),
        }
    }
    let secrets = bot.root.files_with(&bot.root.path(), "TOP-SECRET");
    assert!(secrets.is_empty(), "{secrets:?}");
    let config = std::fs::read_to_string(bot.root.path().join("denizen.toml")).unwrap_or_default();
    assert!(config.lines().all(|line| line.is_empty() || line.starts_with('#')), "{config}");
    let receipts: Vec<Value> = receipts
        .into_iter()
        .map(|(_, receipt)| json!({ "source": receipt["source"], "system": receipt["system"], "entries": receipt["entries"] }))
        .collect();
    let again = bot.migrate(&[]);
    assert_eq!(again.stdout, "there is nothing to move in\n", "a second migration does nothing");
    let verified = bot.root.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "what moved in is sound: {}", verified.stdout);
    let all = json!({
        "code": output.code,
        "said": output.stderr.lines().collect::<Vec<_>>(),
        "planned": dry.stdout.lines().collect::<Vec<_>>(),
        "sessions": sessions(&bot.root.path()),
        "receipts": receipts,
        "config": config.lines().collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&all).expect("JSON");
    serde_json::from_str(&plain_ids(bot, &text)).expect("JSON")
}

/// Ids of sessions are made at random; those of conversations are the fixtures'.
fn plain_ids(bot: &Bot, text: &str) -> String {
    let mut text = text.replace(&bot.root.dir().display().to_string(), "~test");
    for id in bot.uuids() {
        text = text.replace(&id, "<uuid>");
    }
    text
}

#[test]
fn every_format_becomes_what_it_should() {
    let mut wrong = Vec::new();
    for fixture in fixtures() {
        let name = fixture.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let bot = Bot::of_fixture(&format!("migrate-{name}"), &fixture);
        let found = result(&bot);
        let file = fixture.join("expected.json");
        let text = format!("{}\n", serde_json::to_string_pretty(&found).expect("JSON"));
        if std::env::var_os("DENIZEN_TEST_UPDATE").is_some() {
            fs_err::write(&file, &text).expect("written");
        }
        if fs_err::read_to_string(&file).unwrap_or_default() != text {
            wrong.push(format!("{name}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A message that was left in tinyclaw's queue waits in its agent's session, once.
#[test]
fn a_message_that_was_never_answered_waits_where_it_is_asked_for() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/legacy/tinyclaw-3-agents");
    let bot = Bot::of_fixture("a_message_that_was_never_answered", &fixture);
    let first = bot.migrate(&[]);
    assert!(first.stderr.contains("1 messages below"), "{first:?}");
    assert_eq!(bot.root.ok(&["pending", "agent-coder"]), "");
    for _ in 0..2 {
        bot.migrate(&["--replay"]);
        let pending = bot.root.json(&["pending", "agent-coder"]);
        assert_eq!((&pending["text"], &pending["state"]), (&json!("hi"), &json!("left")));
        assert_eq!(pending["author"], json!({ "id": "123", "name": "Ann" }));
    }
}

/// What was made can be taken back, unless somebody used it since; and it is not
/// made again but on request.
#[test]
fn a_migration_can_be_taken_back() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/legacy/claudeclaw-5-fork");
    let bot = Bot::of_fixture("a_migration_can_be_taken_back", &fixture);
    bot.migrate(&[]);
    let name = bot.receipt_of("sessions.json");
    let memory = bot.root.session("discord-1484567890123456789").join("memory/MEMORY.md");
    fs_err::OpenOptions::new()
        .append(true)
        .open(&memory)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"more\n"))
        .expect("appended");
    let undone = bot.root.run(&["migrate", "--undo", &name]);
    assert_eq!(
        (undone.code, undone.stdout.as_str()),
        (
            Some(1),
            "3 sessions are in the trash: `denizen trash list`\n\
             kept `discord-1484567890123456789`: changed since: memory/MEMORY.md\n"
        )
    );
    assert_eq!(bot.keys(), ["discord-1484567890123456789"]);
    bot.root.ok(&["rm", "discord-1484567890123456789"]);
    assert_eq!(bot.root.run(&["migrate", "--undo", &name]).code, Some(0));
    assert!(bot.root.path().join("legacy").join(format!("{name}.undone")).is_dir());
    // Whoever asks again gets it again; nobody else is told of it.
    let mut beside = bot.root.denizen();
    beside.arg("ls").current_dir(bot.dir());
    assert!(!run(beside, "").stderr.contains("denizen migrate"));
    bot.migrate(&[]);
    assert_eq!(bot.keys().len(), 4);
    assert_eq!(
        plain(&bot.root, &bot.root.run(&["migrate", "--undo", "none"]).stderr),
        "error: there is no receipt `none`\nhint: the receipts are the directories below `legacy/` in the root"
    );
}
