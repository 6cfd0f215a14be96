//! What a network reports. Ids are the network's own, as text: a number that
//! passes through floating point loses digits.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::client::{Answer, BoxFuture};
use crate::key::Key;
use crate::session::{Address, Author};

/// Something that happened in a network.
#[derive(Debug)]
pub enum ChannelEvent {
    /// A message for a session.
    Message(ChannelMessage),
    /// A command.
    Command(Invoked),
    /// A button was pressed.
    Button(Pressed),
    /// Somebody who may not talk wrote a direct message.
    Stranger(Stranger),
    /// A place of sessions changed.
    Place(PlaceChange),
    /// The connection changed.
    State(NetworkState),
}

/// A message for a session, from somebody who may talk to it.
#[derive(Debug)]
pub struct ChannelMessage {
    /// The session.
    pub key: Key,
    /// The title that a session made now gets.
    pub title: Option<String>,
    /// Who wrote it.
    pub author: Author,
    /// What the author may do.
    pub standing: AccessRole,
    /// What was written, without what only addressed the program.
    pub text: String,
    /// Files that came with it.
    pub attachments: Vec<Attachment>,
    /// The agent that was asked for, where the section allows that.
    pub agent: Option<String>,
    /// Where the reply goes.
    pub address: Address,
    /// The network's id of the message: one that comes twice is dropped.
    pub id: String,
    /// Whether it was written while the connection was down.
    pub late: bool,
    /// Told once the message is durable, or will never be taken. Only then may
    /// the network's position move past it.
    pub accepted: oneshot::Sender<Accepted>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is kept until it is answered, or was kept before.
    Kept,
    /// It is not taken, and its author was told why.
    Refused(String),
}

/// A file that came with a message.
#[derive(Clone)]
pub struct Attachment {
    /// Its name as its author chose it: free text, never a path.
    pub name: String,
    /// How large it says it is, in bytes.
    pub size: u64,
    /// How to get it.
    pub fetch: Arc<dyn Fetch>,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
    }
}

/// Gets one file.
pub trait Fetch: Send + Sync {
    /// Writes the file's bytes to `into`, of which at most `most` are taken.
    ///
    /// # Errors
    /// If it cannot be got whole, or is longer.
    fn fetch<'a>(&'a self, into: &'a mut (dyn Write + Send), most: u64) -> BoxFuture<'a, Result<(), FetchError>>;
}

/// Why a file was not got.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is longer than allowed.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// The network did not give it.
    #[error("{0}")]
    Network(String),
    /// It could not be written here.
    #[error("it could not be written: {0}")]
    Write(#[from] std::io::Error),
}

/// A command, from somebody who may talk to the session.
pub struct Invoked {
    /// The session of the place it was given in.
    pub key: Key,
    /// The title that a session made now gets.
    pub title: Option<String>,
    /// Who gave it.
    pub by: Author,
    /// What that person may do.
    pub standing: AccessRole,
    /// Its name, without the slash.
    pub name: String,
    /// What was said with it.
    pub args: Vec<(String, String)>,
    /// Where it was given.
    pub address: Address,
    /// How to answer.
    pub answer: Arc<dyn Answer>,
}

impl fmt::Debug for Invoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invoked").field("key", &self.key).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A button that was pressed, by somebody who may talk there.
pub struct Pressed {
    /// The button's id.
    pub id: String,
    /// The session of the place it hangs in.
    pub key: Key,
    /// Who pressed it.
    pub by: Author,
    /// What that person may do.
    pub standing: AccessRole,
    /// Whether that person may answer for the agent's owner, by the section.
    pub approver: bool,
    /// The message that it hangs on.
    pub address: Address,
    /// How to answer.
    pub answer: Arc<dyn Answer>,
}

impl fmt::Debug for Pressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pressed").field("key", &self.key).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Somebody who may not talk and wrote a direct message.
#[derive(Debug)]
pub struct Stranger {
    /// Who.
    pub author: Author,
    /// The direct channel.
    pub address: Address,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessRole {
    /// Everything.
    Owner,
    /// Talk, and give the commands for everybody.
    Talker,
}

/// A place of sessions changed. Each may be told more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceChange {
    /// It was made, or got in sight.
    Created {
        /// Its session, which need not exist.
        key: Key,
        /// What it is called.
        title: String,
    },
    /// It is called something else.
    Renamed {
        /// Its session.
        key: Key,
        /// What it is called now.
        title: String,
    },
    /// It was archived.
    Archived(Key),
    /// It is no longer archived.
    Revived(Key),
    /// It was deleted.
    Deleted(Key),
}

/// How the connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkState {
    /// It stands.
    Connected,
    /// It broke, and is being made again.
    Reconnecting {
        /// Why.
        reason: String,
    },
    /// The network will not have the program back before somebody does something.
    Fatal {
        /// Why.
        reason: String,
        /// What to do.
        remedy: Option<String>,
    },
}
