//! A random walk over everything that may happen to sessions' folders, checked
//! step by step against a reference model of what each session was told.
//!
//! The model is a value for each folder, wherever that is: what is done to a
//! folder is done to its value, so a copied folder is a cloned value, and one
//! that was restored is the value of then. Only opening a session changes it
//! further, by the rules of `docs/disk-format.md`, "Copying and moving folders".
//! It says nothing of how a provider keeps what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::clis::{Cli, did_not_run};
use super::root::run;
use super::talk::{Talk, all, assert_lacks};

/// The keys that sessions have; more than there are would only grow thin.
const KEYS: [&str; 6] = ["alder", "birch", "cedar", "dogwood", "elm", "fir"];

/// Every kind of step: its name, how often it comes, and what it does; it gives
/// nothing if it cannot be taken as things are. To add one, write what it
/// does to the folders and the same to their values.
const STEPS: &[(&str, u64, Step)] = &[
    ("turn", 12, Walk::turn),
    ("new", 3, Walk::new_conversation),
    ("resume", 4, Walk::resume),
    ("remember", 2, Walk::remember),
    ("cp -a", 3, Walk::copy),
    ("mv", 3, Walk::rename),
    ("fork", 2, Walk::fork),
    ("rm", 2, Walk::remove),
    ("trash restore", 3, Walk::untrash),
    ("mv away", 2, Walk::shelve),
    ("mv back", 3, Walk::unshelve),
    ("move the root", 2, Walk::move_root),
    ("another HOME", 1, Walk::move_home),
    ("backup", 2, Walk::back_up),
    ("rsync back", 2, Walk::sync_back),
    ("restore", 3, Walk::restore),
    ("export and import", 3, Walk::pack),
];

type Step = fn(&mut Walk) -> Option<String>;

/// What a session's folder holds.
#[derive(Debug, Clone, PartialEq, Default)]
struct Session {
    /// The key in its record; it is the folder's name once it was opened there.
    key: String,
    /// Nothing where one that no other session has is still to be seen.
    uuid: Option<String>,
    current: Option<Conversation>,
    /// The latest last.
    earlier: Vec<Conversation>,
    turns: u64,
    /// What was written into its memory.
    memory: BTreeSet<String>,
    /// Everything that was ever said in it.
    said: Vec<String>,
}

/// What a conversation was told.
#[derive(Debug, Clone, PartialEq, Default)]
struct Conversation {
    id: String,
    words: BTreeSet<String>,
    fork: bool,
}

/// A walk.
pub(crate) struct Walk {
    talk: Talk,
    cli: Cli,
    random: Random,
    live: BTreeMap<String, Session>,
    shelf: BTreeMap<String, Session>,
    backup: BTreeMap<String, Session>,
    trash: Vec<(String, Session)>,
    /// Every id and uuid that was seen.
    seen: BTreeSet<String>,
    /// How many names were made up so far.
    names: usize,
    rsync: bool,
}

impl Walk {
    /// Walks so many steps, or says why not.
    pub(crate) fn run(cli: Cli, test: &str, seed: u64, steps: usize) {
        let words: Vec<String> = (1..=steps + KEYS.len()).map(word).collect();
        let Some(talk) = Talk::new(cli, test, &words) else { return };
        println!("DENIZEN_TEST_SEED={seed}");
        let rsync = std::process::Command::new("rsync").arg("--version").output().is_ok();
        if !rsync {
            did_not_run(&format!("{test}, backup and restore"), "rsync is missing", "install rsync");
        }
        fs_err::create_dir(talk.root.dir().join("shelf")).expect("a shelf");
        let mut walk = Self {
            talk,
            cli,
            random: Random(seed),
            live: BTreeMap::new(),
            shelf: BTreeMap::new(),
            backup: BTreeMap::new(),
            trash: Vec::new(),
            seen: BTreeSet::new(),
            names: 0,
            rsync,
        };
        for step in 1..=steps {
            let (name, did) = walk.step();
            println!("{step}. {name}: {did}");
            walk.check();
        }
        // Whatever happened to them, all sessions go on.
        for folder in walk.live.keys().cloned().collect::<Vec<_>>() {
            println!("at the end: {}", walk.say(&folder));
            walk.check();
        }
        walk.check_files();
    }

