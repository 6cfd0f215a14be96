//! After a turn: the provider's conversation files get what our own files get
//! at each write, a sync and a time of change that has moved on.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use rustix::fs::{Timespec, Timestamps};

use crate::files::{self, Dir, Durability, Stamp};
use crate::session::WorkspaceGuard;

/// The files of a directory, with their stamps.
pub(super) type Look = BTreeMap<PathBuf, Stamp>;

/// All regular files below a directory, by their path in it. No link is
/// followed, also where one stands in the directory's own place.
pub(super) fn files_below(dir: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let entries = walkdir::WalkDir::new(dir).follow_root_links(false).max_depth(6).into_iter().flatten();
    entries
        .filter(|entry| entry.file_type().is_file())
        .filter_map(move |entry| Some((entry.path().strip_prefix(dir).ok()?.to_owned(), entry.metadata().ok()?)))
}

/// Looks at all regular files below a directory.
pub(super) fn look(dir: &Path) -> Look {
    files_below(dir).map(|(file, metadata)| (file, Stamp::from(&metadata))).collect()
}

/// Syncs the files that changed, and moves the time of change of each on by a
/// second where it would not have grown: rsync compares whole seconds.
///
/// # Errors
/// Where a file that is still there cannot be synced.
pub(super) fn settle(guard: &WorkspaceGuard, conversations: &Path, before: &Look) -> Result<(), files::Error> {
    const SECOND: i128 = 1_000_000_000;
    let after = look(conversations);
    let changed: Vec<_> = after.iter().filter(|(path, stamp)| before.get(*path) != Some(stamp)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let dir = Dir::open(conversations)?;
    let mut parents = std::collections::BTreeSet::new();
    for (path, stamp) in changed {
        // Gone again, or something else by now: it was a passing file.
        let Ok(file) = dir.open_file(path, u64::MAX) else { continue };
        if let Some(old) = before.get(path)
            && stamp.modified.div_euclid(SECOND) <= old.modified.div_euclid(SECOND)
        {
            move_on(&file, old.modified.div_euclid(SECOND) + 1).map_err(|source| files::Error::Io {
                action: "set the time of",
                path: dir.path().join(path),
                source,
            })?;
        }
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
    Ok(())
}

fn move_on(file: &File, second: i128) -> std::io::Result<()> {
    let time = Timespec { tv_sec: i64::try_from(second).unwrap_or(i64::MAX), tv_nsec: 0 };
    rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })?;
    Ok(())
}
