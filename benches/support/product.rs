//! The product, used as a daemon uses it: one process, one thread, one runtime.

use std::cell::Cell;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use denizen::backup::{self, Exporter, Tree};
use denizen::config::{Config, ConfigInputs, Environment};
use denizen::key::Key;
use denizen::message::Inbound;
use denizen::ops::{Control, SendOptions, Wait};
use denizen::session::{Conversation, LastTurn, ProviderChoice, Record, Settings, Store, TurnOutcome};
use denizen::turn::{Setup, TurnEvents};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// The library in this process.
pub(crate) struct Product {
    control: Control,
    runtime: Runtime,
}

/// Writes the configuration of a root.
pub(crate) fn configure(root: &Path, provider: &[String], durability: &str) {
    std::fs::create_dir_all(root).expect("a root");
    let (program, args) = provider.split_first().expect("a program");
    let text = format!(
        "provider = \"bench\"\nwalls = \"off\"\ndurability = \"{durability}\"\nlimits.turns = 8\nlimits.queued = 1000\n\n\
         [providers.bench]\nprogram = {program:?}\nargs = {args:?}\n"
    );
    std::fs::write(root.join("denizen.toml"), text).expect("written");
}

/// The path of the program.
pub(crate) fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_denizen").into()
}

impl Product {
    /// Opens a root that was configured, without walls, as the floor has none.
    pub(crate) fn open(root: &Path) -> Self {
        Self::open_with(root, "off")
    }

    /// The same with walls.
    pub(crate) fn open_with(root: &Path, walls: &str) -> Self {
        let overrides = [("walls".to_owned(), walls.to_owned())];
        let environment = Environment::default();
        let file = root.join("denizen.toml");
        let inputs = ConfigInputs {
            root,
            home: None,
            file: &file,
            required: true,
            environment: &environment,
            overrides: &overrides,
        };
        let config = Config::load(inputs).expect("a configuration");
        let store = Arc::new(Store::at(root, config.durability));
        let setup = Arc::new(Setup::attended(config, environment, None, program()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { control: Control { setup, store }, runtime }
    }

    /// Sends a message; the reply is recorded before it is returned.
    pub(crate) fn send(&self, key: &str, text: &str) -> String {
        self.runtime.block_on(one(&self.control, key, text))
    }

    /// Sends `count` messages to `keys` sessions, `at_once` at once.
    pub(crate) fn send_many(&self, count: usize, keys: usize, at_once: usize) {
        let next = Rc::new(Cell::new(0));
        let tasks = LocalSet::new();
        for _ in 0..at_once {
            let (next, control) = (next.clone(), self.control.clone());
            tasks.spawn_local(async move {
                while next.get() < count {
                    let number = next.replace(next.get() + 1);
                    one(&control, &format!("product-{}", number % keys), "hello").await;
                }
            });
        }
        self.runtime.block_on(tasks);
    }
}

async fn one(control: &Control, key: &str, text: &str) -> String {
    let inbound = Inbound::from_terminal(key.parse().expect("a key"), text.to_owned());
    let interrupt = Notify::new();
    let options = SendOptions { stream: false, interrupt: &interrupt, approvals: None };
    let mut wait = Wait { limit: None, events: &TurnEvents::default() };
    let delivery = control.send(&inbound, options, &mut wait).await.expect("accepted");
    delivery.delivered().expect("answered").text
}

/// Looks at every session of a root, as `denizen verify` does.
pub(crate) fn verify(root: &Path) {
    let tree = Tree::at(root).expect("a root");
    let verdict = backup::verify(&tree, true, &mut || (), &mut |_| ()).expect("a verdict");
    assert_eq!(verdict.sound, verdict.sessions);
}

impl Product {
    /// Packs every session, as `denizen export --all` does, to nowhere.
    pub(crate) fn export(&self) {
        self.runtime.block_on(async {
            let mut exporter = Exporter::new(std::io::sink()).expect("an export");
            let mut wait = Wait { limit: None, events: &TurnEvents::default() };
            for folder in self.control.store.folders().expect("sessions") {
                let folder = folder.expect("a name");
                self.control.export(&folder, &mut exporter, &mut wait).await.expect("exported");
            }
            exporter.finish().expect("an end");
        });
    }
}

/// Makes whole sessions, with all the files that they have after three turns
/// with the provider `notes`.
pub(crate) fn generate_whole(root: &Path, from: usize, to: usize) {
    let private = |path: &Path| {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).expect("a directory");
    };
    let write = |path: &Path, bytes: &[u8]| {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path).expect("a file");
        file.write_all(bytes).expect("written");
    };
    private(&root.join("sessions"));
    let settings = Settings::default().to_json();
    for number in from..to {
        let key: Key = format!("discord-148456789012{number:07}").parse().expect("a key");
        let dir = root.join("sessions").join(key.folder_name());
        let mut record = Record::new(key, "discord");
        let id = record.uuid.to_string();
        let (mut transcript, mut said) = (String::new(), String::new());
        for turn in 1..=3 {
            let (text, reply) = (format!("remember {id} {turn}"), format!("Noted: {id} {turn} (turn {turn})"));
            for (who, text) in [("user", &text), ("agent", &reply)] {
                let line = serde_json::json!({
                    "at": record.created_at, "who": who, "text": text, "turn": turn, "provider": "notes",
                    "conversation": id, "entry": 1_795_284_707_979_464_u64 + turn,
                });
                transcript.push_str(&format!("{line}\n"));
            }
            said.push_str(&format!("{}\n", serde_json::json!({"said": text, "replied": reply})));
        }
        record.provider = Some(ProviderChoice { name: "notes".to_owned() });
        record.turns = 3;
        record.conversation = Some(Conversation::new("notes", &id, "remember"));
        record.last_turn = Some(LastTurn { at: record.created_at, outcome: TurnOutcome::Answered, reason: None });
        record.transcript_bytes = transcript.len() as u64;
        private(&dir.join("memory"));
        private(&dir.join("provider/notes"));
        write(&dir.join("settings.json"), &settings);
        write(&dir.join("memory/MEMORY.md"), said.as_bytes());
        write(&dir.join(format!("provider/notes/{id}.jsonl")), said.as_bytes());
        write(&dir.join("transcript.jsonl"), transcript.as_bytes());
        write(&dir.join("session.json"), &record.to_json());
    }
}

