//! Claude Code, as `claude -p`.
//!
//! Observed with 2.1.197. Its home is `CLAUDE_CONFIG_DIR`; the conversation
//! directory in it is a link into the session's folder, which also keeps its
//! 30-day clean-up away. The home also holds a copy of the user's credentials
//! file while the CLI runs.
//!
//! Where a person can be asked for permission, its input is a conversation of
//! JSON lines, which ends with its final event: it then exits.

mod control;
mod login;
mod project;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use project::project_name;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Continuation, Decision, ExternalConversations, Failure, FailureKind, Input, Invocation, Layout, LoginFile,
    LoginRules, LoginUser, Parser, ProcessEnd, Provider, ProviderError, ProviderEvent, Step, Turn, plain_prompt,
};
use crate::session::{PermissionMode, Usage};

/// The provider.
#[derive(Debug)]
pub(super) struct Claude;

/// Files in the home for what an argument list would tell every user.
const SETTINGS: &str = "denizen.settings.json";
const INSTRUCTIONS: &str = "denizen.instructions.md";

impl Provider for Claude {
    fn name(&self) -> &'static str {
        "claude"
    }

    fn program(&self) -> Option<&'static str> {
        Some("claude")
    }

    fn variables(&self) -> &'static [&'static str] {
        &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_BASE_URL",
            "ANTHROPIC_CUSTOM_HEADERS",
            "ANTHROPIC_MODEL",
            "ANTHROPIC_SMALL_FAST_MODEL",
            "ANTHROPIC_DEFAULT_*",
            "API_TIMEOUT_MS",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CODE_MAX_RETRIES",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
            "DISABLE_TELEMETRY",
            "DISABLE_ERROR_REPORTING",
        ]
    }

    fn login_hint(&self) -> &'static str {
        "run `denizen login claude`, or set ANTHROPIC_API_KEY"
    }

    fn login_command(&self) -> Option<&'static [&'static str]> {
        Some(&["auth", "login"])
    }

    fn login_files(&self) -> &'static [&'static str] {
        &[".claude/.credentials.json", ".claude.json"]
    }

    fn login(&self, user: &LoginUser<'_>) -> Vec<LoginFile> {
        login::file(user).into_iter().collect()
    }

    fn login_rules(&self) -> &'static LoginRules {
        &login::RULES
    }

    fn login_locks(&self, directory: &Path) -> Vec<PathBuf> {
        login::locks(directory)
    }

    fn is_conversation_file(&self, id: &str, file: &Path) -> bool {
        id.parse::<Uuid>().is_ok() && file == Path::new(&format!("{id}.jsonl"))
    }

    fn prepare(&self, turn: &Turn<'_>) -> Vec<Step> {
        let conversations = &turn.place.conversations;
        let project = project_name(&turn.place.working_dir.to_string_lossy());
        vec![
            Step::Write { at: SETTINGS.into(), content: settings(turn).to_string().into() },
            Step::Write { at: INSTRUCTIONS.into(), content: turn.brief.instructions.clone().into() },
            Step::MakeConversationDir("tasks"),
            Step::Link { at: Path::new("projects").join(project), to: conversations.clone() },
            Step::Link { at: "tasks".into(), to: conversations.join("tasks") },
        ]
    }

    fn invocation(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        let mut invocation = self.common(turn);
        invocation.args(["-p", "--output-format", "stream-json", "--verbose"]);
        if turn.stream {
            invocation.arg("--include-partial-messages");
        }
        if turn.asks {
            invocation.args(["--input-format", "stream-json", "--permission-prompt-tool", "stdio"]);
            invocation.args(["--disallowedTools", control::QUESTIONS]);
        }
        add_conversation(&mut invocation, turn);
        let prompt = plain_prompt(turn);
        invocation.stdin = if turn.asks {
            Input::Conversation(control::message_line(&String::from_utf8_lossy(&prompt)))
        } else {
            Input::Whole(prompt)
        };
        Ok(invocation)
    }

    fn parser(&self, _turn: &Turn<'_>) -> Box<dyn Parser> {
        Box::new(ClaudeParser::default())
    }

    fn attach(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        let mut invocation = self.common(turn);
        add_conversation(&mut invocation, turn);
        Ok(invocation)
    }

    /// Without these two facts a new home greets with its onboarding and asks
    /// whether the folder is trusted.
    fn prepare_terminal(&self, turn: &Turn<'_>) -> Vec<Step> {
        let trusted = json!({"hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true});
        let mut projects = serde_json::Map::new();
        projects.insert(turn.place.working_dir.to_string_lossy().into_owned(), trusted);
        let state = json!({"hasCompletedOnboarding": true, "projects": projects});
        vec![Step::Write { at: ".claude.json".into(), content: state.to_string().into_bytes() }]
    }

    fn external_conversations(&self, user: &LoginUser<'_>) -> Option<ExternalConversations> {
        let home = user.directory("CLAUDE_CONFIG_DIR", ".claude")?;
        let more = vec![(home.join("tasks"), "tasks")];
        Some(ExternalConversations {
            dir: home.join("projects"),
            layout: Layout::ByWorkingDirectory(project_name),
            more,
        })
    }

    fn compact_prompt(&self) -> Option<&'static str> {
        Some("/compact")
    }
}

