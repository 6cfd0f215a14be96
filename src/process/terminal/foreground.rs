//! Who has a child's terminal, as the launcher sees to it: a shell gives its jobs
//! the terminal in the same way (credentials(7), termios(3)).
//!
//! A program is in a group of its own, apart from the launcher and bubblewrap,
//! so that the keys for interrupt and stop reach it and not those. It is given the
//! terminal at once where both its input and its output are one. In a pipeline it
//! has to ask for it, as by reading from it: until then, somebody else in that
//! pipeline may read what the person types.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpgid};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::isatty;

use crate::process::process_tree;

/// How long a program waits for its terminal before it begins without.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks.
const LOOK: Duration = Duration::from_micros(200);

/// Those of the standard streams that are a terminal.
fn terminals() -> impl Iterator<Item = BorrowedFd<'static>> {
    [stdin(), stdout(), stderr()].into_iter().filter(|stream| isatty(stream))
}

/// Whether a program with these standard streams has the terminal from the start.
pub(in crate::process) fn is_interactive() -> bool {
    isatty(stdin()) && isatty(stdout())
}

/// Leaves the session of the parent, and with it its terminal.
///
/// # Errors
/// If the kernel refuses it, as for the leader of a group.
pub(in crate::process) fn leave_session() -> std::io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Makes the terminal among the standard streams, if there is one, that of the
/// session.
///
/// # Errors
/// If it is another session's.
pub(in crate::process) fn take() -> std::io::Result<()> {
    match terminals().next() {
        Some(terminal) => Ok(rustix::process::ioctl_tiocsctty(terminal)?),
        None => Ok(()),
    }
}

/// The group of the program that a launcher started, when it has one.
pub(in crate::process) fn program_group(launcher: u32) -> Option<Pid> {
    let mut living = process_tree::of(launcher).into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed()));
    living.find(|pid| getpgid(Some(*pid)) == Ok(*pid))
}

/// Gives the launcher's terminal to its program. `false` if that has no group
/// of its own so far.
pub(in crate::process) fn give() -> bool {
    let Some(terminal) = terminals().next() else { return true };
    let own = rustix::process::getpid();
    if rustix::termios::tcgetpgrp(terminal) != Ok(own) {
        // It was given away already.
        return true;
    }
    let Some(group) = program_group(own.as_raw_nonzero().get().cast_unsigned()) else { return false };
    let given = rustix::termios::tcsetpgrp(terminal, group).is_ok();
    // It may have been stopped because it did not have it.
    let _continued = rustix::process::kill_process_group(group, Signal::CONT);
    given
}

/// Puts this process into a group of its own, and waits until it has the terminal,
/// where it gets it at once.
///
/// # Errors
/// If the kernel refuses the group.
pub(in crate::process) fn lead() -> std::io::Result<()> {
    rustix::process::setpgid(None, None)?;
    let start = Instant::now();
    let own = rustix::process::getpid();
    while is_interactive() && rustix::termios::tcgetpgrp(stdin()) != Ok(own) && start.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
    }
    Ok(())
}
