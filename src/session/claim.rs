//! Claiming a session: standing in its line, then holding its lock.
//!
//! Order of acquisition, everywhere: a place in the line, the session's lock,
//! a permit for a running turn. Nothing is held while waiting but what stands
//! before it in this order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::queue::{EntryNote, Queue};
use super::{Attached, SessionError, Store, TurnFiles};
use crate::files::{self, Lock, Ticket, TicketLine};

/// How long a session whose agent is being ended may keep others waiting.
const ENDING_LIMIT: Duration = Duration::from_secs(15);

/// A place in the line of a session.
#[derive(Debug)]
pub struct Claim {
    store: Arc<Store>,
    folder: String,
    queue: Queue,
    ticket: Option<Ticket>,
    attached: Option<Attached>,
}

/// What a claim is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Somebody stands before it in the line.
    Line,
    /// The session is in use by something that stands in no line.
    Lock,
    /// The processes of the last turn are still being ended.
    Ending,
}

/// Why a session was not claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It took longer than allowed.
    #[error("the session is busy: {}", describe(*.0))]
    Busy(Waiting),
    /// Something failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

fn describe(waiting: Waiting) -> &'static str {
    match waiting {
        Waiting::Line => "another turn or terminal has it",
        Waiting::Lock => "another process holds its lock",
        Waiting::Ending => "the processes of its last turn are still ending",
    }
}

impl From<files::Error> for ClaimError {
    fn from(error: files::Error) -> Self {
        Self::Session(error.into())
    }
}

impl Claim {
    /// Stands in line with nothing in hand.
    ///
    /// # Errors
    /// If the place cannot be taken.
    pub fn hold(store: Arc<Store>, folder: &str) -> Result<Self, SessionError> {
        let queue = Queue::open(&store, folder)?;
        let ticket = queue.line().join()?;
        Ok(Self { store, folder: folder.to_owned(), queue, ticket: Some(ticket), attached: None })
    }

    /// Stands in line with a message that was accepted.
    #[must_use]
    pub fn with_message(
        store: Arc<Store>,
        folder: &str,
        queue: Queue,
        ticket: Ticket,
        attached: Option<Attached>,
    ) -> Self {
        Self { store, folder: folder.to_owned(), queue, ticket: Some(ticket), attached }
    }

    /// The store that the session is in.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The folder that is claimed.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The number of the message in hand.
    #[must_use]
    pub fn message_entry(&self) -> Option<u64> {
        self.ticket.as_ref().filter(|ticket| ticket.is_entry()).map(Ticket::number)
    }

    /// What the turn of the message in hand shows to other processes.
    #[must_use]
    pub fn turn_files(&self) -> Option<TurnFiles> {
        Some(TurnFiles::of(self.store.clone(), &self.folder, self.message_entry()?))
    }

    /// The attachments of the message in hand, and the directory they are in.
    #[must_use]
    pub fn attached(&self) -> Option<(&Attached, PathBuf)> {
        self.attached.as_ref().map(|attached| (attached, self.queue.attached_path(attached)))
    }

    /// Waits until it is this claim's turn, then takes the session's lock.
    /// `tell` hears once of each thing that is waited for.
    ///
    /// # Errors
    /// [`ClaimError::Busy`] where `limit` passes first.
    pub async fn wait(
        &mut self,
        limit: Option<Duration>,
        tell: &mut (dyn FnMut(Waiting) + Send),
    ) -> Result<Lock, ClaimError> {
        let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        let mut told = false;
        while let Some(ticket) = &self.ticket {
            let Some(ahead) = self.queue.line().ahead_of(ticket)? else { break };
            if !std::mem::replace(&mut told, true) {
                tell(Waiting::Line);
            }
            blocking(deadline, Waiting::Line, move || TicketLine::wait_for(&ahead)).await?;
        }
        let path = self.store.lock_path(&self.folder)?;
        let lock = match Lock::try_take(&path)? {
            Some(lock) => lock,
            None => {
                tell(Waiting::Lock);
                blocking(deadline, Waiting::Lock, move || Lock::take(&path)).await?
            }
        };
        let run = self.store.run_lock_path(&self.folder);
        if files::is_locked(&run)? {
            tell(Waiting::Ending);
            let deadline = tokio::time::Instant::now() + ENDING_LIMIT;
            blocking(Some(deadline), Waiting::Ending, move || TicketLine::wait_for(&run)).await?;
        }
        Ok(lock)
    }

    /// Notes that the turn of the message in hand begins.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn start(&mut self) -> Result<(), SessionError> {
        match &mut self.ticket {
            Some(ticket) if ticket.is_entry() => self.queue.start(ticket),
            _ => Ok(()),
        }
    }

    /// Whether the line was empty when this came: nothing was left there by
    /// anybody who had the session before.
    #[must_use]
    pub fn came_alone(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::came_alone)
    }

    /// Whether anything stands in the line whose owner died.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn has_left(&self) -> Result<bool, SessionError> {
        Ok(self.queue.line().places()?.iter().any(|place| !place.alive))
    }

    /// How many messages stand in the line that nobody answers: their owner died.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn left(&self) -> Result<usize, SessionError> {
        if !self.has_left()? {
            return Ok(0);
        }
        Ok(self.queue.pending()?.iter().filter(|pending| pending.state.is_abandoned()).count())
    }

    /// Deals with another entry of this session, whose turn turned out to be recorded.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn settle(&self, entry: u64) -> Result<(), SessionError> {
        if Some(entry) == self.message_entry() { Ok(()) } else { self.queue.settle(entry) }
    }

    /// Notes that the turn of the message in hand is recorded, and leaves it in
    /// the queue until its reply is delivered.
    ///
    /// # Errors
    /// If the note cannot be written; the next who opens the session writes it.
    pub fn answered(&mut self) -> Result<(), SessionError> {
        if let Some(number) = self.message_entry() {
            self.queue.note(number, &EntryNote::Answered(super::now()))?;
        }
        Ok(())
    }

    /// Lets go of the message in hand: it was answered, or refused.
    pub fn finish(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.queue.finish(ticket, self.attached.as_ref());
        }
    }
}

/// Runs a wait of unknown length on a thread of its own. The thread is left
/// behind at the deadline; it ends with the wait, or with the process.
async fn blocking<T: Send + 'static>(
    deadline: Option<tokio::time::Instant>,
    waiting: Waiting,
    wait: impl FnOnce() -> Result<T, files::Error> + Send + 'static,
) -> Result<T, ClaimError> {
    let task = tokio::task::spawn_blocking(wait);
    let joined = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, task).await.map_err(|_| ClaimError::Busy(waiting))?,
        None => task.await,
    };
    match joined {
        Ok(result) => Ok(result?),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
