//! The descendants of a process, by `/proc/<pid>/task/*/children`.

use std::collections::HashSet;

use rustix::process::{Pid, Signal};

/// All descendants of a process that can be seen, parents before children.
pub(super) fn of(pid: u32) -> Vec<u32> {
    at_most(pid, u64::MAX)
}

/// The same, and no more of them than one over `most`: a process that starts
/// others as fast as it can must not keep whoever counts them busy forever.
pub(super) fn at_most(pid: u32, most: u64) -> Vec<u32> {
    walk(pid, most, |_| {})
}

/// Stops all descendants of a process, each before its children are looked at:
/// whatever is stopped starts no other, so a single walk meets them all, however
/// fast they multiply. Gives them.
pub(super) fn stop(pid: u32) -> Vec<u32> {
    walk(pid, u64::MAX, |pid| signal(&[pid], Signal::STOP))
}

fn walk(pid: u32, most: u64, meet: impl Fn(u32)) -> Vec<u32> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let mut parent = Some(pid);
    let mut next = 0;
    while let Some(pid) = parent {
        for child in children(pid) {
            if seen.insert(child) {
                meet(child);
                found.push(child);
            }
        }
        if found.len() as u64 > most {
            break;
        }
        parent = found.get(next).copied();
        next += 1;
    }
    found
}

/// The children of all threads of a process.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Sends a signal to each. One that is gone already is fine: it is a descendant
/// that its parent has not collected, so its number is not given to another.
pub(super) fn signal(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        let _sent = rustix::process::kill_process(pid, signal);
    }
}
