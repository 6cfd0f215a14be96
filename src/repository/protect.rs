//! What is mounted over itself so that it stays as it is, in which order, and
//! the check that each mount is where it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::find::{Found, find};
use super::{Before, GIT, Granted, TOOLS, named};
use crate::files::{Dir, Error};

/// How many mounts are made in each granted directory: bubblewrap takes longer
/// for each the more there are. What is left is compared afterwards.
const MAX_MOUNTS: usize = 60;

/// A file or directory that is mounted over itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// The file or directory, absolute.
    pub path: PathBuf,
    /// Whether it can be written: then only its name is kept.
    pub write: bool,
    /// The number of the device that it lies on.
    pub device: u64,
    /// Its inode number on that device.
    pub inode: u64,
}

/// Looks at a granted directory just before a child starts. Returns what is to
/// be mounted over itself, outer directories first, and what is to be compared
/// after the child's end. Without `mounts` nothing is mounted, and all of it is
/// compared.
///
/// # Errors
/// If the directory cannot be opened.
pub fn begin(granted: &Granted, mounts: bool) -> Result<(Vec<Over>, Before), Error> {
    let dir = match Dir::open(&granted.path) {
        // A single file is granted as a whole.
        Err(_) if granted.path.is_file() => return Ok((Vec::new(), Before::nothing(granted))),
        opened => opened?.with_hard_links(),
    };
    let found = find(&dir, granted);
    let mut sorted =
        Sorted { dir: &dir, granted, mounts, stay: BTreeSet::new(), absent: Vec::new(), links: BTreeMap::new() };
    sorted.git(&found);
    sorted.tools(&found);
    let Sorted { stay, absent, links, .. } = sorted;
    let mut before = Before::of(granted, &found);
    (before.absent, before.links) = (absent, links);
    before.note_rebases(&dir);
    let (over, left) = if mounts { over(&dir, granted, &found, stay) } else { (Vec::new(), stay) };
    let mounted = over.iter().filter(|over| !over.write);
    before.mounted =
        mounted.filter_map(|over| Some((over.path.strip_prefix(&granted.path).ok()?.to_owned(), over.inode))).collect();
    before.keep(&dir, &left);
    Ok((over, before))
}

/// Everything that has a name to be protected, by what can be done about it.
struct Sorted<'a> {
    dir: &'a Dir,
    granted: &'a Granted,
    mounts: bool,
    /// What is there and stays as it is.
    stay: BTreeSet<PathBuf>,
    /// What is not there, and is not to appear.
    absent: Vec<PathBuf>,
    /// Links, which nothing can be mounted over, with where they point.
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Sorted<'_> {
    fn git(&mut self, found: &Found) {
        if !self.granted.protect.git {
            return;
        }
        for git_dir in &found.git_dirs {
            let is_linked = found.linked.contains(git_dir);
            for name in GIT {
                let path = git_dir.join(name);
                if !self.is_missing(&path) {
                    self.add(path);
                    continue;
                }
                let empty = match *name {
                    "gitdir" => continue,
                    "config" | "hooks" | "info/attributes" if is_linked => continue,
                    "config" | "hooks" | "info/attributes" => true,
                    "config.worktree" => found.worktree_config,
                    _ => false,
                };
                if empty && self.mounts && self.make_empty(git_dir, name) {
                    self.stay.insert(path);
                } else {
                    self.absent.push(path);
                }
            }
        }
        for tree in &found.trees {
            let path = tree.join(".git");
            if self.dir.look(&path).is_ok_and(|look| look.is_some_and(|look| look.kind != FileType::Directory)) {
                self.add(path);
            }
        }
        for path in &found.named {
            // One that holds a repository would close all of it.
            if !found.git_dirs.iter().chain(&found.trees).any(|inner| inner.starts_with(path)) {
                self.add(path.clone());
            }
        }
    }

    fn tools(&mut self, found: &Found) {
        if self.granted.protect.tools {
            for tree in &found.trees {
                TOOLS.iter().for_each(|name| self.add(tree.join(name)));
            }
        }
    }

    fn add(&mut self, path: PathBuf) {
        if self.granted.skip.iter().any(|skip| self.granted.path.join(&path).starts_with(skip)) {
            return;
        }
        match self.dir.look(&path) {
            Ok(None) => self.absent.push(path),
            Ok(Some(look)) if look.kind == FileType::Symlink => {
                let Ok(target) = self.dir.read_link(&path) else { return };
                if target.to_str().is_none() {
                    return;
                }
                let from = path.parent().unwrap_or(Path::new(""));
                let inner = target.to_str().and_then(|target| super::resolve(&self.granted.path, from, target));
                self.links.insert(path, target);
                // What it leads to is protected where it lies; a link there too.
                if let Some(inner) =
                    inner.filter(|inner| !inner.as_os_str().is_empty() && !self.links.contains_key(inner))
                {
                    self.add(inner);
                }
            }
            Ok(Some(_)) => {
                self.stay.insert(path);
            }
            Err(_) => {
                // A link on the way is what has to stay.
                let is_link = |path: &&Path| {
                    self.dir.look(path).is_ok_and(|look| look.is_some_and(|look| look.kind == FileType::Symlink))
                };
                if let Some(link) = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).find(is_link)
                {
                    self.add(link.to_owned());
                }
            }
        }
    }

    fn is_missing(&self, path: &Path) -> bool {
        self.dir.look(path).is_ok_and(|look| look.is_none())
    }

    /// Makes the empty file or directory that a repository may as well have,
    /// owned like the repository.
    fn make_empty(&self, git_dir: &Path, name: &str) -> bool {
        let Ok(Some(look)) = self.dir.look(named(git_dir)) else { return false };
        let Ok(dir) = self.dir.open_dir(named(git_dir)) else { return false };
        let (name, owner) = (Path::new(name), look.owner);
        let above = name.parent().filter(|above| !above.as_os_str().is_empty());
        let made = match (name.to_str(), above) {
            (Some("hooks"), _) => dir.make_dir_for(name, owner),
            (_, Some(above)) => {
                dir.make_dir_for(above, owner).and_then(|()| dir.make_file_for(name, 0o644, owner).map(drop))
            }
            (_, None) => dir.make_file_for(name, 0o644, owner).map(drop),
        };
        made.is_ok()
    }
}

