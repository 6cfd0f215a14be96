//! The launcher, `denizen __run`: the parent of everything that a turn starts.
//!
//! It has a session of its own, without the person's terminal, holds the run lock, becomes child subreaper, so that nothing a
//! provider starts can leave its tree, watches its own parent through a pidfd,
//! starts the provider inside its walls, and ends every descendant when the
//! provider exits, the deadline passes, a limit is passed, a stop is requested
//! or the parent dies; then itself. It runs without a runtime and does as little
//! as possible, because every turn pays for it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

use super::cgroup::Cgroup;
use super::handed::{self, Handed};
use super::terminal::foreground;
use super::{inside, process_tree};
use crate::files::Lock;
use crate::login::Charge;
use crate::sandbox::limits::LimitsWatch;
use crate::sandbox::{Level, LimitExceeded, Policy, Rule};

/// How long descendants get between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(3);

/// The same for those that a provider left behind when it exited by itself.
const LEFTOVER_GRACE: Duration = Duration::from_millis(300);

/// How soon it is looked whether all have ended, at first: where bubblewrap ended,
/// the first process inside follows at once.
const FIRST_PAUSE: Duration = Duration::from_micros(200);

/// How often it is looked while they are killed.
const KILLING_PAUSE: Duration = Duration::from_millis(1);

/// How often the end of many processes is looked at, at last.
const TICK: Duration = Duration::from_millis(10);

/// How often a request to stop is looked for. inotify would tell at once, but
/// the kernel needs 8 to 16 ms to let go of a watch, which every turn would pay.
const LOOK: Duration = Duration::from_millis(100);

/// How often it is looked whether the program can be given its terminal.
const GIVING: Duration = Duration::from_millis(1);

/// The launcher's own exit code when the provider's is to be read from the run
/// lock's file.
const SEE_FILE: u8 = 125;

/// What the launcher is told, through a descriptor that it inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LauncherArgs {
    /// The process whose death ends the turn.
    pub parent: u32,
    /// The lock to hold, in whose file the outcome is noted.
    pub run_lock: PathBuf,
    /// The file whose appearance is a request to stop.
    pub stop: PathBuf,
    /// How long the provider may run; `None` is forever.
    pub deadline: Option<Duration>,
    /// Whether the provider is run by hand: a terminal among the standard streams is
    /// then its own, and interrupt and quit are its own affair.
    pub terminal: bool,
    /// What the provider may see and do.
    pub confinement: Policy,
    /// The login that the provider has a copy of.
    pub login: Option<Charge>,
    /// The program, absolute, and its arguments.
    pub command: Vec<OsString>,
}

/// How the provider's process ended, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildOutcome {
    /// It exited by itself, with this code.
    Exited(i32),
    /// A signal that we did not send ended it.
    Signalled(i32),
    /// It ran into its deadline.
    Deadline,
    /// It was asked to stop.
    Stopped,
    /// It used more of the machine than its session may.
    Excess(LimitExceeded),
    /// It could not be started.
    NotStarted(String),
    /// The launcher itself was killed.
    LauncherKilled,
}

/// What stands in the run lock's file.
#[derive(Debug, Serialize, Deserialize)]
struct RunLockNote {
    outcome: ChildOutcome,
}

impl LauncherArgs {
    /// Puts the orders where a launcher that is started now reads them.
    ///
    /// # Errors
    /// If there is no memory, or no descriptor.
    pub(super) fn hand(&self) -> std::io::Result<Handed> {
        Handed::new(self.to_words())
    }

    fn to_words(&self) -> Vec<OsString> {
        let deadline = self.deadline.map_or_else(|| "none".to_owned(), |deadline| deadline.as_millis().to_string());
        let mut words: Vec<OsString> = vec![
            self.parent.to_string().into(),
            self.run_lock.clone().into(),
            self.stop.clone().into(),
            deadline.into(),
            if self.terminal { "terminal" } else { "pipes" }.into(),
            self.confinement.to_word().into(),
            self.login.as_ref().map(Charge::to_arg).unwrap_or_default().into(),
        ];
        words.extend(self.command.iter().cloned());
        words
    }

