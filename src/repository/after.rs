//! What is done about what stands in a granted directory after a child ran there:
//! what appeared or changed is set aside, what was there is put back, and the
//! person is told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::before::{Kept, counts};
use super::find::{Found, find};
use super::known::Known;
use super::made::told;
use super::protect::opened;
use super::strays::strays;
use super::view::{Stands, View};
use super::{Before, below};
use crate::files::{Dir, Error};

/// The largest file that is put back as it is without its other names, in bytes.
const MAX_COPY: u64 = 64 << 20;

/// What was done afterwards.
#[derive(Debug, Default)]
pub struct Settled {
    /// In words for the person.
    pub words: Vec<String>,
    /// What is to be tried again.
    pub left: Option<Before>,
}

/// Moves what stands at a name in an open directory to where a person finds it,
/// and returns where that is.
type SetAside<'a> = dyn FnMut(&Dir, &Path) -> Result<PathBuf, Error> + 'a;

/// Sets aside what appeared or changed since, puts back what was there, and tells
/// of the repositories that were made, which are known from then on.
#[must_use]
pub fn settle(before: &Before, known: &mut Known, aside: &mut SetAside<'_>) -> Settled {
    let granted = &before.granted.path;
    let failed = |error: &Error| Settled {
        words: vec![format!(
            "what was left in `{}` could not be looked at: {}",
            granted.display(),
            crate::causes::with_causes(error)
        )],
        left: Some(before.clone()),
    };
    let is_gone = matches!(granted.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    if is_gone || granted.is_file() {
        return Settled::default();
    }
    let view = match View::open(granted) {
        Ok(view) => view,
        Err(error) => return failed(&error),
    };
    let (moved, words, left) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
    let mut after = After { before, view, aside, moved, words, left };
    let done = after.all(known);
    let mut settled = Settled { words: opened(&after.view, granted), left: None };
    settled.words.append(&mut after.words);
    match done {
        Ok(()) => {
            let left = std::mem::take(&mut after.left);
            settled.left = (!left.is_empty()).then(|| Before::absent(&before.granted, left));
        }
        Err(error) => {
            let failed = failed(&error);
            settled.words.extend(failed.words);
            settled.left = failed.left;
        }
    }
    settled
}

pub(super) struct After<'a, 'b> {
    pub(super) before: &'a Before,
    pub(super) view: View,
    aside: &'a mut SetAside<'b>,
    /// Repositories and working trees that lie elsewhere by now.
    moved: BTreeMap<PathBuf, PathBuf>,
    pub(super) words: Vec<String>,
    /// What could not be set aside.
    left: BTreeSet<PathBuf>,
}

impl After<'_, '_> {
    fn all(&mut self, known: &mut Known) -> Result<(), Error> {
        let before = self.before;
        // A link in the place of one, or of what it lies in, would hide all below it.
        for path in before.places.keys() {
            if self.kind(path)?.is_some_and(|kind| kind != FileType::Directory) {
                self.set_aside_new(path)?;
            }
        }
        let linked = self.linked_repositories()?;
        let found = find(&self.view, &before.granted, known, &linked)?;
        self.find_moved(&found)?;
        known.follow(&self.moved);
        for path in &before.absent {
            self.appeared(&self.at(path))?;
        }
        for (path, target) in &before.links {
            self.link(&self.at(path), target)?;
        }
        for (path, inode) in &before.mounted {
            self.replaced(path, *inode)?;
        }
        for (path, kept) in &before.kept {
            self.file(&self.at(path), kept)?;
        }
        for path in &before.directories {
            self.directory(path)?;
        }
        if before.granted.protect.git {
            self.strays()?;
            self.repositories(&found)?;
        }
        known.end(&found);
        Ok(())
    }

    /// Where what was at a path lies now.
    fn at(&self, path: &Path) -> PathBuf {
        let moved = path.ancestors().find_map(|above| Some((above, self.moved.get(above)?)));
        let place =
            moved.map(|(above, now)| path.strip_prefix(above).map_or_else(|_| now.clone(), |rest| now.join(rest)));
        place.map_or_else(|| path.to_owned(), |place| place.components().collect())
    }

    /// Whether a repository or a working tree was not there.
    pub(super) fn is_new(&self, path: &Path) -> bool {
        let was = self.before.git_dirs.contains(path) || self.before.trees.contains(path);
        (!was || self.moved.contains_key(path)) && !self.moved.values().any(|now| now == path)
    }

    /// What was moved is the person's where it lies now.
    fn find_moved(&mut self, found: &Found) -> Result<(), Error> {
        let mut missing = BTreeMap::new();
        for (path, identity) in &self.before.places {
            if self.view.identity(path)? != Some(*identity) {
                missing.insert(*identity, path);
            }
        }
        for path in found.git_dirs.union(&found.trees).filter(|_| !missing.is_empty()) {
            if let Some(was) = self.view.identity(path)?.and_then(|identity| missing.get(&identity)) {
                self.moved.insert((*was).clone(), path.clone());
            }
        }
        Ok(())
    }

    /// What stands at a path. A link on the way that was not there is set aside.
    pub(super) fn kind(&mut self, path: &Path) -> Result<Option<FileType>, Error> {
        loop {
            match self.view.stands(path)? {
                Stands::Is(kind) => return Ok(Some(kind)),
                Stands::Nothing => return Ok(None),
                Stands::Behind(link) if self.before.links.contains_key(&link) => return Ok(None),
                Stands::Behind(link) => {
                    if !self.set_aside_new(&link)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    pub(super) fn shown(&self, path: &Path) -> String {
        format!("`{}`", self.before.granted.path.join(path).components().as_path().display())
    }

    /// Moves away what stands at a path. Returns the directory that it was in
    /// and where it is, or says why it is still there.
    pub(super) fn set_aside(&mut self, path: &Path) -> Result<Option<(Dir, String)>, Error> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let Some(parent) = self.view.open_dir(above)? else { return Ok(None) };
        let moved = (self.aside)(&parent, Path::new(name));
        self.view.forget();
        match moved {
            Ok(kept) => Ok(Some((parent, format!("`{}`", kept.display())))),
            Err(error) => {
                let what = self.shown(path);
                let error = crate::causes::with_causes(&error);
                if self.left.insert(path.to_owned()) {
                    self.words.push(format!("{what} is new or changed, programs of yours may run what it says, and it could not be set aside: {error}"));
                }
                Ok(None)
            }
        }
    }

    fn set_aside_new(&mut self, path: &Path) -> Result<bool, Error> {
        let Some((_, kept)) = self.set_aside(path)? else { return Ok(false) };
        let what = self.shown(path);
        self.words.push(format!(
            "{what} is new, and programs of yours would run what it says: it was moved to {kept}; move it back if you want it"
        ));
        Ok(true)
    }

    fn appeared(&mut self, path: &Path) -> Result<(), Error> {
        if self.kind(path)?.is_some() {
            self.set_aside_new(path)?;
        }
        Ok(())
    }

    fn replaced(&mut self, path: &Path, inode: u64) -> Result<(), Error> {
        if self.view.look(path)?.is_some_and(|look| look.inode != inode) {
            let what = self.shown(path);
            let runs =
                if path.ends_with("config") { self.runs(path.parent().unwrap_or(path))? } else { BTreeSet::new() };
            let runs = if runs.is_empty() { String::new() } else { format!(" ({})", told(&runs)) };
            self.words.push(format!(
                "{what} was replaced from outside while the agent worked, which could write it from then on: if you are not sure that it is as you left it, look at it{runs}"
            ));
        }
        Ok(())
    }

    fn put_back(&mut self, path: &Path, kept: &str, done: Result<(), Error>) {
        let what = self.shown(path);
        let now = match done {
            Ok(()) => "it is as it was before".to_owned(),
            Err(error) => format!("it could not be put back: {}", crate::causes::with_causes(&error)),
        };
        self.words.push(format!(
            "{what} was changed, and programs of yours run what it says: {now}, and what it became is in {kept}"
        ));
    }

    fn link(&mut self, path: &Path, target: &Path) -> Result<(), Error> {
        if self.kind(path)?.is_none() || self.view.link(path).is_some_and(|now| now == target) {
            return Ok(());
        }
        if let Some((parent, kept)) = self.set_aside(path)? {
            let name = path.file_name().map(Path::new).unwrap_or(path);
            let done = parent.with_rights(|| parent.link(name, target));
            self.put_back(path, &kept, done);
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, before: &Kept) -> Result<(), Error> {
        if self.kind(path)?.is_none() || Kept::of(&self.view, path)?.is_some_and(|now| before.is_same(&now)) {
            return Ok(());
        }
        if let Some((parent, kept)) = self.set_aside(path)? {
            let Some(text) = &before.text else {
                let what = self.shown(path);
                self.words.push(format!(
                    "{what} was changed, and programs of yours run what it says: it was moved to {kept}"
                ));
                return Ok(());
            };
            let name = path.file_name().map(Path::new).unwrap_or(path);
            let done = write_new(&parent, name, text.as_bytes(), before.mode, before.owner);
            self.put_back(path, &kept, done);
        }
        Ok(())
    }

    fn directory(&mut self, was: &Path) -> Result<(), Error> {
        let before = self.before;
        let path = self.at(was);
        if self.kind(&path)? != Some(FileType::Directory) {
            return Ok(());
        }
        let listing = self.view.list(&path)?;
        for (name, _) in listing.entries.iter().filter(|(name, _)| counts(name)) {
            let was = was.join(name);
            let is_known =
                before.kept.contains_key(&was) || before.links.contains_key(&was) || before.directories.contains(&was);
            if !is_known {
                self.appeared(&path.join(name))?;
            }
        }
        Ok(())
    }

    /// What in a repository leads somewhere else now.
    fn strays(&mut self) -> Result<(), Error> {
        let before = self.before;
        let now: BTreeSet<PathBuf> = before.git_dirs.iter().map(|path| self.at(path)).collect();
        for was in &before.git_dirs {
            let git_dir = self.at(was);
            if self.kind(&git_dir)? != Some(FileType::Directory) {
                continue;
            }
            let (found, whole) = strays(&self.view, &git_dir, &now)?;
            if !whole {
                let what = self.shown(&git_dir);
                self.words.push(format!(
                    "{what} holds more directories than are looked at: links in it may lead your git to other files of yours"
                ));
            }
            for (path, kind) in found {
                let was = below(&git_dir, &path).map_or_else(|| path.clone(), |rest| was.join(rest));
                if !before.strays.contains(&was) && !before.links.contains_key(&was) {
                    self.stray(&path, kind)?;
                }
            }
        }
        Ok(())
    }

    fn stray(&mut self, path: &Path, kind: FileType) -> Result<(), Error> {
        let what = self.shown(path);
        // Without its other names, a file does no harm.
        let content = match (kind, self.view.look(path)?) {
            (FileType::RegularFile, Some(look)) => self.view.read(path, MAX_COPY)?.map(|bytes| (bytes, look)),
            _ => None,
        };
        let Some((parent, kept)) = self.set_aside(path)? else { return Ok(()) };
        let name = path.file_name().map(Path::new).unwrap_or(path);
        let copied = content.map(|(bytes, look)| write_new(&parent, name, &bytes, look.mode, look.owner));
        let word = match (kind, copied) {
            (FileType::RegularFile, Some(Ok(()))) => {
                format!(
                    "{what} had got another name, by which it could be changed: it is a copy now, and the file itself is in {kept}"
                )
            }
            (_, Some(Err(error))) => {
                format!(
                    "{what} had got another name: it was moved to {kept} and could not be copied back: {}",
                    crate::causes::with_causes(&error)
                )
            }
            _ => format!(
                "{what} is new, and your git would read or write something else through it: it was moved to {kept}"
            ),
        };
        self.words.push(word);
        self.view.forget();
        Ok(())
    }
}

fn write_new(parent: &Dir, name: &Path, bytes: &[u8], mode: u32, owner: (u32, u32)) -> Result<(), Error> {
    parent.with_rights(|| {
        let mut file = parent.make_file_for(name, mode, owner)?;
        file.write_all(bytes).map_err(|source| Error::io("write", &parent.path().join(name), source))
    })
}
