//! Who may read and change what is in a tree: its owner, and nobody else.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::finding::{Finding, FindingKind, finding};
use crate::files::quoted;

/// Whether a path is its owner's alone: nothing for others, `least` for the
/// owner, and the owner the one of the tree.
pub(super) fn private(path: &Path, least: u32, session: Option<&str>, owner: Option<u32>) -> Option<Finding> {
    accessible(path, 0o077, least, session, owner)
}

/// The same, where others may have what is not in `closed`.
pub(super) fn accessible(
    path: &Path,
    closed: u32,
    least: u32,
    session: Option<&str>,
    owner: Option<u32>,
) -> Option<Finding> {
    let metadata = path.symlink_metadata().ok()?;
    let mode = metadata.mode() & 0o777;
    if let Some(owner) = owner
        && metadata.uid() != owner
    {
        let problem = format!("it belongs to the user {}, and the sessions to {owner}", metadata.uid());
        let remedy = format!("chown -R --reference={} {}", quoted(path.parent().unwrap_or(path)), quoted(path));
        return Some(finding(FindingKind::Owner, session, path, problem).remedy(remedy));
    }
    // What a link may be used for, its target says.
    if metadata.is_symlink() || (mode & closed == 0 && mode & least == least) {
        return None;
    }
    let problem = if mode & closed == 0 {
        format!("its owner may not use it (mode {mode:o})")
    } else {
        format!("others may use it (mode {mode:o})")
    };
    let remedy = if metadata.is_dir() { "chmod u=rwx,go=" } else { "chmod u=rw,go=" };
    Some(finding(FindingKind::Permissions, session, path, problem).remedy(format!("{remedy} {}", quoted(path))))
}
