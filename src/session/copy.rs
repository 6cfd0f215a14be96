//! Copying a session: the copy shares the past and not the future.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::slice;

use uuid::Uuid;

use super::record::{Fork, Record};
use super::{SessionError, Store, WorkspaceGuard};
use crate::files;
use crate::key::Key;

/// What is not copied: messages that came and files that went are the source's.
const LEFT_BEHIND: &[&str] = &["inbox", "outbox", "session.json"];

/// How long a path may be, in bytes, with the zero at its end.
const PATH_MAX: usize = 4096;

impl Store {
    /// Builds a copy of a session aside, under the source's lock. The result is
    /// given its name by [`Store::install`], under the target's.
    ///
    /// # Errors
    /// If a file cannot be read or written; what was built is then removed.
    pub fn copy(&self, source: &WorkspaceGuard, key: &Key) -> Result<(PathBuf, Record), SessionError> {
        let mut record = source.record().clone();
        let now = super::now();
        record.forked_from = Some(Fork { key: record.key.clone(), uuid: record.uuid });
        record.key = key.clone();
        record.uuid = Uuid::new_v4();
        record.created_at = now;
        record.last_used_at = now;
        record.title = None;
        record.archived_at = None;
        if let Some(conversation) = &mut record.conversation {
            conversation.fork = true;
        }
        let settings = source.workspace().settings()?;
        let built = self.build(&record, &settings, None)?;
        let copied = copy_tree(source.path(), &built).and_then(|()| match self.durability() {
            files::Durability::Power => files::Dir::open(&built)?.sync_file_system(),
            files::Durability::Process => Ok(()),
        });
        match copied {
            Ok(()) => Ok((built, record)),
            Err(error) => {
                let _removed = files::remove_whole(&built);
                Err(error.into())
            }
        }
    }
}

/// Copies the regular files of a session's folder. Links, devices and the like
/// are not a session's own, and are left out, as is what lies deeper than a path
/// can say. What was closed to its owner is opened first.
/// Nothing is synced here: the whole copy is, at once, by its caller.
fn copy_tree(from: &Path, to: &Path) -> Result<(), files::Error> {
    let left = |entry: &walkdir::DirEntry| {
        entry.path().parent() == Some(from) && LEFT_BEHIND.iter().any(|name| entry.file_name() == *name)
    };
    let (mut starts, mut opened) = (vec![from.to_owned()], HashSet::new());
    while let Some(start) = starts.pop() {
        for entry in walkdir::WalkDir::new(start).into_iter().filter_entry(|entry| !left(entry)) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(from).to_owned();
                    let source: std::io::Error = error.into();
                    match source.kind() {
                        ErrorKind::PermissionDenied if opened.insert(path.clone()) => {
                            let _restored = files::restore(from, slice::from_ref(&path));
                            starts.push(path);
                        }
                        ErrorKind::InvalidFilename => {}
                        _ => return Err(files::Error::Io { action: "copy", path, source }),
                    }
                    continue;
                }
            };
            let Ok(relative) = entry.path().strip_prefix(from) else { continue };
            let target = to.join(relative);
            if target.as_os_str().len() >= PATH_MAX {
                continue;
            }
            if entry.file_type().is_dir() {
                files::make_private_dir(&target, files::Durability::Process)?;
            } else if entry.file_type().is_file() && entry.metadata().is_ok_and(|metadata| metadata.nlink() == 1) {
                // `settings.json` was written already, from its checked content.
                if !target.exists() {
                    copy_file(from, entry.path(), &target)?;
                }
            }
        }
    }
    Ok(())
}

fn copy_file(from: &Path, path: &Path, target: &Path) -> Result<(), files::Error> {
    match files::copy_new(path, target, files::Durability::Process) {
        Err(files::Error::Io { source, .. })
            if source.kind() == ErrorKind::PermissionDenied && files::restore(from, &[path.to_owned()]) =>
        {
            files::copy_new(path, target, files::Durability::Process)
        }
        copied => copied,
    }
}
