//! With the real CLIs: what was said in an earlier bot's conversation is sent to
//! the model with the first message after the migration, from the session's own
//! folder, and nothing of the bot's or the user's own files is changed.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::clis::Cli;
use crate::support::root::{run, write};
use crate::support::talk::Talk;
use crate::support::tree::Tree;

/// Every word that is said.
const WORDS: &[&str] = &["alder-one", "alder-two", "alder-three", "alder-four", "alder-five"];

const CHANNEL: &str = "1484567890123456789";

/// A turn as an earlier bot took it: the CLI in a directory, without Denizen.
fn turn(talk: &Talk, program: &str, args: &[&str], dir: &Path, word: &str) -> Vec<Value> {
    fs_err::create_dir_all(dir).expect("a directory");
    let mut command = talk.root.command(program);
    command.args(args).current_dir(dir);
    let output = run(command, &format!("Listen: {word}."));
    assert_eq!(output.code, Some(0), "{output:#?}");
    assert!(output.stdout.contains(&format!("heard-{word}")), "{output:#?}");
    output.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Three turns of Claude Code in a directory, as claudeclaw asks it; the id.
fn three_turns(talk: &Talk, dir: &Path) -> String {
    let first = turn(talk, "claude", &["-p", "--output-format", "json"], dir, "alder-one");
    let id = first[0]["session_id"].as_str().expect("an id").to_owned();
    for word in ["alder-two", "alder-three"] {
        turn(talk, "claude", &["-p", "--output-format", "json", "--resume", &id], dir, word);
    }
    id
}

/// Migrates, and demands that nothing but Denizen's root is changed by it.
fn migrate(talk: &Talk, from: &Path) {
    let before = Tree::of(&[from.to_owned(), talk.root.home()]);
    talk.ok(&["migrate", "--from", from.to_str().expect("a path of text")]);
    before.assert_same(&Tree::of(&[from.to_owned(), talk.root.home()]), "a migration");
}

/// Goes on in a session: all that was said is sent, twice, and the session works
/// where it should.
fn goes_on(talk: &Talk, key: &str, id: &str, working_dir: Option<&Path>) {
    talk.say(key, "alder-four", &["alder-one", "alder-two", "alder-three"]);
    talk.say(key, "alder-five", &["alder-one", "alder-two", "alder-three", "alder-four"]);
    assert_eq!(talk.conversation(key), id);
    let status: Value = serde_json::from_str(&talk.ok(&["status", key, "--json"])).expect("JSON");
    let own = PathBuf::from(status["path"].as_str().expect("a path"));
    assert_eq!(Path::new(status["working_dir"].as_str().expect("a path")), working_dir.unwrap_or(&own));
}

#[test]
fn a_claudeclaw_conversation_goes_on() {
    let Some(talk) = Talk::new(Cli::Claude, "a_claudeclaw_conversation_goes_on", WORDS) else { return };
    let bot = talk.root.dir().join("my bot.d");
    let id = three_turns(&talk, &bot);
    let session = json!({ "sessionId": id, "createdAt": "2026-03-25T10:00:00.000Z",
        "lastUsedAt": "2026-03-25T11:00:00.000Z", "turnCount": 3, "compactWarned": false });
    write(&bot.join(".claude/claudeclaw/session.json"), &session.to_string());
    migrate(&talk, &bot);
    goes_on(&talk, "default", &id, None);
}

#[test]
fn a_conversation_of_the_fork_goes_on_with_its_memory() {
    let Some(talk) = Talk::new(Cli::Claude, "a_conversation_of_the_fork_goes_on", WORDS) else { return };
    let bot = talk.root.dir().join("bot");
    let dir = bot.join(".claude/claudeclaw/sessions").join(CHANNEL);
    let id = three_turns(&talk, &dir);
    write(&dir.join("memory/MEMORY.md"), "the gate is blue\n");
    let session = json!({ "sessionId": id, "key": CHANNEL, "createdAt": "2026-04-09T10:00:00.000Z",
        "lastUsedAt": "2026-04-09T11:00:00.000Z", "turnCount": 3, "compactWarned": false });
    let sessions = json!({ "sessions": { CHANNEL: session } });
    write(&bot.join(".claude/claudeclaw/sessions.json"), &sessions.to_string());
    migrate(&talk, &bot);
    let key = format!("discord-{CHANNEL}");
    let sent = talk.say(&key, "alder-four", &["alder-one", "alder-two", "alder-three"]);
    assert!(sent.contains("the gate is blue"), "its memory came along");
    assert_eq!(talk.conversation(&key), id);
}

#[test]
fn a_chat_of_claude_telegram_bot_goes_on() {
    let Some(talk) = Talk::new(Cli::Claude, "a_chat_of_claude_telegram_bot_goes_on", WORDS) else { return };
    let project = talk.root.dir().join("project");
    let id = three_turns(&talk, &project);
    let temp = talk.root.dir().join("temp");
    let chat = json!({ "version": 1, "chat_id": -1_001_234_567_890_i64, "session_id": id,
        "saved_at": "2026-02-07T10:00:00.000Z", "working_dir": project });
    write(&temp.join("claude-telegram-sessions/-1001234567890.json"), &chat.to_string());
    migrate(&talk, &temp);
    goes_on(&talk, "telegram-group-1001234567890", &id, None);
}

/// The file does not say that the id is a Codex thread's.
#[test]
fn a_chat_that_was_a_codex_thread_goes_on() {
    let Some(talk) = Talk::new(Cli::Codex, "a_chat_that_was_a_codex_thread_goes_on", WORDS) else { return };
    let project = talk.root.dir().join("project");
    let args = ["exec", "--json", "--skip-git-repo-check"];
    let first = turn(&talk, "codex", &[&args[..], &["-"]].concat(), &project, "alder-one");
    let id = first.iter().find_map(|line| line["thread_id"].as_str()).expect("an id").to_owned();
    for word in ["alder-two", "alder-three"] {
        turn(&talk, "codex", &[&args[..], &["resume", &id, "-"]].concat(), &project, word);
    }
    let temp = talk.root.dir().join("temp");
    let chat = json!({ "version": 1, "chat_id": 42, "session_id": id, "saved_at": "2026-02-07T10:00:00.000Z",
        "working_dir": project });
    write(&temp.join("claude-telegram-sessions/42.json"), &chat.to_string());
    migrate(&talk, &temp);
    goes_on(&talk, "telegram-dm-42", &id, None);
}

/// No file names the conversation: it is the last one of the agent's directory,
/// in which the agent goes on working.
#[test]
fn an_agent_of_tinyclaw_goes_on_in_its_directory() {
    let Some(talk) = Talk::new(Cli::Claude, "an_agent_of_tinyclaw_goes_on", WORDS) else { return };
    let (bot, coder) = (talk.root.dir().join("bot"), talk.root.dir().join("bot/workspace/coder"));
    let first = turn(&talk, "claude", &["-p", "--output-format", "json"], &coder, "alder-one");
    let id = first[0]["session_id"].as_str().expect("an id").to_owned();
    for word in ["alder-two", "alder-three"] {
        turn(&talk, "claude", &["-p", "-c", "--output-format", "json"], &coder, word);
    }
    let settings = json!({ "workspace": { "path": bot.join("workspace") }, "models": { "provider": "anthropic" },
        "agents": { "coder": { "name": "Coder", "provider": "anthropic", "model": "" } } });
    write(&bot.join(".tinyagi/settings.json"), &settings.to_string());
    migrate(&talk, &bot);
    goes_on(&talk, "agent-coder", &id, Some(&coder));
}
