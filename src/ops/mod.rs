//! The operations on sessions, once, for every way of asking for them.
//!
//! Each takes a key, claims that session and no other, and does its work under
//! the guard. What a person is shown is decided by the caller.

mod backups;
mod cleanup;
mod cleanup_receipt;
pub mod commands;
mod edits;
mod queries;
mod questions;
mod retry;
mod send;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use backups::{Exported, ImportStep, Imported, RestoreOptions, Restored, Restoring};
pub use cleanup::{CleanupPlan, CleanupStep};
pub use cleanup_receipt::{NotUndone, Noted, UndoStep};
pub use edits::{ChangedSession, RemovedSession};
pub use queries::{Overview, SessionStatus, Shown};
pub use questions::Approver;
pub use send::{Delivery, Held, SendOptions, Unrecorded};

use crate::backup::{ArchiveError, Finding};
use crate::files::{self, Lock};
use crate::key::Key;
use crate::session::{Claim, ClaimError, ClaimedFolder, SessionError, Store, Waiting, WorkspaceGuard};
use crate::turn::{ChoiceError, Setup, TurnError, TurnEvent, TurnEvents, WaitingFor};

/// Everything that operations need: where sessions are, and how turns are run.
#[derive(Debug, Clone)]
pub struct Control {
    /// How turns are run.
    pub setup: Arc<Setup>,
    /// Where sessions are.
    pub store: Arc<Store>,
}

/// How long an operation waits for its session, and who hears of it.
pub struct Wait<'a> {
    /// How long; `None` is forever.
    pub limit: Option<Duration>,
    /// Hears what is waited for, and of a turn what happens in it.
    pub events: &'a TurnEvents,
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The session is busy, or its folder is not as it should be.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The session's folder is not as it should be.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The turn was not answered.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// A provider or agent leads to nothing.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// Sessions cannot be packed, unpacked or restored.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What a backup holds of a session is damaged.
    #[error("`{key}` is damaged in this backup, so it was not restored: {}: {}", damage.path.display(), damage.problem)]
    DamagedBackup {
        /// The session.
        key: Key,
        /// The first damage.
        damage: Box<Finding>,
    },
    /// A file of a backup cannot be read.
    #[error("`{}` in the backup cannot be read, so nothing was restored: {reason}", path.display())]
    UnreadableBackup {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// As many messages wait as may.
    #[error("{waiting} messages wait in `{key}` already, as many as may")]
    QueueFull {
        /// The session.
        key: Key,
        /// How many wait.
        waiting: u64,
    },
    /// No conversation, or several, are the one that was asked for.
    #[error("`{key}` has {reason}")]
    NoSuchConversation {
        /// The session.
        key: Key,
        /// What it has instead.
        reason: String,
    },
    /// The session that a message was for is no longer there.
    #[error("the session `{0}` that this was for was moved or removed meanwhile")]
    Gone(Key),
    /// There is nothing to do it to.
    #[error("{0}")]
    Nothing(String),
    /// The directory is not among those that the configuration allows.
    #[error("`{}` is not below any of the configured `working_dirs`", .0.display())]
    DirectoryNotAllowed(PathBuf),
    /// Two cleanups at once would not know what the other did.
    #[error("another cleanup is running")]
    CleanupRunning,
    /// The provider cannot compact a conversation on request.
    #[error("the provider `{0}` cannot compact a conversation on request")]
    CannotCompact(String),
    /// Somebody answers a question of an agent who may not.
    #[error("{0} may not decide this: only an owner can")]
    MayNotDecide(String),
    /// The message cannot be sent as it is.
    #[error("{0}")]
    Message(String),
}

impl Control {
    /// Claims a session that exists, and waits for it.
    ///
    /// # Errors
    /// If there is none, or it stays busy.
    pub async fn guard(&self, key: &Key, wait: &mut Wait<'_>) -> Result<WorkspaceGuard, ControlError> {
        if self.store.find(key)?.is_none() {
            return Err(SessionError::NoSuchSession(key.to_string()).into());
        }
        match self.claim(key, wait).await? {
            ClaimedFolder::Session(guard) => Ok(*guard),
            ClaimedFolder::Missing(..) => Err(SessionError::NoSuchSession(key.to_string()).into()),
        }
    }

    async fn claim(&self, key: &Key, wait: &mut Wait<'_>) -> Result<ClaimedFolder, ControlError> {
        let (lock, claim) = self.claim_place(&key.folder_name(), wait).await?;
        Ok(self.store.open(lock, claim)?)
    }

    /// Stands in line for a folder, whatever is there, and takes its lock.
    async fn claim_place(&self, folder: &str, wait: &mut Wait<'_>) -> Result<(Lock, Claim), ControlError> {
        let mut claim = Claim::hold(self.store.clone(), folder)?;
        let lock = claim.wait(wait.limit, &mut |waiting| wait.events.send(is_busy(waiting))).await?;
        Ok((lock, claim))
    }
}

/// The session is busy, as an event.
fn is_busy(waiting: Waiting) -> TurnEvent {
    TurnEvent::Waiting(WaitingFor::Session(waiting))
}
