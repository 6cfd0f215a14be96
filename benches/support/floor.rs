//! The floor: the smallest honest manager. It reads and parses `session.json`,
//! starts the provider in the session's folder, parses what it printed, and
//! replaces `session.json`. No lock, no queue, no transcript, no limits.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The smallest manager, over folders with a `session.json` each.
#[derive(Debug, Clone)]
pub(crate) struct Floor {
    /// The directory of the folders.
    pub(crate) sessions: PathBuf,
    /// The directory for temporaries.
    pub(crate) staging: PathBuf,
    /// The provider and its arguments.
    pub(crate) provider: Vec<String>,
    /// This program, where the provider is started by a launcher.
    pub(crate) launcher: Option<PathBuf>,
    /// Whether what is written is synced.
    pub(crate) durable: bool,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Floor {
    /// Sends a message; the reply is recorded before it is returned.
    pub(crate) fn send(&self, key: &str, text: &str) -> String {
        let dir = self.sessions.join(key);
        let file = dir.join("session.json");
        let mut record: Value = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).expect("a record"),
            Err(_) => {
                std::fs::create_dir(&dir).expect("a new folder");
                if self.durable {
                    sync(&self.sessions);
                }
                new_record(key)
            }
        };
        let (program, args) = self.provider.split_first().expect("a program");
        let mut command = match &self.launcher {
            Some(launcher) => Command::new(launcher),
            None => Command::new(program),
        };
        if self.launcher.is_some() {
            command.args(["__floor_run", program]);
        }
        command.args(args).env_clear().current_dir(&dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the provider");
        child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
        let mut printed = Vec::new();
        child.stdout.take().expect("its output").read_to_end(&mut printed).expect("read");
        assert!(child.wait().expect("its end").success(), "the provider failed");
        let reply: Value = serde_json::from_slice(&printed).expect("a reply");
        record["turns"] = (record["turns"].as_u64().unwrap_or(0) + 1).into();
        let mut bytes = serde_json::to_vec_pretty(&record).expect("JSON");
        bytes.push(b'\n');
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.staging.join(format!("floor-{}-{number}", std::process::id()));
        let mut new = std::fs::File::create_new(&temporary).expect("a temporary");
        new.write_all(&bytes).expect("written");
        if self.durable {
            new.sync_all().expect("synced");
        }
        std::fs::rename(&temporary, &file).expect("replaced");
        if self.durable {
            sync(&dir);
        }
        reply["reply"].as_str().expect("a text").to_owned()
    }

    /// Sends `count` messages to `keys` sessions, `at_once` at once.
    pub(crate) fn send_many(&self, count: usize, keys: usize, at_once: usize) {
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    loop {
                        let number = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("a number");
                        if number >= count {
                            return;
                        }
                        self.send(&format!("floor-{}", number % keys), "hello");
                    }
                });
            }
        });
    }
}

/// A record as long as the product's.
fn new_record(key: &str) -> Value {
    let (at, id) = ("2026-01-01T00:00:00.000Z", "67e55044-10b1-426f-9247-bb680e5fe0c8");
    json!({
        "version": 1, "key": key, "where": "terminal", "uuid": id, "created_at": at, "last_used_at": at,
        "provider": {"name": "bench"},
        "conversation": {
            "provider": "bench", "id": id, "started_at": at, "last_used_at": at,
            "turns": 1, "about": "hello", "told": "0123456789abcdef"
        },
        "turns": 0, "usage": {"input_tokens": 0, "cached_tokens": 0, "output_tokens": 0},
        "transcript_bytes": 0, "last_turn": {"at": at, "outcome": "answered"}
    })
}

fn sync(dir: &Path) {
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).expect("synced");
}

/// The smallest launcher: starts the provider and waits for it.
pub(crate) fn launch(mut args: impl Iterator<Item = String>) -> ExitCode {
    let mut child = Command::new(args.next().expect("a program")).args(args).spawn().expect("the provider");
    let status = child.wait().expect("its end");
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

/// Makes a folder with a record of every conversation in a file: each built aside
/// and renamed, all synced at once.
pub(crate) fn migrate(file: &Path, root: &Path, durable: bool) {
    let (sessions, staging) = (root.join("sessions"), root.join("state/tmp"));
    std::fs::create_dir_all(&sessions).expect("a directory");
    std::fs::create_dir_all(&staging).expect("a directory");
    let bytes = std::fs::read(file).expect("the file");
    let found: Value = serde_json::from_slice(&bytes).expect("JSON");
    let threads = found["threads"].as_object().expect("conversations");
    for (name, entry) in threads {
        let folder = format!("discord-{name}");
        let mut record = new_record(&folder);
        record["conversation"]["id"] = entry["sessionId"].clone();
        record["origin"] = entry.clone();
        let built = staging.join(&folder);
        std::fs::create_dir(&built).expect("a folder");
        std::fs::write(built.join("session.json"), serde_json::to_vec_pretty(&record).expect("JSON")).expect("written");
        std::fs::write(built.join("settings.json"), b"{\"memory_directory\": \"memory\"}\n").expect("written");
        std::fs::rename(&built, sessions.join(&folder)).expect("renamed");
    }
    std::fs::write(root.join("copy"), &bytes).expect("written");
    if durable {
        rustix::fs::syncfs(std::fs::File::open(root).expect("the root")).expect("synced");
    }
}

/// What a list shows of a session.
#[derive(Serialize, Deserialize)]
struct Row {
    key: String,
    title: Option<String>,
    uuid: Option<String>,
    #[serde(default)]
    turns: u64,
    created_at: Option<String>,
    last_used_at: Option<String>,
    archived_at: Option<String>,
}

/// Packs every file below a directory as one tar in zstd, to nowhere.
pub(crate) fn pack(sessions: &Path) {
    let encoder = zstd::Encoder::new(std::io::sink(), 3).expect("an encoder");
    let mut tar = tar::Builder::new(encoder);
    tar.append_dir_all("sessions", sessions).expect("packed");
    tar.into_inner().and_then(zstd::Encoder::finish).expect("an end");
}

/// Reads every file below a directory: the least that a check of them does.
pub(crate) fn read_all(sessions: &Path) {
    for entry in walkdir::WalkDir::new(sessions) {
        let entry = entry.expect("an entry");
        if entry.file_type().is_file() {
            std::fs::read(entry.path()).expect("a readable file");
        }
    }
}

/// Lists all sessions as lines of JSON, the one used last first: depth 1, two threads.
pub(crate) fn list(sessions: &Path) {
    let names: Vec<PathBuf> =
        std::fs::read_dir(sessions).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    let read = |paths: &[PathBuf]| -> Vec<Row> {
        let read = |path: &PathBuf| std::fs::read(path.join("session.json")).expect("a record");
        paths.iter().map(|path| serde_json::from_slice(&read(path)).expect("a record")).collect()
    };
    let (first, second) = names.split_at(names.len() / 2);
    let mut rows = std::thread::scope(|scope| {
        let other = scope.spawn(|| read(second));
        let mut rows = read(first);
        rows.extend(other.join().expect("rows"));
        rows
    });
    rows.sort_by(|a, b| b.last_used_at.cmp(&a.last_used_at));
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for row in &rows {
        serde_json::to_writer(&mut out, row).expect("written");
        out.write_all(b"\n").expect("written");
    }
}
