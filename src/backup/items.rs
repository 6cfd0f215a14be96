//! What of a session's folder is carried to another place: directories, regular
//! files, and links that stay inside. All else is left out, and named.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::ArchiveError;
use crate::files::{self, Dir};

/// One thing in a session's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Its size, in bytes.
        size: u64,
        /// Its time of change.
        modified: SystemTime,
        /// Whether its owner may run it.
        executable: bool,
    },
    /// A symbolic link that stays inside the folder.
    Link(PathBuf),
}

impl Item {
    /// Whether it is the same, as far as a copy shows it: not every one keeps
    /// more of a time than whole seconds.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::File { size, modified, executable },
                Self::File { size: other_size, modified: other_modified, executable: other_executable },
            ) => {
                let same_time = seconds(*modified) == seconds(*other_modified);
                size == other_size && executable == other_executable && same_time
            }
            (one, other) => one == other,
        }
    }

    /// The same file, with this size.
    pub(super) fn with_size(self, size: u64) -> Self {
        match self {
            Self::File { modified, executable, .. } => Self::File { size, modified, executable },
            other => other,
        }
    }
}

/// Something that was not carried along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path in the folder.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
    /// Whether it should have been: it could not be read.
    pub unreadable: bool,
}

/// The names at the top of a folder that are Denizen's own: only files and
/// directories belong there.
pub(super) const OWN: &[&str] =
    &["session.json", "settings.json", "transcript.jsonl", "AGENTS.md", "memory", "provider", "inbox", "outbox"];

/// Whether a path in a folder is one of [`OWN`], or below one.
pub(super) fn is_own(path: &Path) -> bool {
    let first = path.components().next().map(Component::as_os_str);
    OWN.iter().any(|name| first == Some(OsStr::new(name)))
}

/// Whether a link at a path in a folder stays inside that folder, wherever the
/// folder is: `..` only at the start of its target and not above the folder.
/// By induction, a target that leads through such links stays inside too.
pub(super) fn stays_inside(path: &Path, target: &Path) -> bool {
    let depth = path.components().count().saturating_sub(1);
    let mut up = 0;
    let mut down = false;
    for component in target.components() {
        match component {
            Component::RootDir | Component::Prefix(_) => return false,
            Component::ParentDir if down => return false,
            Component::ParentDir => up += 1,
            Component::CurDir => {}
            Component::Normal(_) => down = true,
        }
    }
    up <= depth
}

/// Everything below a folder that is carried, parents first and the record
/// before all else. What is not is told to `left_out`.
pub(super) fn items(dir: &Path, mut left_out: impl FnMut(LeftOut)) -> impl Iterator<Item = (PathBuf, Item)> {
    let is_record = |entry: &walkdir::DirEntry| entry.depth() == 1 && entry.file_name() == "session.json";
    let dir = dir.to_owned();
    let walk = walkdir::WalkDir::new(&dir)
        .min_depth(1)
        .follow_links(false)
        .sort_by(move |a, b| (!is_record(a), a.file_name()).cmp(&(!is_record(b), b.file_name())));
    let below = move |path: &Path| path.strip_prefix(&dir).unwrap_or(path).to_owned();
    walk.into_iter().filter_map(move |entry| {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = below(error.path().unwrap_or(Path::new("")));
                left_out(LeftOut { path, reason: error.to_string(), unreadable: true });
                return None;
            }
        };
        let path = below(entry.path());
        match look(&entry, &path) {
            Ok(Ok(item)) => Some((path, item)),
            Ok(Err(reason)) => {
                left_out(LeftOut { path, reason: reason.to_owned(), unreadable: false });
                None
            }
            Err(error) => {
                left_out(LeftOut { path, reason: error.to_string(), unreadable: true });
                None
            }
        }
    })
}

