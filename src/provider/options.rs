//! `[providers.<name>]`: the section of one provider, read by its owner.

use crate::config::NetworkMode;
use crate::config::keys::{KeySpec, ValueKind, nearest};
use crate::config::value::Value;
use crate::session::PermissionMode;

use super::Provider;

/// The keys that every provider's section may have.
pub const COMMON_KEYS: &[KeySpec] = &[
    KeySpec {
        name: "program",
        kind: ValueKind::Text,
        default: "",
        help: "The program: a name that is looked for in PATH, or an absolute path.",
    },
    KeySpec { name: "model", kind: ValueKind::Text, default: "", help: "The model of sessions that set none." },
    KeySpec {
        name: "permission_mode",
        kind: ValueKind::Choice(&["plan", "default", "acceptEdits", "bypassPermissions"]),
        default: "acceptEdits",
        help: "What agents may do unasked. It is the ceiling: a session may lower it, never raise it. The rest is asked for \
               where the program can ask (Claude Code and Codex) and somebody can be asked, else refused.",
    },
    KeySpec {
        name: "env",
        kind: ValueKind::Texts,
        default: "[]",
        help: "Names of environment variables that the program inherits beyond the basics and its login.",
    },
    KeySpec {
        name: "network",
        kind: ValueKind::Choice(&["open", "providers", "none"]),
        default: "",
        help: "What its agents may reach, where that is not what `network` says for all.",
    },
    KeySpec {
        name: "read",
        kind: ValueKind::Texts,
        default: "[]",
        help: "Files and directories that the program reads beside the system and its own installation, which is found by itself.",
    },
];

/// The section of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The section's name.
    pub name: String,
    /// The program, as written.
    pub program: Option<String>,
    /// The model of sessions that set none.
    pub model: Option<String>,
    /// What agents may do unasked, at most.
    pub permission_mode: PermissionMode,
    /// Names of variables that the program inherits.
    pub env: Vec<String>,
    /// What it may reach over the network, if that is not the same for all.
    pub network: Option<NetworkMode>,
    /// Files and directories that its child may read beside the system, as written.
    pub read: Vec<String>,
    /// The arguments of a `command`.
    pub args: Vec<String>,
}

/// Why a section is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// There is no such key in this provider's section.
    #[error("there is no key `providers.{section}.{key}`{}", nearest.as_ref().map_or_else(String::new, |key| format!(", did you mean `{key}`?")))]
    UnknownKey {
        /// The section.
        section: String,
        /// The key as written.
        key: String,
        /// The key that is spelt most like it.
        nearest: Option<String>,
    },
    /// A value does not fit its key.
    #[error("providers.{section}.{key}: {reason}")]
    Value {
        /// The section.
        section: String,
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

impl Options {
    /// The options of a section that is not there.
    #[must_use]
    pub fn none(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            program: None,
            model: None,
            permission_mode: PermissionMode::AcceptEdits,
            env: Vec::new(),
            network: None,
            read: Vec::new(),
            args: Vec::new(),
        }
    }

    /// Reads a section.
    ///
    /// # Errors
    /// If a key is unknown or a value does not fit.
    pub fn read(name: &str, table: Option<&toml::Table>, provider: &dyn Provider) -> Result<Self, OptionsError> {
        let mut options = Self::none(name);
        for (key, value) in table.into_iter().flatten() {
            let specs = || COMMON_KEYS.iter().chain(provider.keys());
            let spec = specs().find(|spec| spec.name == key).ok_or_else(|| OptionsError::UnknownKey {
                section: name.to_owned(),
                key: key.clone(),
                nearest: nearest(key, specs().map(|spec| spec.name)).map(str::to_owned),
            })?;
            let wrong = |reason| OptionsError::Value { section: name.to_owned(), key: key.clone(), reason };
            let value = Value::from_toml(value, spec.kind).map_err(wrong)?;
            match (spec.name, value) {
                ("program", Value::Text(text)) => options.program = Some(text),
                ("model", Value::Text(text)) => options.model = Some(text),
                ("permission_mode", Value::Text(text)) => options.permission_mode = text.parse().map_err(wrong)?,
                ("env", Value::Texts(items)) => {
                    if let Some(item) = items.iter().find(|item| !is_variable_name(item)) {
                        // What follows may be a secret, so it is not repeated.
                        let start: String = item.chars().take_while(|c| is_word(*c)).collect();
                        return Err(wrong(format!("`{start}…` is no name of a variable: its value is inherited")));
                    }
                    options.env = items;
                }
                ("network", Value::Text(word)) => options.network = Some(NetworkMode::of(&word)),
                ("read", Value::Texts(items)) => options.read = items,
                ("args", Value::Texts(items)) => options.args = items,
                _ => return Err(wrong("it is not supported here".to_owned())),
            }
        }
        Ok(options)
    }
}

fn is_variable_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_word) && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
