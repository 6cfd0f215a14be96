//! Performing a provider's steps, so that its conversation is found where the
//! session now is.
//!
//! A provider's home is disposable: it lies outside the session's folder, holds
//! links into it, and states in its stamp which folder and working directory it
//! was made for, and when the session had last been used. A home that does not
//! fit is thrown away and made again, so a session that was moved, copied or
//! restored from a backup needs no case of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::files::{self, Dir, Durability, make_private_dir};
use crate::process::{self, ChildOutcome, Launch, SpawnError, WorkingDir};
use crate::provider::{Options, Provider, Step, Turn, TurnPaths, child_environment};
use crate::session::{Record, SessionError, Settings, Store, Workspace, WorkspaceGuard};

/// The file in a home that states what the home was made for.
const STAMP: &str = ".for";

/// Why a provider's home could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum RehomeError {
    /// A file of the home could not be made.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The session's folder is not as it should be.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A program could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A program that re-homes the conversation failed.
    #[error("`{program}` could not bring the conversation to its new place: {reason}", program = program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// How it ended, or what it said.
        reason: String,
    },
}

/// Where the things of a turn are. Nothing is made.
///
/// # Errors
/// If what the home was made for cannot be read.
pub fn paths(
    store: &Store,
    workspace: &Workspace,
    record: &Record,
    settings: &Settings,
    provider: &str,
    working_dir: &WorkingDir,
) -> Result<TurnPaths, RehomeError> {
    let session = workspace.path();
    let mut paths = TurnPaths {
        session: session.to_owned(),
        folder: workspace.folder().to_owned(),
        conversations: session.join("provider").join(provider),
        home: store.homes_path(workspace.folder()).join(provider),
        working_dir: working_dir.path().to_owned(),
        memory: session.join(settings.memory_path()),
        new_home: false,
    };
    paths.new_home = read_stamp(&paths.home)? != stamp(&paths, record);
    Ok(paths)
}

/// Performs a provider's steps, and `more`.
///
/// # Errors
/// If a step fails; the home is then made again at the next turn.
pub async fn prepare(
    guard: &mut WorkspaceGuard,
    provider: &dyn Provider,
    options: &Options,
    turn: &Turn<'_>,
    launch: &Launch<'_>,
    more: &[Step],
) -> Result<(), RehomeError> {
    let mut steps = provider.prepare(turn);
    steps.extend_from_slice(more);
    if steps.is_empty() {
        return Ok(());
    }
    let place = turn.place;
    match perform(guard, place, &steps) {
        Err(RehomeError::File(first)) if first.is_of_the_place() => {
            // The child can write its home, so a step may find anything there.
            throw_away(guard, place)?;
            perform(guard, place, &steps).map_err(|_| first)?;
        }
        performed => performed?,
    }
    for step in &steps {
        if let Step::Run { invocation, if_exists } = step
            && place.conversations.join(if_exists).is_file()
        {
            let environment = child_environment(turn.user.environment, provider, options, invocation);
            let launch = Launch { environment, ..launch.clone() };
            run(guard, invocation, &launch).await?;
        }
    }
    if place.new_home {
        leave(guard, place)?;
    }
    Ok(())
}

/// States in a home, if there is one, what it fits: after its preparation,
/// and after each use of the session.
///
/// # Errors
/// If the stamp cannot be written.
pub fn leave(guard: &WorkspaceGuard, place: &TurnPaths) -> Result<(), RehomeError> {
    match Dir::open_own_dir(&place.home) {
        Err(error) if error.is_not_found() => Ok(()),
        home => {
            home?.replace(Path::new(STAMP), &stamp(place, guard.record()), guard.store().staging()?)?;
            Ok(())
        }
    }
}

