//! The launcher's part: where the process that started it dies or ends a turn
//! in the middle of a renewal, the renewed login is waited for, and where that
//! process is dead, brought home from here.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::copy::{self, CopyState};
use super::note::CopyNote;
use super::renewal;
use crate::files::{Durability, Lock};
use crate::session::Store;

/// How long a renewal that is in flight is waited for before everything is ended.
const IN_FLIGHT: Duration = Duration::from_secs(5);

/// How long the lock of a login is waited for that was renewed late.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(10);

/// What a launcher is told about the login of its child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The root.
    pub root: PathBuf,
    /// The session's folder.
    pub folder: String,
    /// The login's lock, which the launcher may have inherited.
    pub lock: PathBuf,
    /// What stands in the lock's file while the child may renew.
    pub holder: String,
}

impl Charge {
    /// As one word of a command line. It holds paths, no secrets.
    #[must_use]
    pub fn to_arg(&self) -> String {
        // What cannot be read back is refused by the launcher.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads it back.
    #[must_use]
    pub fn from_arg(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn store(&self) -> Store {
        Store::at(&self.root, Durability::Power)
    }

    /// Waits for a renewal that may be in flight: while the child may renew, and
    /// has not, for some seconds at most. `over` says that the child has ended.
    pub fn wait(&self, mut over: impl FnMut() -> bool) {
        let until = Instant::now() + IN_FLIGHT;
        while renewal::is_held_by(&self.lock, &self.holder) && !self.is_renewed() && Instant::now() < until && !over() {
            std::thread::sleep(PAUSE);
        }
    }

    fn is_renewed(&self) -> bool {
        let store = self.store();
        let Some(note) = CopyNote::read(&store, &self.folder) else { return true };
        let Ok(home) = note.open_home(&store, &self.folder) else { return true };
        matches!(copy::look(&home, &note.login, note.rules()), Ok(CopyState::Renewed(..)))
    }

    /// Brings home what the child has renewed, and removes the copies; for a
    /// launcher whose parent is dead and which has ended everything. What is no
    /// renewal is left to the next that opens the session, who can tell.
    pub fn settle(&self) {
        let store = self.store();
        let inherited = renewal::is_held_by(&self.lock, &self.holder);
        let until = Instant::now() + LAST_WAIT;
        let mut lock = None;
        while !inherited && lock.is_none() {
            match Lock::try_take(&self.lock) {
                Ok(taken) => lock = taken,
                Err(_) => return,
            }
            if lock.is_none() {
                if Instant::now() >= until {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        }
        let Some(note) = CopyNote::read(&store, &self.folder) else { return };
        let Ok(home) = note.open_home(&store, &self.folder) else { return };
        if let Ok(CopyState::Same | CopyState::Renewed(..)) = copy::look(&home, &note.login, note.rules()) {
            // What fails here, the next that needs the login does.
            let _settled = super::settle(&store, &self.folder, &note);
        }
        if inherited {
            renewal::clean_up_after(&self.lock);
        }
    }
}
