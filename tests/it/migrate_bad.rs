//! What earlier systems left, broken, hostile or in use: refused by name, never
//! followed, never waited for, and the rest moves in.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use denizen::config::{Environment, Legacy};
use denizen::files::Durability;
use denizen::migrate::{LegacyError, LegacySearch, Migration};
use denizen::provider::LoginUser;
use denizen::session::Store;
use serde_json::json;

use crate::support::clis::did_not_run;
use crate::support::fake::{Fake, Running};
use crate::support::moving::{Bot, encoded, sessions, source_tree};
use crate::support::root::{run, write};
use crate::support::tree::Tree;
use crate::support::words::plain;

const ID: &str = "00000001-1111-4111-8111-000000000001";
const OTHER_ID: &str = "00000002-1111-4111-8111-000000000002";

fn session(id: &str) -> String {
    json!({ "sessionId": id, "createdAt": "2026-03-25T10:00:00.000Z", "lastUsedAt": "2026-03-25T11:00:00.000Z",
        "turnCount": 3, "compactWarned": false })
    .to_string()
}

/// A bot with `session.json`, and an agent that always moves in.
fn bot(test: &str) -> Bot {
    let bot = Bot::new(test);
    bot.write(Path::new(".claude/claudeclaw/session.json"), &session(ID));
    bot.write(Path::new("agents/coder/session.json"), &session(OTHER_ID));
    bot
}

/// What is done to `session.json`, and what is said of it.
const BAD: &[(&str, &str, &str)] = &[
    ("empty", ": > session.json", "it is empty"),
    ("null", "echo null > session.json", "it holds `null`"),
    ("a list", "echo '[]' > session.json", "it holds no JSON object"),
    (
        "cut short",
        "printf '{\"sessionId\": \"x' > session.json",
        "it ends in the middle: EOF while parsing a string at line 1 column 16",
    ),
    ("no JSON", "echo hello > session.json", "it is no JSON as it should be: expected value at line 1 column 1"),
    (
        "not UTF-8",
        "printf '{\"a\": \"\\377\"}' > session.json",
        "it is no JSON as it should be: invalid unicode code point at line 1 column 8",
    ),
    ("huge", "truncate -s 1G session.json", "`~file` has 1073741824 bytes, at most 67108864 are read"),
    (
        "a link",
        "mv session.json x; ln -s x session.json",
        "`~file` is or leads through a symbolic link, which is never followed",
    ),
    (
        "a link to nothing",
        "rm session.json; ln -s nothing session.json",
        "`~file` is or leads through a symbolic link, which is never followed",
    ),
    ("of two names", "ln session.json x", "`~file` has 2 hard links, it must have one"),
    ("a FIFO", "rm session.json; mkfifo session.json", "`~file` is a FIFO, not a regular file"),
    ("a directory", "rm session.json; mkdir session.json", "`~file` is a directory, not a regular file"),
    ("not readable", "chmod 0 session.json", "Permission denied (os error 13)"),
    ("another user's", "chown 12345 session.json", "`~file` belongs to user 12345"),
    ("in another user's directory", "chown 12345 .", "`~dir` belongs to user 12345"),
];

#[test]
fn what_is_bad_is_named_and_the_rest_moves_in() {
    let is_root = rustix::process::geteuid().is_root();
    for (name, script, said) in BAD {
        if name.contains("another user") && !is_root {
            did_not_run("what_is_bad_is_named_and_the_rest_moves_in", name, "run it as root");
            continue;
        }
        let mut bot = bot(&format!("migrate_bad-{}", name.replace(' ', "-")));
        if *name == "not readable" && is_root {
            // Root can read everything.
            bot.root.give_to(65534);
        }
        let dir = bot.dir().join(".claude/claudeclaw");
        let file = dir.join("session.json");
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).current_dir(&dir);
        assert_eq!(run(shell, "").code, Some(0), "{name}");
        let look = |path: &Path| path.symlink_metadata().map(|m| (m.ino(), m.mtime_nsec(), m.mode(), m.len())).ok();
        let before = look(&file);
        for _ in 0..2 {
            let output = bot.migrate(&[]);
            let said = said.replace("~file", &file.display().to_string()).replace("~dir", &dir.display().to_string());
            let bad = if name.ends_with("directory") && name.contains("another") { &dir } else { &file };
            let expected = format!("left alone: `{}`: {said}\n", bad.display());
            assert_eq!((output.code, output.stderr.as_str()), (Some(1), expected.as_str()), "{name}");
        }
        assert_eq!(look(&file), before, "{name}");
        assert_eq!(bot.keys(), ["agent-coder"], "{name}");
    }
}

