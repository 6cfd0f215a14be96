//! The store: where sessions are, which folder is whose, and how one is made.
//!
//! No index and no cache: the folders are read at each use. Reading makes
//! nothing on disk; directories come into being with the first change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::claim::Claim;
use super::record::Record;
use super::settings::Settings;
use super::workspace::{Workspace, WorkspaceGuard, read_record, read_record_of};
use super::{Names, SessionError};
use crate::files::{self, Dir, Durability, Lock, Staging, make_private_dir};
use crate::key::Key;

/// The root, and everything below it that belongs to sessions.
///
/// ```text
/// <root>/
///   denizen.toml                  configuration
///   sessions/<folder>/            one session: see [`Workspace`]
///   access/sessions/<folder>.json what the owner granted, bound to a uuid
///   names/<where>/<title>         links to sessions/, for people
///   state/                        this machine only, never in a backup
///     locks/<folder>  <folder>.run    advisory locks: the session, its running child
///     permits/        control/        global turn permits; stop requests, changed sessions
///     queue/<folder>/                 accepted, unanswered messages, and who waits
///     homes/<folder>/<provider>/      provider homes, rebuilt at will
///     discarded/                      homes that were thrown away, until removed
///     cleanup/<time>.jsonl            what the last cleanup did
///     granted/<folder>.json           what stood in granted directories while a child runs
///     conflicts/      tmp/            set-aside bytes; temporaries
///   trash/<time>-<folder>/        removed sessions until purged
/// ```
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    durability: Durability,
    staging: OnceLock<Staging>,
    turnstile: tokio::sync::Mutex<()>,
    given_back: Arc<tokio::sync::Notify>,
}

/// A session that is to be made.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its key.
    pub key: Key,
    /// Where it is made: `terminal`, or the name of a channel.
    pub place: String,
    /// What people call it.
    pub title: Option<String>,
    /// The named agent that it belongs to.
    pub agent: Option<String>,
    /// The content of its `AGENTS.md`.
    pub instructions: Option<Vec<u8>>,
    /// Its settings.
    pub settings: Settings,
}

impl NewSession {
    /// A session with nothing special about it.
    #[must_use]
    pub fn plain(key: Key, place: &str) -> Self {
        let settings = Settings::default();
        Self { key, place: place.to_owned(), title: None, agent: None, instructions: None, settings }
    }
}

/// A folder below `sessions/`.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub folder: String,
    /// Its record, or why it cannot be read.
    pub record: Result<Box<Record>, SessionError>,
}

impl Store {
    /// The store below a root. Nothing is read or made.
    #[must_use]
    pub fn at(root: &Path, durability: Durability) -> Self {
        let (staging, turnstile, given_back) = (OnceLock::new(), Default::default(), Default::default());
        Self { root: root.to_owned(), durability, staging, turnstile, given_back }
    }

    /// Held by the one turn of this process that stands in line for a permit.
    #[must_use]
    pub fn turnstile(&self) -> &tokio::sync::Mutex<()> {
        &self.turnstile
    }

    /// Rung when this process gives a permit back.
    #[must_use]
    pub fn given_back(&self) -> &Arc<tokio::sync::Notify> {
        &self.given_back
    }

    /// What acknowledged writes survive.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of all sessions.
    #[must_use]
    pub fn sessions_path(&self) -> PathBuf {
        self.root.join("sessions")
    }

    /// The directory of grants.
    #[must_use]
    pub fn access_path(&self) -> PathBuf {
        self.root.join("access/sessions")
    }

    /// The directory of links for people.
    #[must_use]
    pub fn names_path(&self) -> PathBuf {
        self.root.join("names")
    }

    /// The directory of removed sessions.
    #[must_use]
    pub fn trash_path(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// A directory or file of this machine's state.
    #[must_use]
    pub fn state_path(&self, name: &str) -> PathBuf {
        self.root.join("state").join(name)
    }

    /// The queue of a folder.
    #[must_use]
    pub fn queue_path(&self, folder: &str) -> PathBuf {
        self.state_path("queue").join(folder)
    }

    /// The provider homes of a folder.
    #[must_use]
    pub fn homes_path(&self, folder: &str) -> PathBuf {
        self.state_path("homes").join(folder)
    }

    /// The directory of bytes that were set aside.
    #[must_use]
    pub fn conflicts_path(&self) -> PathBuf {
        self.state_path("conflicts")
    }

    /// The lock of a folder; its directory is made if it is missing.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn lock_path(&self, folder: &str) -> Result<PathBuf, SessionError> {
        let locks = self.state_path("locks");
        if !locks.is_dir() {
            make_private_dir(&locks, Durability::Process)?;
        }
        Ok(locks.join(folder))
    }

