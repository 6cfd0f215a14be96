//! The terminal of a child that the person runs by hand, `attach` and `exec`: a
//! pseudoterminal of its own, and the relay between that and the person's.
//!
//! A child never has the person's terminal: it could read what is typed there
//! later, and write to it. In front of it, this process reads the keys and writes
//! the screen, as `ssh` does (pty(7)): the terminal passes on every key, and the
//! pseudoterminal makes signals of them, for the child alone. What the child
//! writes goes through the `filter`. However this process ends, but by SIGKILL,
//! the person's terminal is as it was.

mod filter;
pub(super) mod foreground;
mod modes;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::OpenptFlags;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{LocalModes, OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use filter::Filter;

/// How often it is looked whether the child was stopped, and who has the terminal.
const LOOK: Duration = Duration::from_millis(100);

/// How long the child has to stay stopped: the shell that started what stops takes
/// over in less.
const STOPPED: Duration = Duration::from_millis(20);

/// How long after a request to stop it is known that the kernel ignored it, because
/// there is no shell that could continue this process.
const IGNORED: Duration = Duration::from_millis(300);

/// How long the last words wait for a terminal that takes nothing.
const LAST_WORDS: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The most that is read at once.
const PIECE: usize = 16 * 1024;

/// The terminal of a child, and the person's behind it.
pub(super) struct Terminal {
    /// The person's, to read from and to set.
    from: AsyncFd<OwnedFd>,
    /// The person's, to write to.
    to: AsyncFd<OwnedFd>,
    master: AsyncFd<OwnedFd>,
    slave: Option<OwnedFd>,
    /// Which of the standard streams are terminals.
    streams: [bool; 3],
    /// The modes that the person's has when nobody changed them; `None` while
    /// nothing was changed.
    before: Option<Termios>,
    filter: Filter,
    /// Whether the child has its terminal, and so the person's.
    wanted: bool,
    resized: Signals,
    continued: Signals,
    terminated: Signals,
    hung_up: Signals,
}

/// What comes of one of the things that are waited for.
enum PtyEvent {
    Ended(super::ChildOutcome),
    Read(usize),
    Written(usize),
    Typed(io::Result<usize>),
    Passed(usize),
    Silent,
    Gone,
    Resized,
    Continued,
    Signalled(Signal),
    Look,
}

impl Terminal {
    /// A pseudoterminal in the place of the person's terminal; `None` if none of
    /// the standard streams is one.
    ///
    /// # Errors
    /// If the machine has none left, or the person's cannot be used.
    pub(super) fn open() -> io::Result<Option<Self>> {
        let all = [stdin(), stdout(), stderr()];
        let streams = all.map(isatty);
        let [input, output, errors] = streams;
        let to = match (output, errors, input) {
            (true, ..) => 1,
            (_, true, _) => 2,
            (.., true) => 0,
            _ => return Ok(None),
        };
        let from = if input { 0 } else { to };
        let (from, to) = (reopen(from, all[from], OFlags::RDWR)?, reopen(to, all[to], OFlags::WRONLY)?);
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        // The keys of the person, as for erasing.
        let mut modes = tcgetattr(&from)?;
        if !foreground::is_interactive() {
            // The person's terminal, which others in the pipeline write to as well, goes
            // on making lines of line feeds.
            modes.output_modes.remove(OutputModes::OPOST);
        }
        tcsetattr(&slave, OptionalActions::Now, &modes)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let terminal = Self {
            from: watched(from, Interest::READABLE)?,
            to: watched(to, Interest::WRITABLE)?,
            master: watched(master, Interest::READABLE | Interest::WRITABLE)?,
            slave: Some(slave),
            streams,
            before: None,
            filter: Filter::default(),
            wanted: foreground::is_interactive(),
            resized: signal(SignalKind::window_change())?,
            continued: signal(SignalKind::from_raw(Signal::CONT.as_raw()))?,
            terminated: signal(SignalKind::terminate())?,
            hung_up: signal(SignalKind::hangup())?,
        };
        terminal.resize();
        Ok(Some(terminal))
    }

    /// The standard streams of the child: what is not a terminal is handed on.
    ///
    /// # Errors
    /// If descriptors are short.
    pub(super) fn streams(&self) -> io::Result<[Stdio; 3]> {
        let mut streams = [Stdio::inherit(), Stdio::inherit(), Stdio::inherit()];
        for (stream, is_terminal) in streams.iter_mut().zip(self.streams) {
            if let (Some(slave), true) = (&self.slave, is_terminal) {
                *stream = slave.try_clone()?.into();
            }
        }
        Ok(streams)
    }

