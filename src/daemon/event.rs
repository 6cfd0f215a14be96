//! Everything that the daemon's loop hears of.

use crate::channel::ChannelEvent;
use crate::config::{Config, ConfigError};
use crate::key::Key;
use crate::ops::Held;

/// Something that happened.
#[derive(Debug)]
pub(super) enum LoopEvent {
    /// A network reports something.
    Heard {
        /// The network.
        network: &'static str,
        /// What it reports.
        heard: Box<ChannelEvent>,
    },
    /// A network's task has ended.
    Ended {
        /// The network.
        network: &'static str,
        /// Which of its starts this was: it may have been started again meanwhile.
        start: u64,
    },
    /// The configuration file changed.
    Config(Box<Result<Config, ConfigError>>),
    /// A lane has taken in a job.
    Taken(Key),
    /// A lane has done something.
    Rested(Key),
    /// A message is sent again.
    Again(Box<Held>),
    /// An earlier process left something of a session, which has to be looked at.
    Left(Key),
    /// The sessions of channels that were deleted long ago have to go.
    Sweep,
}
