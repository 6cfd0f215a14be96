//! Making files and directories for the user whose directory they are in:
//! Denizen may run as root where others work.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::Path;

use super::{Dir, Error};

impl Dir {
    /// Makes a directory for a user and group; one that exists stays as it is.
    ///
    /// # Errors
    /// If it cannot be made, or given to them.
    pub fn make_dir_for(&self, name: &Path, (user, group): (u32, u32)) -> Result<(), Error> {
        if self.look(name)?.is_some() {
            return Ok(());
        }
        self.make_dir(name)?;
        let made = self.open_dir(name)?;
        let given = fchown(made.fd(), Some(user), Some(group));
        let given = given.and_then(|()| Ok(rustix::fs::fchmod(made.fd(), rustix::fs::Mode::from_raw_mode(0o755))?));
        given.map_err(|source| Error::io("give away", made.path(), source))
    }

    /// Makes a new file with a mode for a user and group, and returns it open
    /// for writing.
    ///
    /// # Errors
    /// If the name is taken, or the file cannot be made or given to them.
    pub fn make_file_for(&self, name: &Path, mode: u32, (user, group): (u32, u32)) -> Result<File, Error> {
        let file = self.create_new(name)?;
        let given = fchown(&file, Some(user), Some(group));
        let given = given.and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(mode)));
        given.map_err(|source| Error::io("give away", &self.path().join(name), source))?;
        Ok(file)
    }
}
