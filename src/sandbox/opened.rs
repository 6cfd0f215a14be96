//! What is mounted, opened before it is: a path that was worked out leads
//! through no link, and what was opened is what the child gets, wherever another
//! session lets the path lead meanwhile.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{OpenedFile, Walls};

/// Why something is not as it was worked out.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It leads through a link now.
    #[error("`{}` leads through a link now, which it did not a moment ago: something changes it", .0.display())]
    Link(PathBuf),
    /// It cannot be opened.
    #[error("`{}` cannot be opened: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Something else is seen in its place.
    #[error("`{}` was changed while it was mounted", .0.display())]
    Other(PathBuf),
}

/// Opens a path that leads through no link, to be held and not to be read.
///
/// # Errors
/// If it does lead through one, or cannot be opened.
pub fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, OpenError> {
    loop {
        match rustix::fs::openat2(CWD, path, OFlags::PATH | flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(opened) => return Ok(opened),
            Err(Errno::LOOP) => return Err(OpenError::Link(path.to_owned())),
            // Something was renamed meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(OpenError::Io { path: path.to_owned(), source: errno.into() }),
        }
    }
}

fn seen(opened: &OwnedFd, path: &Path, is_covered: bool) -> Result<OpenedFile, OpenError> {
    let found =
        rustix::fs::fstat(opened).map_err(|errno| OpenError::Io { path: path.to_owned(), source: errno.into() })?;
    Ok(OpenedFile { path: path.to_owned(), device: found.st_dev, inode: found.st_ino, is_covered })
}

/// Everything that the walls mount, open.
#[derive(Debug, Default)]
pub struct OpenedMounts {
    files: Vec<(PathBuf, OwnedFd)>,
    /// What each is.
    pub seen: Vec<OpenedFile>,
}

impl OpenedMounts {
    /// Opens what walls allow; programs that are started inherit it.
    ///
    /// # Errors
    /// If something leads through a link, or is not there.
    pub fn of(walls: &Walls) -> Result<Self, OpenError> {
        let mut all = Self::default();
        for path in walls.read.iter().chain(&walls.write).chain(&walls.keep) {
            let opened = open(path, OFlags::empty())?;
            all.seen.push(seen(&opened, path, false)?);
            all.files.push((path.clone(), opened));
        }
        let mounted = |path: &PathBuf| walls.read.contains(path) || walls.write.contains(path);
        for path in walls.hide.iter().filter(|path| !mounted(path)) {
            all.seen.push(seen(&open(path, OFlags::CLOEXEC)?, path, true)?);
        }
        Ok(all)
    }

    /// The descriptor of what is to be mounted from a path, where it was opened.
    #[must_use]
    pub fn descriptor(&self, path: &Path) -> Option<RawFd> {
        self.files.iter().find(|(opened, _)| opened == path).map(|(_, opened)| opened.as_raw_fd())
    }
}

/// Whether everything is in its place, asked inside: another session could have
/// put a link on the way to it while it was mounted.
///
/// # Errors
/// If something is not.
pub fn check<'a>(all: impl IntoIterator<Item = &'a OpenedFile>) -> Result<(), OpenError> {
    for expected in all {
        let found = seen(&open(&expected.path, OFlags::CLOEXEC)?, &expected.path, expected.is_covered)?;
        if (found == *expected) == expected.is_covered {
            return Err(OpenError::Other(expected.path.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_in_its_place_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = std::fs::canonicalize(dir.path()).expect("its path");
        for name in ["a/in", "other/in"] {
            std::fs::create_dir_all(dir.join(name)).expect("a directory");
        }
        let path = dir.join("a/in");
        let was = seen(&open(&path, OFlags::CLOEXEC).expect("opened"), &path, false).expect("seen");
        let covered = OpenedFile { is_covered: true, ..was.clone() };
        assert!(check([&was]).is_ok());
        assert!(matches!(check([&covered]), Err(OpenError::Other(_))));
        std::fs::rename(dir.join("a"), dir.join("b")).expect("moved");
        assert!(matches!(check([&was]), Err(OpenError::Io { .. })));
        std::os::unix::fs::symlink("b", dir.join("a")).expect("a link");
        assert!(matches!(check([&was]), Err(OpenError::Link(_))));
        std::fs::remove_file(dir.join("a")).expect("removed");
        std::fs::rename(dir.join("other"), dir.join("a")).expect("moved");
        assert!(matches!(check([&was]), Err(OpenError::Other(_))));
        assert!(check([&covered]).is_ok());
    }
}
