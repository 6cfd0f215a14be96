//! After a turn: the provider's conversation files and the memory get what our
//! own files get at each write, a sync and a time of change that has moved on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::{self, Dir, Durability, SECOND, Stamp, own_files_below, set_second, sqlite};
use crate::provider::{Format, Provider, TurnPaths};
use crate::session::{FileMark, WorkspaceGuard};
use jiff::Timestamp;

/// The files of a directory, with their stamps.
pub(super) type StampedFiles = BTreeMap<PathBuf, Stamp>;

/// Looks at all regular files below a directory.
fn look(dir: &Path) -> StampedFiles {
    own_files_below(dir).into_iter().map(|(file, metadata)| (file, Stamp::from(&metadata))).collect()
}

/// What a child may change of a session, as it was before: the files of its
/// conversations, and the memory.
#[derive(Debug)]
pub(super) struct BeforeTurn {
    pub(super) conversations: StampedFiles,
    keeps_files: bool,
    memory: StampedFiles,
}

impl BeforeTurn {
    /// Looks at both. A provider that keeps no files has nothing but the memory.
    pub(super) fn look(place: &TurnPaths, keeps_files: bool) -> Self {
        let conversations = if keeps_files { look(&place.conversations) } else { StampedFiles::new() };
        Self { conversations, keeps_files, memory: look(&place.memory) }
    }

    /// Settles what the child has changed. Returns the files of its conversations
    /// as they are then.
    ///
    /// # Errors
    /// If a file that is still there cannot be synced.
    pub(super) fn finalise(&self, guard: &WorkspaceGuard, place: &TurnPaths) -> Result<StampedFiles, files::Error> {
        let conversations = if self.keeps_files {
            let mut after = look(&place.conversations);
            if fold_logs(guard, &place.conversations, &self.conversations, &after) {
                after = look(&place.conversations);
            }
            settle(guard, &place.conversations, &self.conversations, after)
        } else {
            Ok(StampedFiles::new())
        };
        let memory = settle(guard, &place.memory, &self.memory, look(&place.memory))?;
        let first_noted = self.memory.is_empty() && !memory.is_empty();
        if first_noted && guard.store().durability() == Durability::Power {
            // The directory itself may be as new as what is in it.
            guard.workspace().dir().sync()?;
        }
        conversations
    }
}

/// Syncs the files that changed, and moves the time of change of each on to a
/// second that it never had: rsync compares size and whole seconds, and may
/// have copied the file before the turn or in the middle of it. Returns what is
/// there then.
fn settle(
    guard: &WorkspaceGuard,
    below: &Path,
    before: &StampedFiles,
    mut after: StampedFiles,
) -> Result<StampedFiles, files::Error> {
    let changed: Vec<_> = after.iter_mut().filter(|(path, stamp)| before.get(*path) != Some(stamp)).collect();
    if changed.is_empty() {
        return Ok(after);
    }
    let opened = match below.strip_prefix(guard.path()) {
        Ok(relative) => guard.workspace().dir().open_dir(relative),
        Err(_) => Dir::open(below),
    };
    let dir = match opened {
        // The child may have put a link or a file in the place of any directory
        // of its folder. What was found there is not the session's own.
        Err(files::Error::Link { .. }) => return Ok(StampedFiles::new()),
        Err(files::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => {
            return Ok(StampedFiles::new());
        }
        opened => opened?,
    };
    let mut parents = std::collections::BTreeSet::new();
    for (path, stamp) in changed {
        // Gone again, or something else by now: it was a passing file.
        let Ok(file) = dir.open_file(path, u64::MAX) else { continue };
        let next = before.get(path).map_or(stamp.second(), |old| old.second().max(stamp.second())) + 1;
        set_second(&file, next).map_err(|source| files::Error::Io {
            action: "set the time of",
            path: dir.path().join(path),
            source,
        })?;
        stamp.modified = next * SECOND;
        if guard.store().durability() == Durability::Power {
            file.sync_all().map_err(|source| files::Error::Io {
                action: "sync",
                path: dir.path().join(path),
                source,
            })?;
            parents.extend(path.ancestors().skip(1).map(Path::to_owned));
        }
    }
    for parent in parents {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { &parent };
        dir.open_dir(parent)?.sync()?;
    }
    Ok(after)
}

/// What the file that makes a conversation resumable is like, where it is one
/// that only grows. Of several, the largest is the conversation.
pub(super) fn mark(provider: &dyn Provider, id: &str, look: &StampedFiles) -> Option<FileMark> {
    let held = look
        .iter()
        .filter(|(file, _)| provider.is_conversation_file(id, file) && provider.format(file) == Format::JsonLines);
    let (_, stamp) = held.max_by_key(|(_, stamp)| stamp.size)?;
    Some(FileMark { bytes: stamp.size, modified: Timestamp::from_nanosecond(stamp.modified).ok()? })
}

/// Folds the logs of SQLite databases that changed into the databases: a copy
/// that finds the two at different moments would be malformed. Nobody has them
/// open, since the launcher ended all that the turn had started. Returns whether
/// there was one.
fn fold_logs(guard: &WorkspaceGuard, conversations: &Path, before: &StampedFiles, after: &StampedFiles) -> bool {
    let changed = after.iter().filter(|(path, stamp)| before.get(*path) != Some(stamp));
    let databases = changed.filter_map(|(path, _)| sqlite::database_of(path));
    let mut folded = false;
    for database in databases {
        let (Some(parent), Some(name)) = (database.parent(), database.file_name()) else { continue };
        let fold = || {
            let relative = conversations.strip_prefix(guard.path()).ok()?.join(parent);
            let dir = guard.workspace().dir().open_dir(&relative).ok()?;
            sqlite::fold(&dir, Path::new(name), guard.store().staging().ok()?).ok()
        };
        // What is left as it was is what SQLite itself left: it is whole as well.
        folded |= fold().unwrap_or(false);
    }
    folded
}
