//! Which messages of a network were taken already: a bounded set, kept in
//! `state/channels/<network>/handled`, one id a line.
//!
//! An id is written after its message is durable and before the network's
//! position may move past it; a crash between leaves the id in the queue entry,
//! where it is looked for too.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::files::{self, Dir, Durability, Staging};

/// How many ids are kept: more than a network repeats after an outage.
const KEPT: usize = 4096;

/// The name of the file.
const NAME: &str = "handled";

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The ids of one network.
#[derive(Debug)]
pub(super) struct SeenMessages {
    path: PathBuf,
    durability: Durability,
    state: Mutex<SeenIds>,
}

#[derive(Debug, Default)]
struct SeenIds {
    known: HashSet<String>,
    order: VecDeque<String>,
    file: Option<File>,
    lines: usize,
}

impl SeenMessages {
    /// Reads the ids of the network whose directory this is.
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, files::Error> {
        let mut state = SeenIds::default();
        let opened = Dir::open(dir)?;
        match opened.open_file(Path::new(NAME), MAX_BYTES) {
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
            Ok(mut file) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                read.map_err(|source| files::Error::io("read", &dir.join(NAME), source))?;
                for id in text.lines().filter(|id| !id.is_empty()) {
                    state.lines += 1;
                    state.add(id);
                }
            }
        }
        Ok(Self { path: dir.join(NAME), durability, state: Mutex::new(state) })
    }

    /// Whether a message is new. It is known from now on, in this process.
    pub(super) fn begin(&self, id: &str) -> bool {
        let mut state = self.lock();
        !state.known.contains(id) && {
            state.add(id);
            true
        }
    }

    /// Writes an id down, after its message is durable. Blocks.
    pub(super) fn keep(&self, id: &str, staging: &Staging) -> Result<(), files::Error> {
        let mut state = self.lock();
        let io = |source| files::Error::io("append to", &self.path, source);
        if state.lines > 4 * KEPT {
            state.file = None;
            let text: String = state.order.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
            let dir = Dir::open(self.path.parent().unwrap_or(&self.path))?;
            dir.replace(Path::new(NAME), text.as_bytes(), staging)?;
            state.lines = state.order.len();
            return Ok(());
        }
        state.lines += 1;
        let file = match &mut state.file {
            Some(file) => file,
            none => {
                let mut options = std::fs::OpenOptions::new();
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                none.insert(options.append(true).create(true).open(&self.path).map_err(io)?)
            }
        };
        file.write_all(format!("{id}\n").as_bytes()).map_err(io)?;
        if self.durability == Durability::Power {
            file.sync_data().map_err(io)?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SeenIds> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeenIds {
    fn add(&mut self, id: &str) {
        if self.known.insert(id.to_owned()) {
            self.order.push_back(id.to_owned());
        }
        while self.order.len() > KEPT {
            if let Some(old) = self.order.pop_front() {
                self.known.remove(&old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_known_after_a_restart_and_the_file_stays_small() {
        let dir = tempfile::tempdir().expect("a directory");
        let staging = Staging::new(Dir::open(dir.path()).expect("a directory"), Durability::Process);
        let handled = SeenMessages::open(dir.path(), Durability::Process).expect("opened");
        assert!(handled.begin("7") && !handled.begin("7"));
        for number in 10..5 * KEPT {
            assert!(handled.begin(&number.to_string()));
            handled.keep(&number.to_string(), &staging).expect("kept");
        }
        let again = SeenMessages::open(dir.path(), Durability::Process).expect("opened");
        assert!(!again.begin(&(5 * KEPT - 1).to_string()) && again.begin("10"));
        let lines = std::fs::read_to_string(dir.path().join(NAME)).expect("read").lines().count();
        assert!(lines <= 4 * KEPT + 1, "{lines}");
    }
}
