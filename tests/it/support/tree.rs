//! Everything below a directory as a value that two looks can be compared by.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands below some directories: kind, mode, inode, time of change and
/// content, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<PathBuf, String>);

impl Tree {
    /// Everything below these paths; one that is not there is nothing.
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let mut tree = BTreeMap::new();
        for path in paths.iter().filter(|path| path.symlink_metadata().is_ok()) {
            for entry in walkdir::WalkDir::new(path) {
                let entry = entry.expect("an entry");
                let metadata = entry.metadata().expect("its metadata");
                let is_dir = metadata.is_dir();
                // The time of a directory says no more than what is in it.
                let time = if is_dir { 0 } else { metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec() };
                let content = if metadata.is_symlink() {
                    fs_err::read_link(entry.path()).expect("a target").display().to_string()
                } else if metadata.is_file() && metadata.len() < 10_000_000 {
                    String::from_utf8_lossy(&fs_err::read(entry.path()).expect("a readable file")).into_owned()
                } else {
                    metadata.len().to_string()
                };
                let content = if is_dir { String::new() } else { content };
                let line = format!("{:o} {} {time} {content}", metadata.mode(), metadata.ino());
                tree.insert(entry.path().to_owned(), line);
            }
        }
        Self(tree)
    }

    /// A root, without what only says who waits or works: lock files, and
    /// directories of the state in which nothing is.
    pub(crate) fn of_root(root: &Path) -> Self {
        let mut tree = Self::of(&[root.to_owned()]);
        let state = root.join("state");
        tree.0.retain(|path, _| !path.starts_with(state.join("locks")));
        let files: Vec<PathBuf> = tree.0.keys().cloned().collect();
        let is_dir = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let holds = |dir: &Path| files.iter().any(|path| path.starts_with(dir) && !is_dir(path));
        tree.0.retain(|path, _| !path.starts_with(&state) || holds(path));
        tree
    }

    /// How this differs from a later look.
    pub(crate) fn changes(&self, later: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (path, was) in &self.0 {
            match later.0.get(path) {
                None => changes.push(format!("gone: {}", path.display())),
                Some(is) if is != was => changes.push(format!("changed: {}: {was} -> {is}", path.display())),
                Some(_) => {}
            }
        }
        let new = later.0.keys().filter(|path| !self.0.contains_key(*path));
        changes.extend(new.map(|path| format!("new: {}", path.display())));
        changes
    }

    /// Fails where a later look shows anything else.
    #[track_caller]
    pub(crate) fn assert_same(&self, later: &Self, after: &str) {
        let changes = self.changes(later);
        assert!(changes.is_empty(), "{after} changed: {changes:#?}");
    }
}

/// Copies a directory to if nothing is, links as links.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.expect("an entry");
        let target = to.join(entry.path().strip_prefix(from).expect("a path below"));
        if entry.file_type().is_dir() {
            fs_err::create_dir(&target).expect("a directory");
            let mode = entry.metadata().expect("its metadata").permissions();
            fs_err::set_permissions(&target, mode).expect("a mode");
        } else if entry.file_type().is_symlink() {
            let link = fs_err::read_link(entry.path()).expect("a link");
            fs_err::os::unix::fs::symlink(link, &target).expect("a link");
        } else {
            fs_err::copy(entry.path(), &target).expect("a copy");
        }
    }
}
