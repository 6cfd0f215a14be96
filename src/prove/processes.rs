//! Attempts on processes: those of another session, and the daemon's.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal};

use super::attempt::{PARTY, Party, Scene, Tried, stopped, through};
use super::files::{found, read};
use super::raw::{ArgValue, CallProgram};

/// A file of the process in `/proc`. In a namespace of its own, the adversary
/// may see another process with that number.
fn proc(party: &Party, name: &str) -> io::Result<PathBuf> {
    target(party)?;
    Ok(Path::new("/proc").join(party.pid.to_string()).join(name))
}

/// The process, unless its number is another's here.
fn target(party: &Party) -> io::Result<Pid> {
    match std::fs::read_to_string(format!("/proc/{}/comm", party.pid)) {
        Ok(name) if name.trim_end() != PARTY => Err(stopped("its number is another process's here")),
        _ => Pid::from_raw(party.pid).ok_or_else(|| stopped("it has no number")),
    }
}

pub(super) fn environment(party: &Party) -> Tried {
    read(&proc(party, "environ")?, &party.secret)
}

pub(super) fn arguments(party: &Party) -> Tried {
    read(&proc(party, "cmdline")?, &party.secret)
}

pub(super) fn directory(party: &Party) -> Tried {
    read(&proc(party, "cwd")?.join(&party.file), &party.secret)
}

pub(super) fn root(party: &Party) -> Tried {
    let path = party.dir.join(&party.file);
    read(&proc(party, "root")?.join(path.strip_prefix("/").unwrap_or(&path)), &party.secret)
}

pub(super) fn descriptor(party: &Party) -> Tried {
    read(&proc(party, "fd")?.join(party.fd.to_string()), &party.secret)
}

pub(super) fn memory(party: &Party) -> Tried {
    let mut bytes = vec![0; party.secret.len()];
    File::open(proc(party, "mem")?)?.read_exact_at(&mut bytes, party.address)?;
    found(&String::from_utf8_lossy(&bytes), &party.secret)
}

pub(super) fn read_memory_by_call(scene: &Scene, party: &Party) -> Tried {
    let pid = target(party)?;
    let mut program = CallProgram::default();
    let length = party.secret.len();
    let buffer = program.space(length);
    let local = program.words(&[buffer, length.into()]);
    let remote = program.words(&[party.address.into(), length.into()]);
    let one = ArgValue::from(1);
    let number = pid.as_raw_nonzero().get().into();
    program.call(libc::SYS_process_vm_readv, &[number, local, one, remote, one, 0.into()]);
    program.print(buffer, length);
    found(&String::from_utf8_lossy(&program.run(&scene.own, b"")?), &party.secret)
}

/// Without stopping it; it is let go when the child that traces it ends.
pub(super) fn trace(scene: &Scene, pid: i32) -> Tried {
    const SEIZE: i32 = 0x4206;
    let mut program = CallProgram::default();
    program.call(libc::SYS_ptrace, &[SEIZE.into(), pid.into(), 0.into(), 0.into()]);
    program.run(&scene.own, b"")?;
    through("it was traced")
}

pub(super) fn trace_party(scene: &Scene, party: &Party) -> Tried {
    trace(scene, target(party)?.as_raw_nonzero().get())
}

pub(super) fn kill(party: &Party) -> Tried {
    rustix::process::kill_process(target(party)?, Signal::USR1)?;
    through("it was sent a signal")
}

pub(super) fn kill_by_descriptor(party: &Party) -> Tried {
    let process = rustix::process::pidfd_open(target(party)?, PidfdFlags::empty())?;
    rustix::process::pidfd_send_signal(process, Signal::USR1)?;
    through("it was sent a signal")
}

pub(super) fn take_descriptor(party: &Party) -> Tried {
    let process = rustix::process::pidfd_open(target(party)?, PidfdFlags::empty())?;
    let file = File::from(rustix::process::pidfd_getfd(process, party.fd, PidfdGetfdFlags::empty())?);
    let mut bytes = vec![0; 4096];
    let count = file.read_at(&mut bytes, 0)?;
    found(&String::from_utf8_lossy(&bytes[..count]), &party.secret)
}

/// Sets the limits that it has.
pub(super) fn set_limits(scene: &Scene, party: &Party) -> Tried {
    let pid = target(party)?.as_raw_nonzero().get();
    let mut program = CallProgram::default();
    let limits = program.space(16);
    for (new, old) in [(0.into(), limits), (limits, 0.into())] {
        program.call(libc::SYS_prlimit64, &[pid.into(), libc::RLIMIT_FSIZE.into(), new, old]);
    }
    program.run(&scene.own, b"")?;
    through("its limits were set")
}

/// Sets the priority that it has.
pub(super) fn set_priority(party: &Party) -> Tried {
    let pid = Some(target(party)?);
    let priority = rustix::process::getpriority_process(pid)?;
    rustix::process::setpriority_process(pid, priority)?;
    through("its priority was set")
}

/// Sets the processors that it has.
pub(super) fn set_processors(party: &Party) -> Tried {
    let pid = Some(target(party)?);
    let processors = rustix::thread::sched_getaffinity(pid)?;
    rustix::thread::sched_setaffinity(pid, &processors)?;
    through("its processors were chosen")
}

/// Sets the class of its reads and writes, to the one that it has.
pub(super) fn set_io_class(scene: &Scene, party: &Party) -> Tried {
    const PROCESS: i32 = 1;
    let pid = target(party)?.as_raw_nonzero().get();
    let mut program = CallProgram::default();
    let class = program.call(libc::SYS_ioprio_get, &[PROCESS.into(), pid.into()]);
    program.call(libc::SYS_ioprio_set, &[PROCESS.into(), pid.into(), class]);
    program.run(&scene.own, b"")?;
    through("its class was set")
}

