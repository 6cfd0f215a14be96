//! What of the person's has a say in a directory that was granted: the
//! configuration of git that holds for all repositories, and others outside.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::PolicyInputs;
use super::ground::Ground;
use crate::config::Share;
use crate::files;
use crate::provider::Files;
use crate::repository::Outside;
use crate::session::Store;

/// The largest file of it that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where it lies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonalGit {
    home: Option<PathBuf>,
    /// Git's configuration for all repositories (git-config(1), "FILES").
    git: Vec<PathBuf>,
    shares: Vec<Share>,
}

impl PersonalGit {
    pub(super) fn of(inputs: &PolicyInputs<'_>) -> Self {
        let environment = inputs.user.environment;
        let home = inputs.user.home.map(Path::to_owned);
        let named = |name: &str| environment.get_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let config = named("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
        let global = match named("GIT_CONFIG_GLOBAL") {
            Some(path) => vec![path],
            None => {
                config.map(|config| config.join("git/config")).into_iter().chain(below_home(".gitconfig")).collect()
            }
        };
        let system = named("GIT_CONFIG_SYSTEM").unwrap_or_else(|| "/etc/gitconfig".into());
        let git = global.into_iter().chain([system]).collect();
        Self { home, git, shares: inputs.config.shares.clone() }
    }

    /// Does something with it. A file is only read if no link that an agent could
    /// have made leads to it.
    pub fn with<T>(&self, store: &Store, act: impl FnOnce(&Outside<'_>) -> T) -> T {
        let ground = Ground::of(&self.shares, store);
        let read = |path: &Path| {
            let file = files::open_linkless(&ground.find(path)?).ok()?;
            let mut bytes = Vec::new();
            let length = file.take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
            (length as u64 <= MAX_FILE).then_some(bytes)
        };
        act(&Outside { home: self.home.as_deref(), everywhere: &self.git, read: &read })
    }
}
