//! What every importer is, where it looks, and what can go wrong.

use std::path::{Path, PathBuf};

use super::plan::ImportDraft;
use super::read::{LegacyReader, LegacyState};
use crate::config::{Environment, Legacy};
use crate::files;
use crate::session::SessionError;

/// One earlier system.
pub trait Importer: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The directories that may hold its state.
    fn bases(&self, search: &LegacySearch) -> Vec<PathBuf>;

    /// Files below such a directory by which it is known at a glance.
    fn signs(&self) -> &'static [&'static str];

    /// Reads what is there.
    fn read(&self, reader: &mut LegacyReader<'_>);

    /// What becomes of what was read. Pure.
    fn plan(&self, state: &LegacyState) -> ImportDraft;
}

/// Why a migration, or a part of it, was not done.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A session could not be made or removed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Another process migrates into this root.
    #[error("another process migrates into this root")]
    Busy,
    /// There is no such receipt.
    #[error("there is no receipt `{0}`")]
    NoReceipt(String),
    /// A receipt is not what it should be.
    #[error("`{}` is no receipt: {reason}", path.display())]
    Broken {
        /// The receipt.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegacySearch {
    /// Directories in which a bot may have been started, or kept its state.
    pub dirs: Vec<PathBuf>,
    /// Those of them that somebody named.
    pub from: Vec<PathBuf>,
    /// Directories for temporary files.
    pub temp: Vec<PathBuf>,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// Homes of tinyclaw that the environment names.
    pub tinyclaw_homes: Vec<PathBuf>,
    /// A file of rows that were taken out of tinyclaw's database.
    pub rows: Option<PathBuf>,
    /// Whether messages that were never answered are taken along.
    pub replay: bool,
}

impl LegacySearch {
    /// The places that are looked at unasked, at a glance: beside the root, where
    /// the person is, and what the configuration names.
    #[must_use]
    pub fn near(root: &Path, here: &Path, legacy: &Legacy) -> Self {
        let beside = root.parent().map(Path::to_owned);
        let mut dirs: Vec<PathBuf> = beside.into_iter().chain([here.to_owned()]).chain(legacy.from.clone()).collect();
        let mut seen = Vec::new();
        dirs.retain(|dir| {
            let new = !seen.contains(dir);
            seen.push(dir.clone());
            new
        });
        Self { dirs, from: legacy.from.clone(), ..Self::default() }
    }

    /// Every place where an earlier system is known to have kept its state.
    #[must_use]
    pub fn everywhere(
        root: &Path,
        here: &Path,
        legacy: &Legacy,
        home: Option<&Path>,
        environment: &Environment,
    ) -> Self {
        let named = ["TINYAGI_HOME", "TINYCLAW_HOME"].iter().filter_map(|name| environment.get(name));
        Self {
            temp: vec![legacy.temp.clone()],
            home: home.map(Path::to_owned),
            tinyclaw_homes: named.map(PathBuf::from).collect(),
            ..Self::near(root, here, legacy)
        }
    }

    /// Only these places.
    #[must_use]
    pub fn only(from: &[PathBuf]) -> Self {
        Self { dirs: from.to_vec(), from: from.to_vec(), ..Self::default() }
    }
}
