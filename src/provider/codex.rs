//! Codex, as `codex exec`, and as `codex app-server` where somebody can be asked
//! for permission.
//!
//! Observed with 0.169.0. Its home is `CODEX_HOME`; `sessions` in it is a link
//! into the session's folder, the login a copy while the CLI runs, and the
//! configuration is the user's with ours on top: a path in an argument could be
//! read by everybody. Its databases stay in the home: one that came along with a copied folder would make the CLI write into
//! the original's conversation.
//!
//! The home may not lie below the temp directory: the CLI then cannot run a
//! single sandboxed command. A fork is a short file that refers to the one it
//! was made from, so a copy of a session takes all of `provider/codex` along.

mod server;

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::login::token_ends;
use super::{
    Continuation, Ends, ExternalConversations, Failure, FailureKind, Field, Input, Invocation, Layout, LoginFile,
    LoginRules, LoginUser, Parser, ProcessEnd, Provider, ProviderError, ProviderEvent, Step, Turn,
};
use crate::session::{PermissionMode, Usage};

/// The provider.
#[derive(Debug)]
pub(super) struct Codex;

const LOGIN_FILE: &str = "auth.json";

const CONFIG: &str = "config.toml";

/// The CLI goes by what the token says, not by the time of the last renewal.
const LOGIN: LoginRules = LoginRules {
    fields: &[
        (&["tokens", "id_token"], Field::Token),
        (&["tokens", "access_token"], Field::Token),
        (&["tokens", "refresh_token"], Field::Token),
        (&["last_refresh"], Field::Renewed),
    ],
    ends: |login| match login.pointer("/tokens/refresh_token").and_then(Value::as_str) {
        None => Ends::Never,
        Some(_) => token_ends(login.pointer("/tokens/access_token")),
    },
};

impl Provider for Codex {
    fn name(&self) -> &'static str {
        "codex"
    }

    fn program(&self) -> Option<&'static str> {
        Some("codex")
    }

    /// What `config.toml` names as the variable of a key comes on top, see
    /// [`configured_variables`]. The CLI does not read `OPENAI_BASE_URL`.
    fn variables(&self) -> &'static [&'static str] {
        &["CODEX_API_KEY", "CODEX_ACCESS_TOKEN", "CODEX_CA_CERTIFICATE", "OPENAI_API_KEY"]
    }

    fn login_hint(&self) -> &'static str {
        "run `denizen login codex`, or set CODEX_API_KEY (OPENAI_API_KEY alone is not enough)"
    }

    fn login_command(&self) -> Option<&'static [&'static str]> {
        Some(&["login"])
    }

    fn login_files(&self) -> &'static [&'static str] {
        &[".codex/auth.json", ".codex/config.toml"]
    }

    /// `<year>/<month>/<day>/rollout-<time>-<id>.jsonl`.
    fn is_conversation_file(&self, id: &str, file: &Path) -> bool {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return false };
        is_id(id)
            && file.components().count() == 4
            && name.strip_prefix("rollout-").is_some_and(|rest| rest.ends_with(&format!("-{id}.jsonl")))
    }

    /// `rollout-<time>-<id>.jsonl`: a conversation that was begun in the terminal
    /// UI is known by its file.
    fn id_in(&self, file: &Path) -> Option<String> {
        let stem = file.file_name()?.to_str()?.strip_suffix(".jsonl")?;
        let id = stem.get(stem.len().checked_sub(36)?..)?;
        self.is_conversation_file(id, file).then(|| id.to_owned())
    }

    fn login(&self, user: &LoginUser<'_>) -> Vec<LoginFile> {
        let Some(directory) = user.directory("CODEX_HOME", ".codex") else { return Vec::new() };
        vec![LoginFile::copied(directory.join(LOGIN_FILE), LOGIN_FILE), LoginFile::read(directory.join(CONFIG))]
    }

    fn login_rules(&self) -> &'static LoginRules {
        &LOGIN
    }

    fn walls_keep_folder(&self, mode: PermissionMode, asks: bool) -> bool {
        own_sandbox(mode) == "read-only" && !(asks && mode == PermissionMode::Default)
    }

    fn external_conversations(&self, user: &LoginUser<'_>) -> Option<ExternalConversations> {
        let dir = user.directory("CODEX_HOME", ".codex")?.join("sessions");
        Some(ExternalConversations { dir, layout: Layout::AsKept, more: Vec::new() })
    }

    fn prepare(&self, turn: &Turn<'_>) -> Vec<Step> {
        let mut steps = vec![
            Step::Link { at: "sessions".into(), to: turn.place.conversations.clone() },
            // The CLI compares it with what the conversation was told, and tells
            // the new one where it changed.
            Step::Write { at: "AGENTS.md".into(), content: turn.brief.whole().into_bytes() },
        ];
        steps.push(Step::Write { at: "config.toml".into(), content: own_configuration(turn) });
        steps
    }

    fn invocation(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        configuration(turn.user)?;
        let mut invocation = Invocation::of(turn.program);
        if turn.asks {
            add_server(&mut invocation, turn);
            invocation.stdin = Input::Conversation(server::opening(turn));
            return Ok(invocation);
        }
        invocation.args(["exec", "--json", "--skip-git-repo-check"]);
        add_flags(&mut invocation, turn);
        // Flags of `exec` only count before its subcommand.
        match turn.continuation {
            Continuation::Fresh => &mut invocation,
            Continuation::Resume(id) => invocation.args(["resume", id]),
            Continuation::Fork(id) => invocation.args(["fork", id]),
        };
        invocation.arg("-");
        // Neither `/` nor `@` nor `!` mean anything in it.
        invocation.stdin = Input::Whole(turn.prompt.as_bytes().to_vec());
        Ok(invocation)
    }

    fn parser(&self, turn: &Turn<'_>) -> Box<dyn Parser> {
        if turn.asks {
            Box::new(server::ServerParser::new(turn))
        } else {
            Box::new(CodexParser::new(turn.continuation))
        }
    }

    fn attach(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        configuration(turn.user)?;
        let mut invocation = Invocation::of(turn.program);
        match turn.continuation {
            Continuation::Fresh => &mut invocation,
            Continuation::Resume(_) => invocation.arg("resume"),
            Continuation::Fork(_) => invocation.arg("fork"),
        };
        // A background server would outlive the terminal, outside this session.
        invocation.arg("--no-daemon");
        add_flags(&mut invocation, turn);
        invocation.args(turn.continuation.id());
        Ok(invocation)
    }
}

