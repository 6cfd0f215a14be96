//! A tree that sessions are in: a root, a directory of sessions, or one
//! session's folder; live, or a copy of last night.

use std::path::{Path, PathBuf};

use super::ArchiveError;
use crate::files::{self, Dir};
use crate::session::{Store, Workspace};

/// How much of a root a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// A whole root, or a copy of one.
    Root(PathBuf),
    /// A directory of sessions only.
    Sessions,
    /// One session's folder only, of this name.
    Session(String),
}

/// Where sessions are.
#[derive(Debug, Clone)]
pub struct Tree {
    extent: Extent,
    sessions: PathBuf,
}

impl Tree {
    /// Finds out what a directory is.
    ///
    /// # Errors
    /// If it holds no sessions, or cannot be read.
    pub fn at(dir: &Path) -> Result<Self, ArchiveError> {
        let dir = std::fs::canonicalize(dir).map_err(|source| ArchiveError::io("open the directory", dir, source))?;
        let there = |path: &Path| path.symlink_metadata().is_ok();
        if dir.join("sessions").is_dir() {
            return Ok(Self { sessions: dir.join("sessions"), extent: Extent::Root(dir) });
        }
        if let (Some(parent), Some(name)) = (dir.parent(), dir.file_name().and_then(|name| name.to_str()))
            && there(&dir.join("session.json"))
        {
            return Ok(Self { sessions: parent.to_owned(), extent: Extent::Session(name.to_owned()) });
        }
        let entries = std::fs::read_dir(&dir).map_err(|source| ArchiveError::io("list", &dir, source))?;
        let holds_sessions = entries.flatten().any(|entry| there(&entry.path().join("session.json")));
        if holds_sessions || dir.file_name().is_some_and(|name| name == "sessions") {
            return Ok(Self { sessions: dir, extent: Extent::Sessions });
        }
        // A root in which nothing was said yet.
        if there(&dir.join("denizen.toml")) || there(&dir.join("state")) {
            return Ok(Self { sessions: dir.join("sessions"), extent: Extent::Root(dir) });
        }
        Err(ArchiveError::NoTree(dir))
    }

    /// How much of a root it is.
    #[must_use]
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// The directory that the folders are in.
    #[must_use]
    pub fn sessions_path(&self) -> &Path {
        &self.sessions
    }

    /// The root, where the tree is a whole one.
    #[must_use]
    pub fn root(&self) -> Option<&Path> {
        match &self.extent {
            Extent::Root(root) => Some(root),
            Extent::Sessions | Extent::Session(_) => None,
        }
    }

    /// The root's store, where the tree has a `state/`: it may be worked in.
    #[must_use]
    pub fn with_state(&self) -> Option<Store> {
        let root = self.root().filter(|root| root.join("state").is_dir())?;
        // Nothing is written through it, so nothing has to be durable.
        Some(Store::at(root, files::Durability::Process))
    }

    /// The names in the directory of sessions, one at a time, in no order;
    /// whatever they are. Of a single session's folder, that one.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn names(&self) -> Result<impl Iterator<Item = Result<String, ArchiveError>> + use<>, ArchiveError> {
        let only = match &self.extent {
            Extent::Session(name) => Some(name.clone()),
            Extent::Root(_) | Extent::Sessions => None,
        };
        let path = self.sessions.clone();
        let entries = match std::fs::read_dir(&path) {
            _ if only.is_some() => None,
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(ArchiveError::io("list", &path, source)),
        };
        let listed = entries.into_iter().flatten().map(move |entry| match entry {
            Ok(entry) => Ok(entry.file_name().to_string_lossy().into_owned()),
            Err(source) => Err(ArchiveError::io("list", &path, source)),
        });
        Ok(only.into_iter().map(Ok).chain(listed))
    }

    /// Whether this is the directory of sessions below `root`, or in it.
    #[must_use]
    pub fn is_below(&self, root: &Path) -> bool {
        std::fs::canonicalize(root.join("sessions")).is_ok_and(|sessions| sessions == self.sessions)
            || self.root().is_some_and(|own| std::fs::canonicalize(root).is_ok_and(|root| root == own))
    }

    /// A folder of the tree, where it is the one that is worked in.
    ///
    /// # Errors
    /// If it is not there, or is not a directory.
    pub fn own_workspace(&self, folder: &str) -> Result<Workspace, files::Error> {
        Ok(Workspace::in_place(folder, Dir::open(&self.sessions.join(folder))?))
    }

    /// A folder of the tree, as a copy: its files may have several names.
    ///
    /// # Errors
    /// If it is not there, or is not a directory.
    pub fn workspace(&self, folder: &str) -> Result<Workspace, files::Error> {
        Ok(Workspace::of_copy(folder, Dir::open(&self.sessions.join(folder))?))
    }
}