    /// Reads the orders back.
    fn from_words(words: Vec<OsString>) -> Option<Self> {
        let mut words = words.into_iter();
        let parent = words.next()?.to_str()?.parse().ok()?;
        let run_lock = words.next()?.into();
        let stop = words.next()?.into();
        let deadline = match words.next()?.to_str()? {
            "none" => None,
            millis => Some(Duration::from_millis(millis.parse().ok()?)),
        };
        let terminal = words.next()? == "terminal";
        let confinement = Policy::from_word(words.next()?.to_str()?)?;
        let login = match words.next()?.to_str()? {
            "" => None,
            charge => Some(Charge::from_arg(charge)?),
        };
        let command: Vec<OsString> = words.collect();
        (!command.is_empty()).then_some(Self {
            parent,
            run_lock,
            stop,
            deadline,
            terminal,
            confinement,
            login,
            command,
        })
    }
}

/// Runs the launcher; returns its exit code. Its argument says where the orders
/// are.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let words = args.into_iter().next().and_then(|name| handed::take(&name));
    let Some(orders) = words.and_then(LauncherArgs::from_words) else { return SEE_FILE };
    // First, so that no key in the person's terminal means this process.
    let apart = if orders.confinement.has(Rule::Session) { foreground::leave_session() } else { Ok(()) };
    let Some(lock) = take_lock(&orders.run_lock) else { return SEE_FILE };
    forget(lock.file());
    let outcome = match apart.and_then(|()| Launcher::prepare(&orders)) {
        Ok(launcher) => {
            let outcome = launcher.supervise(&orders);
            if let Some(login) = orders.login.as_ref().filter(|_| launcher.is_orphan()) {
                login.settle();
            }
            outcome
        }
        Err(error) => ChildOutcome::NotStarted(error.to_string()),
    };
    if outcome == ChildOutcome::Exited(0) {
        return 0;
    }
    note(lock.file(), outcome);
    SEE_FILE
}

/// What a launcher that ended with something else than 0 noted.
#[must_use]
pub(super) fn read_outcome(run_lock: &Path) -> Option<ChildOutcome> {
    let text = std::fs::read(run_lock).ok()?;
    Some(serde_json::from_slice::<RunLockNote>(&text).ok()?.outcome)
}

/// Whoever only asks holds the lock for a moment, so one try is not enough.
fn take_lock(path: &Path) -> Option<Lock> {
    for _ in 0..500 {
        if let Some(lock) = Lock::try_take(path).ok()? {
            return Some(lock);
        }
        std::thread::sleep(TICK);
    }
    None
}

/// Removes what the last launcher noted. Most have nothing to note.
fn forget(file: &File) {
    if file.metadata().is_ok_and(|metadata| metadata.len() > 0) {
        let _emptied = file.set_len(0);
    }
}

fn note(mut file: &File, outcome: ChildOutcome) {
    let note = serde_json::to_vec(&RunLockNote { outcome }).unwrap_or_default();
    // A note that cannot be written is read as a launcher that was killed.
    let _written = file.write_all(&note);
}

/// Everything that can wake the launcher.
struct Launcher {
    parent: OwnedFd,
    signalled: Arc<AtomicBool>,
    /// The program asked for its terminal.
    asked: Arc<AtomicBool>,
}

/// Why a provider has to end.
enum Reason {
    Exited,
    Deadline,
    Stopped,
    Excess(LimitExceeded),
}