/// What the agent may do unasked, as the CLI calls it. Inside walls these are the
/// sandbox: its own is made by bubblewrap too, which could not mount there.
fn sandbox(turn: &Turn<'_>) -> &'static str {
    if turn.walled { "danger-full-access" } else { own_sandbox(turn.permission_mode) }
}

/// The CLI's own sandbox for a permission mode.
fn own_sandbox(mode: PermissionMode) -> &'static str {
    match mode {
        PermissionMode::Plan | PermissionMode::Default => "read-only",
        PermissionMode::AcceptEdits => "workspace-write",
        PermissionMode::BypassPermissions => "danger-full-access",
    }
}

/// What `exec` and the terminal UI have in common.
fn add_flags(invocation: &mut Invocation, turn: &Turn<'_>) {
    let sandbox = sandbox(turn);
    // The sandbox is not remembered: without it a resumed turn is read-only.
    invocation.args(["-s", sandbox]);
    add_common(invocation, turn);
    if let Some(model) = turn.model {
        invocation.args(["-m", model]);
    }
}

/// What the app server needs to be started. The rest it is told for the thread.
fn add_server(invocation: &mut Invocation, turn: &Turn<'_>) {
    invocation.arg("app-server");
    add_common(invocation, turn);
    if server::api_key(turn).is_some() {
        // The key stays out of the user's own file.
        invocation.args(["-c", "cli_auth_credentials_store=\"ephemeral\""]);
    }
}

/// What every way of starting the CLI has in common.
fn add_common(invocation: &mut Invocation, turn: &Turn<'_>) {
    let place = turn.place;
    invocation.env("CODEX_HOME", place.home.as_os_str());
    for name in configured_variables(turn.user) {
        if let Some(value) = turn.user.environment.get_os(&name) {
            invocation.env(&name, value);
        }
    }
    // Sessions share the temp directory.
    invocation.args(["-c", "sandbox_workspace_write.exclude_slash_tmp=true"]);
    invocation.args(["-c", "sandbox_workspace_write.exclude_tmpdir_env_var=true"]);
    // No AGENTS.md but the one in the home: not the parents', and the folder's
    // own is in the brief.
    invocation.args(["-c", "project_doc_max_bytes=0"]);
}

