//! The configuration file as it was written, with the place of each key.

use std::ops::Range;
use std::path::Path;

use super::keys::{AGENT_KEYS, KEYS, SHARE_KEYS, ValueKind, nearest};
use super::{Agent, ConfigError, ConfigInputs, Origin, Setting, Share, Value, find, value};

/// The configuration file, with the means to say where in it something stands.
pub(super) struct Document<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

/// A key of the file. Sections of agents, providers and channels are one entry each.
pub(super) struct DocumentEntry {
    pub(super) name: String,
    pub(super) value: toml::Value,
    pub(super) span: Range<usize>,
}

impl Document<'_> {
    /// Every key of the file.
    pub(super) fn entries(&self) -> Result<Vec<DocumentEntry>, ConfigError> {
        let table = toml::de::DeTable::parse(self.text).map_err(|error| ConfigError::Value {
            place: self.place(error.span().unwrap_or(0..0)),
            reason: error.message().to_owned(),
        })?;
        let values: toml::Table = toml::from_str(self.text).map_err(|error| ConfigError::Value {
            place: self.place(error.span().unwrap_or(0..0)),
            reason: error.message().to_owned(),
        })?;
        let mut entries = Vec::new();
        for (key, value) in table.get_ref() {
            let name = key.get_ref().to_string();
            let Some(plain) = values.get(&name) else { continue };
            match (value.get_ref().as_table(), plain.as_table()) {
                (Some(inner), Some(plain)) => {
                    for (inner_key, _) in inner {
                        let inner_name = inner_key.get_ref();
                        let Some(plain) = plain.get(inner_name.as_ref()) else { continue };
                        entries.push(DocumentEntry {
                            name: format!("{name}.{inner_name}"),
                            value: plain.clone(),
                            span: inner_key.span(),
                        });
                    }
                }
                _ => entries.push(DocumentEntry { name, value: plain.clone(), span: key.span() }),
            }
        }
        Ok(entries)
    }

    /// Reads the section of an agent.
    pub(super) fn agent(
        &self,
        entry: &DocumentEntry,
        name: &str,
        inputs: ConfigInputs<'_>,
        settings: &mut Vec<Setting>,
    ) -> Result<Agent, ConfigError> {
        let Some(table) = entry.value.as_table() else {
            return Err(self.wrong(entry, "an agent is a section, `[agents.<name>]`"));
        };
        let mut agent = Agent::default();
        for (key, value) in table {
            let spec = find(AGENT_KEYS, key).ok_or_else(|| ConfigError::UnknownKey {
                place: self.place(entry.span.clone()),
                key: format!("agents.{name}.{key}"),
                nearest: nearest(key, AGENT_KEYS.iter().map(|spec| spec.name)).map(str::to_owned),
            })?;
            let Value::Text(text) =
                Value::from_toml(value, spec.kind).map_err(|reason| self.wrong(entry, &format!("{key}: {reason}")))?
            else {
                return Err(self.wrong(entry, &format!("{key}: not text")));
            };
            settings.push(Setting {
                name: format!("agents.{name}.{key}"),
                value: value.to_string(),
                origin: Origin::File(self.line(&entry.span)),
            });
            match spec.kind {
                ValueKind::Path => {
                    let path = value::absolute(&text, inputs.root, inputs.home)
                        .map_err(|reason| self.wrong(entry, &reason))?;
                    agent.instructions = Some(path);
                }
                _ => match spec.name {
                    "provider" => agent.provider = Some(text),
                    "model" => agent.model = Some(text),
                    _ => agent.permission_mode = Some(text),
                },
            }
        }
        Ok(agent)
    }

    /// Reads what is shared.
    pub(super) fn shares(
        &self,
        entry: &DocumentEntry,
        inputs: ConfigInputs<'_>,
        settings: &mut Vec<Setting>,
    ) -> Result<Vec<Share>, ConfigError> {
        let Some(tables) = entry.value.as_array() else {
            return Err(self.wrong(entry, "what is shared is a section, `[[share]]`"));
        };
        let mut shares = Vec::new();
        for table in tables.iter().map(|value| value.as_table()) {
            let table = table.ok_or_else(|| self.wrong(entry, "what is shared is a section, `[[share]]`"))?;
            if let Some(key) = table.keys().find(|key| find(SHARE_KEYS, key).is_none()) {
                return Err(ConfigError::UnknownKey {
                    place: self.place(entry.span.clone()),
                    key: format!("share.{key}"),
                    nearest: nearest(key, SHARE_KEYS.iter().map(|spec| spec.name)).map(str::to_owned),
                });
            }
            let share = Share::read(table, inputs.root, inputs.home).map_err(|reason| self.wrong(entry, &reason))?;
            settings.extend(table.iter().map(|(key, value)| Setting {
                name: format!("share.{}.{key}", shares.len() + 1),
                value: value.to_string(),
                origin: Origin::File(self.line(&entry.span)),
            }));
            shares.push(share);
        }
        Ok(shares)
    }

    /// The error of a key that there is not.
    pub(super) fn unknown(&self, entry: &DocumentEntry) -> ConfigError {
        let sections = ["agents", "providers", "share"];
        let names = KEYS.iter().map(|spec| spec.name).chain(sections);
        ConfigError::UnknownKey {
            place: self.place(entry.span.clone()),
            key: entry.name.clone(),
            nearest: nearest(&entry.name, names).map(str::to_owned),
        }
    }

    /// The error of a key whose value does not fit.
    pub(super) fn wrong(&self, entry: &DocumentEntry, reason: &str) -> ConfigError {
        ConfigError::Value { place: self.place(entry.span.clone()), reason: format!("{}: {reason}", entry.name) }
    }

    /// The line that a part of the file begins in.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.text.get(..span.start).unwrap_or_default().matches('\n').count() + 1
    }

    fn place(&self, span: Range<usize>) -> String {
        let before = self.text.get(..span.start).unwrap_or_default();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{}:{column}", self.path.display(), self.line(&span))
    }
}
