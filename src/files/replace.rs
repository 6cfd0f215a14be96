//! Replacing a file whole, so that every reader and every copy finds the old
//! version or the new one.
//!
//! Not promised: that two files replaced one after the other are seen together.
//! What must agree is in one file.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::stamp::set_second;
use super::{Dir, Error, Stamp};

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A power cut: data and directory are synced before the write returns.
    #[default]
    Power,
    /// The end of any process, but not a power cut: nothing is synced.
    Process,
}

/// Where temporaries are made: a directory on the same file system as the
/// files they will replace, and one that neither rsync nor a person looks at.
#[derive(Debug)]
pub struct Staging {
    dir: Dir,
    durability: Durability,
}

/// Removes the names that temporaries have kept beside the one they were given.
/// After a power cut between a rename and its sync, btrfs may show a file under
/// both (Linux 6.18), and one with two names is not read. What cannot be removed
/// stays.
pub fn finish_renames(staging: &Path) {
    let Ok(dir) = Dir::open(staging) else { return };
    for name in unfinished_renames(&dir) {
        // Whoever cannot write here reads nothing worse than before.
        let _removed = dir.remove_file(Path::new(&name));
    }
}

/// Whether there is a name for [`finish_renames`] to remove.
#[must_use]
pub fn has_unfinished_renames(staging: &Path) -> bool {
    Dir::open(staging).is_ok_and(|dir| !unfinished_renames(&dir).is_empty())
}

fn unfinished_renames(dir: &Dir) -> Vec<OsString> {
    let mut names = dir.names().unwrap_or_default();
    names.retain(|name| {
        let stat = rustix::fs::statat(dir.fd(), name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 1)
    });
    names
}

/// Distinguishes the temporaries of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Staging {
    /// Uses `dir` for temporaries.
    #[must_use]
    pub fn new(dir: Dir, durability: Durability) -> Self {
        Self { dir, durability }
    }

    /// What writes through this staging survive.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The path of the directory for temporaries.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A name that no other temporary has, of this or another process.
    #[must_use]
    pub fn unique_name(&self) -> PathBuf {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        PathBuf::from(format!("{}-{}-{number}", std::process::id(), now.as_nanos()))
    }

    pub(super) fn replace(&self, target: &Dir, name: &Path, bytes: &[u8]) -> Result<Stamp, Error> {
        let temporary = Temporary::write(self, bytes)?;
        temporary.grow_mtime(target, name)?;
        let file = temporary.rename(target, name)?;
        let metadata = file.metadata();
        metadata
            .map(|metadata| Stamp::from(&metadata))
            .map_err(|source| Error::io("look at", &target.path().join(name), source))
    }
}

impl Dir {
    /// Makes a new file that is whole as soon as it is there. `false` if the name
    /// is taken: of several who try, one succeeds.
    ///
    /// # Errors
    /// If any step fails; the file is then whole or not there.
    pub fn make_new(&self, name: &Path, bytes: &[u8], staging: &Staging) -> Result<bool, Error> {
        Temporary::write(staging, bytes)?.give_new_name(self, name)
    }
}

/// A file under construction; removed when it is dropped before its rename.
struct Temporary<'a> {
    file: File,
    name: Unlinked<'a>,
}

/// The name of a temporary, which is removed unless it was given away.
struct Unlinked<'a> {
    staging: &'a Staging,
    name: PathBuf,
    given_away: bool,
}

impl<'a> Temporary<'a> {
    fn write(staging: &'a Staging, bytes: &[u8]) -> Result<Self, Error> {
        let name = staging.unique_name();
        let path = staging.path().join(&name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(staging.dir.fd(), &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| Error::io("make the temporary", &path, errno))?;
        let mut temporary = Self { file: File::from(fd), name: Unlinked { staging, name, given_away: false } };
        temporary.file.write_all(bytes).map_err(|source| Error::io("write the temporary", &path, source))?;
        Ok(temporary)
    }

    /// rsync compares size and whole-second time of change; a second version of
    /// the same size within one second would never be copied. So the time moves
    /// on by at least a second with each version.
    fn grow_mtime(&self, target: &Dir, name: &Path) -> Result<(), Error> {
        let Some(old) = target.stamp(name)? else { return Ok(()) };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if i128::from(now.as_secs()) > old.second() {
            return Ok(());
        }
        set_second(&self.file, old.second() + 1)
            .map_err(|source| Error::io("set the time of", &target.path().join(name), source))
    }

    /// Gives it a name that nothing has. `false` if something has it.
    fn give_new_name(mut self, target: &Dir, name: &Path) -> Result<bool, Error> {
        let staging = self.name.staging;
        let path = target.path().join(name);
        if staging.durability == Durability::Power {
            self.file.sync_all().map_err(|source| Error::io("sync", &path, source))?;
        }
        let (from, to) = (staging.dir.fd(), target.fd());
        match rustix::fs::renameat_with(&from, &self.name.name, &to, name, RenameFlags::NOREPLACE) {
            Ok(()) => self.name.given_away = true,
            Err(Errno::EXIST) => return Ok(false),
            // A file system without that flag has links: this one's first name is removed.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match rustix::fs::linkat(&from, &self.name.name, &to, name, AtFlags::empty()) {
                    Ok(()) => {}
                    Err(Errno::EXIST) => return Ok(false),
                    Err(errno) => return Err(Error::io("make", &path, errno)),
                }
            }
            Err(errno) => return Err(Error::io("make", &path, errno)),
        }
        if staging.durability == Durability::Power {
            target.sync()?;
        }
        Ok(true)
    }

    fn rename(mut self, target: &Dir, name: &Path) -> Result<File, Error> {
        let path = target.path().join(name);
        let staging = self.name.staging;
        if staging.durability == Durability::Power {
            self.file.sync_all().map_err(|source| Error::io("sync", &path, source))?;
        }
        rustix::fs::renameat(staging.dir.fd(), &self.name.name, target.fd(), name)
            .map_err(|errno| Error::io("replace", &path, errno))?;
        self.name.given_away = true;
        if staging.durability == Durability::Power {
            target.sync()?;
        }
        Ok(self.file)
    }
}

impl Drop for Unlinked<'_> {
    fn drop(&mut self) {
        if !self.given_away {
            // Nothing can be done about a failure here; the name is unique, and
            // `doctor` lists what was left behind.
            match rustix::fs::unlinkat(self.staging.dir.fd(), &self.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) | Err(_) => {}
            }
        }
    }
}
