//! Messages that were accepted and are not yet answered, and the line in which
//! everything that wants a session waits.
//!
//! An entry is one file of JSON lines: the message, and notes of what became of
//! it. It is removed when the reply is recorded, or where the reply goes to a
//! channel, when it is there. An entry whose owner died before its turn began is
//! *left*, one whose turn had begun is *interrupted*: it is offered again, never
//! silently repeated.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{SessionError, Store};
use crate::files::{self, Dir, Durability, Ticket, TicketLine};

/// The longest entry that is read, in bytes. A message is at most 10 MB, and
/// JSON may need six bytes for one.
const MAX_ENTRY_BYTES: u64 = 64 * 1024 * 1024;

/// How many messages of channels may wait for their author or their network
/// beyond those that wait for their turn.
const MOST_STAYING: u64 = 50;

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
    /// The title that its session gets, if it is made for this message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whether it was written while nobody listened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

impl Message {
    /// A message that was accepted now, with nothing but its text.
    #[must_use]
    pub fn plain(session: Option<Uuid>, text: &str) -> Self {
        Self {
            at: super::now(),
            session,
            author: None,
            text: text.to_owned(),
            options: MessageOptions::default(),
            attached: None,
            reply: None,
            id: None,
            title: None,
            late: false,
        }
    }

    /// Adds what its author wrote after it.
    fn add(&mut self, more: More) {
        self.text.push_str("\n\n");
        self.text.push_str(&more.text);
        if more.reply.is_some() {
            self.reply = more.reply;
        }
    }
}

/// What the author of a waiting message wrote after it, to be answered together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct More {
    /// What was written.
    pub text: String,
    /// Where the reply goes now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Address>,
    /// The network's id of what was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What is noted in an entry of what became of its message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryNote {
    /// Its turn began.
    Started(Timestamp),
    /// Its author wrote more, which is answered together with it.
    More(More),
    /// Its reply goes to a channel.
    Reply(Address),
    /// A message was posted that shows how far its turn has come: its id.
    Shown(String),
    /// Its turn is recorded. What is left is to deliver the reply.
    Answered(Timestamp),
    /// So many pieces of the reply were posted.
    Posted(usize),
    /// Its author was told that its turn was interrupted, or never will be.
    Told(Timestamp),
}

impl EntryNote {
    /// The note as it is written, with its newline.
    fn to_json(&self) -> Vec<u8> {
        // Serialising plain data into memory cannot fail.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// A message in the queue, with what became of it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueEntry {
    /// The message, with what was added to it.
    pub message: Message,
    /// The network's ids of everything that is in it.
    pub ids: Vec<String>,
    /// Whether its turn began.
    pub started: bool,
    /// When its turn was recorded, if it is.
    pub answered: Option<Timestamp>,
    /// How many pieces of its reply were posted.
    pub posted: usize,
    /// The message that shows how far its turn has come.
    pub shown: Option<String>,
    /// Whether its author was told that its turn ended without a reply.
    pub told: bool,
}

impl QueueEntry {
    fn of(message: Message) -> Self {
        let ids = message.id.iter().cloned().collect();
        Self { message, ids, started: false, answered: None, posted: 0, shown: None, told: false }
    }

