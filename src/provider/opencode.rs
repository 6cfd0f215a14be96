//! OpenCode, as `opencode run`.
//!
//! Observed with 1.18.33. All its conversations lie in one `SQLite` database,
//! which stands in the session's folder; configuration, state and caches stand
//! in the home, with a copy of the user's login while the CLI runs.
//!
//! Each conversation names the directory that it ran in. When that is not the
//! directory of the turn the CLI answers in the *old* one and never ends, so
//! the names are corrected first, whenever the home is new.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Continuation, Ends, Failure, FailureKind, Field, Format, Input, Invocation, LoginFile, LoginRules, LoginUser,
    Parser, ProcessEnd, Provider, ProviderError, ProviderEvent, Step, Turn, TurnPaths,
};
use crate::session::{PermissionMode, Usage};

/// The provider.
#[derive(Debug)]
pub(super) struct OpenCode;

const DATABASE: &str = "opencode.db";

/// One file holds the logins of several model providers, and keys beside them.
/// An end of 0 is none.
const LOGIN: LoginRules = LoginRules {
    fields: &[
        (&["*", "refresh"], Field::Token),
        (&["*", "access"], Field::Token),
        (&["*", "expires"], Field::Ends),
        (&["*", "accountId"], Field::Word),
    ],
    ends: |login| {
        let logins = login.as_object().into_iter().flat_map(|all| all.values());
        let ends = logins.filter(|login| login.get("refresh").is_some()).map(|login| match login.get("expires") {
            Some(end) if end == 0 => Ends::Never,
            end => Ends::at(end),
        });
        ends.min_by_key(|ends| match ends {
            Ends::Unknown => i64::MIN,
            Ends::At(end) => *end,
            Ends::Never => i64::MAX,
        })
        .unwrap_or(Ends::Never)
    },
};

/// With these two in its configuration directory the CLI does not install a
/// package of 3,800 files there, one copy for each session.
const NO_INSTALL_DIR: &str = "config/opencode/node_modules";
const NO_INSTALL: (&str, &str) = (
    "config/opencode/package-lock.json",
    "{\"packages\": {\"\": {\"dependencies\": {\"@opencode-ai/plugin\": \"*\"}}}}\n",
);

