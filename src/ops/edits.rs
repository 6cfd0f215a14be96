//! Changing a session: its conversations, its name, its settings, its end.

use std::path::{Path, PathBuf};

use super::{Control, ControlError, Wait};
use crate::config::keys::nearest;
use crate::key::Key;
use crate::login;
use crate::session::{Conversation, Grant, Names, ProviderChoice, Record, SETTINGS, SessionError, Trashed};
use crate::turn::provider_of;

/// A session after a change.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedSession {
    /// Its record.
    pub record: Record,
    /// What the person should know.
    pub notices: Vec<String>,
}

/// A session that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedSession {
    /// The session.
    pub key: Key,
    /// Where it is in the trash; `None` if it was deleted for good.
    pub trashed: Option<Trashed>,
}

impl Control {
    /// Makes the next message start a fresh conversation.
    ///
    /// # Errors
    /// If the session stays busy or cannot be saved.
    pub async fn new_conversation(&self, key: &Key, wait: &mut Wait<'_>) -> Result<ChangedSession, ControlError> {
        let mut guard = self.guard(key, wait).await?;
        let mut grant = Grant::read(&self.store, guard.folder(), guard.record().uuid)?;
        if guard.record().conversation.is_some() {
            guard.record_mut().retire_conversation();
            guard.save()?;
        }
        let mut notices = Vec::new();
        if grant.end_with_conversation() {
            grant.save(&self.store, guard.folder())?;
            notices.push("from now on the session works in its own folder".to_owned());
        }
        Ok(ChangedSession { record: guard.record().clone(), notices })
    }

    /// Makes an earlier conversation the current one: by the start of its id,
    /// or by its number in the list, 1 being the latest.
    ///
    /// # Errors
    /// If none or several fit.
    pub async fn resume(&self, key: &Key, wanted: &str, wait: &mut Wait<'_>) -> Result<ChangedSession, ControlError> {
        let owned = wanted.to_owned();
        self.change(key, wait, move |record| {
            let at = find_conversation(record, &owned)?;
            let chosen = record.earlier.remove(at);
            record.provider = Some(ProviderChoice { name: chosen.provider.clone() });
            record.retire_conversation();
            record.conversation = Some(chosen);
            Ok(())
        })
        .await
    }

    /// Copies a session to a new key.
    ///
    /// # Errors
    /// If the new key has a session already.
    pub async fn fork(&self, key: &Key, new_key: &Key, wait: &mut Wait<'_>) -> Result<ChangedSession, ControlError> {
        let taken = self.store.find(new_key)?.map(|workspace| workspace.dir().names()).transpose()?;
        if taken.is_some_and(|names| !names.is_empty()) {
            return Err(SessionError::Exists(new_key.clone()).into());
        }
        // One lock at a time: the copy is built aside under the source's.
        let source = self.guard(key, wait).await?;
        let (built, record) = self.store.copy(&source, new_key)?;
        drop(source);
        let (lock, claim) = match self.claim_place(&new_key.folder_name(), wait).await {
            Ok(claimed) => claimed,
            Err(error) => {
                let _removed = crate::files::remove_whole(&built);
                return Err(error);
            }
        };
        let guard = self.store.install(lock, claim, &built, record)?;
        Ok(ChangedSession { record: guard.record().clone(), notices: Vec::new() })
    }

    /// Gives a session a title; an empty one takes it away.
    ///
    /// # Errors
    /// If the title has control characters or is longer than 200 bytes.
    pub async fn rename(&self, key: &Key, title: &str, wait: &mut Wait<'_>) -> Result<ChangedSession, ControlError> {
        let title = title.trim();
        if title.len() > 200 || title.chars().any(char::is_control) {
            return Err(ControlError::Message("a title has at most 200 bytes, and no control characters".to_owned()));
        }
        let mut guard = self.guard(key, wait).await?;
        let names = Names::of(&self.store);
        names.remove(guard.folder(), guard.record());
        let before = guard.record().clone();
        guard.record_mut().title = (!title.is_empty()).then(|| title.to_owned());
        let saved = guard.save();
        names.add(guard.folder(), if saved.is_ok() { guard.record() } else { &before });
        saved?;
        Ok(ChangedSession { record: guard.record().clone(), notices: Vec::new() })
    }

