//! Finding the repositories in a directory: those that are known wherever they
//! are, then the others, breadth first and without looking at everything, so
//! what lies deepest is what a very large tree may hide.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::known::Known;
use super::view::{Listing, View};
use super::{Granted, absolute, below};
use crate::files::Error;

/// How many directories are listed at most, for each granted directory.
const MAX_DIRECTORIES: usize = 1_000;

/// How many entries they may have together.
const MAX_ENTRIES: usize = 20_000;

/// How many repositories are taken in, with their submodules and worktrees.
pub(super) const MAX_REPOSITORIES: usize = 200;

/// Directories that tools fill with very many others, and that are only looked
/// into if they hold a repository themselves.
const FILLED: &[&str] = &["node_modules", "target", ".venv", "venv", "__pycache__"];

/// The largest `.git` file or `commondir`, in bytes.
pub(super) const MAX_POINTER: u64 = 4096;

/// How deep a submodule's name may nest.
const MAX_DEPTH: usize = 8;

/// What was found. Every path is below the granted directory, unless it says
/// otherwise.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The directories that hold repositories: `.git`, a bare one, and those
    /// of submodules and linked worktrees.
    pub(super) git_dirs: BTreeSet<PathBuf>,
    /// Of those, the ones whose hooks and attributes lie in another.
    pub(super) linked: BTreeSet<PathBuf>,
    /// The working trees: directories with a `.git`.
    pub(super) trees: BTreeSet<PathBuf>,
    /// Where each `.git` that is a file or link points. Absolute.
    pub(super) targets: BTreeMap<PathBuf, PathBuf>,
    /// What is known and is not looked at here.
    pub(super) skipped: BTreeSet<PathBuf>,
    /// The first directory whose name is not text: nothing below it is known.
    pub(super) unnamed: Option<PathBuf>,
    /// Whether everything else was looked at.
    pub(super) whole: bool,
}

/// Finds what is known, what lies in certain directories, and what a search
/// finds.
///
/// # Errors
/// If something was closed by its owner and cannot be opened again.
pub(super) fn find(view: &View, granted: &Granted, known: &Known, places: &[PathBuf]) -> Result<Found, Error> {
    let found = Found { whole: true, ..Found::default() };
    let mut search = Search { view, granted, found, directories: 0, entries: 0 };
    for path in known.trees() {
        if view.is_dir(path)? {
            search.tree(path)?;
        }
    }
    for path in known.git_dirs() {
        search.git_dir(path.to_owned())?;
    }
    for path in places {
        search.look(path)?;
    }
    let skipped = known.trees().into_iter().chain(known.git_dirs()).filter(|path| search.is_skipped(path));
    search.found.skipped = skipped.map(Path::to_owned).collect();
    search.walk()?;
    Ok(search.found)
}

/// What the one line of a small file says, or where a link points. Absolute.
pub(super) fn pointer(view: &View, granted: &Path, file: &Path, prefix: &str) -> Result<Option<PathBuf>, Error> {
    let from = granted.join(file.parent().unwrap_or(Path::new("")));
    match view.kind(file)? {
        Some(FileType::Symlink) => Ok(view.link(file).and_then(|target| Some(absolute(&from, target.to_str()?)))),
        Some(FileType::RegularFile) => {
            let bytes = view.read(file, MAX_POINTER)?.unwrap_or_default();
            let text = String::from_utf8(bytes).ok();
            Ok(text.and_then(|text| Some(absolute(&from, text.strip_prefix(prefix)?.trim()))))
        }
        _ => Ok(None),
    }
}

struct Search<'a> {
    view: &'a View,
    granted: &'a Granted,
    found: Found,
    directories: usize,
    entries: usize,
}

