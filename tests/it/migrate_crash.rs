//! `kill -9` at the system calls of a migration: what is there is whole, what
//! earlier bots left is as it was, and the next start ends where an undisturbed
//! one does.

#![cfg(target_arch = "x86_64")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::clis::did_not_run;
use crate::support::crash;
use crate::support::killat::{self, Calls, Scope, Strike};
use crate::support::moving::{Bot, encoded, receipts, sessions, source_tree};
use crate::support::root::{run, write};

/// A bot with so many sessions, and one of everything: a conversation that moves
/// along, memory, one that stays in its directory, backups, settings.
fn bot(test: &str, count: usize) -> Bot {
    let bot = Bot::new(test);
    let id = |number: usize| format!("{number:08x}-1111-4111-8111-000000000001");
    let session = |number: usize| json!({ "sessionId": id(number), "turnCount": number, "lastUsedAt": "2026-03-25T11:00:00.000Z" });
    let own = Path::new(".claude/claudeclaw");
    let threads: serde_json::Map<String, Value> =
        (2..count).map(|number| (format!("{}", 1_484_567_890_123_456_000 + number), session(number))).collect();
    bot.write(&own.join("session.json"), &session(1).to_string());
    bot.write(&own.join("session_1.backup"), &session(900).to_string());
    bot.write(&own.join("sessions.json"), &json!({ "threads": threads }).to_string());
    bot.write(&own.join("settings.json"), r#"{"telegram": {"token": "x", "allowedUserIds": [7]}}"#);
    bot.write(&own.join("sessions/default/memory/MEMORY.md"), "the gate is blue\n");
    bot.write(Path::new("agents/coder/session.json"), &session(901).to_string());
    let project = bot.root.home().join(".claude/projects").join(encoded(&bot.dir()));
    for number in [1, 2, 900] {
        write(&project.join(format!("{}.jsonl", id(number))), "{\"type\":\"user\"}\n");
    }
    bot
}

fn command(bot: &Bot, root: &Path) -> Command {
    let mut command = bot.root.denizen();
    command.arg("migrate").arg("--from").arg(bot.dir());
    command.env("DENIZEN_ROOT", root).env("DENIZEN_DURABILITY", "power");
    command
}

/// All that a migration made, without what differs from run to run.
fn result(root: &Path) -> Value {
    let sessions = sessions(root);
    let receipts: Vec<Value> = receipts(root)
        .into_iter()
        .map(|(dir, mut receipt)| {
            receipt["migrated_at"] = Value::Null;
            let copy = receipt["copy"].as_str().map(|copy| fs_err::read_to_string(dir.join(copy)).expect("a copy"));
            json!({ "name": dir.file_name().and_then(|name| name.to_str()), "receipt": receipt, "copy": copy })
        })
        .collect();
    let config = std::fs::read_to_string(root.join("denizen.toml")).unwrap_or_default();
    let mut text = json!({ "sessions": sessions, "receipts": receipts, "config": config }).to_string();
    for session in sessions.as_object().expect("sessions").values() {
        text = text.replace(session["record"]["uuid"].as_str().expect("a uuid"), "<uuid>");
    }
    serde_json::from_str(&text).expect("JSON")
}

/// What is wrong after a kill, if anything is.
fn check(bot: &Bot, root: &Path, undisturbed: &Value) -> Result<(), String> {
    // Whole, before anything goes on: `sessions` fails on what is no JSON.
    let partly = sessions(root);
    for (folder, session) in partly.as_object().expect("sessions") {
        let whole = &undisturbed["sessions"][folder];
        if session["files"] != whole["files"] || session["record"]["turns"] != whole["record"]["turns"] {
            return Err(format!("{folder} is not whole: {session}"));
        }
    }
    let mut ls = bot.root.denizen();
    ls.args(["ls", "--json"]).env("DENIZEN_ROOT", root);
    let listed = run(ls, "");
    if listed.code != Some(0) || listed.stdout.contains("\"error\":\"") {
        return Err(format!("ls: {listed:?}"));
    }
    let again = run(command(bot, root), "");
    if again.code != Some(0) {
        return Err(format!("the next start: {again:?}"));
    }
    let found = result(root);
    if found != *undisturbed {
        return Err(format!("{found:#}\ninstead of\n{undisturbed:#}"));
    }
    if root.join("state/tmp/planting").exists() {
        return Err("what was built is left behind".to_owned());
    }
    let third = run(command(bot, root), "");
    if third.stdout == "there is nothing to move in\n" { Ok(()) } else { Err(format!("the one after that: {third:?}")) }
}

#[test]
fn a_kill_at_any_system_call_loses_nothing() {
    let test = "migrate_crash::a_kill_at_any_system_call_loses_nothing";
    let bot = bot("migrate_crash", if crash::full() { 50 } else { 4 });
    if !killat::is_permitted(bot.root.dir()) {
        did_not_run(test, "ptrace is not permitted", "run it where one's own processes may be traced");
        return;
    }
    let before = source_tree(&bot);
    let points = bot.root.dir().join("points");
    let place = |name: &str| {
        let dir = points.join(name);
        fs_err::create_dir_all(dir.join("root")).expect("a directory");
        dir
    };
    let dir = place("undisturbed");
    let root = |dir: &PathBuf| dir.join("root");
    let traced = killat::run(&command(&bot, &root(&dir)), &dir, Scope::Program, Calls::Changing, Strike::None);
    let traced = traced.expect("traced");
    assert_eq!(traced.code, Some(0), "{traced:#?}");
    let undisturbed = result(&root(&dir));
    check(&bot, &root(&dir), &undisturbed).expect("nothing is wrong without a kill");

    let kills = AtomicUsize::new(0);
    let count = traced.calls.len();
    let jobs: Vec<usize> = (1..=count + 2).collect();
    let wrong = crash::all(&jobs, |at| {
        let dir = place(&format!("kill-{at}"));
        let traced = killat::run(&command(&bot, &root(&dir)), &dir, Scope::Program, Calls::Changing, Strike::Kill(*at))
            .map_err(|error| format!("{at}: {error}"))?;
        kills.fetch_add(usize::from(traced.struck), Ordering::Relaxed);
        check(&bot, &root(&dir), &undisturbed).map_err(|wrong| format!("killed at call {at}: {wrong}"))?;
        fs_err::remove_dir_all(&dir).map_err(|error| error.to_string())
    });
    let kills = kills.into_inner();
    println!("{kills} kills at {} points of {count} calls", jobs.len());
    assert!(wrong.is_empty(), "{} of {kills}: {}", wrong.len(), wrong[..wrong.len().min(3)].join("\n"));
    // Below `/dev` no call would be counted.
    assert!(kills == count && count > 100, "{kills} kills, {count} calls");
    before.assert_same(&source_tree(&bot), "all of that");
}