/// Writes what an earlier bot left: one file with so many conversations.
pub(crate) fn legacy(bot: &Path, count: usize) -> PathBuf {
    let file = bot.join(".claude/claudeclaw/sessions.json");
    std::fs::create_dir_all(bot.join(".claude/claudeclaw")).expect("a directory");
    let threads: serde_json::Map<String, serde_json::Value> = (0..count)
        .map(|number| {
            let name = format!("148456789012{number:07}");
            let entry = serde_json::json!({
                "sessionId": format!("{number:08x}-10b1-426f-9247-bb680e5fe0c8"), "threadId": name,
                "createdAt": "2026-03-25T10:00:00.000Z", "lastUsedAt": "2026-03-25T11:00:00.000Z",
                "turnCount": 3, "compactWarned": false
            });
            (name, entry)
        })
        .collect();
    let text = serde_json::to_string_pretty(&serde_json::json!({ "threads": threads })).expect("JSON");
    std::fs::write(&file, text).expect("written");
    file
}

/// Makes sessions, as they are after some use, by writing their files: the
/// folder with its record and settings, the lock, the line.
pub(crate) fn generate(root: &Path, from: usize, to: usize) {
    let [sessions, locks, queue] = ["sessions", "state/locks", "state/queue"].map(|name| root.join(name));
    for dir in [&sessions, &locks, &queue] {
        std::fs::create_dir_all(dir).expect("a directory");
    }
    let settings = Settings::default().to_json();
    for number in from..to {
        let key: Key = format!("discord-148456789012{number:07}").parse().expect("a key");
        let folder = key.folder_name();
        let mut record = Record::new(key, "discord");
        record.provider = Some(ProviderChoice { name: "bench".to_owned() });
        record.turns = 3;
        let id = record.uuid.to_string();
        record.conversation = Some(Conversation::new("bench", &id, "hello"));
        record.last_turn = Some(LastTurn { at: record.created_at, outcome: TurnOutcome::Answered, reason: None });
        let dir = sessions.join(&folder);
        std::fs::create_dir(&dir).expect("a folder");
        std::fs::write(dir.join("session.json"), record.to_json()).expect("written");
        std::fs::write(dir.join("settings.json"), &settings).expect("written");
        std::fs::write(locks.join(&folder), "").expect("written");
        std::fs::create_dir(queue.join(&folder)).expect("a line");
    }
}
