//! The right to renew a login: one at a time has it.
//!
//! It is a lock below `state/locks/`, in whose file its holder stands while a
//! renewal may be going on, and beside the login itself what the
//! CLI locks by, so that the person's own CLI does not renew meanwhile either.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::copy;
use crate::files::{self, Lock};
use crate::provider::Provider;
use crate::session::{SessionError, Store};

/// After how long it is said that a turn waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the right is kept while nothing shows that the login was renewed, or
/// need not be. On a busy machine OpenCode 1.18.33 took more than a minute to its
/// first request; who waits too long can be stopped, and a lost login not found.
pub(super) const PERIOD: Duration = Duration::from_secs(180);

/// When a lock directory of a CLI counts as left behind (proper-lockfile, as
/// Claude Code 2.1.197 uses it).
const STALE: Duration = Duration::from_secs(10);

/// How often one that is held says so.
const TOUCH: Duration = Duration::from_secs(3);

/// How long the person's own CLI is waited for.
const OTHERS: Duration = Duration::from_secs(15);

/// How often it is looked whether it has let go.
const PAUSE: Duration = Duration::from_millis(50);

/// The right to renew a login. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Renewal {
    lock: Lock,
    cli: CliLocks,
    pub(super) since: Instant,
}

/// The path of the lock of a login.
pub(super) fn lock_path(store: &Store, original: &Path) -> Result<PathBuf, SessionError> {
    let hash = copy::hash(original.as_os_str().as_encoded_bytes());
    store.lock_path(&format!("login-{}", &hash[..32]))
}

/// The lock of a login, where nobody has it.
pub(super) fn try_lock(store: &Store, original: &Path) -> Result<Option<Lock>, SessionError> {
    let lock = Lock::try_take(&lock_path(store, original)?)?;
    if let Some(lock) = &lock {
        clean_up_after(lock.path());
    }
    Ok(lock)
}

impl Renewal {
    /// Waits for the right to renew the login `original`. `tell` is called once,
    /// where that takes long.
    pub(super) async fn take(
        store: &Store,
        original: &Path,
        provider: &dyn Provider,
        tell: &mut (dyn FnMut() + Send),
    ) -> Result<Self, SessionError> {
        let lock = match try_lock(store, original)? {
            Some(lock) => lock,
            None => {
                let path = lock_path(store, original)?;
                // A thread that is given up ends with its wait.
                let mut waiting = tokio::task::spawn_blocking(move || Lock::take(&path));
                let taken = match tokio::time::timeout(PATIENCE, &mut waiting).await {
                    Ok(taken) => taken,
                    Err(_) => {
                        tell();
                        waiting.await
                    }
                };
                match taken {
                    Ok(taken) => taken?,
                    Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
                }
            }
        };
        clean_up_after(lock.path());
        let mut renewal = Self { lock, cli: CliLocks::default(), since: Instant::now() };
        let until = Instant::now() + OTHERS;
        for path in original.parent().map(|dir| provider.login_locks(dir)).unwrap_or_default() {
            while !renewal.cli.try_take(&path) && Instant::now() < until {
                tokio::time::sleep(PAUSE).await;
            }
            // At once: what is not noted is not removed where this process dies.
            renewal.note_holder("")?;
        }
        renewal.since = Instant::now();
        Ok(renewal)
    }

    /// Says in the lock's file who may renew now, nobody where that is empty, and
    /// what it has made.
    pub(super) fn note_holder(&self, holder: &str) -> Result<(), files::Error> {
        let made = self.cli.taken.iter().filter_map(|path| Some(format!("{} {}\n", birth(path)?, path.to_str()?)));
        let text = format!("{holder}\n{}", made.collect::<String>());
        write(self.lock.file(), text.as_bytes()).map_err(|source| files::Error::Io {
            action: "write",
            path: self.lock.path().to_owned(),
            source,
        })
    }

    /// The open lock file, for the launcher to inherit.
    pub(super) fn file(&self) -> &File {
        self.lock.file()
    }

    /// Says to the CLI's own kind that the lock is held still.
    pub(super) fn touch(&mut self) {
        self.cli.touch();
    }

    /// Leaves the right to the launcher that inherited it.
    pub(super) fn leave(self) {
        self.lock.leave_to_heirs();
    }

    /// Gives the right up.
    pub(super) fn give_up(self) {
        // Before they are forgotten.
        drop(self.cli);
        // One that still names its holder ends with the lock all the same.
        let _emptied = self.lock.file().set_len(0);
    }
}

/// Whether this holder may still renew.
pub(super) fn is_held_by(lock: &Path, holder: &str) -> bool {
    read(lock).is_some_and(|text| text.lines().next() == Some(holder))
}

/// Removes what a holder has made that died; the lock is held. What was removed
/// as stale, and made by another, is not its own any more.
pub(super) fn clean_up_after(lock: &Path) {
    let Some(text) = read(lock).filter(|text| !text.is_empty()) else { return };
    for (born, path) in text.lines().skip(1).filter_map(|line| line.split_once(' ')) {
        if birth(Path::new(path)).is_some_and(|birth| birth == born) {
            // One that stays is stale after a moment.
            let _removed = std::fs::remove_dir(path);
        }
    }
    let emptied = std::fs::OpenOptions::new().write(true).open(lock).and_then(|file| file.set_len(0));
    drop(emptied);
}

fn read(lock: &Path) -> Option<String> {
    let mut text = String::new();
    let _length = files::open_regular(lock).ok()?.take(16 * 1024).read_to_string(&mut text).ok()?;
    Some(text)
}

/// What tells a directory from a later one of the same name.
fn birth(path: &Path) -> Option<String> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    let born = metadata.created().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    Some(format!("{}-{}", metadata.ino(), born.unwrap_or_default().as_nanos()))
}

fn write(file: &File, bytes: &[u8]) -> std::io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(bytes, 0)
}

/// Lock directories as a CLI makes them beside its login. Where one cannot be
/// made, its CLI cannot either.
#[derive(Debug, Default)]
struct CliLocks {
    taken: Vec<PathBuf>,
    touched: Option<Instant>,
}

impl CliLocks {
    /// Whether the lock was taken, or cannot be.
    fn try_take(&mut self, path: &Path) -> bool {
        match std::fs::create_dir(path) {
            Ok(()) => {
                self.taken.push(path.to_owned());
                self.touched = Some(Instant::now());
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if is_stale(path) {
                    let _removed = std::fs::remove_dir(path);
                }
                false
            }
            Err(_) => true,
        }
    }

    fn touch(&mut self) {
        if self.touched.is_none_or(|touched| touched.elapsed() < TOUCH) {
            return;
        }
        self.touched = Some(Instant::now());
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        for path in &self.taken {
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            let _touched = rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags);
        }
    }
}

impl Drop for CliLocks {
    fn drop(&mut self) {
        for path in self.taken.iter().rev() {
            // One that stays is stale after a moment.
            let _removed = std::fs::remove_dir(path);
        }
    }
}

fn is_stale(path: &Path) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let oldest = i64::try_from(now.saturating_sub(STALE).as_secs()).unwrap_or(0);
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.mtime() < oldest)
}
