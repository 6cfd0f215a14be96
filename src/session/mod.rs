//! Sessions: the folder, what is in it, and who may change it.
//!
//! A library with only `key`, `files` and `config` below it. It starts no
//! process and knows no provider.

mod access;
mod adopt;
mod brief;
mod changed;
mod claim;
mod copy;
mod discard;
mod granted;
mod ground;
mod names;
mod people;
mod plant;
mod question;
mod queue;
mod record;
mod repair;
mod settings;
mod store;
mod transcript;
mod trash;
mod turn_files;
mod workspace;

use std::path::PathBuf;

pub use access::Grant;
pub use adopt::{ClaimedFolder, NameMatch, Whose, better_name};
pub use brief::Brief;
pub use claim::{Claim, ClaimError, Waiting};
pub use names::Names;
pub use people::{Asking, PairingAnswer, People, Person};
pub use plant::{Planted, Planting};
pub use question::{AnswerOutcome, Question, QuestionAnswer};
pub use queue::{
    Address, Attached, Author, EntryNote, Message, MessageOptions, More, Pending, PendingState, Queue, QueueEntry,
};
pub use record::{Conversation, FileMark, Fork, LastTurn, ProviderChoice, Record, TurnOutcome, Usage};
pub use settings::{PermissionMode, SETTINGS, Settings};
pub use store::{Listed, NewSession, Store};
pub use transcript::{Recorded, Speaker, Transcript, TranscriptEntry};
pub use trash::Trashed;
pub use turn_files::{LiveTurn, TurnFiles, TurnState, answer_question, open_questions};
pub use workspace::{Workspace, WorkspaceGuard};

use crate::files;
use crate::key::Key;

/// Why something could not be done with a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A file holds no JSON, or JSON of another shape. It is left as it is.
    #[error("{}:{line}:{column}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1; 0 where the whole line is meant.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// A file was written by a later version of the program. It is left as it is.
    #[error("`{}` has version {version}, this program knows up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version it states.
        version: u64,
        /// The latest version that is known here.
        known: u64,
    },
    /// There is no such session.
    #[error("there is no session `{0}`")]
    NoSuchSession(String),
    /// The text fits several sessions.
    #[error("`{text}` fits several sessions: {matches}")]
    Ambiguous {
        /// The text that was given.
        text: String,
        /// Some keys that it fits.
        matches: String,
    },
    /// There is a session already.
    #[error("there is a session `{0}` already")]
    Exists(Key),
    /// A folder that a session is to get is already there.
    #[error("`{}` is there already", .0.display())]
    Taken(PathBuf),
    /// A folder below `sessions/` cannot be given to any key.
    #[error("`{}` cannot be adopted: {reason}", path.display())]
    Stray {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
        /// The command that would put it right.
        remedy: Option<String>,
    },
    /// What a session's own setting points at is not inside its folder.
    #[error("the memory directory `{}` is not a directory inside the session's folder", path.display())]
    MemoryOutside {
        /// The directory.
        path: PathBuf,
        /// Why it does not count.
        #[source]
        source: files::Error,
    },
    /// A value does not fit its setting.
    #[error("{}{name}: {reason}", file.as_ref().map_or_else(String::new, |file| format!("{}: ", file.display())))]
    Setting {
        /// The file that the value stands in, if it does.
        file: Option<PathBuf>,
        /// The setting.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The session's folder went away while it was in use.
    #[error("the folder `{}` was removed while it was in use", .0.display())]
    Vanished(PathBuf),
}

impl SessionError {
    fn json(path: PathBuf, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned();
        Self::Json { path, line: error.line(), column: error.column(), reason }
    }
}

/// Now, to the millisecond.
pub(crate) fn now() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Millisecond).unwrap_or(now)
}
