//! Copying a file to a name that nobody looks at yet.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{Durability, Error};

/// Copies a file's content and time of change to a new file, which only its
/// owner can read, and run where he could run the source.
///
/// # Errors
/// If the source cannot be read, or the target exists or cannot be written.
pub fn copy_new(from: &Path, to: &Path, durability: Durability) -> Result<(), Error> {
    let opened = File::open(from).map_err(|source| Error::io("copy", from, source))?;
    copy_open(opened, from, to, durability)
}

/// Copies an open file, whose path is for messages only, as [`copy_new`] does.
///
/// # Errors
/// If the source cannot be read, or the target exists or cannot be written.
pub fn copy_open(mut source: File, from: &Path, to: &Path, durability: Durability) -> Result<(), Error> {
    let mut copy = || -> std::io::Result<()> {
        let metadata = source.metadata()?;
        let mode = 0o600 | (metadata.mode() & 0o100);
        let mut target = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
        std::io::copy(&mut source, &mut target)?;
        target.set_modified(metadata.modified()?)?;
        if durability == Durability::Power { target.sync_all() } else { Ok(()) }
    };
    copy().map_err(|source| Error::io("copy", from, source))
}
