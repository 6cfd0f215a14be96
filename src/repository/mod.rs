//! What of a directory that is granted to sessions runs programs when a person
//! works there: git's configuration and hooks, and the files that shells and
//! editors read by themselves.
//!
//! An agent may write in such a directory, and the person's own `git status`
//! would then run what it wrote. So when a child starts these names are looked
//! for (`find`, `names`) and are mounted read-only over themselves (`protect`);
//! what cannot be mounted is noted (`before`) and compared with what stands there
//! afterwards (`after`). What was once found stays known (`known`), whatever an
//! agent does to hide it. Nothing here follows a link, starts a process or knows
//! a session.

mod after;
mod before;
mod find;
mod gitconfig;
mod index;
mod known;
mod made;
mod names;
mod protect;
mod strays;
mod view;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use after::{Settled, settle};
pub use before::Before;
pub use known::Known;
pub use names::Outside;
pub use protect::{Begun, Over, begin, check};

/// What is protected in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protect {
    /// Git's configuration and hooks, in every repository.
    pub git: bool,
    /// What shells, editors and other tools read from where one works.
    pub tools: bool,
}

impl Protect {
    /// The words for it in the configuration.
    pub const WORDS: &'static [&'static str] = &["git", "tools"];

    /// Reads a list of such words.
    ///
    /// # Errors
    /// With the first word that is not one of them.
    pub fn of(words: &[String]) -> Result<Self, String> {
        if let Some(wrong) = words.iter().find(|word| !Self::WORDS.contains(&word.as_str())) {
            return Err(format!("`{wrong}` is not one of `{}`", Self::WORDS.join("`, `")));
        }
        let has = |name: &str| words.iter().any(|word| word == name);
        Ok(Self { git: has("git"), tools: has("tools") })
    }

    /// Whether nothing is protected.
    #[must_use]
    pub fn is_none(self) -> bool {
        !self.git && !self.tools
    }
}

impl Default for Protect {
    fn default() -> Self {
        Self { git: true, tools: true }
    }
}

/// A directory that a session may write and that is not its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The directory, absolute and free of links.
    pub path: PathBuf,
    /// What in it is not looked at, because the session sees something else
    /// there, or nothing. Absolute.
    pub skip: Vec<PathBuf>,
    /// What is protected in it.
    pub protect: Protect,
}

/// Files and directories of which git runs something or learns what to run, in
/// the directory that holds a repository (gitrepository-layout(5)).
const GIT: &[&str] =
    &["config", "config.worktree", "hooks", "info/attributes", "commondir", "gitdir", "remotes", "branches"];

/// The same for tools, in the directory that one works in. Not here: what runs
/// only when it is asked for, as a Makefile does; and `.env`, which agents write
/// for good reasons and which only a shell with a plug-in for it reads.
const TOOLS: &[&str] = &[
    // Shells: direnv, mise.
    ".envrc",
    ".mise.toml",
    "mise.toml",
    ".mise.local.toml",
    "mise.local.toml",
    ".mise",
    ".config/mise.toml",
    ".config/mise",
    ".autoenv",
    ".autoenv.zsh",
    ".autoenv_leave.zsh",
    // Other version control.
    ".hg/hgrc",
    ".jj/repo/config.toml",
    // Editors.
    ".vscode",
    ".idea",
    ".fleet",
    ".zed",
    ".helix",
    ".devcontainer",
    ".devcontainer.json",
    ".exrc",
    ".nvimrc",
    ".nvim.lua",
    ".lvimrc",
    ".vimrc",
    ".ocamlinit",
    ".ghci",
    ".Rprofile",
    ".irbrc",
    ".pryrc",
    ".pdbrc",
    ".dir-locals.el",
    ".dir-locals-2.el",
    ".gdbinit",
    ".lldbinit",
    // What hooks of git read.
    ".husky",
    ".githooks",
    ".pre-commit-config.yaml",
    "lefthook.yml",
    "lefthook-local.yml",
    ".lefthook.yml",
    // Agents that a person runs there outside of the walls.
    ".mcp.json",
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".claude/hooks",
    ".codex/config.toml",
    ".gemini/settings.json",
    ".gemini/.env",
    "opencode.json",
    "opencode.jsonc",
    ".opencode",
    ".cursor",
    ".qwen",
    "crush.json",
    ".crush.json",
    ".aider.conf.yml",
];

/// Whether a directory holds a repository: itself, or one of the directories in
/// it.
#[must_use]
pub fn is_in(directory: &Path) -> bool {
    let holds = |directory: &Path| directory.join(".git").symlink_metadata().is_ok();
    holds(directory)
        || std::fs::read_dir(directory).into_iter().flatten().flatten().take(100).any(|entry| holds(&entry.path()))
}

/// A path below a directory as it is given to an open directory.
fn named(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// The path that a text names, seen from an absolute directory.
fn absolute(from: &Path, text: &str) -> PathBuf {
    use std::path::Component;
    let mut path = from.to_owned();
    for component in Path::new(text).components() {
        match component {
            Component::RootDir => path = PathBuf::from("/"),
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path
}

/// An absolute path as one below the granted directory; `None` if it is outside.
fn below(granted: &Path, path: &Path) -> Option<PathBuf> {
    path.strip_prefix(granted).ok().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_resolved_from_where_it_stands_and_not_out_of_the_grant() {
        let granted = Path::new("/g");
        let resolve = |from: &str, text: &str| below(granted, &absolute(&granted.join(from), text));
        assert_eq!(resolve("a/b", "../.git/modules/b"), Some("a/.git/modules/b".into()));
        assert_eq!(resolve("a", "/g/x/./y"), Some("x/y".into()));
        assert_eq!(resolve("a", "../.."), None);
        assert_eq!(resolve("a", "/gg/x"), None);
        assert_eq!(resolve("", "."), Some(PathBuf::new()));
    }

    #[test]
    fn only_known_words_say_what_is_protected() {
        assert_eq!(Protect::of(&[]), Ok(Protect { git: false, tools: false }));
        assert_eq!(Protect::of(&["git".to_owned()]), Ok(Protect { git: true, tools: false }));
        assert!(Protect::of(&["hooks".to_owned()]).is_err());
    }
}
