//! `[[share]]`: what the owner shares with sessions on purpose.

use std::path::{Path, PathBuf};

use wildmatch::WildMatch;

use super::keys::SHARE_KEYS;
use super::value::{Value, absolute};
use crate::key::Key;
use crate::repository::Protect;

/// A file or directory that sessions see beside their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Patterns of the keys of these sessions; `*` stands for any text.
    pub sessions: Vec<String>,
    /// The file or directory, absolute.
    pub path: PathBuf,
    /// What may be done with it.
    pub mode: Access,
    /// What is protected in it; `None` is what is protected everywhere.
    pub protect: Option<Protect>,
}

/// What may be done with something that is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It may be read.
    Read,
    /// It may also be written.
    Write,
}

impl Share {
    /// Reads a section whose keys are known ones.
    ///
    /// # Errors
    /// With the rule that it breaks.
    pub(super) fn read(table: &toml::Table, root: &Path, home: Option<&Path>) -> Result<Self, String> {
        let mut share = Self { sessions: Vec::new(), path: PathBuf::new(), mode: Access::Read, protect: None };
        for spec in SHARE_KEYS {
            let Some(value) = table.get(spec.name) else { continue };
            let value = Value::from_toml(value, spec.kind).map_err(|reason| format!("{}: {reason}", spec.name))?;
            match (spec.name, value) {
                ("sessions", Value::Texts(patterns)) => share.sessions = patterns,
                ("protect", Value::Texts(words)) => {
                    share.protect = Some(Protect::of(&words).map_err(|reason| format!("protect: {reason}"))?);
                }
                ("path", Value::Text(text)) => share.path = absolute(&text, root, home)?,
                (_, Value::Text(text)) => share.mode = if text == "write" { Access::Write } else { Access::Read },
                _ => {}
            }
        }
        if share.sessions.is_empty() {
            return Err("it names no `sessions`".to_owned());
        }
        if share.path.as_os_str().is_empty() {
            return Err("it names no `path`".to_owned());
        }
        Ok(share)
    }

    /// Whether it is shared with the session of this key.
    #[must_use]
    pub fn is_for(&self, key: &Key) -> bool {
        self.sessions.iter().any(|pattern| WildMatch::new(pattern).matches(key.as_str()))
    }
}
