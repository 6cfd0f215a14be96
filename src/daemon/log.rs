//! Log files: one that is rotated by size, and one for each session.
//!
//! Own lines rather than a crate: the crates for it rotate by time only, or
//! bring a thread and a clock of their own. What is written here holds no text
//! of messages.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How large a log gets before the next is begun, in bytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// How large the log of one session gets, in bytes.
const MAX_SESSION_BYTES: u64 = 256 * 1024;

/// How many earlier logs are kept.
const KEPT: usize = 3;

/// A log file that begins again when it is large; earlier ones are `<name>.1`,
/// the latest, and so on.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Rotating {
    /// Opens a log, whose directory is made if it is missing.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(dir)?;
        }
        let file = append_to(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size })
    }
}

impl Write for Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + bytes.len() as u64 > MAX_BYTES {
            rotate(&self.path, KEPT)?;
            *self = Self::open(&self.path)?;
        }
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Adds a line to the log of a session. What cannot be written is left out: a
/// full disk does not keep a message from being answered.
pub(super) fn session(logs: &Path, folder: &str, line: &str) {
    let path = logs.join(format!("{folder}.log"));
    let write = || -> io::Result<()> {
        let mut file = match append_to(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
                    .create(logs)?;
                append_to(&path)?
            }
            opened => opened?,
        };
        if file.metadata()?.len() > MAX_SESSION_BYTES {
            rotate(&path, 1)?;
            file = append_to(&path)?;
        }
        file.write_all(format!("{} {line}\n", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).as_bytes())
    };
    let _left_out = write();
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn rotate(path: &Path, kept: usize) -> io::Result<()> {
    let numbered = |number: usize| PathBuf::from(format!("{}.{number}", path.display()));
    for number in (1..kept).rev() {
        match rustix::fs::rename(numbered(number), numbered(number + 1)) {
            Err(rustix::io::Errno::NOENT) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rustix::fs::rename(path, numbered(1))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_log_begins_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("logs/denizen.log");
        let mut log = Rotating::open(&path).expect("opened");
        let line = vec![b'x'; 3 * 1024 * 1024];
        for _ in 0..12 {
            log.write_all(&line).expect("written");
        }
        let names: Vec<_> = ["", ".1", ".2", ".3", ".4"]
            .iter()
            .filter(|ending| Path::new(&format!("{}{ending}", path.display())).exists())
            .collect();
        assert_eq!(names, [&"", &".1", &".2", &".3"]);
        assert!(std::fs::metadata(&path).expect("a file").len() <= MAX_BYTES);
    }

    #[test]
    fn a_session_has_a_log_of_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        for _ in 0..9000 {
            session(&dir.path().join("sessions"), "work", "the turn began, and this is a line of some length");
        }
        let size = |name: &str| std::fs::metadata(dir.path().join("sessions").join(name)).map_or(0, |m| m.len());
        assert!(size("work.log") > 0 && size("work.log") <= MAX_SESSION_BYTES + 100);
        assert!(size("work.log.1") > 0 && size("work.log.2") == 0);
    }
}
