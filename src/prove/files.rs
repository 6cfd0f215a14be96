//! Attempts on files: another session's, Denizen's own, the person's.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags, inotify};

use super::attempt::{Got, PLANTED, Scene, Tried, stopped, through};
use super::raw::CallProgram;

/// Reads a file, which has to hold the word.
pub(super) fn read(path: &Path, word: &str) -> Tried {
    let mut content = String::new();
    // A FIFO or device in its place must not stop the adversary.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    file.take(1 << 16).read_to_string(&mut content)?;
    found(&content, word)
}

/// Whether what was read is what was looked for.
pub(super) fn found(content: &str, word: &str) -> Tried {
    if content.contains(word) { through("its content was read") } else { Err(stopped("something else was there")) }
}

/// Writes at the end of a file that is there.
pub(super) fn append(path: &Path) -> Tried {
    OpenOptions::new().append(true).open(path)?.write_all(b"written by the adversary\n")?;
    through("it was written to")
}

/// Makes a new file, which the stage finds outside and removes.
pub(super) fn plant(dir: &Path, scene: &Scene, name: &str) -> Tried {
    let path = dir.join(format!("{name}{}", scene.token));
    File::create_new(&path)?.write_all(b"planted by the adversary\n")?;
    Ok(Got::Left(path))
}

/// The names in a directory, of which one has to be the given.
pub(super) fn list(dir: &Path, name: &str) -> Tried {
    let names = std::fs::read_dir(dir)?.flatten().any(|entry| entry.file_name() == name);
    if names { through("its names were listed") } else { Err(stopped("only other names are there")) }
}

/// A file of the other session that only this attempt changes.
fn victim(scene: &Scene, number: u16) -> PathBuf {
    scene.beside.join("files").join(number.to_string())
}

/// The files that the stage has to make for [`victim`].
pub(super) const VICTIMS: [u16; 10] = [4, 5, 6, 7, 9, 10, 11, 12, 13, 14];

pub(super) fn read_absolute(scene: &Scene) -> Tried {
    read(&scene.beside.join(&scene.sibling.file), &scene.sibling.secret)
}

pub(super) fn read_relative(scene: &Scene) -> Tried {
    let name = scene.beside.file_name().unwrap_or_default();
    read(&Path::new("..").join(name).join(&scene.sibling.file), &scene.sibling.secret)
}

pub(super) fn read_by_link(scene: &Scene) -> Tried {
    let link = scene.own.join("link");
    std::os::unix::fs::symlink(&scene.beside, &link)?;
    let tried = read(&link.join(&scene.sibling.file), &scene.sibling.secret);
    std::fs::remove_file(&link)?;
    tried
}

pub(super) fn hard_link(scene: &Scene) -> Tried {
    let own = scene.own.join("hard-link");
    std::fs::hard_link(victim(scene, 4), &own)?;
    let tried = read(&own, &scene.sibling.secret);
    std::fs::remove_file(&own)?;
    tried
}

pub(super) fn write(scene: &Scene) -> Tried {
    append(&victim(scene, 5))
}

pub(super) fn take_by_rename(scene: &Scene) -> Tried {
    let own = scene.own.join("taken");
    rustix::fs::renameat(CWD, victim(scene, 6), CWD, &own)?;
    let tried = read(&own, &scene.sibling.secret);
    std::fs::remove_file(&own)?;
    tried
}

pub(super) fn exchange(scene: &Scene) -> Tried {
    let own = scene.own.join("exchanged");
    File::create_new(&own)?;
    let done = rustix::fs::renameat_with(CWD, victim(scene, 7), CWD, &own, RenameFlags::EXCHANGE);
    let tried = done.map_err(io::Error::from).and_then(|()| read(&own, &scene.sibling.secret));
    std::fs::remove_file(&own)?;
    tried
}

pub(super) fn list_sessions(scene: &Scene) -> Tried {
    let name = scene.beside.file_name().and_then(OsStr::to_str).unwrap_or_default();
    list(&scene.root.join("sessions"), name)
}

/// The person's real home, and a name in it.
fn real_home(scene: &Scene) -> io::Result<(&Path, &str)> {
    let untried = || io::Error::new(io::ErrorKind::Unsupported, "there is no home, or nothing in it");
    scene.real_home.as_ref().map(|(home, name)| (home.as_path(), name.as_str())).ok_or_else(untried)
}

pub(super) fn list_real_home(scene: &Scene) -> Tried {
    let (home, name) = real_home(scene)?;
    list(home, name)
}

pub(super) fn read_real_home(scene: &Scene) -> Tried {
    let (home, name) = real_home(scene)?;
    if !name.starts_with(PLANTED) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "nothing could be planted in the home"));
    }
    read(&home.join(name), &scene.daemon.secret)
}