impl Launcher {
    fn prepare(orders: &LauncherArgs) -> std::io::Result<Self> {
        let parent =
            Pid::from_raw(orders.parent.cast_signed()).ok_or_else(|| std::io::Error::other("no parent was named"))?;
        let parent_fd = rustix::process::pidfd_open(parent, PidfdFlags::empty())?;
        if rustix::process::getppid() != Some(parent) {
            return Err(std::io::Error::other("the parent is gone"));
        }
        // A signal interrupts the waiting; one that comes just before it is seen
        // at the next look.
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGHUP] {
            let _id = signal_hook::flag::register(signal, signalled.clone())?;
        }
        for signal in [SIGINT, SIGQUIT] {
            if orders.terminal {
                // These keys are the provider's affair: heard, so that they do
                // not end the launcher, and not acted upon.
                let _id = signal_hook::flag::register(signal, Arc::default())?;
            } else {
                let _id = signal_hook::flag::register(signal, signalled.clone())?;
            }
        }
        let asked = Arc::<AtomicBool>::default();
        if orders.terminal {
            let _id = signal_hook::flag::register(SIGUSR1, asked.clone())?;
            foreground::take()?;
        }
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        if orders.confinement.has(Rule::Descriptors) {
            close_fds::set_fds_cloexec(3, &[]);
        }
        Ok(Self { parent: parent_fd, signalled, asked })
    }

    fn supervise(&self, orders: &LauncherArgs) -> ChildOutcome {
        let deadline = orders.deadline.map(|deadline| Instant::now() + deadline);
        if orders.stop.exists() {
            return ChildOutcome::Stopped;
        }
        let group = match Cgroup::enter(&orders.confinement.limits) {
            Ok(group) => group,
            Err(error) => return ChildOutcome::NotStarted(format!("its control group could not be made: {error}")),
        };
        let mut started = match inside::start(&orders.confinement, &orders.command) {
            Ok(started) => started,
            Err(reason) => return ChildOutcome::NotStarted(reason),
        };
        let pid = started.pid;
        // However much the provider starts, whoever ends it gets its turn. Only root
        // may; other users are held to a number of processes by the kernel.
        let _raised = rustix::process::setpriority_process(None, -20);
        let reason = self.wait(orders, pid, deadline).unwrap_or(Reason::Stopped);
        if let (Some(login), false) = (&orders.login, matches!(reason, Reason::Exited)) {
            // Between a token that is spent and the next, nothing is ended.
            login.wait(|| has_ended(pid));
        }
        let grace = match reason {
            Reason::Exited => LEFTOVER_GRACE,
            Reason::Deadline | Reason::Stopped => GRACE,
            // What takes the machine from others is not asked.
            Reason::Excess(_) => Duration::ZERO,
        };
        let bubblewrap = match &orders.confinement.walls {
            Some(walls) if matches!(walls.level, Level::Full { .. }) => Some(pid),
            _ => None,
        };
        let status = self.end_all(pid, bubblewrap, grace);
        let mut reason = reason;
        if let Some(group) = group {
            if let (true, Some(most)) = (group.was_out_of_memory(), orders.confinement.limits.memory) {
                reason = Reason::Excess(LimitExceeded::Memory(most));
            }
            // What is left of it is removed at the daemon's next start.
            let _left = group.leave();
        }
        match reason {
            Reason::Deadline => ChildOutcome::Deadline,
            Reason::Stopped => ChildOutcome::Stopped,
            Reason::Excess(excess) => ChildOutcome::Excess(excess),
            Reason::Exited if !started.is_inside() => {
                ChildOutcome::NotStarted("its walls could not be put up".to_owned())
            }
            Reason::Exited => match status.map(|status| (status.code(), status.signal())) {
                Some((Some(code), _)) => ChildOutcome::Exited(code),
                Some((None, Some(signal))) => ChildOutcome::Signalled(signal),
                _ => ChildOutcome::Signalled(0),
            },
        }
    }

    /// Whether the process that started this one is gone.
    fn is_orphan(&self) -> bool {
        let mut parent = [PollFd::new(&self.parent, PollFlags::IN)];
        rustix::event::poll(&mut parent, Some(&timespec(Duration::ZERO))).is_ok_and(|ready| ready > 0)
    }

    /// Waits for the provider's end, or for a reason to end it.
    fn wait(&self, orders: &LauncherArgs, pid: u32, deadline: Option<Instant>) -> std::io::Result<Reason> {
        let child = Pid::from_raw(pid.cast_signed()).ok_or_else(|| std::io::Error::other("no child"))?;
        let child = rustix::process::pidfd_open(child, PidfdFlags::empty())?;
        let mut watch = LimitsWatch::new(&orders.confinement.limits);
        let mut giving = orders.terminal && foreground::is_interactive();
        loop {
            giving |= self.asked.swap(false, Ordering::Relaxed);
            giving = giving && !foreground::give();
            let look = if giving { GIVING } else { LOOK };
            let left = deadline.map_or(look, |deadline| deadline.saturating_duration_since(Instant::now()));
            let ready = {
                let mut fds =
                    [child.as_fd(), self.parent.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
                match rustix::event::poll(&mut fds, Some(&timespec(left.min(look)))) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
                fds.map(|fd| !fd.revents().is_empty())
            };
            let [exited, parent_died] = ready;
            if exited {
                return Ok(Reason::Exited);
            }
            if parent_died || self.signalled.load(Ordering::Relaxed) || orders.stop.exists() {
                return Ok(Reason::Stopped);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Reason::Deadline);
            }
            if let Some(excess) = watch.look(|most| process_tree::at_most(std::process::id(), most)) {
                return Ok(Reason::Excess(excess));
            }
        }
    }

    /// Ends every descendant: asks, waits, kills, until none is left. Returns
    /// how the provider itself ended. `bubblewrap` is not asked: with its end the
    /// kernel kills everything inside, and nothing there could finish.
    fn end_all(&self, provider: u32, mut bubblewrap: Option<u32>, grace: Duration) -> Option<ExitStatus> {
        let mut status = None;
        let mut asked = Vec::new();
        let killing_from = Instant::now() + grace;
        let mut pause = FIRST_PAUSE;
        loop {
            if reap(provider, &mut status) {
                return status;
            }
            let killing = Instant::now() >= killing_from;
            if let (true, Some(pid)) = (killing, bubblewrap.take()) {
                process_tree::signal(&[pid], Signal::KILL);
            } else if killing {
                // Stopped first, so that none of them can start another meanwhile.
                let living = process_tree::stop(std::process::id());
                process_tree::signal(&living, Signal::KILL);
            } else {
                let living = process_tree::of(std::process::id());
                let is_new = |pid: &u32| !asked.contains(pid) && Some(*pid) != bubblewrap;
                let new: Vec<u32> = living.into_iter().filter(is_new).collect();
                process_tree::signal(&new, Signal::TERM);
                asked.extend(new);
            }
            std::thread::sleep(if killing { KILLING_PAUSE } else { pause });
            pause = (pause * 2).min(TICK);
        }
    }
}