    /// Archives a session, or takes it out of the archive.
    ///
    /// # Errors
    /// If the session stays busy or cannot be saved.
    pub async fn archive(
        &self,
        key: &Key,
        archived: bool,
        wait: &mut Wait<'_>,
    ) -> Result<ChangedSession, ControlError> {
        self.change(key, wait, |record| {
            record.archived_at = match (archived, record.archived_at) {
                (true, None) => Some(crate::session::now()),
                (true, earlier) => earlier,
                (false, _) => None,
            };
            Ok(())
        })
        .await
    }

    /// Sets one of the session's settings, or takes it back to its default.
    ///
    /// # Errors
    /// If there is no such setting, or the value does not fit.
    pub async fn set(
        &self,
        key: &Key,
        name: &str,
        value: Option<&str>,
        wait: &mut Wait<'_>,
    ) -> Result<ChangedSession, ControlError> {
        check_setting(name)?;
        if let ("provider", Some(provider)) = (name, value) {
            provider_of(&self.setup.config, provider)?;
        }
        let mut guard = self.guard(key, wait).await?;
        let mut notices = Vec::new();
        if name == "provider" {
            guard.record_mut().provider = value.map(|name| ProviderChoice { name: name.to_owned() });
            guard.save()?;
        } else {
            let mut settings = guard.workspace().settings()?;
            settings.set(name, value)?;
            guard.workspace().memory_path(&settings)?;
            guard.save_settings(&settings)?;
            if let (Some(mode), Some(provider)) = (settings.permission_mode, &guard.record().provider) {
                let (_, options) = provider_of(&self.setup.config, &provider.name)?;
                if mode > options.permission_mode {
                    let ceiling = options.permission_mode.name();
                    notices.push(format!(
                        "`{}` is above the ceiling of the configuration, so turns use `{ceiling}`",
                        mode.name()
                    ));
                }
            }
        }
        Ok(ChangedSession { record: guard.record().clone(), notices })
    }

    /// The directory that a session works in.
    ///
    /// # Errors
    /// If there is no such session, or its grant cannot be read.
    pub fn working_dir(&self, key: &Key) -> Result<PathBuf, ControlError> {
        let workspace = self.store.find(key)?.ok_or_else(|| SessionError::NoSuchSession(key.to_string()))?;
        let grant = Grant::read(&self.store, workspace.folder(), workspace.record()?.uuid)?;
        Ok(grant.working_dir.unwrap_or_else(|| workspace.path().to_owned()))
    }

    /// Points a session at a directory that the configuration allows, or back
    /// at its own folder.
    ///
    /// # Errors
    /// If the directory is not there or not allowed.
    pub async fn change_dir(
        &self,
        key: &Key,
        dir: Option<&Path>,
        wait: &mut Wait<'_>,
    ) -> Result<ChangedSession, ControlError> {
        let real = dir.map(|dir| self.allowed(dir)).transpose()?;
        let guard = self.guard(key, wait).await?;
        let mut grant = Grant::read(&self.store, guard.folder(), guard.record().uuid)?;
        grant.working_dir.clone_from(&real);
        grant.until_new = false;
        grant.save(&self.store, guard.folder())?;
        let mut notices = Vec::new();
        if let Some(real) = &real {
            let others = self.users_of(real, guard.folder())?;
            if !others.is_empty() {
                notices.push(format!("this directory is also used by {}", others.join(", ")));
            }
        }
        Ok(ChangedSession { record: guard.record().clone(), notices })
    }