    fn note(&mut self, note: EntryNote) {
        match note {
            // One that is sent again begins again.
            EntryNote::Started(_) => {
                self.started = true;
                (self.answered, self.posted, self.shown, self.told) = (None, 0, None, false);
            }
            EntryNote::More(more) => {
                self.ids.extend(more.id.clone());
                self.message.add(more);
            }
            EntryNote::Reply(address) => self.message.reply = Some(address),
            EntryNote::Shown(id) => self.shown = Some(id),
            EntryNote::Answered(at) => self.answered = Some(at),
            EntryNote::Posted(count) => self.posted = count,
            EntryNote::Told(_) => self.told = true,
        }
    }
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
    /// Make the session for this agent, if it does not exist.
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
    /// Its turn is recorded, and its reply is not yet in its channel.
    Answered,
}

impl PendingState {
    /// Whether nobody deals with the message: its owner died before it was answered.
    #[must_use]
    pub fn is_abandoned(self) -> bool {
        matches!(self, Self::Left | Self::Interrupted)
    }
}

/// The queue of one session, and the line of all who want it.
#[derive(Debug)]
pub struct Queue {
    line: TicketLine,
    durability: Durability,
}

impl Queue {
    /// Opens the queue of a folder; its directory is made if it is missing.
    ///
    /// # Errors
    /// If the directory cannot be made or opened.
    pub fn open(store: &Store, folder: &str) -> Result<Self, SessionError> {
        let line = TicketLine::open(&store.queue_path(folder), store.durability())?;
        Ok(Self { line, durability: store.durability() })
    }

    /// The line itself.
    #[must_use]
    pub fn line(&self) -> &TicketLine {
        &self.line
    }

    /// Accepts a message: when this returns, the message is kept until it is
    /// answered. `None` if `most` messages stand there already; those of
    /// channels that wait for their author or their network do not count for
    /// another of a channel.
    ///
    /// # Errors
    /// If the entry cannot be written; the message is then not accepted.
    pub fn accept(&self, message: &Message, most: u64) -> Result<Option<Ticket>, SessionError> {
        let entry = json_line(message);
        if message.reply.is_none() {
            return Ok(self.line.join_with(&entry, &begun(), most, self.durability)?);
        }
        // Its turn may begin long after it was first in line.
        if let Some(ticket) = self.line.join_with(&entry, b"", most, self.durability)? {
            return Ok(Some(ticket));
        }
        let stays = |state| matches!(state, PendingState::Interrupted | PendingState::Answered);
        let staying = self.pending()?.iter().filter(|pending| stays(pending.state)).count() as u64;
        Ok(self.line.join_with(&entry, b"", most.saturating_add(staying.min(MOST_STAYING)), self.durability)?)
    }

    /// Adds to a message that waits what its author wrote after it: when this
    /// returns, it is kept too. The note is synced by [`Queue::sync`].
    ///
    /// # Errors
    /// If the note cannot be written; nothing is then added.
    pub fn add(&self, ticket: &mut Ticket, message: &mut Message, more: More) -> Result<(), SessionError> {
        ticket.note(&EntryNote::More(more.clone()).to_json(), Durability::Process)?;
        message.add(more);
        Ok(())
    }

    /// Makes sure that what was added to a waiting message survives what the
    /// configuration says.
    ///
    /// # Errors
    /// If the entry cannot be synced.
    pub fn sync(&self, number: u64) -> Result<(), SessionError> {
        self.line.note(number, b"", self.durability)?;
        Ok(())
    }

    /// Notes what became of a message. `false` if its entry is gone.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn note(&self, number: u64, note: &EntryNote) -> Result<bool, SessionError> {
        Ok(self.line.note(number, &note.to_json(), self.durability)?)
    }

