//! The directories that are granted to a session, around a child's run: what
//! stood there is noted before it starts and compared after its end, by whoever
//! has the session then. A kill in between leaves the note.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{SessionError, Store, WorkspaceGuard};
use crate::causes::with_causes;
use crate::files::{self, Dir, Durability, Lock, Staging, is_locked, make_private_dir};
use crate::repository::{self, Before, Granted, Over};

/// The longest note that is read, in bytes.
const MAX_NOTE: u64 = 256 << 20;

/// What is noted of a session.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// What stood in each directory, as long as nobody has compared it.
    #[serde(default)]
    before: Vec<Before>,
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
    /// If a directory cannot be opened, or the note cannot be written.
    pub fn watch_granted(&self, granted: &[Granted], mounts: bool) -> Result<Vec<Over>, files::Error> {
        let mut note = Note::default();
        let mut over = Vec::new();
        for granted in granted.iter().filter(|granted| !granted.protect.is_none()) {
            let (mounted, before) = repository::begin(granted, mounts)?;
            over.extend(mounted);
            note.before.push(before);
        }
        // Of several children of one turn, the first began with what counts.
        if !note.before.is_empty() && !self.store().notes_path().join(name(self.folder())).exists() {
            self.store().write_note(self.folder(), &note)?;
        }
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

    fn settle_granted(&self, folder: &str) -> Vec<String> {
        let Ok(dir) = Dir::open(&self.notes_path()) else { return Vec::new() };
        let mut words = self.compare_granted(&dir, folder);
        if let Err(error) = dir.remove_file(&name(folder)) {
            words.push(with_causes(&error));
        }
        words
    }

    fn compare_granted(&self, dir: &Dir, folder: &str) -> Vec<String> {
        let name = name(folder);
        let bytes = match dir.read(&name, MAX_NOTE) {
            Err(error) if error.is_not_found() => return Vec::new(),
            Err(error) => return vec![with_causes(&error)],
            Ok(bytes) => bytes,
        };
        let note: Note = match serde_json::from_slice(&bytes) {
            Ok(note) => note,
            Err(error) => return vec![format!("`{}` cannot be read: {error}", dir.path().join(name).display())],
        };
        let mut words = note.told;
        for before in note.before {
            words.extend(before.settle(&mut |parent, name| self.set_aside_from(folder, parent, name)));
        }
        words
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
            let Some(_lock) = Lock::try_take(&self.lock_path(folder)?)? else { continue };
            if is_locked(&self.run_lock_path(folder))? {
                continue;
            }
            let told = self.compare_granted(&dir, folder);
            all.extend(told.iter().map(|word| (folder.to_owned(), word.clone())));
            match told.is_empty() {
                true => dir.remove_file(&name(folder))?,
                false => self.write_note(folder, &Note { before: Vec::new(), told })?,
            }
        }
        Ok(all)
    }

    /// Moves something of a granted directory to `state/conflicts/`; if that
    /// is on another file system, to another name next to it.
    fn set_aside_from(&self, folder: &str, parent: &Dir, name: &Path) -> Result<PathBuf, files::Error> {
        let path = self.conflicts_path();
        make_private_dir(&path, self.durability())?;
        let conflicts = Dir::open(&path)?;
        let unique = uuid::Uuid::now_v7().simple().to_string();
        let kept = PathBuf::from(format!("{folder}-{unique}-{}", name.display()));
        match parent.move_entry(name, &conflicts, &kept) {
            Err(error) if error.os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) => {
                let beside = PathBuf::from(format!("{}.set-aside-{unique}", name.display()));
                parent.move_entry(name, parent, &beside)?;
                Ok(parent.path().join(beside))
            }
            moved => moved.map(|()| conflicts.path().join(kept)),
        }
    }
}

fn name(folder: &str) -> PathBuf {
    PathBuf::from(format!("{folder}.json"))
}
