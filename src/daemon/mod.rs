//! The daemon: what chat networks report becomes turns of sessions, and what
//! comes of them is delivered. A function that takes its shutdown signal as an
//! argument.
//!
//! One loop (`hub`) over a closed `event::LoopEvent`. Each active session has a
//! `lane`: one task that takes messages in, so that they are durable before
//! anybody is told, and one that takes their turns, one after another. A lane is
//! gone when nothing of its session is left to do. Nothing here is kept in
//! memory that a restart would have to know: messages are in the queue, replies
//! in the transcript, and how far a delivery came is noted in the queue's entry.

mod approvals;
mod channel_lifecycle;
mod channels;
mod check;
mod commands;
mod config_watcher;
mod context;
mod deliver;
mod error;
mod event;
mod event_loop;
mod ingest;
mod jobs;
mod log;
mod phrases;
mod progress;
mod questions;
mod recover;
mod render;
mod replies;
mod sd_notify;
mod seen;
mod session_state;
mod session_worker;
mod stage;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use check::check;
pub use config_watcher::ConfigSource;
pub use error::DaemonError;
pub use log::Rotating;
pub use stage::ShutdownStage;

use crate::channel::Channel;
use crate::config::WallsMode;
use crate::files::{self, Lock, is_locked, make_private_dir};
use crate::login;
use crate::ops::Control;
use crate::process::{self, probe};
use crate::prove::{self, ProofError};
use crate::session::Store;
use crate::turn::Setup;

/// How long the lock of a daemon that was killed may outlive it: what it was
/// just starting has a copy until it becomes its program.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// What a daemon is started with.
pub struct Serve {
    /// The operations on sessions, with the configuration in force.
    pub control: Control,
    /// How the configuration is read again.
    pub source: ConfigSource,
    /// The chat networks that there are.
    pub channels: &'static [&'static dyn Channel],
}

/// How long a proof that runs already is waited for.
const PROOF_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether that is over.
const PROOF_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stage` says otherwise, or every network has ended for good.
///
/// # Errors
/// If it cannot start, or nothing is left to serve.
pub async fn run(serve: Serve, stage: watch::Receiver<ShutdownStage>) -> Result<(), DaemonError> {
    let Serve { control, source, channels } = serve;
    check(&control.setup.config, channels, &source)?;
    if control.setup.config.channels.is_empty() {
        return Err(DaemonError::NothingToServe);
    }
    let _alone = alone(&control.store).await?;
    // It holds the tokens, and other processes of the same user could read its
    // memory and environment: with this, only root can (prctl(2)).
    let _closed = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    raise_file_limit();
    let setup = Setup { group: process::cgroup::settle(), ..Setup::clone(&control.setup).unattended() };
    let control = Arc::new(Control { setup: Arc::new(setup), store: control.store });
    walls_stand(&control).await?;
    move_in(&control, &source);
    control.store.recover();
    // The person's own CLI may be the next that needs a login that was renewed.
    if let Err(error) = login::settle_all(&control.store) {
        tracing::warn!("what was left of a login that was being renewed could not be looked at: {error}");
    }
    event_loop::serve(control, source, channels, stage).await
}

/// Whether a daemon serves this root now.
#[must_use]
pub fn is_running(store: &Store) -> bool {
    is_locked(&lock_path(store)).unwrap_or(false)
}

/// The one place where walls are tried before anybody is let in: where those of
/// the configuration cannot be had, or the adversary gets through, nobody is.
async fn walls_stand(control: &Control) -> Result<(), DaemonError> {
    let setup = &control.setup;
    let walls = setup.config.walls;
    if walls == WallsMode::Off {
        return Ok(());
    }
    let means = setup.means.get_or_init(|| probe::means(&control.store, &setup.config, &setup.environment));
    if let Some(obstacle) = probe::against(means, walls) {
        return Err(DaemonError::Walls { level: walls.name(), obstacle });
    }
    let started = tokio::time::Instant::now();
    let proof = loop {
        match prove::prove(&control.store, setup, walls.into(), None).await {
            // Somebody asked for one, which is over in a moment.
            Err(ProofError::Running) if started.elapsed() < PROOF_PATIENCE => {
                tokio::time::sleep(PROOF_PAUSE).await;
            }
            proof => break proof?,
        }
    };
    let holes: Vec<&str> = proof.holes().map(|attempt| attempt.name).collect();
    if holes.is_empty() {
        tracing::info!(walls = walls.name(), attempts = proof.rows.len(), "the walls hold");
        return Ok(());
    }
    Err(DaemonError::Holes(holes.join("; ")))
}

fn lock_path(store: &Store) -> std::path::PathBuf {
    store.state_path("daemon.lock")
}

/// Takes the lock of the root's one daemon, and notes who holds it.
async fn alone(store: &Store) -> Result<Lock, DaemonError> {
    use std::io::{Read, Seek, Write};
    let path = lock_path(store);
    make_private_dir(path.parent().unwrap_or(Path::new("/")), store.durability())?;
    let mut lock = Lock::try_take(&path)?;
    let begun = Instant::now();
    while lock.is_none() && begun.elapsed() < LAST_BREATH {
        tokio::time::sleep(LAST_BREATH / 50).await;
        lock = Lock::try_take(&path)?;
    }
    let Some(lock) = lock else {
        let mut pid = String::new();
        // Only a note for a person.
        let _read = std::fs::File::open(&path).and_then(|file| file.take(32).read_to_string(&mut pid));
        let pid = Some(pid.trim().to_owned()).filter(|pid| !pid.is_empty());
        return Err(DaemonError::Running { root: store.root().display().to_string(), pid });
    };
    let mut file = lock.file();
    let mut note = || -> std::io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
    };
    note().map_err(|source| files::Error::io("write", &path, source))?;
    Ok(lock)
}

/// Each message that waits holds a file open, and many may wait.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// What earlier systems left moves in, as far as it was not dealt with before.
fn move_in(control: &Control, source: &ConfigSource) {
    use crate::migrate::{LegacySearch, Migration};
    use crate::provider::LoginUser;
    let (setup, store) = (&control.setup, &control.store);
    let ground = setup.ground(store);
    let migration = Migration {
        store,
        search: LegacySearch::near(store.root(), &source.here, &setup.config.legacy),
        user: LoginUser { environment: &setup.environment, home: setup.home.as_deref(), files: &ground },
        config_file: &source.file,
        force: false,
        again: false,
    };
    match migration.at_start() {
        Ok((plan, _)) if plan.sessions.is_empty() => {}
        Ok((plan, _)) => tracing::info!("{} conversations of an earlier bot moved in", plan.sessions.len()),
        Err(error) => tracing::warn!("what an earlier bot left could not move in: {error}"),
    }
}