    /// A directory beside the queue for the attachments of a message that is
    /// not there yet. Its name is the first part.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn attachment_dir(&self) -> Result<(String, Dir), SessionError> {
        let directory = format!("{}.files", Uuid::new_v4());
        let path = self.line.dir().path().join(&directory);
        files::make_private_dir(&path, self.durability)?;
        Ok((directory, Dir::open(&path)?))
    }

    /// Copies files beside the queue, for the message that will name them. The
    /// name of a copy is the last component of its source's.
    ///
    /// # Errors
    /// If a file cannot be copied; what was copied is then removed.
    pub fn attach(&self, sources: &[PathBuf]) -> Result<Attached, SessionError> {
        let (directory, dir) = self.attachment_dir()?;
        let path = dir.path();
        let copied = self.copy_into(path, sources);
        if copied.is_err() {
            let _removed = files::remove_whole(path);
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

    /// Reads an entry.
    ///
    /// # Errors
    /// If the entry is gone or cannot be read.
    pub fn entry(&self, number: u64) -> Result<QueueEntry, SessionError> {
        self.read(Path::new(&format!("{number:016}.entry")))
    }

    /// Notes that the turn of an entry began.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn start(&self, ticket: &mut Ticket) -> Result<(), SessionError> {
        // The message of one who does not have to wait says so from the start,
        // which saves a sync.
        if ticket.has_addition() { Ok(()) } else { Ok(ticket.note(&begun(), self.durability)?) }
    }

    /// Removes an entry that was answered, or refused, with its attachments.
    pub fn finish(&self, ticket: Ticket, attached: Option<&Attached>) {
        ticket.finish();
        if let Some(attached) = attached {
            // They are copies that are wanted no more.
            let _removed = files::remove_whole(&self.attached_path(attached));
        }
    }

    /// Removes an entry that nobody holds, with its attachments: it was recorded,
    /// or its sender was told. One that is held or gone is left as it is.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn discard(&self, number: u64) -> Result<(), SessionError> {
        let Some(ticket) = self.line.take_over(number)? else { return Ok(()) };
        let attached = self.entry(number).ok().and_then(|entry| entry.message.attached);
        self.finish(ticket, attached.as_ref());
        Ok(())
    }

    /// The turn of an entry turned out to be recorded: one whose reply goes to a
    /// channel is noted as answered and stays, any other is removed.
    ///
    /// # Errors
    /// If the queue cannot be read, or the note not written.
    pub fn settle(&self, number: u64) -> Result<(), SessionError> {
        match self.entry(number) {
            Ok(entry) if entry.answered.is_some() => Ok(()),
            Ok(entry) if entry.message.reply.is_some() => {
                self.note(number, &EntryNote::Answered(super::now()))?;
                Ok(())
            }
            _ => self.discard(number),
        }
    }

    /// Every message that was not answered, or whose reply is not yet where it
    /// belongs, in order.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn pending(&self) -> Result<Vec<Pending>, SessionError> {
        let places = self.line.places()?;
        let entries = places.iter().filter(|place| place.name.extension().is_some_and(|ending| ending == "entry"));
        Ok(entries
            .filter_map(|place| match self.read(&place.name) {
                Ok(entry) => {
                    let state = match (entry.started, place.alive) {
                        _ if entry.answered.is_some() => PendingState::Answered,
                        (false, true) => PendingState::Waiting,
                        (true, true) => PendingState::Running,
                        (false, false) => PendingState::Left,
                        (true, false) => PendingState::Interrupted,
                    };
                    Some(Pending { number: place.number, state, message: Ok(entry.message) })
                }
                // It was answered while we looked.
                Err(SessionError::File(error)) if error.is_not_found() => None,
                Err(error) => Some(Pending { number: place.number, state: PendingState::Left, message: Err(error) }),
            })
            .collect())
    }

    fn read(&self, name: &Path) -> Result<QueueEntry, SessionError> {
        let bytes = self.line.dir().read(name, MAX_ENTRY_BYTES)?;
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let message = serde_json::from_slice(first)
            .map_err(|error| SessionError::json(self.line.dir().path().join(name), &error))?;
        let mut entry = QueueEntry::of(message);
        for line in lines {
            match serde_json::from_slice(line) {
                Ok(note) => entry.note(note),
                // Of a note that was cut short, the beginning says enough.
                Err(_) => entry.started |= line.starts_with(b"{\"started\""),
            }
        }
        Ok(entry)
    }
}

/// The note that a turn began.
fn begun() -> Vec<u8> {
    EntryNote::Started(super::now()).to_json()
}

fn json_line(message: &Message) -> Vec<u8> {
    // Serialising plain data into memory cannot fail.
    let mut bytes = serde_json::to_vec(message).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
