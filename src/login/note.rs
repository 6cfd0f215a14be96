//! The note about the copies of a login that one session's child has, in
//! `state/logins/<folder>`: whoever comes after a death finds them by it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{self, Dir, Durability, Staging, is_locked, make_private_dir};
use crate::provider::{LoginRules, Provider, built_in};
use crate::session::{SessionError, Store};

/// The longest note that is read, in bytes.
const MAX_NOTE_BYTES: u64 = 64 * 1024;

/// The copy of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Copied {
    /// The original: free of links, if it exists.
    pub(super) original: PathBuf,
    /// The copy, in the home.
    pub(super) copy: PathBuf,
    /// The hash of the copy when it last said what the original did; empty where
    /// there was no original.
    pub(super) same: String,
}

/// The copies of one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CopyNote {
    /// The built-in provider, whose rules hold.
    pub(super) provider: String,
    /// The name of its home.
    pub(super) home: String,
    /// The login.
    pub(super) login: Copied,
    /// Copies of what lies with it, in the home; they are only removed.
    pub(super) more: Vec<PathBuf>,
}

impl CopyNote {
    /// The note of a folder, if there is one.
    pub(super) fn read(store: &Store, folder: &str) -> Option<Self> {
        let bytes = Dir::open(&store.state_path("logins")).ok()?.read(Path::new(folder), MAX_NOTE_BYTES).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The folders that have notes.
    pub(super) fn folders(store: &Store) -> Vec<String> {
        let names = Dir::open(&store.state_path("logins")).and_then(|dir| dir.names()).unwrap_or_default();
        names.into_iter().filter_map(|name| name.into_string().ok()).collect()
    }

    /// Writes it. What has to outlast a power cut is synced.
    pub(super) fn write(&self, store: &Store, folder: &str, durability: Durability) -> Result<(), SessionError> {
        let path = store.state_path("logins");
        let dir = match Dir::open(&path) {
            Err(error) if error.is_not_found() => {
                make_private_dir(&path, Durability::Process)?;
                Dir::open(&path)?
            }
            opened => opened?,
        };
        let text = serde_json::to_vec(self).unwrap_or_default();
        let staging = Staging::new(Dir::open(store.staging()?.path())?, durability);
        dir.replace(Path::new(folder), &text, &staging)?;
        Ok(())
    }

    /// Removes the note of a folder.
    pub(super) fn remove(store: &Store, folder: &str) -> Result<(), files::Error> {
        Dir::open(&store.state_path("logins"))?.remove_file(Path::new(folder))
    }

    /// How the login is renewed.
    pub(super) fn rules(&self) -> &'static LoginRules {
        self.provider().map_or(&LoginRules::FIXED, |provider| provider.login_rules())
    }

    /// The provider.
    pub(super) fn provider(&self) -> Option<&'static dyn Provider> {
        built_in(&self.provider)
    }

    /// The home, opened.
    pub(super) fn open_home(&self, store: &Store, folder: &str) -> Result<Dir, files::Error> {
        Dir::open(&store.homes_path(folder).join(&self.home))
    }
}

/// Whether nobody has the session: neither a turn nor what one has started.
pub(super) fn is_dead(store: &Store, folder: &str) -> bool {
    let free = |path: PathBuf| is_locked(&path).is_ok_and(|locked| !locked);
    free(store.state_path("locks").join(folder)) && free(store.run_lock_path(folder))
}
