//! How other processes learn that something about a session has changed: an empty
//! file named after its folder. Only the daemon waits for these, and it empties the
//! directory; whoever was not running misses nothing, because what has changed is
//! read from where it is kept.

use std::path::{Path, PathBuf};

use super::{SessionError, Store};
use crate::files::{Dir, Durability, make_private_dir};

impl Store {
    /// The directory that names the sessions that have changed.
    #[must_use]
    pub fn changed_path(&self) -> PathBuf {
        self.state_path("control/changed")
    }

    /// Notes that something about a session has changed: its reply waits to be
    /// delivered, its turn runs on, its agent asks something.
    ///
    /// # Errors
    /// If the note cannot be made.
    pub fn note_changed(&self, folder: &str) -> Result<(), SessionError> {
        let path = self.changed_path();
        let dir = match Dir::open(&path) {
            Err(error) if error.is_not_found() => {
                make_private_dir(&path, Durability::Process)?;
                Dir::open(&path)?
            }
            opened => opened?,
        };
        dir.replace(Path::new(folder), b"", &self.unsynced_staging()?)?;
        Ok(())
    }
}