/// The mounts: what stays read-only, and each directory on the way to it and
/// each repository as it is, so that neither can be moved away; what lies least
/// deep first. The second part is what there are too many mounts for.
fn over(dir: &Dir, granted: &Granted, found: &Found, stay: BTreeSet<PathBuf>) -> (Vec<Over>, BTreeSet<PathBuf>) {
    // What lies in something that stays needs no mount of its own.
    let inner = |path: &Path| path.ancestors().skip(1).any(|above| stay.contains(above));
    let closed = stay.iter().filter(|path| !inner(path)).map(|path| (path.as_path(), false));
    let pinned = found.git_dirs.iter().filter(|_| granted.protect.git).map(|path| (path.as_path(), true));
    let mut wanted: Vec<(&Path, bool)> = closed.chain(pinned).collect();
    wanted.sort_by_key(|(path, _)| path.components().count());
    let mut mounts: BTreeMap<&Path, bool> = BTreeMap::from([(Path::new(""), true)]);
    let mut left = BTreeSet::new();
    for (path, write) in wanted {
        let new: Vec<&Path> = path.ancestors().filter(|above| !mounts.contains_key(above)).collect();
        if mounts.len() + new.len() > MAX_MOUNTS + 1 {
            left.extend((!write).then(|| path.to_owned()));
            continue;
        }
        mounts.extend(new.into_iter().map(|above| (above, true)));
        mounts.insert(path, write);
    }
    mounts.remove(Path::new(""));
    let mut over: Vec<Over> = mounts
        .into_iter()
        .filter_map(|(path, write)| {
            let look = dir.look(path).ok().flatten()?;
            Some(Over { path: granted.path.join(path), write, device: look.device, inode: look.inode })
        })
        .collect();
    over.sort_by_key(|over| over.path.components().count());
    (over, left)
}

/// Checks, where the mounts were made, that each stands where it should: a
/// directory on the way may have been exchanged for a link meanwhile.
///
/// # Errors
/// With the first path that is something else.
pub fn check(over: &[Over]) -> Result<(), PathBuf> {
    match over.iter().find(|over| !is_in_place(over).unwrap_or(false)) {
        Some(over) => Err(over.path.clone()),
        None => Ok(()),
    }
}

fn is_in_place(over: &Over) -> rustix::io::Result<bool> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat2(CWD, &over.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // An agent may have closed a directory of its own to everybody; that must not
        // stop its session, and what it cannot reach it cannot change.
        Err(Errno::ACCESS) => return Ok(true),
        opened => opened?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    let attributes = rustix::fs::statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?.stx_attributes;
    let is_closed = over.write || rustix::fs::fstatvfs(&fd)?.f_flag.contains(StatVfsMountFlags::RDONLY);
    let is_mount = attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok((stat.st_dev, stat.st_ino) == (over.device, over.inode) && is_mount && is_closed)
}