#[test]
fn a_directory_that_is_a_link_is_not_followed() {
    let bot = Bot::new("migrate_directory_link");
    write(&bot.root.dir().join("elsewhere/session.json"), &session(ID));
    fs_err::create_dir(bot.dir().join(".claude")).expect("a directory");
    let link = bot.dir().join(".claude/claudeclaw");
    fs_err::os::unix::fs::symlink(bot.root.dir().join("elsewhere"), &link).expect("a link");
    fs_err::os::unix::fs::symlink(bot.root.dir().join("elsewhere"), bot.dir().join("ctb-x")).expect("a link");
    let output = bot.migrate(&[]);
    assert_eq!(output.code, Some(1));
    let line = |name: &str| {
        let path = bot.dir().join(name).display().to_string();
        format!("left alone: `{path}`: `{path}` is or leads through a symbolic link, which is never followed\n")
    };
    assert_eq!(output.stderr, format!("{}{}", line(".claude/claudeclaw"), line("ctb-x")));
    assert!(bot.keys().is_empty());
}

/// Neither a conversation nor a memory brings anything along that is not this
/// user's own regular file.
#[test]
fn nothing_is_taken_through_links() {
    let bot = bot("migrate_through_links");
    let secret = bot.root.dir().join("secret");
    write(&secret, "the garden gate is blue\n");
    let project = bot.root.home().join(".claude/projects").join(encoded(&bot.dir()));
    fs_err::create_dir_all(project.join(OTHER_ID)).expect("a directory");
    fs_err::os::unix::fs::symlink(&secret, project.join(format!("{ID}.jsonl"))).expect("a link");
    write(&project.join(format!("{OTHER_ID}.jsonl")), "{}\n");
    fs_err::os::unix::fs::symlink(&secret, project.join(OTHER_ID).join("link")).expect("a link");
    write(&project.join(OTHER_ID).join("tool-results/1.txt"), "a result\n");
    let memory = bot.dir().join(".claude/claudeclaw/sessions/default/memory");
    fs_err::create_dir_all(&memory).expect("a directory");
    fs_err::os::unix::fs::symlink(&secret, memory.join("MEMORY.md")).expect("a link");
    fs_err::os::unix::fs::symlink(bot.root.dir(), memory.join("all")).expect("a link");
    fs_err::hard_link(&secret, memory.join("hard.md")).expect("a second name");
    rustix::fs::mkfifoat(rustix::fs::CWD, memory.join("pipe"), rustix::fs::Mode::RUSR).expect("a FIFO");
    write(&memory.join("own.md"), "mine\n");

    let output = bot.migrate(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let link = format!(
        "`{}` is or leads through a symbolic link, which is never followed",
        project.join(format!("{ID}.jsonl")).display()
    );
    assert!(
        output.stderr.contains(&format!("the conversation of `default` is left where it is: {link}")),
        "{output:?}"
    );
    let files = |key: &str| sessions(&bot.root.path())[key]["files"].clone();
    assert_eq!(files("default"), json!(["memory/own.md"]));
    let own = [format!("provider/claude/{OTHER_ID}/tool-results/1.txt"), format!("provider/claude/{OTHER_ID}.jsonl")];
    assert_eq!(files("agent-coder"), json!(own));
    assert!(bot.root.files_with(&bot.root.path(), "garden gate").is_empty());
    // The one that could not be taken goes on where it was, until it is given up.
    let status = bot.root.json(&["status", "default"]);
    assert_eq!((&status["working_dir"], &status["until_new"]), (&json!(memory.parent()), &json!(true)));
    let shown = bot.root.ok(&["status", "default"]);
    assert!(shown.contains("where its conversation was, until `denizen new`"), "{shown}");
    let output = bot.root.run(&["new", "default"]);
    assert_eq!(output.stderr, "from now on the session works in its own folder\n");
    let status = bot.root.json(&["status", "default"]);
    assert_eq!((&status["working_dir"], &status["until_new"]), (&status["path"], &json!(false)));
}

#[test]
fn a_bot_that_runs_is_left_alone() {
    let bot = bot("migrate_a_bot_that_runs");
    let sleep = bot.root.dir().join("sleep");
    let daemon = bot.root.dir().join("claudeclaw");
    for copy in [&sleep, &daemon] {
        fs_err::copy("/bin/sleep", copy).expect("a program");
    }
    let start = |program: &Path| {
        let mut command = Command::new(program);
        command.arg("1000").current_dir("/");
        Running::start(command)
    };
    let (daemon, other) = (start(&daemon), start(&sleep));
    let pid_file = Path::new(".claude/claudeclaw/daemon.pid");
    bot.write(pid_file, &format!("{}\n", daemon.pid().as_raw_nonzero()));
    let before = source_tree(&bot);
    let output = bot.migrate(&[]);
    assert_eq!(output.code, Some(1));
    let said = format!(
        "claudeclaw still runs (process {}, says `{}`)",
        daemon.pid().as_raw_nonzero(),
        bot.dir().join(pid_file).display()
    );
    assert!(output.stderr.contains(&said), "{output:?}");
    assert!(output.stderr.contains("hint: stop the bot and migrate again"), "{output:?}");
    assert!(bot.keys().is_empty() && bot.receipts().is_empty());
    assert_eq!(bot.migrate(&["--force"]).code, Some(0));
    assert_eq!(bot.keys(), ["agent-coder", "default"]);
    before.assert_same(&source_tree(&bot), "a migration");

    // A number that something else has now is no bot, nor is one that nobody has.
    for pid in [other.pid().as_raw_nonzero().get(), 1 << 30] {
        bot.write(pid_file, &format!("{pid}"));
        bot.write(
            Path::new(".claude/claudeclaw/session_1.backup"),
            &session(&ID.replace("8111", &format!("8{:03}", pid % 997))),
        );
        assert_eq!(bot.migrate(&[]).code, Some(0), "{pid}");
    }
    for running in [daemon, other] {
        running.signal(rustix::process::Signal::KILL);
        running.end();
    }
}

#[test]
fn a_session_that_is_there_stays_as_it_is() {
    let bot = bot("migrate_a_session_that_is_there");
    let _fake = Fake::new(&bot.root, "echo heard");
    bot.root.ok(&["send", "default", "x"]);
    let before = Tree::of(&[bot.root.session("default")]);
    let output = bot.migrate(&[]);
    let said =
        format!("not moved in: `default` ({ID}): there is a session of this key already, which stays as it is\n");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), said.as_str()));
    before.assert_same(&Tree::of(&[bot.root.session("default")]), "a migration");
    let receipt =
        bot.receipts().into_iter().map(|(_, receipt)| receipt["entries"][0]["became"].clone()).collect::<Vec<_>>();
    assert_eq!(receipt, [json!("conflict"), json!("current")]);
    // What was there before is not what a migration made, so none takes it back.
    let undone = bot.root.run(&["migrate", "--undo", &bot.receipt_of(".claude/claudeclaw/session.json")]);
    assert_eq!(undone.stdout, "0 sessions are in the trash: `denizen trash list`\n");
    before.assert_same(&Tree::of(&[bot.root.session("default")]), "taking it back");
}

