//! What lies below a directory.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

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
