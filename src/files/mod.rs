//! Files: replaced whole or not at all, read defensively, locked.
//!
//! Everything under the root is reached through a `Dir`, a directory that is
//! held open: names are resolved beneath it and no symbolic link is followed,
//! because an agent can plant one. This module knows nothing of sessions.
//!
//! Not here: what a file means, and any path that is not given by the caller.

mod below;
mod copy;
mod dir;
mod file_look;
mod lock;
mod make;
mod remove;
mod replace;
mod rights;
/// Databases of SQLite, without SQLite.
pub mod sqlite;
mod stamp;
mod theirs;
mod tickets;

use std::io;
use std::path::{Path, PathBuf};

pub use below::{files_below, own_files_below, restore};
pub use copy::{copy_new, copy_open};
pub use dir::{Dir, DirLock};
pub use file_look::{FileLook, Kinds};
pub use lock::{Lock, is_locked};
pub use remove::remove_whole;
pub use replace::{Durability, Staging, finish_renames, has_unfinished_renames};
pub use stamp::{SECOND, Stamp, set_second};
pub use theirs::replace_theirs;
pub use tickets::{Ticket, TicketLine, TicketPlace};

/// Why a file could not be read, written or locked. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb: "read", "replace", "sync" …
        action: &'static str,
        /// The file or directory it was tried on.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The name is a directory, a FIFO, a socket or a device.
    #[error("`{}` is {found}, not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
        /// What stands there instead, with its article: "a directory" …
        found: &'static str,
    },
    /// A component of the name is a symbolic link, or leads out of the directory.
    #[error("`{}` is or leads through a symbolic link, which is never followed", path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// The file has more than one name, so a change may come from anywhere.
    #[error("`{}` has {names} hard links, it must have one", path.display())]
    HardLinks {
        /// The file.
        path: PathBuf,
        /// The number of its names.
        names: u64,
    },
    /// The file or directory belongs to another user, who may change it.
    #[error("`{}` belongs to user {owner}", path.display())]
    Foreign {
        /// The file or directory.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
    },
    /// The file is larger than what is sensible for it.
    #[error("`{}` has {size} bytes, at most {cap} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, in bytes.
        size: u64,
        /// The limit, in bytes.
        cap: u64,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }

    /// Whether the file does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether what stands there is at fault: it is missing, something else, or
    /// closed. Otherwise it is the machine that cannot do it now (a full disk, no
    /// descriptor left), and nothing may be thrown away for it.
    #[must_use]
    pub fn is_of_the_place(&self) -> bool {
        use rustix::io::Errno;
        let Self::Io { source, .. } = self else { return true };
        const PLACE: &[Errno] = &[
            Errno::NOENT,
            Errno::NOTDIR,
            Errno::ISDIR,
            Errno::EXIST,
            Errno::NOTEMPTY,
            Errno::LOOP,
            Errno::ACCESS,
            Errno::PERM,
            Errno::NAMETOOLONG,
            Errno::NXIO,
        ];
        source.raw_os_error().is_some_and(|number| PLACE.contains(&Errno::from_raw_os_error(number)))
    }

    /// The operating system's error number, where it gave one.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// Opens a file that a person named, for reading. A FIFO is not waited for.
///
/// # Errors
/// If it cannot be opened, or is not a regular file.
pub fn open_regular(path: &Path) -> Result<std::fs::File, Error> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::io("read", path, errno))?;
    regular(opened, path)
}

/// Opens a regular file for reading by a path that leads through no link: one
/// that somebody has put there since the path was worked out is refused.
///
/// # Errors
/// If it cannot be opened, leads through a link, or is not a regular file.
pub fn open_linkless(path: &Path) -> Result<std::fs::File, Error> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    loop {
        match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(opened) => return regular(opened, path),
            // Something was renamed meanwhile.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::io("read", path, errno)),
        }
    }
}

fn regular(opened: std::os::fd::OwnedFd, path: &Path) -> Result<std::fs::File, Error> {
    use rustix::fs::FileType;
    let stat = rustix::fs::fstat(&opened).map_err(|errno| Error::io("look at", path, errno))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(opened.into()),
        other => Err(Error::NotRegular { path: path.to_owned(), found: describe(other) }),
    }
}

/// What the file system calls this kind of file, with its article.
pub(crate) fn describe(file_type: rustix::fs::FileType) -> &'static str {
    use rustix::fs::FileType;
    match file_type {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown kind",
    }
}

/// A path as it is written in a command line: in quotes where it needs them.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ':' | '@' | '%');
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Makes a directory and its missing parents, readable by their owner only.
/// With [`Durability::Power`] what was made survives a power cut.
///
/// # Errors
/// If one cannot be made, or a component is not a directory.
pub fn make_private_dir(path: &Path, durability: Durability) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let missing = path.ancestors().take_while(|dir| !dir.exists()).count();
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::io("make the directory", path, source))?;
    if durability == Durability::Power {
        for parent in path.ancestors().skip(1).take(missing) {
            Dir::open(parent)?.sync()?;
        }
    }
    Ok(())
}
