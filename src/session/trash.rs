//! `trash/<time>-<folder>/`: removed sessions, until they are purged.
//!
//! Removing is one rename, so it is done or not done. What was granted to the
//! session stays in `access/`, where it counts for its uuid only.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::{Claim, Record, SessionError, Store, WorkspaceGuard};
use crate::files::{self, Dir, Durability, Lock};

/// A removed session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// Its name in the trash.
    pub name: String,
    /// The folder that it had.
    pub folder: String,
    /// When it was removed.
    pub removed_at: Timestamp,
    /// Where it is now.
    pub path: PathBuf,
}

/// The time at the start of a name in the trash, in UTC.
const TIME_FORMAT: &str = "%Y%m%dT%H%M%S%.3fZ";

impl Store {
    /// Where a folder would be in the trash, if it were removed now.
    #[must_use]
    pub fn place_in_trash(&self, folder: &str) -> Trashed {
        let removed_at = super::now();
        let name = format!("{}-{folder}", removed_at.strftime(TIME_FORMAT));
        Trashed { path: self.trash_path().join(&name), name, folder: folder.to_owned(), removed_at }
    }

    /// Moves a session to its place in the trash, and removes what was derived
    /// from it.
    ///
    /// # Errors
    /// If it cannot be moved; it is then where it was.
    pub fn trash(&self, guard: &WorkspaceGuard, place: &Trashed) -> Result<(), SessionError> {
        self.move_to_trash(place, Some(guard.record()))
    }

    /// Moves what stands under the name of a claimed folder to the trash, readable
    /// or not. `None` if there is nothing.
    ///
    /// # Errors
    /// If it cannot be moved; it is then where it was.
    pub fn trash_claimed(&self, _lock: &Lock, claim: &Claim) -> Result<Option<Trashed>, SessionError> {
        let folder = claim.folder();
        if self.sessions_path().join(folder).symlink_metadata().is_err() {
            return Ok(None);
        }
        // What cannot be read is moved all the same: that is what this is for.
        let record = self.open_folder(folder).ok().flatten().and_then(|workspace| workspace.record().ok());
        let place = self.place_in_trash(folder);
        self.move_to_trash(&place, record.as_ref())?;
        Ok(Some(place))
    }

    fn move_to_trash(&self, place: &Trashed, record: Option<&Record>) -> Result<(), SessionError> {
        let folder = place.folder.as_str();
        let trash = self.open_trash()?;
        let sessions = Dir::open(&self.sessions_path())?;
        sessions.move_entry(Path::new(folder), &trash, Path::new(&place.name))?;
        self.sync(&[&sessions, &trash])?;
        if let Some(record) = record {
            super::Names::of(self).remove(folder, record);
        }
        self.forget_homes(folder);
        Ok(())
    }

    /// The removed sessions, the latest last.
    ///
    /// # Errors
    /// If the trash cannot be read.
    pub fn trashed(&self) -> Result<Vec<Trashed>, SessionError> {
        let trash = match Dir::open(&self.trash_path()) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            opened => opened?,
        };
        let names = trash.names()?;
        let mut trashed: Vec<Trashed> = names.iter().filter_map(|name| parse(&trash, name.to_str()?)).collect();
        trashed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(trashed)
    }

    /// What is in the trash under a name, or `None` if there is nothing.
    ///
    /// # Errors
    /// If the trash cannot be read.
    pub fn trashed_as(&self, name: &str) -> Result<Option<Trashed>, SessionError> {
        let trash = match Dir::open(&self.trash_path()) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        let there = trash.stamp(Path::new(name))?.is_some();
        Ok(parse(&trash, name).filter(|_| there))
    }

    /// Moves a session back from the trash, readable or not.
    ///
    /// # Errors
    /// If its folder is taken, or it cannot be moved.
    pub fn untrash(&self, trashed: &Trashed) -> Result<(), SessionError> {
        let trash = Dir::open(&self.trash_path())?;
        let sessions = Dir::open(&self.sessions_path())?;
        let record = trash.open_dir(Path::new(&trashed.name)).ok();
        let record = record.and_then(|dir| super::workspace::read_record(&dir).ok()).map(|(record, _)| record);
        if sessions.stamp(Path::new(&trashed.folder))?.is_some() {
            return Err(SessionError::Taken(self.sessions_path().join(&trashed.folder)));
        }
        trash.move_entry(Path::new(&trashed.name), &sessions, Path::new(&trashed.folder))?;
        self.sync(&[&sessions, &trash])?;
        if let Some(record) = record {
            super::Names::of(self).add(&trashed.folder, &record);
        }
        Ok(())
    }

    /// What has been in the trash for longer than `age`.
    ///
    /// # Errors
    /// If the trash cannot be read.
    pub fn purgeable(&self, age: Duration) -> Result<Vec<Trashed>, SessionError> {
        let now = Timestamp::now();
        let mut trashed = self.trashed()?;
        trashed.retain(|trashed| {
            Duration::try_from(now.duration_since(trashed.removed_at)).is_ok_and(|since| since > age)
        });
        Ok(trashed)
    }

    /// Deletes one removed session for good. It leaves the trash whole, so that
    /// nobody can bring back a part of it.
    ///
    /// # Errors
    /// If it cannot be moved away, or not be deleted whole.
    pub fn purge_one(&self, trashed: &Trashed) -> Result<(), SessionError> {
        let staging = self.staging()?;
        let aside = staging.unique_name();
        let trash = Dir::open(&self.trash_path())?;
        trash.move_entry(Path::new(&trashed.name), &Dir::open(staging.path())?, &aside)?;
        Ok(files::remove_whole(&staging.path().join(aside))?)
    }

    fn open_trash(&self) -> Result<Dir, SessionError> {
        files::make_private_dir(&self.trash_path(), self.durability())?;
        Ok(Dir::open(&self.trash_path())?)
    }

    fn sync(&self, dirs: &[&Dir]) -> Result<(), SessionError> {
        if self.durability() == Durability::Power {
            for dir in dirs {
                dir.sync()?;
            }
        }
        Ok(())
    }
}

fn parse(trash: &Dir, name: &str) -> Option<Trashed> {
    let (time, folder) = name.split_once('-')?;
    let (date, rest) = (time.get(..8)?, time.get(9..)?);
    let rest = rest.strip_suffix('Z')?;
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        date.get(..4)?,
        date.get(4..6)?,
        date.get(6..)?,
        rest.get(..2)?,
        rest.get(2..4)?,
        rest.get(4..)?
    );
    Some(Trashed {
        name: name.to_owned(),
        folder: folder.to_owned(),
        removed_at: text.parse().ok()?,
        path: trash.path().join(name),
    })
}
