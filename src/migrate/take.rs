//! Taking files along: copies of regular files of this user, and of nothing else.

use std::path::Path;

use super::importer::LegacyError;
use crate::files::{self, Dir, Durability, make_private_dir};

/// How deep a directory is gone into.
const MAX_DEPTH: usize = 16;

/// Copies one file to a name that is not there yet, with the directories above.
///
/// # Errors
/// If it cannot be copied.
pub(super) fn take_file(from: &Path, to: &Path) -> Result<(), LegacyError> {
    let (Some(dir), Some(name)) = (from.parent(), from.file_name()) else { return Ok(()) };
    if let Some(parent) = to.parent().filter(|parent| !parent.is_dir()) {
        make_private_dir(parent, Durability::Process)?;
    }
    let (file, _) = Dir::open(dir)?.open_own(Path::new(name), u64::MAX)?;
    Ok(files::copy_open(file, from, to, Durability::Process)?)
}

/// Copies what is in a directory. Links, devices, what belongs to others and
/// what has several names is not of this user's own making, and is left out.
///
/// # Errors
/// If the target cannot be written.
pub(super) fn take_tree(from: &Path, to: &Path) -> Result<(), LegacyError> {
    match Dir::open(from) {
        Ok(dir) if dir.check_own().is_ok() => take_dir(&dir, to, 0),
        _ => Ok(()),
    }
}

fn take_dir(dir: &Dir, to: &Path, depth: usize) -> Result<(), LegacyError> {
    make_private_dir(to, Durability::Process)?;
    if depth == MAX_DEPTH {
        return Ok(());
    }
    for name in dir.names().unwrap_or_default() {
        let name = Path::new(&name);
        if let Ok(below) = dir.open_dir(name) {
            take_dir(&below, &to.join(name), depth + 1)?;
        } else if let Ok((file, _)) = dir.open_own(name, u64::MAX) {
            files::copy_open(file, &dir.path().join(name), &to.join(name), Durability::Process)?;
        }
    }
    Ok(())
}
