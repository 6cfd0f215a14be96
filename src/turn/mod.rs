//! One turn: a prompt in, a reply out, the record saved. Shared by the command
//! line and everything else that talks to a session.
//!
//! The caller holds the session's guard. Which conversation the turn belongs to
//! is decided once, under that lock, and carried to the end.

pub mod approval;
mod attempt;
mod choose;
mod conversation;
mod error;
pub mod events;
mod exchange;
mod finalise;
mod live;
mod login;
mod plan;
mod policy;
mod progress;
mod prompt;
mod provider_process;
mod record;
mod recovery;
mod resolve;
mod run;
mod setup;
mod subject;
mod terminal;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::Notify;

pub use choose::{Chosen, choose, find_program, may_drive};
pub use error::ChoiceError;
pub use events::{FinishReason, TurnEvent, TurnEvents, WaitingFor};
pub(crate) use live::LiveView;
pub use login::log_in;
pub use plan::{Asked, TurnPlan};
pub use policy::PolicyError;
pub(crate) use resolve::agent_of;
pub use resolve::{Effective, Layer, Place, Sourced, provider_of, resolve};
pub use run::take;
pub use setup::Setup;
pub use subject::Subject;
pub use terminal::{attach, exec};

use crate::files;
use crate::process::SpawnError;
use crate::provider::{Failure, ProviderError};
use crate::provider_home::RehomeError;
use crate::sandbox::LimitExceeded;
use crate::session::{Message, SessionError, Usage};

/// What is asked of a session.
#[derive(Debug, Clone, Copy)]
pub struct TurnRequest<'a> {
    /// The message.
    pub message: &'a Message,
    /// Whether the text is a command to the provider itself.
    pub raw: bool,
    /// Whether somebody watches the reply while it is produced.
    pub stream: bool,
    /// Rung when the turn is to be stopped.
    pub interrupt: &'a Notify,
    /// How long a request of the agent for permission waits for somebody's decision.
    /// `None` if nobody can be asked: what the agent may not do unasked, it then
    /// may not do.
    pub approvals: Option<Duration>,
    /// Tells whoever watches.
    pub events: &'a TurnEvents,
}

/// A turn that was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnReply {
    /// What the agent said: all its texts, with an empty line between two.
    pub text: String,
    /// The number of the turn.
    pub turn: u64,
    /// The provider.
    pub provider: String,
    /// The provider's id of the conversation.
    pub conversation: Option<String>,
    /// What the turn used.
    pub usage: Usage,
    /// What the person should know beside the reply.
    pub notices: Vec<String>,
    /// Files that the agent left in `outbox/`.
    pub files: Vec<PathBuf>,
}

/// Why a turn was not answered.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The provider did not answer.
    #[error("{provider}: {}", failure.message)]
    Provider {
        /// The provider.
        provider: String,
        /// What it said.
        failure: Failure,
    },
    /// The provider's section of the configuration is wrong, or names nothing.
    #[error("{0}")]
    Choice(#[from] ChoiceError),
    /// It took longer than the configuration allows.
    #[error("the turn took longer than {0}, and everything it had started was ended")]
    Timeout(String),
    /// It used more of the machine than a session may.
    #[error("the turn was ended: {0}")]
    Excess(LimitExceeded),
    /// It was asked to stop.
    #[error("the turn was stopped")]
    Stopped,
    /// There are no walls for it.
    #[error(transparent)]
    Walls(#[from] PolicyError),
    /// The session's folder is not as it should be.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The provider's home could not be prepared.
    #[error(transparent)]
    Rehome(#[from] RehomeError),
    /// A child could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// There is no invocation.
    #[error(transparent)]
    Invocation(#[from] ProviderError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The provider answered, and the answer could not be recorded.
    #[error("the reply could not be recorded: {source}")]
    NotRecorded {
        /// The reply, which is not lost.
        reply: Box<TurnReply>,
        /// Why.
        source: SessionError,
    },
    /// The turn failed, and not even that could be recorded.
    #[error("{failure}; and that could not be recorded: {source}")]
    FailureNotRecorded {
        /// Why the turn failed.
        failure: Box<TurnError>,
        /// Why it could not be recorded.
        source: SessionError,
    },
}

impl TurnError {
    /// Whether the provider was asked, so that the failure is part of the
    /// session's history.
    pub(crate) fn is_history(&self) -> bool {
        matches!(self, Self::Provider { .. } | Self::Timeout(_) | Self::Excess(_) | Self::Stopped)
    }
}
