//! `import`: what an export holds, and its unpacking.
//!
//! The file may come from anybody. It is walked twice with the same checks: the
//! first time nothing is written, so a file that is refused changes nothing.
//! Unpacking goes into a directory that is held open and makes only new files,
//! directories and links that stay inside; the tar crate's own unpacking, which
//! would do more, is not used.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ArchiveError;
use super::items::{Exactly, Item, OWN, at_second, free_below, is_own, put, put_file, shown, stays_inside};
use super::pack::{FOOT, FORMAT, Foot, HEAD, Head};
use crate::files::Dir;
use crate::key::{Key, is_folder_name};
use crate::session::Record;

/// What may come out of an archive before it counts as a bomb, in bytes, beside
/// [`MAX_RATIO`] times its own size.
const MAX_FREE_BYTES: u64 = 1 << 30;

/// How many times its own size an archive may be unpacked. Transcripts shrink
/// to a tenth, and an archive of zeros to a twenty-thousandth.
const MAX_RATIO: u64 = 1000;

/// The longest path in an archive, in bytes.
const MAX_PATH: u64 = 4096;

/// The longest name of one file, in bytes: no file system takes more.
const MAX_NAME: usize = 255;

/// The longest target of a link, in bytes.
const MAX_TARGET: usize = 4095;

/// What the names of one session's entries may take in memory, in bytes: they
/// have to be remembered to know of twins.
const MAX_NAMES: usize = 256 * 1024 * 1024;

/// What remembering one name costs beside its bytes.
const NAME_COST: usize = 128;

/// The largest `session.json`, in bytes.
const MAX_RECORD: u64 = 16 * 1024 * 1024;

/// The most that may follow the last entry, in bytes: tars are padded.
const MAX_PADDING: u64 = 1024 * 1024;

/// The largest window of the decompressor, as a power of two: 32 MiB of memory.
const MAX_WINDOW_LOG: u32 = 25;

/// A session in an archive.
#[derive(Debug, Clone)]
pub struct ArchivedSession {
    /// Its folder.
    pub folder: String,
    /// Its key there.
    pub key: Key,
    /// How many files it has.
    pub files: u64,
    /// The size of its files, in bytes.
    pub bytes: u64,
}

