//! Finding the repositories in a directory, without following a link and
//! without looking at everything: breadth first, so what lies deepest is what a
//! very large tree may hide.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::{Granted, gitconfig, named, resolve};
use crate::files::Dir;

/// How many directories are listed at most, for each granted directory.
const MAX_DIRECTORIES: usize = 1_000;

/// How many entries they may have together.
const MAX_ENTRIES: usize = 20_000;

/// How many repositories are taken in, with their submodules and worktrees.
const MAX_REPOSITORIES: usize = 200;

/// Directories that tools fill with very many others, and that are only looked
/// into if they hold a repository themselves.
const FILLED: &[&str] = &["node_modules", "target", ".venv", "venv", "__pycache__"];

/// The largest configuration of git that is read, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// The largest `.git` file or `commondir`, in bytes.
const MAX_POINTER: u64 = 4096;

/// How deep a submodule's name may nest, and files include one another.
const MAX_DEPTH: usize = 8;

/// What was found. Every path is below the granted directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The directories that hold repositories: `.git`, a bare one, and those
    /// of submodules and linked worktrees.
    pub(super) git_dirs: BTreeSet<PathBuf>,
    /// Of those, the ones whose hooks and attributes lie in another.
    pub(super) linked: BTreeSet<PathBuf>,
    /// The directories that one works in, with the granted one itself.
    pub(super) trees: BTreeSet<PathBuf>,
    /// What a configuration names as a program, or as a file or directory that
    /// names programs.
    pub(super) named: BTreeSet<PathBuf>,
    /// Where each `.git` that is a file or link points in the granted directory.
    pub(super) targets: BTreeMap<PathBuf, PathBuf>,
    /// Whether a repository has a configuration for each of its working trees.
    pub(super) worktree_config: bool,
    /// Whether everything was looked at.
    pub(super) whole: bool,
}

/// Finds them.
pub(super) fn find(dir: &Dir, granted: &Granted) -> Found {
    let mut search =
        Search { dir, granted, found: Found { whole: true, ..Found::default() }, directories: 0, entries: 0 };
    search.found.trees.insert(PathBuf::new());
    search.walk();
    search.found
}

/// The entries of a repository's configuration, with those of the files of the
/// granted directory that it includes.
pub(super) fn configuration(dir: &Dir, granted: &Path, git_dir: &Path) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    for name in ["config", "config.worktree"] {
        read_configuration(dir, granted, &git_dir.join(name), 0, &mut entries);
    }
    entries
}

fn read_configuration(dir: &Dir, granted: &Path, file: &Path, depth: usize, entries: &mut Vec<(String, String)>) {
    let Ok(bytes) = dir.read(file, MAX_CONFIG) else { return };
    for (key, value) in gitconfig::entries(&String::from_utf8_lossy(&bytes)) {
        let includes = key == "include.path" || key.starts_with("includeif.") && key.ends_with(".path");
        let from = file.parent().unwrap_or(Path::new(""));
        let included = resolve(granted, from, &value).filter(|_| includes && depth < MAX_DEPTH);
        entries.push((key, value));
        if let Some(included) = included {
            read_configuration(dir, granted, &included, depth + 1, entries);
        }
    }
}

struct Search<'a> {
    dir: &'a Dir,
    granted: &'a Granted,
    found: Found,
    directories: usize,
    entries: usize,
}