/// Other commands say what lies near, in one line, until it was dealt with.
#[test]
fn what_lies_near_is_told_once_a_command() {
    let bot = bot("migrate_what_lies_near");
    let ls = |args: &[&str], dir: &Path| {
        let mut command = bot.root.denizen();
        command.arg("ls").args(args).current_dir(dir);
        run(command, "").stderr
    };
    let home = bot.root.home();
    let line = format!(
        "conversations of an earlier bot are in `{}`: `denizen migrate` moves them in\n",
        bot.dir().join(".claude/claudeclaw/session.json").display()
    );
    let empty = ls(&[], &home);
    assert!(!empty.contains("earlier bot"), "{empty}");
    assert_eq!(ls(&[], &bot.dir()), format!("{line}{empty}"));
    assert_eq!(ls(&["--quiet"], &bot.dir()), ls(&["--quiet"], &home));
    assert_eq!(ls(&["--json"], &bot.dir()), ls(&["--json"], &home));
    // Beside the root, and where the configuration says.
    let inside = bot.dir().join("root");
    assert!(ls(&["--root", inside.to_str().expect("text")], &home).starts_with(&line));
    let from = format!("legacy.from={}", bot.dir().display());
    assert!(ls(&["-c", &from], &home).starts_with(&line));
    assert!(!inside.exists(), "looking makes nothing");

    let mut here = bot.root.denizen();
    let temp = bot.root.dir().join("temp");
    here.args(["-c", &format!("legacy.temp={}", temp.display()), "migrate"]).current_dir(bot.dir());
    assert_eq!(run(here, "").code, Some(0));
    assert_eq!(bot.keys(), ["agent-coder", "default"]);
    assert!(!ls(&[], &bot.dir()).contains("earlier bot"));
}