impl Provider for OpenCode {
    fn name(&self) -> &'static str {
        "opencode"
    }

    fn program(&self) -> Option<&'static str> {
        Some("opencode")
    }

    /// The keys of model providers that <https://opencode.ai/docs/providers>
    /// walks through. Variables that open more than models (`GITHUB_TOKEN`,
    /// those of AWS and Google Cloud) are left to the configuration.
    fn variables(&self) -> &'static [&'static str] {
        &[
            "ANTHROPIC_API_KEY",
            "AWS_BEARER_TOKEN_BEDROCK",
            "AWS_REGION",
            "AZURE_API_KEY",
            "AZURE_COGNITIVE_SERVICES_RESOURCE_NAME",
            "AZURE_RESOURCE_NAME",
            "BASETEN_API_KEY",
            "CEREBRAS_API_KEY",
            "CLOUDFLARE_ACCOUNT_ID",
            "CLOUDFLARE_GATEWAY_ID",
            "COHERE_API_KEY",
            "DEEPINFRA_API_KEY",
            "DEEPSEEK_API_KEY",
            "FIREWORKS_API_KEY",
            "GEMINI_API_KEY",
            "GOOGLE_API_KEY",
            "GOOGLE_GENERATIVE_AI_API_KEY",
            "GROQ_API_KEY",
            "HF_TOKEN",
            "MINIMAX_API_KEY",
            "MISTRAL_API_KEY",
            "MOONSHOT_API_KEY",
            "NEBIUS_API_KEY",
            "NVIDIA_API_KEY",
            "OLLAMA_API_KEY",
            "OPENAI_API_KEY",
            "OPENCODE_API_KEY",
            "OPENROUTER_API_KEY",
            "PERPLEXITY_API_KEY",
            "TOGETHER_API_KEY",
            "VENICE_API_KEY",
            "XAI_API_KEY",
            "ZHIPU_API_KEY",
        ]
    }

    fn login_hint(&self) -> &'static str {
        "run `denizen login opencode`, or set the key of a model provider, such as OPENROUTER_API_KEY"
    }

    fn login_command(&self) -> Option<&'static [&'static str]> {
        Some(&["auth", "login"])
    }

    fn login_files(&self) -> &'static [&'static str] {
        &[".local/share/opencode/auth.json", ".config/opencode/opencode.json", ".config/opencode/opencode.jsonc"]
    }

    fn login(&self, user: &LoginUser<'_>) -> Vec<LoginFile> {
        let data = user.directory("XDG_DATA_HOME", ".local/share");
        let own = data.map(|data| LoginFile::copied(data.join("opencode/auth.json"), "data/opencode/auth.json"));
        let named = UserConfig::find(user).map(|config| config.files(user)).unwrap_or_default();
        own.into_iter().chain(named.into_iter().map(LoginFile::read)).collect()
    }

    fn login_rules(&self) -> &'static LoginRules {
        &LOGIN
    }

    fn is_conversation_file(&self, id: &str, file: &Path) -> bool {
        is_id(id) && file == Path::new(DATABASE)
    }

    fn format(&self, file: &Path) -> Format {
        if file == Path::new(DATABASE) { Format::Sqlite } else { Format::Opaque }
    }

    fn prepare(&self, turn: &Turn<'_>) -> Vec<Step> {
        let mut steps = vec![
            Step::MakeConversationDir("tool-output"),
            // The CLI deletes what is older than 7 days there, a minute after
            // its start, and the conversation refers to it.
            Step::KeepRecent("tool-output"),
            Step::Link { at: "data/opencode/tool-output".into(), to: turn.place.conversations.join("tool-output") },
            Step::MakeDir(NO_INSTALL_DIR.into()),
            Step::Write { at: NO_INSTALL.0.into(), content: NO_INSTALL.1.into() },
            Step::Write { at: "config/opencode/AGENTS.md".into(), content: turn.brief.whole().into_bytes() },
        ];
        if turn.place.new_home {
            let mut invocation = common(turn);
            let directory = directory(turn.place);
            invocation.arg("db").arg(format!("update session set directory={directory} where directory<>{directory}"));
            steps.push(Step::Run { invocation, if_exists: DATABASE });
        }
        steps
    }

    fn invocation(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        let mut invocation = common(turn);
        invocation.env("OPENCODE_PERMISSION", permission(turn, true).to_string());
        invocation.args(["run", "--format", "json", "--dir", "."]);
        // An empty title means the start of the message; without one the CLI
        // asks the model for a title, a second request.
        match turn.continuation {
            Continuation::Fresh => invocation.args(["--title", ""]),
            Continuation::Resume(id) => invocation.args(["--session", id]),
            Continuation::Fork(id) => invocation.args(["--session", id, "--fork"]),
        };
        add_choices(&mut invocation, turn)?;
        invocation.stdin = Input::Whole(turn.prompt.as_bytes().to_vec());
        Ok(invocation)
    }

    fn parser(&self, _turn: &Turn<'_>) -> Box<dyn Parser> {
        Box::new(OpenCodeParser::default())
    }

    fn attach(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        let mut invocation = common(turn);
        invocation.env("OPENCODE_PERMISSION", permission(turn, false).to_string());
        match turn.continuation {
            Continuation::Fresh => &mut invocation,
            Continuation::Resume(id) => invocation.args(["--session", id]),
            Continuation::Fork(id) => invocation.args(["--session", id, "--fork"]),
        };
        add_choices(&mut invocation, turn)?;
        Ok(invocation)
    }
}

/// The working directory in words of SQL. The session's folder is known by where
/// its database is: so no path stands in an argument, which everybody can read.
/// Only where that is another directory, it has to be named.
fn directory(place: &TurnPaths) -> String {
    let database = place.conversations.join(DATABASE);
    match database.strip_prefix(&place.session) {
        Ok(below) if place.working_dir == place.session => {
            let length = below.to_string_lossy().chars().count() + 1;
            format!("(select substr(file,1,length(file)-{length}) from pragma_database_list where name='main')")
        }
        _ => format!("'{}'", place.working_dir.to_string_lossy().replace('\'', "''")),
    }
}

