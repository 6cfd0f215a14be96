//! Runs a program under ptrace and strikes at one of its system calls: kills
//! it there, or makes the call fail.
//!
//! Calls are counted over all threads, at their entry, from the program's own
//! `execve` on. `strace` cannot do this: it counts each call's number for
//! itself, so a sweep with it soon strikes nothing. How often a strike really
//! hit is therefore part of what is returned.

#![cfg(target_arch = "x86_64")]

use std::collections::{HashMap, HashSet};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Longer than any program here takes; one that has not ended by then hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Whose system calls are counted, and who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The program's own process: what it started has to end by itself.
    Program,
    /// The program with everything that it starts.
    Tree,
}

/// Which system calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    /// Every one.
    Every,
    /// Those that can change a file or directory, or sync it.
    Changing,
}

/// What is done to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// Nothing: it is only watched.
    None,
    /// SIGKILL before the call with this number, from 1.
    Kill(usize),
    /// The call with this number, from 1, is not made and fails.
    Fail(usize, Errno),
    /// It and every later one that is counted fail.
    FailFrom(usize, Errno),
}

/// A system call that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// What kind of call it is.
    pub(crate) name: &'static str,
    /// The file or directory, as far as the call states it.
    pub(crate) path: PathBuf,
}

/// What became of the program.
#[derive(Debug)]
pub(crate) struct Traced {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Whether the strike hit.
    pub(crate) struck: bool,
    /// Whether something of it had to be killed at the end of all patience.
    pub(crate) hung: bool,
    /// How many calls there were in all.
    pub(crate) count: usize,
    /// Those that can change something, in order, where only they are counted.
    pub(crate) calls: Vec<Call>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// Whether this process may trace another.
pub(crate) fn is_permitted(dir: &Path) -> bool {
    let mut command = Command::new("true");
    command.current_dir(dir);
    run(&command, dir, Scope::Program, Calls::Every, Strike::None).is_ok_and(|traced| traced.code == Some(0))
}

/// Runs a command and strikes. Returns when every process that it started is
/// gone. `dir` is for what it prints.
///
/// # Errors
/// If it cannot be traced.
pub(crate) fn run(
    command: &Command,
    dir: &Path,
    scope: Scope,
    calls: Calls,
    strike: Strike,
) -> Result<Traced, std::io::Error> {
    let (stdout, stderr) = (dir.join("stdout"), dir.join("stderr"));
    // It stops itself, so that it is traced from its first instruction on.
    let mut stopped = Command::new("/bin/sh");
    stopped.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    stopped.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    stopped.current_dir(command.get_current_dir().unwrap_or(dir)).stdin(Stdio::null()).process_group(0);
    stopped.stdout(fs_err::File::create(&stdout)?.into_parts().0);
    stopped.stderr(fs_err::File::create(&stderr)?.into_parts().0);
    let child = stopped.spawn()?;
    let program = Pid::from_raw(child.id().cast_signed());
    let mut tracer = Tracer {
        program,
        scope,
        which: calls,
        strike,
        begun: false,
        killing: false,
        struck: false,
        code: None,
        processes: HashMap::new(),
        living: Arc::new(Mutex::new(HashSet::from([program]))),
        inside: HashSet::new(),
        failing: HashMap::new(),
        calls: Vec::new(),
        count: 0,
    };
    let (ended, patience) = mpsc::channel::<()>();
    let living = Arc::clone(&tracer.living);
    let watchdog = thread::spawn(move || {
        let hung = patience.recv_timeout(TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout);
        if hung {
            for process in living.lock().expect("the processes").iter() {
                let _gone = kill(*process, Signal::SIGKILL);
            }
        }
        hung
    });
    let traced = tracer.trace();
    drop(ended);
    let hung = watchdog.join().expect("the watchdog");
    traced?;
    let read = |path: &Path| fs_err::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Traced {
        code: tracer.code,
        struck: tracer.struck,
        hung,
        count: tracer.count,
        calls: tracer.calls,
        stdout: read(&stdout)?,
        stderr: read(&stderr)?,
    })
}

