//! `session.json`: everything about a session that must agree.
//!
//! One file, because only one file can be replaced whole. It holds no absolute
//! path as state: a moved folder goes on where it stopped.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::key::Key;

/// The version that this program writes.
const VERSION: u64 = 1;

/// What `session.json` holds. Fields that are not known here survive a save.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the format.
    pub version: u64,
    /// The session's key.
    pub key: Key,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where it was made: `terminal`, or the name of a channel.
    #[serde(rename = "where", default)]
    pub place: String,
    /// What tells this session from any other that had or will have its key.
    pub uuid: Uuid,
    /// When the session was made.
    pub created_at: Timestamp,
    /// When it last took a turn, or was made.
    pub last_used_at: Timestamp,
    /// When it was archived; a message revives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
    /// The named agent that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The provider, once it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderChoice>,
    /// The conversation that the next message continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Conversation>,
    /// Earlier conversations, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Conversation>,
    /// How many turns the session has taken.
    #[serde(default)]
    pub turns: u64,
    /// How many of them were taken in an earlier system, before the session moved
    /// in: the transcript does not have them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turns_elsewhere: u64,
    /// What its turns used, all together.
    #[serde(default)]
    pub usage: Usage,
    /// The size of `transcript.jsonl` after the last turn, in bytes.
    #[serde(default)]
    pub transcript_bytes: u64,
    /// How the last turn ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_turn: Option<LastTurn>,
    /// The session that this one was copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<Fork>,
    /// What this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A provider, decided for a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderChoice {
    /// Its name: a built-in one, or a section `[providers.<name>]`.
    pub name: String,
}

/// One provider-side thread of messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The provider that knows it.
    pub provider: String,
    /// The provider's id for it.
    pub id: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it last took a turn.
    pub last_used_at: Timestamp,
    /// How many turns of it were answered.
    #[serde(default)]
    pub turns: u64,
    /// The first words of its first message, for people.
    #[serde(default)]
    pub about: String,
    /// What its file was like after its last turn, where it is one that only
    /// grows: a copy that has less of it was cut, or made in the middle of a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileMark>,
    /// What it had used when the provider last said so; only from providers
    /// that report totals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Usage>,
    /// A hash of the memory that the conversation was last told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
    /// Whether the next turn leaves this conversation as it is and continues a
    /// copy: set in a session that was itself copied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fork: bool,
    /// Whether its file was already missing when the session moved in from an
    /// earlier system.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_here: bool,
    /// The conversation that this one is a copy of, until its first turn is
    /// recorded: until then the copy may be anything but whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<String>,
    /// What this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What the file of a conversation was like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Its size, in bytes.
    pub bytes: u64,
    /// Its time of change: each version has a later second than the one before.
    pub modified: Timestamp,
}

/// What a turn, or a session, used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens sent to the model, with those it had cached.
    #[serde(default)]
    pub input_tokens: u64,
    /// Those of them that the model had cached.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Tokens that the model wrote.
    #[serde(default)]
    pub output_tokens: u64,
    /// The cost in US dollars, where the provider states one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTurn {
    /// When it ended.
    pub at: Timestamp,
    /// How.
    pub outcome: TurnOutcome,
    /// The reason, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The ends that a turn can come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnOutcome {
    /// The provider answered.
    Answered,
    /// The provider did not answer.
    Failed,
}

/// Where a copied session came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The key it had.
    pub key: Key,
    /// Its uuid.
    pub uuid: Uuid,
}

