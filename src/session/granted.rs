//! The directories that are granted to a session, around a child's run: what
//! stood there is noted before it starts and compared after its end, by whoever
//! has the session then. A kill in between leaves the note.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{SessionError, Store, WorkspaceGuard};
use crate::causes::with_causes;
use crate::files::{self, Dir, Durability, Lock, Staging, is_locked, make_private_dir};
use crate::key::hex;
use crate::repository::{self, Before, Granted, Known, Outside, Over};

/// The longest note that is read, in bytes.
const MAX_NOTE: u64 = 256 << 20;

/// What is noted of a session.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// What stood in each directory, as long as nobody has compared it.
    #[serde(default)]
    before: Vec<Before>,
    /// What was compared, and is to be tried again.
    #[serde(default)]
    left: Vec<Before>,
    /// What the person is to be told when the session is next in hand.
    #[serde(default)]
    told: Vec<String>,
}

impl WorkspaceGuard {
    /// Looks at what is granted to a child that is about to start, and notes it.
    /// Returns what is to be mounted over itself, which is nothing if nothing
    /// can be mounted.
    ///
    /// # Errors
    /// If a directory or something in it cannot be looked at, or the note cannot
    /// be written.
    pub fn watch_granted(
        &self,
        granted: &[Granted],
        mounts: bool,
        outside: &Outside<'_>,
    ) -> Result<Vec<Over>, files::Error> {
        let (store, folder) = (self.store(), self.folder());
        let granted: Vec<&Granted> = granted.iter().filter(|granted| !granted.protect.is_none()).collect();
        if granted.is_empty() {
            return Ok(Vec::new());
        }
        let mut note = match Dir::open(&store.notes_path()) {
            Ok(dir) => read_note(&dir, folder)?.unwrap_or_default(),
            Err(_) => Note::default(),
        };
        let others = store.notes_of_others(folder, &granted);
        let mut over = Vec::new();
        let mut all = Vec::new();
        for granted in granted {
            let begin = |known: &mut Known| repository::begin(granted, mounts, known, outside);
            let mut begun = store.with_known(&granted.path, begin)??;
            others.iter().filter(|other| other.is_about(&granted.path)).for_each(|other| begun.before.defer_to(other));
            over.extend(begun.over);
            note.told.extend(begun.words);
            all.push(begun.before);
        }
        // Of several children of one turn, the first began with what counts.
        if note.before.is_empty() {
            note.before = all;
        }
        store.write_note(folder, &note)?;
        Ok(over)
    }

    /// Compares what is granted with what was noted, sets aside what programs of
    /// the person's would run, and keeps the words about it for
    /// [`WorkspaceGuard::take_notices`].
    pub fn settle_granted(&mut self) {
        let words = self.store().settle_granted(self.folder());
        self.tell(words);
    }
}

impl Store {
    fn notes_path(&self) -> PathBuf {
        self.state_path("granted")
    }

    fn write_note(&self, folder: &str, note: &Note) -> Result<(), files::Error> {
        let path = self.notes_path();
        make_private_dir(&path, Durability::Process)?;
        let dir = Dir::open(&path)?;
        let bytes = serde_json::to_vec(note)
            .map_err(|error| files::Error::io("write", &path.join(name(folder)), std::io::Error::other(error)))?;
        // It is to survive the end of any process. Syncing it would cost each turn more
        // than everything else does.
        let staging = Staging::new(Dir::open(&path)?, Durability::Process);
        dir.replace(&name(folder), &bytes, &staging)?;
        Ok(())
    }

    /// What is not protected in a granted directory, as was told of it last.
    ///
    /// # Errors
    /// If what is known of it cannot be read.
    pub fn gaps_in_granted(&self, granted: &Path) -> Result<Vec<String>, files::Error> {
        self.with_known(granted, |known| known.told().to_owned())
    }