impl Search<'_> {
    fn walk(&mut self) -> Result<(), Error> {
        let mut next = VecDeque::from([PathBuf::new()]);
        while let Some(path) = next.pop_front() {
            if self.directories == MAX_DIRECTORIES || self.entries > MAX_ENTRIES {
                self.found.whole = false;
                break;
            }
            self.directories += 1;
            let listing = self.view.list(&path)?;
            self.entries += listing.entries.len();
            self.found.whole &= listing.whole;
            let is_git_dir = self.look(&path)?;
            for (name, _) in listing.entries.iter().filter(|(_, kind)| *kind == FileType::Directory) {
                let below = path.join(name);
                let Some(text) = name.to_str() else {
                    self.found.unnamed.get_or_insert(below);
                    continue;
                };
                if text == ".git" || is_git_dir && ["objects", "refs"].contains(&text) || self.is_skipped(&below) {
                    continue;
                }
                // Of what holds a repository, the rest is no less the person's.
                if !FILLED.contains(&text) || self.view.list(&below)?.has(".git") {
                    next.push_back(below);
                }
            }
        }
        Ok(())
    }

    /// Takes in what a directory is by itself, and returns whether it holds a
    /// repository without being a working tree.
    fn look(&mut self, path: &Path) -> Result<bool, Error> {
        if !self.view.is_dir(path)? {
            return Ok(false);
        }
        let listing = self.view.list(path)?;
        if listing.has(".git") {
            self.tree(path)?;
        }
        let is_git_dir = is_repository(&listing);
        if is_git_dir {
            self.git_dir(path.to_owned())?;
        }
        Ok(is_git_dir)
    }

    fn is_skipped(&self, path: &Path) -> bool {
        !self.granted.skip.is_empty() && {
            let path = self.granted.path.join(path);
            self.granted.skip.iter().any(|skip| path.starts_with(skip))
        }
    }

    fn pointer(&self, file: &Path, prefix: &str) -> Result<Option<PathBuf>, Error> {
        pointer(self.view, &self.granted.path, file, prefix)
    }

    /// The same, if that lies below the granted directory.
    fn inner(&self, file: &Path, prefix: &str) -> Result<Option<PathBuf>, Error> {
        Ok(self.pointer(file, prefix)?.and_then(|path| below(&self.granted.path, &path)))
    }

    /// A directory that is a working tree, whatever its `.git` is by now.
    fn tree(&mut self, path: &Path) -> Result<(), Error> {
        if self.found.trees.contains(path) {
            return Ok(());
        }
        if self.is_skipped(path) || self.found.trees.len() > MAX_REPOSITORIES {
            self.found.whole &= self.is_skipped(path);
            return Ok(());
        }
        self.found.trees.insert(path.to_owned());
        let git = path.join(".git");
        let kind = self.view.kind(&git)?;
        if kind == Some(FileType::Directory) {
            return self.git_dir(git);
        }
        let prefix = if kind == Some(FileType::Symlink) { "" } else { "gitdir:" };
        if let Some(target) = self.pointer(&git, prefix)? {
            self.found.targets.insert(git, target.clone());
            below(&self.granted.path, &target).map_or(Ok(()), |target| self.git_dir(target))?;
        }
        Ok(())
    }

    /// A directory that holds a repository, as far as one can see or as it did
    /// before.
    fn git_dir(&mut self, path: PathBuf) -> Result<(), Error> {
        if self.found.git_dirs.contains(&path) || self.is_skipped(&path) || !self.view.is_dir(&path)? {
            return Ok(());
        }
        if self.found.git_dirs.len() == MAX_REPOSITORIES {
            self.found.whole = false;
            return Ok(());
        }
        self.found.git_dirs.insert(path.clone());
        if self.view.kind(&path.join("commondir"))?.is_some() {
            self.found.linked.insert(path.clone());
            if let Some(common) = self.inner(&path.join("commondir"), "")? {
                self.git_dir(common)?;
            }
        }
        for worktree in self.view.directories(&path.join("worktrees"))? {
            // The file names the worktree's `.git`.
            if let Some(git) = self.inner(&worktree.join("gitdir"), "")? {
                self.tree_of(git.parent())?;
            }
            self.git_dir(worktree)?;
        }
        if let Some(worktree) = super::names::worktree(self.view, &self.granted.path, &path)? {
            self.tree_of(Some(&worktree))?;
        }
        self.modules(&path.join("modules"), 0)
    }

    fn tree_of(&mut self, tree: Option<&Path>) -> Result<(), Error> {
        match tree {
            Some(tree) if self.view.kind(&tree.join(".git"))?.is_some() => self.tree(tree),
            _ => Ok(()),
        }
    }

    /// The repositories of submodules; a name may have slashes.
    fn modules(&mut self, path: &Path, depth: usize) -> Result<(), Error> {
        for child in self.view.directories(path)? {
            if self.found.git_dirs.contains(&child) {
                continue;
            }
            if self.view.list(&child)?.has("HEAD") {
                self.git_dir(child)?;
            } else if depth < MAX_DEPTH && child.file_name() != Some(OsStr::new("objects")) {
                self.modules(&child, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Whether a directory holds a repository without a working tree, as git tells
/// one from another directory.
fn is_repository(listing: &Listing) -> bool {
    listing.has("HEAD") && (listing.has("commondir") || listing.has("objects") && listing.has("refs"))
}
