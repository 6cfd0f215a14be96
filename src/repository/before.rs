//! What stood in a granted directory before a child ran there, and what is done
//! about what stands there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::find::{Found, configuration, find};
use super::{Granted, gitconfig, named};
use crate::files::{Dir, Error};
use crate::key::hex;

/// The largest file of which the text is noted, in bytes.
const MAX_TEXT: u64 = 64 * 1024;

/// How many files are noted one by one, for each granted directory.
const MAX_FILES: usize = 500;

/// How many of the things that a repository would run are named.
const MAX_NAMED: usize = 8;

/// What stood in a granted directory. Every path is below it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    granted: Granted,
    git_dirs: BTreeSet<PathBuf>,
    trees: BTreeSet<PathBuf>,
    /// The repositories that stopped in a rebase that goes on with a command.
    rebases: BTreeSet<PathBuf>,
    /// What was not there.
    pub(super) absent: Vec<PathBuf>,
    /// Links, with where they pointed.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    /// What was mounted over itself, with its inode number: whoever replaces it
    /// outside takes the mount away.
    pub(super) mounted: BTreeMap<PathBuf, u64>,
    /// Files that nothing kept as they were.
    kept: BTreeMap<PathBuf, Kept>,
    /// The same for directories: what is new in one counts.
    directories: BTreeSet<PathBuf>,
}

/// What was done afterwards, in words for the person.
pub type Settled = Vec<String>;

/// Moves what stands at a name in an open directory to where a person finds it,
/// and returns where that is.
type SetAside<'a> = dyn FnMut(&Dir, &Path) -> Result<PathBuf, Error> + 'a;

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    digest: String,
    /// Its content, unless that is large or not text.
    text: Option<String>,
    mode: u32,
    owner: (u32, u32),
}

impl Before {
    pub(super) fn nothing(granted: &Granted) -> Self {
        Self::of_found(granted, BTreeSet::new(), BTreeSet::new())
    }

    pub(super) fn of(granted: &Granted, found: &Found) -> Self {
        Self::of_found(granted, found.git_dirs.clone(), found.trees.clone())
    }

    fn of_found(granted: &Granted, git_dirs: BTreeSet<PathBuf>, trees: BTreeSet<PathBuf>) -> Self {
        Self {
            granted: granted.clone(),
            git_dirs,
            trees,
            rebases: BTreeSet::new(),
            absent: Vec::new(),
            links: BTreeMap::new(),
            mounted: BTreeMap::new(),
            kept: BTreeMap::new(),
            directories: BTreeSet::new(),
        }
    }

    /// Notes the rebases that are under way.
    pub(super) fn note_rebases(&mut self, dir: &Dir) {
        self.rebases =
            self.git_dirs.iter().filter(|git_dir| !commands_of_rebase(dir, git_dir).is_empty()).cloned().collect();
    }

    /// Notes the content of what stays, if nothing can be mounted over it.
    pub(super) fn keep(&mut self, dir: &Dir, stay: &BTreeSet<PathBuf>) {
        let mut next: Vec<PathBuf> = stay.iter().cloned().collect();
        while let Some(path) = next.pop() {
            if self.kept.len() == MAX_FILES {
                return;
            }
            let Ok(Some(look)) = dir.look(&path) else { continue };
            match look.kind {
                FileType::Directory => {
                    let entries = dir.open_dir(&path).and_then(|dir| dir.kinds()).unwrap_or_default();
                    next.extend(entries.into_iter().filter(|(name, _)| counts(name)).map(|(name, _)| path.join(name)));
                    self.directories.insert(path);
                }
                FileType::Symlink => {
                    if let Ok(target) = dir.read_link(&path) {
                        self.links.insert(path, target);
                    }
                }
                _ => {
                    if let Some(kept) = Kept::of(dir, &path) {
                        self.kept.insert(path, kept);
                    }
                }
            }
        }
    }

    /// Sets aside what appeared or changed, puts back what was there, and tells
    /// of the repositories that were made.
    #[must_use]
    pub fn settle(&self, aside: &mut SetAside<'_>) -> Settled {
        let Ok(dir) = Dir::open(&self.granted.path) else { return Vec::new() };
        let mut after = After { before: self, dir: dir.with_hard_links(), aside, words: Vec::new() };
        for path in &self.absent {
            after.appeared(path);
        }
        for (path, target) in &self.links {
            after.link(path, target);
        }
        for path in self.git_dirs.iter().filter(|path| !path.as_os_str().is_empty()) {
            if after.kind(path).is_some_and(|kind| kind != FileType::Directory) {
                after.appeared(path);
            }
        }
        for (path, inode) in &self.mounted {
            after.replaced(path, *inode);
        }
        for (path, kept) in &self.kept {
            after.file(path, kept);
        }
        for path in &self.directories {
            after.directory(path);
        }
        if self.granted.protect.git {
            after.repositories();
        }
        after.words
    }
}

