//! How much of the machine a session's processes may use, and what shows that
//! they use more.
//!
//! The kernel holds the size of one file; process numbers are also held by it
//! where they are the session's own. Everything else is looked at by the
//! launcher while the provider runs. The clock is the launcher's deadline.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};

use crate::files;

/// The limits of one session; `None` is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Processes and threads, all together.
    pub processes: Option<u64>,
    /// Memory of all processes together, in bytes.
    pub memory: Option<u64>,
    /// The size of one file that is written, in bytes.
    pub file_size: Option<u64>,
    /// What the directories below may take on the disk together, in bytes.
    pub disk: Option<u64>,
    /// How many files may lie in them.
    pub files: Option<u64>,
    /// The directories that `disk` and `files` are about.
    pub directories: Vec<PathBuf>,
    /// The control group in which each turn gets one of its own, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<PathBuf>,
}

/// What a session's processes used more of than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitExceeded {
    /// Processes and threads.
    Processes(u64),
    /// Bytes of memory.
    Memory(u64),
    /// Bytes on the disk.
    Disk(u64),
    /// Files.
    Files(u64),
}

impl std::fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Processes(most) => {
                write!(f, "it had more than {most} processes and threads at once, as many as `limits.processes` allows")
            }
            Self::Memory(most) => write!(f, "it used more than {} of memory (`limits.memory`)", in_words(*most)),
            Self::Disk(most) => {
                write!(f, "the session's folder grew to more than {} (`limits.disk`)", in_words(*most))
            }
            Self::Files(most) => {
                write!(f, "the session's folder came to hold more than {most} files (`limits.files`)")
            }
        }
    }
}

/// A number of bytes as it is written in the configuration.
#[must_use]
pub fn in_words(bytes: u64) -> String {
    crate::sizes::written_size(bytes)
}

impl ResourceLimits {
    /// Sets the limits that the kernel holds, for this process and all that it
    /// starts. `own_pids`: whether process numbers are the session's own, so that
    /// other processes of the user do not count.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn apply(&self, own_pids: bool) -> std::io::Result<()> {
        if let Some(bytes) = self.file_size {
            lower(Resource::Fsize, bytes)?;
        }
        if let Some(count) = self.processes {
            // It holds what multiplies faster than it can be looked at, and leaves
            // room, so that whoever looks sees that there are too many. Where others
            // of the user count too, so do all that there are now. The kernel does
            // not hold root to it.
            let others = if own_pids { 0 } else { everything_that_runs() };
            lower(Resource::Nproc, count.saturating_mul(2).saturating_add(others))?;
        }
        // A dump of memory may hold the login, and would land in the folder.
        lower(Resource::Core, 0)
    }
}

/// How many processes and threads the machine has, the kernel's too.
fn everything_that_runs() -> u64 {
    // `0.20 0.18 0.12 1/80 11206` (proc_loadavg(5)).
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let total = text.split_whitespace().nth(3).and_then(|counts| counts.split_once('/')?.1.parse().ok());
    total.unwrap_or(u64::MAX)
}

fn lower(resource: Resource, most: u64) -> std::io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let most = now.maximum.map_or(most, |maximum| maximum.min(most));
    rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    Ok(())
}

/// Looks at what a session's processes use, seldom enough to cost nothing.
#[derive(Debug)]
pub struct LimitsWatch<'a> {
    limits: &'a ResourceLimits,
    memory_at: Instant,
    disk_at: Instant,
    /// What may lie in the directories; known from the first look on.
    most: Option<Use>,
}

/// What directories hold.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    bytes: u64,
    files: u64,
}

/// How often memory is looked at.
const MEMORY_PAUSE: Duration = Duration::from_millis(300);

/// When the directories are looked at first: a turn that is over by then, which
/// cannot have written much, does not pay for it.
const FIRST_DISK_LOOK: Duration = Duration::from_millis(300);

/// How often the directories are looked at, at most.
const DISK_PAUSE: Duration = Duration::from_secs(1);

/// The share of the time that looking at the directories may take: one in this.
const DISK_SHARE: u32 = 20;

/// How much a session that is over its limit already may still write, in bytes:
/// it has to be able to clean up.
const TO_CLEAN_UP: u64 = 16 * 1024 * 1024;

/// The same for files.
const FILES_TO_CLEAN_UP: u64 = 1000;

impl<'a> LimitsWatch<'a> {
    /// Begins to watch.
    #[must_use]
    pub fn new(limits: &'a ResourceLimits) -> Self {
        let now = Instant::now();
        Self { limits, memory_at: now, disk_at: now + FIRST_DISK_LOOK, most: None }
    }

    /// Looks, where it is time to. `descendants` gives the living processes, up to
    /// one more than it is told.
    pub fn look(&mut self, descendants: impl FnOnce(u64) -> Vec<u32>) -> Option<LimitExceeded> {
        self.look_at_processes(descendants).or_else(|| self.look_at_directories())
    }

    fn look_at_processes(&mut self, descendants: impl FnOnce(u64) -> Vec<u32>) -> Option<LimitExceeded> {
        let ResourceLimits { processes, memory, .. } = self.limits;
        if processes.is_none() && memory.is_none() {
            return None;
        }
        let living = descendants(processes.unwrap_or(u64::MAX));
        if let Some(most) = *processes
            && threads(&living, most) > most
        {
            return Some(LimitExceeded::Processes(most));
        }
        let most = (*memory)?;
        let now = Instant::now();
        if now < self.memory_at {
            return None;
        }
        self.memory_at = now + MEMORY_PAUSE;
        (living.iter().map(|pid| memory_of(*pid)).sum::<u64>() > most).then_some(LimitExceeded::Memory(most))
    }