/// Whether the text is a conversation id as the CLI makes them.
fn is_id(text: &str) -> bool {
    text.strip_prefix("ses_").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// What all invocations share: the program and its environment.
fn common(turn: &Turn<'_>) -> Invocation {
    let home = &turn.place.home;
    let mut invocation = Invocation::of(turn.program);
    if let Some(config) = UserConfig::find(turn.user) {
        for (name, value) in config.variables(turn.user) {
            invocation.env(name, value);
        }
        invocation.env("OPENCODE_CONFIG_CONTENT", config.text);
    }
    invocation
        .env("OPENCODE_DB", turn.place.conversations.join(DATABASE))
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_STATE_HOME", home.join("state"))
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("NPM_CONFIG_CACHE", home.join("npm"))
        // What the folder and its parents hold is not configuration: an
        // `opencode.json` there would start its MCP commands without asking.
        .env("OPENCODE_DISABLE_PROJECT_CONFIG", "1")
        .env("OPENCODE_DISABLE_EXTERNAL_SKILLS", "1")
        .env("OPENCODE_DISABLE_CLAUDE_CODE", "1")
        .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
        .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
        .env("OPENCODE_DISABLE_LSP_DOWNLOAD", "1");
    invocation
}

/// The model, and what the agent may do.
fn add_choices(invocation: &mut Invocation, turn: &Turn<'_>) -> Result<(), ProviderError> {
    if let Some(model) = turn.model {
        if !model.contains('/') {
            return Err(ProviderError::Missing(format!(
                "OpenCode's models are named `<provider>/<model>`, and `{model}` names no provider"
            )));
        }
        invocation.args(["--model", model]);
    }
    match turn.permission_mode {
        PermissionMode::Plan => invocation.args(["--agent", "plan"]),
        PermissionMode::Default | PermissionMode::AcceptEdits => invocation,
        PermissionMode::BypassPermissions => invocation.arg("--auto"),
    };
    Ok(())
}

/// What the agent may do, added to the user's own rules; the last rule that
/// matches counts. Headless, nobody can be asked: the CLI would refuse by itself
/// and end without an answer, while after a rule that denies the agent goes on.
fn permission(turn: &Turn<'_>, headless: bool) -> Value {
    let mut rules = json!({});
    if headless {
        // The CLI denies these itself, but not in a fork.
        rules = json!({ "question": "deny", "plan_enter": "deny", "plan_exit": "deny" });
    }
    if turn.permission_mode != PermissionMode::BypassPermissions {
        let session = format!("{}/*", turn.place.session.display());
        rules["external_directory"] = json!({ "*": "deny", session: "allow" });
        if headless {
            rules["doom_loop"] = "deny".into();
            rules["read"] = json!({ "*.env": "deny", "*.env.*": "deny", "*.env.example": "allow" });
        }
    }
    match turn.permission_mode {
        // The agent `plan` may not edit, but may run any command.
        PermissionMode::Plan => {
            rules["edit"] = "deny".into();
            rules["bash"] = "deny".into();
        }
        // What needs no permission elsewhere either: looking, and memory.
        PermissionMode::Default => {
            rules["edit"] = memory_only(turn);
            rules["bash"] = "deny".into();
        }
        PermissionMode::AcceptEdits | PermissionMode::BypassPermissions => {}
    }
    rules
}

/// Edits of files in the memory directory only. A rule sees a path relative to
/// the git work tree, or to `/` if there is none, so only its end is known.
fn memory_only(turn: &Turn<'_>) -> Value {
    let sessions = turn.place.session.parent().unwrap_or(&turn.place.session);
    let memory = turn.place.memory.strip_prefix(sessions).unwrap_or(&turn.place.memory);
    json!({ "*": "deny", format!("*/{}/*", memory.display()): "allow" })
}

/// The user's own configuration: it is where model providers are declared, and
/// with them logins. Handed on as text, because a file that the CLI is pointed
/// to it also writes to.
struct UserConfig {
    text: String,
}

impl UserConfig {
    fn find(user: &LoginUser<'_>) -> Option<Self> {
        if let Some(text) = user.environment.get("OPENCODE_CONFIG_CONTENT") {
            return Some(Self { text: text.to_owned() });
        }
        if let Some(file) = user.environment.get("OPENCODE_CONFIG") {
            return Self::read(user, Path::new(file));
        }
        let directory = user.directory("XDG_CONFIG_HOME", ".config")?.join("opencode");
        ["opencode.jsonc", "opencode.json", "config.json"]
            .into_iter()
            .find_map(|name| Self::read(user, &directory.join(name)))
    }

    /// Reads a file. `{file:name}` in it is relative to it, and would become
    /// relative to the working directory.
    fn read(user: &LoginUser<'_>, file: &Path) -> Option<Self> {
        let text = String::from_utf8(user.files.read(file)?).ok()?;
        let directory = file.parent()?;
        let mut parts = text.split("{file:");
        let mut absolute = parts.next()?.to_owned();
        for part in parts {
            absolute.push_str("{file:");
            if !part.starts_with(['/', '~']) {
                absolute.push_str(&format!("{}/", directory.display()));
            }
            absolute.push_str(part);
        }
        Some(Self { text: absolute })
    }

    /// The files that it takes values from, as `{file:path}`.
    fn files(&self, user: &LoginUser<'_>) -> Vec<PathBuf> {
        let names = self.text.split("{file:").skip(1).filter_map(|part| Some(part.split_once('}')?.0.trim()));
        let absolute = |name: &str| match name.strip_prefix("~/") {
            Some(below) => user.at_home(below),
            None => Some(PathBuf::from(name)),
        };
        names.filter_map(absolute).collect()
    }

    /// The variables that it takes values from, as `{env:NAME}`.
    fn variables<'a>(&'a self, user: &'a LoginUser<'_>) -> impl Iterator<Item = (&'a str, &'a str)> {
        let names = self.text.split("{env:").skip(1).filter_map(|part| Some(part.split_once('}')?.0.trim()));
        names.filter_map(|name| Some((name, user.environment.get(name)?)))
    }
}

