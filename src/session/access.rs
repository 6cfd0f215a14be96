//! `access/sessions/<folder>.json`: what the owner granted to one session.
//!
//! Outside the session's folder, because an agent can write everything inside
//! it; bound to the session's uuid, so that whoever takes its key gets nothing.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{SessionError, Store};
use crate::files::{self, Dir};

/// The longest grant that is read, in bytes.
const MAX_GRANT_BYTES: u64 = 1 << 20;

/// What was granted. Fields that are not known here survive a save.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The session that it is for.
    pub uuid: Uuid,
    /// The directory that the session works in, instead of its own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<PathBuf>,
    /// Whether that holds only until a fresh conversation begins: the current
    /// one belongs to that directory and could not be moved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub until_new: bool,
    /// What this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Grant {
    /// No grant at all.
    #[must_use]
    pub fn none(uuid: Uuid) -> Self {
        Self { uuid, working_dir: None, until_new: false, extra: Map::new() }
    }

    /// What was granted to the session of this folder and uuid. A grant for
    /// another uuid is none.
    ///
    /// # Errors
    /// Where the file exists and cannot be read.
    pub fn read(store: &Store, folder: &str, uuid: Uuid) -> Result<Self, SessionError> {
        let dir = match Dir::open(&store.access_path()) {
            Err(error) if error.is_not_found() => return Ok(Self::none(uuid)),
            opened => opened?,
        };
        match Self::read_in(&dir, folder) {
            Ok(grant) if grant.uuid == uuid => Ok(grant),
            Ok(_) => Ok(Self::none(uuid)),
            Err(SessionError::File(error)) if error.is_not_found() => Ok(Self::none(uuid)),
            Err(error) => Err(error),
        }
    }

    /// What a directory of grants holds for a folder, for whichever uuid.
    ///
    /// # Errors
    /// Where there is nothing, or it cannot be read.
    pub fn read_in(dir: &Dir, folder: &str) -> Result<Self, SessionError> {
        let name = file_name(folder);
        let bytes = dir.read(Path::new(&name), MAX_GRANT_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|error| SessionError::json(dir.path().join(&name), &error))
    }

    /// Takes back what holds only until a fresh conversation begins. Returns
    /// whether there was anything, which is then to be saved.
    #[must_use]
    pub fn end_with_conversation(&mut self) -> bool {
        let ends = std::mem::take(&mut self.until_new);
        if ends {
            self.working_dir = None;
        }
        ends
    }

    /// Saves the grant.
    ///
    /// # Errors
    /// Where the file cannot be replaced.
    pub fn save(&self, store: &Store, folder: &str) -> Result<(), SessionError> {
        files::make_private_dir(&store.access_path(), store.durability())?;
        let dir = Dir::open(&store.access_path())?;
        dir.replace(Path::new(&file_name(folder)), &self.to_json(), store.staging()?)?;
        Ok(())
    }

    /// Writes the grant of a session that is not there yet, so that nobody can
    /// read a part of it. Nothing is synced.
    pub(super) fn write_new(&self, access: &Dir, folder: &str) -> Result<(), files::Error> {
        let name = file_name(folder);
        let path = Path::new(&name);
        let mut file = match access.create_new(path) {
            // Of a session that was removed, or that was about to be made.
            Err(files::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                access.remove_file(path)?;
                access.create_new(path)?
            }
            created => created?,
        };
        file.write_all(&self.to_json()).map_err(|source| files::Error::io("write", &access.path().join(path), source))
    }

    fn to_json(&self) -> Vec<u8> {
        // Serialising plain data into memory cannot fail.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

fn file_name(folder: &str) -> String {
    format!("{folder}.json")
}