    /// Moves a session to the trash, or deletes it for good.
    ///
    /// # Errors
    /// If it stays busy or cannot be moved.
    pub async fn remove(&self, key: &Key, purge: bool, wait: &mut Wait<'_>) -> Result<RemovedSession, ControlError> {
        let guard = self.guard(key, wait).await?;
        login::settle_own(&self.store, guard.folder()).await?;
        let trashed = self.store.place_in_trash(guard.folder());
        self.store.trash(&guard, &trashed)?;
        if !purge {
            return Ok(RemovedSession { key: key.clone(), trashed: Some(trashed) });
        }
        self.store.purge_one(&trashed)?;
        Ok(RemovedSession { key: key.clone(), trashed: None })
    }

    async fn change(
        &self,
        key: &Key,
        wait: &mut Wait<'_>,
        change: impl FnOnce(&mut Record) -> Result<(), ControlError>,
    ) -> Result<ChangedSession, ControlError> {
        let mut guard = self.guard(key, wait).await?;
        let before = guard.record().clone();
        change(guard.record_mut())?;
        if *guard.record() != before {
            guard.save()?;
        }
        Ok(ChangedSession { record: guard.record().clone(), notices: Vec::new() })
    }

    fn allowed(&self, dir: &Path) -> Result<PathBuf, ControlError> {
        let io = |source| crate::files::Error::Io { action: "use the directory", path: dir.to_owned(), source };
        let real = std::fs::canonicalize(dir).map_err(io)?;
        if !real.is_dir() {
            return Err(io(std::io::ErrorKind::NotADirectory.into()).into());
        }
        let allowed = self.setup.config.working_dirs.iter().filter_map(|allowed| std::fs::canonicalize(allowed).ok());
        // The root itself holds other sessions and what was granted to them.
        let inside_root = real.starts_with(self.store.root()) || self.store.root().starts_with(&real);
        if inside_root || !allowed.into_iter().any(|allowed| real.starts_with(allowed)) {
            return Err(ControlError::DirectoryNotAllowed(real));
        }
        Ok(real)
    }

    /// The other sessions that work in a directory.
    fn users_of(&self, dir: &Path, except: &str) -> Result<Vec<String>, ControlError> {
        let mut users = Vec::new();
        for listed in self.store.list()? {
            let Ok(record) = listed.record else { continue };
            if listed.folder == except {
                continue;
            }
            let grant = Grant::read(&self.store, &listed.folder, record.uuid)?;
            if grant.working_dir.as_deref() == Some(dir) {
                users.push(format!("`{}`", record.key));
            }
        }
        users.sort();
        Ok(users)
    }
}

/// The place of a conversation among the earlier ones.
fn find_conversation(record: &Record, wanted: &str) -> Result<usize, ControlError> {
    let count = record.earlier.len();
    // A short number is a place in the list, also where an id starts with it.
    let number = wanted.parse::<usize>().ok().filter(|_| wanted.len() <= 4);
    if let Some(number @ 1..) = number
        && number <= count
    {
        return Ok(count - number);
    }
    let starts = |conversation: &Conversation| number.is_none() && conversation.id.starts_with(wanted);
    let fits = |conversation: &&Conversation| starts(conversation);
    let found: Vec<_> = record.earlier.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok(record.earlier.iter().position(|conversation| conversation == *one).unwrap_or(0)),
        [] if record.conversation.as_ref().is_some_and(starts) => {
            Err(ControlError::Nothing(format!("the conversation `{wanted}` is the current one already")))
        }
        [] => Err(ControlError::NoSuchConversation {
            key: record.key.clone(),
            reason: format!("no earlier conversation `{wanted}`, there are {count}"),
        }),
        several => Err(ControlError::NoSuchConversation {
            key: record.key.clone(),
            reason: format!("{} earlier conversations `{wanted}`", several.len()),
        }),
    }
}

fn check_setting(name: &str) -> Result<(), SessionError> {
    let names = || SETTINGS.iter().map(|(name, _)| *name);
    if names().any(|known| known == name) {
        return Ok(());
    }
    let nearest = nearest(name, names()).map_or_else(String::new, |nearest| format!(", did you mean `{nearest}`?"));
    Err(SessionError::Setting {
        file: None,
        name: name.to_owned(),
        reason: format!("there is no such setting{nearest}"),
    })
}
