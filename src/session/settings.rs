//! `settings.json`: what the session asks of its provider.
//!
//! An agent can write this file, so nothing in it grants anything: only the
//! settings named here are read, each value is checked, and the permission mode
//! never rises above the configuration's.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SessionError;

/// The settings that `denizen set` knows, with what they mean.
pub const SETTINGS: &[(&str, &str)] = &[
    ("provider", "the provider of the next message; another one starts a fresh conversation"),
    ("model", "the model, by the provider's own name for it"),
    ("permission_mode", "what the agent may do unasked: `plan`, `default`, `acceptEdits`, `bypassPermissions`"),
    ("memory_directory", "the memory directory, relative to the session's folder"),
];

/// The settings of one session. Fields that are not known here survive a save.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The memory directory, relative to the session's folder.
    #[serde(default = "default_memory")]
    pub memory_directory: String,
    /// The model, by the provider's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The permission mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_mode: Option<PermissionMode>,
    /// What this version does not know, and no provider is told.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What an agent may do without being asked, from least to most. The names are
/// Claude Code's; other providers have their own words for the same steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PermissionMode {
    /// Look, and change nothing.
    #[serde(rename = "plan")]
    Plan,
    /// Do what needs no permission.
    #[serde(rename = "default")]
    Default,
    /// Also edit files in the working directory.
    #[serde(rename = "acceptEdits")]
    AcceptEdits,
    /// Do anything.
    #[serde(rename = "bypassPermissions")]
    BypassPermissions,
}

impl PermissionMode {
    /// The mode's name, as it is written in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Default => "default",
            Self::AcceptEdits => "acceptEdits",
            Self::BypassPermissions => "bypassPermissions",
        }
    }
}

impl FromStr for PermissionMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let modes = [Self::Plan, Self::Default, Self::AcceptEdits, Self::BypassPermissions];
        modes.into_iter().find(|mode| mode.name() == text).ok_or_else(|| {
            let names = modes.map(Self::name).join("`, `");
            format!("`{text}` is no permission mode, there are `{names}`")
        })
    }
}

fn default_memory() -> String {
    "memory".to_owned()
}

impl Default for Settings {
    fn default() -> Self {
        Self { memory_directory: default_memory(), model: None, permission_mode: None, extra: Map::new() }
    }
}

impl Settings {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// With the place of what is wrong, or the setting whose value does not fit.
    pub fn from_json(bytes: &[u8], path: &Path) -> Result<Self, SessionError> {
        let settings: Self =
            serde_json::from_slice(bytes).map_err(|error| SessionError::json(path.to_owned(), &error))?;
        let in_file = |name: &str, reason: String| SessionError::Setting {
            file: Some(path.to_owned()),
            name: name.to_owned(),
            reason,
        };
        check_memory(&settings.memory_directory).map_err(|reason| in_file("memory_directory", reason))?;
        if let Some(model) = &settings.model {
            check_model(model).map_err(|reason| in_file("model", reason))?;
        }
        Ok(settings)
    }

    /// The settings as they are written: indented, with a final newline.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Serialising plain data into memory cannot fail.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Sets one of the settings that live in this file, or takes it back.
    ///
    /// # Errors
    /// If the value does not fit.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), SessionError> {
        let wrong = |reason: String| SessionError::Setting { file: None, name: name.to_owned(), reason };
        match name {
            "model" => {
                value.map_or(Ok(()), check_model).map_err(wrong)?;
                self.model = value.map(str::to_owned);
            }
            "permission_mode" => self.permission_mode = value.map(str::parse).transpose().map_err(wrong)?,
            "memory_directory" => {
                let value = value.map_or_else(default_memory, str::to_owned);
                check_memory(&value).map_err(wrong)?;
                self.memory_directory = value;
            }
            _ => return Err(wrong("there is no such setting in `settings.json`".to_owned())),
        }
        Ok(())
    }

    /// The memory directory, relative to the session's folder.
    #[must_use]
    pub fn memory_path(&self) -> PathBuf {
        Path::new(&self.memory_directory).components().collect()
    }
}

/// A relative path inside the folder that is not one of Denizen's own places.
fn check_memory(text: &str) -> Result<(), String> {
    let mut components = Path::new(text).components();
    let first = components.next();
    let plain = !text.is_empty()
        && text.len() <= 200
        && !text.contains('\0')
        && first.into_iter().chain(components).all(|component| matches!(component, Component::Normal(_)));
    if !plain {
        return Err(format!("`{text}` is not a relative path inside the session's folder"));
    }
    match first {
        Some(Component::Normal(name)) if name == "provider" || name == "inbox" || name == "outbox" => {
            Err(format!("`{text}` is used for something else"))
        }
        _ => Ok(()),
    }
}

/// A model's name goes onto a command line, so it may look like nothing else.
fn check_model(text: &str) -> Result<(), String> {
    let fits = !text.is_empty()
        && text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:/@[]".contains(c));
    if fits { Ok(()) } else { Err(format!("`{text}` is no model name: letters, digits and `-._:/@[]`, at most 128")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        let read =
            |text: &str| Settings::from_json(text.as_bytes(), Path::new("settings.json")).map_err(|e| e.to_string());
        assert_eq!(read("{}"), Ok(Settings::default()));
        assert_eq!(
            read(r#"{"model":"sonnet","permission_mode":"plan"}"#).map(|s| s.permission_mode),
            Ok(Some(PermissionMode::Plan))
        );
        for memory in ["../b", "/etc", "", ".", "a/../b", "provider/claude"] {
            assert!(read(&format!(r#"{{"memory_directory":"{memory}"}}"#)).is_err(), "{memory}");
        }
        for model in ["--dangerously-skip-permissions", "", "a b", "x\\n"] {
            assert!(read(&format!(r#"{{"model":"{model}"}}"#)).is_err(), "{model}");
        }
        assert_eq!(read("{\"a\": }"), Err("settings.json:1:7: expected value".into()));
    }

    #[test]
    fn modes_are_ordered() {
        assert!(PermissionMode::Plan < PermissionMode::Default);
        assert!(PermissionMode::AcceptEdits < PermissionMode::BypassPermissions);
    }
}