    fn look_at_directories(&mut self) -> Option<LimitExceeded> {
        let ResourceLimits { disk, files, directories, .. } = self.limits;
        let begun = Instant::now();
        if (disk.is_none() && files.is_none()) || begun < self.disk_at {
            return None;
        }
        let limit = Use { bytes: disk.unwrap_or(u64::MAX), files: files.unwrap_or(u64::MAX) };
        let everything = Use { bytes: u64::MAX, files: u64::MAX };
        let stop_at = if self.most.is_none() { everything } else { limit.max(self.most.unwrap_or_default()) };
        let used = directories.iter().fold(Use::default(), |used, dir| used.add(dir, stop_at));
        self.disk_at = Instant::now() + (begun.elapsed() * DISK_SHARE).max(DISK_PAUSE);
        let most = *self.most.get_or_insert_with(|| {
            let more = Use {
                bytes: used.bytes.saturating_add(TO_CLEAN_UP),
                files: used.files.saturating_add(FILES_TO_CLEAN_UP),
            };
            Use {
                bytes: if used.bytes > limit.bytes { more.bytes } else { limit.bytes },
                files: if used.files > limit.files { more.files } else { limit.files },
            }
        });
        if used.bytes > most.bytes {
            return Some(LimitExceeded::Disk(limit.bytes));
        }
        (used.files > most.files).then_some(LimitExceeded::Files(limit.files))
    }
}

impl Use {
    fn max(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), files: self.files.max(other.files) }
    }

    /// Adds what a directory holds, up to somewhat more than `most`. No link is
    /// followed, and no other file system entered. A part that was closed to its
    /// owner is opened; one that stays closed, or lies deeper than a path can say,
    /// could hold anything and counts as everything.
    fn add(mut self, dir: &Path, most: Self) -> Self {
        use std::os::unix::fs::MetadataExt;
        let (mut starts, mut opened) = (vec![dir.to_owned()], HashSet::new());
        while let Some(start) = starts.pop() {
            for entry in walkdir::WalkDir::new(start).same_file_system(true) {
                let metadata = match entry.and_then(|entry| entry.metadata()) {
                    Ok(metadata) => metadata,
                    Err(error) => match (error.io_error().map(std::io::Error::kind), error.path()) {
                        (Some(ErrorKind::PermissionDenied), Some(path)) if opened.insert(path.to_owned()) => {
                            let _restored = files::restore(dir, &[path.to_owned()]);
                            starts.push(path.to_owned());
                            continue;
                        }
                        (Some(ErrorKind::PermissionDenied | ErrorKind::InvalidFilename), _) => {
                            return Self { bytes: u64::MAX, files: u64::MAX };
                        }
                        // What is gone meanwhile takes no room.
                        _ => continue,
                    },
                };
                self.files = self.files.saturating_add(1);
                self.bytes = self.bytes.saturating_add(metadata.blocks() * 512);
                if self.bytes > most.bytes || self.files > most.files {
                    return self;
                }
            }
        }
        self
    }
}

/// The threads of some processes; counting ends above `most`.
fn threads(pids: &[u32], most: u64) -> u64 {
    if pids.len() as u64 > most {
        return pids.len() as u64;
    }
    pids.iter().map(|pid| stat_field(*pid, "Threads:").unwrap_or(1)).sum()
}

/// The memory of a process that is its own, in bytes: without what it shares
/// through files.
fn memory_of(pid: u32) -> u64 {
    let kilobytes = |name| stat_field(pid, name).unwrap_or(0);
    (kilobytes("RssAnon:") + kilobytes("RssShmem:") + kilobytes("VmSwap:")) * 1024
}

/// A number of `/proc/<pid>/status` (proc_pid_status(5)).
fn stat_field(pid: u32, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that are counted")]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_does_not_count_as_growth() {
        let dir = tempfile::tempdir().expect("a directory");
        let make = |names: std::ops::Range<u32>| {
            names.for_each(|number| std::fs::write(dir.path().join(number.to_string()), "x").expect("written"));
        };
        let limits =
            ResourceLimits { files: Some(10), directories: vec![dir.path().to_owned()], ..ResourceLimits::default() };
        let look = |watch: &mut LimitsWatch<'_>| {
            watch.disk_at = Instant::now();
            watch.look(|_| Vec::new())
        };
        let mut watch = LimitsWatch::new(&limits);
        assert_eq!(watch.look(|_| Vec::new()), None, "it is not time to look yet");
        assert_eq!(look(&mut watch), None);
        make(0..20);
        assert_eq!(look(&mut watch), Some(LimitExceeded::Files(10)));
        let mut later = LimitsWatch::new(&limits);
        assert_eq!(look(&mut later), None, "a session that holds too much may clean up");
        make(20..1100);
        assert_eq!(look(&mut later), Some(LimitExceeded::Files(10)));
    }

    #[test]
    fn threads_and_memory_of_this_process_are_counted() {
        let own = std::process::id();
        let limits = ResourceLimits { memory: Some(1), ..ResourceLimits::default() };
        assert_eq!(LimitsWatch::new(&limits).look(|_| vec![own]), Some(LimitExceeded::Memory(1)));
        let limits = ResourceLimits { processes: Some(1), ..ResourceLimits::default() };
        // The test runs on a thread of its own.
        assert_eq!(LimitsWatch::new(&limits).look(|_| vec![own]), Some(LimitExceeded::Processes(1)));
    }
}