impl Claude {
    /// What a headless turn and the terminal UI have in common.
    fn common(&self, turn: &Turn<'_>) -> Invocation {
        let mut invocation = Invocation::of(turn.program);
        invocation
            .env("CLAUDE_CONFIG_DIR", turn.place.home.as_os_str())
            // `@path` in a message would inline any file of the machine.
            .env("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1")
            .env("DISABLE_AUTOUPDATER", "1");
        invocation
            // Neither the parents' settings, hooks and MCP servers, nor what the
            // agent itself plants in its folder.
            .args(["--strict-mcp-config", "--setting-sources", "", "--settings"])
            .arg(turn.place.home.join(SETTINGS));
        if !turn.brief.instructions.is_empty() {
            invocation.arg("--append-system-prompt-file").arg(turn.place.home.join(INSTRUCTIONS));
        }
        if let Some(model) = turn.model {
            invocation.args(["--model", model]);
        }
        if let Some(key) = walled_key(turn) {
            invocation.env("ANTHROPIC_API_KEY", key);
        }
        // As root it does anything only where it is told that it is kept in.
        if turn.walled && turn.permission_mode == PermissionMode::BypassPermissions {
            invocation.env("IS_SANDBOX", "1");
        }
        invocation.args(["--permission-mode", turn.permission_mode.name()]);
        invocation
    }
}

fn add_conversation(invocation: &mut Invocation, turn: &Turn<'_>) {
    let new_id = turn.new_id.to_string();
    match turn.continuation {
        Continuation::Fresh => invocation.args(["--session-id", &new_id]),
        Continuation::Resume(id) => invocation.args(["-r", id]),
        Continuation::Fork(id) => invocation.args(["-r", id, "--fork-session", "--session-id", &new_id]),
    };
}

/// The settings of each start: where memory is, that nothing expires, and the parts of
/// the user's own settings that make a login, which a home of its own hides.
fn settings(turn: &Turn<'_>) -> Value {
    let mut settings = json!({"autoMemoryDirectory": turn.place.memory, "cleanupPeriodDays": 36500});
    if let Some(helper) = api_key_helper(turn) {
        settings["apiKeyHelper"] = helper.into();
    }
    settings
}

