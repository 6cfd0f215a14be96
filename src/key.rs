//! Session keys: validated once, and turned into the name of the folder.
//!
//! Pure: nothing here touches the disk. What folder a key *has* is decided by
//! `session::store`; what folder it is *entitled to* is decided here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// The longest key, in bytes of NFC text.
pub const MAX_KEY_BYTES: usize = 256;

/// The longest key that is its own folder name, in bytes.
const MAX_PLAIN_BYTES: usize = 63;

/// The longest readable part of a folder name that also carries a hash, in bytes.
const MAX_SLUG_BYTES: usize = 48;

/// The name of a session: 1 to 256 bytes of NFC text without control
/// characters, and not `.` or `..`.
///
/// Slashes, dots, spaces and emoji are just text. Input is brought to NFC, so
/// that two spellings of one name are one session. Invariant: a `Key` always
/// satisfies the rule; deserialising goes through [`FromStr`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// Why a text is not a session key. The message states the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is empty.
    #[error("a session key may not be empty")]
    Empty,
    /// The text is longer than [`MAX_KEY_BYTES`].
    #[error("a session key has at most {MAX_KEY_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// The text holds a control character.
    #[error("a session key may not hold control characters, this one has U+{:04X}", u32::from(*.0))]
    Control(char),
    /// The text is `.` or `..`.
    #[error("a session key may not be `{0}`")]
    Dots(String),
}

impl Key {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the folder that belongs to this key.
    ///
    /// Invariants, over all keys: injective, also after lower-casing and after
    /// Claude Code's mapping of every character outside `[A-Za-z0-9]` to `-`;
    /// made of `[a-z0-9-]` only; at most 70 bytes; legal on Windows and macOS.
    /// A plain key is its own folder name; any other becomes
    /// `<slug>--<20 hex of sha256>`, which no plain key can be, because a plain
    /// key holds no two hyphens in a row.
    #[must_use]
    pub fn folder_name(&self) -> String {
        if is_plain(&self.0) { self.0.clone() } else { hashed_folder_name(&self.0) }
    }

    /// The key of a named agent's session beside this one: `agent-<name>-<key>`.
    ///
    /// # Errors
    /// If it would be too long, or the name has control characters.
    pub fn for_agent(&self, name: &str) -> Result<Self, KeyError> {
        format!("agent-{name}-{self}").parse()
    }

    /// Plain keys that look like a text, the nearest first, without end.
    pub fn plain_like(text: &str) -> impl Iterator<Item = Self> {
        let slug = slug(text);
        let numbered = (2_u64..).map({
            let slug = slug.clone();
            move |number| format!("{slug}-{number}")
        });
        std::iter::once(slug).chain(numbered).filter(|name| is_plain(name)).map(Self)
    }

    /// The key whose folder has this name, when the name alone tells it: only
    /// a plain key can be read back from a folder name.
    #[must_use]
    pub fn from_plain_folder(folder: &str) -> Option<Self> {
        is_plain(folder).then(|| Self(folder.to_owned()))
    }
}

/// Whether a folder of this name can belong to any key at all.
#[must_use]
pub fn is_folder_name(name: &str) -> bool {
    is_plain(name) || is_hashed(name)
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_PLAIN_BYTES
        && text
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
        && !is_windows_device(text)
}

/// Windows reserves these names in every folder, with any extension.
fn is_windows_device(text: &str) -> bool {
    matches!(text, "con" | "prn" | "aux" | "nul")
        || (text.len() == 4
            && (text.starts_with("com") || text.starts_with("lpt"))
            && text.ends_with(|c: char| c.is_ascii_digit()))
}

fn is_hashed(name: &str) -> bool {
    let Some((slug, hash)) = name.rsplit_once("--") else { return false };
    !slug.is_empty()
        && slug.len() <= MAX_SLUG_BYTES
        && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && hash.len() == 20
        && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The readable part of a folder's name: the text in lower case, with a hyphen
/// for everything else; `session` if nothing is left.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == MAX_SLUG_BYTES {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "session".to_owned() } else { slug.to_owned() }
}

fn hashed_folder_name(key: &str) -> String {
    format!("{}--{}", slug(key), hex(&Sha256::digest(key.as_bytes())[..10]))
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text: String = if text.is_ascii() { text.to_owned() } else { text.nfc().collect() };
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLong(text.len()));
        }
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(KeyError::Control(c));
        }
        if text == "." || text == ".." {
            return Err(KeyError::Dots(text));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.0)
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str) -> String {
        text.parse::<Key>().expect("a valid key").folder_name()
    }

    #[test]
    fn plain_keys_are_their_own_folder() {
        for key in ["default", "discord-1484567890123456789", "telegram-group-1001234567890-topic-7", "a", "7"] {
            assert_eq!(folder(key), key);
        }
    }

    #[test]
    fn other_keys_get_a_slug_and_a_hash() {
        for key in
            ["A", "a.b", "a_b", "a--b", "-a", "a-", "con", "com1", "🙂", "../etc/passwd", "a/b", " ", &"x".repeat(64)]
        {
            let name = folder(key);
            assert_ne!(name, *key);
            assert!(is_hashed(&name), "{key:?} -> {name}");
            assert!(is_folder_name(&name));
        }
        assert!(folder("🙂").starts_with("session--"));
        assert!(folder("Hello, World").starts_with("hello-world--"));
    }

    #[test]
    fn near_twins_stay_apart() {
        let names: std::collections::HashSet<String> =
            ["a.b", "a-b", "a_b", "A-B", "a b", "a--b"].iter().map(|key| folder(key)).collect();
        assert_eq!(names.len(), 6);
    }

    #[test]
    fn two_spellings_of_one_name_are_one_session() {
        assert_eq!("e\u{301}".parse::<Key>(), "\u{e9}".parse::<Key>());
    }

    #[test]
    fn the_rule_is_stated_by_the_error() {
        assert_eq!("".parse::<Key>(), Err(KeyError::Empty));
        assert_eq!("x".repeat(257).parse::<Key>(), Err(KeyError::TooLong(257)));
        assert_eq!("a\nb".parse::<Key>(), Err(KeyError::Control('\n')));
        assert_eq!("..".parse::<Key>(), Err(KeyError::Dots("..".into())));
        assert_eq!(
            "a\u{7}".parse::<Key>().map_err(|e| e.to_string()),
            Err("a session key may not hold control characters, this one has U+0007".into())
        );
        assert!("x".repeat(256).parse::<Key>().is_ok());
    }

    #[test]
    fn only_plain_names_read_back() {
        assert_eq!(Key::from_plain_folder("default").map(|k| k.0), Some("default".into()));
        assert_eq!(Key::from_plain_folder("a--0123456789abcdef0123"), None);
        assert_eq!(Key::from_plain_folder("con"), None);
    }
}