/// Checks a whole archive, writes nothing, and says what is in it. `step` hears
/// how far the reading has come, in bytes of the file.
///
/// # Errors
/// If it is no whole export, or an entry of it may not be unpacked.
pub fn inspect(
    file: &File,
    path: &Path,
    allow_twins: bool,
    step: &mut dyn FnMut(u64),
) -> Result<Vec<ArchivedSession>, ArchiveError> {
    let mut found: Vec<ArchivedSession> = Vec::new();
    let mut seen = HashSet::new();
    Walk { file, path, allow_twins }.run(step, &mut |entry| {
        match entry {
            ArchiveEntry::Begin { folder, key } => {
                if !seen.insert(folder.to_owned()) {
                    return refuse(folder.as_bytes(), "this session is in the archive twice");
                }
                found.push(ArchivedSession { folder: folder.to_owned(), key: key.clone(), files: 0, bytes: 0 });
            }
            ArchiveEntry::Item { item: Item::File { size, .. }, .. } => {
                if let Some(session) = found.last_mut() {
                    session.files += 1;
                    session.bytes += size;
                }
            }
            ArchiveEntry::Item { .. } => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// Unpacks those sessions of an archive that `wanted` gives a directory for.
/// The directories have to be there, and empty. Nothing is synced.
///
/// # Errors
/// As [`inspect`]; or where something cannot be written.
pub fn unpack(
    file: &File,
    path: &Path,
    allow_twins: bool,
    step: &mut dyn FnMut(u64),
    wanted: &mut dyn FnMut(&str) -> Result<Option<Dir>, ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut into: Option<Dir> = None;
    Walk { file, path, allow_twins }.run(step, &mut |entry| {
        match (entry, &into) {
            (ArchiveEntry::Begin { folder, .. }, _) => into = wanted(folder)?,
            (ArchiveEntry::Item { path, item: item @ Item::File { .. }, content }, Some(dir)) => {
                put_file(dir, path, item, content)?;
            }
            (ArchiveEntry::Item { path, item, .. }, Some(dir)) => put(dir, path, item)?,
            (ArchiveEntry::Item { .. }, None) => {}
        }
        Ok(())
    })
}

/// Checks that there is room for so many bytes below a directory.
///
/// # Errors
/// If there is not.
pub fn check_room(needed: u64, at: &Path) -> Result<(), ArchiveError> {
    let free = free_below(at)?;
    if needed > free { Err(ArchiveError::NoRoom { needed, free, at: at.to_owned() }) } else { Ok(()) }
}

/// What a walk comes by.
enum ArchiveEntry<'a> {
    /// A session begins. Its record comes again, as an item.
    Begin {
        /// Its folder.
        folder: &'a str,
        /// Its key.
        key: &'a Key,
    },
    /// Something in its folder.
    Item {
        /// Its path in the folder.
        path: &'a Path,
        /// What it is.
        item: &'a Item,
        /// Its content, where it is a file.
        content: &'a mut dyn Read,
    },
}

struct Walk<'a> {
    file: &'a File,
    path: &'a Path,
    allow_twins: bool,
}

/// The session that a walk is in.
#[derive(Default)]
struct Current {
    folder: String,
    /// Whether its record was read.
    begun: bool,
    /// The paths of all entries, and of the directories among them.
    paths: HashSet<PathBuf>,
    dirs: HashSet<PathBuf>,
    /// The paths in lower case.
    folded: HashSet<String>,
    /// What all of them take in memory, in bytes.
    names: usize,
}

fn refuse<T>(entry: &[u8], reason: impl Into<String>) -> Result<T, ArchiveError> {
    Err(ArchiveError::Refused { entry: shown(entry), reason: reason.into() })
}

impl Walk<'_> {
    fn broken(&self, reason: impl Into<String>) -> ArchiveError {
        ArchiveError::NotAnExport { path: self.path.to_owned(), reason: reason.into() }
    }

    /// Goes through the archive from its start, and checks everything that can
    /// be checked without looking at the disk.
    fn run(
        &self,
        step: &mut dyn FnMut(u64),
        take: &mut dyn FnMut(ArchiveEntry<'_>) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let io = |source| ArchiveError::io("read", self.path, source);
        let mut file = self.file;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        let packed = file.metadata().map_err(io)?.size();
        let limit = MAX_FREE_BYTES.saturating_add(packed.saturating_mul(MAX_RATIO));
        let mut decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(256 * 1024, file)).map_err(io)?;
        decoder.window_log_max(MAX_WINDOW_LOG).map_err(io)?;
        let mut archive = tar::Archive::new(decoder.single_frame());
        let mut sessions = 0_u64;
        let mut unpacked = 0_u64;
        let mut ended = false;
        let mut current = Current::default();
        let mut long_path: Option<Vec<u8>> = None;
        let mut long_target: Option<Vec<u8>> = None;
        let entries = archive.entries().map_err(|_| self.broken("it is no tar in a zstd frame"))?;
        // Raw, because the crate would read extension entries of any size into memory.
        for (number, entry) in entries.raw(true).enumerate() {
            let mut entry = entry.map_err(|error| self.broken(error.to_string()))?;
            if ended {
                return Err(self.broken("something follows its last entry"));
            }
            let size = entry.size();
            let kind = entry.header().entry_type();
            let name = long_path.clone().unwrap_or_else(|| entry.path_bytes().into_owned());
            unpacked = unpacked.saturating_add(512).saturating_add(size);
            if unpacked > limit {
                return refuse(
                    &name,
                    format!("the archive would unpack to more than {limit} bytes, too much for its {packed}"),
                );
            }
            if kind.is_gnu_longname() || kind.is_gnu_longlink() {
                if size > MAX_PATH {
                    return refuse(&name, format!("its path has {size} bytes, at most {MAX_PATH} are read"));
                }
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(|error| self.broken(error.to_string()))?;
                while bytes.last() == Some(&0) {
                    bytes.pop();
                }
                let slot = if kind.is_gnu_longname() { &mut long_path } else { &mut long_target };
                if slot.replace(bytes).is_some() {
                    return refuse(&name, "it has two long names");
                }
                continue;
            }
            let target = long_target.take().or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned));
            long_path = None;
            if number == 0 {
                self.head(&name, &mut entry)?;
                continue;
            }
            if name == FOOT.as_bytes() && kind.is_file() {
                let foot: Foot = self.json(&mut entry)?;
                if foot.sessions != sessions {
                    return Err(self.broken(format!("it holds {sessions} of {} sessions", foot.sessions)));
                }
                ended = true;
                continue;
            }
            let (folder, path) = split(&name)?;
            let item = if kind.is_dir() {
                Item::Dir
            } else if kind.is_file() {
                let header = entry.header();
                let number = |value: std::io::Result<u64>| value.map_err(|error| self.broken(error.to_string()));
                let executable = header.mode().map_err(|error| self.broken(error.to_string()))? & 0o100 != 0;
                let modified = at_second(number(header.mtime())?);
                Item::File { size, modified, executable }
            } else if kind.is_symlink() {
                Item::Link(PathBuf::from(OsStr::from_bytes(target.as_deref().unwrap_or_default())))
            } else {
                return refuse(
                    &name,
                    format!("it is {}, and only files, directories and links are unpacked", words(kind)),
                );
            };
            if path.as_os_str().is_empty() {
                if !current.folder.is_empty() && !current.begun {
                    return refuse(current.folder.as_bytes(), "its session.json is missing");
                }
                if item != Item::Dir {
                    return refuse(&name, "a session has to be a directory");
                }
                sessions += 1;
                step(position(self.file));
                current = Current { folder: folder.to_owned(), ..Current::default() };
                continue;
            }
            if folder != current.folder {
                return refuse(&name, "its session was not begun");
            }
            current.check(&name, &path, &item, self.allow_twins)?;
            if !current.begun {
                let (Item::File { .. }, true) = (&item, path == Path::new("session.json")) else {
                    return refuse(&name, "a session has to begin with its session.json");
                };
                if size > MAX_RECORD {
                    return refuse(&name, format!("it has {size} bytes, at most {MAX_RECORD} are read"));
                }
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(|error| self.broken(error.to_string()))?;
                let record = Record::from_json(&bytes, Path::new(OsStr::from_bytes(&name)))?;
                if record.key.folder_name() != current.folder {
                    let own = record.key.folder_name();
                    return refuse(&name, format!("its key `{}` belongs to the folder `{own}`", record.key));
                }
                current.begun = true;
                take(ArchiveEntry::Begin { folder: &current.folder, key: &record.key })?;
                take(ArchiveEntry::Item { path: &path, item: &item, content: &mut bytes.as_slice() })?;
                continue;
            }
            let mut content = Exactly { inner: &mut entry, left: size };
            take(ArchiveEntry::Item { path: &path, item: &item, content: &mut content })?;
            std::io::copy(&mut content, &mut std::io::sink()).map_err(|error| self.broken(error.to_string()))?;
        }
        if !current.folder.is_empty() && !current.begun {
            return refuse(current.folder.as_bytes(), "its session.json is missing");
        }
        if !ended {
            return Err(self.broken("its end is missing"));
        }
        // The frame's checksum comes after the last block of the tar.
        let mut rest = archive.into_inner().take(MAX_PADDING);
        let padding = std::io::copy(&mut rest, &mut std::io::sink()).map_err(|error| self.broken(error.to_string()))?;
        let mut file = rest.into_inner().finish();
        if padding == MAX_PADDING || !file.fill_buf().map_err(io)?.is_empty() {
            return Err(self.broken("something follows its end"));
        }
        Ok(())
    }

    fn head(&self, name: &[u8], entry: &mut impl Read) -> Result<(), ArchiveError> {
        if name != HEAD.as_bytes() {
            return Err(self.broken(format!("its first entry is `{}`, not `{HEAD}`", shown(name))));
        }
        let head: Head = self.json(entry)?;
        if head.format > FORMAT {
            let reason = format!("it has format {}, this program knows up to {FORMAT}: update denizen", head.format);
            return Err(self.broken(reason));
        }
        Ok(())
    }

    fn json<T: serde::de::DeserializeOwned>(&self, entry: &mut impl Read) -> Result<T, ArchiveError> {
        let mut bytes = Vec::new();
        entry.take(64 * 1024).read_to_end(&mut bytes).map_err(|error| self.broken(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| self.broken(error.to_string()))
    }
}

