//! Attempts on the kernel, and on what holds the walls up: namespaces, mounts,
//! interfaces with a history of holes, the files through which it is set.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::attempt::{Got, Scene, Tried, stopped, through};
use super::files::found;
use super::raw::{ArgValue, CallProgram};

fn flags(flags: i32) -> ArgValue {
    ArgValue::from(flags)
}

/// Runs a single call.
fn single(scene: &Scene, number: i64, args: &[ArgValue]) -> Tried {
    let mut program = CallProgram::default();
    program.call(number, args);
    program.run(&scene.own, b"")?;
    through("the kernel did it")
}

pub(super) fn new_user_namespace(scene: &Scene) -> Tried {
    single(scene, libc::SYS_unshare, &[flags(libc::CLONE_NEWUSER)])
}

/// The child of `clone` returns into the same program, and ends with it.
pub(super) fn clone_user_namespace(scene: &Scene) -> Tried {
    let kind = flags(libc::CLONE_NEWUSER | libc::SIGCHLD);
    single(scene, libc::SYS_clone, &[kind, 0.into(), 0.into(), 0.into(), 0.into()])
}

pub(super) fn clone3_user_namespace(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let mut words = [ArgValue::from(0); 8];
    (words[0], words[4]) = (flags(libc::CLONE_NEWUSER), flags(libc::SIGCHLD));
    let how = program.words(&words);
    program.call(libc::SYS_clone3, &[how, 64.into()]);
    program.run(&scene.own, b"")?;
    through("the kernel did it")
}

/// Binds the other session's folder into its own, in mounts of its own.
pub(super) fn bind_in_namespace(scene: &Scene) -> Tried {
    let target = scene.own.join("mounted");
    let tried = with_dir(&target, || {
        let mut program = CallProgram::default();
        let (from, to, buffer) = (program.path(&scene.beside), program.path(&target), program.space(4096));
        let file = program.path(&target.join(&scene.sibling.file));
        program.call(libc::SYS_unshare, &[flags(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)]);
        program.call(libc::SYS_mount, &[from, to, 0.into(), libc::MS_BIND.into(), 0.into()]);
        let fd = program.call(libc::SYS_openat, &[libc::AT_FDCWD.into(), file, 0.into()]);
        let length = program.call(libc::SYS_read, &[fd, buffer, 4096.into()]);
        program.print(buffer, length);
        program.run(&scene.own, b"")
    });
    found(&String::from_utf8_lossy(&tried?), &scene.sibling.secret)
}

fn with_dir<T>(dir: &Path, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    std::fs::create_dir(dir)?;
    let done = act();
    std::fs::remove_dir(dir)?;
    done
}

/// Mounts a file system in its own folder, and unmounts it.
pub(super) fn mount(scene: &Scene) -> Tried {
    let target = scene.own.join("mounted");
    with_dir(&target, || {
        let mut program = CallProgram::default();
        let (kind, to) = (program.text(b"tmpfs"), program.path(&target));
        program.call(libc::SYS_mount, &[kind, to, kind, 0.into(), 0.into()]);
        program.call(libc::SYS_umount2, &[to, libc::MNT_DETACH.into()]);
        program.run(&scene.own, b"")
    })?;
    through("it was mounted")
}

/// Takes away what covers a directory. In mounts of its own, so that the machine
/// keeps its.
pub(super) fn unmount(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    program.call(libc::SYS_unshare, &[flags(libc::CLONE_NEWNS)]);
    let path = program.text(b"/proc");
    program.call(libc::SYS_umount2, &[path, libc::MNT_DETACH.into()]);
    program.run(&scene.own, b"")?;
    through("`/proc` was unmounted")
}

/// Makes what is mounted read-only writable, in mounts of its own.
pub(super) fn remount(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let (root, none) = (program.text(b"/"), program.text(b"none"));
    program.call(libc::SYS_unshare, &[flags(libc::CLONE_NEWNS)]);
    program.call(libc::SYS_mount, &[none, root, 0.into(), (libc::MS_REMOUNT | libc::MS_BIND).into(), 0.into()]);
    program.run(&scene.own, b"")?;
    through("`/` was mounted anew")
}

