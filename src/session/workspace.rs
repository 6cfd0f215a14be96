//! A session's folder: readable by anybody, changed only under its lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::claim::Claim;
use super::record::Record;
use super::settings::Settings;
use super::transcript::{Recorded, Speaker, Transcript, TranscriptEntry};
use super::{Brief, SessionError, Store};
use crate::files::{self, Dir, Lock, Stamp};

const RECORD: &str = "session.json";
pub(super) const SETTINGS: &str = "settings.json";
pub(super) const TRANSCRIPT: &str = "transcript.jsonl";
const INSTRUCTIONS: &str = "AGENTS.md";
const MEMORY: &str = "MEMORY.md";

/// The largest `session.json` and `settings.json` that are read, in bytes.
const MAX_JSON_BYTES: u64 = 16 * 1024 * 1024;

/// The largest `AGENTS.md` and `MEMORY.md` that are read, in bytes.
const MAX_TEXT_BYTES: u64 = 8 * 1024 * 1024;

/// A session's folder, held open for reading.
///
/// ```text
/// sessions/<folder>/
///   session.json        the record: all that must agree
///   settings.json       for the provider: memory directory, model, permission mode
///   memory/MEMORY.md    the agent's memory
///   AGENTS.md           optional instructions for this session
///   transcript.jsonl    every turn, append-only
///   inbox/ outbox/      attachments received, files the agent leaves
///   provider/<name>/    the provider's own conversation files
/// ```
#[derive(Debug)]
pub struct Workspace {
    folder: String,
    dir: Dir,
}

impl Workspace {
    pub(super) fn new(folder: &str, dir: Dir) -> Self {
        Self { folder: folder.to_owned(), dir }
    }

    /// A folder that is where sessions are worked in.
    #[must_use]
    pub fn in_place(folder: &str, dir: Dir) -> Self {
        Self::new(folder, dir)
    }

    /// A folder that is in no store: one of a backup, or one that is being built.
    #[must_use]
    pub fn of_copy(folder: &str, dir: Dir) -> Self {
        Self::new(folder, dir.with_hard_links())
    }

    /// The folder's name.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The folder itself.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Reads the record.
    ///
    /// # Errors
    /// If it is missing, unreadable, broken or of a later version.
    pub fn record(&self) -> Result<Record, SessionError> {
        read_record(&self.dir).map(|(record, _)| record)
    }

    /// Reads the record, or returns `None` if the folder is empty: a session
    /// can be made there.
    ///
    /// # Errors
    /// As [`Workspace::record`].
    pub fn record_if_any(&self) -> Result<Option<Record>, SessionError> {
        match self.record() {
            Err(SessionError::File(error)) if error.is_not_found() && self.dir.names()?.is_empty() => Ok(None),
            record => record.map(Some),
        }
    }