/// Whether a child has ended, which is not collected yet.
fn has_ended(pid: u32) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let child = Pid::from_raw(pid.cast_signed());
    child.is_none_or(|pid| !matches!(rustix::process::waitid(WaitId::Pid(pid), options), Ok(None)))
}

/// Collects the ended children. Whether none is left.
fn reap(provider: u32, status: &mut Option<ExitStatus>) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, wait_status))) => {
                if pid.as_raw_nonzero().get().cast_unsigned() == provider {
                    *status = Some(ExitStatus::from_raw(wait_status.as_raw()));
                }
            }
            Ok(None) => return false,
            Err(rustix::io::Errno::INTR) => {}
            // There is no child left.
            Err(_) => return true,
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().cast_signed(), tv_nsec: i64::from(duration.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_being_handed_over() {
        let orders = LauncherArgs {
            parent: 7,
            run_lock: "/r/state/locks/a.run".into(),
            stop: "/r/state/control/a.stop".into(),
            deadline: Some(Duration::from_millis(1500)),
            terminal: false,
            confinement: Policy::default(),
            login: None,
            command: vec!["/bin/x".into(), "--".into(), "".into()],
        };
        let charge = Charge {
            root: "/r".into(),
            folder: "a".into(),
            lock: "/r/state/locks/login-x".into(),
            holder: "a 1".into(),
        };
        for login in [None, Some(charge)] {
            let orders = LauncherArgs { login, ..orders.clone() };
            assert_eq!(LauncherArgs::from_words(orders.to_words()), Some(orders));
        }
        assert_eq!(LauncherArgs::from_words(vec!["7".into()]), None);
    }
}
