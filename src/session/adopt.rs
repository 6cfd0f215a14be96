//! Whose folder is it: the file system is the admin interface, so a folder may
//! have been copied, moved or dropped in since it was last opened.
//!
//! A folder whose name belongs to its record's key is that session. Otherwise,
//! under a plain name, it is a copy (its original is still there) and becomes a
//! fork, or it was moved and goes on. Any other name is left alone.

use std::path::Path;

use uuid::Uuid;

use super::claim::Claim;
use super::record::{Fork, Record};
use super::workspace::{WorkspaceGuard, read_record};
use super::{Grant, Names, SessionError, Store};
use crate::files::{self, Lock, is_locked, quoted};
use crate::key::{Key, is_folder_name};

/// Whose a folder below `sessions/` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Its name belongs to the key in its record.
    Own(Key),
    /// A copy of a session that is still there: it becomes a fork under this key.
    Copied(Key),
    /// A session whose old folder is gone: it goes on under this key.
    Moved(Key),
    /// Nobody's: it is left alone.
    Nobody {
        /// Why.
        reason: String,
        /// The command that would put it right.
        remedy: Option<String>,
    },
}

/// What the name of a folder says of the record in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameMatch {
    /// It belongs to the record's key.
    Own,
    /// It is another key, under which the folder can be adopted.
    Plain(Key),
    /// It can be nobody's; the text says why.
    Nobody(String),
}

impl NameMatch {
    /// What the name of a folder says of the record in it.
    #[must_use]
    pub fn of(folder: &str, record: &Record) -> Self {
        if record.key.folder_name() == folder {
            Self::Own
        } else if let Some(key) = Key::from_plain_folder(folder) {
            Self::Plain(key)
        } else if is_folder_name(folder) {
            Self::Nobody(format!("its name belongs to another key than `{}`, which its record states", record.key))
        } else {
            Self::Nobody("its name can belong to no key: only `a-z`, `0-9` and single hyphens".to_owned())
        }
    }
}

/// The command that gives a folder below `sessions` a name under which it can be
/// adopted: its record's own where that is free, because `mv` would put it inside
/// a folder that is there; else one that looks like the name it has.
#[must_use]
pub fn better_name(sessions: &Path, folder: &str, own: &str) -> Option<String> {
    let free = |name: &String| sessions.join(name).symlink_metadata().is_err();
    let others = Key::plain_like(folder).map(|key| key.folder_name());
    let name = std::iter::once(own.to_owned()).chain(others.take(100)).find(free)?;
    Some(format!("mv {} {}", quoted(&sessions.join(folder)), quoted(&sessions.join(name))))
}

/// What a claimed folder turned out to be.
#[derive(Debug)]
pub enum ClaimedFolder {
    /// A session.
    Session(Box<WorkspaceGuard>),
    /// Nothing: a session can be made there.
    Missing(Lock, Claim),
}

impl Store {
    /// Whose a folder is, by its name and its record.
    ///
    /// # Errors
    /// If the lock of the record's own folder cannot be looked at.
    pub fn whose(&self, folder: &str, record: &Record) -> Result<Whose, SessionError> {
        let own = record.key.folder_name();
        let key = match NameMatch::of(folder, record) {
            NameMatch::Own => return Ok(Whose::Own(record.key.clone())),
            NameMatch::Plain(key) => key,
            NameMatch::Nobody(reason) => {
                return Ok(Whose::Nobody { reason, remedy: better_name(&self.sessions_path(), folder, &own) });
            }
        };
        let original = match self.open_folder(&own) {
            Ok(Some(workspace)) => workspace.record_if_any(),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        // As long as the original cannot be read, nobody knows whether this is
        // a copy of it; a grant must not be carried along by mistake.
        let Ok(original) = original else {
            let reason = format!("the session `{}`, which its record states, cannot be read", record.key);
            let remedy =
                Some(format!("mend that one first: denizen verify {}", quoted(&self.sessions_path().join(&own))));
            return Ok(Whose::Nobody { reason, remedy });
        };
        if original.is_some_and(|original| original.uuid == record.uuid) {
            return Ok(Whose::Copied(key));
        }
        if is_locked(&self.state_path("locks").join(&own))? {
            let reason = format!("the session `{}` that it was moved from is in use", record.key);
            let remedy = Some(format!("wait for that turn, or end it: denizen stop {own}"));
            return Ok(Whose::Nobody { reason, remedy });
        }
        Ok(Whose::Moved(key))
    }

    /// Opens a session under its lock, or returns the lock and claim where
    /// there is none. A folder that was copied or moved here is adopted.
    ///
    /// # Errors
    /// If the folder cannot be read, or is nobody's.
    pub fn open(&self, lock: Lock, claim: Claim) -> Result<ClaimedFolder, SessionError> {
        let folder = claim.folder().to_owned();
        let Some(workspace) = self.open_folder(&folder)? else { return Ok(ClaimedFolder::Missing(lock, claim)) };
        let (mut record, stamp) = match read_record(workspace.dir()) {
            Err(SessionError::File(error)) if error.is_not_found() && workspace.dir().names()?.is_empty() => {
                // An empty folder is nobody's work; a session can be made there.
                let path = self.sessions_path().join(&folder);
                std::fs::remove_dir(&path).map_err(|source| files::Error::io("remove", &path, source))?;
                return Ok(ClaimedFolder::Missing(lock, claim));
            }
            read => read?,
        };
        let whose = self.whose(&folder, &record)?;
        let old = (record.key.clone(), record.uuid);
        let adopted = match whose {
            Whose::Own(_) => false,
            Whose::Nobody { reason, remedy } => {
                return Err(SessionError::Stray { path: workspace.path().to_owned(), reason, remedy });
            }
            Whose::Copied(key) => {
                record.forked_from = Some(Fork { key: old.0.clone(), uuid: old.1 });
                record.uuid = Uuid::new_v4();
                record.key = key;
                if let Some(conversation) = &mut record.conversation {
                    conversation.fork = true;
                }
                true
            }
            Whose::Moved(key) => {
                record.key = key;
                true
            }
        };
        let mut guard = WorkspaceGuard::new(workspace, record, stamp, lock, claim)?;
        if adopted {
            if guard.record().uuid == old.1 {
                let grant = Grant::read(self, &old.0.folder_name(), old.1)?;
                if grant != Grant::none(old.1) {
                    grant.save(self, &folder)?;
                }
            }
            guard.save()?;
            Names::of(self).add(&folder, guard.record());
        }
        Ok(ClaimedFolder::Session(Box::new(guard)))
    }
}
