//! Rights that an agent took from itself, given back: its owner may read, write
//! and enter what is its own. By descriptor, so that no link is followed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Dir, Error};

/// Opens an entry only to name it, which needs no right on the entry itself.
pub(super) fn point_at(dir: impl AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    loop {
        match rustix::fs::openat2(&dir, name, flags, Mode::empty(), resolve) {
            // The kernel asks for another try when a rename raced with the walk.
            Err(Errno::AGAIN) => continue,
            opened => return opened,
        }
    }
}

/// Gives its owner all rights on a directory, or to read and write a file, where
/// some are missing. Returns whether any were. What is neither stays as it is.
pub(super) fn restore(pointed: &OwnedFd) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(pointed)?;
    let needed = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Mode::RWXU,
        FileType::RegularFile => Mode::RUSR | Mode::WUSR,
        _ => return Ok(false),
    };
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.contains(needed) {
        return Ok(false);
    }
    // A descriptor that only names something cannot be changed by itself.
    let path = PathBuf::from(format!("/proc/self/fd/{}", pointed.as_raw_fd()));
    rustix::fs::chmod(path, mode | needed)?;
    Ok(true)
}

/// The same for each component of a path below a directory, from the outside in.
pub(super) fn restore_along(dir: impl AsFd, name: &Path) -> Result<bool, Errno> {
    let mut below = PathBuf::new();
    let mut restored = false;
    for component in name.components() {
        below.push(component);
        restored |= restore(&point_at(&dir, &below)?)?;
    }
    Ok(restored)
}

/// Whether something belongs to this user, who alone can change its mode.
fn is_own(stat: &rustix::fs::Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

/// Refuses what belongs to another user.
pub(super) fn check_owner(fd: &OwnedFd, path: &Path) -> Result<(), Error> {
    let owner = rustix::fs::fstat(fd).map_err(|errno| Error::io("look at", path, errno))?.st_uid;
    if owner == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(Error::Foreign { path: path.to_owned(), owner })
    }
}

impl Dir {
    /// Opens a directory that an agent may change and Denizen owns: rights that
    /// its owner lacks, on it or on what is reached through it, are given back.
    ///
    /// # Errors
    /// As [`Dir::open`].
    pub fn open_own_dir(path: &Path) -> Result<Self, Error> {
        let opened = match Self::open(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                // What cannot be given back is refused again, and told.
                let _restored = rustix::fs::open(path, flags, Mode::empty()).and_then(|pointed| restore(&pointed));
                Self::open(path)?
            }
            opened => opened?,
        };
        opened.give_rights()?;
        Ok(Self { own: true, ..opened })
    }

    /// Opens a directory of the person's that an agent may change. If its owner may
    /// not read or enter it, all rights are given back, which is what the second
    /// part says.
    ///
    /// # Errors
    /// As [`Dir::open`].
    pub fn open_restored(path: &Path) -> Result<(Self, bool), Error> {
        let (opened, mut restored) = match Self::open(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let pointed = rustix::fs::open(path, flags, Mode::empty());
                // What cannot be given back is refused again, and told.
                let restored = pointed.and_then(|pointed| restore(&pointed)).unwrap_or(false);
                (Self::open(path)?, restored)
            }
            opened => (opened?, false),
        };
        let stat = rustix::fs::fstat(&opened.fd).map_err(|errno| Error::io("look at", path, errno))?;
        if !Mode::from_raw_mode(stat.st_mode).contains(Mode::RUSR | Mode::XUSR) && is_own(&stat) {
            opened.give_rights()?;
            restored = true;
        }
        Ok((opened, restored))
    }

    /// Does something in the directory. If its mode forbids that to its owner, it
    /// is done with all rights, and the mode is as it was afterwards.
    ///
    /// # Errors
    /// As what is done.
    pub fn with_rights<T>(&self, act: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        match act() {
            Err(error) if error.os_error() == Some(Errno::ACCESS.raw_os_error()) => {
                let io = |errno: Errno| Error::io("give its owner all rights on", &self.path, errno);
                let mode = Mode::from_raw_mode(rustix::fs::fstat(&self.fd).map_err(io)?.st_mode);
                self.give_rights()?;
                let done = act();
                rustix::fs::fchmod(&self.fd, mode).map_err(io)?;
                done
            }
            done => done,
        }
    }

    /// Gives the directory itself all its owner's rights.
    pub(super) fn give_rights(&self) -> Result<(), Error> {
        let io = |errno: Errno| Error::io("give its owner all rights on", &self.path, errno);
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&self.fd).map_err(io)?.st_mode);
        if mode.contains(Mode::RWXU) { Ok(()) } else { rustix::fs::fchmod(&self.fd, mode | Mode::RWXU).map_err(io) }
    }

    /// Gives their owner the rights on an entry, and on what leads to it. Returns
    /// whether any were missing.
    ///
    /// # Errors
    /// If it is another's, or cannot be reached without following a link.
    pub fn restore_rights(&self, name: &Path) -> Result<bool, Error> {
        let restored = restore_along(&self.fd, name);
        restored.map_err(|errno| Error::io("give its owner the rights on", &self.path.join(name), errno))
    }
}