    fn step(&mut self) -> (&'static str, String) {
        let all: u64 = STEPS.iter().map(|(_, weight, _)| weight).sum();
        loop {
            let mut at = self.random.below(all);
            for (name, weight, take) in STEPS {
                match at.checked_sub(*weight) {
                    Some(rest) => at = rest,
                    None => match take(self) {
                        Some(did) => return (name, did),
                        None => break,
                    },
                }
            }
        }
    }

    // The steps.

    fn turn(&mut self) -> Option<String> {
        let folder = match self.random.below(4) {
            0 => KEYS[self.random.index(KEYS.len())].to_owned(),
            _ => self.any_live()?,
        };
        Some(self.say(&folder))
    }

    fn new_conversation(&mut self) -> Option<String> {
        let folder = self.any_live()?;
        let mut session = self.opened(&folder);
        self.talk.ok(&["new", &folder]);
        session.retire();
        self.live.insert(folder.clone(), session);
        Some(folder)
    }

    fn resume(&mut self) -> Option<String> {
        let folder = self.pick(|walk| walk.live.iter().filter(|(_, session)| !session.earlier.is_empty()))?;
        let mut session = self.opened(&folder);
        let chosen = session.earlier.remove(self.random.index(session.earlier.len()));
        self.talk.ok(&["resume", &folder, &chosen.id]);
        let did = format!("{folder} {}", chosen.id);
        session.retire();
        session.current = Some(chosen);
        self.live.insert(folder, session);
        Some(did)
    }

    fn remember(&mut self) -> Option<String> {
        let folder = self.any_live()?;
        let note = format!("note-{:04}", self.number());
        let mut options = fs_err::OpenOptions::new();
        let mut memory = options.append(true).create(true).open(self.talk.session(&folder).join("memory/MEMORY.md"));
        let memory = memory.as_mut().expect("its memory");
        memory.write_all(format!("- The {note}.\n").as_bytes()).expect("written");
        let did = format!("{folder} {note}");
        self.live.get_mut(&folder)?.memory.insert(note);
        Some(did)
    }

    fn copy(&mut self) -> Option<String> {
        let (from, to) = (self.any_live()?, self.any_free()?);
        self.command("cp", &["-a".as_ref(), &self.talk.session(&from), &self.talk.session(&to)]);
        self.live.insert(to.clone(), self.live[&from].clone());
        Some(format!("{from} {to}"))
    }

    fn rename(&mut self) -> Option<String> {
        let (from, to) = (self.any_live()?, self.any_free()?);
        self.command("mv", &[&self.talk.session(&from), &self.talk.session(&to)]);
        let session = self.live.remove(&from)?;
        self.live.insert(to.clone(), session);
        Some(format!("{from} {to}"))
    }

    fn fork(&mut self) -> Option<String> {
        let (from, to) = (self.any_live()?, self.any_free()?);
        let session = self.opened(&from);
        self.talk.ok(&["fork", &from, &to]);
        self.live.insert(from.clone(), session.clone());
        self.live.insert(to.clone(), session.copied(&to));
        Some(format!("{from} {to}"))
    }

    fn remove(&mut self) -> Option<String> {
        let folder = self.any_live()?;
        let session = self.opened(&folder);
        self.talk.ok(&["rm", &folder]);
        self.live.remove(&folder);
        self.trash.push((folder.clone(), session));
        Some(folder)
    }

    fn untrash(&mut self) -> Option<String> {
        let folder = self.pick(|walk| {
            walk.trash.iter().map(|(folder, session)| (folder, session)).filter(|(folder, _)| walk.is_free(folder))
        })?;
        self.talk.ok(&["trash", "restore", &folder]);
        let latest = self.trash.iter().rposition(|(trashed, _)| *trashed == folder)?;
        let (_, session) = self.trash.remove(latest);
        self.live.insert(folder.clone(), session);
        Some(folder)
    }

