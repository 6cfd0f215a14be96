//! Sessions away from where they are used: in a backup, in a file, on their way
//! back. Whether a tree can be restored, and how one is packed, unpacked and
//! copied.
//!
//! Nothing here takes a lock, and nothing here changes a session: `ops`
//! holds the locks, and `session::Store` gives a folder its name.

mod check;
mod finding;
mod items;
mod lines;
mod moment;
mod pack;
mod permissions;
mod sqlite;
mod tree;
mod unpack;
mod verify;

use std::path::{Path, PathBuf};

pub use check::Checked;
pub use finding::{Finding, FindingKind, Severity};
pub use items::{LeftOut, copy_out, is_same};
pub use pack::Exporter;
pub use tree::{Extent, Tree};
pub use unpack::{ArchivedSession, check_room, inspect, unpack};
pub use verify::{VerifyReport, check_folder, verify};

use crate::files;
use crate::session::SessionError;

/// Why sessions could not be packed, unpacked, copied or looked at.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A session's folder is not as it should be.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// There are no sessions in a directory.
    #[error("`{}` is no root, no directory of sessions and no session's folder", .0.display())]
    NoTree(PathBuf),
    /// A file is no export, or only a part of one.
    #[error("`{}` is no whole export: {reason}", path.display())]
    NotAnExport {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// An entry of an archive may not be unpacked. Nothing was.
    #[error("`{entry}` in the archive is refused: {reason}")]
    Refused {
        /// The entry, as the archive names it.
        entry: String,
        /// Why.
        reason: String,
    },
    /// The archive holds more than there is room for.
    #[error("the archive holds {needed} bytes, and {free} are free below `{}`", at.display())]
    NoRoom {
        /// What it holds, in bytes.
        needed: u64,
        /// What is free, in bytes.
        free: u64,
        /// Where it would be unpacked.
        at: PathBuf,
    },
}

impl ArchiveError {
    fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File(files::Error::Io { action, path: path.to_owned(), source })
    }
}
