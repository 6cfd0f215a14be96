//! Logins: what a provider's child gets of the person's login, and how it comes
//! back.
//!
//! A CLI renews a login with a token that counts once. So each child gets a copy
//! of its own, in its home, where the CLI finds it and can replace it; one at a
//! time may renew (`renewal`); and what it renewed replaces the original at
//! once, if it is a renewal and nothing else (`provider::LoginRules`): the copy
//! is the agent's to write. Who dies leaves a note (`note`), by which its
//! launcher, or whoever needs the login next, brings the renewed login home.
//!
//! Not here: what a login means, and any connection to a server.

mod copy;
mod last;
mod note;
mod renewal;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

pub use last::Charge;

use crate::files::{self, Dir, Durability, Stamp, replace_theirs};
use crate::provider::{Ends, LoginUser, Provider};
use crate::session::{SessionError, Store};
use copy::CopyState;
use note::{Copied, CopyNote};
use renewal::Renewal;

/// A login that ends so soon may be renewed by the next that uses it: CLIs do it
/// up to five minutes early.
const SOON: Duration = Duration::from_secs(10 * 60);

/// How often copies are looked at while a renewal is expected, and afterwards.
const LOOK: Duration = Duration::from_millis(50);
const LATER_LOOK: Duration = Duration::from_secs(1);

/// The copies of a login that one child has.
#[derive(Debug)]
pub struct Login {
    store: Arc<Store>,
    folder: String,
    note: CopyNote,
    /// What stands in the lock's file while this child may renew.
    holder: String,
    renewal: Option<Renewal>,
    /// When it ends, as far as that is known.
    ends: Ends,
    /// What the copy and the original were like when they were looked at last.
    seen: Option<LoginStamps>,
    notices: Vec<String>,
    /// Whether a renewed login could not be brought home.
    stuck: bool,
}

type LoginStamps = (Option<Stamp>, Option<Stamp>);

/// Whose login a child gets, and for which session.
#[derive(Clone, Copy)]
pub struct LoginRequest<'a> {
    /// Where sessions are.
    pub store: &'a Arc<Store>,
    /// The session's folder.
    pub folder: &'a str,
    /// The provider's home.
    pub home: &'a Path,
    /// The provider.
    pub provider: &'static dyn Provider,
    /// The user whose login it is.
    pub user: &'a LoginUser<'a>,
}

impl Login {
    /// Makes the copies for a child that is about to start. Where the login may
    /// be renewed soon, waits until nobody else may renew it; `tell` is called
    /// once, where that takes long. `None` if the provider gets no copy.
    ///
    /// # Errors
    /// If the login cannot be read, or a copy not be made.
    pub async fn begin(
        wanted: LoginRequest<'_>,
        tell: &mut (dyn FnMut() + Send),
    ) -> Result<Option<Self>, SessionError> {
        let LoginRequest { store, folder, home, provider, user } = wanted;
        let mut files = provider.login(user).into_iter().filter_map(|file| Some((file.path, file.copy?)));
        let Some((path, copy)) = files.next() else { return Ok(None) };
        let original = place(user, path)?;
        let more = files.map(|(path, copy)| Ok((place(user, path)?, copy)));
        let more: Vec<(PathBuf, PathBuf)> = more.collect::<Result<_, SessionError>>()?;
        let note = CopyNote {
            provider: provider.name().to_owned(),
            home: home.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            login: Copied { original: original.clone(), copy, same: String::new() },
            more: more.iter().map(|(_, copy)| copy.clone()).collect(),
        };
        let mut login = Self {
            store: store.clone(),
            folder: folder.to_owned(),
            note,
            holder: format!("{folder} {}", Uuid::new_v4()),
            renewal: None,
            ends: Ends::Never,
            seen: None,
            notices: Vec::new(),
            stuck: false,
        };
        let mut bytes = login.read()?;
        if login.ends_soon() || has_dead(store, &original) {
            let renewal = Renewal::take(store, &original, provider, tell).await?;
            // Whoever had it may have renewed, or died over it.
            settle_dead(store, &original);
            bytes = login.read()?;
            if login.ends_soon() {
                renewal.note_holder(&login.holder)?;
                login.renewal = Some(renewal);
            }
        }
        login.make(bytes.as_deref(), &more)?;
        Ok(Some(login))
    }

