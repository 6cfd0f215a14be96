//! A granted directory as it stands, each directory in it listed once. No link
//! is followed. What an agent closed to its owner is opened again: a thing that
//! cannot be looked at never counts as missing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::named;
use crate::files::{Dir, Error, FileLook, Kinds};

/// How many entries of one directory are listed at most.
const MAX_ENTRIES: usize = 20_000;

/// An open granted directory.
#[derive(Debug)]
pub(super) struct View {
    dir: Dir,
    listings: RefCell<BTreeMap<PathBuf, Rc<Listing>>>,
    opened: RefCell<BTreeSet<PathBuf>>,
}

/// The entries of a directory, by name.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) entries: Kinds,
    /// Whether these are all.
    pub(super) whole: bool,
}

impl Listing {
    pub(super) fn kind(&self, name: &OsStr) -> Option<FileType> {
        let at = self.entries.binary_search_by(|(entry, _)| entry.as_os_str().cmp(name)).ok()?;
        self.entries.get(at).map(|(_, kind)| *kind)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.kind(OsStr::new(name)).is_some()
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stands {
    Nothing,
    Is(FileType),
    /// The way there leads through this link.
    Behind(PathBuf),
}

impl View {
    /// # Errors
    /// If the directory cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let (dir, restored) = Dir::open_restored(path)?;
        let opened = restored.then(PathBuf::new);
        Ok(Self {
            dir: dir.with_hard_links(),
            listings: RefCell::default(),
            opened: RefCell::new(opened.into_iter().collect()),
        })
    }

    /// What was closed to its owner.
    pub(super) fn opened(&self) -> BTreeSet<PathBuf> {
        self.opened.borrow().clone()
    }

    /// Does something with what an agent may have closed, if need be with the
    /// owner's rights given back. What is another user's, no agent has closed.
    fn reach<T>(&self, path: &Path, act: impl Fn() -> Result<T, Error>) -> Result<Option<T>, Error> {
        let error = match act() {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error,
        };
        match error.os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ACCESS) => {
                if self.dir.restore_rights(named(path)).is_ok_and(|restored| restored) {
                    self.opened.borrow_mut().insert(path.to_owned());
                    return act().map(Some);
                }
                let euid = rustix::process::geteuid().as_raw();
                let is_own =
                    |path: &Path| self.dir.look(named(path)).is_ok_and(|l| l.is_some_and(|l| l.owner.0 == euid));
                if path.ancestors().all(is_own) { Err(error) } else { Ok(None) }
            }
            // What the machine lacks for a moment is not what is there.
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Err(error),
            _ => Ok(None),
        }
    }

    /// The entries of a directory; nothing if there is none, or only another
    /// user may see them.
    pub(super) fn list(&self, path: &Path) -> Result<Rc<Listing>, Error> {
        if let Some(listing) = self.listings.borrow().get(path) {
            return Ok(Rc::clone(listing));
        }
        let listed = self.reach(path, || self.dir.open_dir(named(path))?.kinds(MAX_ENTRIES))?;
        let listing = listed.map(|(mut entries, whole)| {
            entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            Listing { entries, whole }
        });
        let listing = Rc::new(listing.unwrap_or_else(|| Listing { whole: true, ..Listing::default() }));
        self.listings.borrow_mut().insert(path.to_owned(), Rc::clone(&listing));
        Ok(listing)
    }

    /// Forgets what was listed, as something was changed.
    pub(super) fn forget(&self) {
        self.listings.borrow_mut().clear();
    }

    /// What stands at a path below the directory.
    pub(super) fn stands(&self, path: &Path) -> Result<Stands, Error> {
        let mut kind = FileType::Directory;
        let mut above = PathBuf::new();
        for name in path.components() {
            match kind {
                FileType::Directory => {}
                FileType::Symlink => return Ok(Stands::Behind(above)),
                _ => return Ok(Stands::Nothing),
            }
            let listing = self.list(&above)?;
            above.push(name);
            let found = match listing.kind(name.as_os_str()) {
                None if !listing.whole => self.look(&above)?.map(|look| look.kind),
                found => found,
            };
            let Some(found) = found else { return Ok(Stands::Nothing) };
            kind = found;
        }
        Ok(Stands::Is(kind))
    }

    /// The kind of what stands at a path that leads through no link.
    pub(super) fn kind(&self, path: &Path) -> Result<Option<FileType>, Error> {
        Ok(match self.stands(path)? {
            Stands::Is(kind) => Some(kind),
            Stands::Nothing | Stands::Behind(_) => None,
        })
    }

    pub(super) fn is_dir(&self, path: &Path) -> Result<bool, Error> {
        Ok(self.kind(path)? == Some(FileType::Directory))
    }

    /// More about what stands at a path.
    pub(super) fn look(&self, path: &Path) -> Result<Option<FileLook>, Error> {
        self.reach(path, || self.dir.look(named(path))).map(Option::flatten)
    }

    /// Which device and inode stand at a path.
    pub(super) fn identity(&self, path: &Path) -> Result<Option<(u64, u64)>, Error> {
        Ok(self.look(path)?.map(|look| (look.device, look.inode)))
    }

    /// The bytes of a regular file; `None` if it is no such file, or too large.
    pub(super) fn read(&self, path: &Path, cap: u64) -> Result<Option<Vec<u8>>, Error> {
        self.reach(path, || self.dir.read(path, cap))
    }

    /// Where a link points, as text.
    pub(super) fn link(&self, path: &Path) -> Option<PathBuf> {
        self.dir.read_link(path).ok()
    }

    /// An open directory below this one, the directory itself too.
    pub(super) fn open_dir(&self, path: &Path) -> Result<Option<Dir>, Error> {
        self.reach(path, || self.dir.open_dir(named(path)))
    }

    /// The directories in a directory.
    pub(super) fn directories(&self, path: &Path) -> Result<Vec<PathBuf>, Error> {
        if !self.is_dir(path)? {
            return Ok(Vec::new());
        }
        let is_named = |(name, kind): &&(OsString, FileType)| *kind == FileType::Directory && name.to_str().is_some();
        Ok(self.list(path)?.entries.iter().filter(is_named).map(|(name, _)| path.join(name)).collect())
    }
}
