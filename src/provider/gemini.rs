//! Gemini CLI, as `gemini --output-format stream-json`.
//!
//! Observed with 0.61.0. Its home is `GEMINI_CLI_HOME`; the directories of this
//! project in it are links into the session's folder. The settings are a copy of
//! the user's with ours on top, the brief is its `GEMINI.md`, and what the CLI
//! calls its private project memory is the session's memory directory, which it
//! reads and keeps by itself.
//!
//! What a working directory holds in `.gemini/` and `.env` is code: MCP servers,
//! hooks, commands, the address that the user's key is sent to. Three settings
//! together keep all of it out. Trust in folders is on and given by an argument,
//! so that settings are read before the folder is trusted; `useExternal` leaves
//! out the check of the login that would read the environment file again; and
//! `GEMINI_CLI_TRUST_WORKSPACE`, which would trust from the start, is not set.
//! Skills and agents of the folder are still offered to the model, and its own
//! `GEMINI.md` is read; those of its parents are not.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Continuation, Ends, Failure, FailureKind, Field, Input, Invocation, LoginFile, LoginRules, LoginUser, Parser,
    ProcessEnd, Provider, ProviderError, ProviderEvent, Step, Turn, plain_prompt,
};
use crate::session::{PermissionMode, Usage};

/// The provider.
#[derive(Debug)]
pub(super) struct Gemini;

/// The project's name in the home. The CLI would take it from the working
/// directory and number it when two are alike; it keeps to one that it is given.
const PROJECT: &str = "session";

/// What a login with an account leaves in the user's Gemini home.
const LOGIN_FILES: &[&str] = &["oauth_creds.json", "google_accounts.json", "gemini-credentials.json"];

/// The CLI keeps the refresh token that it has.
const LOGIN: LoginRules = LoginRules {
    fields: &[(&["access_token"], Field::Token), (&["id_token"], Field::NewToken), (&["expiry_date"], Field::Ends)],
    ends: |login| match login.get("refresh_token") {
        Some(_) => Ends::at(login.get("expiry_date")),
        None => Ends::Never,
    },
};

const VARIABLES: &[&str] = &[
    "GEMINI_API_KEY",
    "GEMINI_API_KEY_AUTH_MECHANISM",
    "GEMINI_CLI_CUSTOM_HEADERS",
    "GEMINI_MODEL",
    "GOOGLE_API_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_PROJECT_ID",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_GENAI_API_VERSION",
    "GOOGLE_GENAI_USE_GCA",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_VERTEX_BASE_URL",
];

