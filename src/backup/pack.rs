//! `export`: sessions as one compressed file.
//!
//! The file is a tar of GNU format in one zstd frame. It begins with an entry
//! that says what it is, and ends with one that says how many sessions it holds,
//! so that a part of one is never taken for the whole. Between them are the
//! sessions, one after the other, each with its `session.json` first.

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ArchiveError;
use super::items::{Exactly, Item, LeftOut, items, seconds};
use crate::causes::with_causes;
use crate::files::Dir;

/// The first entry of an export.
pub(super) const HEAD: &str = "denizen-export.json";

/// The last entry of an export.
pub(super) const FOOT: &str = "denizen-export-end.json";

/// The version of the format that is written here, and the latest that is read.
pub(super) const FORMAT: u64 = 1;

/// The level of compression: zstd's own default, which costs little time.
const LEVEL: i32 = 3;

/// What the first entry says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// The version of the format.
    pub(super) format: u64,
    /// What made it.
    pub(super) by: String,
    /// When.
    pub(super) at: Timestamp,
}

/// What the last entry says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Foot {
    /// How many sessions there are.
    pub(super) sessions: u64,
}

/// Writes sessions into one file. It is no export before [`Exporter::finish`].
pub struct Exporter<W: Write> {
    tar: tar::Builder<zstd::Encoder<'static, W>>,
    sessions: u64,
}

impl<W: Write> std::fmt::Debug for Exporter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl<W: Write> Exporter<W> {
    /// Begins an export.
    ///
    /// # Errors
    /// If nothing can be written.
    pub fn new(out: W) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(out, LEVEL)?;
        encoder.include_checksum(true)?;
        let mut exporter = Self { tar: tar::Builder::new(encoder), sessions: 0 };
        let head = Head {
            format: FORMAT,
            by: concat!("denizen ", env!("CARGO_PKG_VERSION")).to_owned(),
            at: Timestamp::now(),
        };
        exporter.json(HEAD, &head)?;
        Ok(exporter)
    }

    /// Adds a session's folder, which nobody may change meanwhile. Returns the
    /// size of its files, in bytes. What cannot be opened is left out.
    ///
    /// # Errors
    /// If the export cannot be written, or a file fails while it is read; the
    /// export is then of no use.
    pub fn add(&mut self, folder: &str, dir: &Dir, left_out: &mut dyn FnMut(LeftOut)) -> Result<u64, ArchiveError> {
        let below = Path::new("sessions").join(folder);
        let mut bytes = 0;
        self.entry(&below, &Item::Dir, io::empty()).map_err(|source| ArchiveError::io("export", dir.path(), source))?;
        let mut unreadable = Vec::new();
        for (path, item) in items(dir.path(), &mut *left_out) {
            let written = match &item {
                Item::File { .. } => {
                    let opened = dir.open_file(&path, u64::MAX).map_err(|error| with_causes(&error));
                    // The size of what was opened, not of what was listed.
                    let opened = opened.and_then(|file| Ok((file.metadata().map_err(|e| e.to_string())?.len(), file)));
                    let (size, file) = match opened {
                        Ok(opened) => opened,
                        Err(reason) => {
                            unreadable.push(LeftOut { path, reason, unreadable: true });
                            continue;
                        }
                    };
                    bytes += size;
                    self.entry(&below.join(&path), &item.with_size(size), Exactly { inner: file, left: size })
                }
                Item::Dir | Item::Link(_) => self.entry(&below.join(&path), &item, io::empty()),
            };
            written.map_err(|source| ArchiveError::io("export", &dir.path().join(&path), source))?;
        }
        unreadable.into_iter().for_each(left_out);
        self.sessions += 1;
        Ok(bytes)
    }

    /// Ends the export, and returns what it was written to.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        let foot = Foot { sessions: self.sessions };
        self.json(FOOT, &foot)?;
        self.tar.into_inner()?.finish()
    }

    fn json(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let bytes = serde_json::to_vec(value)?;
        let item = Item::File { size: bytes.len() as u64, modified: SystemTime::now(), executable: false };
        self.entry(Path::new(name), &item, bytes.as_slice())
    }

    fn entry(&mut self, path: &Path, item: &Item, content: impl io::Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(0);
        match item {
            Item::Dir => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o700);
                self.tar.append_data(&mut header, path, content)
            }
            Item::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                self.tar.append_link(&mut header, path, target)
            }
            Item::File { size, modified, executable } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(*size);
                header.set_mtime(seconds(*modified));
                if *executable {
                    header.set_mode(0o700);
                }
                self.tar.append_data(&mut header, path, content)
            }
        }
    }
}
