//! `kill -9` at the system calls of every command that changes something: the
//! old version is there or the new one, nothing torn, and nothing lost that was
//! acknowledged.
//!
//! A power cut is another matter: what was written and not synced survives a
//! kill.

#![cfg(target_arch = "x86_64")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use super::support::crash::{self, Base, CASES, Case, UNSAFE, UNSAFE_WRITER};
use super::support::killat::{self, Calls, Scope, Strike};
use super::support::root::amount;

/// How many kills there are at least, over all cases.
fn least() -> usize {
    amount(60, 1_000, 1_000)
}

/// One place to kill at.
#[derive(Clone, Copy)]
struct Job {
    case: Case,
    scope: Scope,
    calls: Calls,
    at: usize,
}

/// What was struck, and what was not because the command had ended before.
#[derive(Default)]
struct Tally {
    kills: usize,
    unharmed: usize,
}

#[test]
fn a_kill_at_any_system_call_loses_nothing() {
    let test = "crash_kill::a_kill_at_any_system_call_loses_nothing";
    let Some(base) = Base::traceable(test) else { return };
    let begun = Instant::now();
    let jobs = points(&base);
    let (wrong, tallies) = sweep(&base, &jobs);
    let kills: usize = tallies.values().map(|tally| tally.kills).sum();
    println!("{kills} kills at {} points in {:.1?}", jobs.len(), begun.elapsed());
    for (name, tally) in &tallies {
        println!("  {name}: {} kills, {} runs that had ended before", tally.kills, tally.unharmed);
    }
    assert!(
        wrong.is_empty(),
        "{} of {kills} kills: {}",
        wrong.len(),
        wrong[..wrong.len().min(if crash::full() { 1_000 } else { 5 })].join("\n")
    );
    assert!(kills >= least(), "only {kills} kills");
    let whole = |name: &str| crash::full() || name.contains("Changing");
    for (name, tally) in tallies.iter().filter(|(name, _)| whole(name)) {
        assert!(tally.unharmed > 0, "{name}: the sweep did not reach the end");
    }
}

#[test]
fn the_same_sweep_finds_out_an_unsafe_writer() {
    let test = "crash_kill::the_same_sweep_finds_out_an_unsafe_writer";
    let Some(base) = Base::traceable(test) else { return };
    let count = base.unharmed(UNSAFE, Scope::Program).calls.len();
    let jobs: Vec<Job> = changing(UNSAFE, Scope::Program, count).collect();
    let (wrong, tallies) = sweep(&base, &jobs);
    let kills: usize = tallies.values().map(|tally| tally.kills).sum();
    println!("{} of {kills} kills found it out: {}", wrong.len(), wrong.first().map_or("", String::as_str));
    assert!(wrong.iter().any(|wrong| wrong.contains("session.json")), "nothing was found out: {wrong:?}");
    assert!(wrong.len() < kills, "the oracle finds fault with everything");
}

/// A program for the tests above, and no test: it writes the record in place.
#[test]
#[ignore = "a program that other tests start"]
fn the_unsafe_writer() {
    let Some(path) = std::env::var_os(UNSAFE_WRITER).map(PathBuf::from) else { return };
    let mut record: serde_json::Value = serde_json::from_slice(&fs_err::read(&path).expect("read")).expect("JSON");
    record["title"] = "Title".into();
    let mut text = serde_json::to_string_pretty(&record).expect("JSON");
    text.push('\n');
    let mut file = fs_err::File::create(&path).expect("a file");
    let (start, end) = text.split_at(text.len() / 2);
    file.write_all(start.as_bytes()).expect("written");
    file.write_all(end.as_bytes()).expect("written");
    file.sync_all().expect("synced");
}

/// The points: before each call that can change something, and among all calls
/// before as many as there is time for.
fn points(base: &Base) -> Vec<Job> {
    let groups: Vec<(Case, Scope)> =
        CASES.iter().flat_map(|case| [Scope::Program, Scope::Tree].map(|scope| (*case, scope))).collect();
    let mut jobs: Vec<Job> = Vec::new();
    let (mut counts, mut striking) = (Vec::new(), 0);
    let step = amount(5, 1, 1);
    for (case, scope) in groups {
        let unharmed = base.unharmed(case, scope);
        // What is aimed behind the last call strikes nothing.
        striking += unharmed.calls.len().div_ceil(step);
        jobs.extend(changing(case, scope, unharmed.calls.len()).step_by(step));
        counts.push((case, scope, unharmed.count));
    }
    let more = (least() + least() / 10).saturating_sub(striking).div_ceil(counts.len());
    for (case, scope, count) in counts {
        let step = if crash::full() { 1 } else { (count / more.max(1)).max(1) };
        // The number of calls differs from run to run, mostly by waits.
        let last = if crash::full() { count + 40 } else { count };
        jobs.extend((1..=last).step_by(step).map(|at| Job { case, scope, calls: Calls::Every, at }));
    }
    jobs
}

fn changing(case: Case, scope: Scope, count: usize) -> impl Iterator<Item = Job> {
    // A turn of more than a second shows itself, which takes some calls more.
    (1..=count + 6).chain((count + 10..=count + 30).step_by(5)).map(move |at| Job {
        case,
        scope,
        calls: Calls::Changing,
        at,
    })
}

fn sweep(base: &Base, jobs: &[Job]) -> (Vec<String>, BTreeMap<String, Tally>) {
    let tallies = Mutex::new(BTreeMap::<String, Tally>::new());
    let wrong = crash::all(jobs, |job| {
        let group = format!("{}, {:?}, {:?} calls", job.case.name, job.scope, job.calls);
        let name = format!("{group}, {}", job.at);
        let dir = base.copy(&name);
        let command = base.command(job.case, &dir);
        let traced = killat::run(&command, &dir, job.scope, job.calls, Strike::Kill(job.at))
            .map_err(|error| format!("{name}: {error}"))?;
        {
            let mut tallies = tallies.lock().expect("the tallies");
            let tally = tallies.entry(group).or_default();
            if traced.struck {
                tally.kills += 1;
            } else {
                tally.unharmed += 1;
            }
        }
        base.check(job.case, &dir, &traced).map_err(|wrong| format!("{name}: {wrong}"))?;
        fs_err::remove_dir_all(&dir).map_err(|error| error.to_string())
    });
    (wrong, tallies.into_inner().expect("the tallies"))
}
