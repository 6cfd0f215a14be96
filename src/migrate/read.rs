//! Reading what an earlier system left, as a stranger's: no link is followed,
//! nothing but regular files of this user is read, nothing waits, nothing is
//! larger than it can sensibly be. What is refused is named, and the rest is read.

use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::files::{self, Dir, Stamp};
use crate::key::hex;

/// The largest file of state that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What one place of an earlier system holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegacyState {
    /// The place, free of links.
    pub base: PathBuf,
    /// The files that were read.
    pub files: Vec<Read>,
    /// The files that were not, and why.
    pub refused: Vec<Refused>,
    /// The directories that were asked for and are there, relative to the place
    /// where they are below it.
    pub dirs: Vec<PathBuf>,
    /// The files that were asked for, that are there, and say all by that; absolute.
    pub flags: Vec<PathBuf>,
    /// How many files of a queue were left unread.
    pub unread: usize,
    /// The programs that still write there.
    pub daemons: Vec<LegacyDaemon>,
}

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Its path, absolute.
    pub path: PathBuf,
    /// Its path below the place.
    pub name: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
    /// When it was last changed.
    pub modified: Timestamp,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// Whether an earlier migration dealt with it: it is here for what it says
    /// about others.
    pub dealt_with: bool,
}

/// A file that was left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its path, absolute.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// A program that still writes the files below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyDaemon {
    /// Its process.
    pub pid: i32,
    /// The file that names it.
    pub file: PathBuf,
    /// The directories that it writes, absolute.
    pub writes: Vec<PathBuf>,
}

/// Reads one place.
pub struct LegacyReader<'a> {
    dir: Dir,
    replay: bool,
    dealt_with: &'a dyn Fn(&Path, &Stamp) -> bool,
    state: LegacyState,
}

impl<'a> LegacyReader<'a> {
    /// Opens a place, or nothing if there is none. `dealt_with` says of a file
    /// whether an earlier migration has dealt with it as it is.
    #[must_use]
    pub fn open(base: &Path, dealt_with: &'a dyn Fn(&Path, &Stamp) -> bool) -> Option<Self> {
        let base = std::fs::canonicalize(base).ok()?;
        let dir = Dir::open(&base).ok()?;
        Some(Self { dir, replay: false, dealt_with, state: LegacyState { base, ..LegacyState::default() } })
    }

    /// Also reads the messages of queues.
    #[must_use]
    pub fn with_queues(mut self, replay: bool) -> Self {
        self.replay = replay;
        self
    }

    /// What was read.
    #[must_use]
    pub fn finish(self) -> LegacyState {
        self.state
    }

    /// What was read so far.
    #[must_use]
    pub fn state(&self) -> &LegacyState {
        &self.state
    }

    /// Reads a file, unless it was dealt with.
    pub fn file(&mut self, name: &str) {
        self.read(Path::new(name), false);
    }

    /// Reads a file also where it was dealt with, and returns its place among
    /// the files.
    pub fn always(&mut self, name: &str) -> Option<usize> {
        let before = self.state.files.len();
        self.read(Path::new(name), true);
        (self.state.files.len() > before).then_some(before)
    }

    /// Reads the files whose names match: a `*` in a component stands for any text.
    pub fn matching(&mut self, pattern: &str) {
        for name in self.matches(pattern) {
            self.read(&name, false);
        }
    }

