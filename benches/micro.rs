//! Small pieces beside their raw twins: `cargo bench --bench micro`.
//!
//! Each line is the best average of several batches of both, taken in turns.
//! A piece does more than its twin (it refuses links, moves the time of change
//! on, keeps an order), so its ratio says what that costs.

#![expect(clippy::disallowed_methods, reason = "a benchmark compares with the bare calls")]
#![expect(clippy::print_stdout, reason = "its output is a table")]

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use denizen::files::{Dir, Durability, Lock, Staging, TicketLine};
use denizen::key::Key;
use denizen::session::{Conversation, Record};

fn main() {
    let uid = rustix::process::getuid().as_raw();
    let disk = std::env::var_os("DENIZEN_BENCH_DIR")
        .map_or_else(|| PathBuf::from(format!("/var/tmp/denizen-bench-{uid}")), PathBuf::from);
    for (place, dir) in [("disk", disk), ("tmpfs", PathBuf::from(format!("/dev/shm/denizen-bench-{uid}")))] {
        let dir = dir.join("micro");
        let _old = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory for the benchmark");
        println!("\n{place} ({})", dir.display());
        println!("{:<44} {:>10} {:>10} {:>7}", "piece", "ours us", "twin us", "ratio");
        files(&dir);
        std::fs::remove_dir_all(&dir).expect("removed");
    }
    println!("\nmemory only");
    pure();
}

fn files(path: &Path) {
    let dir = Dir::open(path).expect("a directory");
    let bytes = record().to_json();
    let name = Path::new("session.json");
    std::fs::write(path.join(name), &bytes).expect("written");
    std::fs::create_dir(path.join("tmp")).expect("a directory");
    let open = || Dir::open(&path.join("tmp")).expect("a directory");
    for (durability, calls) in [(Durability::Process, 300), (Durability::Power, 20)] {
        let staging = Staging::new(open(), durability);
        beside(
            &format!("Dir::replace, {durability:?} | temporary, rename"),
            calls,
            || dir.replace(name, &bytes, &staging).expect("replaced"),
            || raw_replace(path, name, &bytes, durability == Durability::Power),
        );
    }
    let cap = 1 << 20;
    beside(
        "Dir::read | fs::read",
        1_000,
        || dir.read(name, cap).expect("read"),
        || std::fs::read(path.join(name)).expect("read"),
    );
    let log = |name: &str| OpenOptions::new().append(true).create(true).open(path.join(name)).expect("opened");
    beside(
        "Dir::append | open, write",
        300,
        || dir.append(Path::new("ours.jsonl"), b"{\"a\": 1}\n", Durability::Process).expect("appended"),
        || log("twin.jsonl").write_all(b"{\"a\": 1}\n").expect("appended"),
    );
    let line = TicketLine::open(&path.join("line"), Durability::Process).expect("a line");
    let place = path.join("place");
    beside(
        "Line::join | create, unlink",
        300,
        || line.join().expect("a place"),
        || {
            drop(File::create_new(&place).expect("made"));
            std::fs::remove_file(&place).expect("removed");
        },
    );
    let lock = path.join("lock");
    beside(
        "Lock::try_take | open, flock",
        1_000,
        || Lock::try_take(&lock).expect("opened").expect("free"),
        || log("lock").try_lock().expect("free"),
    );
}

fn pure() {
    let key: Key = "discord-1484567890123456789".parse().expect("a key");
    let other: Key = "Team chat / Ünïcode".parse().expect("a key");
    beside("Key::folder_name, plain | String", 100_000, || key.folder_name(), || key.as_str().to_owned());
    let digest = || <sha2::Sha256 as sha2::Digest>::digest(black_box(other.as_str()));
    beside("Key::folder_name, hashed | SHA-256", 10_000, || other.folder_name(), digest);
    let (record, path) = (record(), Path::new("session.json"));
    let bytes = record.to_json();
    let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    beside(
        "Record::from_json | serde_json::Value",
        10_000,
        || Record::from_json(&bytes, path).expect("a record"),
        || serde_json::from_slice::<serde_json::Value>(&bytes).expect("JSON"),
    );
    beside(
        "Record::to_json | serde_json::Value",
        10_000,
        || record.to_json(),
        || serde_json::to_vec_pretty(&value).expect("JSON"),
    );
}

fn record() -> Record {
    let mut record = Record::new("discord-1484567890123456789".parse().expect("a key"), "discord");
    let id = record.uuid.to_string();
    record.conversation = Some(Conversation::new("claude", &id, "hello"));
    record
}

fn raw_replace(dir: &Path, name: &Path, bytes: &[u8], durable: bool) {
    let temporary = dir.join("tmp/raw");
    let mut file = File::create_new(&temporary).expect("a temporary");
    file.write_all(bytes).expect("written");
    if durable {
        file.sync_all().expect("synced");
    }
    std::fs::rename(&temporary, dir.join(name)).expect("renamed");
    if durable {
        File::open(dir).and_then(|dir| dir.sync_all()).expect("synced");
    }
}

/// Prints the lowest average of several batches of both, taken in turns.
fn beside<A, B>(name: &str, calls: u32, mut ours: impl FnMut() -> A, mut twin: impl FnMut() -> B) {
    let (mut best, mut best_twin) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..15 {
        best = best.min(batch(calls, &mut ours));
        best_twin = best_twin.min(batch(calls, &mut twin));
    }
    println!("{name:<44} {best:>10.2} {best_twin:>10.2} {:>7.2}", best / best_twin);
}

/// What one call takes, in microseconds.
fn batch<T>(calls: u32, call: &mut impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| drop(black_box(call())));
    start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}