/// The command that prints the user's API key, where the login is one: the
/// user's own `apiKeyHelper`, or one for the key that a Console login leaves.
fn api_key_helper(turn: &Turn<'_>) -> Option<String> {
    own_helper(turn.user).or_else(|| {
        let (state, _) = console_key(turn.user).filter(|_| !turn.walled)?;
        let quoted = state.to_string_lossy().replace('\'', r"'\''");
        Some(format!(r#"sed -n 's/.*"primaryApiKey": *"\([^"]*\)".*/\1/p' '{quoted}'"#))
    })
}

/// The key of a Console login, for a child inside walls, which does not see the
/// file: that holds more of the user than the key.
fn walled_key(turn: &Turn<'_>) -> Option<String> {
    let given = turn.user.environment.get("ANTHROPIC_API_KEY").is_some();
    if !turn.walled || given || own_helper(turn.user).is_some() {
        return None;
    }
    console_key(turn.user).map(|(_, key)| key)
}

/// The `apiKeyHelper` of the user's own settings.
fn own_helper(user: &LoginUser<'_>) -> Option<String> {
    let settings = read_json(user, &user.directory("CLAUDE_CONFIG_DIR", ".claude")?.join("settings.json"))?;
    Some(settings.get("apiKeyHelper")?.as_str()?.to_owned())
}

/// The key that a Console login leaves in `.claude.json`, and that file.
fn console_key(user: &LoginUser<'_>) -> Option<(PathBuf, String)> {
    let state = match user.environment.get("CLAUDE_CONFIG_DIR") {
        Some(directory) => Path::new(directory).join(".claude.json"),
        None => user.at_home(".claude.json")?,
    };
    let key = read_json(user, &state)?.get("primaryApiKey")?.as_str()?.to_owned();
    Some((state, key))
}

fn read_json(user: &LoginUser<'_>, path: &Path) -> Option<Value> {
    serde_json::from_slice(&user.files.read(path)?).ok()
}

/// Reads `stream-json`.
#[derive(Default)]
struct ClaudeParser {
    texts: usize,
    finished: bool,
    /// Until when the account has to wait, where the CLI said so.
    limited_until: Option<Timestamp>,
    requests: control::ControlRequests,
}

#[derive(Deserialize)]
struct ClaudeLine {
    #[serde(rename = "type")]
    kind: String,
    subtype: Option<String>,
    session_id: Option<String>,
    parent_tool_use_id: Option<String>,
    memory_paths: Option<MemoryPaths>,
    message: Option<ClaudeMessage>,
    event: Option<Value>,
    #[serde(default)]
    is_error: bool,
    api_error_status: Option<Value>,
    result: Option<String>,
    errors: Option<Vec<Value>>,
    usage: Option<ClaudeTokens>,
    total_cost_usd: Option<f64>,
    permission_denials: Option<Vec<Value>>,
    rate_limit_info: Option<RateLimit>,
    request_id: Option<String>,
    request: Option<Box<RawValue>>,
    #[serde(flatten)]
    retry: Retry,
}

/// What a `rate_limit_event` says.
#[derive(Deserialize)]
struct RateLimit {
    status: String,
    /// Seconds since 1970.
    #[serde(rename = "resetsAt")]
    resets_at: Option<i64>,
}

/// What a `system/api_retry` line says.
#[derive(Deserialize)]
struct Retry {
    attempt: Option<u64>,
    max_retries: Option<u64>,
    retry_delay_ms: Option<f64>,
    error_status: Option<u16>,
}

impl Retry {
    fn describe(&self) -> String {
        let status = self.error_status.map_or_else(|| "no answer".to_owned(), |status| format!("error {status}"));
        let (attempt, most) = (self.attempt.unwrap_or_default(), self.max_retries.unwrap_or_default());
        let seconds = self.retry_delay_ms.unwrap_or_default() / 1000.0;
        format!("{status} from the model server, try {attempt} of {most} in {seconds:.0} s")
    }
}

#[derive(Deserialize)]
struct MemoryPaths {
    auto: Option<String>,
}

#[derive(Deserialize)]
struct ClaudeMessage {
    #[serde(default)]
    content: Value,
}

#[derive(Deserialize)]
struct ClaudeTokens {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    cache_creation_input_tokens: u64,
    #[serde(default)]
    cache_read_input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
}

impl Parser for ClaudeParser {
    fn line(&mut self, line: &str, events: &mut Vec<ProviderEvent>) {
        let Ok(line) = serde_json::from_str::<ClaudeLine>(line) else { return };
        match (line.kind.as_str(), line.subtype.as_deref()) {
            ("system", Some("init")) => {
                events.extend(line.session_id.map(ProviderEvent::Conversation));
                if let Some(directory) = line.memory_paths.and_then(|paths| paths.auto) {
                    events.push(ProviderEvent::MemoryDirectory(directory.into()));
                }
            }
            ("system", Some("api_retry")) => events.push(ProviderEvent::Retry(line.retry.describe())),
            ("rate_limit_event", _) => {
                if let Some(limit) = line.rate_limit_info.filter(|limit| limit.status == "rejected") {
                    self.limited_until = limit.resets_at.and_then(|second| Timestamp::from_second(second).ok());
                }
            }
            // What a sub-agent says is not said to the person.
            ("assistant", _) if line.parent_tool_use_id.is_none() => {
                let blocks = line.message.map(|message| message.content);
                for block in blocks.as_ref().and_then(Value::as_array).into_iter().flatten() {
                    self.block(block, events);
                }
            }
            ("stream_event", _) if line.parent_tool_use_id.is_none() => {
                let text = line.event.as_ref().and_then(|event| event.pointer("/delta/text")).and_then(Value::as_str);
                events.extend(text.map(|text| ProviderEvent::Delta(text.to_owned())));
            }
            ("control_request", _) => {
                if let (Some(id), Some(request)) = (line.request_id, line.request) {
                    self.requests.request(id, &request, events);
                }
            }
            ("control_cancel_request", _) => {
                if let Some(id) = line.request_id {
                    self.requests.cancel(id, events);
                }
            }
            ("result", _) => self.result(line, events),
            _ => {}
        }
    }

    fn end(&mut self, end: &ProcessEnd<'_>, events: &mut Vec<ProviderEvent>) {
        if !self.finished {
            let mut failure = end.failure();
            failure.kind = kind_of(end.stderr);
            events.push(ProviderEvent::Failed(failure));
        }
    }

    fn answer(&mut self, id: &str, decision: &Decision, events: &mut Vec<ProviderEvent>) {
        self.requests.answer(id, decision, events);
    }
}

impl ClaudeParser {
    fn block(&mut self, block: &Value, events: &mut Vec<ProviderEvent>) {
        match block.get("type").and_then(Value::as_str) {
            Some("text") => {
                let text = block.get("text").and_then(Value::as_str).unwrap_or_default();
                self.texts += 1;
                events.push(ProviderEvent::Text(text.to_owned()));
            }
            Some("tool_use") => {
                let name = block.get("name").and_then(Value::as_str).unwrap_or("tool");
                let input = block.get("input").unwrap_or(&Value::Null);
                let detail = ["command", "file_path", "pattern", "url", "query", "description"]
                    .into_iter()
                    .find_map(|field| input.get(field)?.as_str());
                events.push(ProviderEvent::Activity(
                    detail.map_or_else(|| name.to_owned(), |detail| format!("{name}: {detail}")),
                ));
            }
            _ => {}
        }
    }

    fn result(&mut self, line: ClaudeLine, events: &mut Vec<ProviderEvent>) {
        self.finished = true;
        events.extend(line.session_id.filter(|_| !line.is_error).map(ProviderEvent::Conversation));
        for denial in line.permission_denials.iter().flatten() {
            if self.requests.was_asked(denial.get("tool_use_id").and_then(Value::as_str)) {
                continue;
            }
            let tool = denial.get("tool_name").and_then(Value::as_str).unwrap_or("a tool");
            events.push(ProviderEvent::Notice(format!("the agent was not allowed to use {tool}")));
        }
        if let Some(tokens) = line.usage {
            events.push(ProviderEvent::Usage(Usage {
                input_tokens: tokens
                    .input_tokens
                    .saturating_add(tokens.cache_creation_input_tokens)
                    .saturating_add(tokens.cache_read_input_tokens),
                cached_tokens: tokens.cache_read_input_tokens,
                output_tokens: tokens.output_tokens,
                cost_usd: line.total_cost_usd,
            }));
        }
        if line.is_error {
            // `subtype` says "success" also for errors of the API.
            let errors = line
                .errors
                .into_iter()
                .flatten()
                .map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned));
            let mut message = line.result.into_iter().chain(errors).collect::<Vec<_>>().join(" · ");
            if message.is_empty() {
                message = line.subtype.unwrap_or_else(|| "an error without words".to_owned());
            }
            let limited = line.api_error_status.is_some_and(|status| status == 429);
            let kind = if limited { FailureKind::RateLimited } else { kind_of(&message) };
            if let (FailureKind::RateLimited, Some(until)) = (kind, self.limited_until) {
                message.push_str(&format!(" (until {until})"));
            }
            events.push(ProviderEvent::Failed(Failure::new(kind, message)));
            return;
        }
        // A command of the CLI itself answers in the result only.
        if let (0, Some(text)) = (self.texts, line.result) {
            events.push(ProviderEvent::Text(text));
        }
        events.push(ProviderEvent::Done);
    }
}

