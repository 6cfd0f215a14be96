//! Attempts on the person's terminals: the one in which Denizen was started, and
//! the others.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::OptionalActions;

use super::attempt::{Scene, Tried, stopped, through};
use super::files::found;

/// A terminal that stands in for one of the person's, with a line typed into it:
/// where the keys come from, the terminal, and its path.
pub(super) fn stand_in(typed: &str) -> rustix::io::Result<(OwnedFd, OwnedFd, PathBuf)> {
    let (keys, terminal, path) = pair()?;
    rustix::io::write(&keys, format!("{typed}\n").as_bytes())?;
    Ok((keys, terminal, path))
}

fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd, PathBuf)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let keys = rustix::pty::openpt(flags)?;
    rustix::pty::grantpt(&keys)?;
    rustix::pty::unlockpt(&keys)?;
    let path = rustix::pty::ptsname(&keys, Vec::new())?;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&keys, flags)?;
    Ok((keys, terminal, OsStr::from_bytes(path.to_bytes()).into()))
}

fn controlling() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

pub(super) fn open_controlling(_scene: &Scene) -> Tried {
    controlling()?;
    through("it was opened")
}

/// To the group that has it, where that is the own one.
pub(super) fn take_foreground(_scene: &Scene) -> Tried {
    let terminal = controlling()?;
    let own = rustix::process::getpgrp();
    if rustix::termios::tcgetpgrp(&terminal)? != own {
        // The kernel would stop this process, and it would stay stopped.
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it runs in the background of its terminal"));
    }
    rustix::termios::tcsetpgrp(&terminal, own)?;
    through("the own group has it")
}

/// To those that it has.
pub(super) fn set_modes(_scene: &Scene) -> Tried {
    let terminal = controlling()?;
    if rustix::termios::tcgetpgrp(&terminal)? != rustix::process::getpgrp() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it runs in the background of its terminal"));
    }
    let modes = rustix::termios::tcgetattr(&terminal)?;
    rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &modes)?;
    through("they were set")
}

fn by_path(scene: &Scene) -> io::Result<File> {
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(&scene.terminal)
}

pub(super) fn read_by_path(scene: &Scene) -> Tried {
    let mut bytes = vec![0; 4096];
    let count = by_path(scene)?.read(&mut bytes)?;
    found(&String::from_utf8_lossy(&bytes[..count]), &scene.daemon.secret)
}

pub(super) fn write_by_path(scene: &Scene) -> Tried {
    by_path(scene)?.write_all(b"a line of the agent's\r\n")?;
    through("a line was written")
}

/// As tools do that run others in a terminal.
pub(super) fn make(_scene: &Scene) -> Tried {
    let (_keys, _terminal, path) = pair()?;
    let flags = OFlags::NOCTTY.bits().cast_signed();
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path)?;
    if path.starts_with("/dev/pts") {
        through(format!("`{}` was made", path.display()))
    } else {
        Err(stopped("it has no path"))
    }
}
