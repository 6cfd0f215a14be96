//! Messages that were accepted and are not yet answered, and the line in which
//! everything that wants a session waits.
//!
//! An entry is one file of JSON lines: the message, and once its turn began a
//! note that says so. It is removed when the reply is recorded. An entry whose
//! owner died before its turn began is *waiting*, one whose turn had begun is
//! *interrupted*: it is offered again, never silently repeated.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{SessionError, Store};
use crate::files::{self, Dir, Durability, Line, Ticket};

/// The longest entry that is read, in bytes. A message is at most 10 MB, and
/// JSON may need six bytes for one.
const MAX_ENTRY_BYTES: u64 = 64 * 1024 * 1024;

/// A message as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// When it was accepted.
    pub at: Timestamp,
    /// The session that it is for; absent where the session did not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Uuid>,
    /// Who wrote it, where a channel says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// What was written.
    pub text: String,
    /// What it asks for beside an answer.
    #[serde(default)]
    pub options: MessageOptions,
    /// The attached files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<Attached>,
    /// Where the reply goes, where it goes to a channel. Such a message is let
    /// go only once its reply is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Address>,
    /// The network's id of the message, by which one that comes twice is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A place in a chat network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The network, such as `discord`.
    pub network: String,
    /// The network's id of the channel, thread or chat.
    pub channel: String,
    /// The network's id of the message that is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Files that came with a message: copies beside the entry, made before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The directory beside the entry that holds them.
    pub directory: String,
    /// Their names.
    pub names: Vec<String>,
}

/// What a message asks for beside an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageOptions {
    /// Start a fresh conversation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new: bool,
    /// Use this provider, from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Use this model, for this turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Make the session for this agent, where it does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Who wrote a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// The network's id of the author.
    pub id: String,
    /// The author's name, which is free text.
    pub name: String,
}

/// A message that has not been answered.
#[derive(Debug)]
pub struct Pending {
    /// The number of its entry.
    pub number: u64,
    /// What it is waiting for.
    pub state: PendingState,
    /// The message, or why it cannot be read.
    pub message: Result<Message, SessionError>,
}

/// What an unanswered message is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PendingState {
    /// Its turn has not begun; somebody stands in line with it.
    Waiting,
    /// Its turn is running.
    Running,
    /// Its turn had not begun when its owner died.
    Left,
    /// Its turn had begun when its owner died.
    Interrupted,
}

/// The queue of one session, and the line of all who want it.
#[derive(Debug)]
pub struct Queue {
    line: Line,
    durability: Durability,
}

impl Queue {
    /// Opens the queue of a folder; its directory is made where it is missing.
    ///
    /// # Errors
    /// Where the directory cannot be made or opened.
    pub fn open(store: &Store, folder: &str) -> Result<Self, SessionError> {
        let line = Line::open(&store.queue_path(folder), store.durability())?;
        Ok(Self { line, durability: store.durability() })
    }

    /// The line itself.
    #[must_use]
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Accepts a message: when this returns, the message is kept until it is
    /// answered. `None` where `most` messages stand there already.
    ///
    /// # Errors
    /// Where the entry cannot be written; the message is then not accepted.
    pub fn accept(&self, message: &Message, most: u64) -> Result<Option<Ticket>, SessionError> {
        Ok(self.line.join_with(&json_line(message), &begun(), most, self.durability)?)
    }

    /// Copies files beside the queue, for the message that will name them. The
    /// name of a copy is the last component of its source's.
    ///
    /// # Errors
    /// Where a file cannot be copied; what was copied is then removed.
    pub fn attach(&self, sources: &[PathBuf]) -> Result<Attached, SessionError> {
        let directory = format!("{}.files", Uuid::new_v4());
        let path = self.line.dir().path().join(&directory);
        files::make_private_dir(&path, self.durability)?;
        let copied = self.copy_into(&path, sources);
        if copied.is_err() {
            let _removed = std::fs::remove_dir_all(&path);
        }
        Ok(Attached { directory, names: copied? })
    }

