//! Repositories that were made in a granted directory while a child ran there,
//! and what git would run in them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::after::After;
use super::before::{commands_of_rebase, counts};
use super::find::{Found, pointer};
use super::strays::strays;
use super::{below, gitconfig, index, names};
use crate::files::Error;

/// How many of the things that a repository would run are named.
const MAX_NAMED: usize = 8;

/// How many repositories are told of one by one, if git runs nothing from them.
const MAX_TOLD: usize = 10;

/// The largest index that is read, in bytes.
const MAX_INDEX: u64 = 128 << 20;

impl After<'_, '_> {
    /// Where the indexes of the repositories that were there say that others lie:
    /// git looks into those by itself, wherever they are.
    pub(super) fn linked_repositories(&mut self) -> Result<Vec<PathBuf>, Error> {
        let before = self.before;
        let granted = &before.granted.path;
        let mut found = Vec::new();
        for tree in before.trees.iter().filter(|_| before.granted.protect.git) {
            let git = tree.join(".git");
            let git_dir = match self.view.kind(&git)? {
                Some(FileType::Directory) => Some(git),
                _ => pointer(&self.view, granted, &git, "gitdir:")?.and_then(|git_dir| below(granted, &git_dir)),
            };
            let Some(git_dir) = git_dir.filter(|git_dir| before.git_dirs.contains(git_dir)) else { continue };
            let entries = names::configuration(&self.view, granted, &git_dir)?;
            let is_long = |(key, value): &(String, String)| key == "extensions.objectformat" && value == "sha256";
            let hash = if entries.iter().any(is_long) { 32 } else { 20 };
            let listing = self.view.list(&git_dir)?;
            let is_index = |name: &&str| *name == "index" || name.starts_with("sharedindex.");
            for name in listing.entries.iter().filter_map(|(name, _)| name.to_str()).filter(is_index) {
                let bytes = self.view.read(&git_dir.join(name), MAX_INDEX)?;
                match bytes.as_deref().and_then(|bytes| index::gitlinks(bytes, hash)) {
                    Some(links) => found.extend(links.iter().map(|link| tree.join(link))),
                    None => {
                        let what = self.shown(&git_dir.join(name));
                        self.words
                            .push(format!("{what} cannot be read: it may name repositories that are not looked at"));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Tells of what was made. In a working tree of the person's, git looks into
    /// another repository by itself: there, one that would run something is closed.
    pub(super) fn repositories(&mut self, found: &Found) -> Result<(), Error> {
        let before = self.before;
        let mut harmless = 0;
        for git_dir in found.git_dirs.iter().filter(|path| self.is_new(path)).cloned().collect::<Vec<_>>() {
            // A submodule's comes with the one that it is part of.
            if git_dir.ancestors().skip(1).any(|above| found.git_dirs.contains(above) && self.is_new(above)) {
                continue;
            }
            let mut runs = BTreeSet::new();
            for part in found.git_dirs.iter().filter(|path| path.starts_with(&git_dir)) {
                runs.append(&mut self.runs(part)?);
            }
            let is_dot_git = git_dir.file_name() == Some(OsStr::new(".git"));
            let what = self.shown(git_dir.parent().filter(|_| is_dot_git).unwrap_or(&git_dir));
            harmless += usize::from(runs.is_empty());
            if runs.is_empty() && harmless > MAX_TOLD {
                continue;
            }
            if runs.is_empty() || !before.is_in_tree(&git_dir) {
                self.words.push(format!("a repository was made in {what}: {}", told(&runs)));
                continue;
            }
            let closed = if is_dot_git { git_dir.clone() } else { git_dir.join("HEAD") };
            self.close(&closed, &format!("a repository was made in {what}: {}", told(&runs)))?;
        }
        if harmless > MAX_TOLD {
            let at = self.shown(Path::new(""));
            self.words.push(format!(
                "{} more repositories were made in {at} from which git runs nothing",
                harmless - MAX_TOLD
            ));
        }
        for tree in found.trees.iter().filter(|path| self.is_new(path)).cloned().collect::<Vec<_>>() {
            let git = tree.join(".git");
            if self.kind(&git)?.is_none_or(|kind| kind == FileType::Directory) {
                continue;
            }
            let target = found.targets.get(&git).and_then(|target| below(&before.granted.path, target));
            let what = self.shown(&tree);
            match target {
                // One that is closed is none any more.
                Some(target) if self.kind(&target.join("HEAD"))?.is_some() => {}
                _ if before.is_in_tree(&tree) => {
                    self.close(&git, &format!("{what} was made the working tree of a repository that lies elsewhere"))?;
                }
                _ => self.words.push(format!("{what} was made the working tree of a repository that lies elsewhere: look at its `.git` before you use git there")),
            }
        }
        for git_dir in found.git_dirs.difference(&before.rebases) {
            let commands = commands_of_rebase(&self.view, git_dir)?;
            if !commands.is_empty() && before.git_dirs.contains(git_dir) {
                let what = self.shown(git_dir);
                self.words.push(format!(
                    "a rebase was left unfinished in {what}: `git rebase --continue` would run {}",
                    commands.iter().take(MAX_NAMED).map(|command| shortened(command)).collect::<Vec<_>>().join(", ")
                ));
            }
        }
        Ok(())
    }

    fn close(&mut self, path: &Path, what: &str) -> Result<(), Error> {
        if self.kind(path)?.is_some()
            && let Some((_, kept)) = self.set_aside(path)?
        {
            let at = self.shown(path);
            self.words.push(format!(
                "{what}. It lies in a working tree of yours, where git looks into it by itself, so {at} was moved to {kept}; move it back if you want it"
            ));
        }
        Ok(())
    }

    /// What git would run in a repository: keys of its configuration, and hooks;
    /// and what of it leads somewhere else.
    pub(super) fn runs(&mut self, git_dir: &Path) -> Result<BTreeSet<String>, Error> {
        let granted = &self.before.granted.path;
        let mut runs = BTreeSet::new();
        let common = git_dir.join("commondir");
        let is_known = match pointer(&self.view, granted, &common, "")?.map(|common| below(granted, &common)) {
            // Another working tree of a repository that was there.
            Some(Some(common)) => self.before.git_dirs.contains(&common),
            Some(None) => runs.insert("`commondir`".to_owned()),
            None => false,
        };
        if !is_known {
            let entries = names::configuration(&self.view, granted, git_dir)?;
            let named = entries.iter().filter(|(key, value)| gitconfig::runs(key, value));
            runs.extend(named.map(|(key, _)| shortened(key)));
        }
        let hooks = git_dir.join("hooks");
        if self.kind(&hooks)? == Some(FileType::Directory) {
            for (name, kind) in self.view.list(&hooks)?.entries.iter().filter(|(name, _)| counts(name)) {
                let look = self.view.look(&hooks.join(name))?;
                if *kind == FileType::Symlink || look.is_some_and(|look| look.mode & 0o111 != 0) {
                    runs.insert(shortened(&format!("hooks/{}", name.display())));
                }
            }
        }
        let leads = strays(&self.view, git_dir, &BTreeSet::new())?.0;
        let leads = leads.keys().filter(|path| !path.starts_with(&hooks) || **path == hooks);
        runs.extend(leads.map(|path| shortened(&path.strip_prefix(git_dir).unwrap_or(path).display().to_string())));
        Ok(runs)
    }
}

pub(super) fn told(runs: &BTreeSet<String>) -> String {
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
