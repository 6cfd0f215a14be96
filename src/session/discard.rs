//! What is thrown away: set aside at once by one rename, and removed when nobody
//! waits for it. A home may hold more files than anybody wants to wait for, with
//! rights that an agent took from itself.

use std::path::Path;

use super::Store;
use crate::files::{self, Dir, Durability, make_private_dir, remove_whole};

/// The directory below `state/` of what was set aside.
const DISCARDED: &str = "discarded";

impl Store {
    /// Sets aside whatever stands at a path of the state; nothing is fine.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub fn discard(&self, path: &Path) -> Result<(), files::Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let parent = match Dir::open_own_dir(parent) {
            Err(error) if error.is_not_found() => return Ok(()),
            opened => opened?,
        };
        if parent.stamp(Path::new(name))?.is_none() {
            return Ok(());
        }
        let aside = self.state_path(DISCARDED);
        make_private_dir(&aside, Durability::Process)?;
        let unique = uuid::Uuid::new_v4().to_string();
        parent.move_entry(Path::new(name), &Dir::open(&aside)?, Path::new(&unique))
    }

    /// Removes what was set aside, by this program or by one that ended before it
    /// came to it. What cannot be removed now stays for the next.
    pub fn empty_discarded(&self) {
        let Ok(aside) = Dir::open(&self.state_path(DISCARDED)) else { return };
        for name in aside.names().unwrap_or_default() {
            let _removed = remove_whole(&aside.path().join(name));
        }
    }
}
