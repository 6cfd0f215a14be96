//! The repositories that were ever seen in a granted directory, kept where no
//! agent can write: what an agent hides from a search stays protected, and what
//! it makes comes after what is the person's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::find::{Found, MAX_REPOSITORIES};

/// What is known of one granted directory. Every path is below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Directories that hold a repository.
    #[serde(default)]
    git_dirs: BTreeMap<PathBuf, Maker>,
    /// Working trees.
    #[serde(default)]
    trees: BTreeMap<PathBuf, Maker>,
    /// What was told and need not be again.
    #[serde(default)]
    told: Vec<String>,
}

/// Who made a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Maker {
    Person,
    Agent,
}

impl Known {
    /// The working trees, in the order in which they are protected.
    pub(super) fn trees(&self) -> Vec<&Path> {
        in_order(&self.trees)
    }

    /// The directories that hold a repository, in the same order.
    pub(super) fn git_dirs(&self) -> Vec<&Path> {
        in_order(&self.git_dirs)
    }

    /// Whether an agent made what lies at a path.
    pub(super) fn is_agents(&self, path: &Path) -> bool {
        let made = |all: &BTreeMap<PathBuf, Maker>| all.get(path) == Some(&Maker::Agent);
        made(&self.git_dirs) || made(&self.trees)
    }

    /// Keeps what was found before a child started: what is new is the person's.
    pub(super) fn begin(&mut self, found: &Found) {
        self.keep(found, Maker::Person);
    }

    /// Keeps what was found afterwards: what is new is the agent's.
    pub(super) fn end(&mut self, found: &Found) {
        self.keep(found, Maker::Agent);
    }

    fn keep(&mut self, found: &Found, maker: Maker) {
        for (known, paths) in [(&mut self.git_dirs, &found.git_dirs), (&mut self.trees, &found.trees)] {
            known.retain(|path, _| paths.contains(path) || found.skipped.contains(path));
            for path in paths {
                known.entry(path.clone()).or_insert(maker);
            }
            let surplus: Vec<PathBuf> =
                in_order(known).into_iter().skip(MAX_REPOSITORIES).map(Path::to_owned).collect();
            known.retain(|path, _| !surplus.contains(path));
        }
    }

    /// Follows what was moved: it is still whose it was.
    pub(super) fn follow(&mut self, moved: &BTreeMap<PathBuf, PathBuf>) {
        for known in [&mut self.git_dirs, &mut self.trees] {
            for (was, now) in moved {
                let maker = known.remove(was);
                known.extend(maker.map(|maker| (now.clone(), maker)));
            }
        }
    }

    /// What was told once and is still so.
    #[must_use]
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// Keeps only what is still so of what is told once, and returns what is new.
    pub(super) fn tell_once(&mut self, words: Vec<String>) -> Vec<String> {
        let told = std::mem::replace(&mut self.told, words.clone());
        words.into_iter().filter(|word| !told.contains(word)).collect()
    }
}

fn in_order(all: &BTreeMap<PathBuf, Maker>) -> Vec<&Path> {
    let mut paths: Vec<(&PathBuf, &Maker)> = all.iter().collect();
    paths.sort_by_key(|(path, maker)| (**maker, path.components().count()));
    paths.into_iter().map(|(path, _)| path.as_path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_persons_comes_first_and_what_is_gone_is_forgotten() {
        let found = |paths: &[&str]| Found { git_dirs: paths.iter().map(PathBuf::from).collect(), ..Found::default() };
        let mut known = Known::default();
        known.begin(&found(&["z/deep/.git"]));
        known.end(&found(&["a/.git", "z/deep/.git"]));
        known.begin(&found(&["a/.git", "m/.git", "z/deep/.git"]));
        assert_eq!(known.git_dirs(), ["m/.git", "z/deep/.git", "a/.git"].map(Path::new));
        known.end(&found(&["a/.git"]));
        assert_eq!(known.git_dirs(), ["a/.git"].map(Path::new));
        let many: Vec<String> = (0..MAX_REPOSITORIES).map(|number| format!("{number:03}")).collect();
        known.begin(&found(&many.iter().map(String::as_str).chain(["a/.git"]).collect::<Vec<_>>()));
        assert_eq!((known.git_dirs().len(), known.is_agents(Path::new("a/.git"))), (MAX_REPOSITORIES, false));
        assert_eq!(known.tell_once(vec!["x".to_owned()]), ["x"]);
        assert_eq!(known.tell_once(vec!["x".to_owned(), "y".to_owned()]), ["y"]);
    }
}