    /// Reads the original, and when it ends.
    fn read(&mut self) -> Result<Option<Vec<u8>>, files::Error> {
        let bytes = copy::read_original(&self.note.login.original)?;
        self.note.login.same = bytes.as_deref().map(copy::hash).unwrap_or_default();
        self.ends = match bytes.as_deref().map(serde_json::from_slice::<Value>) {
            None => Ends::Never,
            Some(login) => login.map_or(Ends::Unknown, |login| (self.note.rules().ends)(&login)),
        };
        Ok(bytes)
    }

    /// Whether the login may be renewed within the next minutes.
    fn ends_soon(&self) -> bool {
        self.ends.is_before(Timestamp::now().checked_add(SOON).unwrap_or(Timestamp::MAX))
    }

    fn home(&self) -> Result<Dir, files::Error> {
        self.note.open_home(&self.store, &self.folder)
    }

    /// The note first: a copy that nobody knows of would be lost.
    fn make(&mut self, login: Option<&[u8]>, more: &[(PathBuf, PathBuf)]) -> Result<(), SessionError> {
        self.write_note()?;
        let home = self.home()?;
        copy::make(&self.store, &self.folder, &home, &self.note.login.copy, login)?;
        for (original, copy) in more {
            let bytes = copy::read_original(original)?;
            copy::make(&self.store, &self.folder, &home, copy, bytes.as_deref())?;
        }
        self.seen = Some(self.stamps(&home));
        Ok(())
    }

    fn write_note(&self) -> Result<(), SessionError> {
        let durability = if self.renewal.is_some() { self.store.durability() } else { Durability::Process };
        self.note.write(&self.store, &self.folder, durability)
    }

    fn stamps(&self, home: &Dir) -> LoginStamps {
        let Copied { original, copy, .. } = &self.note.login;
        let original = std::fs::symlink_metadata(original).ok().as_ref().map(Stamp::from);
        (home.stamp(copy).ok().flatten(), original)
    }

    /// What the launcher needs to bring a renewed login home where this process
    /// dies.
    #[must_use]
    pub fn charge(&self) -> Option<Charge> {
        let lock = renewal::lock_path(&self.store, &self.note.login.original).ok()?;
        let (folder, holder) = (self.folder.clone(), self.holder.clone());
        Some(Charge { root: self.store.root().to_owned(), folder, lock, holder })
    }

    /// The lock that the launcher is to inherit, while the login may be renewed.
    #[must_use]
    pub fn lock_file(&self) -> Option<&File> {
        self.renewal.as_ref().map(Renewal::file)
    }

    /// Looks after the copies for as long as it is polled: what was renewed goes
    /// home, and what others renewed comes in. `proven` is rung when the child
    /// has shown that it is logged in.
    async fn look_after(&mut self, proven: &tokio::sync::Notify) -> std::convert::Infallible {
        loop {
            let pause = if self.renewal.is_some() || self.ends_soon() { LOOK } else { LATER_LOOK };
            let proven = tokio::time::timeout(pause, proven.notified()).await.is_ok();
            self.look();
            let over = |renewal: &mut Renewal| proven || renewal.since.elapsed() >= renewal::PERIOD;
            if self.renewal.as_mut().is_some_and(over) {
                self.give_up();
            }
        }
    }

    /// Looks at what has changed.
    fn look(&mut self) {
        if let Some(renewal) = &mut self.renewal {
            renewal.touch();
        }
        let Ok(home) = self.home() else { return };
        let now = self.stamps(&home);
        if Some(now) == self.seen {
            return;
        }
        match copy::look(&home, &self.note.login, self.note.rules()) {
            Ok(CopyState::Renewed(login, hash)) => {
                if !self.take_back(&login, hash) {
                    return;
                }
            }
            Ok(CopyState::Same) if self.seen.is_some_and(|seen| seen.1 != now.1) => {
                // The child finds out itself if it is not so.
                let _brought = self.bring_up(&home);
            }
            // It is looked at again when it changes, and when the child has ended.
            Ok(CopyState::Same | CopyState::Refused(_)) | Err(_) => {}
        }
        self.seen = Some(self.stamps(&home));
    }

    /// Gives the copy, which is untouched, what the original says now.
    fn bring_up(&mut self, home: &Dir) -> Result<(), SessionError> {
        if let Some(bytes) = self.read()? {
            copy::replace(&self.store, home, &self.note.login.copy, &bytes)?;
            self.write_note()?;
        }
        Ok(())
    }