/// Whether git or a tool reads an entry of a directory: examples of hooks it
/// does not.
fn counts(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| !name.ends_with(".sample"))
}

impl Kept {
    fn of(dir: &Dir, path: &Path) -> Option<Self> {
        let look = dir.look(path).ok().flatten()?;
        let bytes = dir.read(path, u64::from(u32::MAX)).ok()?;
        let digest = hex(&Sha256::digest(&bytes));
        let text = String::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= MAX_TEXT);
        Some(Self { digest, text, mode: look.mode, owner: look.owner })
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.digest, self.mode & 0o111) == (&other.digest, other.mode & 0o111)
    }
}

struct After<'a, 'b> {
    before: &'a Before,
    dir: Dir,
    aside: &'a mut SetAside<'b>,
    words: Vec<String>,
}

impl After<'_, '_> {
    fn kind(&self, path: &Path) -> Option<FileType> {
        self.dir.look(named(path)).ok().flatten().map(|look| look.kind)
    }

    fn shown(&self, path: &Path) -> String {
        format!("`{}`", self.before.granted.path.join(path).display())
    }

    /// Moves away what stands at a path. Returns the directory that it was in
    /// and where it is, or says why it is still there.
    fn set_aside(&mut self, path: &Path) -> Option<(Dir, String)> {
        let parent = self.dir.open_dir(named(path.parent()?)).ok()?;
        let name = Path::new(path.file_name()?);
        match (self.aside)(&parent, name) {
            Ok(kept) => Some((parent, format!("`{}`", kept.display()))),
            Err(error) => {
                let what = self.shown(path);
                let error = crate::causes::with_causes(&error);
                self.words.push(format!("{what} is new or changed, programs of yours may run what it says, and it could not be set aside: {error}"));
                None
            }
        }
    }

    fn appeared(&mut self, path: &Path) {
        if self.kind(path).is_some()
            && let Some((_, kept)) = self.set_aside(path)
        {
            let what = self.shown(path);
            self.words.push(format!(
                "{what} is new, and programs of yours would run what it says: it was moved to {kept}; move it back if you want it"
            ));
        }
    }