    fn copy_into(&self, path: &Path, sources: &[PathBuf]) -> Result<Vec<String>, SessionError> {
        let mut names: Vec<String> = Vec::new();
        for source in sources {
            let plain = source.file_name().and_then(|name| name.to_str()).unwrap_or("file");
            let mut name = plain.to_owned();
            let mut number = 2;
            while names.contains(&name) {
                name = format!("{number}-{plain}");
                number += 1;
            }
            let copy = path.join(&name);
            files::copy_new(source, &copy, self.durability)?;
            names.push(name);
        }
        if self.durability == Durability::Power {
            Dir::open(path)?.sync()?;
        }
        Ok(names)
    }

    /// The directory of a message's attachments.
    #[must_use]
    pub fn attached_path(&self, attached: &Attached) -> PathBuf {
        self.line.dir().path().join(&attached.directory)
    }

    /// Reads the message of an entry.
    ///
    /// # Errors
    /// Where the entry is gone or cannot be read.
    pub fn message(&self, number: u64) -> Result<Message, SessionError> {
        self.read(Path::new(&format!("{number:016}.entry"))).map(|(message, _)| message)
    }

    /// Notes that the turn of an entry began.
    ///
    /// # Errors
    /// Where the note cannot be written.
    pub fn start(&self, ticket: &mut Ticket) -> Result<(), SessionError> {
        // The message of one who does not have to wait says so from the start,
        // which saves a sync.
        if ticket.came_first() { Ok(()) } else { Ok(ticket.note(&begun(), self.durability)?) }
    }

    /// Removes an entry that was answered, or refused, with its attachments.
    pub fn finish(&self, ticket: Ticket, attached: Option<&Attached>) {
        ticket.finish();
        if let Some(attached) = attached {
            // They are copies that are wanted no more.
            let _removed = std::fs::remove_dir_all(self.attached_path(attached));
        }
    }

    /// Removes an entry that nobody holds, with its attachments: it was recorded,
    /// or its sender was told. One that is held or gone is left as it is.
    ///
    /// # Errors
    /// Where the queue cannot be read.
    pub fn discard(&self, number: u64) -> Result<(), SessionError> {
        let Some(ticket) = self.line.take_over(number)? else { return Ok(()) };
        let attached = self.message(number).ok().and_then(|message| message.attached);
        self.finish(ticket, attached.as_ref());
        Ok(())
    }

    /// Every unanswered message, in order.
    ///
    /// # Errors
    /// Where the queue cannot be read.
    pub fn pending(&self) -> Result<Vec<Pending>, SessionError> {
        let places = self.line.places()?;
        let entries = places.iter().filter(|place| place.name.extension().is_some_and(|ending| ending == "entry"));
        Ok(entries
            .filter_map(|place| match self.read(&place.name) {
                Ok((message, started)) => {
                    let state = match (started, place.alive) {
                        (false, true) => PendingState::Waiting,
                        (true, true) => PendingState::Running,
                        (false, false) => PendingState::Left,
                        (true, false) => PendingState::Interrupted,
                    };
                    Some(Pending { number: place.number, state, message: Ok(message) })
                }
                // It was answered while we looked.
                Err(SessionError::File(error)) if error.is_not_found() => None,
                Err(error) => Some(Pending { number: place.number, state: PendingState::Left, message: Err(error) }),
            })
            .collect())
    }

    fn read(&self, name: &Path) -> Result<(Message, bool), SessionError> {
        let bytes = self.line.dir().read(name, MAX_ENTRY_BYTES)?;
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let message = serde_json::from_slice(first)
            .map_err(|error| SessionError::json(self.line.dir().path().join(name), &error))?;
        Ok((message, lines.any(|line| line.starts_with(b"{\"started\""))))
    }
}

/// The note that a turn began.
fn begun() -> Vec<u8> {
    format!("{{\"started\":\"{}\"}}\n", super::now()).into_bytes()
}

fn json_line(message: &Message) -> Vec<u8> {
    // Serialising plain data into memory cannot fail.
    let mut bytes = serde_json::to_vec(message).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