impl Search<'_> {
    fn walk(&mut self) {
        let mut next = VecDeque::from([PathBuf::new()]);
        while let Some(path) = next.pop_front() {
            let Some(entries) = self.list(&path) else { continue };
            if let Some((_, kind)) = entries.iter().find(|(name, _)| name == ".git") {
                self.tree(&path, *kind);
            }
            if is_repository(&entries) {
                self.git_dir(path);
                continue;
            }
            for (name, _) in entries.iter().filter(|(name, kind)| *kind == FileType::Directory && name != ".git") {
                let below = path.join(name);
                let is_filled = FILLED.iter().any(|filled| name == filled);
                if !self.is_skipped(&below) && (!is_filled || self.kind(&below.join(".git")).is_some()) {
                    next.push_back(below);
                }
            }
        }
    }

    fn list(&mut self, path: &Path) -> Option<Vec<(OsString, FileType)>> {
        if self.directories == MAX_DIRECTORIES || self.entries > MAX_ENTRIES {
            self.found.whole = false;
            return None;
        }
        self.directories += 1;
        let mut entries = self.dir.open_dir(named(path)).and_then(|dir| dir.kinds()).ok()?;
        self.entries += entries.len();
        // A path that is not text can be written down nowhere.
        entries.retain(|(name, _)| name.to_str().is_some());
        Some(entries)
    }

    fn is_skipped(&self, path: &Path) -> bool {
        !self.granted.skip.is_empty() && {
            let path = self.granted.path.join(path);
            self.granted.skip.iter().any(|skip| path.starts_with(skip))
        }
    }

    fn kind(&self, path: &Path) -> Option<FileType> {
        self.dir.look(path).ok().flatten().map(|look| look.kind)
    }

    /// What a small file of one line, or a link, points at.
    fn pointer(&self, file: &Path, prefix: &str) -> Option<PathBuf> {
        let from = file.parent().unwrap_or(Path::new(""));
        if let Ok(target) = self.dir.read_link(file) {
            return resolve(&self.granted.path, from, target.to_str()?);
        }
        let bytes = self.dir.read(file, MAX_POINTER).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        resolve(&self.granted.path, from, text.strip_prefix(prefix)?.trim())
    }

    /// A directory with a `.git` in it.
    fn tree(&mut self, path: &Path, kind: FileType) {
        if self.is_skipped(path) || self.found.trees.len() > MAX_REPOSITORIES {
            self.found.whole &= self.is_skipped(path);
            return;
        }
        self.found.trees.insert(path.to_owned());
        let git = path.join(".git");
        match kind {
            FileType::Directory => self.git_dir(git),
            FileType::Symlink => self.pointed(git, ""),
            _ => self.pointed(git, "gitdir:"),
        }
    }

    fn pointed(&mut self, git: PathBuf, prefix: &str) {
        if let Some(target) = self.pointer(&git, prefix) {
            self.found.targets.insert(git, target.clone());
            self.git_dir(target);
        }
    }

    /// A directory that holds a repository.
    fn git_dir(&mut self, path: PathBuf) {
        if self.is_skipped(&path) || self.kind(named(&path)) != Some(FileType::Directory) {
            return;
        }
        if self.found.git_dirs.len() == MAX_REPOSITORIES {
            self.found.whole = false;
            return;
        }
        if !self.found.git_dirs.insert(path.clone()) {
            return;
        }
        if let Some(common) = self.pointer(&path.join("commondir"), "") {
            self.found.linked.insert(path.clone());
            self.git_dir(common);
        }
        self.names(&path);
        for worktree in self.children(&path.join("worktrees")) {
            // The file names the worktree's `.git`.
            if let Some(tree) = self.pointer(&worktree.join("gitdir"), "") {
                self.tree_of(tree.parent());
            }
            self.git_dir(worktree);
        }
        self.modules(&path.join("modules"), 0);
    }

    fn tree_of(&mut self, tree: Option<&Path>) {
        if let Some(tree) = tree
            && !self.found.trees.contains(tree)
            && let Some(kind) = self.kind(&tree.join(".git"))
        {
            self.tree(tree, kind);
        }
    }

    /// The repositories of submodules; a name may have slashes.
    fn modules(&mut self, path: &Path, depth: usize) {
        for child in self.children(path) {
            if self.kind(&child.join("HEAD")).is_some() {
                self.git_dir(child);
            } else if depth < MAX_DEPTH {
                self.modules(&child, depth + 1);
            }
        }
    }

    fn children(&mut self, path: &Path) -> Vec<PathBuf> {
        if self.kind(path) != Some(FileType::Directory) {
            return Vec::new();
        }
        let entries = self.list(path).unwrap_or_default();
        let directories = entries.into_iter().filter(|(_, kind)| *kind == FileType::Directory);
        directories.map(|(name, _)| path.join(name)).collect()
    }

    /// What the configuration of a repository names in the granted directory.
    fn names(&mut self, git_dir: &Path) {
        let entries = configuration(self.dir, &self.granted.path, git_dir);
        self.found.worktree_config |=
            entries.iter().any(|(key, value)| key == "extensions.worktreeconfig" && value != "false");
        let worktree = entries.iter().find(|(key, _)| key == "core.worktree");
        let worktree = worktree.and_then(|(_, value)| resolve(&self.granted.path, git_dir, value));
        self.tree_of(worktree.as_deref());
        // A program runs in the working tree; an included file is named from its own place.
        let mut bases = vec![git_dir.to_owned()];
        bases.extend(git_dir.parent().filter(|_| git_dir.file_name() == Some(OsStr::new(".git"))).map(Path::to_owned));
        bases.extend(worktree);
        for (key, value) in &entries {
            let is_file = key == "core.attributesfile";
            if !is_file && !gitconfig::runs(key, value) {
                continue;
            }
            let is_path =
                is_file || ["core.hookspath", "include.path"].contains(&key.as_str()) || key.starts_with("includeif.");
            let words: Vec<&str> = if is_path { vec![value] } else { value.split_whitespace().collect() };
            for word in words {
                let word = word.trim_matches(|c: char| "!'\"();&|".contains(c));
                for path in bases.iter().filter_map(|base| resolve(&self.granted.path, base, word)) {
                    let wanted = match self.kind(named(&path)) {
                        Some(FileType::Directory) => is_path && !word.is_empty(),
                        Some(FileType::RegularFile) => true,
                        // What is not there is looked for afterwards.
                        None => is_path,
                        _ => false,
                    };
                    if wanted && !path.as_os_str().is_empty() && !self.is_skipped(&path) {
                        self.found.named.insert(path);
                    }
                }
            }
        }
    }
}

/// Whether the entries are those of a repository without a working tree, as git
/// tells one from another directory.
fn is_repository(entries: &[(OsString, FileType)]) -> bool {
    ["HEAD", "objects", "refs"].iter().all(|wanted| entries.iter().any(|(name, _)| name == wanted))
}
