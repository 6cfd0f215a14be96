//! What stood in a granted directory before a child ran there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::find::Found;
use super::strays::strays;
use super::view::View;
use super::{Granted, below};
use crate::files::Error;
use crate::key::hex;

/// The largest file of which the text is noted, in bytes.
const MAX_TEXT: u64 = 64 * 1024;

/// How many files are noted one by one, for each granted directory.
const MAX_FILES: usize = 500;

/// What stood in a granted directory. Every path is below it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    pub(super) granted: Granted,
    pub(super) git_dirs: BTreeSet<PathBuf>,
    pub(super) trees: BTreeSet<PathBuf>,
    /// Whether the directory lies in a working tree itself.
    #[serde(default)]
    pub(super) is_inside: bool,
    /// The devices and inodes of those repositories and working trees.
    #[serde(default)]
    pub(super) places: BTreeMap<PathBuf, (u64, u64)>,
    /// The repositories that stopped in a rebase that goes on with a command.
    pub(super) rebases: BTreeSet<PathBuf>,
    /// What was not there.
    pub(super) absent: BTreeSet<PathBuf>,
    /// Links, with where they pointed.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    /// What else in a repository led somewhere else.
    #[serde(default)]
    pub(super) strays: BTreeSet<PathBuf>,
    /// What was mounted over itself, with its inode number: whoever replaces it
    /// outside takes the mount away.
    pub(super) mounted: BTreeMap<PathBuf, u64>,
    /// Files that nothing kept as they were.
    pub(super) kept: BTreeMap<PathBuf, Kept>,
    /// The same for directories: what is new in one counts.
    pub(super) directories: BTreeSet<PathBuf>,
}

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    digest: String,
    /// Its content, unless that is large or not text.
    pub(super) text: Option<String>,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// How many names it has.
    #[serde(default = "one")]
    names: u64,
}

fn one() -> u64 {
    1
}

impl Before {
    /// Nothing, or only what was absent.
    pub(super) fn absent(granted: &Granted, absent: BTreeSet<PathBuf>) -> Self {
        Self {
            granted: granted.clone(),
            git_dirs: BTreeSet::new(),
            trees: BTreeSet::new(),
            is_inside: false,
            places: BTreeMap::new(),
            rebases: BTreeSet::new(),
            absent,
            links: BTreeMap::new(),
            strays: BTreeSet::new(),
            mounted: BTreeMap::new(),
            kept: BTreeMap::new(),
            directories: BTreeSet::new(),
        }
    }

    /// Notes the repositories, where they are, and what in them leads elsewhere.
    pub(super) fn of(view: &View, granted: &Granted, found: &Found) -> Result<Self, Error> {
        let mut before = Self::absent(granted, BTreeSet::new());
        (before.git_dirs, before.trees) = (found.git_dirs.clone(), found.trees.clone());
        for path in found.git_dirs.union(&found.trees) {
            before.places.extend(view.identity(path)?.map(|identity| (path.clone(), identity)));
        }
        for git_dir in found.git_dirs.iter().filter(|_| granted.protect.git) {
            for (path, kind) in strays(view, git_dir, &found.git_dirs)?.0 {
                match view.link(&path).filter(|target| kind == FileType::Symlink && target.to_str().is_some()) {
                    Some(target) => drop(before.links.insert(path, target)),
                    None => drop(before.strays.insert(path)),
                }
            }
            if !commands_of_rebase(view, git_dir)?.is_empty() {
                before.rebases.insert(git_dir.clone());
            }
        }
        Ok(before)
    }

