//! Looking at sessions: nothing here takes a lock or changes anything.

use std::path::PathBuf;

use serde::Serialize;

use super::{Control, ControlError};
use crate::files::is_locked;
use crate::key::Key;
use crate::session::{
    Grant, Listed, MessageOptions, Pending, PendingState, Queue, Record, SessionError, Settings, Usage, Whose,
};
use crate::turn::{Asked, Subject, TurnPlan};

/// A session as it is shown in a list.
#[derive(Debug)]
pub struct Shown {
    /// Its folder.
    pub folder: String,
    /// Its record, or why it cannot be read or belongs to nobody.
    pub record: Result<Box<Record>, SessionError>,
    /// Whether a turn or terminal has it now.
    pub busy: bool,
}

/// Everything there is to say about one session.
#[derive(Debug)]
pub struct SessionStatus {
    /// Its record.
    pub record: Record,
    /// Its settings, or why they cannot be read.
    pub settings: Result<Settings, SessionError>,
    /// Its folder.
    pub path: PathBuf,
    /// The directory that it works in.
    pub working_dir: PathBuf,
    /// Whether it works there only until a fresh conversation begins.
    pub until_new: bool,
    /// Whether a turn or terminal has it now.
    pub busy: bool,
    /// Messages that were not answered.
    pub pending: Vec<Pending>,
    /// The size of everything in its folder, in bytes.
    pub bytes: u64,
}

/// All sessions together.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Overview {
    /// How many sessions there are.
    pub sessions: usize,
    /// How many of them are archived.
    pub archived: usize,
    /// How many are busy now.
    pub busy: usize,
    /// How many folders cannot be read or belong to nobody.
    pub unreadable: usize,
    /// How many messages were not answered.
    pub pending: usize,
    /// How many replies are not yet in their channel.
    pub undelivered: usize,
    /// How many removed sessions are in the trash.
    pub trashed: usize,
    /// How many turns all sessions have taken.
    pub turns: u64,
    /// What they used.
    pub usage: Usage,
}

