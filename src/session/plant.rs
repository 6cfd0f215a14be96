//! Sessions that come from elsewhere, many at once.
//!
//! Each is built aside; all are synced together and then given their names, one
//! rename each. So a kill or a power cut leaves whole sessions under their
//! names, and what was built and not yet named is thrown away by the next who
//! plants. Not here: what the sessions are made of.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::record::Record;
use super::settings::Settings;
use super::{Grant, Names, SessionError, Store};
use crate::files::{self, Dir, Durability, Lock, make_private_dir};
use crate::key::Key;

/// Sessions under construction.
#[derive(Debug)]
pub struct Planting<'a> {
    store: &'a Store,
    dir: Dir,
    sessions: Dir,
    access: Dir,
}

/// What became of a session that was to be given its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// It is there.
    Made,
    /// Something else has its name, or is just taking it.
    Taken,
}

impl Store {
    /// Throws away what somebody who planted left unfinished.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn forget_planting(&self, lock: &Lock) -> Result<(), SessionError> {
        debug_assert!(lock.path().starts_with(self.root()), "the lock is this store's");
        let path = self.state_path("tmp").join("planting");
        Ok(files::remove_whole(&path)?)
    }

    /// Begins to build sessions aside. Whoever plants holds `lock`, which all who
    /// plant in this store share; what another left unfinished is thrown away.
    ///
    /// # Errors
    /// If the directory for it cannot be made.
    pub fn planting(&self, lock: &Lock) -> Result<Planting<'_>, SessionError> {
        self.forget_planting(lock)?;
        let path = self.staging()?.path().join("planting");
        make_private_dir(&path, Durability::Process)?;
        for path in [self.sessions_path(), self.access_path()] {
            make_private_dir(&path, self.durability())?;
        }
        let (sessions, access) = (Dir::open(&self.sessions_path())?, Dir::open(&self.access_path())?);
        Ok(Planting { store: self, dir: Dir::open(&path)?, sessions, access })
    }
}

impl Planting<'_> {
    /// Builds the folder of a session, and returns where it is, so that more can
    /// be put into it. Nothing is synced yet.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn build(
        &self,
        record: &Record,
        settings: &Settings,
        instructions: Option<&[u8]>,
    ) -> Result<PathBuf, SessionError> {
        let folder = PathBuf::from(record.key.folder_name());
        self.dir.make_dir(&folder)?;
        self.dir.make_dir(&folder.join(settings.memory_path()))?;
        self.write(&folder.join("session.json"), &record.to_json())?;
        self.write(&folder.join("settings.json"), &settings.to_json())?;
        if let Some(instructions) = instructions {
            self.write(&folder.join("AGENTS.md"), instructions)?;
        }
        Ok(self.dir.path().join(folder))
    }

    /// Makes everything that was built survive a power cut, under names that
    /// nobody sees.
    ///
    /// # Errors
    /// If the disk reports a failure.
    pub fn sync(&self) -> Result<(), SessionError> {
        match self.store.durability() {
            Durability::Power => Ok(self.dir.sync_file_system()?),
            Durability::Process => Ok(()),
        }
    }

    /// Grants something to a session that was built.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn grant(&self, folder: &str, grant: &Grant) -> Result<(), SessionError> {
        Ok(grant.write_new(&self.access, folder)?)
    }

    /// Gives the folder of a key that was built its name. [`Planting::sync`]
    /// comes before the first, and again after the last.
    ///
    /// # Errors
    /// If it cannot be moved to its place.
    pub fn install(&self, key: &Key, place: &str) -> Result<Planted, SessionError> {
        let folder = key.folder_name();
        // Whoever holds the lock is about to make a session of this name. One who
        // takes it later finds the session, or is told that it is there.
        if files::is_locked(&self.store.state_path("locks").join(&folder))? {
            return Ok(Planted::Taken);
        }
        match self.dir.move_new(Path::new(&folder), &self.sessions) {
            Ok(true) => {
                // A link of the folder's own name would help nobody.
                if folder != key.as_str() {
                    Names::of(self.store).add_as(&folder, place, key.as_str());
                }
                Ok(Planted::Made)
            }
            Ok(false) => Ok(Planted::Taken),
            Err(error) => Err(error.into()),
        }
    }

    /// Throws away what was built and got no name.
    pub fn finish(self) {
        // What stays is thrown away by the next who plants.
        let _removed = files::remove_whole(self.dir.path());
    }

    /// The directory that is thrown away in the end.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &Path, bytes: &[u8]) -> Result<(), SessionError> {
        let mut file = self.dir.create_new(name)?;
        Ok(file.write_all(bytes).map_err(|source| files::Error::io("write", &self.dir.path().join(name), source))?)
    }
}