    /// Does something with what is known of a granted directory, and nobody else
    /// does meanwhile: what one of two sessions found would be forgotten.
    fn with_known<T>(&self, granted: &Path, act: impl FnOnce(&mut Known) -> T) -> Result<T, files::Error> {
        let path = self.state_path("repositories");
        make_private_dir(&path, Durability::Process)?;
        let dir = Dir::open(&path)?;
        let hash = hex(&Sha256::digest(granted.as_os_str().as_bytes())[..16]);
        let _lock = Lock::take(&path.join(format!("{hash}.lock")))?;
        let name = PathBuf::from(format!("{hash}.json"));
        let bytes = match dir.read(&name, MAX_NOTE) {
            Err(error) if error.is_not_found() => Vec::new(),
            read => read?,
        };
        // What a power cut tore is found again.
        let before: Known = serde_json::from_slice(&bytes).unwrap_or_default();
        let mut known = before.clone();
        let done = act(&mut known);
        if known != before {
            let error = |error| files::Error::io("write", &path.join(&name), std::io::Error::other(error));
            let bytes = serde_json::to_vec(&known).map_err(error)?;
            dir.replace(&name, &bytes, &Staging::new(Dir::open(&path)?, Durability::Process))?;
        }
        Ok(done)
    }

    /// What other sessions noted of the same files and are still at. What one
    /// left that nobody has in hand is settled first.
    fn notes_of_others(&self, folder: &str, granted: &[&Granted]) -> Vec<Before> {
        let Ok(dir) = Dir::open(&self.notes_path()) else { return Vec::new() };
        let mut all = Vec::new();
        for file in dir.names().unwrap_or_default() {
            let other = file.to_str().and_then(|name| name.strip_suffix(".json")).filter(|other| *other != folder);
            let Some((other, Ok(Some(note)))) = other.map(|other| (other, read_note(&dir, other))) else { continue };
            if !note.before.iter().any(|before| granted.iter().any(|granted| before.is_about(&granted.path))) {
                continue;
            }
            // If it cannot be settled now, what it noted holds.
            if !self.settle_idle(&dir, other).is_ok_and(|settled| settled.is_some()) {
                all.extend(note.before);
            }
        }
        all
    }

    fn settle_granted(&self, folder: &str) -> Vec<String> {
        let Ok(dir) = Dir::open(&self.notes_path()) else { return Vec::new() };
        let (mut words, left) = self.compare_granted(&dir, folder);
        let noted = match left.is_empty() {
            true => dir.remove_file(&name(folder)),
            false => self.write_note(folder, &Note { left, ..Note::default() }),
        };
        words.extend(noted.err().map(|error| with_causes(&error)));
        words
    }

    /// Compares, and returns what is told and what is to be tried again.
    fn compare_granted(&self, dir: &Dir, folder: &str) -> (Vec<String>, Vec<Before>) {
        let note = match read_note(dir, folder) {
            Ok(note) => note.unwrap_or_default(),
            Err(error) => return (vec![with_causes(&error)], Vec::new()),
        };
        let (mut words, mut left) = (note.told, Vec::new());
        for before in note.before.into_iter().chain(note.left) {
            let mut aside = |parent: &Dir, name: &Path| self.set_aside_from(folder, parent, name);
            match self.with_known(before.path(), |known| repository::settle(&before, known, &mut aside)) {
                Ok(settled) => {
                    words.extend(settled.words);
                    left.extend(settled.left);
                }
                Err(error) => {
                    words.push(with_causes(&error));
                    left.push(before);
                }
            }
        }
        (words, left)
    }

    /// Does the same for every session that nobody has in hand and whose child
    /// was cut off, and leaves what is to be told to whoever has it next.
    /// Returns the words of each, with its folder.
    ///
    /// # Errors
    /// If a lock cannot be tried, or a note cannot be written.
    pub fn settle_all_granted(&self) -> Result<Vec<(String, String)>, SessionError> {
        let mut all = Vec::new();
        let Ok(dir) = Dir::open(&self.notes_path()) else { return Ok(all) };
        for file in dir.names()? {
            let Some(folder) = file.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            let words = self.settle_idle(&dir, folder)?.unwrap_or_default();
            all.extend(words.into_iter().map(|word| (folder.to_owned(), word)));
        }
        Ok(all)
    }

