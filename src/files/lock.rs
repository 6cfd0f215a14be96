//! Advisory locks: `flock`, which ends with the process that holds it.
//!
//! A lock file holds no state and is never replaced or removed, because a
//! second holder could then lock its successor.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Error;

/// A held lock. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    inherited: bool,
}

impl Lock {
    /// Takes the lock on `path`, which is made if it is missing, or returns
    /// `None` if somebody else holds it.
    ///
    /// # Errors
    /// If the file cannot be opened or the file system knows no locks.
    pub fn try_take(path: &Path) -> Result<Option<Self>, Error> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file, path: path.to_owned(), inherited: false })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(Error::io("lock", path, source)),
        }
    }

    /// Takes the lock on `path`, and waits for as long as it takes. Blocks the
    /// thread.
    ///
    /// # Errors
    /// If the file cannot be opened or the file system knows no locks.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let file = open(path)?;
        file.lock().map_err(|source| Error::io("lock", path, source))?;
        Ok(Self { file, path: path.to_owned(), inherited: false })
    }

    /// Closes the lock's file without giving the lock up: a child that inherited
    /// the file has it from now on, for as long as it runs.
    pub fn leave_to_heirs(mut self) {
        self.inherited = true;
    }

    /// The path of the lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open lock file, whose content its holder may use for a note.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child that another thread is just starting has a copy of the
        // descriptor until it becomes its program: closing ours ends no lock.
        if !self.inherited {
            let _ended = self.file.unlock();
        }
    }
}

/// Whether somebody holds the lock on this file. A missing file is not locked.
///
/// # Errors
/// If the file cannot be opened.
pub fn is_locked(path: &Path) -> Result<bool, Error> {
    // Opening a FIFO, which somebody may have put there, would wait.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io("look at the lock", path, error)),
    };
    // A shared lock does not get in the way of others who only ask.
    match file.try_lock_shared() {
        Ok(()) => {
            // As above, so that nobody takes the look for a lock.
            let _ended = file.unlock();
            Ok(false)
        }
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(Error::io("look at the lock", path, source)),
    }
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| Error::io("open the lock", path, source))
}
