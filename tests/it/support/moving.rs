//! Bots that move in: a copy of a fixture, with conversations as the providers
//! keep them for somebody who uses them without Denizen.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::root::{Output, Root, write};
use super::tree::Tree;

/// The time at which all files of fixtures were last changed: 2026-01-02T03:04:05Z.
const CHANGED: u64 = 1_767_323_045;

/// A bot's state in a directory of a test.
pub(crate) struct Bot {
    pub(crate) root: Root,
}

/// The fixtures, each a directory.
pub(crate) fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/legacy");
    let mut fixtures: Vec<PathBuf> = fs_err::read_dir(dir).expect("fixtures").flatten().map(|e| e.path()).collect();
    fixtures.sort();
    assert!(fixtures.len() >= 16, "{fixtures:?}");
    fixtures
}

impl Bot {
    /// A bot that has not left anything yet.
    pub(crate) fn new(test: &str) -> Self {
        let bot = Self { root: Root::new(test) };
        fs_err::create_dir(bot.dir()).expect("a directory");
        bot
    }

    /// A copy of a fixture.
    pub(crate) fn of_fixture(test: &str, fixture: &Path) -> Self {
        let bot = Self::new(test);
        let source = fixture.join("bot");
        for entry in walkdir::WalkDir::new(&source).sort_by_file_name() {
            let entry = entry.expect("an entry");
            if entry.file_type().is_file() {
                let name = entry.path().strip_prefix(&source).expect("below it");
                let text = fs_err::read_to_string(entry.path()).expect("a text");
                bot.write(name, &text.replace("@bot", &bot.dir().display().to_string()));
            }
        }
        let transcripts = std::fs::read_to_string(fixture.join("transcripts.txt")).unwrap_or_default();
        for (number, line) in transcripts.lines().enumerate() {
            let (provider, rest) = line.split_once(' ').expect("a provider");
            let (dir, id) = rest.rsplit_once(' ').expect("a directory and an id");
            let dir = bot.root.dir().join(dir);
            bot.transcript(provider, &dir, id, Duration::from_secs(60 * (number as u64 + 1)));
        }
        bot
    }

    /// Where the bot was started.
    pub(crate) fn dir(&self) -> PathBuf {
        self.root.dir().join("bot")
    }

    /// Writes a file of the bot.
    pub(crate) fn write(&self, name: &Path, text: &str) {
        let path = self.dir().join(name);
        write(&path, text);
        set_time(&path, Duration::ZERO);
    }

    /// A conversation, as the provider keeps it for a user of its own.
    pub(crate) fn transcript(&self, provider: &str, dir: &Path, id: &str, later: Duration) {
        let path = match provider {
            "claude" => self.root.home().join(".claude/projects").join(encoded(dir)).join(format!("{id}.jsonl")),
            _ => self.root.home().join(format!(".codex/sessions/2026/01/02/rollout-2026-01-02T03-04-05-{id}.jsonl")),
        };
        let first = json!({ "type": "session_meta", "payload": { "id": id, "cwd": dir } });
        write(&path, &format!("{first}\n"));
        set_time(&path, later);
    }

    /// Runs `denizen migrate` on the bot's directory.
    pub(crate) fn migrate(&self, args: &[&str]) -> Output {
        let dir = self.dir().display().to_string();
        let rows = self.dir().join("rows.json");
        let rows_text = rows.display().to_string();
        let from: &[&str] = if rows.exists() { &["--from-json", &rows_text] } else { &["--from", &dir] };
        self.root.run(&[&["migrate"], from, args].concat())
    }

    /// The keys of all sessions.
    pub(crate) fn keys(&self) -> Vec<String> {
        let sessions = sessions(&self.root.path());
        let records = sessions.as_object().expect("sessions").values();
        records.map(|session| session["record"]["key"].as_str().expect("a key").to_owned()).collect()
    }

    /// The receipts, with the directory of each.
    pub(crate) fn receipts(&self) -> Vec<(PathBuf, Value)> {
        receipts(&self.root.path())
    }

    /// The name of the receipt for a file of this name.
    pub(crate) fn receipt_of(&self, file: &str) -> String {
        let receipts = self.receipts();
        let (dir, _) = receipts
            .iter()
            .find(|(_, receipt)| Path::new(receipt["source"].as_str().expect("a source")).ends_with(file))
            .expect("a receipt");
        dir.file_name().and_then(|name| name.to_str()).expect("a name").to_owned()
    }

    /// The uuids of all sessions.
    pub(crate) fn uuids(&self) -> Vec<String> {
        let sessions = sessions(&self.root.path());
        let records = sessions.as_object().expect("sessions").values();
        records.map(|session| session["record"]["uuid"].as_str().expect("a uuid").to_owned()).collect()
    }
}

/// The receipts of a root, with the directory of each, by their sources.
pub(crate) fn receipts(root: &Path) -> Vec<(PathBuf, Value)> {
    let Ok(entries) = fs_err::read_dir(root.join("legacy")) else { return Vec::new() };
    let mut receipts: Vec<(PathBuf, Value)> = entries
        .flatten()
        .map(|entry| {
            let text = fs_err::read(entry.path().join("receipt.json")).expect("a receipt");
            (entry.path(), serde_json::from_slice(&text).expect("JSON"))
        })
        .collect();
    receipts.sort_by_key(|(_, receipt)| receipt["source"].as_str().map(str::to_owned));
    receipts
}

/// Every session of a root by its folder: the record, the grant, and the files.
pub(crate) fn sessions(root: &Path) -> Value {
    let mut sessions = serde_json::Map::new();
    let mut folders: Vec<PathBuf> = match fs_err::read_dir(root.join("sessions")) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => Vec::new(),
    };
    folders.sort();
    for folder in folders {
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let json = |path: PathBuf| -> Value {
            std::fs::read(path).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).expect("JSON"))
        };
        let files = walkdir::WalkDir::new(&folder).sort_by_file_name().into_iter().flatten();
        let files = files.filter(|entry| entry.file_type().is_file());
        let files: Vec<String> = files
            .map(|entry| entry.path().strip_prefix(&folder).expect("below it").display().to_string())
            .filter(|file| file != "session.json" && file != "settings.json")
            .collect();
        let grant = json(root.join("access/sessions").join(format!("{name}.json")));
        let record = json(folder.join("session.json"));
        sessions.insert(name, json!({ "record": record, "grant": grant, "files": files }));
    }
    Value::Object(sessions)
}

/// Everything that a migration only reads.
pub(crate) fn source_tree(bot: &Bot) -> Tree {
    Tree::of(&[bot.dir(), bot.root.home()])
}

/// The name that Claude Code gives to a directory.
pub(crate) fn encoded(dir: &Path) -> String {
    let text = dir.display().to_string();
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

fn set_time(path: &Path, later: Duration) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(CHANGED) + later;
    let file = fs_err::OpenOptions::new().append(true).open(path).expect("a file");
    file.file().set_modified(time).expect("a time");
}