    fn shelve(&mut self) -> Option<String> {
        let folder = self.any_live()?;
        let name = format!("{folder}-{}", self.number());
        self.command("mv", &[&self.talk.session(&folder), &self.talk.root.dir().join("shelf").join(&name)]);
        let session = self.live.remove(&folder)?;
        self.shelf.insert(name.clone(), session);
        Some(format!("{folder} {name}"))
    }

    fn unshelve(&mut self) -> Option<String> {
        let name = self.pick(|walk| walk.shelf.iter())?;
        let own = self.shelf[&name].key.clone();
        let folder = if self.is_free(&own) { own } else { self.any_free()? };
        self.command("mv", &[&self.talk.root.dir().join("shelf").join(&name), &self.talk.session(&folder)]);
        let session = self.shelf.remove(&name)?;
        self.live.insert(folder.clone(), session);
        Some(format!("{name} {folder}"))
    }

    fn move_root(&mut self) -> Option<String> {
        self.any_live()?;
        let name = format!("root-{}", self.number());
        let root = self.talk.root.dir().join(&name);
        self.command("mv", &[self.talk.at(), &root]);
        self.talk.go_to(&root);
        Some(name)
    }

    fn move_home(&mut self) -> Option<String> {
        self.any_live()?;
        let home = format!("home-{}", self.number());
        self.talk.root.move_home(&home);
        Some(home)
    }

    fn back_up(&mut self) -> Option<String> {
        self.any_live()?;
        let from = format!("{}/", self.talk.at().display());
        let backup = self.talk.root.dir().join("backup");
        self.rsync()?;
        self.command(
            "rsync",
            &["-a".as_ref(), "--delete".as_ref(), "--exclude=state".as_ref(), from.as_ref(), &backup],
        );
        self.backup = self.live.clone();
        Some(self.backup.keys().cloned().collect::<Vec<_>>().join(" "))
    }

    fn restore(&mut self) -> Option<String> {
        let folder = self.pick(|walk| walk.backup.iter())?;
        let backup = self.talk.root.dir().join("backup");
        let printed = self.talk.ok(&["--json", "restore", backup.to_str().expect("text"), &folder]);
        let said: Value = serde_json::from_str(&printed).expect("JSON");
        let restored = self.backup[&folder].clone();
        match self.live.insert(folder.clone(), restored.clone()) {
            Some(here) if said["action"] == "unchanged" => assert_eq!(here, restored),
            Some(here) => self.trash.push((folder.clone(), here)),
            None => assert_eq!((&said["action"], &said["trashed"]), (&json!("restored"), &Value::Null)),
        }
        Some(format!("{folder} {}", said["action"]))
    }

    /// Through a file: back under its own key after it was removed, or beside it.
    fn pack(&mut self) -> Option<String> {
        let from = self.any_live()?;
        let beside = if self.random.below(2) == 0 { Some(self.any_free()?) } else { None };
        let session = self.opened(&from);
        let name = format!("export-{}", self.number());
        let file = self.talk.root.dir().join(name);
        let file = file.to_str().expect("text");
        self.talk.ok(&["export", &from, "-o", file]);
        self.live.insert(from.clone(), session.clone());
        match &beside {
            Some(to) => {
                self.talk.ok(&["import", file, "--as", to]);
                self.live.insert(to.clone(), session.copied(to));
            }
            None => {
                self.talk.ok(&["rm", &from]);
                self.talk.ok(&["import", file]);
                self.trash.push((from.clone(), session));
            }
        }
        Some(format!("{from} {}", beside.unwrap_or_default()))
    }

    fn sync_back(&mut self) -> Option<String> {
        let folder = self.pick(|walk| walk.backup.iter())?;
        let from = format!("{}/", self.talk.root.dir().join("backup/sessions").join(&folder).display());
        self.command("rsync", &["-a".as_ref(), "--delete".as_ref(), from.as_ref(), &self.talk.session(&folder)]);
        self.live.insert(folder.clone(), self.backup[&folder].clone());
        Some(folder)
    }

    // What they are made of.

