//! Parts of the configuration, as plain values.

use std::path::PathBuf;

/// What becomes of a message that comes while a turn of its session runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Busy {
    /// It waits.
    #[default]
    Queue,
    /// It ends the running turn.
    Interrupt,
    /// It becomes one message with what the same author wrote before it.
    Merge,
}

impl Busy {
    /// Reads one of the words of the configuration.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "queue" => Some(Self::Queue),
            "interrupt" => Some(Self::Interrupt),
            "merge" => Some(Self::Merge),
            _ => None,
        }
    }
}

/// Where earlier systems kept their state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Legacy {
    /// Directories of bots, absolute.
    pub from: Vec<PathBuf>,
    /// The directory where claude-telegram-bot kept its state, absolute.
    pub temp: PathBuf,
}
