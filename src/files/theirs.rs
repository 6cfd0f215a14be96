//! Replacing a file that is the person's own, and which other programs of
//! theirs read and write.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::{Dir, Error};

/// Replaces a regular file whole, and leaves it the mode and the owner that it
/// has. `path` is free of links. Where its directory refuses that, as one does
/// in which the file alone is mounted, the file is written over.
///
/// # Errors
/// If it does not exist, or can be written in neither way.
pub fn replace_theirs(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::io("replace", path, Errno::INVAL));
    };
    let old = std::fs::symlink_metadata(path).map_err(|source| Error::io("look at", path, source))?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".denizen-");
    let dir = Dir::open(parent)?;
    remove_left(&dir, prefix.as_bytes());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    prefix.push(format!("{}-{}", std::process::id(), now.as_nanos()));
    let temporary = parent.join(prefix);
    let replaced = write_like(&old, &temporary, bytes).and_then(|()| rustix::fs::rename(&temporary, path));
    match replaced {
        Ok(()) => dir.sync(),
        Err(errno) => {
            let _removed = rustix::fs::unlink(&temporary);
            match errno {
                Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::BUSY | Errno::XDEV => write_over(path, bytes),
                errno => Err(Error::io("replace", path, errno)),
            }
        }
    }
}

/// Writes a new file with the mode and the owner of another.
fn write_like(old: &std::fs::Metadata, path: &Path, bytes: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = File::from(rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?);
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let new = file.metadata().map_err(errno)?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        rustix::fs::fchown(&file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(old.mode()))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(errno)
}

/// Writes over a file. What is cut off last is what was longer.
fn write_over(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = || -> std::io::Result<()> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
        file.write_all_at(bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    written().map_err(|source| Error::io("write over", path, source))
}

/// Removes temporaries whose process was killed.
fn remove_left(dir: &Dir, prefix: &[u8]) {
    for name in dir.names().unwrap_or_default() {
        let Some(rest) = name.as_bytes().strip_prefix(prefix) else { continue };
        let pid: String = rest.iter().map(|byte| char::from(*byte)).take_while(char::is_ascii_digit).collect();
        if !pid.is_empty() && !PathBuf::from(format!("/proc/{pid}")).exists() {
            // What stays is removed the next time.
            let _removed = rustix::fs::unlinkat(dir.fd(), &name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that the person has")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn mode_and_owner_stay_and_what_a_killed_process_left_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("auth.json");
        std::fs::write(&path, "old, and longer").expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("a mode");
        let root = rustix::process::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(&path, Some(4711), Some(4712)).expect("an owner");
        }
        std::fs::write(dir.path().join(".auth.json.denizen-4194305-1"), "left").expect("written");
        replace_theirs(&path, b"new").expect("replaced");
        let new = path.metadata().expect("its metadata");
        assert_eq!((std::fs::read(&path).expect("readable"), new.mode() & 0o7777), (b"new".to_vec(), 0o640));
        if root {
            assert_eq!((new.uid(), new.gid()), (4711, 4712));
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("auth.json");
        std::fs::write(&path, "old, and longer").expect("written");
        write_over(&path, b"new").expect("written");
        assert_eq!(std::fs::read(&path).expect("readable"), b"new");
    }
}