impl Current {
    /// Checks an entry against those before it.
    fn check(&mut self, name: &[u8], path: &Path, item: &Item, allow_twins: bool) -> Result<(), ArchiveError> {
        self.names += name.len() + NAME_COST;
        if self.names > MAX_NAMES {
            return refuse(name, format!("its session has too many entries: {} before it", self.paths.len()));
        }
        if !self.paths.insert(path.to_owned()) {
            return refuse(name, "it is in the archive twice");
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        if !parent.as_os_str().is_empty() && !self.dirs.contains(parent) {
            return refuse(name, "the directory that it is in was not made before it");
        }
        let folded = path.to_string_lossy().to_lowercase();
        let own_twin = path
            .iter()
            .next()
            .and_then(OsStr::to_str)
            .is_some_and(|first| OWN.iter().any(|own| first != *own && first.eq_ignore_ascii_case(own)));
        if own_twin {
            return refuse(name, "it differs only in case from one of Denizen's own files");
        }
        if !self.folded.insert(folded) && !allow_twins {
            return refuse(name, "it differs only in case from another entry");
        }
        match item {
            Item::Dir => {
                self.dirs.insert(path.to_owned());
            }
            Item::Link(target) if !is_target(target) => {
                return refuse(name, "it is a link to something that can have no such name");
            }
            Item::Link(target) if !stays_inside(path, target) => {
                return refuse(name, format!("it is a link to `{}`, out of the session's folder", target.display()));
            }
            Item::Link(_) if is_own(path) => return refuse(name, "it is a link where only files belong"),
            Item::Link(_) | Item::File { .. } => {}
        }
        Ok(())
    }
}

/// The session's folder, and the path in it, of the name of an entry.
fn split(name: &[u8]) -> Result<(&str, PathBuf), ArchiveError> {
    if name.len() as u64 > MAX_PATH {
        return refuse(name, format!("its path is longer than {MAX_PATH} bytes"));
    }
    if name.contains(&0) {
        return refuse(name, "its path holds a NUL byte");
    }
    if name.starts_with(b"/") {
        return refuse(name, "its path is absolute");
    }
    // Directories end with a slash.
    let parts: Vec<&[u8]> = name.strip_suffix(b"/").unwrap_or(name).split(|byte| *byte == b'/').collect();
    if parts.contains(&b"..".as_slice()) {
        return refuse(name, "its path leads upwards with `..`");
    }
    if parts.iter().any(|part| part.is_empty() || *part == b".") {
        return refuse(name, "its path has an empty part");
    }
    if parts.iter().any(|part| part.len() > MAX_NAME) {
        return refuse(name, format!("a part of its path is longer than {MAX_NAME} bytes"));
    }
    let [b"sessions", folder, rest @ ..] = parts.as_slice() else {
        return refuse(name, "it is not below `sessions/`");
    };
    let Some(folder) = std::str::from_utf8(folder).ok().filter(|folder| is_folder_name(folder)) else {
        return refuse(name, "its folder's name can belong to no session key");
    };
    Ok((folder, rest.iter().map(|part| OsStr::from_bytes(part)).collect()))
}

/// Whether a link can have this target at all.
fn is_target(target: &Path) -> bool {
    let bytes = target.as_os_str().as_bytes();
    !bytes.is_empty() && bytes.len() <= MAX_TARGET && !bytes.contains(&0)
}

/// What an entry is that may not be unpacked.
fn words(kind: tar::EntryType) -> String {
    match kind {
        tar::EntryType::Link => "a hard link".to_owned(),
        tar::EntryType::Char | tar::EntryType::Block => "a device".to_owned(),
        tar::EntryType::Fifo => "a FIFO".to_owned(),
        tar::EntryType::XHeader | tar::EntryType::XGlobalHeader => "an extension of the pax format".to_owned(),
        tar::EntryType::GNUSparse => "a sparse file".to_owned(),
        other => format!("of type {:?}", char::from(other.as_byte())),
    }
}

/// How far a file was read, in bytes.
fn position(mut file: &File) -> u64 {
    file.stream_position().unwrap_or(0)
}
