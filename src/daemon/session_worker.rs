//! The lane of an active session: one task takes in, one works off.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::context::Shared;
use super::event::LoopEvent;
use super::session_state::{Work, WorkerState};
use super::{ingest, jobs, recover};
use crate::channel::ChannelMessage;
use crate::key::Key;
use crate::ops::Held;

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

/// A lane, as the loop holds it.
#[derive(Debug)]
pub(super) struct SessionWorker {
    inbox: mpsc::Sender<Job>,
    /// What the lane does.
    pub(super) state: Arc<WorkerState>,
    /// How many jobs were given to it that it has not taken in.
    pub(super) untaken: usize,
}

impl SessionWorker {
    /// Begins a lane; what an earlier process left of the session comes first.
    pub(super) fn begin(key: &Key, shared: &Shared) -> Self {
        let state = Arc::new(WorkerState::new(key));
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
        self.untaken == 0 && self.state.is_idle()
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
        state.rest();
        let _gone = shared.events.send(LoopEvent::Rested(state.key.clone())).await;
    }
}
