//! Children: the only place that starts them, and the launcher they run under.
//!
//! A child is started in a session's folder, or in the directory that its
//! owner granted it; there is no way to start one elsewhere.

pub mod cgroup;
mod handed;
pub mod inside;
pub mod launcher;
pub mod outside;
mod permit;
pub mod probe;
mod process_tree;
mod secret;
mod terminal;
mod working_dir;

use std::collections::HashSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, WaitOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

pub use launcher::{ChildOutcome, LauncherArgs};
pub use permit::Permit;
pub use secret::secret;
pub use working_dir::{WorkingDir, WorkingDirError};

use crate::config::Environment;
use crate::files;
use crate::login::Login;
use crate::provider::{Input, Invocation};
use crate::repository::Outside;
use crate::sandbox::{Ground, Level, Policy, Rule};
use crate::session::{Grant, Store, WorkspaceGuard};

/// How long the launcher gets to end everything, over its own grace.
const LAUNCHER_GRACE: Duration = Duration::from_secs(10);

/// How long after the deadline a launcher that still runs is taken for one that
/// the agent has stopped, and is killed.
const DEADLINE_GRACE: Duration = Duration::from_secs(10);

/// Why a child could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The launcher could not be started.
    #[error("could not start `{}`", program.display())]
    Launcher {
        /// The launcher.
        program: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The input could not be put where the child reads it.
    #[error("could not put the message for the provider into the memory file `/memfd:prompt`")]
    Input(#[source] std::io::Error),
    /// The launcher's orders could not be put where it reads them.
    #[error("could not put the orders for the launcher into the memory file `/memfd:orders`")]
    Orders(#[source] std::io::Error),
    /// There is no directory for it to start in.
    #[error(transparent)]
    WorkingDir(#[from] WorkingDirError),
    /// A directory of the state could not be made.
    #[error(transparent)]
    File(#[from] files::Error),
    /// There is no terminal to give to the child.
    #[error("no terminal could be made for it")]
    Terminal(#[source] std::io::Error),
}

/// What every child is started with.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// The program that is the launcher: this one.
    pub launcher: &'a Path,
    /// The directory that it starts in.
    pub working_dir: WorkingDir,
    /// What the child may see and do.
    pub confinement: Policy,
    /// How long it may run; `None` is forever.
    pub deadline: Option<Duration>,
    /// Its whole environment.
    pub environment: Environment,
    /// The login that it has a copy of.
    pub login: Option<&'a Login>,
}

/// A running child, with its launcher.
#[derive(Debug)]
pub struct Child {
    launcher: tokio::process::Child,
    stopper: Stopper,
    run_lock: PathBuf,
    deadline: Option<Duration>,
    /// Its standard input, where that is a conversation: nothing was written yet.
    pub stdin: Option<ChildStdin>,
    /// Its standard output, where it was piped.
    pub stdout: Option<ChildStdout>,
    /// Its standard error, where it was piped.
    pub stderr: Option<ChildStderr>,
}

/// Asks the launcher of one child to end everything.
#[derive(Debug, Clone)]
pub struct Stopper {
    /// The launcher's number, and 0 once it was collected.
    launcher: Arc<AtomicU32>,
}

impl Stopper {
    /// Makes the request. It is not waited for; after the child's end it is nothing.
    pub fn stop(&self) {
        if let Some(pid) = Pid::from_raw(self.launcher.load(Ordering::Acquire).cast_signed()) {
            let _sent = rustix::process::kill_process(pid, Signal::TERM);
            // An agent may have stopped it.
            let _sent = rustix::process::kill_process(pid, Signal::CONT);
        }
    }
}

/// The launchers of this process. Any other child was orphaned by one of them.
static LAUNCHERS: Mutex<Option<HashSet<u32>>> = Mutex::new(None);

/// Starts a provider for a turn: pipes for what it prints, and for its input
/// where that is a conversation.
///
/// # Errors
/// If the launcher cannot be started. That the *program* cannot be started
/// is a [`ChildOutcome`].
pub fn spawn(guard: &WorkspaceGuard, invocation: &Invocation, launch: &Launch<'_>) -> Result<Child, SpawnError> {
    start(guard, invocation, launch, None)
}

/// A program that the person runs by hand, with what stands between its terminal
/// and theirs.
pub struct ByHand {
    child: Child,
    terminal: Option<terminal::Terminal>,
    interrupts: terminal::IgnoredInterrupts,
}

impl ByHand {
    /// Relays until the program and everything it started is gone.
    pub async fn end(mut self) -> ChildOutcome {
        let launcher = self.child.launcher.id().unwrap_or(0);
        match self.terminal {
            Some(terminal) => terminal.relay(launcher, &mut self.interrupts, self.child.end()).await,
            None => self.interrupts.hand_on(launcher, self.child.end()).await,
        }
    }
}

/// Starts a program by hand: with the standard streams of this process, but a
/// terminal of its own in the place of the person's.
///
/// # Errors
/// As [`spawn`], and if there is no terminal for it.
pub fn spawn_in_terminal(
    guard: &WorkspaceGuard,
    invocation: &Invocation,
    launch: &Launch<'_>,
) -> Result<ByHand, SpawnError> {
    let interrupts = terminal::IgnoredInterrupts::listen().map_err(SpawnError::Terminal)?;
    let terminal = terminal::Terminal::open().map_err(SpawnError::Terminal)?;
    let streams = match &terminal {
        Some(terminal) => terminal.streams().map_err(SpawnError::Terminal)?,
        None => [Stdio::inherit(), Stdio::inherit(), Stdio::inherit()],
    };
    let child = start(guard, invocation, launch, Some(streams))?;
    Ok(ByHand { child, terminal, interrupts })
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that starts children")]
fn start(
    guard: &WorkspaceGuard,
    invocation: &Invocation,
    launch: &Launch<'_>,
    by_hand: Option<[Stdio; 3]>,
) -> Result<Child, SpawnError> {
    launch.working_dir.check()?;
    let store = guard.store();
    let run_lock = store.run_lock_path(guard.folder());
    let stop = stop_path(store, guard.folder());
    clear_stop(&stop)?;
    let confinement = protected(guard, &launch.confinement)?;
    let mut command = vec![invocation.program.clone().into_os_string()];
    command.extend(invocation.args.iter().cloned());
    let orders = LauncherArgs {
        parent: std::process::id(),
        run_lock: run_lock.clone(),
        stop,
        deadline: launch.deadline,
        terminal: by_hand.is_some(),
        confinement,
        login: launch.login.and_then(Login::charge),
        command,
    };
    own_places(store, guard.folder(), &launch.confinement)?;
    // What a killed launcher leaves behind comes to this process.
    let _adopting = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let mut process = tokio::process::Command::new(launch.launcher);
    process.arg("__run").current_dir(launch.working_dir.path()).env_clear().envs(launch.environment.iter());
    let named = |name: &str| invocation.env.iter().any(|(named, _)| named == name);
    process.envs(launch.confinement.variables().into_iter().filter(|(name, _)| !named(name)));
    let [input, output, errors] = match (by_hand, &invocation.stdin) {
        (Some(streams), _) => streams,
        (None, Input::Whole(bytes)) => {
            [whole_input(bytes).map_err(SpawnError::Input)?.into(), Stdio::piped(), Stdio::piped()]
        }
        (None, Input::Conversation(_)) => [Stdio::piped(), Stdio::piped(), Stdio::piped()],
    };
    process.stdin(input).stdout(output).stderr(errors);
    let mut launchers = LAUNCHERS.lock().unwrap_or_else(PoisonError::into_inner);
    // Duplicates are inherited, by this launcher alone: no two are started at once.
    let handed = orders.hand().map_err(SpawnError::Orders)?;
    process.arg(handed.name());
    let lock = launch.login.and_then(Login::lock_file).map(rustix::io::dup).transpose();
    let started = lock.map_err(std::io::Error::from).and_then(|_inherited| process.spawn());
    drop(handed);
    let mut child = started.map_err(|source| SpawnError::Launcher { program: launch.launcher.to_owned(), source })?;
    launchers.get_or_insert_default().extend(child.id());
    drop(launchers);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let stopper = Stopper { launcher: Arc::new(AtomicU32::new(child.id().unwrap_or(0))) };
    Ok(Child { launcher: child, stopper, run_lock, deadline: launch.deadline, stdin, stdout, stderr })
}

/// The confinement, with what in granted directories is mounted over itself.
/// Last of all, so that what was made meanwhile is seen.
fn protected(guard: &WorkspaceGuard, confinement: &Policy) -> Result<Policy, files::Error> {
    let mut confinement = confinement.clone();
    if confinement.granted.is_empty() || !confinement.has(Rule::Repositories) {
        return Ok(confinement);
    }
    let mounts = confinement.walls.as_ref().is_some_and(|walls| matches!(walls.level, Level::Full { .. }));
    let watch = |outside: &Outside<'_>| guard.watch_granted(&confinement.granted, mounts, outside);
    let shared = confinement.person.shared.iter().map(PathBuf::as_path);
    let ground = Ground::new(guard.store().root(), shared, || Grant::directories(guard.store()));
    let over = confinement.person.with(&ground, watch)?;
    if let Some(walls) = &mut confinement.walls {
        walls.protect = over;
    }
    Ok(confinement)
}

/// Makes the home and the directory of temporary files that a child behind walls
/// has. A child could have put anything in their place, and what was temporary
/// is gone with the child that made it.
fn own_places(store: &Store, folder: &str, confinement: &Policy) -> Result<(), SpawnError> {
    let Some(walls) = &confinement.walls else { return Ok(()) };
    let homes = store.homes_path(folder);
    files::make_private_dir(&homes, files::Durability::Process)?;
    let homes = files::Dir::open_own_dir(&homes)?;
    for (path, temporary) in [(&walls.home, false), (&walls.temporary, true)] {
        let Some(name) = path.file_name().map(Path::new) else { continue };
        match homes.open_dir(name) {
            Ok(dir) if !temporary || dir.is_empty()? => continue,
            Err(error) if !error.is_of_the_place() => return Err(error.into()),
            _ => store.discard(path)?,
        }
        homes.make_dir(name)?;
    }
    Ok(())
}

/// The input as a file in memory, whole before the child is started: through a
/// pipe, a child could get half a prompt when this process dies, and act on it.
fn whole_input(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("prompt", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

impl Child {
    /// What asks this child to stop.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until the provider and everything it started is gone.
    pub async fn end(mut self) -> ChildOutcome {
        let pid = self.launcher.id();
        let status = match self.deadline {
            None => self.launcher.wait().await,
            Some(deadline) => match tokio::time::timeout(deadline + DEADLINE_GRACE, self.launcher.wait()).await {
                Ok(status) => status,
                Err(_) => {
                    let _sent = self.launcher.start_kill();
                    self.launcher.wait().await
                }
            },
        };
        self.stopper.launcher.store(0, Ordering::Release);
        if let Some(pid) = pid {
            LAUNCHERS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().remove(&pid);
        }
        match status.map(|status| (status.code(), status.signal())) {
            Ok((Some(0), _)) => ChildOutcome::Exited(0),
            Ok((Some(_), _)) => launcher::read_outcome(&self.run_lock).unwrap_or(ChildOutcome::LauncherKilled),
            // A key in the terminal reached it before it had a session of its own, and
            // so before it started anything. Later it hears these signals.
            Ok((None, Some(SIGINT | SIGQUIT | SIGTERM | SIGHUP))) => ChildOutcome::Stopped,
            Ok((None, _)) | Err(_) => {
                end_orphans();
                ChildOutcome::LauncherKilled
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Where nobody waited for it, it has to end all the same.
        self.stopper.stop();
    }
}

/// Ends what a killed launcher left behind: children of this process that it
/// did not start.
fn end_orphans() {
    let launchers = LAUNCHERS.lock().unwrap_or_else(PoisonError::into_inner);
    let own = std::process::id();
    loop {
        let mut orphans = process_tree::children(own);
        orphans.retain(|pid| !launchers.as_ref().is_some_and(|launchers| launchers.contains(pid)));
        if orphans.is_empty() {
            return;
        }
        process_tree::signal(&orphans, Signal::STOP);
        let below: Vec<u32> = orphans.iter().flat_map(|pid| process_tree::stop(*pid)).collect();
        process_tree::signal(&orphans, Signal::KILL);
        process_tree::signal(&below, Signal::KILL);
        for pid in orphans.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            let _collected = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

/// The file whose appearance asks the launcher of a folder to stop.
#[must_use]
pub fn stop_path(store: &Store, folder: &str) -> PathBuf {
    store.state_path("control").join(format!("{folder}.stop"))
}

/// Asks the running child of a folder to stop, and waits until everything it
/// started is gone. Blocks the thread. `false` if nothing runs.
///
/// # Errors
/// If the request cannot be made, or it takes too long.
pub fn request_stop(store: &Store, folder: &str) -> Result<bool, files::Error> {
    let run_lock = store.run_lock_path(folder);
    if !files::is_locked(&run_lock)? {
        return Ok(false);
    }
    let stop = stop_path(store, folder);
    let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&stop);
    made.map_err(|source| files::Error::Io { action: "request the stop with", path: stop.clone(), source })?;
    let deadline = std::time::Instant::now() + LAUNCHER_GRACE;
    while files::is_locked(&run_lock)? {
        if std::time::Instant::now() >= deadline {
            let source = std::io::ErrorKind::TimedOut.into();
            return Err(files::Error::Io { action: "see the end of what was stopped with", path: stop, source });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    clear_stop(&stop)?;
    Ok(true)
}

fn clear_stop(stop: &Path) -> Result<(), files::Error> {
    match std::fs::remove_file(stop) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match stop.parent() {
            Some(dir) if !dir.is_dir() => files::make_private_dir(dir, files::Durability::Process),
            _ => Ok(()),
        },
        Err(source) => Err(files::Error::Io { action: "remove", path: stop.to_owned(), source }),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test writes what it then runs")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::session::{Claim, NewSession};

    /// A key reaches it for as long as it has the session of its parent.
    #[tokio::test]
    async fn a_launcher_that_a_key_ends_was_stopped() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(Store::at(dir.path(), files::Durability::Process));
        let mut claim = Claim::hold(store.clone(), "alder").expect("a claim");
        let lock = claim.wait(None, &mut |_| {}).await.expect("a lock");
        let new = NewSession::plain("alder".parse().expect("a key"), "notes");
        let guard = store.create(lock, claim, new).expect("a session");
        let none = Grant::none(guard.record().uuid);
        let working_dir = WorkingDir::of(guard.path(), &none).expect("its folder");
        let launcher = dir.path().join("launcher");
        for (signal, expected) in [
            ("INT", ChildOutcome::Stopped),
            ("QUIT", ChildOutcome::Stopped),
            ("TERM", ChildOutcome::Stopped),
            ("HUP", ChildOutcome::Stopped),
            ("KILL", ChildOutcome::LauncherKilled),
        ] {
            std::fs::write(&launcher, format!("#!/bin/sh\nulimit -c 0\nkill -{signal} $$\n")).expect("written");
            std::fs::set_permissions(&launcher, PermissionsExt::from_mode(0o700)).expect("a program");
            let environment = [("PATH", "/usr/bin:/bin")].into_iter().collect();
            let launch = Launch {
                launcher: &launcher,
                working_dir: working_dir.clone(),
                confinement: Policy::default(),
                deadline: None,
                environment,
                login: None,
            };
            let child = spawn(&guard, &Invocation::of(Path::new("/bin/true")), &launch).expect("a child");
            assert_eq!(child.end().await, expected, "{signal}");
        }
    }
}
