//! What of Discord's JSON is read, as lenient as it can be: a field that is
//! missing, null or of another kind is as good as none, and everything that is
//! not named here is not looked at.
//!
//! Ids are text here, whether they came as text or as a number, and never pass
//! through floating point.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The first millisecond of Discord's ids, in Unix time.
const EPOCH_MS: u64 = 1_420_070_400_000;

/// The longest id that is taken, in bytes. Discord's have at most 20.
const MAX_ID: usize = 40;

/// An id, which is safe in a path and in a URL: letters, digits, `-` and `_`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Default)]
pub(super) struct Id(String);

impl Id {
    /// The id that a text is, if it is one.
    pub(super) fn new(text: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (!text.is_empty() && text.len() <= MAX_ID && text.chars().all(plain)).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Older ids are less: they are compared as numbers.
    pub(super) fn order(&self) -> (usize, &str) {
        let digits = self.0.trim_start_matches('0');
        (digits.len(), digits)
    }

    /// When it was made, in milliseconds of Unix time, where it says so.
    pub(super) fn made_at_ms(&self) -> Option<u64> {
        self.0.parse::<u64>().ok().map(|id| (id >> 22) + EPOCH_MS)
    }

    /// The least id that could have been made at a time.
    pub(super) fn at_ms(ms: u64) -> Self {
        Self((ms.saturating_sub(EPOCH_MS) << 22).to_string())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id, as text or as a whole number")
            }
            fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<Id, E> {
                Ok(Id(id.to_string()))
            }
            fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<Id, E> {
                Id::new(id).ok_or_else(|| E::custom("not an id"))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A value, or its default where it is null or of another kind.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// The items of a list that can be read.
fn each<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Array(items) => Ok(items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect()),
        _ => Ok(Vec::new()),
    }
}

/// A payload of the gateway.
#[derive(Debug, Deserialize)]
pub(super) struct Payload<'a> {
    pub(super) op: u64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) s: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) t: Option<String>,
    #[serde(default, borrow)]
    pub(super) d: Option<&'a RawValue>,
}

/// Op 10.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Hello {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) heartbeat_interval: Option<f64>,
}

/// READY.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Ready {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) session_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) resume_gateway_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) user: Option<WireUser>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) application: Option<IdOnly>,
}

/// Somebody.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct WireUser {
    pub(super) id: Id,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) username: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) global_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) bot: bool,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) system: bool,
}

impl WireUser {
    /// What people call them.
    pub(super) fn display(&self) -> &str {
        self.global_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&self.username)
    }
}

/// Somebody in a guild.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Member {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) user: Option<WireUser>,
    #[serde(default, deserialize_with = "each")]
    pub(super) roles: Vec<Id>,
}

/// A message. Embeds, snapshots of forwarded messages and the text of a message
/// that is answered are not read: their words are not their sender's.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct WireMessage {
    pub(super) id: Id,
    pub(super) channel_id: Id,
    pub(super) author: WireUser,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) guild_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) member: Option<Member>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) content: String,
    #[serde(default, deserialize_with = "lenient", rename = "type")]
    pub(super) kind: u64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) webhook_id: Option<Id>,
    #[serde(default, deserialize_with = "each")]
    pub(super) mentions: Vec<IdOnly>,
    #[serde(default, deserialize_with = "each")]
    pub(super) mention_roles: Vec<Id>,
    #[serde(default, deserialize_with = "each")]
    pub(super) attachments: Vec<File>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) referenced_message: Option<Referenced>,
}

/// Anything of which only the id counts.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct IdOnly {
    pub(super) id: Id,
}

/// The message that is answered: only who wrote it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Referenced {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) author: Option<IdOnly>,
}

/// A file of a message.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct File {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) filename: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) size: u64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) url: String,
}

/// A channel or a thread.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct WireChannel {
    pub(super) id: Id,
    #[serde(default, deserialize_with = "lenient", rename = "type")]
    pub(super) kind: u64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) guild_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) parent_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) last_message_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) thread_metadata: Option<ThreadState>,
}

impl WireChannel {
    /// Whether it is a thread. Its parent is then a channel, not a category.
    pub(super) fn is_thread(&self) -> bool {
        matches!(self.kind, 10..=12) || self.thread_metadata.is_some()
    }

