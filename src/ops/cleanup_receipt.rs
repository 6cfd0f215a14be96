//! The receipt of a cleanup, and taking a cleanup back by it.
//!
//! `state/cleanup/<time>.jsonl` has a line for each step, written and synced
//! before the step is done: whoever is killed in between leaves a line too
//! many, never one too few. So a line says what may have been done; whether it
//! was, and still is so, is looked up in the session itself.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Control, ControlError, Wait};
use crate::files::{self, Dir, Durability, Lock};
use crate::key::Key;
use crate::session::{Record, SessionError, Store, Trashed};

/// The largest receipt that is read, in bytes: some millions of steps.
const MAX_RECEIPT_BYTES: u64 = 1 << 30;

/// A step of a cleanup, as it is noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "lowercase")]
pub enum Noted {
    /// A session was archived.
    Archived {
        /// Its key.
        key: Key,
        /// Its uuid.
        uuid: Uuid,
        /// The time that its record got; one that was archived again has another.
        archived_at: Timestamp,
    },
    /// A session was moved to the trash.
    Trashed {
        /// Its key.
        key: Key,
        /// Its uuid.
        uuid: Uuid,
        /// Its name there; one that was removed again has another.
        name: String,
    },
    /// A removed session was deleted for good.
    Deleted {
        /// Its name in the trash.
        name: String,
    },
}

impl Noted {
    /// The session's key, or its name in the trash.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Archived { key, .. } | Self::Trashed { key, .. } => key.as_str(),
            Self::Deleted { name } => name,
        }
    }
}

/// A step, and why it would be left as it is, if it would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoStep {
    /// The step.
    pub noted: Noted,
    /// Why it cannot be taken back.
    pub left: Option<String>,
}

/// Why a step was not taken back.
#[derive(Debug, thiserror::Error)]
pub enum NotUndone {
    /// Something else happened to the session since.
    #[error("{0}")]
    Left(String),
    /// It failed, and can be tried again.
    #[error(transparent)]
    Failed(#[from] ControlError),
}

impl From<SessionError> for NotUndone {
    fn from(error: SessionError) -> Self {
        Self::Failed(error.into())
    }
}

/// The receipt that a cleanup writes. The file is made with its first line,
/// and then takes the place of the one before.
#[derive(Debug)]
pub(super) struct CleanupReceipt<'a> {
    store: &'a Store,
    open: Option<(Dir, PathBuf)>,
    _alone: Lock,
}

impl<'a> CleanupReceipt<'a> {
    /// Begins a receipt. Only one cleanup runs at a time.
    pub(super) fn begin(store: &'a Store) -> Result<Self, ControlError> {
        Ok(Self { store, open: None, _alone: alone(store)? })
    }

    /// Notes a step that is about to be done.
    pub(super) fn note(&mut self, noted: &Noted) -> Result<(), ControlError> {
        let durability = self.store.durability();
        if let Some((dir, name)) = &self.open {
            dir.append(name, &line(noted), durability)?;
            return Ok(());
        }
        let path = self.store.state_path("cleanup");
        files::make_private_dir(&path, durability)?;
        let dir = Dir::open(&path)?;
        let earlier = receipts(&dir)?;
        let name = PathBuf::from(format!("{}.jsonl", crate::session::now().strftime("%Y%m%dT%H%M%S%.3fZ")));
        dir.append(&name, &line(noted), durability)?;
        for earlier in earlier.iter().filter(|earlier| **earlier != name) {
            dir.remove_file(earlier)?;
        }
        self.open = Some((dir, name));
        Ok(())
    }
}

impl Control {
    /// What [`Control::undo`] would do, step by step. Nothing is changed.
    ///
    /// # Errors
    /// If there is no cleanup to take back, or its receipt cannot be read.
    pub fn plan_undo(&self) -> Result<Vec<UndoStep>, ControlError> {
        let (_, _, steps) = self.last_receipt()?;
        let plan = steps.into_iter().map(|noted| {
            let left = match self.undoable(&noted) {
                Ok(()) => None,
                Err(NotUndone::Left(reason)) => Some(reason),
                Err(NotUndone::Failed(error)) => return Err(error),
            };
            Ok(UndoStep { noted, left })
        });
        plan.collect()
    }

    /// Takes back the last cleanup, as far as nothing else happened to its
    /// sessions since. `tell` hears of each step. What failed can be tried
    /// again; what was done or left is not asked for again.
    ///
    /// # Errors
    /// If there is no cleanup to take back, its receipt cannot be read or
    /// removed, or another cleanup is running.
    pub async fn undo(
        &self,
        wait: &mut Wait<'_>,
        tell: &mut dyn FnMut(&Noted, Result<(), NotUndone>),
    ) -> Result<(), ControlError> {
        let _alone = alone(&self.store)?;
        let (dir, name, steps) = self.last_receipt()?;
        let mut failed = Vec::new();
        for noted in &steps {
            let undone = self.undo_one(noted, wait).await;
            if matches!(undone, Err(NotUndone::Failed(_))) {
                failed.extend(line(noted));
            }
            tell(noted, undone);
        }
        if failed.is_empty() {
            dir.remove_file(&name)?;
            if self.store.durability() == Durability::Power {
                dir.sync()?;
            }
        } else {
            dir.replace(&name, &failed, self.store.staging()?)?;
        }
        Ok(())
    }

