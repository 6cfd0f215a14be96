//! A terminal of the test's own, as a person has one: a program runs in it, keys
//! are typed, and what would be on the screen is kept.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::pty::OpenptFlags;
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::fake::until;
use super::root::Root;

/// A terminal.
pub(crate) struct Pty {
    keys: File,
    /// Held, so that it lives longer than the programs in it.
    terminal: OwnedFd,
    path: PathBuf,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// One of 24 lines and 80 columns.
    pub(crate) fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keys = rustix::pty::openpt(flags).expect("a terminal");
        rustix::pty::grantpt(&keys).expect("granted");
        rustix::pty::unlockpt(&keys).expect("unlocked");
        let path = rustix::pty::ptsname(&keys, Vec::new()).expect("a name");
        let terminal = rustix::pty::ioctl_tiocgptpeer(&keys, flags).expect("its other side");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut screen) = (Arc::clone(&seen), File::from(keys.try_clone().expect("a copy")));
        thread::spawn(move || {
            let mut bytes = [0; 65536];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                kept.lock().expect("a lock").extend_from_slice(&bytes[..count]);
            }
        });
        let path = OsStr::from_bytes(path.to_bytes()).into();
        let pty = Self { keys: keys.into(), terminal, path, seen };
        pty.resize(24, 80);
        pty
    }

    /// Its path.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// A standard stream that leads to it.
    fn stream(&self) -> Stdio {
        self.terminal.try_clone().expect("a copy").into()
    }

    /// A program of a root, in a session that has this terminal, which is its standard
    /// input.
    pub(crate) fn session(&self, root: &Root, command: &Command) -> Command {
        let mut session = root.command("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        session.env("TERM", "xterm-256color").stdin(self.stream());
        session
    }

    /// Starts a program in it.
    pub(crate) fn start(&self, root: &Root, command: &Command) -> Job<'_> {
        let mut command = self.session(root, command);
        command.stdout(self.stream()).stderr(self.stream());
        Job { child: command.spawn().expect("a child"), pty: self }
    }

    /// Types keys.
    pub(crate) fn keys(&self, keys: &str) {
        (&self.keys).write_all(keys.as_bytes()).expect("typed");
    }

    /// Another size.
    pub(crate) fn resize(&self, lines: u16, columns: u16) {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keys, size).expect("a size");
    }

    /// Its modes, to compare.
    pub(crate) fn modes(&self) -> String {
        let Termios { input_modes, output_modes, control_modes, local_modes, special_codes, .. } =
            tcgetattr(&self.terminal).expect("its modes");
        format!("{input_modes:?} {output_modes:?} {control_modes:?} {local_modes:?} {special_codes:?}")
    }

    /// All that was written to it.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("a lock")).into_owned()
    }

    /// The same, when nothing more is written by others.
    fn all(&self) -> String {
        const END: &str = "\x1b[end of all]";
        rustix::io::write(&self.terminal, END.as_bytes()).expect("written");
        let all = self.wait_for(END).replace(END, "");
        *self.seen.lock().expect("a lock") = all.clone().into_bytes();
        all
    }

    /// Waits until this was written to it; gives all.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        until(&format!("{text:?} on the terminal"), || {
            let seen = self.seen();
            if seen.contains(text) { Ok(seen) } else { Err(format!("{seen:?}")) }
        })
    }

    /// Waits until nothing was written for half a second; gives how much was.
    pub(crate) fn quiet(&self) -> usize {
        let (mut before, mut after) = (usize::MAX, self.seen().len());
        while before != after {
            thread::sleep(Duration::from_millis(500));
            (before, after) = (after, self.seen().len());
        }
        after
    }

    /// Waits until its modes are these.
    pub(crate) fn wait_for_modes(&self, modes: &str) {
        until("the modes as they were", || if self.modes() == modes { Ok(()) } else { Err(self.modes()) });
    }

    /// Waits until the keys are taken one by one, or not.
    pub(crate) fn wait_for_raw(&self, raw: bool) {
        until(&format!("raw modes: {raw}"), || {
            let is_raw = !self.modes().contains("ICANON");
            if is_raw == raw { Ok(()) } else { Err(self.modes()) }
        });
    }
}

/// A program that runs in a terminal; killed where it is left.
pub(crate) struct Job<'a> {
    child: Child,
    pty: &'a Pty,
}

impl Job<'_> {
    /// Whether it runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a look at it").is_none()
    }

    /// Waits for its end; gives the code, as a shell does, and all that is on the
    /// terminal.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = until("end of a program", || match self.child.try_wait().expect("a look at it") {
            Some(status) => Ok(status),
            None => Err(format!("it runs: {:?}", self.pty.seen())),
        });
        (status.code().or(status.signal().map(|signal| 128 + signal)), self.pty.all())
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _gone = self.child.kill();
            let _collected = self.child.wait();
        }
    }
}
