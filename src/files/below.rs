//! What lies below a directory.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Dir;

/// How deep a provider's own files may lie.
const MAX_DEPTH: usize = 6;

/// All regular files below a directory, by their path in it, at most six levels
/// deep. No link is followed, also where one stands in the directory's own place.
pub fn files_below(dir: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let entries = walkdir::WalkDir::new(dir).follow_root_links(false).max_depth(MAX_DEPTH).into_iter().flatten();
    entries
        .filter(|entry| entry.file_type().is_file())
        .filter_map(move |entry| Some((entry.path().strip_prefix(dir).ok()?.to_owned(), entry.metadata().ok()?)))
}

/// The same of a directory that an agent may change: what its owner may not read,
/// write or enter is opened to them again first.
pub fn own_files_below(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    loop {
        let (mut found, mut closed) = (Vec::new(), Vec::new());
        for entry in walkdir::WalkDir::new(dir).follow_root_links(false).max_depth(MAX_DEPTH) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    closed.extend(error.path().map(Path::to_owned));
                    continue;
                }
            };
            let (is_dir, is_file) = (entry.file_type().is_dir(), entry.file_type().is_file());
            let Some(metadata) = entry.metadata().ok().filter(|_| is_dir || is_file) else { continue };
            let needed = if is_dir { 0o700 } else { 0o600 };
            if metadata.mode() & needed != needed {
                closed.push(entry.path().to_owned());
            }
            if is_file && let Ok(path) = entry.path().strip_prefix(dir) {
                found.push((path.to_owned(), metadata));
            }
        }
        if !restore(dir, &closed) {
            return found;
        }
    }
}

/// Gives their owner the rights on entries below a directory. Returns whether
/// any were missing and could be given.
pub fn restore(dir: &Path, closed: &[PathBuf]) -> bool {
    let Some(opened) = (!closed.is_empty()).then(|| Dir::open_own_dir(dir).ok()).flatten() else { return false };
    let relative = closed.iter().filter_map(|path| path.strip_prefix(dir).ok());
    relative.fold(false, |restored, path| restored | opened.restore_rights(path).unwrap_or(false))
}
