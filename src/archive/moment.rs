//! Of what moment a file of a copy is. A copy that was made while a turn was
//! taken is sound, though its files are not all of one moment: rsync lists a
//! directory before it copies what is in it, so the record may name a turn or a
//! conversation that the listed files do not have yet. Such a file came into the
//! copy before the record did; one that was cut there changed after it. The time
//! of change of the inode tells, which nothing but the file system sets.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::files::Stamp;

const SECOND: i128 = 1_000_000_000;

/// Whether a file of a session's folder came into the copy before the record did,
/// in a version of before `time`, so that it may lack what the record states. One
/// that was damaged first and copied then has a later time, unless the copy did
/// not keep times: then they are those of the copy. In a backup of hard links the
/// inodes change whenever another is made, so only its own time counts.
pub(super) fn came_earlier(session: &Path, name: &Path, time: i128) -> bool {
    let looked = |name: &Path| session.join(name).symlink_metadata().ok();
    let (Some(file), Some(record)) = (looked(name), looked(Path::new("session.json"))) else { return false };
    let stamp = Stamp::from(&file);
    let older = stamp.modified < time;
    let kept_no_times = stamp.changed - stamp.modified < SECOND;
    let came_first = stamp.changed < Stamp::from(&record).changed;
    if file.nlink() > 1 { older } else { came_first && (older || kept_no_times) }
}

/// Whether a file that is not at or below a path of a session's folder may have
/// been made after the copy had listed that directory, at `time` or later.
/// Somebody who removed it here would have changed the directory, after all that
/// is in it came.
pub(super) fn listed_before(session: &Path, at: &Path, time: i128) -> bool {
    let Some(there) = at.ancestors().find(|path| session.join(path).is_dir()) else { return false };
    let changed = |path: &Path| path.symlink_metadata().ok().map(|metadata| Stamp::from(&metadata).changed);
    let record = changed(&session.join("session.json"));
    let dirs = walkdir::WalkDir::new(session.join(there)).max_depth(if there == at { 4 } else { 0 });
    let mut dirs = dirs.into_iter().flatten().filter(|entry| entry.file_type().is_dir());
    dirs.all(|dir| {
        let Ok(metadata) = dir.metadata() else { return false };
        let entries = std::fs::read_dir(dir.path()).into_iter().flatten().flatten();
        let newest = entries.filter_map(|entry| changed(&entry.path())).chain(record).max();
        let stamp = Stamp::from(&metadata);
        // rsync leaves a directory's time as it is where it is right to the second;
        // then it is later, but nothing was changed after the last entry came.
        let same_second = stamp.modified.div_euclid(SECOND) == time.div_euclid(SECOND);
        let untouched = newest.is_some_and(|newest| stamp.changed <= newest);
        stamp.modified < time || (same_second && untouched)
    })
}
