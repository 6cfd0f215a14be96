//! The stamp of a file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Timespec, Timestamps};

/// A second, in nanoseconds.
pub const SECOND: i128 = 1_000_000_000;

/// What tells two versions of a file apart without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The inode number: every atomic replacement changes it.
    pub inode: u64,
    /// The size, in bytes.
    pub size: u64,
    /// The time of the last change of content, in nanoseconds since 1970.
    pub modified: i128,
    /// The time of the last change of content or inode, in nanoseconds since 1970.
    pub changed: i128,
}

impl Stamp {
    /// The whole second of the last change of content, which is all that rsync
    /// compares beside the size.
    #[must_use]
    pub fn second(&self) -> i128 {
        self.modified.div_euclid(SECOND)
    }
}

/// Gives a file the time of change of a whole second.
///
/// # Errors
/// If the operating system refuses.
pub fn set_second(file: &File, second: i128) -> io::Result<()> {
    let time = Timespec { tv_sec: i64::try_from(second).unwrap_or(i64::MAX), tv_nsec: 0 };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })?)
}

fn nanos(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * SECOND + i128::from(nanoseconds)
}

impl From<&rustix::fs::Stat> for Stamp {
    fn from(stat: &rustix::fs::Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: nanos(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed: nanos(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