    /// For one session. `None` if somebody has it in hand.
    fn settle_idle(&self, dir: &Dir, folder: &str) -> Result<Option<Vec<String>>, SessionError> {
        let Some(_lock) = Lock::try_take(&self.lock_path(folder)?)? else { return Ok(None) };
        if is_locked(&self.run_lock_path(folder))? {
            return Ok(None);
        }
        let (told, left) = self.compare_granted(dir, folder);
        match told.is_empty() && left.is_empty() {
            true => dir.remove_file(&name(folder))?,
            false => self.write_note(folder, &Note { told: told.clone(), left, ..Note::default() })?,
        }
        Ok(Some(told))
    }

    /// Moves something of a granted directory to `state/conflicts/`; if that
    /// is on another file system, to another name next to it.
    fn set_aside_from(&self, folder: &str, parent: &Dir, name: &Path) -> Result<PathBuf, files::Error> {
        let path = self.conflicts_path();
        make_private_dir(&path, self.durability())?;
        let conflicts = Dir::open(&path)?;
        let unique = uuid::Uuid::now_v7().simple().to_string();
        let kept = PathBuf::from(format!("{folder}-{unique}-{}", name.display()));
        match parent.with_rights(|| parent.move_entry(name, &conflicts, &kept)) {
            Err(error) if error.os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) => {
                let beside = PathBuf::from(format!("{}.set-aside-{unique}", name.display()));
                parent.with_rights(|| parent.move_entry(name, parent, &beside))?;
                Ok(parent.path().join(beside))
            }
            moved => moved.map(|()| conflicts.path().join(kept)),
        }
    }
}

fn read_note(dir: &Dir, folder: &str) -> Result<Option<Note>, files::Error> {
    let name = name(folder);
    let bytes = match dir.read(&name, MAX_NOTE) {
        Err(error) if error.is_not_found() => return Ok(None),
        read => read?,
    };
    let note = serde_json::from_slice(&bytes);
    note.map(Some).map_err(|error| files::Error::io("read", &dir.path().join(name), std::io::Error::other(error)))
}

fn name(folder: &str) -> PathBuf {
    PathBuf::from(format!("{folder}.json"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::repository::Protect;

    #[test]
    fn what_two_sessions_find_at_once_is_known_of_both() {
        let temporary = tempfile::tempdir().expect("a directory");
        let dir = std::fs::canonicalize(temporary.path()).expect("its path");
        let store = Store::at(&dir.join("root"), Durability::Process);
        let granted = Granted { path: dir.join("g"), skip: Vec::new(), protect: Protect::default() };
        let make = |name: &str| std::fs::create_dir_all(granted.path.join(name).join(".git")).expect("a repository");
        make("one");
        let outside = |known: &mut Known| {
            let outside = Outside { home: None, everywhere: &[], read: &|_| None };
            repository::begin(&granted, false, known, &outside).map(drop).expect("looked at");
        };
        let (looked, told) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let slow = |known: &mut Known| {
                    outside(known);
                    looked.send(()).expect("heard");
                    std::thread::sleep(std::time::Duration::from_millis(200));
                };
                store.with_known(&granted.path, slow).expect("known");
            });
            told.recv().expect("told");
            make("two");
            store.with_known(&granted.path, outside).expect("known");
        });
        let known = store.with_known(&granted.path, |known| serde_json::to_value(&*known)).expect("known");
        let known = known.expect("JSON");
        assert_eq!(known["git_dirs"].as_object().map(|dirs| dirs.keys().count()), Some(2), "{known}");
    }
}