    /// Replaces the original, and lets others go on. Whether that worked.
    fn take_back(&mut self, login: &[u8], hash: String) -> bool {
        let original = &self.note.login.original;
        let lock = match &self.renewal {
            Some(_) => None,
            // One that was renewed late, while somebody else may be about to.
            None => match renewal::try_lock(&self.store, original) {
                Ok(Some(lock)) => Some(lock),
                Ok(None) | Err(_) => return false,
            },
        };
        match replace_theirs(original, login) {
            Ok(()) => {
                self.stuck = false;
                // Also sets what it says now; without the note, what comes after a
                // death finds the two the same.
                let _noted = self.read();
                self.note.login.same = hash;
                let _noted = self.write_note();
                self.give_up();
            }
            Err(error) if !self.stuck => {
                self.stuck = true;
                self.notices.push(stuck_notice(original, &error));
            }
            Err(_) => {}
        }
        drop(lock);
        !self.stuck
    }

    fn give_up(&mut self) {
        if let Some(renewal) = self.renewal.take() {
            renewal.give_up();
        }
    }

    /// Brings home what the child has renewed, and removes the copies. Gives what
    /// the person should know. Called when nothing of the child is left.
    async fn end(mut self) -> Vec<String> {
        let mut notices = std::mem::take(&mut self.notices);
        if self.renewal.is_none()
            && self.is_changed()
            && let Some(provider) = self.note.provider()
        {
            match Renewal::take(&self.store, &self.note.login.original, provider, &mut || ()).await {
                Ok(renewal) => self.renewal = Some(renewal),
                Err(error) => notices.push(format!("the login may not have been brought home: {error}")),
            }
        }
        match settle(&self.store, &self.folder, &self.note) {
            Ok(more) => notices.extend(more),
            Err(error) => notices.push(unsettled_notice(&error)),
        }
        notices.dedup();
        self.give_up();
        notices
    }

    fn is_changed(&self) -> bool {
        let Ok(home) = self.home() else { return false };
        !matches!(copy::look(&home, &self.note.login, self.note.rules()), Ok(CopyState::Same))
    }
}

impl Drop for Login {
    /// Where nobody waited for the child, its launcher may still be waiting for
    /// a renewal, and has the lock.
    fn drop(&mut self) {
        if let Some(renewal) = self.renewal.take() {
            renewal.leave();
        }
    }
}

/// Ends the use of the copies that there may be.
pub async fn end(login: Option<Login>) -> Vec<String> {
    match login {
        Some(login) => login.end().await,
        None => Vec::new(),
    }
}

fn stuck_notice(original: &Path, error: &files::Error) -> String {
    format!(
        "the login was renewed, and `{}` could not be replaced with it ({}): it is tried again at the next turn",
        original.display(),
        crate::causes::with_causes(error)
    )
}

/// Looks after the copies that there may be, for as long as it is polled.
pub async fn look_after(login: &mut Option<Login>, proven: &tokio::sync::Notify) -> std::convert::Infallible {
    match login {
        Some(login) => login.look_after(proven).await,
        None => std::future::pending().await,
    }
}

fn unsettled_notice(error: &SessionError) -> String {
    format!("a copy of the login could not be removed: {}", crate::causes::with_causes(error))
}

/// Brings home what an earlier child of this session left behind when everything
/// died, before its home is looked at. Gives what the person should know.
///
/// # Errors
/// If the login's lock cannot be taken.
pub async fn settle_own(store: &Store, folder: &str) -> Result<Vec<String>, SessionError> {
    let Some(note) = CopyNote::read(store, folder) else { return Ok(Vec::new()) };
    let Some(provider) = note.provider() else { return Ok(Vec::new()) };
    let _alone = Renewal::take(store, &note.login.original, provider, &mut || ()).await?;
    // Another may have done it meanwhile.
    let Some(note) = CopyNote::read(store, folder) else { return Ok(Vec::new()) };
    let mut notices = settle(store, folder, &note).unwrap_or_else(|error| vec![unsettled_notice(&error)]);
    if CopyNote::read(store, folder).is_some()
        && let Ok(home) = note.open_home(store, folder)
        && let Ok(kept) = copy::set_aside(store, folder, &home, &note.login.copy)
    {
        // The next copy takes its place.
        notices.push(format!("the renewed login is kept in `{}`", kept.display()));
    }
    Ok(notices)
}