/// The `config.toml` of the home: the user's, with what names paths on top.
fn own_configuration(turn: &Turn<'_>) -> Vec<u8> {
    let place = turn.place;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    // With one that cannot be read, nothing is started.
    let mut table = configuration(turn.user).unwrap_or_default();
    if place.working_dir == place.session
        && let Some(projects) = table_in(&mut table, "projects")
    {
        // Where the user trusts the folder or the repository around it, the CLI
        // would start what an agent planted in `.codex/config.toml`.
        let mut project = toml::Table::new();
        project.insert("trust_level".to_owned(), "untrusted".into());
        projects.insert(text(&place.session), project.into());
    }
    if !place.memory.starts_with(&place.working_dir)
        && let Some(sandbox) = table_in(&mut table, "sandbox_workspace_write")
        && let Some(roots) = sandbox.entry("writable_roots").or_insert(toml::Value::Array(Vec::new())).as_array_mut()
    {
        roots.push(text(&place.memory).into());
    }
    table.to_string().into_bytes()
}

/// A table of a table. `None` if something else has its name: the CLI then
/// says so and does not start.
fn table_in<'a>(table: &'a mut toml::Table, name: &str) -> Option<&'a mut toml::Table> {
    table.entry(name).or_insert_with(|| toml::Table::new().into()).as_table_mut()
}

/// The user's own `config.toml`; an empty table if there is none.
fn configuration(user: &LoginUser<'_>) -> Result<toml::Table, ProviderError> {
    let Some(directory) = user.directory("CODEX_HOME", ".codex") else { return Ok(toml::Table::new()) };
    let path = directory.join("config.toml");
    toml::from_slice(&user.files.read(&path).unwrap_or_default()).map_err(|error: toml::de::Error| {
        ProviderError::Missing(format!("`{}` cannot be read: {}", path.display(), error.message()))
    })
}

/// The variables that the user's `config.toml` names for the keys and headers of
/// model providers.
fn configured_variables(user: &LoginUser<'_>) -> Vec<String> {
    let table = configuration(user).unwrap_or_default();
    let providers = table.get("model_providers").and_then(toml::Value::as_table);
    let mut names = Vec::new();
    for provider in providers.into_iter().flat_map(|table| table.values()) {
        let headers = provider.get("env_http_headers").and_then(toml::Value::as_table);
        let values = provider.get("env_key").into_iter().chain(headers.into_iter().flat_map(|table| table.values()));
        names.extend(values.filter_map(|value| value.as_str().map(str::to_owned)));
    }
    names
}

/// Whether a text is an id: anything else makes the CLI start a new conversation
/// without a word.
fn is_id(id: &str) -> bool {
    id.len() == 36 && id.parse::<Uuid>().is_ok_and(|uuid| uuid.to_string() == id)
}

/// Reads `--json`.
struct CodexParser {
    continuation: Continuation,
    started: HashSet<String>,
    finished: bool,
    error: Option<String>,
}

#[derive(Deserialize)]
struct CodexLine {
    #[serde(rename = "type")]
    kind: String,
    thread_id: Option<String>,
    item: Option<Value>,
    usage: Option<CodexTokens>,
    message: Option<String>,
    error: Option<CodexMessage>,
}

#[derive(Deserialize)]
struct CodexMessage {
    message: String,
}

#[derive(Deserialize)]
struct CodexTokens {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    cached_input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
}

