//! What comes in from a channel, and where the reply goes.
//!
//! The key is not optional: which session a message belongs to is decided
//! before it becomes one of these.

use std::path::PathBuf;

use crate::key::Key;
use crate::session::{Address, Author, MessageOptions};

/// A message on its way to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The session.
    pub key: Key,
    /// Who wrote it, where the channel says so.
    pub author: Option<Author>,
    /// What was written.
    pub text: String,
    /// Files that came with it, on this machine.
    pub attachments: Vec<PathBuf>,
    /// What it asks for beside an answer.
    pub options: MessageOptions,
    /// Where the reply goes.
    pub reply: ReplyTo,
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