/// What an entry of a folder is, or why it is not carried.
fn look(entry: &walkdir::DirEntry, path: &Path) -> std::io::Result<Result<Item, &'static str>> {
    let kind = entry.file_type();
    Ok(if kind.is_dir() {
        Ok(Item::Dir)
    } else if kind.is_file() {
        let metadata = entry.metadata()?;
        let executable = metadata.mode() & 0o100 != 0;
        Ok(Item::File { size: metadata.len(), modified: metadata.modified()?, executable })
    } else if kind.is_symlink() {
        let target = std::fs::read_link(entry.path())?;
        match (is_own(path), stays_inside(path, &target)) {
            (true, _) => Err("it is a link where only files belong"),
            (false, false) => Err("it is a link that leads out of the folder"),
            (false, true) => Ok(Item::Link(target)),
        }
    } else {
        Err("it is no file, directory or link")
    })
}

/// Whether two folders hold the same: the same things with the same sizes and
/// times of change, and the same record. What cannot be read is not the same.
#[must_use]
pub fn is_same(one: &Path, other: &Path) -> bool {
    let record = |dir: &Path| std::fs::read(dir.join("session.json")).ok();
    if record(one).is_none_or(|bytes| Some(bytes) != record(other)) {
        return false;
    }
    let mut readable = true;
    let mut ours = items(one, |left| readable &= !left.unreadable);
    let mut theirs = items(other, |_| ());
    let same = loop {
        match (ours.next(), theirs.next()) {
            (None, None) => break true,
            (Some((path, item)), Some((other_path, other))) if path == other_path && item.is_like(&other) => {}
            _ => break false,
        }
    };
    drop(ours);
    same && readable
}

/// Copies everything that is carried from one folder into an empty one. Nothing
/// is synced here.
///
/// # Errors
/// If something cannot be read or written.
pub fn copy_out(from: &Dir, to: &Dir, left_out: impl FnMut(LeftOut)) -> Result<(), ArchiveError> {
    for (path, item) in items(from.path(), left_out) {
        match &item {
            Item::File { .. } => {
                let mut file = from.open_file(&path, u64::MAX)?;
                put_file(to, &path, &item, &mut file)?;
            }
            Item::Dir | Item::Link(_) => put(to, &path, &item)?,
        }
    }
    Ok(())
}

/// Makes a directory or link.
pub(super) fn put(to: &Dir, path: &Path, item: &Item) -> Result<(), ArchiveError> {
    match item {
        Item::Dir => Ok(to.make_dir(path)?),
        Item::Link(target) => Ok(to.link(path, target)?),
        Item::File { .. } => Ok(()),
    }
}

/// Makes a file with this content, which only its owner can read.
pub(super) fn put_file(to: &Dir, path: &Path, item: &Item, content: &mut dyn Read) -> Result<(), ArchiveError> {
    let Item::File { modified, executable, .. } = *item else { return Ok(()) };
    let mut file = to.create_new(path)?;
    let mut fill = || -> std::io::Result<()> {
        std::io::copy(content, &mut file)?;
        if executable {
            file.set_permissions(Permissions::from_mode(0o700))?;
        }
        file.set_modified(modified)
    };
    fill().map_err(|source| ArchiveError::io("write", &to.path().join(path), source))
}

/// A time in whole seconds since 1970; one before that is 1970, because no
/// conversation is that old.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time that is so many seconds after 1970.
pub(super) fn at_second(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Reads exactly as much as was announced; a file that shrank meanwhile is an
/// error, because what follows it would be read as a part of it.
pub(super) struct Exactly<R> {
    pub(super) inner: R,
    pub(super) left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// A path as a person is shown it.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// How much is free on the file system of a path, in bytes.
pub(super) fn free_below(path: &Path) -> Result<u64, files::Error> {
    let stat = rustix::fs::statvfs(path).map_err(|errno| files::Error::Io {
        action: "look at the file system of",
        path: path.to_owned(),
        source: errno.into(),
    })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_stay_inside() {
        for (path, target, inside) in [
            ("venv/bin/python", "python3", true),
            ("venv/bin/python", "../lib/x", true),
            ("venv/bin/python", "../../notes", true),
            ("venv/bin/python", "../../../notes", false),
            ("link", "..", false),
            ("link", "a/..", false),
            ("d/link", "../e/../../x", false),
            ("link", "/etc/passwd", false),
            ("link", "./x", true),
        ] {
            assert_eq!(stays_inside(Path::new(path), Path::new(target)), inside, "{path} -> {target}");
        }
    }
}
