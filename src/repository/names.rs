//! What the configuration of git names in a granted directory: programs, and
//! files and directories that name programs. Configuration counts wherever it
//! lies: in the repositories of the directory, in one outside that has a working
//! tree there, in the one around it, and in what holds for all repositories of
//! the person.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::find::{Found, pointer};
use super::view::{Stands, View};
use super::{absolute, below, gitconfig};
use crate::files::Error;

/// The largest configuration of git that is read, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// How deep files include one another.
const MAX_DEPTH: usize = 8;

/// What lies outside of the granted directory and has a say there.
pub struct Outside<'a> {
    /// The person's home directory.
    pub home: Option<&'a Path>,
    /// The configuration that holds for all repositories: the files, absolute.
    pub everywhere: &'a [PathBuf],
    /// Reads a file, if no agent can write it and it is reached through no link
    /// that an agent could have made.
    pub read: &'a dyn Fn(&Path) -> Option<Vec<u8>>,
}

impl Outside<'_> {
    /// Nothing.
    pub(super) const NONE: Outside<'static> = Outside { home: None, everywhere: &[], read: &|_| None };
}

/// An entry of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    value: String,
    /// The directory of the file that it stands in. Absolute.
    from: PathBuf,
}

/// The configuration of a repository in the granted directory, as key and value.
///
/// # Errors
/// If something was closed by its owner and cannot be opened again.
pub(super) fn configuration(view: &View, granted: &Path, git_dir: &Path) -> Result<Vec<(String, String)>, Error> {
    let mut reader = ConfigReader { view, granted, outside: &Outside::NONE, entries: Vec::new() };
    reader.read_repository(&granted.join(git_dir))?;
    Ok(reader.entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
}

/// The working tree that the configuration of a repository names.
pub(super) fn worktree(view: &View, granted: &Path, git_dir: &Path) -> Result<Option<PathBuf>, Error> {
    let entries = configuration(view, granted, git_dir)?;
    let named = entries.iter().find(|(key, _)| key == "core.worktree");
    Ok(named.and_then(|(_, value)| below(granted, &absolute(&granted.join(git_dir), value))))
}

/// What is named, as paths below the granted directory; and whether a repository
/// has a configuration for each of its working trees.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) paths: BTreeSet<PathBuf>,
    pub(super) per_worktree: bool,
    /// Whether the directory lies in the working tree of a repository outside.
    pub(super) is_inside: bool,
}

/// Collects it.
///
/// # Errors
/// If something was closed by its owner and cannot be opened again.
pub(super) fn named(view: &View, granted: &Path, found: &Found, outside: &Outside<'_>) -> Result<Named, Error> {
    let mut named = Named::default();
    // Hooks and programs run at the top of a working tree; without one, in the
    // directory of the repository.
    let mut repositories: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for git_dir in &found.git_dirs {
        let git_dir = granted.join(git_dir);
        repositories.entry(git_dir.clone()).or_default().insert(git_dir);
    }
    for tree in &found.trees {
        let git = tree.join(".git");
        let git_dir = found.targets.get(&git).cloned().unwrap_or_else(|| granted.join(git));
        repositories.entry(git_dir).or_default().insert(granted.join(tree));
    }
    let mut everywhere = ConfigReader { view, granted, outside, entries: Vec::new() };
    for file in outside.everywhere {
        everywhere.read_file(file, 0)?;
    }
    if let Some((tree, git_dir)) = around(granted, outside) {
        named.is_inside = true;
        repositories.entry(git_dir).or_default().insert(tree);
    }
    for (git_dir, bases) in &repositories {
        let mut reader = ConfigReader { view, granted, outside, entries: everywhere.entries.clone() };
        reader.read_repository(git_dir)?;
        for entry in &reader.entries {
            named.per_worktree |= entry.key == "extensions.worktreeconfig" && entry.value != "false";
            reader.add_named(entry, bases, &mut named.paths)?;
        }
    }
    Ok(named)
}

