//! Permits for running turns: how many may run at once, all processes together.
//!
//! A permit is a lock on one of `state/permits/<number>`. Who finds none free
//! stands in line; only the first in line looks again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::files::{Durability, Error, Lock, TicketLine, make_private_dir};
use crate::session::Store;

/// How often the first in line looks for a permit that another process gave back.
const LOOK: Duration = Duration::from_millis(10);

/// Permission to run one turn. It ends when this is dropped.
#[derive(Debug)]
pub struct Permit {
    // The lock ends before others are told.
    _lock: Lock,
    _told: PermitTold,
}

/// Tells this process's first in line when it is dropped.
#[derive(Debug)]
struct PermitTold(Arc<Notify>);

impl Drop for PermitTold {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Permit {
    /// Takes a permit, after those who wait already. `tell` is called once
    /// before waiting.
    ///
    /// # Errors
    /// If a file of the permits cannot be opened.
    pub async fn take(store: &Store, turns: u64, tell: &mut (dyn FnMut() + Send)) -> Result<Self, Error> {
        let line_path = store.state_path("permits/line");
        let waiting = match TicketLine::open_existing(&line_path)? {
            Some(line) => !line.is_empty()?,
            None => false,
        };
        if !waiting
            && let Ok(_alone) = store.turnstile().try_lock()
            && let Some(permit) = Self::try_take(store, turns)?
        {
            return Ok(permit);
        }
        tell();
        // One of this process stands in line at a time, the others behind it, in
        // order: each place in line that is waited for takes a thread.
        let _first = store.turnstile().lock().await;
        let line = TicketLine::open(&line_path, Durability::Process)?;
        let ticket = line.join()?;
        while let Some(ahead) = line.ahead_of(&ticket)? {
            let wait = tokio::task::spawn_blocking(move || TicketLine::wait_for(&ahead));
            match wait.await {
                Ok(waited) => waited?,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        loop {
            if let Some(permit) = Self::try_take(store, turns)? {
                return Ok(permit);
            }
            let _told = tokio::time::timeout(LOOK, store.given_back().notified()).await;
        }
    }

    fn try_take(store: &Store, turns: u64) -> Result<Option<Self>, Error> {
        let path = store.state_path("permits");
        for number in 0..turns {
            let file = path.join(number.to_string());
            let taken = match Lock::try_take(&file) {
                Err(error) if error.is_not_found() => {
                    make_private_dir(&path, Durability::Process)?;
                    Lock::try_take(&file)
                }
                taken => taken,
            };
            if let Some(lock) = taken? {
                return Ok(Some(Self { _lock: lock, _told: PermitTold(store.given_back().clone()) }));
            }
        }
        Ok(None)
    }
}