/// What a start does, ten times; where somebody else is at it, it waits for nobody.
#[test]
fn ten_starts_are_one() {
    let bot = bot("migrate_ten_starts");
    let temp = bot.root.dir().join("temp");
    write(
        &temp.join("claude-telegram-session.json"),
        &json!({ "session_id": ID, "saved_at": "2026-01-18T10:00:00Z" }).to_string(),
    );
    write(&bot.dir().join(".claude/claudeclaw/session_1.backup"), "null");
    let link = bot.dir().join(".claude/claudeclaw/session_fallback.json");
    fs_err::os::unix::fs::symlink("session.json", &link).expect("a link");
    let home = bot.root.home();
    write(&home.join(".tinyclaw/settings.json"), "{}");
    let store = Arc::new(Store::at(&bot.root.path(), Durability::Process));
    let (environment, config_file) = (Environment::default(), bot.root.path().join("denizen.toml"));
    let legacy = Legacy { from: vec![bot.dir()], temp };
    let ground = store.ground(&[]);
    let migration = Migration {
        store: &store,
        search: LegacySearch::everywhere(store.root(), &home, &legacy, Some(&home), &environment),
        user: LoginUser { environment: &environment, home: Some(&home), files: &ground },
        config_file: &config_file,
        force: false,
        again: false,
    };
    let held = migration.lock().expect("the lock").expect("nobody has it");
    assert!(matches!(migration.at_start(), Err(LegacyError::Busy)));
    drop(held);
    let (plan, report) = migration.at_start().expect("a start");
    assert_eq!((plan.sessions.len(), report.receipts.len()), (2, 5), "{report:#?}");
    assert_eq!(bot.keys(), ["agent-coder", "default"]);
    let before = Tree::of(&[bot.root.path()]);
    for _ in 1..10 {
        let (plan, report) = migration.at_start().expect("a start");
        assert!(plan.sessions.is_empty() && report.receipts.is_empty(), "{report:#?}");
        let left: Vec<&Path> = plan.refused.iter().map(|refused| refused.path.as_path()).collect();
        assert_eq!(left, [link.as_path()], "what cannot be read is said at each start");
    }
    before.assert_same(&Tree::of(&[bot.root.path()]), "nine more starts");
}

/// `agents/` may be anybody's: it counts beside claudeclaw's own directory only.
#[test]
fn somebody_elses_agents_are_not_looked_at() {
    let bot = Bot::new("migrate_somebody_elses_agents");
    bot.write(Path::new("agents/coder/session.json"), &session(ID));
    assert_eq!(bot.migrate(&[]).stdout, "there is nothing to move in\n");
    assert!(bot.receipts().is_empty());
}

/// Proposals stand under what was there, as comments, and only once.
#[test]
fn a_configuration_that_is_there_stays_in_force() {
    let bot = bot("migrate_a_configuration");
    bot.write(
        Path::new(".claude/claudeclaw/settings.json"),
        r#"{"telegram": {"token": "TOP-SECRET", "allowedUserIds": [7, "x\"\n[limits]\nturns = 9\n\""]}}"#,
    );
    bot.root.write_config("provider = \"notes\"\n[limits]\nturns = 2");
    bot.migrate(&[]);
    let config = fs_err::read_to_string(bot.root.path().join("denizen.toml")).expect("a configuration");
    assert!(config.starts_with("provider = \"notes\"\n[limits]\nturns = 2\n\n# Proposed"), "{config}");
    assert!(config.lines().skip(3).all(|line| line.is_empty() || line.starts_with("# ")), "{config}");
    assert!(config.contains(".telegram.token") && !config.contains("TOP-SECRET"), "{config}");
    assert_eq!(bot.root.ok(&["send", "new", "remember x"]), "Noted: x (turn 1)\n");
    bot.root.ok(&["migrate", "--undo", &bot.receipt_of("settings.json")]);
    bot.migrate(&[]);
    assert_eq!(fs_err::read_to_string(bot.root.path().join("denizen.toml")).expect("a configuration"), config);
}

/// Several at once: what one makes, no other makes again.
#[test]
fn two_at_once_make_what_one_makes() {
    let bot = bot("migrate_two_at_once");
    for number in 0..40 {
        bot.write(
            &PathBuf::from(format!("agents/a{number}/session.json")),
            &session(&ID.replace("00000001", &format!("{number:08}"))),
        );
    }
    let dir = bot.dir().display().to_string();
    let running: Vec<Running> = (0..6).map(|_| Running::denizen(&bot.root, &["migrate", "--from", &dir])).collect();
    let codes: Vec<_> = running.into_iter().map(|running| running.end().code).collect();
    assert!(codes.contains(&Some(0)) && codes.iter().all(|code| [Some(0), Some(4)].contains(code)), "{codes:?}");
    assert_eq!(bot.keys().len(), 42);
    let made: usize = bot
        .receipts()
        .iter()
        .map(|(_, receipt)| {
            receipt["entries"].as_array().expect("entries").iter().filter(|e| e["made"] == true).count()
        })
        .sum();
    assert_eq!(made, 42);
    assert_eq!(plain(&bot.root, &bot.migrate(&[]).stdout), "there is nothing to move in");
}
