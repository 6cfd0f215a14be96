//! Of what moment a file of a copy is. A copy that was made while a turn was
//! taken is sound, though its files are not all of one moment: rsync lists a
//! directory before it copies what is in it, so the record may name a turn or a
//! conversation that the listed files do not have yet. Such a file came into the
//! copy before the record did; one that was cut there changed after it. The time
//! of change of the inode tells, which nothing but the file system sets.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::files::{SECOND, Stamp};

/// What is done at once, in nanoseconds: a tick of the kernel's clock, and some more.
const AT_ONCE: i128 = SECOND / 200;

/// How long a copy may take, in nanoseconds: what began longer before it ended
/// was there when it was listed.
const LONGEST_COPY: i128 = 3600 * SECOND;

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
///
/// The directory's time tells, where the copy kept it: somebody who removed the
/// file would have changed it. rsync leaves it as it is where it is right to the
/// second, and where it takes a file that grew meanwhile a second time; then the
/// last change of the directory has to be that it was made, or the arrival of a
/// file that is `known`.
pub(super) fn listed_before(session: &Path, at: &Path, time: i128, known: &dyn Fn(&Path) -> bool) -> bool {
    let Some(there) = at.ancestors().find(|path| session.join(path).is_dir()) else { return false };
    // Of the folder itself, and of what is missing, only the one directory counts.
    let below = there == at && !at.as_os_str().is_empty();
    let entries = walkdir::WalkDir::new(session.join(there)).max_depth(if below { 4 } else { 1 });
    let (mut dirs, mut arrived) = (Vec::new(), None);
    for entry in entries.into_iter().flatten() {
        let (Ok(metadata), Ok(path)) = (entry.metadata(), entry.path().strip_prefix(session)) else { continue };
        let stamp = Stamp::from(&metadata);
        if entry.file_type().is_dir() && (below || entry.depth() == 0) {
            let made = metadata.created().ok().and_then(|made| jiff::Timestamp::try_from(made).ok());
            dirs.push((stamp, made.is_some_and(|made| stamp.changed - made.as_nanosecond() < AT_ONCE)));
        } else if entry.file_type().is_file() && known(path) {
            arrived = arrived.max(Some(stamp.changed));
        }
    }
    let record = session.join("session.json").symlink_metadata().ok();
    let arrived = arrived.max(record.map(|metadata| Stamp::from(&metadata).changed));
    dirs.iter().all(|(dir, just_made)| {
        let untouched = *just_made || arrived.is_some_and(|arrived| dir.changed <= arrived);
        dir.modified < time || (dir.modified - time < LONGEST_COPY && untouched)
    })
}
