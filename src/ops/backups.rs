//! Keeping sessions: in a file and back from it, and back from a backup. Each
//! session is handled under its own lock, and what stood in the way goes to the
//! trash first.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{Control, ControlError, Wait};
use crate::backup::{self, ArchivedSession, Checked, Exporter, Finding, LeftOut, Severity, Tree};
use crate::files::{self, Dir, Durability, Lock, is_locked};
use crate::key::Key;
use crate::session::{Fork, Grant, NameMatch, Record, SessionError, Trashed, Workspace};

/// A session that was exported.
#[derive(Debug)]
pub struct Exported {
    /// Its folder.
    pub folder: String,
    /// The size of its files, in bytes.
    pub bytes: u64,
    /// What was not carried along.
    pub left_out: Vec<LeftOut>,
}

/// A session that was imported.
#[derive(Debug)]
pub struct Imported {
    /// How many files it has.
    pub files: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// What is not as it should be; it was so in the export.
    pub findings: Vec<Finding>,
}

/// How far an import has come.
#[derive(Debug)]
pub enum ImportStep {
    /// So many bytes of the file were read.
    Read(u64),
    /// Everything that was asked for lies beside the sessions.
    Unpacked,
    /// A session has its place under this key, or did not get it.
    Done(Key, Result<Imported, ControlError>),
}

/// What a restore would do, or did, with one session of a backup.
#[derive(Debug)]
pub struct Restored {
    /// Its key.
    pub key: Key,
    /// The record in the backup.
    pub record: Record,
    /// What became of it.
    pub outcome: Restoring,
    /// What is not as it should be in the backup.
    pub findings: Vec<Finding>,
}

/// What becomes of a session of a backup.
#[derive(Debug)]
pub enum Restoring {
    /// It is here already, just as it is in the backup.
    Unchanged,
    /// It comes back; there is none here.
    New,
    /// It comes back, and the one that is here goes to the trash.
    Replaces(Option<Trashed>),
}

/// How sessions are restored.
#[derive(Debug, Clone, Copy)]
pub struct RestoreOptions {
    /// Take what is damaged all the same.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Control {
    /// Adds a session to an export, under its lock.
    ///
    /// # Errors
    /// If it stays busy, or cannot be read or written.
    pub async fn export<W: Write>(
        &self,
        folder: &str,
        exporter: &mut Exporter<W>,
        wait: &mut Wait<'_>,
    ) -> Result<Exported, ControlError> {
        let open = || self.store.open_folder(folder)?.ok_or_else(|| SessionError::NoSuchSession(folder.to_owned()));
        let record = open()?.record()?;
        let mut left_out = Vec::new();
        let mut add = |workspace: &Workspace| exporter.add(folder, workspace.dir(), &mut |left| left_out.push(left));
        let bytes = match NameMatch::of(folder, &record) {
            NameMatch::Own => match self.lock_if_idle(folder)? {
                // Opened again: until now, another could take its name.
                Some(_lock) => add(&open()?)?,
                None => add(self.guard(&record.key, wait).await?.workspace())?,
            },
            // A folder that was copied or moved here becomes a session first.
            NameMatch::Plain(key) => add(self.guard(&key, wait).await?.workspace())?,
            NameMatch::Nobody(reason) => {
                let path = self.store.sessions_path().join(folder);
                return Err(SessionError::Stray { path, reason, remedy: None }.into());
            }
        };
        Ok(Exported { folder: folder.to_owned(), bytes, left_out })
    }

    /// The lock of a session that nobody uses, without a place in its line: most
    /// sessions of an export of all are such.
    fn lock_if_idle(&self, folder: &str) -> Result<Option<Lock>, ControlError> {
        let lock = Lock::try_take(&self.store.lock_path(folder)?)?;
        Ok(if is_locked(&self.store.run_lock_path(folder))? { None } else { lock })
    }

