//! The lane of an active session: what of it is left to do, in order.
//!
//! One task takes in, one works off. The lock in here is one session's own and
//! held for moments; nothing is waited for under it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::context::Shared;
use super::event::LoopEvent;
use super::{ingest, jobs, recover};
use crate::channel::ChannelMessage;
use crate::key::Key;
use crate::ops::{ControlError, Held};
use crate::session::More;

/// How much may stand before a lane that is taking something in.
const INBOX: usize = 64;

/// Something that a session gets.
#[derive(Debug)]
pub(super) enum Job {
    /// A message of a network.
    Message {
        /// The network.
        network: &'static str,
        /// The message.
        incoming: Box<ChannelMessage>,
    },
    /// A message that is sent again.
    Again(Box<Held>),
    /// Nothing but a look at what an earlier process left.
    Look,
}

/// Something that is done for a session, one after another.
#[derive(Debug)]
pub(super) enum Work {
    /// A turn.
    Turn(Box<Held>),
    /// The reply of an entry is delivered. An earlier process may have begun to.
    Deliver(u64),
    /// The author of an entry is told that its turn was interrupted.
    Tell(u64),
}

/// A lane, as the loop holds it.
#[derive(Debug)]
pub(super) struct SessionWorker {
    inbox: mpsc::Sender<Job>,
    /// What the lane does.
    pub(super) state: Arc<WorkerState>,
    /// How many jobs were given to it that it has not taken in.
    pub(super) untaken: usize,
}

/// What a lane has to do, and does.
#[derive(Debug)]
pub(super) struct WorkerState {
    /// The session.
    pub(super) key: Key,
    /// Its folder.
    pub(super) folder: String,
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Work>,
    /// Whether something is being done.
    busy: bool,
    running: Option<Running>,
    closed: bool,
}

/// A turn that has been taken up.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// Its entry.
    pub(super) number: u64,
    /// Rung when it is to be stopped.
    pub(super) interrupt: Arc<Notify>,
}

impl SessionWorker {
    /// Begins a lane; what an earlier process left of the session comes first.
    pub(super) fn begin(key: &Key, shared: &Shared) -> Self {
        let state = Arc::new(WorkerState {
            key: key.clone(),
            folder: key.folder_name(),
            inner: Mutex::default(),
            wake: Notify::new(),
        });
        let (inbox, jobs) = mpsc::channel(INBOX);
        tokio::spawn(take_in(shared.clone(), state.clone(), jobs));
        tokio::spawn(work_off(shared.clone(), state.clone()));
        let mut lane = Self { inbox, state, untaken: 0 };
        // There is room for the first.
        let _given = lane.give(Job::Look);
        lane
    }

    /// Gives the lane a job, or gives it back where too much stands before it.
    pub(super) fn give(&mut self, job: Job) -> Result<(), Job> {
        match self.inbox.try_send(job) {
            Ok(()) => {
                self.untaken += 1;
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) => Err(job),
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.state.lock();
        self.untaken == 0 && !inner.busy && inner.waiting.is_empty()
    }
}

impl WorkerState {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something at the end of what is to be done.
    pub(super) fn push(&self, work: Work) {
        self.lock().waiting.push_back(work);
        self.wake.notify_one();
    }

    /// Adds to the last message that waits, where it is of the same author, what
    /// that author wrote after it. Gives the entry's number.
    pub(super) fn merge(&self, author: &str, agent: Option<&str>, more: More) -> Option<Result<u64, ControlError>> {
        let mut inner = self.lock();
        let Some(Work::Turn(held)) = inner.waiting.back_mut() else { return None };
        let message = held.message();
        let same = message.author.as_ref().is_some_and(|known| known.id == author)
            && message.options.agent.as_deref() == agent
            && message.reply.as_ref().map(|reply| &reply.channel) == more.reply.as_ref().map(|reply| &reply.channel);
        if !same || held.is_again() {
            return None;
        }
        Some(held.add(more).map(|()| held.number()))
    }

    /// The turn that has been taken up.
    pub(super) fn running(&self) -> Option<Running> {
        self.lock().running.clone()
    }

    /// Says which turn has been taken up.
    pub(super) fn run(&self, running: Option<Running>) {
        self.lock().running = running;
    }

    /// Stops the turn that has been taken up: any, or the one of an entry.
    pub(super) fn interrupt(&self, number: Option<u64>) -> bool {
        let running = self.running().filter(|running| number.is_none_or(|number| running.number == number));
        running.is_some_and(|running| {
            running.interrupt.notify_one();
            true
        })
    }

    /// Whether turns wait, or one has been taken up.
    pub(super) fn has_turns(&self) -> bool {
        let inner = self.lock();
        inner.running.is_some() || inner.waiting.iter().any(|work| matches!(work, Work::Turn(_)))
    }

    /// Whether an entry is to be dealt with already.
    pub(super) fn has(&self, number: u64) -> bool {
        let inner = self.lock();
        let is_it = |work: &Work| match work {
            Work::Turn(held) => held.number() == number,
            Work::Deliver(other) | Work::Tell(other) => *other == number,
        };
        inner.running.as_ref().is_some_and(|running| running.number == number) || inner.waiting.iter().any(is_it)
    }

    /// The next thing to do; `None` when the lane ends.
    async fn next(&self) -> Option<Work> {
        loop {
            let woken = self.wake.notified();
            {
                let mut inner = self.lock();
                if let Some(work) = inner.waiting.pop_front() {
                    inner.busy = true;
                    return Some(work);
                }
                if inner.closed {
                    return None;
                }
            }
            woken.await;
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }
}

/// Takes in what a session gets, one after another.
async fn take_in(shared: Shared, state: Arc<WorkerState>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        // What is dropped here was acknowledged to nobody, or is in the queue.
        if !shared.leaves() {
            match job {
                Job::Look => recover::look(&shared, &state).await,
                Job::Again(held) => state.push(Work::Turn(held)),
                Job::Message { network, incoming } => {
                    // In a task of its own, so that a panic costs this message only.
                    let taken = tokio::spawn(ingest::message(shared.clone(), state.clone(), network, incoming));
                    if let Err(error) = taken.await {
                        tracing::error!(session = state.folder, "a message could not be taken in: {error}");
                    }
                }
            }
        }
        let _gone = shared.events.send(LoopEvent::Taken(state.key.clone())).await;
    }
    state.close();
}

/// Does what there is to do for a session, one after another.
async fn work_off(shared: Shared, state: Arc<WorkerState>) {
    while let Some(work) = state.next().await {
        // What is dropped here stays in the queue for the next start.
        if !shared.leaves() {
            let done = tokio::spawn(jobs::work(shared.clone(), state.clone(), work)).await;
            if let Err(error) = done {
                tracing::error!(session = state.folder, "something went wrong within Denizen: {error}");
            }
        }
        {
            let mut inner = state.lock();
            inner.busy = false;
            inner.running = None;
        }
        let _gone = shared.events.send(LoopEvent::Rested(state.key.clone())).await;
    }
}
