//! What of the person's has a say in a directory that was granted: the
//! configuration of git that holds for all repositories, and others outside.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::ground::Ground;
use crate::files;
use crate::repository::Outside;

/// The largest file of it that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where it lies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonalGit {
    /// The person's home.
    pub home: Option<PathBuf>,
    /// Git's configuration for all repositories (git-config(1), "FILES").
    pub files: Vec<PathBuf>,
    /// What is shared for writing, as the configuration names it.
    pub shared: Vec<PathBuf>,
}

impl PersonalGit {
    /// Does something with it. A file is only read if no link that an agent could
    /// have made leads to it.
    pub fn with<T>(&self, ground: &Ground<'_>, act: impl FnOnce(&Outside<'_>) -> T) -> T {
        let read = |path: &Path| {
            let file = files::open_linkless(&ground.follow(path).ok()?.real).ok()?;
            let mut bytes = Vec::new();
            let length = file.take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
            (length as u64 <= MAX_FILE).then_some(bytes)
        };
        act(&Outside { home: self.home.as_deref(), everywhere: &self.files, read: &read })
    }
}
