//! What a provider may know about the turn it is asked to run.

use std::io::Read;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Options;
use crate::config::Environment;
use crate::files;
use crate::sandbox::Ground;
use crate::session::{Brief, PermissionMode};

/// Everything that a provider may know about the turn it is asked to run.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// The program, absolute.
    pub program: &'a Path,
    /// Its section of the configuration.
    pub options: &'a Options,
    /// Where things are.
    pub place: &'a TurnPaths,
    /// The user whose login is used.
    pub user: &'a LoginUser<'a>,
    /// Which conversation the turn belongs to.
    pub continuation: &'a Continuation,
    /// The id for a new conversation, for providers that let us choose.
    pub new_id: Uuid,
    /// The message.
    pub prompt: &'a str,
    /// Whether the message is a command to the provider itself, such as
    /// `/compact`; otherwise it may never be taken for one.
    pub raw: bool,
    /// What the provider is told beside the message.
    pub brief: &'a Brief,
    /// Whether the conversation was told this brief already.
    pub told: bool,
    /// The model, by the provider's own name for it.
    pub model: Option<&'a str>,
    /// What the agent may do unasked; already under the ceiling.
    pub permission_mode: PermissionMode,
    /// Whether somebody watches the reply while it is produced.
    pub stream: bool,
    /// Whether the child runs inside walls: it then has another HOME, and a
    /// sandbox of the CLI's own cannot be put up.
    pub walled: bool,
    /// Whether somebody decides about what the agent may not do unasked.
    pub asks: bool,
}

/// Where the things of a turn are. All paths are absolute and free of links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnPaths {
    /// The session's folder.
    pub session: PathBuf,
    /// The name of the session's folder.
    pub folder: String,
    /// The provider's conversation files: `<session>/provider/<name>`.
    pub conversations: PathBuf,
    /// The provider's home, outside the session's folder.
    pub home: PathBuf,
    /// The directory that the child is started in.
    pub working_dir: PathBuf,
    /// The memory directory.
    pub memory: PathBuf,
    /// Whether the home is new: the folder was made, moved or copied here.
    pub new_home: bool,
}

/// The files of the user: read only where no agent decides what is read.
pub trait Files: Sync {
    /// Where a path really leads. `None` if it leads nowhere, or through a link
    /// that an agent could have made.
    fn find(&self, path: &Path) -> Option<PathBuf>;

    /// What the file at a path holds, if [`Files::find`] finds it.
    fn read(&self, path: &Path) -> Option<Vec<u8>>;
}

impl Files for Ground<'_> {
    fn find(&self, path: &Path) -> Option<PathBuf> {
        self.follow(path).ok().map(|way| way.real)
    }

    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = files::open_linkless(&self.find(path)?).ok()?;
        file.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// The user whose login is used: environment, home, and their files.
#[derive(Clone, Copy)]
pub struct LoginUser<'a> {
    /// The environment of the process.
    pub environment: &'a Environment,
    /// The home directory.
    pub home: Option<&'a Path>,
    /// The user's files.
    pub files: &'a dyn Files,
}

impl LoginUser<'_> {
    /// A path below the home directory.
    #[must_use]
    pub fn at_home(&self, path: &str) -> Option<PathBuf> {
        self.home.map(|home| home.join(path))
    }

    /// The directory named by a variable, else one below the home directory.
    #[must_use]
    pub fn directory(&self, variable: &str, path: &str) -> Option<PathBuf> {
        self.environment.get(variable).map(PathBuf::from).or_else(|| self.at_home(path))
    }
}

/// Which conversation a turn belongs to: decided once, under the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuation {
    /// A fresh one.
    Fresh,
    /// The one with this id.
    Resume(String),
    /// A new one that starts as a copy of the one with this id.
    Fork(String),
}

impl Continuation {
    /// The id that the provider is asked to continue.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Fresh => None,
            Self::Resume(id) | Self::Fork(id) => Some(id),
        }
    }
}