    /// Whether it is a direct channel.
    pub(super) fn is_direct(&self) -> bool {
        matches!(self.kind, 1 | 3)
    }
}

/// What only a thread has.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ThreadState {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) archived: bool,
}

/// GUILD_CREATE, and the lists of THREAD_LIST_SYNC.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Guild {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) guild_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) unavailable: bool,
    #[serde(default, deserialize_with = "each")]
    pub(super) channels: Vec<WireChannel>,
    #[serde(default, deserialize_with = "each")]
    pub(super) threads: Vec<WireChannel>,
    #[serde(default, deserialize_with = "each")]
    pub(super) roles: Vec<WireRole>,
}

/// A role, of which it only counts whether it is the bot's own.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct WireRole {
    pub(super) id: Id,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) tags: Option<RoleTags>,
}

/// Whose role it is.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RoleTags {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) bot_id: Option<Id>,
}

/// A command or a button.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Interaction {
    pub(super) id: Id,
    pub(super) token: String,
    #[serde(rename = "type")]
    pub(super) kind: u64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) application_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) guild_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) channel_id: Option<Id>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) channel: Option<WireChannel>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) member: Option<Member>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) user: Option<WireUser>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) data: InteractionData,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) message: Option<IdOnly>,
}

impl Interaction {
    /// Who did it.
    pub(super) fn by(&self) -> Option<&WireUser> {
        self.member.as_ref().and_then(|member| member.user.as_ref()).or(self.user.as_ref())
    }
}

/// What was asked for.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct InteractionData {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) custom_id: String,
    #[serde(default, deserialize_with = "each")]
    pub(super) options: Vec<InteractionOption>,
}

/// One argument of a command.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct InteractionOption {
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_digits_and_nothing_else_is_one() {
        let read = |text: &str| serde_json::from_str::<Id>(text).map(|id| id.0).ok();
        assert_eq!(read("\"1573601509734655098\"").as_deref(), Some("1573601509734655098"));
        assert_eq!(read("18446744073709551615").as_deref(), Some("18446744073709551615"));
        for wrong in ["1.5e18", "1573601509734655098.0", "-1", "\"\"", "\"../x\"", "\"a/b\"", "\"1 \"", "null", "{}"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("\"{}\"", "1".repeat(41))), None);
    }

    #[test]
    fn ids_are_ordered_as_numbers_and_know_their_time() {
        let id = |text: &str| Id::new(text).expect("an id");
        assert!(id("99").order() < id("100").order());
        assert!(id("0100").order() == id("100").order());
        assert_eq!(id("175928847299117063").made_at_ms(), Some(1_462_015_105_796));
        assert_eq!(Id::at_ms(1_462_015_105_796).made_at_ms(), Some(1_462_015_105_796));
    }

    #[test]
    fn a_message_needs_little_and_forgives_much() {
        let least = r#"{"id": 7, "channel_id": "8", "author": {"id": "9"}}"#;
        let message: WireMessage = serde_json::from_str(least).expect("a message");
        assert_eq!((message.id.as_str(), message.content.as_str(), message.kind), ("7", "", 0));
        let odd = r#"{"id": "7", "channel_id": "8", "author": {"id": "9", "bot": null, "username": 3}, "content": null,
            "type": "x", "member": "x", "mentions": [{"id": "1"}, "x", {}], "attachments": null, "timestamp": "2026Z",
            "referenced_message": null, "guild_id": null, "more": {"deep": [1]}}"#;
        let message: WireMessage = serde_json::from_str(odd).expect("a message");
        assert_eq!(message.mentions.len(), 1);
        assert!(message.member.is_none() && message.guild_id.is_none() && message.attachments.is_empty());
    }

    #[test]
    fn one_bad_channel_does_not_hide_the_others() {
        let guild = r#"{"id": "1", "channels": [{"id": "2", "name": "a"}, {"name": "no id"}, 7], "threads": {}}"#;
        let guild: Guild = serde_json::from_str(guild).expect("a guild");
        assert_eq!((guild.channels.len(), guild.threads.len()), (1, 0));
    }
}