/// Whether somebody died who had a copy of this login.
fn has_dead(store: &Store, original: &Path) -> bool {
    CopyNote::folders(store).iter().any(|folder| is_dead(store, folder, original).is_some())
}

fn is_dead(store: &Store, folder: &str, original: &Path) -> Option<CopyNote> {
    CopyNote::read(store, folder).filter(|note| note.login.original == original && note::is_dead(store, folder))
}

/// Brings home what they renewed; the login's lock is held. What fails stays for
/// the next, and what is set aside is told to nobody: it was another session's.
fn settle_dead(store: &Store, original: &Path) {
    for folder in CopyNote::folders(store) {
        if let Some(note) = is_dead(store, &folder, original) {
            let _settled = settle(store, &folder, &note);
        }
    }
}

/// Brings home what was renewed, sets aside what is something else, and removes
/// the copies and their note. Nothing of the child is left.
fn settle(store: &Store, folder: &str, note: &CopyNote) -> Result<Vec<String>, SessionError> {
    let mut notices = Vec::new();
    let home = match note.open_home(store, folder) {
        // It was thrown away, or the agent put something else in its place.
        Err(error) if is_gone(&error) => {
            CopyNote::remove(store, folder)?;
            return Ok(notices);
        }
        home => home?,
    };
    let Copied { original, copy, .. } = &note.login;
    match copy::look(&home, &note.login, note.rules())? {
        CopyState::Same => {}
        CopyState::Renewed(login, _) => {
            if let Err(error) = replace_theirs(original, &login) {
                return Ok(vec![stuck_notice(original, &error)]);
            }
        }
        CopyState::Refused(reason) => {
            let kept = copy::set_aside(store, folder, &home, copy)?;
            notices.push(format!(
                "the agent's copy of the login `{}` was changed by more than a renewal ({reason}): it counts for \
                 nothing and is kept in `{}`; who wants another login logs in with the CLI outside of sessions",
                original.display(),
                kept.display()
            ));
        }
    }
    for copy in std::iter::once(copy).chain(&note.more) {
        copy::remove(store, folder, &home, copy)?;
    }
    copy::remove_litter(&home);
    CopyNote::remove(store, folder)?;
    Ok(notices)
}

fn is_gone(error: &files::Error) -> bool {
    let not_a_directory = rustix::io::Errno::NOTDIR.raw_os_error();
    error.is_not_found() || matches!(error, files::Error::Link { .. }) || error.os_error() == Some(not_a_directory)
}

/// Where a file of the login really lies, or would lie if there were one.
fn place(user: &LoginUser<'_>, path: PathBuf) -> Result<PathBuf, SessionError> {
    match user.files.find(&path) {
        Some(real) => Ok(real),
        None if !path.exists() => Ok(path),
        None => {
            let steered = std::io::Error::other("it leads through a link in a directory that agents can write");
            Err(files::Error::Io { action: "use the login", path, source: steered }.into())
        }
    }
}

/// Keeps everybody from renewing a provider's login, for as long as what is
/// returned is kept: while the person logs in. `tell` is called where somebody
/// is waited for. Blocks the thread.
///
/// # Errors
/// If the lock cannot be taken.
pub fn hold(
    store: &Store,
    provider: &dyn Provider,
    user: &LoginUser<'_>,
    tell: impl FnOnce(),
) -> Result<Option<files::Lock>, SessionError> {
    let Some(file) = provider.login(user).into_iter().find(|file| file.copy.is_some()) else { return Ok(None) };
    let original = place(user, file.path)?;
    if let Some(lock) = renewal::try_lock(store, &original)? {
        return Ok(Some(lock));
    }
    tell();
    Ok(Some(files::Lock::take(&renewal::lock_path(store, &original)?)?))
}

/// Brings home what was left behind by everybody who died. For the daemon's
/// start: the person's own CLI may be the next that needs the login.
///
/// # Errors
/// If a login's lock cannot be looked at.
pub fn settle_all(store: &Store) -> Result<(), SessionError> {
    for folder in CopyNote::folders(store) {
        let Some(note) = CopyNote::read(store, &folder) else { continue };
        if let Some(_alone) = renewal::try_lock(store, &note.login.original)? {
            settle_dead(store, &note.login.original);
        }
    }
    Ok(())
}