/// The repository whose working tree the granted directory lies in, as that tree
/// and the directory of the repository.
fn around(granted: &Path, outside: &Outside<'_>) -> Option<(PathBuf, PathBuf)> {
    granted.ancestors().skip(1).find_map(|tree| {
        let git = tree.join(".git");
        if (outside.read)(&git.join("HEAD")).is_some() {
            return Some((tree.to_owned(), git));
        }
        let text = String::from_utf8((outside.read)(&git)?).ok()?;
        Some((tree.to_owned(), absolute(tree, text.strip_prefix("gitdir:")?.trim())))
    })
}

struct ConfigReader<'a> {
    view: &'a View,
    granted: &'a Path,
    outside: &'a Outside<'a>,
    entries: Vec<Entry>,
}

impl ConfigReader<'_> {
    fn text(&self, file: &Path) -> Result<Option<String>, Error> {
        let bytes = match below(self.granted, file) {
            Some(file) => self.view.read(&file, MAX_CONFIG)?,
            None => (self.outside.read)(file),
        };
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn read_repository(&mut self, git_dir: &Path) -> Result<(), Error> {
        let file = git_dir.join("commondir");
        let common = match below(self.granted, &file) {
            Some(file) => pointer(self.view, self.granted, &file, "")?,
            None => self.text(&file)?.map(|text| absolute(git_dir, text.trim())),
        };
        self.read_file(&common.as_deref().unwrap_or(git_dir).join("config"), 0)?;
        self.read_file(&git_dir.join("config.worktree"), 0)
    }

    fn read_file(&mut self, file: &Path, depth: usize) -> Result<(), Error> {
        let from = file.parent().unwrap_or(Path::new("/")).to_owned();
        for (key, value) in gitconfig::entries(&self.text(file)?.unwrap_or_default()) {
            let includes = key == "include.path" || key.starts_with("includeif.") && key.ends_with(".path");
            let included = (includes && depth < MAX_DEPTH).then(|| self.resolve(&from, &value));
            self.entries.push(Entry { key, value, from: from.clone() });
            if let Some(included) = included {
                self.read_file(&included, depth + 1)?;
            }
        }
        Ok(())
    }

    /// A path as git or a shell takes it.
    fn resolve(&self, from: &Path, text: &str) -> PathBuf {
        let home = ["$HOME", "${HOME}"].iter().find_map(|name| text.strip_prefix(name));
        // `~name` is this user in all that matters here.
        let home = home.or_else(|| Some(text.strip_prefix('~')?.trim_start_matches(|c| c != '/')));
        match (home.and_then(|rest| rest.strip_prefix('/')), self.outside.home) {
            (Some(rest), Some(home)) => absolute(home, rest),
            _ => absolute(from, text),
        }
    }

    /// What of the granted directory an entry names, seen from where it counts.
    fn add_named(&self, entry: &Entry, bases: &BTreeSet<PathBuf>, paths: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
        let Entry { key, value, from } = entry;
        let includes = key == "include.path" || key.starts_with("includeif.");
        let is_path = includes || ["core.attributesfile", "core.hookspath", "init.templatedir"].contains(&key.as_str());
        if !is_path && !gitconfig::runs(key, value) {
            return Ok(());
        }
        let words: Vec<&str> = if is_path { vec![value] } else { value.split_whitespace().collect() };
        for word in words {
            let word = word.trim_matches(|c: char| "!'\"();&|".contains(c));
            let bases = if includes { vec![from] } else { bases.iter().collect() };
            for base in bases.into_iter().filter(|_| !word.is_empty()) {
                let Some(path) = below(self.granted, &self.resolve(base, word)) else { continue };
                let wanted = match self.view.stands(&path)? {
                    Stands::Is(FileType::Directory) => is_path,
                    Stands::Is(FileType::RegularFile | FileType::Symlink) | Stands::Behind(_) => true,
                    // What is not there is looked for afterwards.
                    Stands::Nothing => is_path,
                    Stands::Is(_) => false,
                };
                if wanted && !path.as_os_str().is_empty() && path.file_name() != Some(OsStr::new(".git")) {
                    paths.insert(path);
                }
            }
        }
        Ok(())
    }
}
