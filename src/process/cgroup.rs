//! Control groups: the kernel holds a session's limits and ends all of it at
//! once, where the service manager gave Denizen a part of the tree for itself.
//!
//! cgroups(7), version 2; systemd marks what it delegates (`Delegate=yes`) with
//! the attribute `user.delegate`. A group that has groups of its own may hold no
//! process, so the daemon moves into one beside those of its turns. Elsewhere
//! the launcher alone looks after the limits.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::sandbox::ResourceLimits;

/// The group of the daemon itself.
const OWN: &str = "denizen";

/// What the groups of turns are named after.
const TURN: &str = "turn-";

/// How many processes and threads more than the limit the kernel lets there be:
/// the launcher sees those, and says what happened.
const SLACK: u64 = 32;

/// Makes room for the groups of turns below this process's own, and returns the
/// directory for them. `None` if nothing is delegated.
#[must_use]
pub fn settle() -> Option<PathBuf> {
    let base = own_group(
        &std::fs::read_to_string("/proc/self/cgroup").ok()?,
        &std::fs::read_to_string("/proc/self/mountinfo").ok()?,
    )?;
    if !is_delegated(&base) {
        return None;
    }
    prepare(&base).ok()?;
    Some(base)
}

fn prepare(base: &Path) -> std::io::Result<()> {
    make(&base.join(OWN))?;
    put(&base.join(OWN).join("cgroup.procs"), &std::process::id().to_string())?;
    for controller in ["+pids", "+memory"] {
        // One that the machine does not have holds nothing; the launcher looks.
        let _on = put(&base.join("cgroup.subtree_control"), controller);
    }
    // What a daemon that was killed left behind.
    for entry in std::fs::read_dir(base)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TURN) {
            end(&entry.path());
        }
    }
    Ok(())
}

/// The directory of the group that `/proc/self/cgroup` names, where the tree of
/// version 2 is mounted.
fn own_group(cgroup: &str, mounts: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4)).flatten()
    })?;
    // The root of the tree is nobody's to divide.
    (!path.is_empty()).then(|| Path::new(mount).join(path))
}

fn is_delegated(group: &Path) -> bool {
    let mut value = [0; 8];
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        rustix::fs::getxattr(group, *name, &mut value[..]).is_ok_and(|length| value[..length].starts_with(b"1"))
    })
}

fn make(group: &Path) -> std::io::Result<()> {
    match std::fs::create_dir(group) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Writes into a file of the kernel's, which are not replaced.
fn put(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    std::fs::File::options().write(true).open(file)?.write_all(text.as_bytes())
}

/// Kills what a group holds, and removes it. It may be gone already.
fn end(group: &Path) {
    let _killed = put(&group.join("cgroup.kill"), "1");
    let _removed = std::fs::remove_dir(group);
}

/// The group of one turn, which its launcher is in.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a group with these limits, and moves this process into it.
    pub(super) fn enter(limits: &ResourceLimits) -> std::io::Result<Option<Self>> {
        let Some(base) = &limits.group else { return Ok(None) };
        let path = base.join(format!("{TURN}{}", std::process::id()));
        make(&path)?;
        let group = Self { path };
        if let Some(processes) = limits.processes {
            group.limit("pids.max", processes.saturating_add(SLACK))?;
        }
        if let Some(memory) = limits.memory {
            group.limit("memory.max", memory)?;
        }
        put(&group.path.join("cgroup.procs"), &std::process::id().to_string())?;
        Ok(Some(group))
    }

    /// Sets a limit, where its controller is there.
    fn limit(&self, name: &str, most: u64) -> std::io::Result<()> {
        match put(&self.path.join(name), &most.to_string()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            written => written,
        }
    }

    /// Whether the kernel ended a process because memory was short in the group.
    pub(super) fn was_out_of_memory(&self) -> bool {
        let events = std::fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.is_some_and(|count| count.trim() != "0")
    }

    /// Leaves the group, and removes it.
    pub(super) fn leave(self) -> std::io::Result<()> {
        let base = self.path.parent().ok_or_else(|| Error::from(ErrorKind::NotFound))?;
        put(&base.join(OWN).join("cgroup.procs"), &std::process::id().to_string())?;
        std::fs::remove_dir(&self.path)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that the kernel would")]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_where_the_tree_is_mounted() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = own_group("0::/user.slice/denizen.service\n", mounts);
        assert_eq!(found, Some(PathBuf::from("/sys/fs/cgroup/user.slice/denizen.service")));
        assert_eq!(own_group("8:pids:/x\n0::/\n", mounts), None, "the root of the tree is not divided");
        assert_eq!(own_group("0::/x\n", "30 23 0:26 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn a_group_is_limited_as_configured() {
        let dir = tempfile::tempdir().expect("a directory");
        let base = dir.path();
        let path = base.join(format!("{TURN}{}", std::process::id()));
        std::fs::create_dir(&path).expect("a directory");
        for name in ["pids.max", "cgroup.procs"] {
            std::fs::write(path.join(name), "").expect("written");
        }
        let limits = ResourceLimits {
            processes: Some(100),
            memory: Some(1 << 30),
            group: Some(base.to_owned()),
            ..ResourceLimits::default()
        };
        let group = Cgroup::enter(&limits).expect("a group").expect("a group");
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        assert_eq!(read("pids.max"), "132");
        assert_eq!(read("cgroup.procs"), std::process::id().to_string());
        assert!(!path.join("memory.max").exists(), "a controller that is not there is left alone");
        assert!(!group.was_out_of_memory());
        std::fs::write(path.join("memory.events"), "low 0\noom 1\noom_kill 2\n").expect("written");
        assert!(group.was_out_of_memory());
    }
}