    /// Notes the content of what stays, if nothing can be mounted over it, in
    /// this order. Returns whether there was room for all of it.
    pub(super) fn keep(&mut self, view: &View, stay: &[PathBuf]) -> Result<bool, Error> {
        for path in stay {
            if !self.keep_one(view, path)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn keep_one(&mut self, view: &View, path: &Path) -> Result<bool, Error> {
        if self.kept.len() + self.links.len() + self.directories.len() >= MAX_FILES {
            return Ok(false);
        }
        match view.kind(path)? {
            None => {}
            Some(FileType::Directory) => {
                let listing = view.list(path)?;
                for (name, _) in listing.entries.iter().filter(|(name, _)| counts(name)) {
                    if !self.keep_one(view, &path.join(name))? {
                        return Ok(false);
                    }
                }
                // Only if all in it is noted can it be told what is new.
                if listing.whole {
                    self.directories.insert(path.to_owned());
                }
            }
            Some(FileType::Symlink) => {
                self.links.extend(view.link(path).map(|target| (path.to_owned(), target)));
            }
            Some(_) => self.kept.extend(Kept::of(view, path)?.map(|kept| (path.to_owned(), kept))),
        }
        Ok(true)
    }

    /// Whether something lies in a working tree that was there.
    pub(super) fn is_in_tree(&self, path: &Path) -> bool {
        self.is_inside || path.ancestors().any(|above| self.trees.contains(above))
    }

    /// The granted directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.granted.path
    }

    /// Whether this can speak of what lies in a granted directory.
    #[must_use]
    pub fn is_about(&self, granted: &Path) -> bool {
        self.granted.path.starts_with(granted) || granted.starts_with(&self.granted.path)
    }

    /// Takes over what another session noted when it began, as that still runs:
    /// what its child changed since was not the person's doing.
    pub fn defer_to(&mut self, other: &Self) {
        let granted = self.granted.path.clone();
        let ours = |path: &PathBuf| below(&granted, &other.granted.path.join(path));
        for directory in other.directories.iter().filter_map(ours) {
            let is_later = |path: &Path| {
                let theirs = below(&other.granted.path, &granted.join(path)).unwrap_or_default();
                path.parent() == Some(&directory)
                    && !other.kept.contains_key(&theirs)
                    && !other.links.contains_key(&theirs)
                    && !other.directories.contains(&theirs)
            };
            self.directories.retain(|path| !is_later(path));
            self.kept.retain(|path, _| !is_later(path));
            self.links.retain(|path, _| !is_later(path));
        }
        for path in other.absent.iter().filter_map(ours) {
            self.forget(&path);
            self.absent.insert(path);
        }
        for (path, target) in &other.links {
            if let Some(path) = ours(path) {
                self.forget(&path);
                self.links.insert(path, target.clone());
            }
        }
        for (path, kept) in &other.kept {
            if let Some(path) = ours(path) {
                self.forget(&path);
                self.kept.insert(path, kept.clone());
            }
        }
        // What led elsewhere in a repository that it knew, and was not there then.
        let strayed = |path: &Path| {
            let theirs = below(&other.granted.path, &granted.join(path)).unwrap_or_default();
            let is_known = theirs.ancestors().any(|above| other.git_dirs.contains(above));
            is_known && !other.strays.contains(&theirs) && !other.links.contains_key(&theirs)
        };
        self.strays.retain(|path| !strayed(path));
        self.links.retain(|path, _| !strayed(path));
    }

    fn forget(&mut self, path: &Path) {
        self.absent.remove(path);
        self.links.remove(path);
        self.kept.retain(|kept, _| !kept.starts_with(path));
        self.directories.retain(|directory| !directory.starts_with(path));
        self.mounted.retain(|mounted, _| !mounted.starts_with(path));
    }
}

/// Whether git or a tool reads an entry of a directory: examples of hooks it
/// does not.
pub(super) fn counts(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| !name.ends_with(".sample"))
}

impl Kept {
    pub(super) fn of(view: &View, path: &Path) -> Result<Option<Self>, Error> {
        let Some(look) = view.look(path)? else { return Ok(None) };
        let Some(bytes) = view.read(path, u64::from(u32::MAX))? else { return Ok(None) };
        let digest = hex(&Sha256::digest(&bytes));
        let text = String::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= MAX_TEXT);
        Ok(Some(Self { digest, text, mode: look.mode, owner: look.owner, names: look.names }))
    }

    /// Whether it became another: a file with one more name can be written by
    /// that, whatever is mounted over this one.
    pub(super) fn is_same(&self, now: &Self) -> bool {
        (&self.digest, self.mode & 0o111) == (&now.digest, now.mode & 0o111) && now.names <= self.names
    }
}

/// The commands that a rebase goes on with (git-rebase(1), "--exec").
pub(super) fn commands_of_rebase(view: &View, git_dir: &Path) -> Result<Vec<String>, Error> {
    let todo = git_dir.join("rebase-merge/git-rebase-todo");
    if view.kind(&todo)?.is_none() {
        return Ok(Vec::new());
    }
    let bytes = view.read(&todo, 1 << 20)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let commands =
        text.lines().map(str::trim_start).filter_map(|line| line.strip_prefix("exec ").or(line.strip_prefix("x ")));
    Ok(commands.map(str::to_owned).collect())
}