impl Control {
    /// All sessions, the one used last first. Folders that cannot be read or
    /// belong to nobody come last.
    ///
    /// # Errors
    /// If `sessions/` cannot be read.
    pub fn list(&self) -> Result<Vec<Shown>, ControlError> {
        let (running, listed) = std::thread::scope(|scope| {
            let running = scope.spawn(|| self.running());
            let listed = self.store.list();
            (running.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked)), listed)
        });
        let (running, listed) = (running?, listed?);
        let mut shown: Vec<Shown> = listed.into_iter().map(|listed| self.show(listed, &running)).collect();
        shown.sort_by(|a, b| {
            let used = |shown: &Shown| shown.record.as_ref().map(|record| record.last_used_at).ok();
            used(b).cmp(&used(a)).then_with(|| a.folder.cmp(&b.folder))
        });
        Ok(shown)
    }

    pub(super) fn show(&self, listed: Listed, running: &std::collections::HashSet<String>) -> Shown {
        let Listed { folder, record } = listed;
        let record = record.and_then(|mut record| {
            if record.key.folder_name() == folder {
                return Ok(record);
            }
            match self.store.whose(&folder, &record)? {
                Whose::Own(key) | Whose::Copied(key) | Whose::Moved(key) => {
                    record.key = key;
                    Ok(record)
                }
                Whose::Nobody { reason, remedy } => {
                    Err(SessionError::Stray { path: self.store.sessions_path().join(&folder), reason, remedy })
                }
            }
        });
        Shown { busy: running.contains(&folder), folder, record }
    }

    /// The folders whose lock is held now.
    pub(super) fn running(&self) -> Result<std::collections::HashSet<String>, ControlError> {
        let path = self.store.state_path("locks");
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(source) => return Err(crate::files::Error::Io { action: "list", path, source }.into()),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let folders = names.filter(|name| !name.ends_with(".run"));
        Ok(folders.filter(|folder| is_locked(&path.join(folder)).unwrap_or(false)).collect())
    }

    /// Everything there is to say about one session.
    ///
    /// # Errors
    /// If there is none, or its record cannot be read.
    pub fn status(&self, key: &Key) -> Result<SessionStatus, ControlError> {
        let workspace = self.store.find(key)?.ok_or_else(|| SessionError::NoSuchSession(key.to_string()))?;
        let record = workspace.record()?;
        let folder = workspace.folder();
        let grant = Grant::read(&self.store, folder, record.uuid)?;
        let files = walkdir::WalkDir::new(workspace.path()).into_iter().flatten();
        let bytes = files.filter_map(|entry| entry.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum();
        Ok(SessionStatus {
            settings: workspace.settings(),
            path: workspace.path().to_owned(),
            until_new: grant.until_new,
            working_dir: grant.working_dir.unwrap_or_else(|| workspace.path().to_owned()),
            busy: is_locked(&self.store.state_path("locks").join(folder))?,
            pending: self.pending(folder)?,
            bytes,
            record,
        })
    }

    /// What would run at a session's next turn.
    ///
    /// # Errors
    /// If there is no such session, or it cannot be worked out.
    pub fn plan(&self, key: &Key) -> Result<TurnPlan, ControlError> {
        let workspace = self.store.find(key)?.ok_or_else(|| SessionError::NoSuchSession(key.to_string()))?;
        let (record, settings) = (workspace.record()?, workspace.settings()?);
        let grant = Grant::read(&self.store, workspace.folder(), record.uuid)?;
        let subject =
            Subject { store: &self.store, workspace: &workspace, record: &record, settings: &settings, grant: &grant };
        let asked = Asked::Provider { options: &MessageOptions::default(), can_ask: false };
        Ok(TurnPlan::prepare(&self.setup, &self.setup.ground(&self.store), subject, asked)?)
    }

    /// The unanswered messages of a folder.
    ///
    /// # Errors
    /// If its queue cannot be read.
    pub fn pending(&self, folder: &str) -> Result<Vec<Pending>, ControlError> {
        if !self.store.queue_path(folder).is_dir() {
            return Ok(Vec::new());
        }
        let mut pending = Queue::open(&self.store, folder)?.pending()?;
        if !pending.is_empty() {
            let recorded = self.store.open_folder(folder)?.and_then(|workspace| workspace.last_recorded());
            let to_channel = |pending: &Pending| pending.message.as_ref().is_ok_and(|message| message.reply.is_some());
            pending.retain(|pending| Some(pending.number) != recorded || to_channel(pending));
            for pending in pending.iter_mut().filter(|pending| Some(pending.number) == recorded) {
                pending.state = PendingState::Answered;
            }
        }
        Ok(pending)
    }

    /// All sessions together.
    ///
    /// # Errors
    /// If the sessions, the queue or the trash cannot be read.
    pub fn overview(&self) -> Result<Overview, ControlError> {
        let mut overview = Overview { trashed: self.store.trashed()?.len(), ..Overview::default() };
        for shown in self.list()? {
            overview.busy += usize::from(shown.busy);
            let Ok(record) = shown.record else {
                overview.unreadable += 1;
                continue;
            };
            overview.sessions += 1;
            overview.archived += usize::from(record.archived_at.is_some());
            overview.turns += record.turns;
            overview.usage.add(record.usage);
        }
        let queues = std::fs::read_dir(self.store.state_path("queue"));
        for queue in queues.into_iter().flatten().flatten() {
            let mut entries = std::fs::read_dir(queue.path()).into_iter().flatten().flatten();
            // Nearly all are empty.
            if !entries.any(|entry| entry.path().extension().is_some_and(|ending| ending == "entry")) {
                continue;
            }
            for pending in self.pending(&queue.file_name().to_string_lossy())? {
                match pending.state {
                    PendingState::Answered => overview.undelivered += 1,
                    _ => overview.pending += 1,
                }
            }
        }
        Ok(overview)
    }
}
