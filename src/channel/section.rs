//! `[channels.<name>]`: what the sections of all networks have in common.

use std::path::Path;
use std::time::Duration;

use crate::config::keys::{KeySpec, ValueKind, nearest};
use crate::config::value::Value;
use crate::config::{Busy, SecretSource};

/// The keys that every network's section may have.
pub const COMMON_KEYS: &[KeySpec] = &[
    KeySpec {
        name: "token",
        kind: ValueKind::Secret,
        default: "",
        help: "What the network lets Denizen in with. The network is off where there is none.",
    },
    KeySpec {
        name: "busy",
        kind: ValueKind::Choice(&["queue", "interrupt", "merge"]),
        default: "",
        help: "What becomes of a message that comes while a turn of its session runs; without it, `defaults.busy`.",
    },
    KeySpec {
        name: "approval_timeout",
        kind: ValueKind::Span,
        default: "5m",
        help: "How long a question of an agent for permission waits for an answer before it counts as denied.",
    },
];

/// What a section may refer to.
#[derive(Debug, Clone, Copy)]
pub struct SectionContext<'a> {
    /// The names of the configured agents.
    pub agents: &'a [&'a str],
    /// The root, below which relative paths are.
    pub root: &'a Path,
    /// The user's home directory, for `~/`.
    pub home: Option<&'a Path>,
}

/// Why a section is wrong, or a network was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// There is no such network.
    #[error("there is no channel `{name}`{}", nearest.as_ref().map_or_else(String::new, |name| format!(", did you mean `{name}`?")))]
    Unknown {
        /// The name as written.
        name: String,
        /// The name that is spelt most like it.
        nearest: Option<String>,
    },
    /// There is no such key in this network's section.
    #[error("there is no key `channels.{key}`{}", nearest.as_ref().map_or_else(String::new, |key| format!(", did you mean `{key}`?")))]
    UnknownKey {
        /// The key as written, with everything it stands in.
        key: String,
        /// The key that is spelt most like it.
        nearest: Option<String>,
    },
    /// A value does not fit its key.
    #[error("channels.{key}: {reason}")]
    Value {
        /// The key, with everything it stands in.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The section names no token.
    #[error("channels.{0}.token is not set")]
    NoToken(String),
    /// The token cannot be got.
    #[error("the token of `channels.{channel}` cannot be got: {reason}")]
    Token {
        /// The network.
        channel: String,
        /// Why not; never the token.
        reason: String,
    },
}

/// What the sections of all networks have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// Where the token comes from.
    pub token: Option<SecretSource>,
    /// What becomes of a message that comes while a turn of its session runs.
    pub busy: Option<Busy>,
    /// How long a question for permission waits.
    pub approval_timeout: Duration,
}

impl Common {
    /// Reads what is common from the section of `name`; other keys are not looked at.
    ///
    /// # Errors
    /// If a value does not fit its key.
    pub fn read(name: &str, section: &toml::Table, context: SectionContext<'_>) -> Result<Self, ChannelError> {
        let mut common = Self { token: None, busy: None, approval_timeout: Duration::from_secs(300) };
        for spec in COMMON_KEYS {
            let Some(value) = section.get(spec.name) else { continue };
            let wrong = |reason| ChannelError::Value { key: format!("{name}.{}", spec.name), reason };
            if spec.kind == ValueKind::Secret {
                common.token = Some(SecretSource::read(value, context.root, context.home).map_err(wrong)?);
                continue;
            }
            match (spec.name, Value::from_toml(value, spec.kind).map_err(wrong)?) {
                ("busy", Value::Text(word)) => common.busy = Busy::from_word(&word),
                ("approval_timeout", Value::Span(Some(span))) => common.approval_timeout = span,
                _ => return Err(wrong("it is not supported here".to_owned())),
            }
        }
        Ok(common)
    }
}

/// That a key of a section is not known. `path` is what the key stands in, from
/// the network's name: `discord.guilds.1`; `known` are the keys that could
/// stand there.
#[must_use]
pub fn unknown_key<'a>(path: &str, key: &str, known: impl IntoIterator<Item = &'a str>) -> ChannelError {
    ChannelError::UnknownKey { key: format!("{path}.{key}"), nearest: nearest(key, known).map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Common, ChannelError> {
        let context = SectionContext { agents: &[], root: Path::new("/root-dir"), home: None };
        Common::read("net", &text.parse().expect("TOML"), context)
    }

    #[test]
    fn common_keys_are_read_and_wrong_ones_are_named() {
        let common =
            read("token = { env = \"T\" }\nbusy = \"merge\"\napproval_timeout = \"30s\"\nother = 1").expect("read");
        assert_eq!(common.token, Some(SecretSource::Variable("T".to_owned())));
        assert_eq!((common.busy, common.approval_timeout), (Some(Busy::Merge), Duration::from_secs(30)));
        let wrong = read("busy = \"later\"").expect_err("an error").to_string();
        assert_eq!(wrong, "channels.net.busy: `later` is not one of `queue`, `interrupt`, `merge`");
        let unknown = unknown_key("net", "tokne", ["token", "busy"]).to_string();
        assert_eq!(unknown, "there is no key `channels.net.tokne`, did you mean `token`?");
    }
}
