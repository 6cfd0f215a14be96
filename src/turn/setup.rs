//! What turns run with that belongs to no session: configuration, environment,
//! the person, and what is known of the machine.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::config::{Config, Environment};
use crate::provider::LoginUser;
use crate::sandbox::{ClosedDirs, Ground, Support};
use crate::session::Store;

/// Everything that turns need and sessions do not hold.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// The environment of this process.
    pub environment: Environment,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// This program, which is also the launcher.
    pub launcher: PathBuf,
    /// Whether nobody sits there: walls that cannot be had are then an error.
    pub unattended: bool,
    /// What this machine can hold walls with, once that was found out.
    pub means: Arc<OnceLock<Support>>,
    /// What of the system this user alone may read.
    pub closed: Arc<ClosedDirs>,
    /// What is private beside the root and the home.
    pub private: Vec<PathBuf>,
    /// The control group in which each turn gets one of its own, if there is one.
    pub group: Option<PathBuf>,
}

impl Setup {
    /// For somebody who sits there.
    #[must_use]
    pub fn attended(config: Config, environment: Environment, home: Option<PathBuf>, launcher: PathBuf) -> Self {
        Self {
            config,
            environment,
            home,
            launcher,
            unattended: false,
            means: Arc::default(),
            closed: Arc::default(),
            private: Vec::new(),
            group: None,
        }
    }

    /// For a service: walls that cannot be had are an error.
    #[must_use]
    pub fn unattended(self) -> Self {
        Self { unattended: true, ..self }
    }

    /// What agents can write.
    #[must_use]
    pub fn ground<'a>(&self, store: &'a Store) -> Ground<'a> {
        store.ground(&self.config.shares)
    }

    /// The user whose login is used.
    pub(super) fn user<'a>(&'a self, files: &'a Ground<'_>) -> LoginUser<'a> {
        LoginUser { environment: &self.environment, home: self.home.as_deref(), files }
    }
}