    /// The lock that the launcher of a folder's running child holds.
    #[must_use]
    pub fn run_lock_path(&self, folder: &str) -> PathBuf {
        self.state_path("locks").join(format!("{folder}.run"))
    }

    /// The directory for temporaries; made at its first use.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn staging(&self) -> Result<&Staging, SessionError> {
        if let Some(staging) = self.staging.get() {
            return Ok(staging);
        }
        let path = self.state_path("tmp");
        let dir = match Dir::open(&path) {
            Err(error) if error.is_not_found() => {
                make_private_dir(&path, Durability::Process)?;
                Dir::open(&path)?
            }
            opened => opened?,
        };
        Ok(self.staging.get_or_init(|| Staging::new(dir, self.durability)))
    }

    /// The same for what means nothing after a power cut: nothing is synced.
    ///
    /// # Errors
    /// If the directory cannot be made or opened.
    pub fn unsynced_staging(&self) -> Result<Staging, SessionError> {
        Ok(Staging::new(Dir::open(self.staging()?.path())?, Durability::Process))
    }

    /// Finishes what a power cut may have left half done, before anything is read.
    pub fn recover(&self) {
        files::finish_renames(&self.state_path("tmp"));
    }

    /// The workspace of a key, or `None` if there is none.
    ///
    /// # Errors
    /// If something stands under its name that is not a directory.
    pub fn find(&self, key: &Key) -> Result<Option<Workspace>, SessionError> {
        self.open_folder(&key.folder_name())
    }

    /// The workspace of a folder, or `None` if there is none.
    ///
    /// # Errors
    /// If something stands under its name that is not a directory.
    pub fn open_folder(&self, folder: &str) -> Result<Option<Workspace>, SessionError> {
        match Dir::open_own_dir(&self.sessions_path().join(folder)) {
            Ok(dir) => Ok(Some(Workspace::new(folder, dir))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of all folders, in no order, one at a time. Other entries are
    /// left out.
    ///
    /// # Errors
    /// If `sessions/` cannot be read.
    pub fn folders(&self) -> Result<impl Iterator<Item = Result<String, SessionError>> + use<>, SessionError> {
        let path = self.sessions_path();
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(files::Error::io("list", &path, error).into()),
        };
        Ok(entries.into_iter().flatten().filter_map(move |entry| match entry {
            Ok(entry) => entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')).map(Ok),
            Err(source) => Some(Err(files::Error::io("list", &path, source).into())),
        }))
    }

    /// Reads every session, one after the other, in no order.
    ///
    /// # Errors
    /// If `sessions/` cannot be read. A session that cannot is among them.
    pub fn listed(&self) -> Result<impl Iterator<Item = Listed>, SessionError> {
        let folders = self.folders()?.collect::<Result<Vec<_>, _>>()?;
        let sessions = if folders.is_empty() { None } else { Some(Dir::open_own_dir(&self.sessions_path())?) };
        Ok(folders.into_iter().filter_map(move |folder| {
            let record = read_record_of(sessions.as_ref()?, &folder).map(Box::new);
            Some(Listed { folder, record })
        }))
    }

    /// Reads every session, on two threads, in no order.
    ///
    /// # Errors
    /// If `sessions/` cannot be read. A session that cannot is in the list.
    pub fn list(&self) -> Result<Vec<Listed>, SessionError> {
        let folders = self.folders()?.collect::<Result<Vec<_>, _>>()?;
        if folders.is_empty() {
            return Ok(Vec::new());
        }
        let sessions = Dir::open_own_dir(&self.sessions_path())?;
        let half = folders.len().div_ceil(2);
        let read = |folders: &[String]| -> Vec<Listed> {
            folders
                .iter()
                .map(|folder| Listed {
                    folder: folder.clone(),
                    record: read_record_of(&sessions, folder).map(Box::new),
                })
                .collect()
        };
        let (first, second) = folders.split_at(half);
        Ok(std::thread::scope(|scope| {
            let other = scope.spawn(|| read(second));
            let mut listed = read(first);
            match other.join() {
                Ok(more) => listed.extend(more),
                Err(panicked) => std::panic::resume_unwind(panicked),
            }
            listed
        }))
    }

    /// Makes a session: its folder is built aside and then given its name, so
    /// that it exists whole or not at all.
    ///
    /// # Errors
    /// If it cannot be made, or something stands under its name.
    pub fn create(&self, lock: Lock, claim: Claim, new: NewSession) -> Result<WorkspaceGuard, SessionError> {
        let mut record = Record::new(new.key.clone(), &new.place);
        record.title = new.title;
        record.agent = new.agent;
        let built = self.build(&record, &new.settings, new.instructions.as_deref())?;
        self.install(lock, claim, &built, record)
    }

    /// Gives a folder that was built aside the name of the claimed one, by one
    /// rename.
    ///
    /// # Errors
    /// If something stands under its name; what was built is then removed.
    pub fn install(
        &self,
        lock: Lock,
        claim: Claim,
        built: &Path,
        record: Record,
    ) -> Result<WorkspaceGuard, SessionError> {
        let folder = claim.folder().to_owned();
        let sessions = self.sessions_path();
        if !sessions.is_dir() {
            make_private_dir(&sessions, self.durability)?;
        }
        let target = sessions.join(&folder);
        let renamed = match rustix::fs::renameat_with(CWD, built, CWD, &target, RenameFlags::NOREPLACE) {
            // A file system without that flag; the session's lock is held.
            Err(Errno::INVAL | Errno::NOSYS) if !target.exists() => rustix::fs::rename(built, &target),
            renamed => renamed,
        };
        if let Err(errno) = renamed {
            let _removed = files::remove_whole(built);
            return Err(match errno {
                Errno::EXIST | Errno::NOTEMPTY => SessionError::Exists(record.key),
                errno => files::Error::io("make the session", &target, errno).into(),
            });
        }
        if self.durability == Durability::Power {
            Dir::open(&sessions)?.sync()?;
        }
        Names::of(self).add(&folder, &record);
        let dir = Dir::open_own_dir(&target)?;
        let (record, stamp) = read_record(&dir)?;
        WorkspaceGuard::new(Workspace::new(&folder, dir), record, stamp, lock, claim)
    }

    /// Builds the folder of a new session in the directory for temporaries.
    pub(super) fn build(
        &self,
        record: &Record,
        settings: &Settings,
        instructions: Option<&[u8]>,
    ) -> Result<PathBuf, SessionError> {
        let staging = self.staging()?;
        let path = staging.path().join(staging.unique_name());
        let fill = || -> Result<(), SessionError> {
            make_private_dir(&path.join(settings.memory_path()), Durability::Process)?;
            let dir = Dir::open(&path)?;
            self.write_new(&dir, "session.json", &record.to_json())?;
            self.write_new(&dir, "settings.json", &settings.to_json())?;
            if let Some(instructions) = instructions {
                self.write_new(&dir, "AGENTS.md", instructions)?;
            }
            if self.durability == Durability::Power {
                dir.sync()?;
            }
            Ok(())
        };
        match fill() {
            Ok(()) => Ok(path),
            Err(error) => {
                let _removed = files::remove_whole(&path);
                Err(error)
            }
        }
    }

    /// Writes a file that nobody can see yet, so it needs no temporary.
    fn write_new(&self, dir: &Dir, name: &str, bytes: &[u8]) -> Result<(), SessionError> {
        use std::io::Write;
        let path = dir.path().join(name);
        let mut file = dir.create_new(Path::new(name))?;
        file.write_all(bytes).map_err(|source| files::Error::io("write", &path, source))?;
        if self.durability == Durability::Power {
            file.sync_all().map_err(|source| files::Error::io("sync", &path, source))?;
        }
        Ok(())
    }

    /// Removes the provider homes of a folder, which are rebuilt at will.
    pub fn forget_homes(&self, folder: &str) {
        // What stays behind is thrown away by its stamp at the next use.
        let _discarded = self.discard(&self.homes_path(folder));
    }

    /// The key that a person means: a key, else the one session whose title is
    /// the text, else the one whose key or title starts with it.
    ///
    /// # Errors
    /// If no session or several fit.
    pub fn resolve(&self, text: &str) -> Result<Key, SessionError> {
        let key = text.parse::<Key>().ok();
        if let Some(key) = &key
            && self.find(key)?.is_some()
        {
            return Ok(key.clone());
        }
        let keys = self.list()?;
        let known: Vec<_> = keys.iter().filter_map(|listed| listed.record.as_ref().ok()).collect();
        let pick = |fits: &dyn Fn(&Record) -> bool| -> Option<Result<Key, SessionError>> {
            let mut found: Vec<&Key> = known.iter().filter(|record| fits(record)).map(|record| &record.key).collect();
            found.sort();
            match found.as_slice() {
                [] => None,
                [one] => Some(Ok((*one).clone())),
                several => {
                    let mut names: Vec<String> = several.iter().take(5).map(|key| format!("`{key}`")).collect();
                    if several.len() > 5 {
                        names.push(format!("and {} more", several.len() - 5));
                    }
                    Some(Err(SessionError::Ambiguous { text: text.to_owned(), matches: names.join(", ") }))
                }
            }
        };
        pick(&|record| record.title.as_deref() == Some(text))
            .or_else(|| {
                pick(&|record| {
                    !text.is_empty()
                        && (record.key.as_str().starts_with(text)
                            || record.title.as_deref().is_some_and(|title| title.starts_with(text)))
                })
            })
            .unwrap_or_else(|| Err(SessionError::NoSuchSession(text.to_owned())))
    }
}
