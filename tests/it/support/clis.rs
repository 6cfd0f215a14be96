//! The real agent CLIs, in the versions of `tests/npm`, pointed at the model
//! server of a test and logged in either way.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::model::Model;
use super::root::Root;

/// The directory of the installed CLIs.
pub(crate) struct Clis(PathBuf);

impl Clis {
    /// The CLIs, or nothing where they are not installed: the test then names
    /// itself among those that did not run.
    pub(crate) fn find(test: &str) -> Option<Self> {
        if let Some(dir) = std::env::var_os("DENIZEN_TEST_CLIS") {
            return Some(Self(dir.into()));
        }
        did_not_run(test, "DENIZEN_TEST_CLIS is not set", "run `scripts/check.sh`, which installs the CLIs");
        None
    }

    /// The directory, for PATH.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    /// One program of the directory.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Says that a test did not run, and in the file for that if there is one.
pub(crate) fn did_not_run(test: &str, what: &str, how: &str) {
    println!("did not run: {test}: {what}: {how}");
    if let Some(file) = std::env::var_os("DENIZEN_TEST_NOT_RUN") {
        let mut file = fs_err::OpenOptions::new().append(true).create(true).open(PathBuf::from(file)).expect("a file");
        file.write_all(format!("{test}\t{what}\t{how}\n").as_bytes()).expect("written");
    }
}

/// One of the CLIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cli {
    Claude,
    Codex,
    OpenCode,
    Gemini,
}

/// Where the login of a CLI is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    /// In an environment variable.
    Environment,
    /// In a file of HOME, as the CLI's own login leaves it.
    File,
}

/// The secret that every login of the tests holds.
pub(crate) const SECRET: &str = "sk-secret-of-the-user-41c7";

impl Cli {
    /// Its provider's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::OpenCode => "opencode",
            Self::Gemini => "gemini",
        }
    }

    /// Makes it the provider of the root, logged in and pointed at the model.
    pub(crate) fn set_up(self, root: &mut Root, clis: &Clis, model: &Model, login: Login) {
        root.add_path(&clis.0);
        // As a user has them.
        root.set_env("DENIZEN_WALLS", "full");
        let url = model.url();
        let mut config = format!("provider = \"{}\"\n", self.name());
        match self {
            Self::Claude => {
                root.set_env("ANTHROPIC_BASE_URL", url);
                root.set_env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
                root.set_env("CLAUDE_CODE_MAX_RETRIES", "1");
            }
            Self::Codex => root.write_home(
                ".codex/config.toml",
                &format!(
                    "model = \"gpt-5\"\nmodel_provider = \"mock\"\n\n[model_providers.mock]\nname = \"mock\"\n\
                     base_url = \"{url}/v1\"\nwire_api = \"responses\"\nrequires_openai_auth = true\n"
                ),
            ),
            Self::OpenCode => {
                let key = match login {
                    Login::Environment => json!("{env:MOCK_API_KEY}"),
                    Login::File => Value::Null,
                };
                let mut options = json!({ "baseURL": format!("{url}/v1") });
                if !key.is_null() {
                    options["apiKey"] = key;
                }
                let provider = json!({ "npm": "@ai-sdk/openai-compatible", "options": options, "models": { "m": { "name": "M" } } });
                let own = json!({ "model": "mock/m", "provider": { "mock": provider } });
                root.write_home(".config/opencode/opencode.json", &own.to_string());
            }
            Self::Gemini => {
                root.set_env("GOOGLE_GEMINI_BASE_URL", url);
                root.write_home(
                    ".gemini/settings.json",
                    r#"{"security": {"auth": {"selectedType": "gemini-api-key"}}}"#,
                );
                config.push_str("[providers.gemini]\nmodel = \"gemini-2.5-flash\"\n");
                let _ = writeln!(config, "env = [\"GOOGLE_GEMINI_BASE_URL\"]");
            }
        }
        root.write_config(&config);
        match login {
            Login::Environment => root.set_env(self.login_variable(), SECRET),
            Login::File => root.write_home(self.login_file(), &self.login_content()),
        }
    }

    fn login_variable(self) -> &'static str {
        match self {
            Self::Claude => "ANTHROPIC_API_KEY",
            Self::Codex => "CODEX_API_KEY",
            Self::OpenCode => "MOCK_API_KEY",
            Self::Gemini => "GEMINI_API_KEY",
        }
    }

    /// The file of its login, in HOME.
    pub(crate) fn login_file(self) -> &'static str {
        match self {
            Self::Claude => ".claude/.credentials.json",
            Self::Codex => ".codex/auth.json",
            Self::OpenCode => ".local/share/opencode/auth.json",
            Self::Gemini => ".gemini/.env",
        }
    }

    fn login_content(self) -> String {
        match self {
            Self::Claude => json!({ "claudeAiOauth": {
                "accessToken": SECRET,
                "refreshToken": "sk-ant-ort01-refresh",
                "expiresAt": 4_102_444_800_000_u64,
                "scopes": ["user:inference", "user:profile"],
                "subscriptionType": "max",
            } })
            .to_string(),
            Self::Codex => json!({ "OPENAI_API_KEY": SECRET }).to_string(),
            Self::OpenCode => json!({ "mock": { "type": "api", "key": SECRET } }).to_string(),
            Self::Gemini => format!("GEMINI_API_KEY={SECRET}\n"),
        }
    }

    /// The header by which the login reaches the model.
    pub(crate) fn credential(self, login: Login) -> String {
        match (self, login) {
            (Self::Claude, Login::Environment) => format!("x-api-key: {SECRET}"),
            (Self::Gemini, _) => format!("x-goog-api-key: {SECRET}"),
            _ => format!("authorization: Bearer {SECRET}"),
        }
    }

    /// The call of its tool that runs a command of the shell.
    pub(crate) fn shell_call(self, command: &str) -> Value {
        let (name, argument) = match self {
            Self::Claude => ("Bash", "command"),
            Self::Codex => ("exec_command", "cmd"),
            Self::OpenCode => ("bash", "command"),
            Self::Gemini => ("run_shell_command", "command"),
        };
        json!({ "name": name, "arguments": { argument: command, "description": "as asked" } })
    }

    /// The call of its tool that runs a command, which asks first where it can.
    /// Only of the two that can ask.
    pub(crate) fn run_call(self, command: &str) -> Value {
        match self {
            Self::Claude => json!({ "name": "Bash", "arguments": { "command": command } }),
            Self::Codex => json!({ "name": "exec_command", "arguments": {
                "cmd": command,
                "sandbox_permissions": "require_escalated",
                "justification": "it is harmless",
            } }),
            Self::OpenCode | Self::Gemini => panic!("{self:?} cannot ask"),
        }
    }

    /// The call of its tool that writes a file.
    pub(crate) fn write_call(self, file: &Path, content: &str) -> Value {
        match self {
            Self::Claude => {
                json!({ "name": "Write", "arguments": { "file_path": file, "content": content } })
            }
            Self::Codex => {
                let command = format!("printf %s '{content}' > '{}'", file.display());
                json!({ "name": "exec_command", "arguments": { "cmd": command } })
            }
            Self::OpenCode => json!({ "name": "write", "arguments": { "filePath": file, "content": content } }),
            Self::Gemini => json!({ "name": "write_file", "arguments": { "file_path": file, "content": content } }),
        }
    }
}