struct Tracer {
    program: Pid,
    scope: Scope,
    which: Calls,
    strike: Strike,
    /// Whether the program itself runs, and no longer the shell before it.
    begun: bool,
    /// Whether it was killed, so that nothing is counted any more.
    killing: bool,
    struck: bool,
    code: Option<i32>,
    /// The process of each thread.
    processes: HashMap<Pid, Pid>,
    /// The processes that have not ended.
    living: Arc<Mutex<HashSet<Pid>>>,
    /// The threads that are in a system call.
    inside: HashSet<Pid>,
    /// The threads whose call is to fail.
    failing: HashMap<Pid, Errno>,
    calls: Vec<Call>,
    count: usize,
}

impl Tracer {
    fn trace(&mut self) -> nix::Result<()> {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        waitpid(self.program, Some(WaitPidFlag::WUNTRACED))?;
        if let Err(errno) = ptrace::seize(self.program, options) {
            kill(self.program, Signal::SIGKILL)?;
            waitpid(self.program, None)?;
            return Err(errno);
        }
        kill(self.program, Signal::SIGCONT)?;
        loop {
            // Only the children of this thread: others trace as well.
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(status) => self.stopped(status)?,
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    fn stopped(&mut self, status: WaitStatus) -> nix::Result<()> {
        match status {
            WaitStatus::Exited(thread, code) => {
                self.living.lock().expect("the processes").remove(&thread);
                if thread == self.program {
                    self.code = Some(code);
                }
                Ok(())
            }
            WaitStatus::Signaled(thread, signal, _) => {
                self.living.lock().expect("the processes").remove(&thread);
                if thread == self.program {
                    self.struck = self.killing && signal == Signal::SIGKILL;
                }
                Ok(())
            }
            WaitStatus::PtraceSyscall(thread) => {
                if !self.inside.remove(&thread) {
                    self.inside.insert(thread);
                    self.entry(thread)?;
                } else if let Some(errno) = self.failing.remove(&thread) {
                    let mut registers = ptrace::getregs(thread)?;
                    registers.rax = i64::from(-(errno as i32)).cast_unsigned();
                    ptrace::setregs(thread, registers)?;
                }
                self.resume(thread, None)
            }
            WaitStatus::PtraceEvent(thread, _, event) => {
                if event == libc::PTRACE_EVENT_EXEC && thread == self.program {
                    self.begun = true;
                }
                self.resume(thread, None)
            }
            WaitStatus::Stopped(thread, signal) => self.resume(thread, Some(signal)),
            _ => Ok(()),
        }
    }

    fn resume(&mut self, thread: Pid, signal: Option<Signal>) -> nix::Result<()> {
        let process = self.process_of(thread);
        if self.killing && (self.scope == Scope::Tree || process == self.program) {
            let _gone = kill(process, Signal::SIGKILL);
        }
        let resumed = if self.killing { ptrace::cont(thread, signal) } else { ptrace::syscall(thread, signal) };
        match resumed {
            Err(Errno::ESRCH) => Ok(()),
            resumed => resumed,
        }
    }

    fn process_of(&mut self, thread: Pid) -> Pid {
        let living = &self.living;
        *self.processes.entry(thread).or_insert_with(|| {
            let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
            let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
            let process = process.map_or(thread, Pid::from_raw);
            living.lock().expect("the processes").insert(process);
            process
        })
    }

    fn entry(&mut self, thread: Pid) -> nix::Result<()> {
        if !self.begun || self.killing || (self.scope == Scope::Program && self.process_of(thread) != self.program) {
            return Ok(());
        }
        self.count += 1;
        let count = match self.which {
            Calls::Every => self.count,
            Calls::Changing => {
                let Some(call) = changing(thread)? else { return Ok(()) };
                self.calls.push(call);
                self.calls.len()
            }
        };
        let fail = match self.strike {
            Strike::None => None,
            Strike::Kill(at) => {
                if count == at {
                    self.killing = true;
                    self.kill();
                }
                None
            }
            Strike::Fail(at, errno) => (count == at).then_some(errno),
            Strike::FailFrom(at, errno) => (count >= at).then_some(errno),
        };
        if let Some(errno) = fail {
            self.struck = true;
            let mut registers = ptrace::getregs(thread)?;
            registers.orig_rax = u64::MAX;
            ptrace::setregs(thread, registers)?;
            self.failing.insert(thread, errno);
        }
        Ok(())
    }

    fn kill(&self) {
        match self.scope {
            Scope::Program => {
                let _gone = kill(self.program, Signal::SIGKILL);
            }
            Scope::Tree => {
                for process in self.living.lock().expect("the processes").iter() {
                    let _gone = kill(*process, Signal::SIGKILL);
                }
            }
        }
    }
}

/// The call that a thread is about to make, where it can change a file.
fn changing(thread: Pid) -> nix::Result<Option<Call>> {
    let registers = ptrace::getregs(thread)?;
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
    let fd = |at: usize| link(thread, &format!("fd/{}", arguments[at]));
    let at_path = |dir: usize, path: usize| {
        let name = text(thread, arguments[path]);
        // AT_FDCWD is negative, so a large number here.
        let base = if arguments[dir] < 1 << 20 { fd(dir) } else { link(thread, "cwd") };
        base.join(name)
    };
    let path = |at: usize| link(thread, "cwd").join(text(thread, arguments[at]));
    let creates = |flags: u64| flags & (libc::O_CREAT | libc::O_TRUNC) as u64 != 0;
    // Pipes, sockets and the like are no files, and devices keep nothing.
    let is_file = |path: &Path| path.is_absolute() && !path.starts_with("/dev") && !path.starts_with("/proc");
    let call = |name, path: PathBuf| Ok(is_file(&path).then_some(Call { name, path }));
    match registers.orig_rax.cast_signed() {
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev | libc::SYS_pwritev | libc::SYS_pwritev2 => {
            call("write", fd(0))
        }
        libc::SYS_sendfile => call("sendfile", fd(0)),
        libc::SYS_copy_file_range => call("copy_file_range", fd(2)),
        libc::SYS_fsync => call("fsync", fd(0)),
        libc::SYS_fdatasync => call("fdatasync", fd(0)),
        libc::SYS_syncfs => call("syncfs", fd(0)),
        libc::SYS_ftruncate => call("ftruncate", fd(0)),
        libc::SYS_fallocate => call("fallocate", fd(0)),
        libc::SYS_fchmod => call("fchmod", fd(0)),
        libc::SYS_utimensat => call("utimensat", if arguments[1] == 0 { fd(0) } else { at_path(0, 1) }),
        libc::SYS_openat if creates(arguments[2]) => call("open", at_path(0, 1)),
        libc::SYS_openat2 if creates(word(thread, arguments[2])) => call("open", at_path(0, 1)),
        libc::SYS_open if creates(arguments[1]) => call("open", path(0)),
        libc::SYS_creat => call("open", path(0)),
        libc::SYS_mkdir => call("mkdir", path(0)),
        libc::SYS_mkdirat => call("mkdir", at_path(0, 1)),
        libc::SYS_rename | libc::SYS_link => call("rename", path(1)),
        libc::SYS_renameat | libc::SYS_renameat2 => call("rename", at_path(2, 3)),
        libc::SYS_linkat => call("link", at_path(2, 3)),
        libc::SYS_symlink => call("symlink", path(1)),
        libc::SYS_symlinkat => call("symlink", at_path(1, 2)),
        libc::SYS_unlink | libc::SYS_rmdir => call("unlink", path(0)),
        libc::SYS_unlinkat => call("unlink", at_path(0, 1)),
        _ => Ok(None),
    }
}

fn link(thread: Pid, name: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{thread}/{name}")).unwrap_or_default()
}

fn word(thread: Pid, address: u64) -> u64 {
    ptrace::read(thread, address as ptrace::AddressType).map_or(0, i64::cast_unsigned)
}

fn text(thread: Pid, address: u64) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::new();
    while bytes.len() < 4096 {
        let eight = word(thread, address + bytes.len() as u64).to_ne_bytes();
        let end = eight.iter().position(|byte| *byte == 0);
        bytes.extend_from_slice(&eight[..end.unwrap_or(8)]);
        if end.is_some() {
            break;
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}
