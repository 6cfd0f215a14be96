//! What is mounted over itself so that it stays as it is, in which order, and
//! the check that each mount is where it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::find::{Found, find};
use super::names::Named;
use super::view::{Stands, View};
use super::{Before, GIT, Granted, Known, Outside, TOOLS, absolute, below};
use crate::files::Error;

/// How many mounts are made in each granted directory: bubblewrap takes longer
/// for each the more there are. What is left is compared afterwards.
const MAX_MOUNTS: usize = 120;

/// Whose something is, how deep its working tree lies, and where: in this order
/// things are protected, each repository with all that belongs to it.
type Rank = (bool, usize, PathBuf);

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

/// What was found and noted when a child starts.
#[derive(Debug)]
pub struct Begun {
    /// What is to be mounted over itself, outer directories first.
    pub over: Vec<Over>,
    /// What is to be compared after the child's end.
    pub before: Before,
    /// What the person is to be told.
    pub words: Vec<String>,
}

/// Looks at a granted directory just before a child starts. Without `mounts`
/// nothing is mounted, and all of it is compared.
///
/// # Errors
/// If the directory cannot be opened, or something in it was closed by its owner
/// and cannot be opened again.
pub fn begin(granted: &Granted, mounts: bool, known: &mut Known, outside: &Outside<'_>) -> Result<Begun, Error> {
    // A single file is granted as a whole.
    if granted.path.is_file() {
        let before = Before::absent(granted, BTreeSet::new());
        return Ok(Begun { over: Vec::new(), before, words: Vec::new() });
    }
    let view = View::open(&granted.path)?;
    let found = find(&view, granted, known, &[])?;
    known.begin(&found);
    let named = super::names::named(&view, &granted.path, &found, outside)?;
    let (stay, empty, absent, links) = Default::default();
    let mut sorted = Sorted { view: &view, granted, known, mounts, stay, empty, absent, links };
    sorted.git(&found, &named)?;
    sorted.tools(&found)?;
    let Sorted { stay, empty, absent, links, .. } = sorted;
    let mut before = Before::of(&view, granted, &found)?;
    before.is_inside = named.is_inside;
    before.absent = absent;
    before.links.extend(links);
    before.directories = empty;
    let (over, left) = over(&view, granted, &found, known, &stay, mounts)?;
    let mounted = over.iter().filter(|over| !over.write);
    before.mounted = mounted.filter_map(|over| Some((below(&granted.path, &over.path)?, over.inode))).collect();
    let kept = before.keep(&view, &left)?;
    let at = granted.path.display();
    let mut once = Vec::new();
    if !found.whole {
        once.push(format!(
            "`{at}` holds more than is searched for repositories: those that were found so far are protected, and what lies deeper may not be"
        ));
    }
    if let Some(unnamed) = &found.unnamed {
        let unnamed = granted.path.join(unnamed);
        once.push(format!(
            "`{}` has a name that is not text: a repository below it is not protected",
            unnamed.display()
        ));
    }
    if mounts && !left.is_empty() {
        once.push(format!(
            "there is more to protect in `{at}` than can be mounted: an agent can change the rest, such as `{}`, while it runs, and it is put back afterwards",
            granted.path.join(&left[0]).display()
        ));
    }
    if !kept {
        once.push(format!("there is more to protect in `{at}` than can be noted: the rest of it is not protected"));
    }
    let mut words = opened(&view, &granted.path);
    words.extend(known.tell_once(once));
    Ok(Begun { over, before, words })
}

/// What is said of what was closed.
pub(super) fn opened(view: &View, granted: &Path) -> Vec<String> {
    let opened = view.opened();
    let first = opened.first().map(|path| granted.join(path).components().as_path().to_owned());
    let more = if opened.len() > 1 { format!(", and {} more below", opened.len() - 1) } else { String::new() };
    let words = |path: PathBuf| format!("`{}` was closed to its owner{more}: it is open again", path.display());
    first.map(words).into_iter().collect()
}