impl Record {
    /// The record of a session that was just made.
    #[must_use]
    pub fn new(key: Key, place: &str) -> Self {
        let now = super::now();
        Self {
            version: VERSION,
            key,
            title: None,
            place: place.to_owned(),
            uuid: Uuid::new_v4(),
            created_at: now,
            last_used_at: now,
            archived_at: None,
            agent: None,
            provider: None,
            conversation: None,
            earlier: Vec::new(),
            turns: 0,
            turns_elsewhere: 0,
            usage: Usage::default(),
            transcript_bytes: 0,
            last_turn: None,
            forked_from: None,
            extra: Map::new(),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// With the place of what is wrong; a record of a later version is an error
    /// of its own, because saving it here could lose what it means.
    pub fn from_json(bytes: &[u8], path: &std::path::Path) -> Result<Self, super::SessionError> {
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        match serde_json::from_slice::<Self>(bytes) {
            Ok(record) if record.version <= VERSION => Ok(record),
            result => match (serde_json::from_slice::<Version>(bytes), result) {
                (Ok(Version { version }), _) if version > VERSION => {
                    Err(super::SessionError::Newer { path: path.to_owned(), version, known: VERSION })
                }
                (_, Err(error)) => Err(super::SessionError::json(path.to_owned(), &error)),
                (_, Ok(record)) => Ok(record),
            },
        }
    }

    /// The record as it is written: indented, for people, with a final newline.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Serialising plain data into memory cannot fail.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// What people call the session: its title, else its key.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.title.as_deref().unwrap_or(self.key.as_str())
    }

    /// Moves the current conversation to the earlier ones, so that the next
    /// message starts a fresh one.
    pub fn retire_conversation(&mut self) {
        if let Some(conversation) = self.conversation.take() {
            self.earlier.retain(|earlier| !earlier.is(&conversation.provider, &conversation.id));
            self.earlier.push(conversation);
        }
    }

    /// Where the current conversation is a copy whose first turn was cut short,
    /// makes its original the current one again, to be copied again.
    pub fn take_back_original(&mut self) {
        let Some(original) = self.conversation.as_ref().and_then(|current| current.copy_of.as_ref()) else { return };
        if let Some(at) = self.earlier.iter().position(|earlier| earlier.fork && earlier.id == *original) {
            self.conversation = Some(self.earlier.remove(at));
        }
    }
}

impl Conversation {
    /// A conversation that just got its id.
    #[must_use]
    pub fn new(provider: &str, id: &str, about: &str) -> Self {
        let now = super::now();
        Self {
            provider: provider.to_owned(),
            id: id.to_owned(),
            started_at: now,
            last_used_at: now,
            turns: 0,
            about: first_words(about),
            file: None,
            reported: None,
            told: None,
            fork: false,
            never_here: false,
            copy_of: None,
            extra: Map::new(),
        }
    }

    /// Whether this is that conversation.
    #[must_use]
    pub fn is(&self, provider: &str, id: &str) -> bool {
        self.provider == provider && self.id == id
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The start of a text, on one line.
fn first_words(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

impl Usage {
    /// Adds what a turn used.
    pub fn add(&mut self, turn: Self) {
        // Both may be anything: one was read from a file, the other from a program.
        self.input_tokens = self.input_tokens.saturating_add(turn.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(turn.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(turn.output_tokens);
        if let Some(cost) = turn.cost_usd {
            self.cost_usd = Some(self.cost_usd.unwrap_or(0.0) + cost);
        }
    }

    /// What was used since an earlier total.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(earlier.input_tokens),
            cached_tokens: self.cached_tokens.saturating_sub(earlier.cached_tokens),
            output_tokens: self.output_tokens.saturating_sub(earlier.output_tokens),
            cost_usd: self.cost_usd.map(|cost| (cost - earlier.cost_usd.unwrap_or(0.0)).max(0.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionError;
    use std::path::Path;

    #[test]
    fn unknown_fields_survive() {
        let mut record = Record::new("a".parse().expect("a key"), "terminal");
        record.conversation = Some(Conversation::new("claude", "x", "hello  there\nfriend"));
        let mut json: Value = serde_json::from_slice(&record.to_json()).expect("JSON");
        json["color"] = "blue".into();
        json["conversation"]["mood"] = 7.into();
        let read = Record::from_json(json.to_string().as_bytes(), Path::new("session.json")).expect("a record");
        let again: Value = serde_json::from_slice(&read.to_json()).expect("JSON");
        assert_eq!(again, json);
        assert_eq!(read.conversation.map(|c| c.about), Some("hello there friend".into()));
    }

    #[test]
    fn a_newer_version_is_an_error_of_its_own() {
        let error = Record::from_json(br#"{"version": 9, "shape": "other"}"#, Path::new("session.json"));
        assert!(matches!(error, Err(SessionError::Newer { version: 9, .. })), "{error:?}");
    }

    #[test]
    fn a_broken_record_is_placed() {
        let error = Record::from_json(b"{\n  \"version\": 1,\n  oops\n}", Path::new("session.json"));
        assert_eq!(error.map_err(|e| e.to_string()), Err("session.json:3:3: key must be a string".into()));
    }

    #[test]
    fn usage_differs_and_adds() {
        let total = Usage { input_tokens: 30, cached_tokens: 10, output_tokens: 5, cost_usd: Some(0.5) };
        let earlier = Usage { input_tokens: 20, cached_tokens: 10, output_tokens: 1, cost_usd: Some(0.25) };
        let turn = total.since(earlier);
        assert_eq!(turn, Usage { input_tokens: 10, cached_tokens: 0, output_tokens: 4, cost_usd: Some(0.25) });
        let mut sum = earlier;
        sum.add(turn);
        assert_eq!(sum, total);
    }
}