impl Provider for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn program(&self) -> Option<&'static str> {
        Some("gemini")
    }

    fn variables(&self) -> &'static [&'static str] {
        VARIABLES
    }

    fn login_hint(&self) -> &'static str {
        "run `denizen login gemini`, or set GEMINI_API_KEY"
    }

    /// Its terminal UI asks for one if there is none.
    fn login_command(&self) -> Option<&'static [&'static str]> {
        Some(&[])
    }

    fn login_files(&self) -> &'static [&'static str] {
        &[".gemini/.env", ".gemini/oauth_creds.json", ".gemini/gemini-credentials.json"]
    }

    /// `chats/session-<minute>-<first 8 of the id>.jsonl`.
    fn login(&self, user: &LoginUser<'_>) -> Vec<LoginFile> {
        let copied = |name: &&str| Some(LoginFile::copied(user_file(user, name)?, Path::new(".gemini").join(name)));
        LOGIN_FILES.iter().filter_map(copied).collect()
    }

    fn login_rules(&self) -> &'static LoginRules {
        &LOGIN
    }

    fn is_conversation_file(&self, id: &str, file: &Path) -> bool {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return false };
        is_id(id)
            && file.parent() == Some(Path::new("chats"))
            && name.starts_with("session-")
            && name.ends_with(&format!("-{}.jsonl", &id[..8]))
    }

    fn prepare(&self, turn: &Turn<'_>) -> Vec<Step> {
        let place = turn.place;
        let home = Path::new(".gemini");
        let project = home.join("tmp").join(PROJECT);
        let write = |at: PathBuf, content: String| Step::Write { at, content: content.into_bytes() };
        let owner = place.working_dir.to_string_lossy().into_owned();
        vec![
            Step::MakeConversationDir("chats"),
            Step::MakeConversationDir("tool-outputs"),
            Step::MakeDir("tmp".into()),
            write(home.join("projects.json"), json!({"projects": {owner.clone(): PROJECT}}).to_string()),
            write(project.join(".project_root"), owner.clone()),
            write(home.join("history").join(PROJECT).join(".project_root"), owner),
            Step::Link { at: project.join("chats"), to: place.conversations.join("chats") },
            Step::Link { at: project.join("tool-outputs"), to: place.conversations.join("tool-outputs") },
            Step::Link { at: project.join("memory"), to: place.memory.clone() },
            write(home.join("GEMINI.md"), turn.brief.instructions.clone()),
            write(
                home.join("settings.json"),
                settings(turn, user_settings(turn.user).unwrap_or_else(|_| json!({}))).to_string(),
            ),
        ]
    }

    fn invocation(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        let mut invocation = common(turn)?;
        invocation.args(["--output-format", "stream-json"]);
        match turn.continuation {
            Continuation::Fresh => invocation.args(["--session-id", &turn.new_id.to_string()]),
            // A copy goes on under the same id, in a home of its own. The CLI's
            // other way, `--session-file`, wants the file and chooses the id.
            Continuation::Resume(id) | Continuation::Fork(id) => invocation.args(["--resume", id]),
        };
        invocation.stdin = Input::Whole(plain_prompt(turn));
        Ok(invocation)
    }

    fn parser(&self, turn: &Turn<'_>) -> Box<dyn Parser> {
        let asked = turn.continuation.id().map(str::to_owned);
        Box::new(GeminiParser { asked, ..GeminiParser::default() })
    }

    fn attach(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        let mut invocation = common(turn)?;
        match turn.continuation {
            Continuation::Fresh => invocation.args(["--session-id", &turn.new_id.to_string()]),
            Continuation::Resume(id) | Continuation::Fork(id) => invocation.args(["--resume", id]),
        };
        Ok(invocation)
    }
}

/// What a headless turn and the terminal UI have in common.
fn common(turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
    user_settings(turn.user)?;
    let home = &turn.place.home;
    let mut invocation = Invocation::of(turn.program);
    invocation
        .env("GEMINI_CLI_HOME", home.as_os_str())
        // The CLI starts itself again otherwise, and the first process keeps
        // signals from the second.
        .env("GEMINI_CLI_NO_RELAUNCH", "true")
        // Reports of errors hold the conversation.
        .env("TMPDIR", home.join("tmp"));
    // Any `.env` nearer to the working directory would hide the user's own.
    let own = |path: Option<PathBuf>| path.and_then(|path| turn.user.files.read(&path));
    let file = own(user_file(turn.user, ".env")).or_else(|| own(turn.user.at_home(".env"))).unwrap_or_default();
    for (name, value) in assignments(&String::from_utf8_lossy(&file)) {
        if VARIABLES.contains(&name.as_str()) && turn.user.environment.get_os(&name).is_none() {
            invocation.env(&name, value);
        }
    }
    let approval = match turn.permission_mode {
        PermissionMode::Plan => "plan",
        PermissionMode::Default => "default",
        PermissionMode::AcceptEdits => "auto_edit",
        PermissionMode::BypassPermissions => "yolo",
    };
    invocation.args(["--skip-trust", "--approval-mode", approval]);
    if let Some(model) = turn.model {
        invocation.args(["--model", model]);
    }
    Ok(invocation)
}

/// The user's settings with ours on top.
fn settings(turn: &Turn<'_>, user: Value) -> Value {
    let with = |path: &str, more: Vec<Value>| -> Value {
        let own = user.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
        own.into_iter().chain(more).collect()
    };
    let other = |name: &str| turn.user.environment.get(name) == Some("true");
    let login = match user.pointer("/security/auth/selectedType") {
        Some(chosen) => chosen.clone(),
        None if other("GOOGLE_GENAI_USE_VERTEXAI") => "vertex-ai".into(),
        None if other("GOOGLE_GENAI_USE_GCA") => "oauth-personal".into(),
        None => "gemini-api-key".into(),
    };
    let excluded = VARIABLES.iter().chain(&["DEBUG", "DEBUG_MODE"]).map(|name| json!(name)).collect();
    let reachable = turn.place.memory.starts_with(&turn.place.working_dir);
    let memory = if reachable { Vec::new() } else { vec![json!(turn.place.memory)] };
    let ours = json!({
        // A conversation would be deleted after 30 days.
        "general": {"sessionRetention": {"enabled": false}},
        "security": {"folderTrust": {"enabled": true}, "auth": {"useExternal": true, "selectedType": login}},
        "advanced": {"ignoreLocalEnv": true, "excludedEnvVars": with("/advanced/excludedEnvVars", excluded)},
        "context": {
            "fileName": "GEMINI.md",
            // Without a boundary the CLI does not look above the working directory.
            "memoryBoundaryMarkers": [],
            "includeDirectories": with("/context/includeDirectories", memory),
            // `a@b` in a message would inline the first file with a `b` in its name.
            "fileFiltering": {"enableRecursiveFileSearch": false},
        },
    });
    let mut settings = user;
    merge(&mut settings, ours);
    settings
}

