//! Copying a file to a name that nobody looks at yet.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Durability, Error};

/// Copies a file's content and time of change to a new file, readable by its
/// owner only.
///
/// # Errors
/// Where the source cannot be read, or the target exists or cannot be written.
pub fn copy_new(from: &Path, to: &Path, durability: Durability) -> Result<(), Error> {
    let copy = || -> std::io::Result<()> {
        let mut source = File::open(from)?;
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        std::io::copy(&mut source, &mut target)?;
        target.set_modified(source.metadata()?.modified()?)?;
        if durability == Durability::Power { target.sync_all() } else { Ok(()) }
    };
    copy().map_err(|source| Error::io("copy", from, source))
}