/// Has its mounts seen outside, in mounts of its own.
pub(super) fn propagate(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let (root, none) = (program.text(b"/"), program.text(b"none"));
    program.call(libc::SYS_unshare, &[flags(libc::CLONE_NEWNS)]);
    program.call(libc::SYS_mount, &[none, root, 0.into(), (libc::MS_SHARED | libc::MS_REC).into(), 0.into()]);
    program.run(&scene.own, b"")?;
    through("its mounts are shared")
}

/// The newer calls for mounts: a copy of a mount as a descriptor.
pub(super) fn open_tree(scene: &Scene) -> Tried {
    const CLONE: i32 = 1;
    let mut program = CallProgram::default();
    let path = program.path(&scene.own);
    program.call(libc::SYS_open_tree, &[libc::AT_FDCWD.into(), path, CLONE.into()]);
    program.run(&scene.own, b"")?;
    through("the mount was copied")
}

pub(super) fn open_file_system(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let kind = program.text(b"tmpfs");
    program.call(libc::SYS_fsopen, &[kind, 0.into()]);
    program.run(&scene.own, b"")?;
    through("the file system was opened")
}

pub(super) fn chroot(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let path = program.path(&scene.own);
    program.call(libc::SYS_chroot, &[path]);
    program.run(&scene.own, b"")?;
    through("its root was changed")
}

pub(super) fn pivot_root(scene: &Scene) -> Tried {
    let target = scene.own.join("mounted");
    with_dir(&target, || {
        let mut program = CallProgram::default();
        let (kind, to, none) = (program.text(b"tmpfs"), program.path(&target), program.text(b"none"));
        let root = program.text(b"/");
        program.call(libc::SYS_unshare, &[flags(libc::CLONE_NEWNS)]);
        program.call(libc::SYS_mount, &[none, root, 0.into(), (libc::MS_PRIVATE | libc::MS_REC).into(), 0.into()]);
        program.call(libc::SYS_mount, &[kind, to, kind, 0.into(), 0.into()]);
        program.call(libc::SYS_chdir, &[to]);
        let here = program.text(b".");
        program.call(libc::SYS_pivot_root, &[here, here]);
        program.run(&scene.own, b"")
    })?;
    through("its root was changed")
}

/// Opens a file by the kernel's handle of it, which needs no path.
pub(super) fn open_by_handle(scene: &Scene) -> Tried {
    let (kind, handle) = scene.handle.as_ref().ok_or_else(|| stopped("the file system has no handles"))?;
    let mut program = CallProgram::default();
    let mut bytes = u32::try_from(handle.len()).unwrap_or(0).to_le_bytes().to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(handle);
    let (here, handle, buffer) = (program.path(&scene.own), program.bytes(&bytes), program.space(4096));
    let dir = program.call(libc::SYS_openat, &[libc::AT_FDCWD.into(), here, 0.into()]);
    let fd = program.call(libc::SYS_open_by_handle_at, &[dir, handle, 0.into()]);
    let length = program.call(libc::SYS_read, &[fd, buffer, 4096.into()]);
    program.print(buffer, length);
    found(&String::from_utf8_lossy(&program.run(&scene.own, b"")?), &scene.sibling.secret)
}

/// The handle of a file, and its type.
pub(super) fn handle_of(path: &Path, dir: &Path) -> io::Result<(i32, Vec<u8>)> {
    let mut program = CallProgram::default();
    let (path, handle, mount) =
        (program.path(path), program.bytes(&[&128_u32.to_le_bytes()[..], &[0; 132]].concat()), program.space(8));
    program.call(libc::SYS_name_to_handle_at, &[libc::AT_FDCWD.into(), path, handle, mount, 0.into()]);
    program.print(handle, 136);
    let printed = program.run(dir, b"")?;
    let number = |at: usize| printed.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let (size, kind) = number(0).zip(number(4)).ok_or_else(|| stopped("no handle"))?;
    let handle = printed.get(8..8 + size as usize).ok_or_else(|| stopped("no handle"))?;
    Ok((kind.cast_signed(), handle.to_vec()))
}