    /// Stands between the person and a child until that has ended.
    pub(super) async fn relay(
        mut self,
        launcher: u32,
        signals: &mut IgnoredInterrupts,
        end: impl Future<Output = super::ChildOutcome>,
    ) -> super::ChildOutcome {
        // Where the last child that has it is gone, that is seen.
        self.slave = None;
        let mut end = pin!(end);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut piece, mut keys) = (vec![0; PIECE], vec![0; PIECE]);
        let (mut out, mut typed) = (Vec::new(), Vec::new());
        let (mut ended, mut is_silent, mut is_gone) = (None, false, false);
        self.take();
        loop {
            // Its last words are there when it has ended.
            if ended.is_some() && out.is_empty() && !is_silent {
                match read(self.master.get_ref(), &mut piece) {
                    Ok(count) if count > 0 => self.filter.take(&piece[..count], &mut out),
                    _ => is_silent = true,
                }
            }
            if is_gone || (ended.is_some() && is_silent && out.is_empty()) {
                break;
            }
            let event = tokio::select! {
                outcome = &mut end, if ended.is_none() => PtyEvent::Ended(outcome),
                read = self.master.async_io(Interest::READABLE, |fd| read(fd, &mut piece)),
                    if out.is_empty() && !is_silent => read.map_or(PtyEvent::Silent, PtyEvent::Read),
                written = self.to.async_io(Interest::WRITABLE, |fd| write(fd, &out)),
                    if !out.is_empty() => written.map_or(PtyEvent::Gone, PtyEvent::Written),
                typed = self.from.async_io(Interest::READABLE, |fd| read(fd, &mut keys)),
                    if typed.is_empty() && self.before.is_some() => PtyEvent::Typed(typed),
                passed = self.master.async_io(Interest::WRITABLE, |fd| write(fd, &typed)),
                    if !typed.is_empty() => PtyEvent::Passed(passed.unwrap_or(usize::MAX)),
                _ = self.resized.recv() => PtyEvent::Resized,
                _ = self.continued.recv() => PtyEvent::Continued,
                _ = self.terminated.recv() => PtyEvent::Signalled(Signal::TERM),
                _ = self.hung_up.recv() => PtyEvent::Signalled(Signal::HUP),
                signal = signals.next() => PtyEvent::Signalled(signal),
                _ = look.tick() => PtyEvent::Look,
            };
            match event {
                PtyEvent::Ended(outcome) => ended = Some(outcome),
                PtyEvent::Read(count) => self.filter.take(&piece[..count], &mut out),
                PtyEvent::Silent => is_silent = true,
                PtyEvent::Written(count) => drop(out.drain(..count)),
                PtyEvent::Typed(Ok(count)) if count > 0 => typed.extend_from_slice(&keys[..count]),
                PtyEvent::Typed(_) if self.is_front() => is_gone = true,
                PtyEvent::Typed(_) => self.before = None,
                PtyEvent::Passed(count) => drop(typed.drain(..count.min(typed.len()))),
                PtyEvent::Gone => is_gone = true,
                PtyEvent::Resized => self.resize(),
                PtyEvent::Continued => self.go_on(launcher),
                PtyEvent::Signalled(signal @ (Signal::TERM | Signal::HUP)) => {
                    self.give_back();
                    // As if nobody had listened.
                    let _ended = signal_hook::low_level::emulate_default_handler(signal.as_raw());
                }
                PtyEvent::Signalled(signal) => forward(self.group(launcher), signal),
                PtyEvent::Look => self.look(launcher, &mut out).await,
            }
        }
        if is_gone {
            // Nobody sees it any more: with the terminal, its child is told so.
            drop(self);
        } else {
            self.give_back();
        }
        match ended {
            Some(outcome) => outcome,
            None => end.await,
        }
    }

    /// The group that has the child's terminal, or the program's where that does not
    /// have it.
    fn group(&self, launcher: u32) -> Option<Pid> {
        let group = tcgetpgrp(&self.master).ok();
        let launcher_group = Pid::from_raw(launcher.cast_signed());
        group.filter(|group| Some(*group) != launcher_group).or_else(|| foreground::program_group(launcher))
    }

    /// Whether this process may read the person's terminal.
    fn is_front(&self) -> bool {
        // One that is not the terminal of this session belongs to no group.
        tcgetpgrp(&self.from).map_or(true, |group| group == rustix::process::getpgrp())
    }

    /// Takes the person's terminal, where the child wants it and this process may.
    fn take(&mut self) {
        if !self.wanted || !self.is_front() {
            return;
        }
        let Ok(now) = tcgetattr(&self.from) else { return };
        let before = self.before.take().unwrap_or(now);
        let mut raw = before.clone();
        raw.make_raw();
        if !foreground::is_interactive() {
            raw.output_modes = before.output_modes;
        }
        let _set = tcsetattr(&self.from, OptionalActions::Now, &raw);
        self.before = Some(before);
        self.resize();
    }