    /// Says a new word in a session, which is made if there is none.
    fn say(&mut self, folder: &str) -> String {
        let new = Session { key: folder.to_owned(), ..Session::default() };
        let mut session = if self.is_free(folder) { new } else { self.opened(folder) };
        let word = word(self.number());
        let (talk, text) = (&self.talk, format!("Listen: {word}."));
        let (printed, requests) = talk.model.during(|| talk.ok(&["send", folder, &text]));
        assert_eq!(printed.trim(), format!("heard-{word}"));
        let sent = all(&requests);
        let before = session.current.take();
        let known = before.as_ref().map(|current| current.words.clone()).unwrap_or_default();
        let told = known.iter().cloned().chain([word.clone()]).collect();
        assert_eq!(found(&sent, "", "word-"), told, "what the model was sent for {word} in {folder}");
        assert_eq!(found(&sent, "heard-", "word-"), known, "its own words that it was sent for {word} in {folder}");
        assert_eq!(found(&sent, "", "note-"), session.memory, "the memory that it was sent for {word} in {folder}");
        // Every provider resumes by its own means, wherever its folder went.
        assert_lacks(&sent, "<earlier-conversation");

        let id = self.record(folder)["conversation"]["id"].as_str().expect("an id").to_owned();
        match before {
            Some(before) if !before.fork || self.cli == Cli::Gemini => assert_eq!(id, before.id),
            before => {
                assert!(self.seen.insert(id.clone()), "{id} is another conversation");
                session.earlier.extend(before);
            }
        }
        session.current = Some(Conversation { id, words: told, fork: false });
        session.turns += 1;
        session.said.push(word.clone());
        self.live.insert(folder.to_owned(), session);
        format!("{folder} {word}")
    }

    /// What a session becomes by being opened under a name that it may not have
    /// had before.
    fn opened(&self, folder: &str) -> Session {
        let session = self.live[folder].clone();
        if session.key == folder {
            return session;
        }
        match self.live.get(&session.key) {
            Some(original) if original.uuid == session.uuid => session.copied(folder),
            _ => Session { key: folder.to_owned(), ..session },
        }
    }

    fn command(&self, program: &str, args: &[&Path]) {
        let mut command = self.talk.root.command(program);
        command.args(args);
        let output = run(command, "");
        assert_eq!(output.code, Some(0), "{program} {args:?}: {output:?}");
    }

    fn rsync(&self) -> Option<()> {
        self.rsync.then_some(())
    }