impl Parser for CodexParser {
    fn line(&mut self, line: &str, events: &mut Vec<ProviderEvent>) {
        let Ok(line) = serde_json::from_str::<CodexLine>(line) else { return };
        match line.kind.as_str() {
            "thread.started" => events.extend(line.thread_id.map(|id| self.conversation(id))),
            "item.started" | "item.completed" => {
                if let Some(item) = line.item {
                    let kind = item.get("type").and_then(Value::as_str).unwrap_or_default();
                    self.item(kind, &item, line.kind == "item.completed", events);
                }
            }
            "turn.completed" => {
                self.finished = true;
                // Over all turns of the conversation.
                events.extend(line.usage.map(|tokens| {
                    ProviderEvent::TotalUsage(Usage {
                        input_tokens: tokens.input_tokens,
                        cached_tokens: tokens.cached_input_tokens,
                        output_tokens: tokens.output_tokens,
                        cost_usd: None,
                    })
                }));
                events.push(ProviderEvent::Done);
            }
            "turn.failed" => {
                self.finished = true;
                let words = line.error.map(|error| error.message).or(self.error.take());
                events.push(ProviderEvent::Failed(failure(
                    &words.unwrap_or_else(|| "an error without words".to_owned()),
                )));
            }
            // The reason of a failure that follows, or a connection that is
            // tried again, five times and then for as long as the turn may last.
            "error" => {
                self.error = line.message.or(self.error.take());
                let retried = self.error.clone().filter(|words| words.starts_with("Reconnecting"));
                events.extend(retried.map(ProviderEvent::Retry));
            }
            _ => {}
        }
    }

    fn end(&mut self, end: &ProcessEnd<'_>, events: &mut Vec<ProviderEvent>) {
        if !self.finished {
            let words = self.error.take().unwrap_or_else(|| end.failure().message);
            events.push(ProviderEvent::Failed(failure(&words)));
        }
    }
}

impl CodexParser {
    fn new(continuation: &Continuation) -> Self {
        Self { continuation: continuation.clone(), started: HashSet::new(), finished: false, error: None }
    }

    /// The CLI starts a new conversation if it does not understand the id.
    fn conversation(&self, id: String) -> ProviderEvent {
        let right = match &self.continuation {
            Continuation::Fresh => true,
            Continuation::Resume(asked) => *asked == id,
            Continuation::Fork(source) => *source != id,
        };
        if right {
            return ProviderEvent::Conversation(id);
        }
        let asked = self.continuation.id().unwrap_or_default();
        let words = format!("codex was asked to continue the conversation {asked} and went on with {id}");
        ProviderEvent::Failed(Failure::new(FailureKind::ConversationOther, words))
    }

    fn item(&mut self, kind: &str, item: &Value, completed: bool, events: &mut Vec<ProviderEvent>) {
        let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default();
        let activity = match kind {
            "agent_message" if completed => return events.push(ProviderEvent::Text(text("text").to_owned())),
            "error" if completed => return events.push(ProviderEvent::Notice(text("message").to_owned())),
            "command_execution" => text("command").to_owned(),
            "mcp_tool_call" => format!("{}: {}", text("server"), text("tool")),
            "web_search" => format!("search: {}", text("query")),
            "file_change" => {
                let changes = item.get("changes").and_then(Value::as_array);
                let paths = changes.into_iter().flatten().filter_map(|change| change.get("path")?.as_str());
                format!("edit: {}", paths.collect::<Vec<_>>().join(", "))
            }
            "" | "agent_message" | "error" | "reasoning" | "todo_list" | "user_message" | "plan" => return,
            other => other.replace('_', " "),
        };
        // An item is told when it starts, or when it ends if its start was not.
        if self.started.insert(text("id").to_owned()) {
            events.push(ProviderEvent::Activity(activity));
        }
    }
}

/// The failure that some words mean. The words of an API may be JSON.
fn failure(words: &str) -> Failure {
    let json = serde_json::from_str::<Value>(words).ok();
    let inner = json.as_ref().and_then(|json| json.pointer("/error/message")).and_then(Value::as_str);
    let kind = kind_of(words);
    if words.contains("already has an active writer") {
        return Failure::new(kind, "another codex process has this conversation open; end it and try again");
    }
    Failure::new(kind, inner.unwrap_or(words))
}

