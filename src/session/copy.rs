//! Copying a session: the copy shares the past and not the future.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::record::{Fork, Record};
use super::{SessionError, Store, WorkspaceGuard};
use crate::files;
use crate::key::Key;

/// What is not copied: messages that came and files that went are the source's.
const LEFT_BEHIND: &[&str] = &["inbox", "outbox", "session.json"];

impl Store {
    /// Builds a copy of a session aside, under the source's lock. The result is
    /// given its name by [`Store::install`], under the target's.
    ///
    /// # Errors
    /// Where a file cannot be read or written; what was built is then removed.
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
                let _removed = std::fs::remove_dir_all(&built);
                Err(error.into())
            }
        }
    }
}

/// Copies the regular files of a session's folder. Links, devices and the like
/// are not a session's own, and are left out.
/// Nothing is synced here: the whole copy is, at once, by its caller.
fn copy_tree(from: &Path, to: &Path) -> Result<(), files::Error> {
    let at_top = |entry: &walkdir::DirEntry| entry.depth() == 1;
    let left = |entry: &walkdir::DirEntry| at_top(entry) && LEFT_BEHIND.iter().any(|name| entry.file_name() == *name);
    for entry in walkdir::WalkDir::new(from).into_iter().filter_entry(|entry| !left(entry)) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(from).to_owned();
            files::Error::Io { action: "copy", path, source: error.into() }
        })?;
        let Ok(relative) = entry.path().strip_prefix(from) else { continue };
        let target = to.join(relative);
        if entry.file_type().is_dir() {
            files::make_private_dir(&target, files::Durability::Process)?;
        } else if entry.file_type().is_file() && entry.metadata().is_ok_and(|metadata| metadata.nlink() == 1) {
            // `settings.json` was written already, from its checked content.
            if !target.exists() {
                files::copy_new(entry.path(), &target, files::Durability::Process)?;
            }
        }
    }
    Ok(())
}
