//! A disk that fails or is full, at every call of every command that can change
//! something: the command says so and what to do, or has done it all the same,
//! and the next one works.

#![cfg(target_arch = "x86_64")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use nix::errno::Errno;

use super::support::crash::{self, Base, CASES, Case, UNSAFE};
use super::support::killat::{self, Call, Calls, Scope, Strike, Traced};
use super::support::root::amount;

/// How many failures there are at least, over all cases.
fn least() -> usize {
    amount(50, 400, 400)
}

/// One call that fails.
struct Job {
    case: Case,
    call: Call,
    strike: Strike,
}

#[test]
fn a_failing_disk_loses_nothing() {
    let test = "crash_errors::a_failing_disk_loses_nothing";
    let Some(base) = Base::traceable(test) else { return };
    let begun = Instant::now();
    let jobs: Vec<Job> = CASES.iter().flat_map(|case| failures(&base, *case)).step_by(amount(8, 1, 1)).collect();
    let (wrong, struck) = sweep(&base, &jobs);
    let count: usize = struck.values().sum();
    println!("{count} failures at {} points in {:.1?}: {struck:?}", jobs.len(), begun.elapsed());
    assert!(
        wrong.is_empty(),
        "{} of {count}: {}",
        wrong.len(),
        wrong[..wrong.len().min(if crash::full() { 1_000 } else { 20 })].join("\n")
    );
    assert!(count >= least(), "only {count} failures");
}

#[test]
fn the_same_failures_find_out_an_unsafe_writer() {
    let test = "crash_errors::the_same_failures_find_out_an_unsafe_writer";
    let Some(base) = Base::traceable(test) else { return };
    let (wrong, _) = sweep(&base, &failures(&base, UNSAFE));
    assert!(wrong.iter().any(|wrong| wrong.contains("session.json")), "nothing was found out: {wrong:?}");
}

/// Every call of a case, with every way in which it can fail.
fn failures(base: &Base, case: Case) -> Vec<Job> {
    let traced = base.unharmed(case, Scope::Program);
    let mut jobs = Vec::new();
    for (at, call) in traced.calls.into_iter().enumerate() {
        let at = at + 1;
        let mut strikes = vec![Strike::Fail(at, Errno::EIO), Strike::Fail(at, Errno::ENOSPC)];
        if call.name == "rename" || call.name == "link" {
            strikes.push(Strike::Fail(at, Errno::EXDEV));
        }
        // A disk that is full stays full.
        strikes.push(Strike::FailFrom(at, Errno::ENOSPC));
        if crash::full() {
            strikes.push(Strike::FailFrom(at, Errno::EIO));
        }
        jobs.extend(strikes.into_iter().map(|strike| Job { case, call: call.clone(), strike }));
    }
    jobs
}

fn sweep(base: &Base, jobs: &[Job]) -> (Vec<String>, BTreeMap<String, usize>) {
    let struck = Mutex::new(BTreeMap::new());
    let jobs: Vec<(usize, &Job)> = jobs.iter().enumerate().collect();
    let wrong = crash::all(&jobs, |(number, job)| {
        let Job { case, call, strike } = job;
        let name = format!("{}, {strike:?}, {} {}", case.name, call.name, short(call));
        let dir = base.copy(&format!("{number}"));
        let traced = killat::run(&base.command(*case, &dir), &dir, Scope::Program, Calls::Changing, *strike)
            .map_err(|error| format!("{name}: {error}"))?;
        if traced.struck {
            *struck.lock().expect("the counts").entry(case.name.to_owned()).or_default() += 1;
        }
        said(&traced, *strike).map_err(|wrong| format!("{name}: {wrong}"))?;
        tidied(&traced, *strike, &dir).map_err(|wrong| format!("{name}: {wrong}"))?;
        base.check(*case, &dir, &traced).map_err(|wrong| format!("{name} ({}): {wrong}", dir.display()))?;
        fs_err::remove_dir_all(&dir).map_err(|error| error.to_string())
    });
    (wrong, struck.into_inner().expect("the counts"))
}

/// A command that failed says which file it could not write, and what to do.
/// If it cannot print, the exit code alone has to tell.
fn said(traced: &Traced, strike: Strike) -> Result<(), String> {
    let Some(code) = traced.code else { return Err("it was killed".to_owned()) };
    let failed = match strike {
        Strike::Fail(at, _) => traced.calls.get(at - 1..at),
        Strike::FailFrom(at, _) => traced.calls.get(at - 1..),
        Strike::None | Strike::Kill(_) => None,
    };
    let prints = |call: &Call| ["stdout", "stderr"].iter().any(|name| call.path.ends_with(name));
    if code == 0 || failed.unwrap_or_default().iter().any(prints) {
        return Ok(());
    }
    // The message itself is handed over in a file in memory.
    let names_a_file = ["/root/", "/memfd:"].iter().any(|path| traced.stderr.contains(path));
    if !traced.stderr.starts_with("error:") || !names_a_file || !traced.stderr.contains("\nhint: ") {
        return Err(format!("it does not say what happened, to which file and what to do: {code}, {}", traced.stderr));
    }
    Ok(())
}

/// One failure leaves no temporary behind, except where its removal failed.
fn tidied(traced: &Traced, strike: Strike, dir: &Path) -> Result<(), String> {
    let Strike::Fail(at, _) = strike else { return Ok(()) };
    let left: Vec<_> = fs_err::read_dir(dir.join("root/state/tmp"))
        .map_err(|error| error.to_string())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let removing = traced.calls.get(at - 1).is_some_and(|call| call.name == "unlink");
    if left.is_empty() || removing { Ok(()) } else { Err(format!("left behind: {left:?}")) }
}

/// The file of a call, without what is another in every run.
fn short(call: &Call) -> String {
    let path = call.path.display().to_string();
    path.split_once("/root/").map_or(path.clone(), |(_, below)| below.to_owned())
}