    /// Reads the settings; a missing file is the default.
    ///
    /// # Errors
    /// If the file is unreadable or broken, or a value does not fit.
    pub fn settings(&self) -> Result<Settings, SessionError> {
        match self.dir.read(Path::new(SETTINGS), MAX_JSON_BYTES) {
            Ok(bytes) => Settings::from_json(&bytes, &self.path().join(SETTINGS)),
            Err(error) if error.is_not_found() => Ok(Settings::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the transcript, or returns `None` if there is none yet.
    ///
    /// # Errors
    /// If the file is unreadable.
    pub fn transcript(&self) -> Result<Option<Transcript>, SessionError> {
        match self.dir.open_file(Path::new(TRANSCRIPT), u64::MAX) {
            Ok(file) => Ok(Some(Transcript::new(file))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The size of the transcript, in bytes; 0 if there is none yet.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn transcript_bytes(&self) -> Result<u64, SessionError> {
        Ok(self.dir.stamp(Path::new(TRANSCRIPT))?.map_or(0, |stamp| stamp.size))
    }

    /// The last lines of the transcript, at most `count`.
    ///
    /// # Errors
    /// If the file is unreadable.
    pub fn last_lines(&self, count: usize) -> Result<Vec<TranscriptEntry>, SessionError> {
        let Some(mut transcript) = self.transcript()? else { return Ok(Vec::new()) };
        Ok(transcript.last(count).map_err(|source| files::Error::io("read", &self.path().join(TRANSCRIPT), source))?)
    }

    /// The queue entry of the last turn in the transcript. One that was recorded
    /// and is still there was answered: the program ended before it was removed.
    #[must_use]
    pub fn last_recorded(&self) -> Option<u64> {
        self.last_turn()?.entry
    }

    /// What the turn of a queue entry came to, where the transcript has it.
    ///
    /// # Errors
    /// If the file is unreadable.
    pub fn recorded(&self, entry: u64) -> Result<Option<Recorded>, SessionError> {
        let recorded = Recorded::of(self.last_lines(3)?.iter(), entry);
        if recorded.is_some() {
            return Ok(recorded);
        }
        let Some(mut transcript) = self.transcript()? else { return Ok(None) };
        let mut lines = Vec::new();
        let read = transcript.for_each(|line| {
            if line.entry == Some(entry) {
                lines.push(line);
            }
        });
        read.map_err(|source| files::Error::io("read", &self.path().join(TRANSCRIPT), source))?;
        Ok(Recorded::of(lines.iter(), entry))
    }

    /// The line that ended the last turn, where its message is there too: of a
    /// turn that was being written when the power failed, any part may be lost.
    pub(super) fn last_turn(&self) -> Option<TranscriptEntry> {
        // A transcript that cannot be read does not keep the session from going on.
        let mut lines = self.last_lines(3).ok()?;
        let last = lines.pop().filter(|line| line.who != Speaker::User)?;
        let is_message =
            |line: &TranscriptEntry| line.who == Speaker::User && line.turn == last.turn && line.entry == last.entry;
        lines.iter().any(is_message).then_some(last)
    }

    /// The lines of the transcript that begin at or after a place in it, in bytes.
    ///
    /// # Errors
    /// If the file is unreadable.
    pub fn lines_from(&self, place: u64) -> Result<Vec<TranscriptEntry>, SessionError> {
        let Some(mut transcript) = self.transcript()? else { return Ok(Vec::new()) };
        Ok(transcript.from(place).map_err(|source| files::Error::io("read", &self.path().join(TRANSCRIPT), source))?)
    }

    /// Where the memory directory is, after a check that it is a directory
    /// inside the folder. It is made if it is missing.
    ///
    /// # Errors
    /// If a component is a link or no directory.
    pub fn memory_path(&self, settings: &Settings) -> Result<PathBuf, SessionError> {
        self.open_memory(settings).map(|dir| dir.path().to_owned())
    }

    fn open_memory(&self, settings: &Settings) -> Result<Dir, SessionError> {
        let relative = settings.memory_path();
        let outside = |source| SessionError::MemoryOutside { path: self.path().join(&relative), source };
        self.dir.make_dirs(&relative).map_err(outside)
    }

    /// Composes the brief. What cannot be read of it is left out, and named in
    /// the second part.
    #[must_use]
    pub fn brief(&self, settings: &Settings, working_dir: &Path) -> (Brief, Vec<String>) {
        let mut left_out = Vec::new();
        let mut read = |name: &Path| match self.dir.read(name, MAX_TEXT_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) => {
                left_out.push(error.to_string());
                Vec::new()
            }
        };
        let memory_path = settings.memory_path();
        let (instructions, memory) = (read(Path::new(INSTRUCTIONS)), read(&memory_path.join(MEMORY)));
        let reachable = if working_dir == self.path() { memory_path } else { self.path().join(memory_path) };
        (Brief::new(&instructions, &reachable, &memory), left_out)
    }
}

/// Reads `session.json` in a directory, with the stamp of what was read.
pub(super) fn read_record(dir: &Dir) -> Result<(Record, Stamp), SessionError> {
    read_record_at(dir, Path::new(RECORD))
}

/// Reads the `session.json` of a folder below `sessions`.
pub(super) fn read_record_of(sessions: &Dir, folder: &str) -> Result<Record, SessionError> {
    // One step where all is well; in two steps an error names the folder.
    match read_record_at(sessions, &Path::new(folder).join(RECORD)) {
        Err(SessionError::File(_)) => read_record(&sessions.open_dir(Path::new(folder))?),
        read => read,
    }
    .map(|(record, _)| record)
}

fn read_record_at(dir: &Dir, name: &Path) -> Result<(Record, Stamp), SessionError> {
    let (bytes, stamp) = dir.read_stamped(name, MAX_JSON_BYTES)?;
    Ok((Record::from_json(&bytes, &dir.path().join(name))?, stamp))
}

/// A session's folder under its lock: the only thing that can change it, and
/// the only thing that a child process can be started in.
///
/// The record was read once, under the lock. If its file changed since, the
/// bytes found are kept in `state/conflicts/` when ours are written.
#[derive(Debug)]
pub struct WorkspaceGuard {
    workspace: Workspace,
    record: Record,
    saved: Stamp,
    conflicts: Vec<PathBuf>,
    told: Vec<String>,
    // The lock ends before the place in line is given up.
    _lock: Lock,
    claim: Claim,
}

impl WorkspaceGuard {
    pub(super) fn new(
        workspace: Workspace,
        record: Record,
        saved: Stamp,
        lock: Lock,
        claim: Claim,
    ) -> Result<Self, SessionError> {
        let mut guard = Self { workspace, record, saved, conflicts: Vec::new(), told: Vec::new(), _lock: lock, claim };
        guard.repair()?;
        guard.settle_granted();
        Ok(guard)
    }

    /// The folder, for reading.
    #[must_use]
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// The folder's name.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.workspace.folder
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.workspace.path()
    }

    /// The store that the session is in.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        self.claim.store()
    }

    /// The record, as it will be saved.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record, to be changed and then saved.
    pub fn record_mut(&mut self) -> &mut Record {
        &mut self.record
    }

    /// The place in line, with the message in hand.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The place in line, to note what becomes of the message in hand.
    pub fn claim_mut(&mut self) -> &mut Claim {
        &mut self.claim
    }

    /// What the person should know of what was found in the session and in what
    /// is granted to it, since the last call.
    pub fn take_notices(&mut self) -> Vec<String> {
        let conflicts = std::mem::take(&mut self.conflicts);
        let kept = conflicts.iter().map(|kept| {
            let kept = kept.display();
            format!("something else had changed a file of the session meanwhile: what it wrote is kept in `{kept}`")
        });
        kept.chain(std::mem::take(&mut self.told)).collect()
    }

    /// Adds to what the person should know.
    pub(super) fn tell(&mut self, words: Vec<String>) {
        self.told.extend(words);
    }

    /// Saves the record.
    ///
    /// # Errors
    /// If it cannot be replaced; the old version is then still there.
    pub fn save(&mut self) -> Result<(), SessionError> {
        let name = Path::new(RECORD);
        let bytes = self.record.to_json();
        let found = self.workspace.dir.stamp(name)?;
        if found != Some(self.saved) {
            self.check_there()?;
            self.keep(RECORD, found.is_some())?;
        }
        let store = self.claim.store().clone();
        self.saved = self.workspace.dir.replace(name, &bytes, store.staging()?)?;
        Ok(())
    }

    /// Saves the settings.
    ///
    /// # Errors
    /// If they cannot be replaced; the old version is then still there.
    pub fn save_settings(&mut self, settings: &Settings) -> Result<(), SessionError> {
        let store = self.claim.store().clone();
        self.workspace.dir.replace(Path::new(SETTINGS), &settings.to_json(), store.staging()?)?;
        Ok(())
    }

    /// Appends lines to the transcript, and notes its size in the record. What
    /// an agent may have put in its place is set aside first, and so is a last
    /// line that a crash or a disk has torn.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&mut self, lines: &[TranscriptEntry]) -> Result<(), SessionError> {
        let bytes: Vec<u8> = lines.iter().flat_map(TranscriptEntry::to_json).collect();
        let name = Path::new(TRANSCRIPT);
        let durability = self.claim.store().durability();
        self.cut_torn_end()?;
        let size = match self.workspace.dir.append(name, &bytes, durability) {
            Err(files::Error::Link { .. } | files::Error::NotRegular { .. } | files::Error::HardLinks { .. }) => {
                self.keep(TRANSCRIPT, true)?;
                self.workspace.dir.append(name, &bytes, durability)?
            }
            Err(error) if error.is_not_found() => {
                self.check_there()?;
                return Err(error.into());
            }
            appended => appended?,
        };
        self.record.transcript_bytes = size;
        Ok(())
    }

    /// A directory of the folder, by its path; each component is made where it
    /// is missing. A link or file in its place is set aside.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn own_dir(&mut self, components: &[&str]) -> Result<PathBuf, SessionError> {
        let mut below: PathBuf = components.iter().collect();
        if self.workspace.dir.open_dir(&below).is_ok() {
            return Ok(self.path().join(below));
        }
        below = PathBuf::new();
        for component in components {
            below.push(component);
            match self.workspace.dir.open_dir(&below) {
                Ok(_) => continue,
                Err(error) if error.is_not_found() => {}
                Err(files::Error::Io { source, .. }) if source.kind() != std::io::ErrorKind::NotADirectory => {
                    return Err(files::Error::io("open the directory", &self.path().join(&below), source).into());
                }
                Err(_) => self.set_aside(&below)?,
            }
            self.workspace.dir.make_dir(&below)?;
            if self.claim.store().durability() == files::Durability::Power {
                let parent = below.parent().filter(|parent| !parent.as_os_str().is_empty());
                match parent {
                    Some(parent) => self.workspace.dir.open_dir(parent)?.sync()?,
                    None => self.workspace.dir.sync()?,
                }
            }
        }
        Ok(self.path().join(below))
    }

    /// Sets aside an `AGENTS.md` or `MEMORY.md` that is not a file of this session's
    /// own: a provider that reads them by itself would follow a link. The same for
    /// what stands in the place of the memory directory; returns where that is.
    ///
    /// # Errors
    /// If something cannot be moved away.
    pub fn own_told_files(&mut self, settings: &Settings) -> Result<PathBuf, SessionError> {
        let memory = settings.memory_path();
        self.own_dir(&memory.iter().filter_map(|part| part.to_str()).collect::<Vec<_>>())?;
        let memory = self.workspace.memory_path(settings)?;
        for name in [PathBuf::from(INSTRUCTIONS), settings.memory_path().join(MEMORY)] {
            let opened = self.workspace.dir.open_file(&name, u64::MAX);
            if let Err(files::Error::Link { .. } | files::Error::NotRegular { .. } | files::Error::HardLinks { .. }) =
                opened
            {
                self.set_aside(&name)?;
            }
        }
        Ok(memory)
    }

    /// Keeps a copy of a file that somebody else changed. Where it is no
    /// regular file, it is itself moved away.
    fn keep(&mut self, name: &str, there: bool) -> Result<(), SessionError> {
        if !there {
            return Ok(());
        }
        match self.workspace.dir.read(Path::new(name), MAX_JSON_BYTES) {
            Ok(bytes) => self.keep_bytes(name, &bytes),
            Err(_) => self.set_aside(Path::new(name)),
        }
    }

    /// Keeps bytes that were found in a file and will not stay there.
    pub(super) fn keep_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), SessionError> {
        let (conflicts, kept) = self.conflict_name(Path::new(name))?;
        let store = self.claim.store().clone();
        conflicts.replace(&kept, bytes, store.staging()?)?;
        self.conflicts.push(conflicts.path().join(kept));
        Ok(())
    }

    pub(super) fn set_aside(&mut self, name: &Path) -> Result<(), SessionError> {
        let (conflicts, kept) = self.conflict_name(name)?;
        self.workspace.dir.move_entry(name, &conflicts, &kept)?;
        self.conflicts.push(conflicts.path().join(kept));
        Ok(())
    }

    fn conflict_name(&self, name: &Path) -> Result<(Dir, PathBuf), SessionError> {
        let path = self.claim.store().conflicts_path();
        files::make_private_dir(&path, self.claim.store().durability())?;
        let time = super::now().strftime("%Y%m%dT%H%M%S%.3fZ");
        let plain = name.display().to_string().replace('/', "-");
        Ok((Dir::open(&path)?, PathBuf::from(format!("{}-{time}-{plain}", self.folder()))))
    }

    /// Tells a folder that was removed from a file that was.
    fn check_there(&self) -> Result<(), SessionError> {
        if self.workspace.dir.is_removed()? { Err(SessionError::Vanished(self.path().to_owned())) } else { Ok(()) }
    }
}