pub(super) fn io_uring(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let parameters = program.space(120);
    program.call(libc::SYS_io_uring_setup, &[8.into(), parameters]);
    program.run(&scene.own, b"")?;
    through("it was set up")
}

/// The gate for programs of 32 bits, with a call that a filter of 64 bits knows
/// by another number.
pub(super) fn old_gate(scene: &Scene) -> Tried {
    const IO_URING_SETUP: u64 = 425;
    let mut program = CallProgram::default();
    let parameters = program.space(120);
    program.old_call(IO_URING_SETUP, &[8.into(), parameters]);
    program.run(&scene.own, b"")?;
    through("the kernel took the call")
}

/// The numbers of x32, which a filter may not know. A kernel without x32 answers
/// that there is no such call, and then the filter let it pass.
pub(super) fn x32_gate(scene: &Scene) -> Tried {
    const X32: i64 = 0x4000_0000;
    let mut program = CallProgram::default();
    let parameters = program.space(120);
    program.call(X32 | libc::SYS_io_uring_setup, &[8.into(), parameters]);
    reached(program.run(&scene.own, b""), libc::ENOSYS)
}

/// Whether the kernel's own code answered, by the error that it gives.
fn reached(done: io::Result<Vec<u8>>, answer: i32) -> Tried {
    match done {
        Err(error) if error.raw_os_error() != Some(answer) => Err(error),
        _ => through("the kernel looked at it"),
    }
}

/// Asks for a mount at a place that is not there.
pub(super) fn reach_mounts(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let (kind, place) = (program.text(b"tmpfs"), program.path(&scene.own.join("nowhere")));
    program.call(libc::SYS_mount, &[kind, place, kind, 0.into(), 0.into()]);
    reached(program.run(&scene.own, b""), libc::ENOENT)
}

/// Asks to be traced by the process that started it.
pub(super) fn reach_tracing(scene: &Scene) -> Tried {
    single(scene, libc::SYS_ptrace, &[libc::PTRACE_TRACEME.into(), 0.into(), 0.into(), 0.into()])
}

/// Asks for the kernel's handle of a file of its own.
pub(super) fn reach_handles(scene: &Scene) -> Tried {
    handle_of(&scene.own.join("session.json"), &scene.own)?;
    through("the kernel gave it")
}

/// Sees the name that the machine has.
pub(super) fn see_host_name(scene: &Scene) -> Tried {
    if rustix::system::uname().nodename().to_string_lossy() == scene.host {
        through(format!("it is `{}`", scene.host))
    } else {
        Err(stopped("it sees another name"))
    }
}

pub(super) fn userfaultfd(scene: &Scene) -> Tried {
    const USER_MODE_ONLY: i32 = 1;
    single(scene, libc::SYS_userfaultfd, &[USER_MODE_ONLY.into()])
}

/// Makes a map of four bytes.
pub(super) fn bpf(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let numbers: Vec<u8> = [2_u32, 4, 4, 1].iter().flat_map(|number| number.to_le_bytes()).collect();
    let map = program.bytes(&[numbers, vec![0; 112]].concat());
    program.call(libc::SYS_bpf, &[0.into(), map, 128.into()]);
    program.run(&scene.own, b"")?;
    through("a map was made")
}

/// Counts its own time.
pub(super) fn perf(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let mut event = vec![0_u8; 128];
    event[0] = 1;
    event[4] = 128;
    // Without the kernel and the hypervisor.
    event[40] = 0x60;
    let event = program.bytes(&event);
    let none = ArgValue::from(-1);
    program.call(libc::SYS_perf_event_open, &[event, 0.into(), none, none, 0.into()]);
    program.run(&scene.own, b"")?;
    through("a counter was opened")
}