    fn replaced(&mut self, path: &Path, inode: u64) {
        if self.dir.look(path).ok().flatten().is_some_and(|look| look.inode != inode) {
            let what = self.shown(path);
            let runs = if path.ends_with("config") { self.runs(path.parent().unwrap_or(path)) } else { Vec::new() };
            let runs =
                if runs.is_empty() { String::new() } else { format!(" ({})", told(&runs.into_iter().collect())) };
            self.words.push(format!(
                "{what} was replaced from outside while the agent worked, which could write it from then on: if you are not sure that it is as you left it, look at it{runs}"
            ));
        }
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

    fn link(&mut self, path: &Path, target: &Path) {
        if self.kind(path).is_none() || self.dir.read_link(path).is_ok_and(|now| now == target) {
            return;
        }
        if let Some((parent, kept)) = self.set_aside(path) {
            let name = path.file_name().map(Path::new).unwrap_or(path);
            let done = parent.link(name, target);
            self.put_back(path, &kept, done);
        }
    }

    fn file(&mut self, path: &Path, before: &Kept) {
        if self.kind(path).is_none() || Kept::of(&self.dir, path).is_some_and(|now| before.is_same(&now)) {
            return;
        }
        if let Some((parent, kept)) = self.set_aside(path) {
            let Some(text) = &before.text else {
                let what = self.shown(path);
                self.words.push(format!(
                    "{what} was changed, and programs of yours run what it says: it was moved to {kept}"
                ));
                return;
            };
            let name = path.file_name().map(Path::new).unwrap_or(path);
            let done = parent.make_file_for(name, before.mode, before.owner).and_then(|mut file| {
                file.write_all(text.as_bytes()).map_err(|source| Error::io("write", &parent.path().join(name), source))
            });
            self.put_back(path, &kept, done);
        }
    }

    fn directory(&mut self, path: &Path) {
        let before = self.before;
        let entries = self.dir.open_dir(path).and_then(|dir| dir.kinds()).unwrap_or_default();
        for path in entries.into_iter().filter(|(name, _)| counts(name)).map(|(name, _)| path.join(name)) {
            let is_known = before.kept.contains_key(&path)
                || before.links.contains_key(&path)
                || before.directories.contains(&path);
            if !is_known && before.kept.len() < MAX_FILES {
                self.appeared(&path);
            }
        }
    }

    fn repositories(&mut self) {
        let before = self.before;
        let found = find(&self.dir, &before.granted);
        let is_new = |path: &Path| found.git_dirs.contains(path) && !before.git_dirs.contains(path);
        for git_dir in found.git_dirs.iter().filter(|path| is_new(path)) {
            // A submodule's comes with the one that it is part of.
            if git_dir.ancestors().skip(1).any(is_new) {
                continue;
            }
            let place = if git_dir.file_name() == Some(OsStr::new(".git")) { git_dir.parent() } else { None };
            let what = self.shown(place.unwrap_or(git_dir));
            let below = found.git_dirs.iter().filter(|path| path.starts_with(git_dir));
            let runs: BTreeSet<String> = below.flat_map(|git_dir| self.runs(git_dir)).collect();
            self.words.push(format!("a repository was made in {what}: {}", told(&runs)));
        }
        for tree in found.trees.difference(&before.trees) {
            let git = tree.join(".git");
            let is_pointer = self.kind(&git).is_some_and(|kind| kind != FileType::Directory);
            if is_pointer && !found.targets.contains_key(&git) {
                let what = self.shown(tree);
                self.words.push(format!("{what} was made the working tree of a repository that lies elsewhere: look at its `.git` before you use git there"));
            }
        }
        for git_dir in found.git_dirs.difference(&before.rebases) {
            let commands = commands_of_rebase(&self.dir, git_dir);
            if !commands.is_empty() && before.git_dirs.contains(git_dir) {
                let what = self.shown(git_dir);
                self.words.push(format!(
                    "a rebase was left unfinished in {what}: `git rebase --continue` would run {}",
                    commands.iter().take(MAX_NAMED).map(|command| shortened(command)).collect::<Vec<_>>().join(", ")
                ));
            }
        }
    }

    /// What git would run in a repository: keys of its configuration, and hooks.
    fn runs(&self, git_dir: &Path) -> Vec<String> {
        let entries = configuration(&self.dir, &self.before.granted.path, git_dir);
        let mut runs: Vec<String> =
            entries.iter().filter(|(key, value)| gitconfig::runs(key, value)).map(|(key, _)| shortened(key)).collect();
        let hooks = git_dir.join("hooks");
        let names = self.dir.open_dir(&hooks).and_then(|dir| dir.kinds()).unwrap_or_default();
        for (name, kind) in names.into_iter().filter(|(name, _)| counts(name)) {
            let is_executable =
                |path: &Path| self.dir.look(path).is_ok_and(|look| look.is_some_and(|look| look.mode & 0o111 != 0));
            if kind == FileType::Symlink || is_executable(&hooks.join(&name)) {
                runs.push(shortened(&format!("hooks/{}", name.display())));
            }
        }
        if self.kind(&hooks) == Some(FileType::Symlink) {
            runs.push("`hooks`".to_owned());
        }
        runs
    }
}

fn told(runs: &BTreeSet<String>) -> String {
    if runs.is_empty() {
        return "git runs nothing from it".to_owned();
    }
    let mut names: Vec<&str> = runs.iter().take(MAX_NAMED).map(String::as_str).collect();
    if runs.len() > MAX_NAMED {
        names.push("…");
    }
    format!("git would run what is in it when you use it there: {}", names.join(", "))
}

/// An agent's words, as part of a sentence.
fn shortened(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control() && *c != '`').take(60).collect();
    format!("`{plain}`")
}

/// The commands that a rebase goes on with (git-rebase(1), "--exec").
fn commands_of_rebase(dir: &Dir, git_dir: &Path) -> Vec<String> {
    let Ok(bytes) = dir.read(&git_dir.join("rebase-merge/git-rebase-todo"), 1 << 20) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes);
    let commands =
        text.lines().map(str::trim_start).filter_map(|line| line.strip_prefix("exec ").or(line.strip_prefix("x ")));
    commands.map(str::to_owned).collect()
}
