//! A directory that is held open, and the only ways to look into it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::replace::{Durability, Staging};
use super::rights::check_owner;
use super::{Error, Stamp, describe};

/// An open directory. Names given to its methods are relative to it; a name
/// that leads through a symbolic link or out of it is an [`Error::Link`].
#[derive(Debug)]
pub struct Dir {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
    pub(super) hard_links: bool,
    /// Whether rights that are missing below it are given back.
    pub(super) own: bool,
}

/// A short lock on a directory, which ends when this is dropped.
#[derive(Debug)]
pub struct DirLock<'a>(&'a Dir);

impl Drop for DirLock<'_> {
    fn drop(&mut self) {
        // An unlock fails only on a closed descriptor, and this one is open.
        let _unlocked = rustix::fs::flock(&self.0.fd, FlockOperation::Unlock);
    }
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

impl Dir {
    /// Opens a directory by its path. The path itself may lead through links,
    /// as a root often does; its last component may not be one.
    ///
    /// # Errors
    /// If it does not exist, or is not a directory.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_owned(), hard_links: false, own: false }),
            Err(Errno::LOOP | Errno::NOTDIR) if is_link(path) => Err(Error::Link { path: path.to_owned() }),
            Err(errno) => Err(Error::io("open the directory", path, errno)),
        }
    }

    /// Opens a directory below this one.
    ///
    /// # Errors
    /// If it does not exist, is not a directory, or is reached through a link.
    pub fn open_dir(&self, name: &Path) -> Result<Self, Error> {
        match self.open_beneath(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), "open the directory") {
            Ok(fd) => {
                let opened = Self { fd, path: self.path.join(name), hard_links: self.hard_links, own: self.own };
                if self.own {
                    opened.give_rights()?;
                }
                Ok(opened)
            }
            // What the kernel says of a link in the last place.
            Err(error) if error.os_error() == Some(Errno::NOTDIR.raw_os_error()) && is_link(&self.path.join(name)) => {
                Err(Error::Link { path: self.path.join(name) })
            }
            Err(error) => Err(error),
        }
    }

    /// The same directory, in which a file may have several names: a backup that
    /// was made with `rsync --link-dest` or `cp -al` shares what did not change.
    #[must_use]
    pub fn with_hard_links(self) -> Self {
        Self { hard_links: true, ..self }
    }

    /// The path by which this directory was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a regular file whole.
    ///
    /// Never waits (a FIFO is refused, not read), never follows a link, and
    /// refuses a file with several names or more than `cap` bytes.
    ///
    /// # Errors
    /// As the kinds of [`Error`] say.
    pub fn read(&self, name: &Path, cap: u64) -> Result<Vec<u8>, Error> {
        self.read_stamped(name, cap).map(|(bytes, _)| bytes)
    }

    /// Reads a regular file whole, as [`Dir::read`] does, with the stamp that it
    /// had before.
    ///
    /// # Errors
    /// As the kinds of [`Error`] say.
    pub fn read_stamped(&self, name: &Path, cap: u64) -> Result<(Vec<u8>, Stamp), Error> {
        let fd = self.open_beneath(name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty(), "read")?;
        let stamp = self.check_regular(&fd, name, Some(cap))?;
        self.read_open(fd, name, stamp, cap)
    }

    /// Reads a regular file of this user whole: in a place where others can
    /// write, theirs is refused.
    ///
    /// # Errors
    /// As the kinds of [`Error`] say.
    pub fn read_own(&self, name: &Path, cap: u64) -> Result<(Vec<u8>, Stamp), Error> {
        let (file, stamp) = self.open_own(name, cap)?;
        self.read_open(file.into(), name, stamp, cap)
    }

    /// Opens a regular file of this user, as [`Dir::read_own`] does.
    ///
    /// # Errors
    /// As the kinds of [`Error`] say.
    pub fn open_own(&self, name: &Path, cap: u64) -> Result<(File, Stamp), Error> {
        let fd = self.open_beneath(name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty(), "read")?;
        let stamp = self.check_regular(&fd, name, Some(cap))?;
        check_owner(&fd, &self.path.join(name))?;
        Ok((File::from(fd), stamp))
    }

    /// Refuses a directory that belongs to another user.
    ///
    /// # Errors
    /// [`Error::Foreign`], or if it cannot be looked at.
    pub fn check_own(&self) -> Result<(), Error> {
        check_owner(&self.fd, &self.path)
    }

    fn read_open(&self, fd: OwnedFd, name: &Path, stamp: Stamp, cap: u64) -> Result<(Vec<u8>, Stamp), Error> {
        let size = usize::try_from(stamp.size).unwrap_or(0);
        // One byte more, so that one call reads it all and shows that it was all.
        let mut bytes = vec![0; size + 1];
        let mut length = 0;
        while length <= size {
            match rustix::io::read(&fd, &mut bytes[length..]) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::io("read", &self.path.join(name), errno)),
            }
            if length == size {
                break;
            }
        }
        bytes.truncate(length);
        if length > size {
            // It grew meanwhile.
            let rest = File::from(fd).take((cap + 1).saturating_sub(length as u64)).read_to_end(&mut bytes);
            rest.map_err(|source| Error::io("read", &self.path.join(name), source))?;
        }
        if bytes.len() as u64 > cap {
            return Err(Error::TooLarge { path: self.path.join(name), size: bytes.len() as u64, cap });
        }
        Ok((bytes, stamp))
    }

    /// Opens a regular file for reading, with the same checks as [`Dir::read`].
    ///
    /// # Errors
    /// As the kinds of [`Error`] say.
    pub fn open_file(&self, name: &Path, cap: u64) -> Result<File, Error> {
        let fd = self.open_beneath(name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty(), "read")?;
        self.check_regular(&fd, name, Some(cap))?;
        Ok(File::from(fd))
    }

    /// Appends to a regular file, which is made if it is missing.
    ///
    /// Where the last line has no end, it is given one first, so that it never
    /// swallows the next. Returns the size of the file afterwards, in bytes.
    ///
    /// # Errors
    /// As the kinds of [`Error`] say.
    pub fn append(&self, name: &Path, bytes: &[u8], durability: Durability) -> Result<u64, Error> {
        let path = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK;
        let fd = self.open_beneath(name, flags, Mode::RUSR | Mode::WUSR, "append to")?;
        let before = self.check_regular(&fd, name, None)?.size;
        let mut file = File::from(fd);
        let io = |source: io::Error| Error::io("append to", &path, source);
        let mut last = [b'\n'];
        if before > 0 {
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut last, before - 1).map_err(io)?;
        }
        let torn = last != [b'\n'];
        let written = if torn { file.write_all(b"\n") } else { Ok(()) }.and_then(|()| file.write_all(bytes));
        if let Err(source) = written {
            // Best effort: a part of a line that stays behind is skipped by readers.
            let _shortened = file.set_len(before);
            return Err(io(source));
        }
        if durability == Durability::Power {
            file.sync_data().map_err(|source| Error::io("sync", &path, source))?;
            if before == 0 {
                self.sync()?;
            }
        }
        Ok(file.metadata().map_err(io)?.len())
    }

    /// The last line of a regular file and where it begins, in bytes, where it
    /// has no newline and at most `cap` bytes.
    ///
    /// # Errors
    /// As the kinds of [`Error`] say; a file that is missing has no lines.
    pub fn unended_line(&self, name: &Path, cap: u64) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let file = match self.open_file(name, u64::MAX) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        let read = || -> io::Result<Option<(u64, Vec<u8>)>> {
            use std::os::unix::fs::FileExt;
            let size = file.metadata()?.len();
            let mut length = 1;
            while length <= size {
                let mut end = vec![0; usize::try_from(length).unwrap_or(0)];
                file.read_exact_at(&mut end, size - length)?;
                match end.iter().rposition(|byte| *byte == b'\n') {
                    Some(at) if at + 1 == end.len() => return Ok(None),
                    Some(at) => return Ok(Some((size - length + at as u64 + 1, end.split_off(at + 1)))),
                    None if length == size => return Ok(Some((0, end))),
                    None if length > cap => return Ok(None),
                    None => length = (length * 4).max(4096).min(size),
                }
            }
            Ok(None)
        };
        read().map_err(|source| Error::io("read", &self.path.join(name), source))
    }

    /// Cuts a regular file off at `size` bytes.
    ///
    /// # Errors
    /// As the kinds of [`Error`] say.
    pub fn cut_off(&self, name: &Path, size: u64, durability: Durability) -> Result<(), Error> {
        let fd = self.open_beneath(name, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty(), "cut off")?;
        self.check_regular(&fd, name, None)?;
        let file = File::from(fd);
        let synced = || if durability == Durability::Power { file.sync_data() } else { Ok(()) };
        let cut = file.set_len(size).and_then(|()| synced());
        cut.map_err(|source| Error::io("cut off", &self.path.join(name), source))
    }

    /// Replaces a file whole: a temporary in `staging`, synced and renamed over
    /// the name, then this directory synced (with [`Durability::Power`]).
    ///
    /// # Errors
    /// If any step fails; the file is then the old version or the new one,
    /// never a part of either.
    pub fn replace(&self, name: &Path, bytes: &[u8], staging: &Staging) -> Result<Stamp, Error> {
        staging.replace(self, name, bytes)
    }

    /// Makes a new file and returns it open for reading and appending; it is an
    /// error that the name is taken.
    ///
    /// # Errors
    /// If the file exists or cannot be made.
    pub fn create_new(&self, name: &Path) -> Result<File, Error> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
        self.open_beneath(name, flags, Mode::RUSR | Mode::WUSR, "make").map(File::from)
    }

    /// Removes a file (or a link, never what it points at); one that is gone is fine.
    ///
    /// # Errors
    /// If it exists and cannot be removed.
    pub fn remove_file(&self, name: &Path) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::io("remove", &self.path.join(name), errno)),
        }
    }

    /// Moves an entry of any kind into another directory of the same file system.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn move_entry(&self, name: &Path, target: &Self, new_name: &Path) -> Result<(), Error> {
        let rename = || rustix::fs::renameat(&self.fd, name, &target.fd, new_name);
        let renamed = match rename() {
            // A directory has to be writable itself to be moved elsewhere.
            Err(Errno::ACCESS) if self.restore_rights(name)? => rename(),
            renamed => renamed,
        };
        renamed.map_err(|errno| Error::io("move", &self.path.join(name), errno))
    }

    /// Moves an entry into another directory of the same file system, under the
    /// same name, unless that is taken. Returns whether it was moved.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn move_new(&self, name: &Path, target: &Self) -> Result<bool, Error> {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let moved = match rustix::fs::renameat_with(&self.fd, name, &target.fd, name, flags) {
            // A file system without that flag: a folder never replaces one that
            // has anything in it.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(&self.fd, name, &target.fd, name),
            moved => moved,
        };
        match moved {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(Error::io("move", &self.path.join(name), errno)),
        }
    }

    /// Whether it has no entries.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn is_empty(&self) -> Result<bool, Error> {
        let io = |errno: Errno| Error::io("list", &self.path, errno);
        let mut entries = rustix::fs::Dir::read_from(&self.fd).map_err(io)?;
        // `.` and `..` are always among them.
        Ok(entries.nth(2).transpose().map_err(io)?.is_none())
    }

    /// The names of the entries, in no order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn names(&self) -> Result<Vec<OsString>, Error> {
        let io = |errno: Errno| Error::io("list", &self.path, errno);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Locks the directory itself, for moments; blocks the thread.
    ///
    /// # Errors
    /// If the file system knows no locks.
    pub fn lock(&self) -> Result<DirLock<'_>, Error> {
        loop {
            match rustix::fs::flock(&self.fd, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(DirLock(self)),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::io("lock", &self.path, errno)),
            }
        }
    }

    /// Makes a directory, readable by its owner only; one that exists is fine.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make_dir(&self, name: &Path) -> Result<(), Error> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Error::io("make the directory", &self.path.join(name), errno)),
        }
    }

    /// Makes a directory and its missing parents below this one, and opens it.
    ///
    /// # Errors
    /// If a component is a link or no directory, or cannot be made.
    pub fn make_dirs(&self, name: &Path) -> Result<Self, Error> {
        match self.open_dir(name) {
            Err(error) if error.is_not_found() => {}
            opened => return opened,
        }
        let mut below = PathBuf::new();
        for component in name.components() {
            below.push(component);
            self.make_dir(&below)?;
        }
        self.open_dir(name)
    }

    /// Makes `name` a symbolic link to `target`. Another link or a file in its
    /// place is removed first; one that is right already stays.
    ///
    /// # Errors
    /// If it cannot be made, or a directory stands there.
    pub fn link(&self, name: &Path, target: &Path) -> Result<(), Error> {
        if rustix::fs::readlinkat(&self.fd, name, Vec::new())
            .is_ok_and(|found| found.to_bytes() == target.as_os_str().as_bytes())
        {
            return Ok(());
        }
        self.remove_file(name)?;
        rustix::fs::symlinkat(target, &self.fd, name).map_err(|errno| Error::io("link", &self.path.join(name), errno))
    }

    /// The stamp of an entry, or `None` if there is none. A link is not followed.
    ///
    /// # Errors
    /// If the entry cannot be looked at.
    pub fn stamp(&self, name: &Path) -> Result<Option<Stamp>, Error> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Stamp::from(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io("look at", &self.path.join(name), errno)),
        }
    }

    /// Whether this directory was removed since it was opened.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn is_removed(&self) -> Result<bool, Error> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| Error::io("look at", &self.path, errno))?;
        Ok(stat.st_nlink == 0)
    }

    /// Makes the directory's entries survive a power cut.
    ///
    /// # Errors
    /// If the disk reports a failure.
    pub fn sync(&self) -> Result<(), Error> {
        rustix::fs::fsync(&self.fd).map_err(|errno| Error::io("sync", &self.path, errno))
    }

    /// Makes everything on this directory's file system survive a power cut.
    ///
    /// # Errors
    /// If the disk reports a failure.
    pub fn sync_file_system(&self) -> Result<(), Error> {
        rustix::fs::syncfs(&self.fd).map_err(|errno| Error::io("sync the file system of", &self.path, errno))
    }

    pub(super) fn fd(&self) -> impl AsFd + '_ {
        self.fd.as_fd()
    }

    pub(super) fn open_beneath(
        &self,
        name: &Path,
        flags: OFlags,
        mode: Mode,
        action: &'static str,
    ) -> Result<OwnedFd, Error> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut may_restore = self.own;
        loop {
            return match rustix::fs::openat2(&self.fd, name, flags, mode, BENEATH) {
                Ok(fd) => Ok(fd),
                // The kernel asks for another try when a rename raced with the walk.
                Err(Errno::AGAIN) => continue,
                Err(Errno::ACCESS) if may_restore => {
                    may_restore = false;
                    // What cannot be given back is refused again, and told.
                    let _restored = self.restore_rights(name);
                    continue;
                }
                Err(Errno::LOOP | Errno::XDEV) => Err(Error::Link { path: self.path.join(name) }),
                // Opening a socket, or a FIFO for writing, without waiting.
                Err(Errno::NXIO) => Err(Error::NotRegular { path: self.path.join(name), found: "a FIFO or socket" }),
                Err(Errno::ISDIR) => Err(Error::NotRegular { path: self.path.join(name), found: "a directory" }),
                Err(errno) => Err(Error::io(action, &self.path.join(name), errno)),
            };
        }
    }

    /// Checks that an open file is regular, has one name and is not too large;
    /// returns its stamp.
    fn check_regular(&self, fd: &OwnedFd, name: &Path, cap: Option<u64>) -> Result<Stamp, Error> {
        let path = || self.path.join(name);
        let stat = rustix::fs::fstat(fd).map_err(|errno| Error::io("look at", &path(), errno))?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type != FileType::RegularFile {
            return Err(Error::NotRegular { path: path(), found: describe(file_type) });
        }
        if stat.st_nlink > 1 && !self.hard_links {
            return Err(Error::HardLinks { path: path(), names: stat.st_nlink });
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        match cap {
            Some(cap) if size > cap => Err(Error::TooLarge { path: path(), size, cap }),
            _ => Ok(Stamp::from(&stat)),
        }
    }
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_symlink())
}