    async fn undo_one(&self, noted: &Noted, wait: &mut Wait<'_>) -> Result<(), NotUndone> {
        match noted {
            Noted::Archived { key, uuid, archived_at } => {
                let mut guard = match self.guard(key, wait).await {
                    Err(ControlError::Session(SessionError::NoSuchSession(_))) => return Err(gone()),
                    guard => guard?,
                };
                still_archived(guard.record(), *uuid, *archived_at)?;
                guard.record_mut().archived_at = None;
                guard.save()?;
                Ok(())
            }
            Noted::Trashed { name, .. } => match self.store.untrash(&self.still_trashed(name)?) {
                Err(SessionError::Taken(_)) => Err(taken()),
                restored => Ok(restored?),
            },
            Noted::Deleted { name } => Err(self.deleted(name)?),
        }
    }

    /// Whether a step can be taken back, as it looks now.
    fn undoable(&self, noted: &Noted) -> Result<(), NotUndone> {
        match noted {
            Noted::Archived { key, uuid, archived_at } => {
                let workspace = self.store.find(key)?.ok_or_else(gone)?;
                still_archived(&workspace.record()?, *uuid, *archived_at)
            }
            Noted::Trashed { name, .. } => {
                let trashed = self.still_trashed(name)?;
                let is_taken = self.store.sessions_path().join(&trashed.folder).symlink_metadata().is_ok();
                if is_taken { Err(taken()) } else { Ok(()) }
            }
            Noted::Deleted { name } => Err(self.deleted(name)?),
        }
    }

    fn still_trashed(&self, name: &str) -> Result<Trashed, NotUndone> {
        let trashed = self.store.trashed_as(name)?;
        trashed.ok_or_else(|| NotUndone::Left("it is not in the trash".to_owned()))
    }

    fn deleted(&self, name: &str) -> Result<NotUndone, SessionError> {
        let there = self.store.trashed_as(name)?.is_some();
        let reason = if there { "it was not deleted, it is in the trash" } else { "it was deleted for good" };
        Ok(NotUndone::Left(reason.to_owned()))
    }

    /// The last receipt, with the directory that it is in.
    fn last_receipt(&self) -> Result<(Dir, PathBuf, Vec<Noted>), ControlError> {
        let nothing = || ControlError::Nothing("there is no cleanup to undo".to_owned());
        let dir = match Dir::open(&self.store.state_path("cleanup")) {
            Err(error) if error.is_not_found() => return Err(nothing()),
            opened => opened?,
        };
        let name = receipts(&dir)?.pop().ok_or_else(nothing)?;
        let bytes = dir.read(&name, MAX_RECEIPT_BYTES)?;
        // A line that was cut short is one of a step that was never done.
        let lines = bytes.split(|byte| *byte == b'\n');
        let steps = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        Ok((dir, name, steps))
    }
}

fn gone() -> NotUndone {
    NotUndone::Left("it was removed or moved away since".to_owned())
}

fn taken() -> NotUndone {
    NotUndone::Left("another session has its name now; it stays in the trash".to_owned())
}

fn still_archived(record: &Record, uuid: Uuid, at: Timestamp) -> Result<(), NotUndone> {
    let reason = match record.archived_at {
        _ if record.uuid != uuid => "another session has its name now",
        None => "it is not archived",
        Some(now) if now != at => "it was archived again since",
        Some(_) => return Ok(()),
    };
    Err(NotUndone::Left(reason.to_owned()))
}

/// The receipts in a directory, the latest last.
fn receipts(dir: &Dir) -> Result<Vec<PathBuf>, files::Error> {
    let mut names: Vec<PathBuf> = dir.names()?.into_iter().map(PathBuf::from).collect();
    names.retain(|name| name.extension().is_some_and(|ending| ending == "jsonl"));
    names.sort();
    Ok(names)
}

/// The lock of all that write receipts.
fn alone(store: &Store) -> Result<Lock, ControlError> {
    // No folder of a session has a dot in its name.
    Lock::try_take(&store.lock_path("cleanup.lock")?)?.ok_or(ControlError::CleanupRunning)
}

fn line(noted: &Noted) -> Vec<u8> {
    // Serialising plain data into memory cannot fail.
    let mut bytes = serde_json::to_vec(noted).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