    /// Unpacks sessions of an export that was looked at, each under the key that
    /// stands beside it. A session that is already there is never touched; `step`
    /// hears what became of each. Only names are kept in memory.
    ///
    /// # Errors
    /// If the export cannot be unpacked; nothing was imported then.
    pub async fn import(
        &self,
        file: &File,
        path: &Path,
        allow_twins: bool,
        wanted: Vec<(ArchivedSession, Key)>,
        wait: &mut Wait<'_>,
        step: &mut dyn FnMut(ImportStep),
    ) -> Result<(), ControlError> {
        let staging = Aside::make(self)?;
        let needed = wanted.iter().map(|(incoming, _)| incoming.bytes).sum();
        backup::check_room(needed, &staging.path)?;
        let keys: HashMap<&str, &Key> = wanted.iter().map(|(incoming, key)| (incoming.folder.as_str(), key)).collect();
        backup::unpack(file, path, allow_twins, &mut |read| step(ImportStep::Read(read)), &mut |folder| {
            let Some(key) = keys.get(folder) else { return Ok(None) };
            Ok(Some(staging.make_folder(&key.folder_name())?.with_hard_links()))
        })?;
        for (incoming, key) in &wanted {
            let folder = staging.workspace(key)?;
            let packed = folder.record()?;
            if packed.key != incoming.key {
                return Err(ControlError::Message(format!("`{}` changed while it was read", path.display())));
            }
            let record = self.settle_in(packed.clone(), key)?;
            if record != packed {
                folder.dir().replace(Path::new("session.json"), &record.to_json(), self.store.staging()?)?;
            }
        }
        staging.sync(self.store.durability())?;
        step(ImportStep::Unpacked);
        for (incoming, key) in wanted {
            let result = self.install(&staging, &key, wait).await.map(|checked| Imported {
                files: incoming.files,
                bytes: incoming.bytes,
                findings: checked.findings,
            });
            step(ImportStep::Done(key, result));
        }
        Ok(())
    }

    /// The record of a session that comes from a file. It goes on as the session
    /// it was, unless that one, or something that was granted to it, is here:
    /// then it is a copy, because a file must not grant anything.
    fn settle_in(&self, mut record: Record, key: &Key) -> Result<Record, ControlError> {
        let folder = key.folder_name();
        let granted = Grant::read(&self.store, &folder, record.uuid)? != Grant::none(record.uuid);
        let original = self.store.find(&record.key)?.map(|workspace| workspace.record_if_any()).transpose();
        // One that cannot be read may be the same one.
        let copied = granted || original.map_or(true, |found| found.flatten().is_some_and(|r| r.uuid == record.uuid));
        if copied {
            record.forked_from = Some(Fork { key: record.key.clone(), uuid: record.uuid });
            record.uuid = Uuid::new_v4();
            if let Some(conversation) = &mut record.conversation {
                conversation.fork = true;
            }
        }
        record.key = key.clone();
        Ok(record)
    }

    /// Gives an unpacked session its name.
    async fn install(&self, staging: &Aside, key: &Key, wait: &mut Wait<'_>) -> Result<Checked, ControlError> {
        let folder = key.folder_name();
        let record = staging.workspace(key)?.record()?;
        let (lock, claim) = self.claim_place(&folder, wait).await?;
        let guard = self.store.install(lock, claim, &staging.path.join(&folder), record)?;
        // Looked at where it now is, so that a finding names what a person can find.
        Ok(backup::check_folder(guard.workspace()))
    }