pub(super) fn plant_in_real_home(scene: &Scene) -> Tried {
    let (home, name) = real_home(scene)?;
    if !name.starts_with(PLANTED) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the home cannot be written"));
    }
    plant(home, scene, &format!("{PLANTED}by-adversary-"))
}

pub(super) fn list_real_sessions(scene: &Scene) -> Tried {
    let count = std::fs::read_dir(scene.real_root.join("sessions"))?.count();
    through(format!("{count} names were listed"))
}

/// A file of the real root: the stage is in it.
pub(super) fn read_real_root(scene: &Scene) -> Tried {
    let stage = scene.root.parent().unwrap_or(&scene.root);
    read(&stage.join(PLANTED), &scene.daemon.secret)
}

pub(super) fn stat(scene: &Scene) -> Tried {
    let size = std::fs::metadata(victim(scene, 9))?.len();
    through(format!("its size is {size}"))
}

pub(super) fn chmod(scene: &Scene) -> Tried {
    std::fs::set_permissions(victim(scene, 10), std::fs::Permissions::from_mode(0o666))?;
    through("others may write it now")
}

pub(super) fn utime(scene: &Scene) -> Tried {
    let time = Timespec { tv_sec: 1, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, victim(scene, 11), &times, AtFlags::empty())?;
    through("its time was changed")
}

pub(super) fn set_attribute(scene: &Scene) -> Tried {
    rustix::fs::setxattr(victim(scene, 12), "user.denizen", b"x", XattrFlags::empty())?;
    through("an attribute was set")
}

pub(super) fn truncate(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let path = program.path(&victim(scene, 13));
    program.call(libc::SYS_truncate, &[path, 0.into()]);
    program.run(&scene.own, b"")?;
    through("it is empty now")
}

pub(super) fn unlink(scene: &Scene) -> Tried {
    std::fs::remove_file(victim(scene, 14))?;
    through("it is gone")
}

/// In a child, so that the adversary stays where it is.
pub(super) fn change_directory(scene: &Scene) -> Tried {
    let mut program = CallProgram::default();
    let (dir, file, buffer) = (program.path(&scene.beside), program.path(&scene.sibling.file), program.space(4096));
    program.call(libc::SYS_chdir, &[dir]);
    let fd = program.call(libc::SYS_openat, &[libc::AT_FDCWD.into(), file, 0.into()]);
    let length = program.call(libc::SYS_read, &[fd, buffer, 4096.into()]);
    program.print(buffer, length);
    found(&String::from_utf8_lossy(&program.run(&scene.own, b"")?), &scene.sibling.secret)
}

pub(super) fn watch(scene: &Scene) -> Tried {
    let watches = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watches, &scene.beside, inotify::WatchFlags::ALL_EVENTS)?;
    through("its folder is watched")
}

pub(super) fn path_descriptor(scene: &Scene) -> Tried {
    let dir = rustix::fs::open(&scene.beside, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let below = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
    read(&below.join(&scene.sibling.file), &scene.sibling.secret)
}

/// Asks for a lock that keeps the other session from being used.
pub(super) fn lock(scene: &Scene, name: &str) -> Tried {
    let path = scene.root.join("state/locks").join(name);
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.try_lock().map_err(|error| stopped(error.to_string()))?;
    through("the lock was taken")
}

/// Gives its own folder another name, and the old one back.
pub(super) fn move_own(scene: &Scene) -> Tried {
    let other = scene.root.join("sessions/moved");
    rustix::fs::renameat(CWD, &scene.own, CWD, &other)?;
    rustix::fs::renameat(CWD, &other, CWD, &scene.own)?;
    through("its folder was moved, and back")
}

pub(super) fn make_session(scene: &Scene) -> Tried {
    let dir = scene.root.join("sessions").join(format!("planted-{}", scene.token));
    std::fs::create_dir(&dir)?;
    Ok(Got::Left(dir))
}

/// Reads the disk that its folder is on, by a device file of its own where there
/// is none.
pub(super) fn disk(scene: &Scene) -> Tried {
    let device = std::fs::metadata(&scene.own)?.dev();
    let path = scene.own.join("disk");
    let mut program = CallProgram::default();
    let (text, kind) = (program.path(&path), libc::S_IFBLK | 0o600);
    program.call(libc::SYS_mknodat, &[libc::AT_FDCWD.into(), text, kind.into(), device.into()]);
    program.run(&scene.own, b"")?;
    let mut bytes = [0; 512];
    let read = File::open(&path).and_then(|mut disk| disk.read(&mut bytes));
    std::fs::remove_file(&path)?;
    through(format!("{} bytes were read", read?))
}

/// Where Claude Code keeps what its tasks print, in a directory of its user.
pub(super) fn claude_tmp(scene: &Scene) -> Tried {
    let dir = format!("/tmp/claude-{}", rustix::process::getuid().as_raw());
    read(&Path::new(&dir).join(&scene.token), &scene.daemon.secret)
}
