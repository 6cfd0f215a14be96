//! What `verify` can find, and what that means.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; the session is sound.
    Note,
    /// Nothing is lost, but it has to be put right.
    Wrong,
    /// Something is lost, or the session cannot be used.
    Damaged,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What sort of thing it is; a stable name for programs.
    pub kind: FindingKind,
    /// The folder of the session, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong, in words.
    pub problem: String,
    /// What is lost at most, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// What to do, in words or as a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A finding of which nothing is lost, and for which nothing is to be done.
pub(super) fn finding(kind: FindingKind, session: Option<&str>, path: &Path, problem: impl Into<String>) -> Finding {
    Finding {
        severity: kind.severity(),
        kind,
        session: session.map(str::to_owned),
        path: path.to_owned(),
        problem: problem.into(),
        lost: None,
        remedy: None,
    }
}

impl Finding {
    /// The same, with what to do about it.
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// The same, with what is lost at most.
    pub(super) fn lost(self, lost: impl Into<String>) -> Self {
        Self { lost: Some(lost.into()), ..self }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $severity:ident,)*) => {
        /// The sorts of things that can be found.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum FindingKind {
            $($(#[$doc])* $name,)*
        }

        impl FindingKind {
            /// How bad a thing of this sort is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }
        }
    };
}

kinds! {
    /// There is no `session.json`.
    RecordMissing Damaged,
    /// `session.json` is not a regular file, too large, or cannot be read.
    RecordUnreadable Damaged,
    /// `session.json` does not parse.
    RecordBroken Damaged,
    /// `session.json` was written by a later version of the program.
    RecordNewer Wrong,
    /// `settings.json` cannot be read or used.
    Settings Damaged,
    /// There is no transcript, and there were turns.
    TranscriptMissing Damaged,
    /// The transcript is not a regular file, or cannot be read.
    TranscriptUnreadable Damaged,
    /// The transcript is shorter than it was.
    TranscriptCut Damaged,
    /// A line of the transcript does not parse.
    TranscriptBroken Damaged,
    /// Turns are missing from the transcript.
    TranscriptGap Damaged,
    /// The provider's file of a conversation is not there.
    ConversationMissing Damaged,
    /// The provider's file is not a regular file, or cannot be read.
    ConversationUnreadable Damaged,
    /// The provider's file is shorter than it was.
    ConversationCut Damaged,
    /// The provider's file is not built as it should be.
    ConversationBroken Damaged,
    /// There is no memory directory.
    MemoryMissing Damaged,
    /// The memory cannot be read, or is not inside the folder.
    MemoryUnreadable Damaged,
    /// A grant cannot be read.
    Grant Damaged,
    /// An accepted message cannot be read.
    Queue Damaged,
    /// The name of the folder belongs to another key, or to none.
    Name Wrong,
    /// Something that is not a session lies among the sessions.
    Stray Wrong,
    /// A directory or file cannot be read where it should be.
    Unreadable Damaged,
    /// A link, FIFO, socket or device lies where only files belong.
    NotAFile Wrong,
    /// A file in use has other names, so it is refused.
    Shared Wrong,
    /// Others than the owner may read or write it, or the owner may not.
    Permissions Wrong,
    /// It belongs to somebody else than the rest of the tree.
    Owner Wrong,
    /// The configuration cannot be used.
    Configuration Wrong,
    /// The folder is a copy or was moved, and is adopted at its next use.
    Adoptable Note,
    /// The copy was made while a turn was being taken.
    MidTurn Note,
    /// A conversation came here without its file, from an earlier system.
    NeverHere Note,
    /// A link or special file that an agent made in its own folder.
    AgentFile Note,
    /// A grant that is for no session here.
    GrantUnused Note,
    /// A removed session that cannot be read.
    Trash Note,
    /// Something that a copy or an editor left behind.
    LeftBehind Note,
}