fn perform(guard: &mut WorkspaceGuard, place: &TurnPaths, steps: &[Step]) -> Result<(), RehomeError> {
    if place.new_home && read_stamp(&place.home)? != stamp(place, guard.record()) {
        throw_away(guard, place)?;
    }
    let home = match Dir::open_own_dir(&place.home) {
        Err(error) if error.is_of_the_place() => {
            throw_away(guard, place)?;
            make_private_dir(&place.home, Durability::Process)?;
            Dir::open_own_dir(&place.home)?
        }
        opened => opened?,
    };
    let store = guard.store().clone();
    for step in steps {
        match step {
            Step::MakeDir(path) => {
                let _made = home.make_dirs(path)?;
            }
            Step::Link { at, to } => in_parent(&home, at, |dir, name| Ok(dir.link(name, to)?))?,
            Step::Write { at, content } => in_parent(&home, at, |dir, name| {
                let same = dir.read(name, content.len() as u64).is_ok_and(|found| found == *content);
                if same { Ok(()) } else { Ok(dir.replace(name, content, store.staging()?).map(|_| ())?) }
            })?,
            Step::MakeConversationDir(name) => {
                let _made = conversation_dir(guard, place, name)?;
            }
            Step::KeepRecent(name) => keep_young(&conversation_dir(guard, place, name)?)?,
            Step::Run { .. } => {}
        }
    }
    Ok(())
}

fn conversation_dir(guard: &mut WorkspaceGuard, place: &TurnPaths, name: &str) -> Result<PathBuf, SessionError> {
    let provider = place.conversations.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    guard.own_dir(&["provider", provider, name])
}

/// Sets the time of change of each file that is older than a day to now. Once a
/// day is enough, and seldom enough for a backup.
fn keep_young(dir: &Path) -> Result<(), files::Error> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    let dir = Dir::open(dir)?;
    for name in dir.names()? {
        // What is not a regular file is not the CLI's.
        let Ok(file) = dir.open_file(Path::new(&name), u64::MAX) else { continue };
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > DAY)) {
            file.set_modified(now)
                .map_err(|source| files::Error::io("set the time of", &dir.path().join(&name), source))?;
        }
    }
    Ok(())
}

/// Does something with an entry of the home, in the directory that holds it.
fn in_parent(
    home: &Dir,
    at: &Path,
    act: impl FnOnce(&Dir, &Path) -> Result<(), RehomeError>,
) -> Result<(), RehomeError> {
    let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { return Ok(()) };
    if parent.as_os_str().is_empty() {
        act(home, Path::new(name))
    } else {
        act(&home.make_dirs(parent)?, Path::new(name))
    }
}

async fn run(
    guard: &WorkspaceGuard,
    invocation: &crate::provider::Invocation,
    launch: &Launch<'_>,
) -> Result<(), RehomeError> {
    use tokio::io::AsyncReadExt;
    let mut child = process::spawn(guard, invocation, launch)?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read_out = async {
        if let Some(mut stdout) = stdout {
            let _count = stdout.read_to_end(&mut out).await;
        }
    };
    let read_err = async {
        if let Some(mut stderr) = stderr {
            let _count = stderr.read_to_end(&mut err).await;
        }
    };
    let ((), (), outcome) = tokio::join!(read_out, read_err, child.end());
    if outcome == ChildOutcome::Exited(0) {
        return Ok(());
    }
    let end = crate::provider::ProcessEnd { code: Some(1), stderr: &String::from_utf8_lossy(&err) };
    Err(RehomeError::Program { program: invocation.program.clone(), reason: end.failure().message })
}

fn stamp(place: &TurnPaths, record: &Record) -> Vec<u8> {
    let (session, working_dir) = (place.session.display(), place.working_dir.display());
    format!("{session}\n{working_dir}\n{}\n{}\n", record.uuid, record.last_used_at).into_bytes()
}

/// What a home was made for; nothing if that cannot be said of it.
fn read_stamp(home: &Path) -> Result<Vec<u8>, files::Error> {
    match Dir::open_own_dir(home).and_then(|home| home.read(Path::new(STAMP), 64 * 1024)) {
        Err(error) if error.is_of_the_place() => Ok(Vec::new()),
        read => read,
    }
}

/// Throws a home away, whatever the child made of it.
///
/// # Errors
/// If it cannot be set aside.
pub fn throw_away(guard: &WorkspaceGuard, place: &TurnPaths) -> Result<(), files::Error> {
    guard.store().discard(&place.home)
}
