//! What comes in from a channel, and where the reply goes.
//!
//! The key is not optional: which session a message belongs to is decided
//! before it becomes one of these.

use std::path::PathBuf;

use crate::key::Key;
use crate::session::{Address, Attached, Author, MessageOptions};

/// A message on its way to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The session.
    pub key: Key,
    /// Who wrote it, where the channel says so.
    pub author: Option<Author>,
    /// What was written.
    pub text: String,
    /// Files to send along, on this machine. They are copied.
    pub attachments: Vec<PathBuf>,
    /// Files that came with it, and lie beside the session's queue already.
    pub received: Option<Attached>,
    /// What it asks for beside an answer.
    pub options: MessageOptions,
    /// Where the reply goes.
    pub reply: ReplyTo,
    /// The network's id of the message.
    pub id: Option<String>,
    /// The title that its session gets, if it is made for this message.
    pub title: Option<String>,
    /// Whether it was written while nobody listened.
    pub late: bool,
}

impl Inbound {
    /// A message from the terminal, with nothing but its text.
    #[must_use]
    pub fn from_terminal(key: Key, text: String) -> Self {
        Self {
            key,
            author: None,
            text,
            attachments: Vec::new(),
            received: None,
            options: MessageOptions::default(),
            reply: ReplyTo::Terminal,
            id: None,
            title: None,
            late: false,
        }
    }
}

/// Where a reply goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyTo {
    /// To the terminal, or whatever reads this process's output.
    Terminal,
    /// To a channel of a chat network.
    Channel(Address),
}

impl ReplyTo {
    /// The name of the place that a session made here gets.
    #[must_use]
    pub fn place(&self) -> &str {
        match self {
            Self::Terminal => "terminal",
            Self::Channel(address) => &address.network,
        }
    }
}
