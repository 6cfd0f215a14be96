//! Copies of a login: made, looked at, taken back.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::note::Copied;
use crate::causes::with_causes;
use crate::files::{self, Dir, Durability, Staging, make_private_dir, open_linkless};
use crate::key::hex;
use crate::provider::{CopyVerdict, LoginRules};
use crate::session::{SessionError, Store};

/// The longest login that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// What a copy says.
#[derive(Debug, PartialEq)]
pub(super) enum CopyState {
    /// What it said before.
    Same,
    /// A renewed login, with which the original is to be replaced, and its hash.
    Renewed(Vec<u8>, String),
    /// Something else, and why it counts for nothing.
    Refused(String),
}

/// What an original says; `None` if there is none. Its path is free of links.
pub(super) fn read_original(path: &Path) -> Result<Option<Vec<u8>>, files::Error> {
    use std::io::Read;
    let file = match open_linkless(path) {
        Err(error) if error.is_not_found() => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|source| files::Error::Io { action: "read", path: path.to_owned(), source })?;
    let size = bytes.len() as u64;
    if size > MAX_BYTES {
        return Err(files::Error::TooLarge { path: path.to_owned(), size, cap: MAX_BYTES });
    }
    Ok(Some(bytes))
}

pub(super) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Puts a copy where the CLI looks for it, in place of whatever stands there.
pub(super) fn make(
    store: &Store,
    folder: &str,
    home: &Dir,
    copy: &Path,
    bytes: Option<&[u8]>,
) -> Result<(), SessionError> {
    use std::io::Write;
    remove(store, folder, home, copy)?;
    let Some(bytes) = bytes else { return Ok(()) };
    let (dir, name) = place(home, copy)?;
    let written = dir.create_new(&name)?.write_all(bytes);
    written.map_err(|source| files::Error::Io { action: "write", path: dir.path().join(name), source })?;
    Ok(())
}

/// How the names begin of the files that CLIs write a login to before they
/// rename them to its own (Codex 0.169, Claude Code 2.1.197).
const TEMPORARY: [&[u8]; 2] = [b".auth-", b".credentials.json.tmp."];

/// Removes what a CLI leaves in its home when it is killed: the lock directories,
/// also the one beside it, for which the next would wait, and logins that it had
/// not renamed yet. Nothing of the session runs.
pub(super) fn remove_litter(home: &Dir) {
    let mut beside = home.path().as_os_str().to_owned();
    beside.push(".lock");
    let mut locks = vec![PathBuf::from(beside)];
    for name in home.names().unwrap_or_default() {
        if name.as_encoded_bytes().ends_with(b".lock") {
            locks.push(home.path().join(name));
        } else if TEMPORARY.iter().any(|start| name.as_encoded_bytes().starts_with(start)) {
            let _removed = home.remove_file(Path::new(&name));
        }
    }
    for path in locks {
        // Not one that is a file, or has something in it.
        let _removed = std::fs::remove_dir(path);
    }
}

/// Removes a copy. A directory in its place, which an agent may have made of any
/// depth, is moved away.
pub(super) fn remove(store: &Store, folder: &str, home: &Dir, copy: &Path) -> Result<(), SessionError> {
    let (dir, name) = place(home, copy)?;
    if dir.remove_file(&name).is_err() {
        let _kept = set_aside(store, folder, home, copy)?;
    }
    Ok(())
}

fn place(home: &Dir, copy: &Path) -> Result<(Dir, PathBuf), files::Error> {
    let name = PathBuf::from(copy.file_name().unwrap_or_default());
    let parent = copy.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((home.make_dirs(parent.unwrap_or(Path::new(".")))?, name))
}

/// Looks at a copy. Whatever the agent made of it, this neither waits nor
/// follows a link.
pub(super) fn look(home: &Dir, copied: &Copied, rules: &LoginRules) -> Result<CopyState, files::Error> {
    let bytes = match home.read(&copied.copy, MAX_BYTES) {
        Ok(bytes) => bytes,
        // Whoever logs out inside is not logged out outside.
        Err(error) if error.is_not_found() => return Ok(CopyState::Same),
        Err(error) => return Ok(CopyState::Refused(with_causes(&error))),
    };
    let copy_hash = hash(&bytes);
    if copy_hash == copied.same {
        return Ok(CopyState::Same);
    }
    let Some(original) = read_original(&copied.original)? else {
        let reason = if copied.same.is_empty() { "there was no login before" } else { "the login is gone" };
        return Ok(CopyState::Refused(reason.to_owned()));
    };
    let [before, after] = [&original, &bytes].map(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    let (Some(before), Some(after)) = (before, after) else {
        return Ok(CopyState::Refused("it cannot be read".to_owned()));
    };
    Ok(match rules.compare(&before, &after, Timestamp::now()) {
        CopyVerdict::Nothing => CopyState::Same,
        CopyVerdict::Refused(reason) => CopyState::Refused(reason),
        CopyVerdict::Renewed(login) => CopyState::Renewed(written_like(&login, &bytes), copy_hash),
    })
}

/// Replaces a copy that a child may be reading.
pub(super) fn replace(store: &Store, home: &Dir, copy: &Path, bytes: &[u8]) -> Result<(), SessionError> {
    let staging = Staging::new(Dir::open(store.staging()?.path())?, Durability::Process);
    let (dir, name) = place(home, copy)?;
    dir.replace(&name, bytes, &staging)?;
    Ok(())
}

/// Moves a copy that counts for nothing away, whatever it is. Gives its new path.
pub(super) fn set_aside(store: &Store, folder: &str, home: &Dir, copy: &Path) -> Result<PathBuf, SessionError> {
    let path = store.conflicts_path();
    make_private_dir(&path, store.durability())?;
    let (dir, name) = place(home, copy)?;
    let time = crate::session::now().strftime("%Y%m%dT%H%M%S%.3fZ");
    let kept = format!("{folder}-{time}-{}", name.display().to_string().trim_start_matches('.'));
    dir.move_entry(&name, &Dir::open(&path)?, Path::new(&kept))?;
    Ok(path.join(kept))
}

/// A login as text, indented and ended as the CLI has done it.
fn written_like(login: &Value, model: &[u8]) -> Vec<u8> {
    let trimmed = model.trim_ascii_end();
    let mut text = if trimmed.contains(&b'\n') { format!("{login:#}") } else { login.to_string() };
    if trimmed.len() < model.len() {
        text.push('\n');
    }
    text.into_bytes()
}