/// Sets the scheduling policy that it has.
pub(super) fn set_policy(scene: &Scene, party: &Party) -> Tried {
    let pid = target(party)?.as_raw_nonzero().get();
    let mut program = CallProgram::default();
    let parameter = program.space(8);
    program.call(libc::SYS_sched_setscheduler, &[pid.into(), 0.into(), parameter]);
    program.run(&scene.own, b"")?;
    through("its policy was set")
}

/// Would have it killed first where memory is short.
pub(super) fn set_memory_score(party: &Party) -> Tried {
    let path = proc(party, "oom_score_adj")?;
    let score = std::fs::read(&path)?;
    OpenOptions::new().write(true).open(&path)?.write_all(&score)?;
    through("its score was written")
}

pub(super) fn visible(party: &Party) -> Tried {
    let seen = std::fs::read_dir("/proc")?.flatten().any(|entry| entry.file_name() == *party.pid.to_string());
    if !seen {
        return Err(stopped("its number is not there"));
    }
    target(party)?;
    through("it is seen")
}

/// Enters the mounts of the process, and reads a file there.
pub(super) fn enter_mounts(scene: &Scene, party: &Party) -> Tried {
    let path = proc(party, "ns/mnt")?;
    let mut program = CallProgram::default();
    let (mounts, buffer) = (program.path(&path), program.space(4096));
    let file = program.path(&party.dir.join(&party.file));
    let fd = program.call(libc::SYS_openat, &[libc::AT_FDCWD.into(), mounts, 0.into()]);
    program.call(libc::SYS_setns, &[fd, 0.into()]);
    let fd = program.call(libc::SYS_openat, &[libc::AT_FDCWD.into(), file, 0.into()]);
    let length = program.call(libc::SYS_read, &[fd, buffer, 4096.into()]);
    program.print(buffer, length);
    found(&String::from_utf8_lossy(&program.run(&scene.own, b"")?), &party.secret)
}

/// The process that started the adversary: the launcher, or what is in its place.
fn above() -> io::Result<Pid> {
    rustix::process::getppid().ok_or_else(|| stopped("it is not seen"))
}

/// Whether a process is Denizen's launcher.
fn is_launcher(pid: Pid) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"__run")
}

fn launcher() -> io::Result<Pid> {
    let pid = above()?;
    if is_launcher(pid) { Ok(pid) } else { Err(stopped("it is not seen")) }
}

pub(super) fn trace_launcher(scene: &Scene) -> Tried {
    trace(scene, launcher()?.as_raw_nonzero().get())
}

/// With a signal that does nothing: it may end its own turn, no more.
pub(super) fn signal_launcher(_scene: &Scene) -> Tried {
    rustix::process::kill_process(launcher()?, Signal::CONT)?;
    through("it can end its own turn")
}

/// The lock that says that its session runs: whoever has its descriptor can
/// unlock it.
pub(super) fn take_run_lock(_scene: &Scene) -> Tried {
    let process = rustix::process::pidfd_open(launcher()?, PidfdFlags::empty())?;
    let mut last = stopped("it has no descriptors");
    for number in 3..16 {
        match rustix::process::pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) {
            Ok(_) => return through(format!("its descriptor {number} was taken")),
            Err(errno) => last = errno.into(),
        }
    }
    Err(last)
}

pub(super) fn launcher_memory(_scene: &Scene) -> Tried {
    let pid = launcher()?.as_raw_nonzero();
    OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
    through("its memory was opened for writing")
}

/// Gives every process of the user the priority that it has, where all have the
/// same.
pub(super) fn set_priorities(scene: &Scene) -> Tried {
    const USER: i32 = 2;
    let own = std::fs::metadata("/proc/self")?.uid();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let is_own = entry.metadata().is_ok_and(|metadata| metadata.uid() == own);
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if let (true, Some(nice)) = (is_own, rest.split(' ').nth(16)) {
            found.extend(nice.parse::<i32>());
        }
    }
    let first = found.first().copied().unwrap_or(0);
    if found.iter().any(|nice| *nice != first) {
        let reason = "the user's processes have different priorities, which it would change";
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    let mut program = CallProgram::default();
    program.call(libc::SYS_setpriority, &[USER.into(), 0.into(), first.into()]);
    program.run(&scene.own, b"")?;
    through("their priorities were set")
}

/// Gives the reads and writes of every process of the user no class of their
/// own, as next to none has.
pub(super) fn set_io_classes(scene: &Scene) -> Tried {
    const USER: i32 = 3;
    let own = rustix::process::getuid().as_raw();
    let mut program = CallProgram::default();
    program.call(libc::SYS_ioprio_set, &[USER.into(), own.into(), 0.into()]);
    program.run(&scene.own, b"")?;
    through("their classes were set")
}

/// Process 1 is bubblewrap in its namespace, and the machine's first elsewhere.
pub(super) fn root_of_first(scene: &Scene) -> Tried {
    let path = scene.beside.join(&scene.sibling.file);
    read(&Path::new("/proc/1/root").join(path.strip_prefix("/").unwrap_or(&path)), &scene.sibling.secret)
}

pub(super) fn descriptors_of_first(_scene: &Scene) -> Tried {
    let mut last = stopped("it has none");
    for entry in std::fs::read_dir("/proc/1/fd")?.flatten() {
        match std::fs::read_link(entry.path()) {
            Ok(target) => return through(format!("one leads to `{}`", target.display())),
            Err(error) => last = error,
        }
    }
    Err(last)
}

pub(super) fn memory_of_first(_scene: &Scene) -> Tried {
    File::open("/proc/1/mem")?;
    through("its memory was opened")
}