/// Lays one value over another: objects are merged, anything else is replaced.
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                merge(below.entry(name).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

/// A file of the user's own Gemini home.
fn user_file(user: &LoginUser<'_>, name: &str) -> Option<PathBuf> {
    Some(user.directory("GEMINI_CLI_HOME", "")?.join(".gemini").join(name))
}

/// The user's own settings; an empty object where he has none.
fn user_settings(user: &LoginUser<'_>) -> Result<Value, ProviderError> {
    let Some(path) = user_file(user, "settings.json") else { return Ok(json!({})) };
    let Some(bytes) = user.files.read(&path) else { return Ok(json!({})) };
    let unreadable = |reason: String| ProviderError::Missing(format!("`{}` cannot be read: {reason}", path.display()));
    let settings = serde_json::from_str::<Value>(&without_comments(&String::from_utf8_lossy(&bytes)));
    settings
        .map_err(|error| unreadable(error.to_string()))
        .and_then(|value| if value.is_object() { Ok(value) } else { Err(unreadable("it is not an object".to_owned())) })
}

/// JSON without the comments that the CLI allows in it.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(char) = rest.chars().next() {
        let comment_end = match (quoted, rest.get(..2)) {
            (false, Some("//")) => Some(rest.find('\n').unwrap_or(rest.len())),
            (false, Some("/*")) => Some(rest.find("*/").map_or(rest.len(), |at| at + 2)),
            _ => None,
        };
        if let Some(end) = comment_end {
            rest = &rest[end..];
            continue;
        }
        let escaped = if quoted && char == '\\' { rest.chars().nth(1).map_or(0, char::len_utf8) } else { 0 };
        quoted ^= char == '"';
        let taken = char.len_utf8() + escaped;
        plain.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    plain
}

/// The assignments of an environment file.
fn assignments(text: &str) -> Vec<(String, String)> {
    let value = |text: &str| {
        let text = text.trim();
        let quote = text.chars().next().filter(|char| matches!(char, '"' | '\'' | '`'));
        let quoted = quote.and_then(|quote| Some(&text[1..=text[1..].find(quote)?]));
        quoted.unwrap_or_else(|| text.split(" #").next().unwrap_or_default().trim_end()).to_owned()
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.strip_prefix("export ").unwrap_or(line).split_once('='));
    pairs.map(|(name, text)| (name.trim().to_owned(), value(text))).collect()
}

/// Whether a text may be an id: the CLI takes `latest` and a number for others.
fn is_id(id: &str) -> bool {
    id.len() >= 8
        && id.starts_with(|char: char| char.is_ascii_alphanumeric())
        && id.chars().all(|char| char.is_ascii_alphanumeric() || char == '-')
        && !id.chars().all(|char| char.is_ascii_digit())
}

/// Reads `stream-json`.
#[derive(Default)]
struct GeminiParser {
    asked: Option<String>,
    text: String,
    finished: bool,
    error: Option<String>,
}

#[derive(Deserialize)]
struct GeminiLine {
    #[serde(rename = "type")]
    kind: String,
    session_id: Option<String>,
    role: Option<String>,
    content: Option<String>,
    tool_name: Option<String>,
    parameters: Option<Value>,
    severity: Option<String>,
    message: Option<String>,
    status: Option<String>,
    error: Option<GeminiMessage>,
    stats: Option<GeminiTokens>,
}