    /// The names that match, in order.
    pub fn matches(&mut self, pattern: &str) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::new()];
        for component in Path::new(pattern).components() {
            let Component::Normal(part) = component else { continue };
            let part = part.to_string_lossy();
            let Some((start, end)) = part.split_once('*') else {
                found.iter_mut().for_each(|path| path.push(&*part));
                continue;
            };
            let mut next = Vec::new();
            for path in found {
                match self.list(&path) {
                    Ok(mut names) => {
                        let fits = |name: &String| {
                            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
                        };
                        names.retain(fits);
                        names.sort_unstable();
                        next.extend(names.into_iter().map(|name| path.join(name)));
                    }
                    Err(error) => self.refuse(&path, &error),
                }
            }
            found = next;
        }
        found
    }

    /// Whether a directory is there, reached through no link.
    pub fn has_dir(&mut self, name: &Path) -> bool {
        let there = self.dir.open_dir(name).is_ok();
        if there && !self.state.dirs.iter().any(|known| known == name) {
            self.state.dirs.push(name.to_owned());
        }
        there
    }

    /// Whether a directory is there that may be anywhere.
    pub fn has_dir_elsewhere(&mut self, path: &Path) {
        if path.is_dir() && !self.state.dirs.iter().any(|known| known == path) {
            self.state.dirs.push(path.to_owned());
        }
    }

    /// Whether a file of this user is there that may be anywhere.
    pub fn has_file(&mut self, path: &Path) {
        use std::os::unix::fs::MetadataExt;
        let own = rustix::process::geteuid().as_raw();
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.uid() == own) {
            self.state.flags.push(path.to_owned());
        }
    }

    /// Reads the messages of a queue, or counts them where nobody asked for them.
    pub fn queue(&mut self, pattern: &str) {
        let names = self.matches(pattern);
        if self.replay {
            names.iter().for_each(|name| self.read(name, false));
        } else {
            self.state.unread += names.len();
        }
    }

    /// Notes the program that a pid file names, where it lives and is of that
    /// kind: one of the words stands in its command line, or it is a script that
    /// was started below the place.
    pub fn daemon(&mut self, pid_file: &Path, words: &[&str], writes: &[&Path]) {
        let Ok(bytes) = self.dir.read(pid_file, 4096) else { return };
        let text = String::from_utf8_lossy(&bytes);
        let digits: String =
            text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        let Ok(pid) = digits.parse::<i32>() else { return };
        if pid > 0 && is_of_kind(pid, words, &self.state.base) {
            let writes = writes.iter().map(|dir| self.state.base.join(dir)).collect();
            self.state.daemons.push(LegacyDaemon { pid, file: self.state.base.join(pid_file), writes });
        }
    }

    fn list(&self, name: &Path) -> Result<Vec<String>, files::Error> {
        let opened;
        let dir = if name.as_os_str().is_empty() {
            &self.dir
        } else {
            opened = match self.dir.open_dir(name) {
                Err(error) if is_nothing(&error) => return Ok(Vec::new()),
                opened => opened?,
            };
            &opened
        };
        Ok(dir.names()?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn read(&mut self, name: &Path, always: bool) {
        match self.try_read(name, always) {
            Ok(read) => self.state.files.extend(read),
            Err(error) if is_nothing(&error) => {}
            Err(error) => self.refuse(name, &error),
        }
    }

    fn try_read(&self, name: &Path, always: bool) -> Result<Option<Read>, files::Error> {
        let path = self.state.base.join(name);
        let dealt_with = match self.dir.stamp(name) {
            Ok(Some(stamp)) => (self.dealt_with)(&path, &stamp),
            _ => false,
        };
        if dealt_with && !always {
            return Ok(None);
        }
        if let Some(parent) = name.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.dir.open_dir(parent)?.check_own()?;
        }
        let (bytes, stamp) = self.dir.read_own(name, MAX_BYTES)?;
        let modified = Timestamp::from_nanosecond(stamp.modified).unwrap_or(Timestamp::UNIX_EPOCH);
        let sha256 = hex(&Sha256::digest(&bytes));
        Ok(Some(Read { path, name: name.to_owned(), bytes, modified, sha256, dealt_with }))
    }

    /// The directory above a name that is a link, if there is one.
    fn refused_above(&self, name: &Path) -> Option<(PathBuf, String)> {
        let mut above: Vec<&Path> = name.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).collect();
        above.reverse();
        above.into_iter().find_map(|dir| match self.dir.open_dir(dir) {
            Err(error @ files::Error::Link { .. }) => Some((self.state.base.join(dir), error.to_string())),
            _ => None,
        })
    }

    fn refuse(&mut self, name: &Path, error: &files::Error) {
        let (path, reason) = match error {
            files::Error::Foreign { path, .. } => (path.clone(), error.to_string()),
            // The path is said beside it.
            files::Error::Io { source, .. } => (self.state.base.join(name), source.to_string()),
            _ => self.refused_above(name).unwrap_or_else(|| (self.state.base.join(name), error.to_string())),
        };
        if !self.state.refused.iter().any(|refused| refused.path == path) {
            self.state.refused.push(Refused { path, reason });
        }
    }
}

/// Whether there is simply nothing of that name.
fn is_nothing(error: &files::Error) -> bool {
    let not_a_directory = rustix::io::Errno::NOTDIR.raw_os_error();
    error.is_not_found() || error.os_error() == Some(not_a_directory)
}

fn is_of_kind(pid: i32, words: &[&str], base: &Path) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let line = String::from_utf8_lossy(&line).to_lowercase();
    let program = line.split('\0').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let runs_scripts = ["bun", "node", "deno", "tsx"].contains(&program);
    let below = || std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(base));
    words.iter().any(|word| line.contains(word)) || (runs_scripts && below())
}
