//! Why a daemon did not start, or ended.

use crate::channel::ChannelError;
use crate::config::ConfigError;
use crate::files;
use crate::prove::ProofError;
use crate::sandbox::Unsupported;
use crate::session::SessionError;
use crate::turn::ChoiceError;

/// Why a daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another serves this root.
    #[error("a daemon runs on `{root}` already{}", pid.as_ref().map_or_else(String::new, |pid| format!(" (process {pid})")))]
    Running {
        /// The root.
        root: String,
        /// The number of its process.
        pid: Option<String>,
    },
    /// There is nothing to listen to.
    #[error("no chat network is configured, so there is nothing to listen to")]
    NothingToServe,
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The store cannot be used.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A network's section is wrong, or its token cannot be got.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A provider leads to nothing.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Chats could do anything at all on this machine.
    #[error(
        "`providers.{0}.permission_mode` is `bypassPermissions` while there are no walls: an agent would do \
         whatever a chat tells it"
    )]
    Bypass(String),
    /// The walls cannot be had here.
    #[error("`walls = \"{level}\"` cannot be had here, so no chat is let in: {obstacle}")]
    Walls {
        /// What the configuration asks for.
        level: &'static str,
        /// What stands in the way.
        obstacle: Unsupported,
    },
    /// The walls were tried, and let something through.
    #[error("the walls do not hold here, so no chat is let in: an agent could {0}")]
    Holes(String),
    /// The walls could not be tried.
    #[error("the walls could not be tried, so no chat is let in")]
    Proof(#[from] ProofError),
    /// Every network has ended for good.
    #[error("{0}")]
    Ended(String),
}
