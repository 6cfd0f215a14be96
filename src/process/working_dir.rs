//! The directory that a session's children start in: decided once for a run, and
//! looked at again whenever one is started there.

use std::path::{Path, PathBuf};

use crate::sandbox::path_walk::PathWalk;
use crate::session::Grant;

/// A session's own folder, or the directory that was granted to it. There is no
/// way to name another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkingDir {
    path: PathBuf,
    is_granted: bool,
}

/// Why a session cannot work in the directory that was granted to it.
#[derive(Debug, thiserror::Error)]
pub enum WorkingDirError {
    /// The directory is not there.
    #[error("the working directory `{}` is not there", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The directory is another now.
    #[error("the working directory `{}` leads to `{}` now, which was not granted", path.display(), real.display())]
    LeadsElsewhere {
        /// The directory.
        path: PathBuf,
        /// Where its path leads.
        real: PathBuf,
    },
}

impl WorkingDir {
    /// The directory of a session that lies in `session`.
    ///
    /// # Errors
    /// If the granted directory is not there, or its path leads elsewhere.
    pub fn of(session: &Path, grant: &Grant) -> Result<Self, WorkingDirError> {
        let own = || Self { path: session.to_owned(), is_granted: false };
        let granted = |path: &PathBuf| Self { path: path.clone(), is_granted: true };
        let decided = grant.working_dir.as_ref().map_or_else(own, granted);
        decided.check()?;
        Ok(decided)
    }

    /// Its path, absolute and free of links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the directory that was granted, which was
    /// free of links. The session's own folder is held open by its guard.
    pub(super) fn check(&self) -> Result<(), WorkingDirError> {
        if !self.is_granted {
            return Ok(());
        }
        let path = self.path.clone();
        match PathWalk::of(&path) {
            Ok(way) if way.real != path => Err(WorkingDirError::LeadsElsewhere { path, real: way.real }),
            Ok(_) if path.is_dir() => Ok(()),
            Ok(_) => Err(WorkingDirError::Missing { path, source: std::io::ErrorKind::NotADirectory.into() }),
            Err(source) => Err(WorkingDirError::Missing { path, source }),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test puts another directory in the place of the one that was granted")]
mod tests {
    use super::*;

    #[test]
    fn what_takes_the_place_of_the_directory_after_the_decision_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = std::fs::canonicalize(dir.path()).expect("its path");
        let (granted, other) = (dir.join("granted"), dir.join("other"));
        for path in [&granted, &other] {
            std::fs::create_dir(path).expect("a directory");
        }
        let grant = Grant { working_dir: Some(granted.clone()), ..Grant::none(uuid::Uuid::nil()) };
        let decided = WorkingDir::of(&dir, &grant).expect("it is there");
        assert_eq!((decided.path(), decided.check().is_ok()), (granted.as_path(), true));
        std::fs::rename(&granted, dir.join("gone")).expect("moved");
        assert!(matches!(decided.check(), Err(WorkingDirError::Missing { .. })));
        std::os::unix::fs::symlink(&other, &granted).expect("a link");
        assert!(matches!(decided.check(), Err(WorkingDirError::LeadsElsewhere { real, .. }) if real == other));
        std::fs::remove_file(&granted).expect("removed");
        std::fs::write(&granted, "").expect("written");
        assert!(matches!(decided.check(), Err(WorkingDirError::Missing { .. })));
        assert_eq!(WorkingDir::of(&dir, &Grant::none(uuid::Uuid::nil())).expect("its own").path(), dir);
    }
}