    fn number(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    fn is_free(&self, folder: &str) -> bool {
        !self.live.contains_key(folder)
    }

    fn any_free(&mut self) -> Option<String> {
        let free: Vec<_> = KEYS.iter().filter(|key| self.is_free(key)).collect();
        (!free.is_empty()).then(|| free[self.random.index(free.len())].to_string())
    }

    fn any_live(&mut self) -> Option<String> {
        self.pick(|walk| walk.live.iter())
    }

    /// The name of one of some sessions.
    fn pick<'a, I: Iterator<Item = (&'a String, &'a Session)>>(
        &'a mut self,
        of: impl FnOnce(&'a Self) -> I,
    ) -> Option<String> {
        let random = self.random.next();
        let names: Vec<_> = of(self).map(|(name, _)| name.clone()).collect();
        let count = u64::try_from(names.len()).ok().filter(|count| *count > 0)?;
        names.get(usize::try_from(random % count).ok()?).cloned()
    }

    // The checks.

    /// After every step: each record says what the model says, the list shows
    /// each session, and all of them are sound.
    fn check(&mut self) {
        let verified = json_values(&self.talk.ok(&["--json", "verify"]));
        let wrong: Vec<_> = verified
            .iter()
            .filter(|value| !value["finding"].is_null() && value["finding"]["kind"] != "adoptable")
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let mut rows = BTreeMap::new();
        let listed = self.talk.ok(&["ls", "--all", "--json"]);
        for row in json_values(&listed) {
            rows.insert(row["folder"].as_str().expect("a folder").to_owned(), row["turns"].clone());
        }
        let turns = self.live.iter().map(|(folder, session)| (folder.clone(), json!(session.turns)));
        assert_eq!(rows, turns.collect(), "{listed}");
        for folder in self.live.keys().cloned().collect::<Vec<_>>() {
            let record = self.record(&folder);
            let session = self.live.get_mut(&folder).expect("a session");
            if session.uuid.is_none() {
                let uuid = record["uuid"].as_str().expect("a uuid").to_owned();
                assert!(self.seen.insert(uuid.clone()), "{folder} has the uuid {uuid} of another");
                session.uuid = Some(uuid);
            }
            let ids =
                |all: &Value| all.as_array().map(|all| all.iter().map(|one| one["id"].clone()).collect::<Vec<_>>());
            let recorded = json!({
                "key": record["key"],
                "uuid": record["uuid"],
                "turns": record["turns"],
                "current": record["conversation"]["id"],
                "earlier": ids(&record["earlier"]).unwrap_or_default(),
            });
            let expected = json!({
                "key": session.key,
                "uuid": session.uuid,
                "turns": session.turns,
                "current": session.current.as_ref().map(|current| &current.id),
                "earlier": session.earlier.iter().map(|one| &one.id).collect::<Vec<_>>(),
            });
            assert_eq!(recorded, expected, "the record of {folder}");
        }
    }

    /// At the end: each transcript holds what was said, and no file holds what
    /// belongs to another session.
    fn check_files(&self) {
        for (folder, session) in &self.live {
            let history = self.talk.ok(&["history", folder, "--json"]);
            let lines = json_values(&history);
            let said = lines.iter().filter(|line| line["who"] == "user").map(|line| line["text"].clone());
            let expected = session.said.iter().map(|word| json!(format!("Listen: {word}.")));
            assert_eq!(said.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "the history of {folder}");
            for entry in walkdir::WalkDir::new(self.talk.session(folder)) {
                let entry = entry.expect("an entry");
                if entry.file_type().is_file() {
                    let content = fs_err::read(entry.path()).expect("a readable file");
                    let content = String::from_utf8_lossy(&content);
                    let own = |word: &String| session.said.contains(word) || session.memory.contains(word);
                    let words = found(&content, "", "word-").into_iter().chain(found(&content, "", "note-"));
                    let foreign: Vec<_> = words.filter(|word| !own(word)).collect();
                    assert!(foreign.is_empty(), "{foreign:?} in {}", entry.path().display());
                }
            }
        }
    }

    fn record(&self, folder: &str) -> Value {
        let text = fs_err::read_to_string(self.talk.session(folder).join("session.json")).expect("a record");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Session {
    /// A copy, which goes on apart from what it was copied from.
    fn copied(mut self, key: &str) -> Self {
        self.key = key.to_owned();
        self.uuid = None;
        if let Some(current) = &mut self.current {
            current.fork = true;
        }
        self
    }

    fn retire(&mut self) {
        if let Some(current) = self.current.take() {
            self.earlier.retain(|earlier| earlier.id != current.id);
            self.earlier.push(current);
        }
    }
}

/// One of the words, none of which is a part of another.
fn word(number: usize) -> String {
    format!("word-{number:04}")
}

/// The words of one kind in a text, each with four digits and after `before`.
fn found(text: &str, before: &str, kind: &str) -> BTreeSet<String> {
    let start = format!("{before}{kind}");
    let ends = text.match_indices(&start).map(|(at, _)| &text[at + start.len()..]);
    let digits =
        |rest: &str| Some(rest.get(..4)?.to_owned()).filter(|number| number.bytes().all(|b| b.is_ascii_digit()));
    ends.filter_map(digits).map(|number| format!("{kind}{number}")).collect()
}

/// JSON values that stand one after the other, or in an array.
fn json_values(text: &str) -> Vec<Value> {
    let values = serde_json::Deserializer::from_str(text).into_iter().map(|value| value.expect("JSON"));
    values
        .flat_map(|value| match value {
            Value::Array(values) => values,
            value => vec![value],
        })
        .collect()
}

/// SplitMix64, which needs no more than a number to be repeated from.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(u64::try_from(count).expect("a count"))).expect("an index")
    }
}