    /// Brings one session of a backup back, just as it is there. It is copied and
    /// checked before the session that is here is touched; that one goes to the
    /// trash.
    ///
    /// # Errors
    /// If the backup's session is damaged (and `force` is not given), or the
    /// one here stays busy; nothing was changed then.
    pub async fn restore(
        &self,
        tree: &Tree,
        folder: &str,
        options: RestoreOptions,
        wait: &mut Wait<'_>,
    ) -> Result<Restored, ControlError> {
        let source = tree.workspace(folder)?;
        let record = source.record()?;
        let key = match NameMatch::of(folder, &record) {
            NameMatch::Own => record.key.clone(),
            NameMatch::Plain(key) => key,
            NameMatch::Nobody(reason) => {
                return Err(SessionError::Stray { path: source.path().to_owned(), reason, remedy: None }.into());
            }
        };
        let here = self.store.sessions_path().join(folder);
        let there = here.symlink_metadata().is_ok();
        if there && backup::is_same(source.path(), &here) {
            return Ok(Restored { key, record, outcome: Restoring::Unchanged, findings: Vec::new() });
        }
        let findings = backup::check_folder(&source).findings;
        if !options.force
            && let Some(damage) = findings.iter().find(|finding| finding.severity == Severity::Damaged)
        {
            return Err(ControlError::DamagedBackup { key, damage: Box::new(damage.clone()) });
        }
        if options.dry_run {
            let outcome = if there { Restoring::Replaces(None) } else { Restoring::New };
            return Ok(Restored { key, record, outcome, findings });
        }
        let staging = Aside::make(self)?;
        let target = staging.make_folder(folder)?;
        let mut unreadable = None;
        backup::copy_out(source.dir(), &target, |left| {
            unreadable = unreadable.take().or(left.unreadable.then_some(left))
        })?;
        if let Some(left) = unreadable.filter(|_| !options.force) {
            return Err(ControlError::UnreadableBackup { path: source.path().join(left.path), reason: left.reason });
        }
        staging.sync(self.store.durability())?;
        let (lock, claim) = self.claim_place(folder, wait).await?;
        let trashed = self.store.trash_claimed(&lock, &claim)?;
        let installed = self
            .restore_grant(tree, folder, record.uuid)
            .and_then(|()| Ok(self.store.install(lock, claim, &staging.path.join(folder), record.clone())?));
        if let Err(error) = installed {
            // What was here before is better than nothing.
            if let Some(trashed) = &trashed {
                self.store.untrash(trashed)?;
            }
            return Err(error);
        }
        let outcome = if trashed.is_some() { Restoring::Replaces(trashed) } else { Restoring::New };
        Ok(Restored { key, record, outcome, findings })
    }

    /// Brings back what the owner had granted, where the backup has it and this
    /// root does not.
    fn restore_grant(&self, tree: &Tree, folder: &str, uuid: Uuid) -> Result<(), ControlError> {
        let Some(root) = tree.root() else { return Ok(()) };
        let Ok(dir) = Dir::open(&root.join("access/sessions")) else { return Ok(()) };
        let Ok(grant) = Grant::read_in(&dir.with_hard_links(), folder) else { return Ok(()) };
        if grant.uuid == uuid && Grant::read(&self.store, folder, uuid)? == Grant::none(uuid) {
            grant.save(&self.store, folder)?;
        }
        Ok(())
    }
}

/// A directory beside the sessions in which folders are built; what is left in it
/// at the end is removed.
struct Aside {
    path: PathBuf,
    dir: Dir,
}

impl Aside {
    fn make(control: &Control) -> Result<Self, ControlError> {
        let staging = control.store.staging()?;
        let path = staging.path().join(staging.unique_name());
        files::make_private_dir(&path, Durability::Process)?;
        let dir = Dir::open(&path)?;
        Ok(Self { path, dir })
    }

    fn make_folder(&self, name: &str) -> Result<Dir, files::Error> {
        self.dir.make_dir(Path::new(name))?;
        self.dir.open_dir(Path::new(name))
    }

    fn workspace(&self, key: &Key) -> Result<Workspace, files::Error> {
        let folder = key.folder_name();
        Ok(Workspace::of_copy(&folder, self.dir.open_dir(Path::new(&folder))?))
    }

    fn sync(&self, durability: Durability) -> Result<(), files::Error> {
        match durability {
            Durability::Power => self.dir.sync_file_system(),
            Durability::Process => Ok(()),
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // What stays behind is listed by `doctor`.
        let _removed = files::remove_whole(&self.path);
    }
}
