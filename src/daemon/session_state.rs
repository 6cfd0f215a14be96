//! What is left to do for an active session, in order, and what is being done.
//!
//! The lock in here is one session's own and held for moments; nothing is waited
//! for under it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::key::Key;
use crate::ops::{ControlError, Held};
use crate::session::More;
use crate::turn::TurnEvents;

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

/// What a lane has to do, and does.
#[derive(Debug)]
pub(super) struct WorkerState {
    /// The session.
    pub(super) key: Key,
    /// Its folder.
    pub(super) folder: String,
    /// What happens in its turns.
    pub(super) events: TurnEvents,
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

impl WorkerState {
    /// Nothing is to be done yet.
    pub(super) fn new(key: &Key) -> Self {
        let (folder, events) = (key.folder_name(), TurnEvents::default());
        Self { key: key.clone(), folder, events, inner: Mutex::default(), wake: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something at the end of what is to be done.
    pub(super) fn push(&self, work: Work) {
        self.lock().waiting.push_back(work);
        self.wake.notify_one();
    }

    /// Adds to the last message that waits, if it is of the same author, what
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

    /// Whether nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.lock();
        !inner.busy && inner.waiting.is_empty()
    }

    /// What was given by [`WorkerState::next`] is done.
    pub(super) fn rest(&self) {
        let mut inner = self.lock();
        inner.busy = false;
        inner.running = None;
    }

    /// The next thing to do; `None` when the lane ends.
    pub(super) async fn next(&self) -> Option<Work> {
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

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }
}
