//! Removing a tree that an agent made: of any depth, with any rights.
//!
//! Neither recursion nor paths: what lies deeper is first moved up into the
//! directory that is removed, so that two descriptors are enough, and no name is
//! longer than one component.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Error, rights};

/// Removes whatever is there: a file, a link, or a directory with everything
/// below it, also what its owner may not read or enter. No link is followed.
/// What is gone already is fine, so that two may remove the same at once.
///
/// # Errors
/// If something cannot be removed. Everything else below the path is gone then.
pub fn remove_whole(path: &Path) -> Result<(), Error> {
    match rustix::fs::unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Most file systems say EISDIR, POSIX says EPERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(Error::io("remove", path, errno)),
    }
    let mut removal =
        TreeRemoval { top: open(CWD, path).map_err(|errno| Error::io("remove", path, errno))?, path, moved: 0 };
    let emptied = removal.empty_top();
    match rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => emptied.and(Err(Error::io("remove", path, errno))),
    }
}

/// A directory that is being removed.
struct TreeRemoval<'a> {
    top: OwnedFd,
    path: &'a Path,
    /// How many directories were moved up into it.
    moved: u64,
}

impl TreeRemoval<'_> {
    /// Empties the directory. The first failure is kept, and the rest removed.
    fn empty_top(&mut self) -> Result<(), Error> {
        let mut failed = Ok(());
        loop {
            let (mut waiting, gone) = self.remove_files(&self.top, Path::new(""), &mut failed);
            let progress = gone || !waiting.is_empty();
            while let Some(name) = waiting.pop() {
                self.remove_directory(&name, &mut waiting, &mut failed);
            }
            // A file system may leave out entries while others are removed.
            if failed.is_err() || !progress {
                return failed;
            }
        }
    }

    /// Removes a directory of the top, whose own directories are moved up first.
    fn remove_directory(&mut self, name: &OsStr, waiting: &mut Vec<OsString>, failed: &mut Result<(), Error>) {
        let name = Path::new(name);
        let dir = match open(&self.top, name) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return,
            Err(errno) => return self.fail(failed, name, errno),
        };
        let (below, _) = self.remove_files(&dir, name, failed);
        for inner in below {
            self.moved += 1;
            let up = OsString::from(format!("{}-{}", uuid::Uuid::new_v4().simple(), self.moved));
            match move_up(&dir, Path::new(&inner), &self.top, Path::new(&up)) {
                Ok(()) => waiting.push(up),
                Err(Errno::NOENT) => {}
                Err(errno) => self.fail(failed, &name.join(inner), errno),
            }
        }
        match rustix::fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => self.fail(failed, name, errno),
        }
    }

    /// Removes everything in a directory but its directories, which are returned,
    /// with whether anything was removed.
    fn remove_files(&self, dir: &OwnedFd, at: &Path, failed: &mut Result<(), Error>) -> (Vec<OsString>, bool) {
        let (mut directories, mut gone) = (Vec::new(), false);
        let entries = match rustix::fs::Dir::read_from(dir) {
            Ok(entries) => entries,
            Err(errno) => {
                self.fail(failed, at, errno);
                return (directories, gone);
            }
        };
        for entry in entries {
            let name = match &entry {
                Ok(entry) => OsStr::from_bytes(entry.file_name().to_bytes()),
                Err(errno) => {
                    self.fail(failed, at, *errno);
                    break;
                }
            };
            if name == "." || name == ".." {
                continue;
            }
            match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) => gone = true,
                Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => directories.push(name.to_owned()),
                Err(errno) => self.fail(failed, &at.join(name), errno),
            }
        }
        (directories, gone)
    }

    fn fail(&self, failed: &mut Result<(), Error>, at: &Path, errno: Errno) {
        if failed.is_ok() {
            let at: PathBuf = if at.as_os_str().is_empty() { self.path.to_owned() } else { self.path.join(at) };
            *failed = Err(Error::io("remove", &at, errno));
        }
    }
}

/// Opens a directory, with the rights to empty it.
fn open(dir: impl std::os::fd::AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let pointed = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    // Whoever owns it; root needs no rights.
    let _restored = rights::restore(&pointed);
    rustix::fs::openat(&pointed, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Moves a directory, for which it has to be writable itself.
fn move_up(from: &OwnedFd, name: &Path, to: &OwnedFd, up: &Path) -> Result<(), Errno> {
    match rustix::fs::renameat(from, name, to, up) {
        Err(Errno::ACCESS) => {
            rights::restore(&rights::point_at(from, name)?)?;
            rustix::fs::renameat(from, name, to, up)
        }
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_a_path_may_be_is_removed() {
        let base = tempfile::tempdir().expect("a directory");
        let top = base.path().join("top");
        std::fs::create_dir(&top).expect("made");
        let name = "d".repeat(255);
        let mut dir = open(CWD, &top).expect("open");
        for depth in 0..100 {
            rustix::fs::mkdirat(&dir, name.as_str(), Mode::RWXU).expect("made");
            rustix::fs::symlinkat("/", &dir, "link").expect("a link");
            rustix::fs::mkdirat(&dir, "closed", Mode::empty()).expect("made");
            let deeper = open(&dir, Path::new(&name)).expect("open");
            // A directory that cannot be moved before it was given its rights.
            if depth % 2 == 0 {
                rustix::fs::fchmod(&dir, Mode::RUSR | Mode::XUSR).expect("closed");
            }
            dir = deeper;
        }
        std::fs::hard_link("/proc/self/exe", top.join("x")).unwrap_or_default();
        remove_whole(&top).expect("removed");
        assert_eq!(base.path().read_dir().expect("listed").count(), 0);
        remove_whole(&top).expect("what is gone is fine");
    }

    #[test]
    fn what_is_no_directory_is_removed_by_its_own_name() {
        let base = tempfile::tempdir().expect("a directory");
        let link = base.path().join("link");
        std::os::unix::fs::symlink(base.path(), &link).expect("a link");
        remove_whole(&link).expect("removed");
        assert!(base.path().is_dir() && link.symlink_metadata().is_err());
    }
}