/// Reads the events of `--format json`.
#[derive(Default)]
struct OpenCodeParser {
    conversation: Option<String>,
    usage: Usage,
    /// Why the model stopped, the last time that it did.
    reason: Option<String>,
    failed: bool,
}

#[derive(Deserialize)]
struct OpenCodeLine {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "sessionID")]
    conversation: Option<String>,
    #[serde(default)]
    part: Part,
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Part {
    text: Option<String>,
    tool: Option<String>,
    #[serde(default)]
    state: Value,
    reason: Option<String>,
    #[serde(default)]
    tokens: OpenCodeTokens,
    cost: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OpenCodeTokens {
    input: u64,
    output: u64,
    reasoning: u64,
    cache: Cache,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cache {
    read: u64,
    write: u64,
}

impl Parser for OpenCodeParser {
    fn line(&mut self, line: &str, events: &mut Vec<ProviderEvent>) {
        let Ok(line) = serde_json::from_str::<OpenCodeLine>(line) else { return };
        if let Some(id) = line.conversation.filter(|id| is_id(id) && self.conversation.as_ref() != Some(id)) {
            events.push(ProviderEvent::Conversation(id.clone()));
            self.conversation = Some(id);
        }
        match line.kind.as_str() {
            "text" => events.extend(line.part.text.map(ProviderEvent::Text)),
            "tool_use" => tool(&line.part, events),
            "step_finish" => self.step_finish(line.part),
            "error" => {
                self.failed = true;
                events.push(ProviderEvent::Failed(failure(&line.error.unwrap_or_default())));
            }
            _ => {}
        }
    }

    fn end(&mut self, end: &ProcessEnd<'_>, events: &mut Vec<ProviderEvent>) {
        if self.reason.is_some() {
            events.push(ProviderEvent::Usage(self.usage));
        }
        if self.failed {
            return;
        }
        match (self.reason.as_deref(), end.code) {
            (Some("stop"), Some(0)) => events.push(ProviderEvent::Done),
            (Some("length"), Some(0)) => {
                events.push(ProviderEvent::Notice("the reply is cut: the model reached its limit".to_owned()));
                events.push(ProviderEvent::Done);
            }
            (Some(reason), Some(0)) => {
                let mut failure = end.failure();
                if end.stderr.trim().is_empty() {
                    failure.message = format!("it ended without an answer, after `{reason}`");
                }
                events.push(ProviderEvent::Failed(failure));
            }
            _ => {
                let mut failure = end.failure();
                if end.stderr.contains("Session not found") {
                    failure.kind = FailureKind::ConversationUnknown;
                }
                events.push(ProviderEvent::Failed(failure));
            }
        }
    }
}

impl OpenCodeParser {
    fn step_finish(&mut self, part: Part) {
        let (tokens, usage) = (part.tokens, &mut self.usage);
        usage.input_tokens += tokens.input + tokens.cache.read + tokens.cache.write;
        usage.cached_tokens += tokens.cache.read;
        usage.output_tokens += tokens.output + tokens.reasoning;
        if let Some(cost) = part.cost {
            *usage.cost_usd.get_or_insert(0.0) += cost;
        }
        self.reason = Some(part.reason.unwrap_or_default());
    }
}

/// A tool that was used, or that the agent was not allowed to use.
fn tool(part: &Part, events: &mut Vec<ProviderEvent>) {
    let name = part.tool.as_deref().unwrap_or("tool");
    let detail = ["command", "filePath", "pattern", "url", "query", "description"]
        .into_iter()
        .find_map(|field| part.state.get("input")?.get(field)?.as_str());
    events.push(ProviderEvent::Activity(detail.map_or_else(|| name.to_owned(), |detail| format!("{name}: {detail}"))));
    let error = part.state.get("error").and_then(Value::as_str).unwrap_or_default();
    if error.contains("specified a rule which prevents") || error.contains("rejected permission") {
        events.push(ProviderEvent::Notice(format!("the agent was not allowed to use {name}")));
    }
}

fn failure(error: &Value) -> Failure {
    let name = error.get("name").and_then(Value::as_str).unwrap_or("an error without words");
    let message = error.pointer("/data/message").and_then(Value::as_str).unwrap_or(name);
    let status = error.pointer("/data/statusCode").and_then(Value::as_u64);
    let kind = match (name, status) {
        (_, Some(429)) => FailureKind::RateLimited,
        ("ProviderAuthError", _) | (_, Some(401)) => FailureKind::NotLoggedIn,
        _ => FailureKind::Other,
    };
    Failure::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::{self, Fixture};

    fn fixture() -> Fixture {
        Fixture { place: testing::place("opencode"), ..Fixture::default() }
    }

    fn rules(fixture: &Fixture, mode: PermissionMode) -> Value {
        let mut turn = fixture.turn(&Continuation::Fresh, "x");
        turn.permission_mode = mode;
        let invocation = OpenCode.invocation(&turn).expect("an invocation");
        serde_json::from_str(testing::env(&invocation, "OPENCODE_PERMISSION").expect("rules")).expect("JSON")
    }

    #[test]
    fn the_first_turn_names_everything_it_needs() {
        let fixture = fixture();
        let invocation = OpenCode.invocation(&fixture.turn(&Continuation::Fresh, "hello")).expect("an invocation");
        assert_eq!(testing::args(&invocation), ["run", "--format", "json", "--dir", ".", "--title", ""]);
        assert_eq!(invocation.stdin.bytes(), b"hello");
        let env: Vec<(&str, &str)> = invocation
            .env
            .iter()
            .filter(|(name, _)| name != "OPENCODE_PERMISSION")
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
            .collect();
        assert_eq!(
            env,
            [
                ("OPENCODE_DB", "/r/sessions/a/provider/opencode/opencode.db"),
                ("XDG_DATA_HOME", "/r/state/homes/a/opencode/data"),
                ("XDG_STATE_HOME", "/r/state/homes/a/opencode/state"),
                ("XDG_CACHE_HOME", "/r/state/homes/a/opencode/cache"),
                ("XDG_CONFIG_HOME", "/r/state/homes/a/opencode/config"),
                ("NPM_CONFIG_CACHE", "/r/state/homes/a/opencode/npm"),
                ("OPENCODE_DISABLE_PROJECT_CONFIG", "1"),
                ("OPENCODE_DISABLE_EXTERNAL_SKILLS", "1"),
                ("OPENCODE_DISABLE_CLAUDE_CODE", "1"),
                ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
                ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
                ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
            ]
        );
    }

    #[test]
    fn a_message_is_never_a_command() {
        let fixture = fixture();
        for prompt in ["/init", "@/etc/passwd", "--help"] {
            let invocation = OpenCode.invocation(&fixture.turn(&Continuation::Fresh, prompt)).expect("an invocation");
            assert_eq!(invocation.stdin.bytes(), prompt.as_bytes());
        }
    }

    #[test]
    fn resume_and_fork_name_the_directory() {
        let fixture = fixture();
        let args = |continuation: &Continuation| {
            let invocation = OpenCode.invocation(&fixture.turn(continuation, "x")).expect("an invocation");
            testing::args(&invocation).split_off(3)
        };
        assert_eq!(args(&Continuation::Resume("ses_1".into())), ["--dir", ".", "--session", "ses_1"]);
        assert_eq!(args(&Continuation::Fork("ses_1".into())), ["--dir", ".", "--session", "ses_1", "--fork"]);
    }

    #[test]
    fn the_home_holds_the_brief_and_links_to_the_rest() {
        let fixture = fixture();
        let steps = OpenCode.prepare(&fixture.turn(&Continuation::Fresh, "x"));
        let link = |at: &str, to: &str| Step::Link { at: at.into(), to: to.into() };
        assert_eq!(
            steps,
            [
                Step::MakeConversationDir("tool-output"),
                Step::KeepRecent("tool-output"),
                link("data/opencode/tool-output", "/r/sessions/a/provider/opencode/tool-output"),
                Step::MakeDir("config/opencode/node_modules".into()),
                Step::Write { at: NO_INSTALL.0.into(), content: NO_INSTALL.1.into() },
                Step::Write { at: "config/opencode/AGENTS.md".into(), content: fixture.brief.whole().into_bytes() },
            ]
        );
        serde_json::from_str::<Value>(NO_INSTALL.1).expect("JSON");
    }

    #[test]
    fn a_new_home_corrects_the_directory_of_old_conversations() {
        let mut fixture = fixture();
        fixture.place.new_home = true;
        fixture.place.working_dir = "/w/it's".into();
        let steps = OpenCode.prepare(&fixture.turn(&Continuation::Fresh, "x"));
        let Some(Step::Run { invocation, if_exists: "opencode.db" }) = steps.last() else { panic!("{steps:?}") };
        assert_eq!(
            testing::args(invocation),
            ["db", "update session set directory='/w/it''s' where directory<>'/w/it''s'"]
        );
        assert_eq!(testing::env(invocation, "OPENCODE_DISABLE_PROJECT_CONFIG"), Some("1"));
        assert_eq!(testing::env(invocation, "OPENCODE_DB"), Some("/r/sessions/a/provider/opencode/opencode.db"));
    }

    #[test]
    fn the_agent_stays_in_its_folder_unless_it_may_do_anything() {
        let mut fixture = fixture();
        fixture.place.working_dir = "/w".into();
        let outside = json!({ "*": "deny", "/r/sessions/a/*": "allow" });
        for mode in [PermissionMode::Plan, PermissionMode::Default, PermissionMode::AcceptEdits] {
            let rules = rules(&fixture, mode);
            assert_eq!(rules["external_directory"], outside);
            assert_eq!(rules["question"], "deny");
            assert_eq!(rules["bash"] == "deny", mode != PermissionMode::AcceptEdits);
            let edit = match mode {
                PermissionMode::Plan => json!("deny"),
                PermissionMode::Default => json!({ "*": "deny", "*/a/memory/*": "allow" }),
                _ => Value::Null,
            };
            assert_eq!(rules["edit"], edit);
        }
        let bypass = rules(&fixture, PermissionMode::BypassPermissions);
        assert_eq!(bypass, json!({ "question": "deny", "plan_enter": "deny", "plan_exit": "deny" }));
    }

    #[test]
    fn modes_and_models_have_their_arguments() {
        let fixture = fixture();
        let mut turn = fixture.turn(&Continuation::Fresh, "x");
        turn.model = Some("openrouter/some/model");
        turn.permission_mode = PermissionMode::Plan;
        let tail = |turn: &Turn<'_>| {
            let invocation = OpenCode.invocation(turn).expect("an invocation");
            testing::args(&invocation).split_off(7)
        };
        assert_eq!(tail(&turn), ["--model", "openrouter/some/model", "--agent", "plan"]);
        turn.permission_mode = PermissionMode::BypassPermissions;
        assert_eq!(tail(&turn), ["--model", "openrouter/some/model", "--auto"]);
        turn.model = Some("sonnet");
        assert!(OpenCode.invocation(&turn).is_err());
    }

    #[test]
    fn the_terminal_shows_the_same_conversation() {
        let fixture = fixture();
        let resume = Continuation::Resume("ses_1".into());
        let invocation = OpenCode.attach(&fixture.turn(&resume, "")).expect("an invocation");
        assert_eq!(testing::args(&invocation), ["--session", "ses_1"]);
        let rules = testing::env(&invocation, "OPENCODE_PERMISSION").expect("rules");
        assert_eq!(rules, r#"{"external_directory":{"*":"deny","/r/sessions/a/*":"allow"}}"#);
    }

    #[test]
    fn the_users_configuration_arrives_with_what_it_refers_to() {
        let mut fixture = fixture();
        fixture.environment.set("MY_KEY", "secret");
        let text = br#"{"a": "{env:MY_KEY}", "b": "{file:./key}", "c": "{file:~/key}", "d": "{env:NONE}"}"#;
        fixture.files.insert("/h/.config/opencode/opencode.json".into(), text.to_vec());
        let invocation = OpenCode.invocation(&fixture.turn(&Continuation::Fresh, "x")).expect("an invocation");
        assert_eq!(
            testing::env(&invocation, "OPENCODE_CONFIG_CONTENT"),
            Some(
                r#"{"a": "{env:MY_KEY}", "b": "{file:/h/.config/opencode/./key}", "c": "{file:~/key}", "d": "{env:NONE}"}"#
            )
        );
        assert_eq!(testing::env(&invocation, "MY_KEY"), Some("secret"));
        assert_eq!(testing::env(&invocation, "NONE"), None);
    }

    #[test]
    fn the_users_configuration_is_where_the_cli_looks() {
        let config = |variable: Option<(&str, &str)>, files: &[&str]| {
            let mut fixture = fixture();
            if let Some((name, value)) = variable {
                fixture.environment.set(name, value);
            }
            fixture.files = files.iter().map(|file| (file.into(), file.as_bytes().to_vec())).collect();
            let invocation = OpenCode.invocation(&fixture.turn(&Continuation::Fresh, "x")).expect("an invocation");
            testing::env(&invocation, "OPENCODE_CONFIG_CONTENT").map(str::to_owned)
        };
        let (json, jsonc) = ("/h/.config/opencode/opencode.json", "/h/.config/opencode/opencode.jsonc");
        assert_eq!(config(None, &[]), None);
        assert_eq!(config(None, &[json, jsonc]).as_deref(), Some(jsonc));
        assert_eq!(
            config(Some(("XDG_CONFIG_HOME", "/x")), &[json, "/x/opencode/opencode.json"]).as_deref(),
            Some("/x/opencode/opencode.json")
        );
        assert_eq!(config(Some(("OPENCODE_CONFIG", "/c")), &[json, "/c"]).as_deref(), Some("/c"));
        assert_eq!(config(Some(("OPENCODE_CONFIG_CONTENT", "{}")), &[json]).as_deref(), Some("{}"));
    }

    #[test]
    fn only_ids_of_its_own_making_name_a_conversation() {
        let held = |id, file| OpenCode.is_conversation_file(id, Path::new(file));
        assert!(held("ses_e015a19a9ffeJ0jQJ4wacSdvqt", "opencode.db"));
        assert!(!held("ses_e015a19a9ffeJ0jQJ4wacSdvqt", "opencode.db-wal"));
        for id in ["", "ses_", "nope", "ses_a b", "ses_a'; --", "--session"] {
            assert!(!held(id, "opencode.db"), "{id}");
        }
    }

    #[test]
    fn a_turn_with_a_tool_is_summed_up() {
        let events = testing::events(
            &mut OpenCodeParser::default(),
            &[
                r#"{"type":"step_start","sessionID":"ses_1","part":{"type":"step-start"}}"#,
                r#"{"type":"tool_use","sessionID":"ses_1","part":{"type":"tool","tool":"bash","state":{"status":"completed","input":{"command":"ls"},"output":"x"}}}"#,
                r#"{"type":"tool_use","sessionID":"ses_1","part":{"tool":"write","state":{"status":"error","input":{"filePath":"/x"},"error":"The user has specified a rule which prevents you from using this specific tool call."}}}"#,
                r#"{"type":"step_finish","sessionID":"ses_1","part":{"reason":"tool-calls","tokens":{"total":9,"input":1,"output":2,"reasoning":3,"cache":{"read":4,"write":5}},"cost":0.5}}"#,
                "not JSON",
                r#"{"type":"text","sessionID":"ses_1","part":{"type":"text","text":"done"}}"#,
                r#"{"type":"step_finish","sessionID":"ses_1","part":{"reason":"stop","tokens":{"input":10,"output":20},"cost":0.25}}"#,
            ],
            Some(0),
            "",
        );
        let usage = Usage { input_tokens: 20, cached_tokens: 4, output_tokens: 25, cost_usd: Some(0.75) };
        assert_eq!(
            events,
            [
                ProviderEvent::Conversation("ses_1".into()),
                ProviderEvent::Activity("bash: ls".into()),
                ProviderEvent::Activity("write: /x".into()),
                ProviderEvent::Notice("the agent was not allowed to use write".into()),
                ProviderEvent::Text("done".into()),
                ProviderEvent::Usage(usage),
                ProviderEvent::Done,
            ]
        );
    }

    #[test]
    fn failures_have_their_kind() {
        let failed = |lines: &[&str], code, stderr: &str| {
            let events = testing::events(&mut OpenCodeParser::default(), lines, code, stderr);
            assert!(!events.contains(&ProviderEvent::Done), "{events:?}");
            match events.into_iter().find(|event| matches!(event, ProviderEvent::Failed(_))) {
                Some(ProviderEvent::Failed(failure)) => (failure.kind, failure.message),
                other => panic!("{other:?}"),
            }
        };
        let unknown = failed(&[], Some(1), "\u{1b}[91m\u{1b}[1mError: \u{1b}[0mSession not found\n");
        assert_eq!(unknown, (FailureKind::ConversationUnknown, "Error: Session not found".into()));
        let api = |status: u16| {
            format!(
                r#"{{"type":"error","sessionID":"ses_1","error":{{"name":"APIError","data":{{"message":"m","statusCode":{status}}}}}}}"#
            )
        };
        assert_eq!(failed(&[&api(429)], Some(1), ""), (FailureKind::RateLimited, "m".into()));
        assert_eq!(failed(&[&api(401)], Some(1), ""), (FailureKind::NotLoggedIn, "m".into()));
        assert_eq!(failed(&[&api(400)], Some(1), ""), (FailureKind::Other, "m".into()));
        let stop = r#"{"type":"step_finish","sessionID":"ses_1","part":{"reason":"stop"}}"#;
        assert_eq!(failed(&[stop], None, ""), (FailureKind::Other, "a signal ended it".into()));
        let rejected = r#"{"type":"step_finish","sessionID":"ses_1","part":{"reason":"tool-calls"}}"#;
        let asked = "! permission requested: bash (ls); auto-rejecting\n";
        assert_eq!(failed(&[rejected], Some(0), asked), (FailureKind::Other, asked.trim().into()));
        assert_eq!(
            failed(&[rejected], Some(0), ""),
            (FailureKind::Other, "it ended without an answer, after `tool-calls`".into())
        );
        assert_eq!(failed(&[], Some(0), "").0, FailureKind::Other);
    }
}