    /// Gives the child the size of the person's.
    fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(&self.to) {
            let _set = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// The modes of the person's terminal are as they were.
    fn leave(&mut self) {
        if let Some(before) = self.before.take()
            && self.is_front()
        {
            let _set = tcsetattr(&self.from, OptionalActions::Now, &before);
        }
    }

    /// The person's terminal is as it was, also what the child changed by escapes.
    fn give_back(&mut self) {
        let last_words = self.filter.end();
        write_all(self.to.as_fd(), &last_words);
        self.leave();
    }

    /// Looks whether the child was stopped, and whether this process got or lost the
    /// person's terminal.
    async fn look(&mut self, launcher: u32, out: &mut Vec<u8>) {
        match (self.is_front(), self.before.is_some()) {
            (true, false) => self.take(),
            // It is for whoever has it to set.
            (false, true) => self.before = None,
            _ => {}
        }
        let stopped = self.group(launcher).filter(|group| is_stopped(*group));
        if stopped.is_none() || !self.is_front() {
            return;
        }
        tokio::time::sleep(STOPPED).await;
        if self.group(launcher).filter(|group| is_stopped(*group)) != stopped {
            return;
        }
        if self.wanted {
            self.stop(launcher, out).await;
        } else {
            // It was stopped because it wants the terminal.
            self.wanted = true;
            self.take();
            let launcher = Pid::from_raw(launcher.cast_signed());
            let _asked = launcher.map(|launcher| rustix::process::kill_process(launcher, Signal::USR1));
        }
    }

    /// Stops with the child, as a job of the person's shell does, and goes on with
    /// it when that continues both.
    async fn stop(&mut self, launcher: u32, out: &mut Vec<u8>) {
        let mut piece = vec![0; PIECE];
        loop {
            write_all(self.to.as_fd(), out);
            out.clear();
            let Ok(count @ 1..) = read(self.master.get_ref(), &mut piece) else { break };
            self.filter.take(&piece[..count], out);
        }
        self.leave();
        loop {
            // One that nobody could continue is not stopped by this.
            let _stopped = rustix::process::kill_current_process_group(Signal::TSTP);
            let _ignored = tokio::time::timeout(IGNORED, self.continued.recv()).await;
            // In the background, what has the whole screen stays stopped.
            if self.is_front() || !self.is_raw() {
                break;
            }
        }
        self.go_on(launcher);
    }

    /// Whether the child takes each key by itself.
    fn is_raw(&self) -> bool {
        tcgetattr(&self.master).is_ok_and(|modes| !modes.local_modes.contains(LocalModes::ICANON))
    }

    /// Somebody continued this process: so does the child.
    fn go_on(&mut self, launcher: u32) {
        self.take();
        forward(self.group(launcher), Signal::CONT);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The signals by which a person or a program interrupts this process. They are the
/// child's affair, which has another session and so does not get them by itself.
pub(super) struct IgnoredInterrupts([Signals; 2]);

impl IgnoredInterrupts {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the machine refuses it.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::quit())?]))
    }

    async fn next(&mut self) -> Signal {
        let Self([interrupt, quit]) = self;
        tokio::select! {
            _ = interrupt.recv() => Signal::INT,
            _ = quit.recv() => Signal::QUIT,
        }
    }

    /// Hands them on to a child that has no terminal, until that has ended.
    pub(super) async fn hand_on(
        &mut self,
        launcher: u32,
        end: impl Future<Output = super::ChildOutcome>,
    ) -> super::ChildOutcome {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                outcome = &mut end => return outcome,
                signal = self.next() => forward(foreground::program_group(launcher), signal),
            }
        }
    }
}

fn forward(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // It may be gone.
        let _sent = kill_process_group(group, signal);
    }
}

/// Whether the leader of a group was stopped.
fn is_stopped(group: Pid) -> bool {
    let stat = std::fs::read(format!("/proc/{}/stat", group.as_raw_nonzero())).unwrap_or_default();
    // The name, in brackets, can hold anything.
    stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2)) == Some(&b'T')
}

/// The terminal of a stream, opened once more: how it is read and written is then
/// nobody else's affair.
fn reopen(number: usize, stream: BorrowedFd<'_>, access: OFlags) -> io::Result<OwnedFd> {
    let flags = access | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty());
    // It can be another user's, after `su`.
    Ok(opened.or_else(|_| rustix::io::fcntl_dupfd_cloexec(stream, 3))?)
}

#[expect(deprecated, reason = "an `OwnedFd` is open for as long as it is there, which is all that the other asks")]
fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}

/// Reads what is there. One that was not opened here would else be waited for.
fn read(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    wait_for(fd.as_fd(), PollFlags::IN, &Timespec::default())?;
    Ok(rustix::io::read(fd, buffer)?)
}

/// Writes what it takes.
fn write(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    wait_for(fd.as_fd(), PollFlags::OUT, &Timespec::default())?;
    Ok(rustix::io::write(fd, bytes)?)
}

/// Writes all, if it takes some within a second.
fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() && wait_for(fd, PollFlags::OUT, &LAST_WORDS).is_ok() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return,
        }
    }
}

fn wait_for(fd: BorrowedFd<'_>, flags: PollFlags, time: &Timespec) -> io::Result<()> {
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    match rustix::event::poll(&mut fds, Some(time)) {
        Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
        Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
