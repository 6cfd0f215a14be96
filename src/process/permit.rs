//! Permits for running turns: how many may run at once, all processes together.
//!
//! A permit is a lock on one of `state/permits/<number>`. Who finds none free
//! stands in line; only the first in line looks again and again.

use std::time::Duration;

use crate::files::{Durability, Error, Line, Lock, make_private_dir};
use crate::session::Store;

/// How often the first in line looks for a free permit.
const LOOK: Duration = Duration::from_millis(10);

/// Permission to run one turn. It ends when this is dropped.
#[derive(Debug)]
pub struct Permit {
    _lock: Lock,
}

impl Permit {
    /// Takes a permit, after those who wait already. `tell` is called once
    /// before waiting.
    ///
    /// # Errors
    /// Where a file of the permits cannot be opened.
    pub async fn take(store: &Store, turns: u64, tell: &mut dyn FnMut()) -> Result<Self, Error> {
        let line_path = store.state_path("permits/line");
        let waiting = match Line::open_existing(&line_path)? {
            Some(line) => !line.is_empty()?,
            None => false,
        };
        if !waiting && let Some(permit) = Self::try_take(store, turns)? {
            return Ok(permit);
        }
        tell();
        let line = Line::open(&line_path, Durability::Process)?;
        let ticket = line.join()?;
        while let Some(ahead) = line.ahead_of(&ticket)? {
            let wait = tokio::task::spawn_blocking(move || Line::wait_for(&ahead));
            match wait.await {
                Ok(waited) => waited?,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        loop {
            if let Some(permit) = Self::try_take(store, turns)? {
                return Ok(permit);
            }
            tokio::time::sleep(LOOK).await;
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
                return Ok(Some(Self { _lock: lock }));
            }
        }
        Ok(None)
    }
}