/// Types into its terminal what a shell would read there. The terminal is its own.
pub(super) fn type_into_terminal(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let (path, zero, letter) = (program.text(b"/dev/ptmx"), program.space(8), program.bytes(b"x"));
    program.call(libc::SYS_setsid, &[]);
    let open = flags(libc::O_RDWR | libc::O_NOCTTY);
    let side = program.call(libc::SYS_openat, &[libc::AT_FDCWD.into(), path, open]);
    program.call(libc::SYS_ioctl, &[side, libc::TIOCSPTLCK.into(), zero]);
    let terminal = program.call(libc::SYS_ioctl, &[side, libc::TIOCGPTPEER.into(), flags(libc::O_RDWR)]);
    program.call(libc::SYS_ioctl, &[terminal, libc::TIOCSTI.into(), letter]);
    program.run(&scene.own, b"")?;
    through("a letter was typed")
}

/// Reads from a descriptor that nothing closed.
pub(super) fn leaked(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let buffer = program.space(4096);
    let length = program.call(libc::SYS_pread64, &[scene.leaked.into(), buffer, 4096.into(), 0.into()]);
    program.print(buffer, length);
    found(&String::from_utf8_lossy(&program.run(&scene.own, b"")?), &scene.sibling.secret)
}

/// Runs a program that nobody can see in a directory. It reaches nothing by that.
#[expect(clippy::disallowed_methods, reason = "what the adversary starts is no child of a session")]
pub(super) fn run_from_memory(_scene: &Scene) -> Tried {
    let mut file = File::from(rustix::fs::memfd_create("program", rustix::fs::MemfdFlags::empty())?);
    file.write_all(b"#!/bin/sh\nexit 0\n")?;
    let path = Path::new("/proc/self/fd").join(file.as_raw_fd().to_string());
    run(Command::new(path).stdin(Stdio::null()))
}

fn run(command: &mut Command) -> Tried {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { through("it ran") } else { Err(stopped(status.to_string())) }
}

/// Programs that get another user's rights when they start.
const SETUID: [&str; 6] =
    ["/usr/bin/su", "/bin/su", "/usr/bin/sudo", "/usr/bin/passwd", "/usr/bin/chsh", "/usr/bin/newgrp"];

/// Starts one, and looks at the rights that it has.
#[expect(clippy::disallowed_methods, reason = "what the adversary starts is no child of a session")]
pub(super) fn setuid(_scene: &Scene) -> Tried {
    let program = SETUID.iter().find(|program| Path::new(program).exists());
    let program = program.ok_or_else(|| stopped("there is no such program"))?;
    let mut command = Command::new(program);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let start = Instant::now();
    let mut rights = 0;
    while rights == 0 && start.elapsed() < Duration::from_millis(300) && child.try_wait()?.is_none() {
        rights = field(&std::fs::read_to_string(&status).unwrap_or_default(), "CapEff:")
            .and_then(|text| u64::from_str_radix(text, 16).ok())
            .unwrap_or(0);
        std::thread::sleep(Duration::from_millis(2));
    }
    // One with another user's rights may not be ours to kill: it ends with its input.
    let _killed = child.kill();
    drop(child.stdin.take());
    child.wait()?;
    if rights != 0 {
        through(format!("{program} has rights"))
    } else {
        Err(stopped(format!("{program} has no rights")))
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim()))
}

pub(super) fn may_gain_rights(_scene: &Scene) -> Tried {
    let status = std::fs::read_to_string("/proc/self/status")?;
    match field(&status, "NoNewPrivs:") {
        Some("0") => through("a program that it starts may gain rights"),
        _ => Err(stopped("no program that it starts gains rights")),
    }
}