fn kind_of(words: &str) -> FailureKind {
    let has = |needle: &str| words.contains(needle);
    if has("no rollout found") || has("invalid session id") || has("Session not found") || has("missing source rollout")
    {
        FailureKind::ConversationUnknown
    } else if has("429 Too Many Requests") || has("usage limit") || has("Rate limit") || has("Quota exceeded") {
        FailureKind::RateLimited
    } else if has("401 Unauthorized")
        || has("Not logged in")
        || has("log in again")
        || has("sign in again")
        || has("Missing environment variable")
    {
        FailureKind::NotLoggedIn
    } else {
        FailureKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::{self, Fixture};

    const ID: &str = "01a1fea2-80f0-71a1-9dc4-86af90df79fc";
    const OTHER: &str = "01a1fea2-866f-7b03-a603-7c5b10d1c4f4";

    fn fixture() -> Fixture {
        Fixture { place: testing::place("codex"), ..Fixture::default() }
    }

    #[test]
    fn a_file_tells_its_conversation() {
        let id = "01a1fec1-d962-7113-8ef7-667f5a1b1685";
        let file = format!("2026/11/21/rollout-2026-11-21T15-37-59-{id}.jsonl");
        assert_eq!(Codex.id_in(Path::new(&file)), Some(id.to_owned()));
        assert_eq!(Codex.id_in(Path::new("2026/11/21/rollout-x.jsonl")), None);
        assert_eq!(Codex.id_in(Path::new("notes.txt")), None);
    }

    #[test]
    fn the_first_turn_names_everything_it_needs() {
        let fixture = fixture();
        let invocation = Codex.invocation(&fixture.turn(&Continuation::Fresh, "/x @y")).expect("an invocation");
        assert_eq!(
            testing::args(&invocation),
            [
                "exec",
                "--json",
                "--skip-git-repo-check",
                "-s",
                "workspace-write",
                "-c",
                "sandbox_workspace_write.exclude_slash_tmp=true",
                "-c",
                "sandbox_workspace_write.exclude_tmpdir_env_var=true",
                "-c",
                "project_doc_max_bytes=0",
                "-",
            ]
        );
        assert_eq!(invocation.stdin.bytes(), b"/x @y");
        assert_eq!(invocation.env, [("CODEX_HOME".to_owned(), "/r/state/homes/a/codex".into())]);
    }

    #[test]
    fn resume_and_fork_come_last_and_the_sandbox_every_time() {
        let fixture = fixture();
        let continuation = Continuation::Resume(ID.into());
        let mut turn = fixture.turn(&continuation, "x");
        turn.model = Some("m");
        turn.permission_mode = PermissionMode::Default;
        let args = testing::args(&Codex.invocation(&turn).expect("an invocation"));
        assert_eq!(args[3..5], ["-s", "read-only"]);
        assert_eq!(args[11..], ["-m", "m", "resume", ID, "-"]);
        let continuation = Continuation::Fork(ID.into());
        turn.continuation = &continuation;
        turn.permission_mode = PermissionMode::BypassPermissions;
        let args = testing::args(&Codex.invocation(&turn).expect("an invocation"));
        assert_eq!(args[3..5], ["-s", "danger-full-access"]);
        assert_eq!(args[13..], ["fork", ID, "-"]);
        let attach = testing::args(&Codex.attach(&turn).expect("an invocation"));
        assert_eq!(
            (&attach[..3], &attach[attach.len() - 1..]),
            (&["fork", "--no-daemon", "-s"].map(String::from)[..], &[ID.to_owned()][..])
        );
    }

    #[test]
    fn memory_stays_writable_from_another_directory() {
        let mut fixture = fixture();
        fixture.place.working_dir = "/w".into();
        fixture
            .files
            .insert("/h/.codex/config.toml".into(), b"[sandbox_workspace_write]\nwritable_roots = [\"/x\"]\n".to_vec());
        let turn = fixture.turn(&Continuation::Fresh, "x");
        let written: toml::Table = toml::from_slice(&own_configuration(&turn)).expect("a table");
        let expected = "[sandbox_workspace_write]\nwritable_roots = [\"/x\", \"/r/sessions/a/memory\"]\n";
        // And there the trust that the user gave is in force.
        assert_eq!(written, toml::from_str(expected).expect("a table"));
    }

    #[test]
    fn the_folder_is_never_trusted_whatever_the_user_trusts() {
        let mut fixture = fixture();
        let of = |fixture: &Fixture| String::from_utf8(own_configuration(&fixture.turn(&Continuation::Fresh, "x")));
        let ours = "[projects.\"/r/sessions/a\"]\ntrust_level = \"untrusted\"\n";
        assert_eq!(of(&fixture).as_deref(), Ok(ours));
        let user = b"model = \"m\"\n[projects.\"/r/sessions/a\"]\ntrust_level = \"trusted\"\n".to_vec();
        fixture.files.insert("/h/.codex/config.toml".into(), user);
        assert_eq!(of(&fixture), Ok(format!("model = \"m\"\n\n{ours}")));
        fixture.files.insert("/h/.codex/config.toml".into(), b"model = ".to_vec());
        let refused = Codex.invocation(&fixture.turn(&Continuation::Fresh, "x")).expect_err("it cannot be read");
        assert!(refused.to_string().starts_with("`/h/.codex/config.toml` cannot be read: "), "{refused}");
    }

    #[test]
    fn the_home_has_links_and_the_brief() {
        let mut fixture = fixture();
        let steps = Codex.prepare(&fixture.turn(&Continuation::Fresh, "x"));
        assert_eq!(steps[0], Step::Link { at: "sessions".into(), to: "/r/sessions/a/provider/codex".into() });
        assert!(matches!(&steps[1], Step::Write { at, content }
            if at == Path::new("AGENTS.md") && content.starts_with(b"Be kind.\n\n# Memory")));
        fixture.environment.set("CODEX_HOME", "/c");
        let steps = Codex.prepare(&fixture.turn(&Continuation::Fresh, "x"));
        assert!(matches!(&steps[2], Step::Write { at, .. } if at == Path::new(CONFIG)));
    }

    #[test]
    fn variables_that_the_configuration_names_are_handed_on() {
        let mut fixture = fixture();
        let config = b"[model_providers.mine]\nenv_key = \"MY_KEY\"\nenv_http_headers = { X-Org = \"MY_ORG\" }\n\
            [model_providers.other]\nenv_key = \"UNSET\"\n";
        fixture.files.insert("/h/.codex/config.toml".into(), config.to_vec());
        fixture.environment.set("MY_KEY", "k");
        fixture.environment.set("MY_ORG", "o");
        let invocation = Codex.invocation(&fixture.turn(&Continuation::Fresh, "x")).expect("an invocation");
        assert_eq!(testing::env(&invocation, "MY_KEY"), Some("k"));
        assert_eq!(testing::env(&invocation, "MY_ORG"), Some("o"));
        assert_eq!(testing::env(&invocation, "UNSET"), None);
    }

    #[test]
    fn only_a_rollout_of_that_id_holds_it() {
        let holds = |id: &str, file: &str| Codex.is_conversation_file(id, Path::new(file));
        assert!(holds(ID, &format!("2026/11/21/rollout-2026-11-21T15-03-45-{ID}.jsonl")));
        assert!(!holds(ID, &format!("2026/11/21/rollout-2026-11-21T15-03-45-{OTHER}.jsonl")));
        assert!(!holds(ID, &format!("rollout-2026-11-21T15-03-45-{ID}.jsonl")));
        assert!(!holds("nope", "2026/11/21/rollout-2026-11-21T15-03-45-nope.jsonl"));
        assert!(!holds("", "2026/11/21/rollout-2026-11-21T15-03-45-.jsonl"));
    }

    fn events(continuation: &Continuation, lines: &[&str], code: i32, stderr: &str) -> Vec<ProviderEvent> {
        testing::events(&mut CodexParser::new(continuation), lines, Some(code), stderr)
    }

    #[test]
    fn a_turn_with_a_tool_keeps_all_its_texts() {
        let lines = [
            &format!(r#"{{"type":"thread.started","thread_id":"{ID}"}}"#),
            r#"{"type":"item.completed","item":{"id":"item_0","type":"error","message":"Model metadata not found."}}"#,
            r#"{"type":"turn.started"}"#,
            r#"{"type":"error","message":"Reconnecting... 2/5 (stream disconnected)"}"#,
            r#"{"type":"item.completed","item":{"id":"item_1","type":"agent_message","text":"I look."}}"#,
            r#"{"type":"item.started","item":{"id":"item_2","type":"command_execution","command":"ls","status":"in_progress"}}"#,
            r#"{"type":"item.completed","item":{"id":"item_2","type":"command_execution","command":"ls","exit_code":0,"status":"completed"}}"#,
            r#"{"type":"item.completed","item":{"id":"item_3","type":"file_change","changes":[{"path":"a","kind":"add"},{"path":"b","kind":"add"}]}}"#,
            r#"{"type":"item.completed","item":{"id":"item_4","type":"agent_message","text":"Done."}}"#,
            r#"{"type":"turn.completed","usage":{"input_tokens":5,"cached_input_tokens":2,"cache_write_input_tokens":0,"output_tokens":3,"reasoning_output_tokens":1}}"#,
        ];
        assert_eq!(
            events(&Continuation::Resume(ID.into()), &lines, 0, ""),
            [
                ProviderEvent::Conversation(ID.into()),
                ProviderEvent::Notice("Model metadata not found.".into()),
                ProviderEvent::Retry("Reconnecting... 2/5 (stream disconnected)".into()),
                ProviderEvent::Text("I look.".into()),
                ProviderEvent::Activity("ls".into()),
                ProviderEvent::Activity("edit: a, b".into()),
                ProviderEvent::Text("Done.".into()),
                ProviderEvent::TotalUsage(Usage {
                    input_tokens: 5,
                    cached_tokens: 2,
                    output_tokens: 3,
                    cost_usd: None
                }),
                ProviderEvent::Done,
            ]
        );
    }

    #[test]
    fn another_conversation_than_the_one_asked_for_is_a_failure() {
        let kind = |continuation: Continuation, id: &str| {
            let line = format!(r#"{{"type":"thread.started","thread_id":"{id}"}}"#);
            events(&continuation, &[&line, r#"{"type":"turn.completed"}"#], 0, "").into_iter().find_map(|event| {
                match event {
                    ProviderEvent::Failed(failure) => Some(failure.kind),
                    _ => None,
                }
            })
        };
        assert_eq!(kind(Continuation::Resume(ID.into()), OTHER), Some(FailureKind::ConversationOther));
        assert_eq!(kind(Continuation::Resume(ID.into()), ID), None);
        assert_eq!(kind(Continuation::Fork(ID.into()), ID), Some(FailureKind::ConversationOther));
        assert_eq!(kind(Continuation::Fork(ID.into()), OTHER), None);
        assert_eq!(kind(Continuation::Fresh, ID), None);
    }

    #[test]
    fn failures_have_their_kind() {
        let failed = |lines: &[&str], stderr: &str| match events(&Continuation::Fresh, lines, 1, stderr).pop() {
            Some(ProviderEvent::Failed(failure)) => (failure.kind, failure.message),
            other => panic!("{other:?}"),
        };
        let turn = |message: &str| {
            let message = Value::from(message);
            failed(&[&format!(r#"{{"type":"turn.failed","error":{{"message":{message}}}}}"#)], "")
        };
        let unknown = format!("Error: thread/resume failed: no rollout found for thread id {ID} (code -32600)\n");
        assert_eq!(failed(&[], &unknown).0, FailureKind::ConversationUnknown);
        let lineage = "Error: thread/resume failed: invalid paginated history lineage for x: missing source rollout\n";
        assert_eq!(failed(&[], lineage).0, FailureKind::ConversationUnknown);
        assert_eq!(failed(&[], "Error: Session not found: nope\n").0, FailureKind::ConversationUnknown);
        let (kind, message) = failed(&[], &format!("Error: thread {ID} already has an active writer (code -32600)\n"));
        assert_eq!((kind, message.starts_with("another codex process")), (FailureKind::Other, true));
        assert_eq!(turn("exceeded retry limit, last status: 429 Too Many Requests").0, FailureKind::RateLimited);
        assert_eq!(turn("You\u{2019}ve hit your usage limit. Try again later.").0, FailureKind::RateLimited);
        assert_eq!(turn("unexpected status 401 Unauthorized: bad key").0, FailureKind::NotLoggedIn);
        assert_eq!(turn("Missing environment variable: `MY_KEY`.").0, FailureKind::NotLoggedIn);
        assert_eq!(turn(r#"{"error":{"message":"no good"}}"#), (FailureKind::Other, "no good".to_owned()));
        let lost = r#"{"type":"error","message":"Reconnecting... waiting for network"}"#;
        assert_eq!(failed(&[lost], "").1, "Reconnecting... waiting for network");
        assert_eq!(failed(&[], "").0, FailureKind::Other);
    }
}