/// Of a tool it has the same shape, with nothing that matters here.
#[derive(Deserialize)]
struct GeminiMessage {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct GeminiTokens {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    cached: u64,
    #[serde(default)]
    output_tokens: u64,
}

impl Parser for GeminiParser {
    fn line(&mut self, line: &str, events: &mut Vec<ProviderEvent>) {
        let Ok(line) = serde_json::from_str::<GeminiLine>(line) else { return };
        match line.kind.as_str() {
            "init" => events.extend(line.session_id.map(|id| self.conversation(id))),
            "message" if line.role.as_deref() == Some("assistant") => {
                let part = line.content.unwrap_or_default();
                self.text.push_str(&part);
                events.push(ProviderEvent::Delta(part));
            }
            "tool_use" => {
                self.flush(events);
                let name = line.tool_name.unwrap_or_else(|| "tool".to_owned());
                let parameters = line.parameters.unwrap_or_default();
                let detail = ["command", "file_path", "dir_path", "pattern", "query", "url", "prompt"]
                    .into_iter()
                    .find_map(|field| parameters.get(field)?.as_str());
                let words = detail.map_or_else(|| name.clone(), |detail| format!("{name}: {detail}"));
                events.push(ProviderEvent::Activity(words));
            }
            "error" => {
                if line.severity.as_deref() == Some("warning") {
                    events.extend(line.message.map(ProviderEvent::Notice));
                } else {
                    self.error = line.message;
                }
            }
            "result" => {
                self.finished = true;
                self.flush(events);
                events.extend(line.stats.map(|tokens| {
                    ProviderEvent::Usage(Usage {
                        input_tokens: tokens.input_tokens,
                        cached_tokens: tokens.cached,
                        output_tokens: tokens.output_tokens,
                        cost_usd: None,
                    })
                }));
                if line.status.as_deref() == Some("success") {
                    // Such as "Maximum session turns exceeded".
                    events.extend(self.error.take().map(ProviderEvent::Notice));
                    events.push(ProviderEvent::Done);
                } else {
                    let words = line.error.map(|error| error.message).or(self.error.take());
                    events.push(ProviderEvent::Failed(failure(
                        &words.unwrap_or_else(|| "an error without words".to_owned()),
                    )));
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, end: &ProcessEnd<'_>, events: &mut Vec<ProviderEvent>) {
        if self.finished {
            return;
        }
        self.flush(events);
        // Of what the CLI says there, the stack and its remarks on the terminal
        // are no reason.
        let noise = ["at ", "Warning: 256-color", "Ripgrep is not available", "YOLO mode is enabled"];
        let lines = end.stderr.lines().filter(|line| !noise.iter().any(|noise| line.trim_start().starts_with(noise)));
        let stderr = lines.collect::<Vec<_>>().join("\n");
        let mut failure = failure(&ProcessEnd { code: end.code, stderr: &stderr }.failure().message);
        if end.code == Some(41) {
            failure.kind = FailureKind::NotLoggedIn;
        }
        events.push(ProviderEvent::Failed(failure));
    }
}

impl GeminiParser {
    fn conversation(&self, id: String) -> ProviderEvent {
        match &self.asked {
            Some(asked) if *asked != id => {
                let words = format!("gemini was asked to continue the conversation {asked} and went on with {id}");
                ProviderEvent::Failed(Failure::new(FailureKind::ConversationOther, words))
            }
            _ => ProviderEvent::Conversation(id),
        }
    }

    fn flush(&mut self, events: &mut Vec<ProviderEvent>) {
        if !self.text.is_empty() {
            events.push(ProviderEvent::Text(std::mem::take(&mut self.text)));
        }
    }
}

/// The failure that some words mean: `[API Error: {"error": {…}}]`, or plain.
fn failure(words: &str) -> Failure {
    let json = words.find('{').zip(words.rfind('}')).and_then(|(start, end)| words.get(start..=end));
    let json = json.and_then(|json| serde_json::from_str::<Value>(json).ok());
    let error = json.as_ref().and_then(|json| json.get("error"));
    let message = error.and_then(|error| error.get("message")?.as_str()).unwrap_or(words);
    let code = error.and_then(|error| error.get("code")?.as_u64());
    let has = |needle: &str| words.contains(needle);
    let kind = if has("Invalid session identifier") || has("No previous sessions found") {
        FailureKind::ConversationUnknown
    } else if has("Session ID") && has("already exists") {
        FailureKind::ConversationInUse
    } else if code == Some(429) || has("RESOURCE_EXHAUSTED") || has("exhausted your") || has("quota") {
        FailureKind::RateLimited
    } else if code == Some(401)
        || has("API key not valid")
        || has("specify the GEMINI_API_KEY")
        || has("Could not load the default credentials")
        || has("Manual authorization is required")
    {
        FailureKind::NotLoggedIn
    } else {
        FailureKind::Other
    };
    Failure::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::{self, Fixture};

    const ID: &str = "efa51add-4551-4924-8cdc-59692652da9a";

    fn fixture() -> Fixture {
        Fixture { place: testing::place("gemini"), ..Fixture::default() }
    }

    fn written(steps: &[Step], path: &str) -> String {
        let found = steps.iter().find_map(|step| match step {
            Step::Write { at, content } if at == Path::new(path) => Some(String::from_utf8_lossy(content).into_owned()),
            _ => None,
        });
        found.expect("the file is written")
    }

    #[test]
    fn the_first_turn_names_everything_it_needs() {
        let fixture = fixture();
        let invocation = Gemini.invocation(&fixture.turn(&Continuation::Fresh, "/clear")).expect("an invocation");
        assert_eq!(
            testing::args(&invocation),
            [
                "--skip-trust",
                "--approval-mode",
                "auto_edit",
                "--output-format",
                "stream-json",
                "--session-id",
                testing::NEW_ID,
            ]
        );
        assert_eq!(invocation.stdin.bytes(), b"\n/clear");
        assert_eq!(testing::env(&invocation, "GEMINI_CLI_HOME"), Some("/r/state/homes/a/gemini"));
        assert_eq!(testing::env(&invocation, "GEMINI_CLI_NO_RELAUNCH"), Some("true"));
        assert_eq!(testing::env(&invocation, "TMPDIR"), Some("/r/state/homes/a/gemini/tmp"));
        // It would trust the folder before its settings are read.
        assert_eq!(testing::env(&invocation, "GEMINI_CLI_TRUST_WORKSPACE"), None);
    }

    #[test]
    fn a_conversation_is_resumed_also_in_a_copy() {
        let fixture = fixture();
        for continuation in [Continuation::Resume(ID.into()), Continuation::Fork(ID.into())] {
            let mut turn = fixture.turn(&continuation, "x");
            turn.model = Some("m");
            turn.permission_mode = PermissionMode::Plan;
            let args = testing::args(&Gemini.invocation(&turn).expect("an invocation"));
            assert_eq!(args[1..5], ["--approval-mode", "plan", "--model", "m"]);
            assert_eq!(args[7..], ["--resume", ID]);
            assert_eq!(testing::args(&Gemini.attach(&turn).expect("an invocation"))[5..], ["--resume", ID]);
        }
    }

    #[test]
    fn the_home_keeps_its_project_by_our_name() {
        let mut fixture = fixture();
        fixture.place.working_dir = "/w/My.Project".into();
        let steps = Gemini.prepare(&fixture.turn(&Continuation::Fresh, "x"));
        assert_eq!(written(&steps, ".gemini/projects.json"), r#"{"projects":{"/w/My.Project":"session"}}"#);
        assert_eq!(written(&steps, ".gemini/tmp/session/.project_root"), "/w/My.Project");
        assert_eq!(written(&steps, ".gemini/history/session/.project_root"), "/w/My.Project");
        assert_eq!(written(&steps, ".gemini/GEMINI.md"), "Be kind.");
        let links: Vec<_> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Link { at, to } => Some((at.to_str()?, to.to_str()?)),
                _ => None,
            })
            .collect();
        assert_eq!(
            links,
            [
                (".gemini/tmp/session/chats", "/r/sessions/a/provider/gemini/chats"),
                (".gemini/tmp/session/tool-outputs", "/r/sessions/a/provider/gemini/tool-outputs"),
                (".gemini/tmp/session/memory", "/r/sessions/a/memory"),
            ]
        );
    }

    #[test]
    fn settings_are_the_users_with_ours_on_top() {
        let mut fixture = fixture();
        fixture.place.working_dir = "/w".into();
        let own = br#"{
            // comments are allowed
            "mcpServers": {"mine": {"command": "x", "args": ["http://a/*b*/"]}}, /* here too */
            "context": {"fileName": ["AGENTS.md"], "memoryBoundaryMarkers": [".git"], "includeDirectories": ["/d"]},
            "security": {"auth": {"selectedType": "oauth-personal"}}
        }"#;
        fixture.files.insert("/h/.gemini/settings.json".into(), own.to_vec());
        fixture.files.insert("/h/.gemini/oauth_creds.json".into(), b"{}".to_vec());
        let steps = Gemini.prepare(&fixture.turn(&Continuation::Fresh, "x"));
        let mut settings: Value = serde_json::from_str(&written(&steps, ".gemini/settings.json")).expect("JSON");
        let excluded = settings["advanced"]["excludedEnvVars"].take();
        assert!(excluded.as_array().is_some_and(|names| names.contains(&"GOOGLE_GEMINI_BASE_URL".into())));
        assert_eq!(
            settings,
            json!({
                "mcpServers": {"mine": {"command": "x", "args": ["http://a/*b*/"]}},
                "context": {
                    "fileName": "GEMINI.md",
                    "memoryBoundaryMarkers": [],
                    "includeDirectories": ["/d", "/r/sessions/a/memory"],
                    "fileFiltering": {"enableRecursiveFileSearch": false},
                },
                "security": {
                    "auth": {"selectedType": "oauth-personal", "useExternal": true},
                    "folderTrust": {"enabled": true},
                },
                "general": {"sessionRetention": {"enabled": false}},
                "advanced": {"ignoreLocalEnv": true, "excludedEnvVars": null},
            })
        );
        fixture.files.insert("/h/.gemini/settings.json".into(), b"{,}".to_vec());
        assert!(Gemini.invocation(&fixture.turn(&Continuation::Fresh, "x")).is_err());
    }

    #[test]
    fn the_login_defaults_to_a_key() {
        let mut fixture = fixture();
        let chosen = |fixture: &Fixture| {
            let steps = Gemini.prepare(&fixture.turn(&Continuation::Fresh, "x"));
            let settings: Value = serde_json::from_str(&written(&steps, ".gemini/settings.json")).expect("JSON");
            settings["security"]["auth"]["selectedType"].clone()
        };
        assert_eq!(chosen(&fixture), "gemini-api-key");
        fixture.environment.set("GOOGLE_GENAI_USE_VERTEXAI", "true");
        assert_eq!(chosen(&fixture), "vertex-ai");
    }

    #[test]
    fn the_users_environment_file_is_handed_on() {
        let mut fixture = fixture();
        let file =
            b"# my key\nexport GEMINI_API_KEY=\"k#1\" # old\nGOOGLE_API_KEY = 'g'\nGEMINI_MODEL=m # fast\nPATH=/x\n";
        fixture.files.insert("/h/.gemini/.env".into(), file.to_vec());
        fixture.environment.set("GOOGLE_API_KEY", "from the environment");
        let invocation = Gemini.invocation(&fixture.turn(&Continuation::Fresh, "x")).expect("an invocation");
        assert_eq!(testing::env(&invocation, "GEMINI_API_KEY"), Some("k#1"));
        assert_eq!(testing::env(&invocation, "GEMINI_MODEL"), Some("m"));
        assert_eq!(testing::env(&invocation, "GOOGLE_API_KEY"), None);
        assert_eq!(testing::env(&invocation, "PATH"), None);
    }

    #[test]
    fn only_a_chat_of_that_id_holds_it() {
        let holds = |id: &str, file: &str| Gemini.is_conversation_file(id, Path::new(file));
        assert!(holds(ID, "chats/session-2026-11-21T15-10-efa51add.jsonl"));
        assert!(!holds(ID, "chats/session-2026-11-21T15-10-708dd17f.jsonl"));
        assert!(!holds(ID, "session-2026-11-21T15-10-efa51add.jsonl"));
        assert!(!holds("latest", "chats/session-latest.jsonl"));
        assert!(!holds("12345678", "chats/session-x-12345678.jsonl"));
        assert!(!holds("--help-me", "chats/session-x---help-m.jsonl"));
        assert!(!holds("ä-ä-ä-ä-ä", "chats/session-x-ä-ä-ä-ä-ä.jsonl"));
    }

    fn events(lines: &[&str], code: i32, stderr: &str) -> Vec<ProviderEvent> {
        let mut parser = GeminiParser { asked: Some(ID.into()), ..GeminiParser::default() };
        testing::events(&mut parser, lines, Some(code), stderr)
    }

    #[test]
    fn a_turn_with_a_tool_keeps_all_its_texts() {
        let lines = [
            &format!(r#"{{"type":"init","session_id":"{ID}","model":"m"}}"#),
            r#"{"type":"message","role":"user","content":"hello"}"#,
            r#"{"type":"message","role":"assistant","content":"I ","delta":true}"#,
            r#"{"type":"message","role":"assistant","content":"look.","delta":true}"#,
            r#"{"type":"tool_use","tool_name":"run_shell_command","tool_id":"t","parameters":{"command":"ls"}}"#,
            r#"{"type":"tool_result","tool_id":"t","status":"error","output":"no","error":{"type":"x","message":"no"}}"#,
            r#"{"type":"error","severity":"warning","message":"Loop detected, stopping execution"}"#,
            r#"{"type":"message","role":"assistant","content":"Done.","delta":true}"#,
            r#"{"type":"result","status":"success","stats":{"total_tokens":9,"input_tokens":5,"output_tokens":3,"cached":2,"input":3}}"#,
        ];
        assert_eq!(
            events(&lines, 0, ""),
            [
                ProviderEvent::Conversation(ID.into()),
                ProviderEvent::Delta("I ".into()),
                ProviderEvent::Delta("look.".into()),
                ProviderEvent::Text("I look.".into()),
                ProviderEvent::Activity("run_shell_command: ls".into()),
                ProviderEvent::Notice("Loop detected, stopping execution".into()),
                ProviderEvent::Delta("Done.".into()),
                ProviderEvent::Text("Done.".into()),
                ProviderEvent::Usage(Usage { input_tokens: 5, cached_tokens: 2, output_tokens: 3, cost_usd: None }),
                ProviderEvent::Done,
            ]
        );
    }

    #[test]
    fn a_stopped_turn_is_not_done() {
        let half = r#"{"type":"message","role":"assistant","content":"half","delta":true}"#;
        let events = events(&[half], 0, "");
        assert_eq!(events[1], ProviderEvent::Text("half".into()));
        assert!(matches!(events[2], ProviderEvent::Failed(_)), "{events:?}");
    }

    #[test]
    fn failures_have_their_kind() {
        let failed = |lines: &[&str], code, stderr: &str| match events(lines, code, stderr).pop() {
            Some(ProviderEvent::Failed(failure)) => (failure.kind, failure.message),
            other => panic!("{other:?}"),
        };
        let result = |message: &str| {
            let message = Value::from(message);
            let line =
                format!(r#"{{"type":"result","status":"error","error":{{"type":"unknown","message":{message}}}}}"#);
            failed(&[&line], 145, "")
        };
        let noise = "Ripgrep is not available. Falling back to GrepTool.\n";
        let resume = "Error resuming session: No previous sessions found for this project.\n";
        assert_eq!(failed(&[], 42, resume).0, FailureKind::ConversationUnknown);
        let resume = "Error resuming session: Invalid session identifier \"x\".\n  Use --list-sessions to see them.\n";
        assert_eq!(failed(&[], 42, resume).0, FailureKind::ConversationUnknown);
        let create = "Error starting session: Session ID \"x\" already exists. Use --resume to resume it.\n";
        assert_eq!(
            failed(&[], 42, &format!("{create}{noise}")),
            (FailureKind::ConversationInUse, create.trim().into())
        );
        let limit = r#"[API Error: {"error":{"code":429,"message":"Wait.","status":"RESOURCE_EXHAUSTED"}}]"#;
        assert_eq!(result(limit), (FailureKind::RateLimited, "Wait.".into()));
        let key = r#"[API Error: {"error":{"code":401,"message":"bad key","status":"x"}}]"#;
        assert_eq!(result(key), (FailureKind::NotLoggedIn, "bad key".into()));
        assert_eq!(result("[API Error: Could not load the default credentials. Browse]").0, FailureKind::NotLoggedIn);
        assert_eq!(failed(&[], 41, "whatever\n"), (FailureKind::NotLoggedIn, "whatever".into()));
        let empty = r#"{"type":"error","severity":"error","message":"The model returned nothing."}"#;
        let line = r#"{"type":"result","status":"error","stats":{}}"#;
        assert_eq!(failed(&[empty, line], 1, ""), (FailureKind::Other, "The model returned nothing.".into()));
        let other = r#"{"type":"init","session_id":"other"}"#;
        let events = events(&[other], 0, "");
        assert!(matches!(&events[0], ProviderEvent::Failed(failure) if failure.kind == FailureKind::ConversationOther));
    }
}
