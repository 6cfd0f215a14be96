//! Secrets: never printed, and where they come from. Running the command that
//! gives one is not done here (`process`).

use std::fmt;
use std::path::{Path, PathBuf};

use super::value::absolute;

/// Something that must not be seen. Printing one shows that it is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one who has to send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// It stands in the configuration.
    Written(Secret),
    /// It is the value of an environment variable.
    Variable(String),
    /// It is what a file holds.
    File(PathBuf),
    /// It is what a command prints: the program and its arguments.
    Command(Vec<String>),
}

impl SecretSource {
    /// Reads a source: text, `{ env = "NAME" }`, `{ file = "PATH" }` or
    /// `{ command = ["PROGRAM", ..] }`. A relative path is below `base`.
    ///
    /// # Errors
    /// With the rule that the value breaks; the value itself is not repeated.
    pub fn read(value: &toml::Value, base: &Path, home: Option<&Path>) -> Result<Self, String> {
        const RULE: &str = "it is neither text nor one of `{ env = \"NAME\" }`, `{ file = \"PATH\" }`, \
                            `{ command = [\"PROGRAM\", ..] }`";
        if let Some(text) = value.as_str() {
            return if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Self::Written(Secret::new(text))) };
        }
        let table = value.as_table().filter(|table| table.len() == 1).ok_or(RULE)?;
        let Some((kind, value)) = table.iter().next() else { return Err(RULE.to_owned()) };
        match (kind.as_str(), value) {
            ("env", toml::Value::String(name)) if !name.is_empty() => Ok(Self::Variable(name.clone())),
            ("file", toml::Value::String(path)) if !path.is_empty() => absolute(path, base, home).map(Self::File),
            ("command", toml::Value::Array(words)) if !words.is_empty() => {
                let words = words.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                words.map(Self::Command).ok_or_else(|| "`command` is a list of texts".to_owned())
            }
            _ => Err(RULE.to_owned()),
        }
    }
}

/// A value of a section as it may be shown: what may be a secret is not.
pub(super) fn shown(key: &str, value: &toml::Value) -> String {
    let may_be_secret = ["token", "secret", "password", "key"].iter().any(|word| key.contains(word));
    if may_be_secret && value.is_str() { "(not shown)".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SecretSource, String> {
        let table: toml::Table = text.parse().expect("TOML");
        SecretSource::read(&table["token"], Path::new("/root-dir"), Some(Path::new("/home/u")))
    }

    #[test]
    fn sources_are_read_and_nothing_is_printed() {
        let written = read("token = \"abc123\"").expect("a source");
        assert_eq!(written, SecretSource::Written(Secret::new("abc123")));
        assert_eq!(format!("{written:?}"), "Written(Secret(..))");
        assert_eq!(read("token = { env = \"X\" }"), Ok(SecretSource::Variable("X".to_owned())));
        assert_eq!(read("token = { file = \"access/t\" }"), Ok(SecretSource::File("/root-dir/access/t".into())));
        assert_eq!(
            read("token = { command = [\"op\", \"read\"] }"),
            Ok(SecretSource::Command(vec!["op".to_owned(), "read".to_owned()]))
        );
        for wrong in ["token = 7", "token = \"\"", "token = {}", "token = { env = \"A\", file = \"b\" }"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        assert_eq!(shown("token", &toml::Value::from("abc123")), "(not shown)");
        assert_eq!(shown("respond", &toml::Value::from("all")), "\"all\"");
    }
}