fn kind_of(words: &str) -> FailureKind {
    let has = |needle: &str| words.contains(needle);
    if has("No conversation found") {
        FailureKind::ConversationUnknown
    } else if has("already in use") {
        FailureKind::ConversationInUse
    } else if has("Not logged in") || has("Please run /login") || has("Invalid API key") || has("OAuth token") {
        FailureKind::NotLoggedIn
    } else if has("usage limit reached") || has("rate_limit_error") || has("hit your limit") {
        FailureKind::RateLimited
    } else {
        FailureKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::{self, Fixture};

    #[test]
    fn the_first_turn_names_everything_it_needs() {
        let fixture = Fixture::default();
        let invocation = Claude.invocation(&fixture.turn(&Continuation::Fresh, "hello")).expect("an invocation");
        assert_eq!(
            testing::args(&invocation),
            [
                "--strict-mcp-config",
                "--setting-sources",
                "",
                "--settings",
                "/r/state/homes/a/claude/denizen.settings.json",
                "--append-system-prompt-file",
                "/r/state/homes/a/claude/denizen.instructions.md",
                "--permission-mode",
                "acceptEdits",
                "-p",
                "--output-format",
                "stream-json",
                "--verbose",
                "--session-id",
                testing::NEW_ID,
            ]
        );
        assert_eq!(invocation.stdin.bytes(), b"hello");
        assert_eq!(testing::env(&invocation, "CLAUDE_CONFIG_DIR"), Some("/r/state/homes/a/claude"));
        assert_eq!(testing::env(&invocation, "CLAUDE_SECURESTORAGE_CONFIG_DIR"), None);
    }

    #[test]
    fn a_message_is_never_a_command() {
        let fixture = Fixture::default();
        let mut turn = fixture.turn(&Continuation::Fresh, "/clear");
        assert_eq!(Claude.invocation(&turn).expect("an invocation").stdin.bytes(), b"\n/clear");
        turn.raw = true;
        assert_eq!(Claude.invocation(&turn).expect("an invocation").stdin.bytes(), b"/clear");
    }

    #[test]
    fn where_somebody_can_be_asked_the_input_is_a_conversation() {
        let fixture = Fixture::default();
        let turn = Turn { asks: true, ..fixture.turn(&Continuation::Fresh, "/clear \"x\"") };
        let invocation = Claude.invocation(&turn).expect("an invocation");
        assert_eq!(
            testing::args(&invocation)[9..],
            [
                "-p",
                "--output-format",
                "stream-json",
                "--verbose",
                "--input-format",
                "stream-json",
                "--permission-prompt-tool",
                "stdio",
                "--disallowedTools",
                "AskUserQuestion,EnterPlanMode,ExitPlanMode",
                "--session-id",
                testing::NEW_ID,
            ]
        );
        let line = r#"{"type":"user","message":{"role":"user","content":"\n/clear \"x\""}}"#;
        assert_eq!(invocation.stdin, Input::Conversation(format!("{line}\n").into_bytes()));
    }

    #[test]
    fn what_was_asked_about_is_not_told_again() {
        let request = r#"{"type":"control_request","request_id":"r","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"x"},"tool_use_id":"asked"}}"#;
        let result = r#"{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"u","permission_denials":[{"tool_name":"Bash","tool_use_id":"asked"},{"tool_name":"Write","tool_use_id":"other"}]}"#;
        let cancel = r#"{"type":"control_cancel_request","request_id":"r"}"#;
        let events = testing::events(&mut ClaudeParser::default(), &[request, cancel, result], Some(0), "");
        let notices = events.iter().filter(|event| matches!(event, ProviderEvent::Notice(_))).collect::<Vec<_>>();
        assert_eq!(notices, [&ProviderEvent::Notice("the agent was not allowed to use Write".into())]);
        assert!(events.contains(&ProviderEvent::Withdrawn("r".into())), "{events:?}");
    }

    #[test]
    fn resume_and_fork() {
        let fixture = Fixture::default();
        let tail = |continuation: &Continuation| {
            let invocation = Claude.invocation(&fixture.turn(continuation, "x")).expect("an invocation");
            testing::args(&invocation).split_off(13)
        };
        assert_eq!(tail(&Continuation::Resume("u".into())), ["-r", "u"]);
        assert_eq!(
            tail(&Continuation::Fork("u".into())),
            ["-r", "u", "--fork-session", "--session-id", testing::NEW_ID]
        );
    }

    #[test]
    fn a_console_login_is_handed_on() {
        let mut fixture = Fixture::default();
        fixture.files.insert("/h/.claude.json".into(), br#"{"primaryApiKey": "sk-1"}"#.to_vec());
        let mut turn = fixture.turn(&Continuation::Fresh, "x");
        turn.walled = true;
        assert_eq!(settings(&turn)["apiKeyHelper"], Value::Null, "its file is not seen inside walls");
        let invocation = Claude.invocation(&turn).expect("an invocation");
        assert_eq!(testing::env(&invocation, "ANTHROPIC_API_KEY"), Some("sk-1"));
        turn.walled = false;
        assert_eq!(testing::env(&Claude.invocation(&turn).expect("one"), "ANTHROPIC_API_KEY"), None);
        let settings = settings(&turn);
        assert_eq!(settings["apiKeyHelper"], r#"sed -n 's/.*"primaryApiKey": *"\([^"]*\)".*/\1/p' '/h/.claude.json'"#);
    }

    #[test]
    fn a_turn_with_a_tool_keeps_all_its_texts() {
        let events = testing::events(
            &mut ClaudeParser::default(),
            &[
                r#"{"type":"system","subtype":"init","session_id":"u","memory_paths":{"auto":"/m"}}"#,
                r#"{"type":"assistant","message":{"content":[{"type":"text","text":"one"},{"type":"tool_use","name":"Bash","input":{"command":"ls"}}]}}"#,
                r#"{"type":"assistant","parent_tool_use_id":"t","message":{"content":[{"type":"text","text":"sub"}]}}"#,
                r#"{"type":"assistant","message":{"content":[{"type":"text","text":"two"}]}}"#,
                r#"{"type":"result","subtype":"success","is_error":false,"result":"two","session_id":"u","total_cost_usd":0.5,"usage":{"input_tokens":1,"cache_read_input_tokens":2,"output_tokens":3}}"#,
            ],
            Some(0),
            "",
        );
        let usage = Usage { input_tokens: 3, cached_tokens: 2, output_tokens: 3, cost_usd: Some(0.5) };
        assert_eq!(
            events,
            [
                ProviderEvent::Conversation("u".into()),
                ProviderEvent::MemoryDirectory("/m".into()),
                ProviderEvent::Text("one".into()),
                ProviderEvent::Activity("Bash: ls".into()),
                ProviderEvent::Text("two".into()),
                ProviderEvent::Conversation("u".into()),
                ProviderEvent::Usage(usage),
                ProviderEvent::Done,
            ]
        );
    }

    #[test]
    fn failures_have_their_kind() {
        let failed = |lines: &[&str], code, stderr: &str| match testing::events(
            &mut ClaudeParser::default(),
            lines,
            code,
            stderr,
        )
        .pop()
        {
            Some(ProviderEvent::Failed(failure)) => failure.kind,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            failed(&[], Some(1), "No conversation found with session ID: u\n"),
            FailureKind::ConversationUnknown
        );
        assert_eq!(failed(&[], Some(1), "Error: Session ID u is already in use.\n"), FailureKind::ConversationInUse);
        let limited = [
            r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1800000000}}"#,
            r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"slow down"}"#,
        ];
        let events = testing::events(&mut ClaudeParser::default(), &limited, Some(1), "");
        let message = "slow down (until 2027-01-15T08:00:00Z)";
        assert_eq!(events, [ProviderEvent::Failed(Failure::new(FailureKind::RateLimited, message))]);
        let login =
            r#"{"type":"result","subtype":"success","is_error":true,"result":"Not logged in · Please run /login"}"#;
        assert_eq!(failed(&[login], Some(1), ""), FailureKind::NotLoggedIn);
        assert_eq!(failed(&[], Some(0), ""), FailureKind::Other);
    }
}