/// The rights that root has over the kernel.
pub(super) fn has_rights(_scene: &Scene) -> Tried {
    let status = std::fs::read_to_string("/proc/self/status")?;
    match field(&status, "CapEff:").and_then(|text| u64::from_str_radix(text, 16).ok()) {
        Some(0) | None => Err(stopped("it has none")),
        Some(rights) => through(format!("it has {rights:x}")),
    }
}

/// Sets the name that the machine has.
pub(super) fn host_name(scene: &Scene) -> Tried {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let mut program = CallProgram::default();
    let text = program.text(name.trim_end().as_bytes());
    program.call(libc::SYS_sethostname, &[text, name.trim_end().len().into()]);
    program.run(&scene.own, b"")?;
    through("the name was set")
}

/// Makes a device file for the memory of the machine.
pub(super) fn make_device(scene: &Scene) -> Tried {
    let path = scene.own.join("device");
    let mut program = CallProgram::default();
    let text = program.path(&path);
    program.call(libc::SYS_mknodat, &[libc::AT_FDCWD.into(), text, (libc::S_IFCHR | 0o600).into(), 0x101.into()]);
    program.run(&scene.own, b"")?;
    std::fs::remove_file(path)?;
    through("a device was made")
}

/// Hands the kernel a module that is none.
pub(super) fn load_module(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let (image, options) = (program.bytes(b"no module"), program.text(b""));
    program.call(libc::SYS_init_module, &[image, 9.into(), options]);
    reached(program.run(&scene.own, b""), libc::ENOEXEC)
}

pub(super) fn fanotify(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let path = program.path(&scene.own);
    let fd = program.call(libc::SYS_fanotify_init, &[0.into(), 0.into()]);
    let (add, modify) = (libc::FAN_MARK_ADD | libc::FAN_MARK_MOUNT, libc::FAN_MODIFY);
    program.call(libc::SYS_fanotify_mark, &[fd, add.into(), modify.into(), libc::AT_FDCWD.into(), path]);
    program.run(&scene.own, b"")?;
    through("the whole mount is watched")
}

/// The kernel's log, which holds addresses.
pub(super) fn kernel_log(scene: &Scene) -> Tried {
    const READ_ALL: i32 = 3;
    let mut program = CallProgram::default();
    let buffer = program.space(4096);
    program.call(libc::SYS_syslog, &[READ_ALL.into(), buffer, 4096.into()]);
    program.run(&scene.own, b"")?;
    through("it was read")
}

/// Leaves the group that limits it, by making one of its own and going there.
pub(super) fn leave_group(scene: &Scene) -> Tried {
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let mut last = stopped("no group is seen");
    for place in groups(&own) {
        let dir = place.join(&scene.token);
        match std::fs::create_dir(&dir) {
            Ok(()) => {
                std::fs::remove_dir(&dir)?;
                return through("a group was made");
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The directories of the groups, by version and controller.
fn groups(own: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut found = vec![root.to_owned(), root.join("unified"), root.join("pids")];
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(name), Some(path)) = (parts.next(), parts.next()) else { continue };
        let below = path.trim_start_matches('/');
        found.push(root.join(below));
        found.push(root.join(name.trim_start_matches("name=")).join(below));
    }
    found
}

/// Writes below `/tmp`, which everybody shares.
pub(super) fn shared_dir(scene: &Scene, dir: &str) -> Tried {
    let path = Path::new(dir).join(format!("{}-left", scene.token));
    File::create_new(&path)?.write_all(b"left by the adversary\n")?;
    Ok(Got::Left(path))
}

/// Writes back what stands in a setting of the kernel.
pub(super) fn write_setting(path: &str) -> Tried {
    let value = std::fs::read(path)?;
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(&value)?;
    through("it was written")
}

/// A program of the system.
#[expect(clippy::disallowed_methods, reason = "what the adversary starts is no child of a session")]
pub(super) fn shell(_scene: &Scene) -> Tried {
    run(Command::new("/bin/sh").args(["-c", "true"]).stdin(Stdio::null()))
}
