//! The login of an account, as each CLI keeps it, and the CLI pointed at the
//! servers where it is renewed. What a CLI does alone, outside Denizen, is what
//! its sessions are held against.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::clis::{Cli, Clis};
use super::root::{Output, Root, run, write};
use super::tokens::{MARK, Tokens, jwt};

/// A moment long past, in milliseconds.
const PAST: u64 = 1_700_000_000_000;

/// What can be said of a login's file without its secrets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its content, tokens and times without their values.
    pub(crate) shape: Value,
    /// Its permissions, and whose it is.
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Whether its name is a link.
    pub(crate) link: bool,
}

impl Cli {
    /// The file of a login with an account, in HOME.
    pub(crate) fn account_file(self) -> &'static str {
        match self {
            Self::Gemini => ".gemini/oauth_creds.json",
            other => other.login_file(),
        }
    }

    /// Makes it the provider of the root, at the servers, without a login.
    pub(crate) fn set_up_account(self, root: &mut Root, clis: &Clis, tokens: &Tokens) {
        root.add_path(clis.directory());
        let url = tokens.url();
        let mut config = format!("provider = \"{}\"\n[providers.{}]\n", self.name(), self.name());
        for (name, value) in tokens.environment() {
            root.set_env(name, value);
        }
        match self {
            Self::Claude => {
                root.set_env("ANTHROPIC_BASE_URL", url);
                root.set_env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
                root.set_env("CLAUDE_CODE_MAX_RETRIES", "1");
            }
            Self::Codex => {
                config.push_str("env = [\"CODEX_REFRESH_TOKEN_URL_OVERRIDE\"]\n");
                let provider = format!(
                    "model = \"gpt-5\"\nmodel_provider = \"mock\"\n\n[model_providers.mock]\nname = \"mock\"\n\
                     base_url = \"{url}/v1\"\nwire_api = \"responses\"\nrequires_openai_auth = true\n"
                );
                root.write_home(".codex/config.toml", &provider);
            }
            Self::OpenCode => {
                let own = json!({ "model": "openai/gpt-5.4", "small_model": "openai/gpt-5.4" });
                root.write_home(".config/opencode/opencode.json", &own.to_string());
            }
            Self::Gemini => {
                config.push_str("model = \"gemini-2.5-flash\"\n");
                let own = json!({ "security": { "auth": { "selectedType": "oauth-personal" } } });
                root.write_home(".gemini/settings.json", &own.to_string());
                // Else it is made at the first renewal.
                root.write_home(".gemini/google_accounts.json", r#"{"active": "me@example.org", "old": []}"#);
            }
        }
        root.write_config(&config);
    }

    /// A login with these tokens that has run out, as it is after the first
    /// renewal.
    pub(crate) fn run_out(self, (access, refresh): (String, String)) -> String {
        let expired = jwt(PAST / 1000, &access);
        let value = match self {
            Self::Claude => json!({
                "claudeAiOauth": {
                    "accessToken": access,
                    "refreshToken": refresh,
                    "expiresAt": PAST,
                    "scopes": ["user:inference", "user:profile", "user:sessions:claude_code"],
                    "subscriptionType": "max",
                    "rateLimitTier": "default_claude_max_5x",
                },
                "ownedByNobody": { "kept": true },
            }),
            Self::Codex => json!({
                "auth_mode": "chatgpt",
                "OPENAI_API_KEY": null,
                "tokens": {
                    "id_token": expired,
                    "access_token": expired,
                    "refresh_token": refresh,
                    "account_id": "account-1",
                },
                "last_refresh": "2023-11-14T22:13:20.000000001Z",
            }),
            Self::OpenCode => json!({
                "openai": {
                    "type": "oauth",
                    "refresh": refresh,
                    "access": expired,
                    "expires": PAST,
                    "accountId": "account-1",
                },
                "other": { "type": "api", "key": "a-key-of-another-provider" },
            }),
            Self::Gemini => json!({
                "access_token": access,
                "scope": "https://www.googleapis.com/auth/cloud-platform",
                "token_type": "Bearer",
                "id_token": expired,
                "expiry_date": PAST,
                "refresh_token": refresh,
            }),
        };
        value.to_string()
    }

    /// The refresh token in the file of a login.
    pub(crate) fn refresh_token(self, content: &str) -> Option<String> {
        let value: Value = serde_json::from_str(content).ok()?;
        let pointer = match self {
            Self::Claude => "/claudeAiOauth/refreshToken",
            Self::Codex => "/tokens/refresh_token",
            Self::OpenCode => "/openai/refresh",
            Self::Gemini => "/refresh_token",
        };
        Some(value.pointer(pointer)?.as_str()?.to_owned())
    }

    /// Asks the CLI one question outside Denizen, in the HOME of the root.
    pub(crate) fn ask_alone(self, root: &Root, clis: &Clis) -> Output {
        let mut command: Command = root.command(clis.program(self.name()));
        let work = root.dir().join("work");
        fs_err::create_dir_all(&work).expect("a directory");
        command.current_dir(work);
        match self {
            Self::Claude => command.args(["-p"]).env("DISABLE_AUTOUPDATER", "1"),
            Self::Codex => command.args(["exec", "--json", "--skip-git-repo-check", "-"]),
            Self::OpenCode => {
                command.args(["run", "--format", "json"]);
                command.env("OPENCODE_DISABLE_MODELS_FETCH", "1").env("OPENCODE_DISABLE_AUTOUPDATE", "1")
            }
            Self::Gemini => {
                command.args(["-m", "gemini-2.5-flash", "-p", "hello"]);
                command.env("GEMINI_CLI_NO_RELAUNCH", "true").env("GEMINI_CLI_TRUST_WORKSPACE", "true")
            }
        };
        run(command, "hello")
    }
}

/// Writes the file of a login: as a link to a file beside HOME where it is to be
/// one. Gives the file that holds it.
pub(crate) fn place(root: &Root, file: &str, content: &str, link: bool) {
    let path = root.home().join(file);
    if path.symlink_metadata().is_ok() {
        fs_err::remove_file(&path).expect("removed");
    }
    if link {
        let holder = root.dir().join("elsewhere/login.json");
        write(&holder, content);
        fs_err::os::unix::fs::symlink(&holder, &path).expect("a link");
    } else {
        write(&path, content);
    }
}

/// What there is of a login's file.
pub(crate) fn kept(path: &Path) -> Kept {
    let content = fs_err::read_to_string(path).expect("the login");
    let mut shape = serde_json::from_str(&content).unwrap_or_else(|error| panic!("{error}: {content}"));
    blur(&mut shape);
    let metadata = path.metadata().expect("its metadata");
    let owner = (metadata.uid(), metadata.gid());
    Kept { shape, mode: metadata.mode() & 0o7777, owner, link: path.is_symlink() }
}

/// Takes the values out of tokens and times.
fn blur(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(blur),
        Value::Array(list) => list.iter_mut().for_each(blur),
        Value::String(text) if text.contains(MARK) => *text = "a token".to_owned(),
        Value::String(text) if text.starts_with("20") && text.ends_with('Z') => *text = "a time".to_owned(),
        Value::Number(number) if number.as_u64() > Some(PAST / 10_000) => *value = "a time".into(),
        _ => {}
    }
}
