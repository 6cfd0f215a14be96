//! `legacy/<name>/`: what was migrated of one file, with a copy of it, so that
//! the next start knows that it was dealt with and a person can take it back.
//!
//! The name is made from the file's path, size and time of change: a look at one
//! directory tells whether the file, as it is, was dealt with. A receipt appears
//! whole, by one rename, after everything that it speaks of is safe.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::importer::LegacyError;
use super::plan::LegacyFile;
use crate::files::{Dir, Durability, Stamp, make_private_dir};
use crate::key::{Key, hex};
use crate::session::Store;

/// The file in a receipt's directory.
const RECEIPT: &str = "receipt.json";

/// The largest receipt that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The endings of receipts that say why a file was dealt with otherwise.
pub(super) const UNDONE: &str = ".undone";
pub(super) const REFUSED: &str = ".refused";

/// What was migrated of one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MigrationReceipt {
    /// The version of the format: 1.
    pub version: u64,
    /// The system that wrote the file.
    pub system: String,
    /// The file.
    pub source: PathBuf,
    /// Its size, in bytes.
    pub size: u64,
    /// When it had last been changed.
    pub modified: Timestamp,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// The copy of it beside the receipt; none of a file that holds secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// When it was migrated.
    pub migrated_at: Timestamp,
    /// Why it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What became of each conversation in it.
    pub entries: Vec<MigratedOutcome>,
}

/// What became of one conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MigratedOutcome {
    /// Its name in the file.
    pub name: String,
    /// What became of it.
    pub became: Became,
    /// The session that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Key>,
    /// That session's uuid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// Whether the session was made for it.
    #[serde(default)]
    pub made: bool,
    /// The provider's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// The provider that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Whether its file was found, and copied into the session's folder.
    #[serde(default)]
    pub moved: bool,
    /// The directory in which the session goes on instead of its own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<PathBuf>,
    /// Why nothing became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a conversation became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Became {
    /// The one that the session's next message continues.
    Current,
    /// One of its earlier ones.
    Earlier,
    /// A session without a conversation.
    Empty,
    /// Nothing: there was a session of this key already.
    Conflict,
    /// Nothing: it could not be taken.
    Skipped,
    /// A message that waits in its session.
    Waiting,
}

/// The directory of receipts.
#[must_use]
pub(super) fn receipts_path(store: &Store) -> PathBuf {
    store.root().join("legacy")
}

/// Removes an older receipt of a name, if there is one.
pub(super) fn make_room(receipts: &Dir, name: &str) -> Result<(), LegacyError> {
    let older = receipts.path().join(name);
    Ok(crate::files::remove_whole(&older)?)
}

/// The name of the receipt for a file.
#[must_use]
pub(super) fn name(system: &str, path: &Path, size: u64, modified: i128) -> String {
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let slug: String =
        file.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let slug: String = slug.trim_matches('-').chars().take(40).collect();
    let mut hash = Sha256::new();
    hash.update(path.as_os_str().as_encoded_bytes());
    hash.update(format!("\0{size}\0{modified}"));
    format!("{system}-{slug}-{}", &hex(&hash.finalize())[..16])
}

/// Whether a file, as it is, was dealt with. `also_otherwise`: also if it was
/// refused, or if what was made of it was taken back.
#[must_use]
pub(super) fn is_dealt_with(store: &Store, system: &str, path: &Path, stamp: &Stamp, also_otherwise: bool) -> bool {
    let name = name(system, path, stamp.size, stamp.modified);
    let receipts = receipts_path(store);
    let is_there = |ending: &str| receipts.join(format!("{name}{ending}")).is_dir();
    is_there("") || (also_otherwise && (is_there(UNDONE) || is_there(REFUSED)))
}

impl MigrationReceipt {
    /// The receipt of a file, of which nothing is known yet.
    #[must_use]
    pub fn of(source: &LegacyFile, migrated_at: Timestamp) -> Self {
        let read = &source.read;
        let file = read.path.file_name().and_then(|name| name.to_str()).unwrap_or("copy");
        let copy = if file == RECEIPT { "copy.json" } else { file };
        Self {
            version: 1,
            system: source.system.to_owned(),
            source: read.path.clone(),
            size: read.bytes.len() as u64,
            modified: read.modified,
            sha256: read.sha256.clone(),
            copy: source.kept.then(|| copy.to_owned()),
            migrated_at,
            refused: source.broken.clone(),
            entries: Vec::new(),
        }
    }

    /// The name of its directory.
    #[must_use]
    pub fn name(&self) -> String {
        let ending = if self.refused.is_some() { REFUSED } else { "" };
        format!("{}{ending}", name(&self.system, &self.source, self.size, self.modified.as_nanosecond()))
    }

    /// Writes the receipt and the copy below a directory that nobody sees.
    pub(super) fn build(&self, bytes: &[u8], aside: &Path) -> Result<(), LegacyError> {
        let path = aside.join(self.name());
        make_private_dir(&path, Durability::Process)?;
        let dir = Dir::open(&path)?;
        let failed = |name: &str| {
            let path = path.join(name);
            move |source| crate::files::Error::Io { action: "write", path, source }
        };
        // Of many entries the text would be large in memory.
        let mut file = BufWriter::new(dir.create_new(Path::new(RECEIPT))?);
        serde_json::to_writer_pretty(&mut file, self)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.flush())
            .map_err(failed(RECEIPT))?;
        if let Some(copy) = &self.copy {
            dir.create_new(Path::new(copy))?.write_all(bytes).map_err(failed(copy))?;
        }
        Ok(())
    }

    /// Gives the receipt its name; an older one of the same file makes room.
    pub(super) fn install(&self, aside: &Dir, receipts: &Dir) -> Result<(), LegacyError> {
        let name = self.name();
        // What it says was said before, by one that was cut short after this.
        if self.refused.is_some() && receipts.stamp(Path::new(&name))?.is_some() {
            return Ok(());
        }
        make_room(receipts, &name)?;
        Ok(aside.move_entry(Path::new(&name), receipts, Path::new(&name))?)
    }

    /// Reads a receipt, by its name or the path of its directory.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn read(store: &Store, wanted: &str) -> Result<(PathBuf, Self), LegacyError> {
        let path = receipts_path(store).join(wanted);
        let path = if path.ends_with(RECEIPT) { path.parent().unwrap_or(&path).to_owned() } else { path };
        let dir = match Dir::open(&path) {
            Err(error) if error.is_not_found() => return Err(LegacyError::NoReceipt(wanted.to_owned())),
            opened => opened?,
        };
        let bytes = dir.read(Path::new(RECEIPT), MAX_BYTES)?;
        let receipt = serde_json::from_slice(&bytes)
            .map_err(|error| LegacyError::Broken { path: path.join(RECEIPT), reason: error.to_string() })?;
        Ok((path, receipt))
    }
}
