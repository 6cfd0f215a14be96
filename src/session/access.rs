//! `access/sessions/<folder>.json`: what the owner granted to one session.
//!
//! Outside the session's folder, because an agent can write everything inside
//! it; bound to the session's uuid, so that whoever takes its key gets nothing.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{SessionError, Store};
use crate::files::{self, Dir};

/// The longest grant that is read, in bytes.
const MAX_GRANT_BYTES: u64 = 1 << 20;

/// How long the directory of grants has to be unchanged before what was read of
/// it is kept: a change within the same tick of the clock would not show.
const SETTLED: Duration = Duration::from_millis(100);

/// From how many grants on they are kept in a file.
const MANY: usize = 200;

/// That file, in `state/`.
const GRANTED: &str = "directories";

/// The granted directories that were read last, and of which root.
static READ: Mutex<Option<(PathBuf, Grants)>> = Mutex::new(None);

/// All granted directories.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Grants {
    /// When the directory of grants last changed.
    changed: (u64, i64, i64),
    directories: Vec<PathBuf>,
}

impl Grants {
    fn stamp(found: &std::fs::Metadata) -> (u64, i64, i64) {
        (found.ino(), found.ctime(), found.ctime_nsec())
    }

    fn keep(&self, store: &Store) -> Result<(), SessionError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        Dir::open(&store.state_path(""))?.replace(Path::new(GRANTED), &text, store.staging()?)?;
        Ok(())
    }
}

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
    /// If the file exists and cannot be read.
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
    /// If there is nothing, or it cannot be read.
    pub fn read_in(dir: &Dir, folder: &str) -> Result<Self, SessionError> {
        let name = file_name(folder);
        let bytes = dir.read(Path::new(&name), MAX_GRANT_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|error| SessionError::json(dir.path().join(&name), &error))
    }

    /// The directories that were granted to any session. They are read again once
    /// a grant was written or removed, as each is replaced whole; where they are
    /// many, `state/directories` keeps them for the next program too.
    #[must_use]
    pub fn directories(store: &Store) -> Vec<PathBuf> {
        let grants = store.access_path();
        let Ok(found) = std::fs::metadata(&grants) else { return Vec::new() };
        let now = Grants::stamp(&found);
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, granted)) = &*read
            && *of == grants
            && granted.changed == now
        {
            return granted.directories.clone();
        }
        let kept = std::fs::read(store.state_path(GRANTED)).ok();
        let kept = kept.and_then(|text| serde_json::from_slice::<Grants>(&text).ok());
        let kept = kept.filter(|kept| kept.changed == now);
        // A change within the same tick of the clock would not show.
        let is_settled = found.modified().is_ok_and(|then| then.elapsed().is_ok_and(|age| age > SETTLED));
        let granted = kept.unwrap_or_else(|| {
            let (files, directories) = Self::read_directories(&grants);
            let granted = Grants { changed: now, directories };
            if is_settled && files >= MANY {
                // Without it the next program reads them all again.
                let _kept = granted.keep(store);
            }
            granted
        });
        *read = is_settled.then(|| (grants, granted.clone()));
        granted.directories
    }

    /// How many grants there are, and the directories that they name.
    fn read_directories(grants: &Path) -> (usize, Vec<PathBuf>) {
        let Ok(dir) = Dir::open(grants) else { return (0, Vec::new()) };
        let names = dir.names().unwrap_or_default();
        let count = names.len();
        let folders = names.into_iter().filter_map(|name| Some(name.to_str()?.strip_suffix(".json")?.to_owned()));
        let mut found: Vec<PathBuf> =
            folders.filter_map(|folder| Self::read_in(&dir, &folder).ok()?.working_dir).collect();
        found.sort();
        found.dedup();
        (count, found)
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
    /// If the file cannot be replaced.
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