/// Everything that has a name to be protected, by what can be done about it.
struct Sorted<'a> {
    view: &'a View,
    granted: &'a Granted,
    known: &'a Known,
    mounts: bool,
    /// What is there and stays as it is.
    stay: BTreeMap<PathBuf, Rank>,
    /// Directories that are empty and are not worth a mount.
    empty: BTreeSet<PathBuf>,
    /// What is not there, and is not to appear.
    absent: BTreeSet<PathBuf>,
    /// Links, which nothing can be mounted over, with where they point.
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Sorted<'_> {
    fn git(&mut self, found: &Found, named: &Named) -> Result<(), Error> {
        if !self.granted.protect.git {
            return Ok(());
        }
        for git_dir in &found.git_dirs {
            let rank = rank(self.known, git_dir);
            let is_linked = found.linked.contains(git_dir);
            for name in GIT {
                let path = git_dir.join(name);
                match self.view.stands(&path)? {
                    Stands::Nothing => {}
                    Stands::Is(FileType::Directory)
                        if ["remotes", "branches"].contains(name) && self.view.list(&path)?.entries.is_empty() =>
                    {
                        self.empty.insert(path);
                        continue;
                    }
                    _ => {
                        self.add(path, &rank)?;
                        continue;
                    }
                }
                let empty = match *name {
                    "gitdir" => continue,
                    "config" | "hooks" | "info/attributes" | "remotes" | "branches" if is_linked => continue,
                    "config" | "hooks" | "info/attributes" => true,
                    "config.worktree" => named.per_worktree,
                    _ => false,
                };
                if empty && self.mounts && self.make_empty(git_dir, name) {
                    self.stay.insert(path, rank.clone());
                } else {
                    self.absent.insert(path);
                }
            }
        }
        for tree in &found.trees {
            let path = tree.join(".git");
            if self.view.kind(&path)?.is_some_and(|kind| kind != FileType::Directory) {
                self.add(path, &rank(self.known, tree))?;
            }
        }
        for path in &named.paths {
            // One that holds a repository would close all of it.
            if !found.git_dirs.iter().chain(&found.trees).any(|inner| inner.starts_with(path)) {
                self.add(path.clone(), &Rank::default())?;
            }
        }
        Ok(())
    }

    fn tools(&mut self, found: &Found) -> Result<(), Error> {
        let trees = found.trees.iter().map(PathBuf::as_path).chain([Path::new("")]);
        for tree in trees.filter(|_| self.granted.protect.tools) {
            let rank = rank(self.known, tree);
            for name in TOOLS {
                self.add(tree.join(name), &rank)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, rank: &Rank) -> Result<(), Error> {
        if self.granted.skip.iter().any(|skip| self.granted.path.join(&path).starts_with(skip)) {
            return Ok(());
        }
        match self.view.stands(&path)? {
            Stands::Nothing => drop(self.absent.insert(path)),
            Stands::Is(FileType::Symlink) => self.add_link(path, rank)?,
            Stands::Is(_) => drop(self.stay.insert(path, rank.clone())),
            // A link on the way is what has to stay.
            Stands::Behind(link) => self.add_link(link, rank)?,
        }
        Ok(())
    }

    fn add_link(&mut self, path: PathBuf, rank: &Rank) -> Result<(), Error> {
        let target = self.view.link(&path);
        let Some((target, text)) = target.as_ref().and_then(|target| Some((target, target.to_str()?))) else {
            return Ok(());
        };
        if self.links.insert(path.clone(), target.clone()).is_some() {
            return Ok(());
        }
        // What it leads to is protected where it lies; a link there too.
        let from = self.granted.path.join(path.parent().unwrap_or(Path::new("")));
        match below(&self.granted.path, &absolute(&from, text)) {
            Some(inner) if !inner.as_os_str().is_empty() => self.add(inner, rank),
            _ => Ok(()),
        }
    }

    /// Makes the empty file or directory that a repository may as well have,
    /// owned like the repository.
    fn make_empty(&self, git_dir: &Path, name: &str) -> bool {
        let Ok(Some(look)) = self.view.look(git_dir) else { return false };
        let Ok(Some(dir)) = self.view.open_dir(git_dir) else { return false };
        let (name, owner) = (Path::new(name), look.owner);
        let above = name.parent().filter(|above| !above.as_os_str().is_empty());
        let made = match (name.to_str(), above) {
            (Some("hooks"), _) => dir.make_dir_for(name, owner),
            (_, Some(above)) => {
                dir.make_dir_for(above, owner).and_then(|()| dir.make_file_for(name, 0o644, owner).map(drop))
            }
            (_, None) => dir.make_file_for(name, 0o644, owner).map(drop),
        };
        self.view.forget();
        made.is_ok()
    }
}

fn rank(known: &Known, path: &Path) -> Rank {
    let tree = if path.ends_with(".git") { path.parent().unwrap_or(path) } else { path };
    (known.is_agents(path), tree.components().count(), tree.to_owned())
}

/// The mounts: what stays read-only, and each directory on the way to it and
/// each repository as it is, so that neither can be moved away. The second part
/// is what there are too many mounts for, in the order of rank.
fn over(
    view: &View,
    granted: &Granted,
    found: &Found,
    known: &Known,
    stay: &BTreeMap<PathBuf, Rank>,
    mounts: bool,
) -> Result<(Vec<Over>, Vec<PathBuf>), Error> {
    // What lies in something that stays needs no mount of its own.
    let inner = |path: &Path| path.ancestors().skip(1).any(|above| stay.contains_key(above));
    let closed = stay.iter().filter(|(path, _)| !inner(path)).map(|(path, rank)| (rank.clone(), path, false));
    let pinned = found.git_dirs.iter().filter(|_| granted.protect.git && mounts);
    let mut wanted: Vec<(Rank, &PathBuf, bool)> =
        closed.chain(pinned.map(|path| (rank(known, path), path, true))).collect();
    wanted.sort();
    let mut chosen: BTreeMap<&Path, bool> = BTreeMap::from([(Path::new(""), true)]);
    let mut left = Vec::new();
    for (_, path, write) in wanted {
        let new: Vec<&Path> = path.ancestors().filter(|above| !chosen.contains_key(above)).collect();
        if !mounts || chosen.len() + new.len() > MAX_MOUNTS + 1 {
            left.extend((!write).then(|| path.to_owned()));
            continue;
        }
        chosen.extend(new.into_iter().map(|above| (above, true)));
        chosen.insert(path, write);
    }
    chosen.remove(Path::new(""));
    let mut over = Vec::new();
    for (path, write) in chosen {
        let look = view.look(path)?;
        over.extend(look.map(|l| Over { path: granted.path.join(path), write, device: l.device, inode: l.inode }));
    }
    over.sort_by_key(|over| over.path.components().count());
    Ok((over, left))
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
    let open = |path: &Path| rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let fd = match open(&over.path) {
        // What another user closed, the child can neither reach nor open again.
        Err(Errno::ACCESS) => {
            let closed = over.path.ancestors().skip(1).find_map(|above| open(above).ok());
            let owner = closed.map(|closed| rustix::fs::fstat(closed).map(|stat| stat.st_uid)).transpose()?;
            return Ok(owner.is_some_and(|owner| owner != rustix::process::geteuid().as_raw()));
        }
        opened => opened?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    let attributes = rustix::fs::statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?.stx_attributes;
    let is_closed = over.write || rustix::fs::fstatvfs(&fd)?.f_flag.contains(StatVfsMountFlags::RDONLY);
    let is_mount = attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok((stat.st_dev, stat.st_ino) == (over.device, over.inode) && is_mount && is_closed)
}
