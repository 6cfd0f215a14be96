//! What Denizen has promised of each session, and at which moment, and whether
//! what is found on a disk keeps it.
//!
//! The files are read here with nothing of the program's own code; then the
//! program itself has to read them, and to go on with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::root::{self, Root};

/// Where a session is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Place {
    #[default]
    Nowhere,
    Sessions,
    Trash,
}

/// What holds for a session from the moment that a command has ended with 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) place: Place,
    /// The messages that were answered.
    pub(crate) turns: Vec<String>,
    /// What the provider `notes` was told in the current conversation; `None`
    /// for a provider that keeps nothing.
    pub(crate) said: Option<Vec<String>>,
    /// What the agent noted in its memory.
    pub(crate) noted: Vec<String>,
    /// The files that it was sent, with their content.
    pub(crate) received: BTreeMap<String, String>,
    /// The files that the agent made, with their content.
    pub(crate) made: BTreeMap<String, String>,
    pub(crate) title: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) archived: bool,
    pub(crate) working_dir: Option<PathBuf>,
    /// A message that was accepted and is not yet answered.
    pub(crate) waiting: Option<String>,
}

/// Why a promise is broken.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// A file is not whole, or does not fit the others.
    Torn(String),
    /// What was promised is not there.
    Lost(String),
}

/// The promises of every session, each with the position of the disk's log at
/// which it was given; the largest number for one that is still being worked on.
#[derive(Debug, Default)]
pub(crate) struct Ledger(BTreeMap<String, Vec<(usize, Promise)>>);

impl Ledger {
    /// Notes what a command is about to promise.
    pub(crate) fn begin(&mut self, key: &str, change: impl FnOnce(&mut Promise)) {
        let versions = self.0.entry(key.to_owned()).or_default();
        let mut promise = versions.last().map(|(_, promise)| promise.clone()).unwrap_or_default();
        change(&mut promise);
        versions.push((usize::MAX, promise));
    }

    /// Notes that it is promised from now on.
    pub(crate) fn acknowledge(&mut self, key: &str, position: usize) {
        self.0.get_mut(key).and_then(|versions| versions.last_mut()).expect("something was begun").0 = position;
    }

    /// What was promised last.
    pub(crate) fn last(&self, key: &str) -> Promise {
        self.0.get(key).and_then(|versions| versions.last()).map(|(_, promise)| promise.clone()).unwrap_or_default()
    }

    /// Every position at which something was promised, in order.
    pub(crate) fn positions(&self) -> Vec<usize> {
        let mut positions: Vec<usize> = self.0.values().flatten().map(|(position, _)| *position).collect();
        positions.sort_unstable();
        positions
    }

    /// Looks at what the disk held at a position. With `go_on`, every session
    /// also has to take a next turn.
    pub(crate) fn check(&self, root: &Root, position: usize, go_on: bool) -> Result<(), Wrong> {
        sound(root)?;
        for (key, versions) in &self.0 {
            let given = versions.iter().take_while(|(at, _)| *at <= position).count();
            let was = given.checked_sub(1).map(|last| versions[last].1.clone()).unwrap_or_default();
            let may = versions.get(given).map_or_else(|| was.clone(), |(_, promise)| promise.clone());
            let session = Session { root, key, was: &was, may: &may };
            session.check()?;
            if go_on {
                session.go_on()?;
            }
        }
        // Also those whose making was cut short.
        let names = names(&root.path().join("sessions"));
        let unknown = names.iter().find(|name| !self.0.contains_key(*name));
        unknown.map_or(Ok(()), |name| Err(Wrong::Torn(format!("there is a session `{name}`"))))
    }
}

/// A session on a disk: what was promised of it, and what a command that was
/// running would have promised.
struct Session<'a> {
    root: &'a Root,
    key: &'a str,
    was: &'a Promise,
    may: &'a Promise,
}

/// A session's files, as they lie there.
struct Found {
    dir: PathBuf,
    record: Value,
    settings: Value,
    /// The messages that have an answer in the transcript.
    turns: Vec<String>,
    said: Vec<String>,
}

impl Session<'_> {
    fn check(&self) -> Result<(), Wrong> {
        let place = self.place()?;
        self.one_of("place", &place, &self.was.place, &self.may.place)?;
        let found = match place {
            Place::Nowhere => None,
            Place::Sessions => Some(Found::read(&self.dir())?),
            Place::Trash => Some(Found::read(&self.trashed()[0])?),
        };
        let answered = found.as_ref().map(|found| found.turns.as_slice()).unwrap_or_default();
        self.check_queue(answered)?;
        let Some(found) = found else { return Ok(()) };
        self.check_files(&found)?;
        if place == Place::Sessions {
            self.check_commands(&found)?;
        }
        Ok(())
    }

    /// What the files say is what was promised.
    fn check_files(&self, found: &Found) -> Result<(), Wrong> {
        let (was, may) = (self.was, self.may);
        if !found.turns.starts_with(&was.turns) {
            return self.lost("turns", &found.turns, &was.turns);
        }
        if !may.turns.starts_with(&found.turns) && found.turns != was.turns {
            return Err(Wrong::Torn(format!("`{}` has turns that nobody took: {:?}", self.key, found.turns)));
        }
        let recorded = found.record["turns"].as_u64().unwrap_or_default() as usize;
        if recorded < was.turns.len() || recorded > may.turns.len() {
            return self.lost("number of turns", &recorded, &was.turns.len());
        }
        if let Some(may) = &may.said {
            self.one_of("conversation", &found.said, was.said.as_ref().unwrap_or(&Vec::new()), may)?;
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.one_of("title", &text(&found.record["title"]), &was.title, &may.title)?;
        self.one_of("model", &text(&found.settings["model"]), &was.model, &may.model)?;
        self.one_of("archived", &found.record["archived_at"].is_string(), &was.archived, &may.archived)?;
        let memory = std::fs::read_to_string(found.dir.join("memory/MEMORY.md")).unwrap_or_default();
        if let Some(noted) = was.noted.iter().find(|noted| !memory.lines().any(|line| line == format!("- {noted}"))) {
            return self.lost("memory", &memory, noted);
        }
        let is = |path: PathBuf, content: &String| std::fs::read_to_string(path).is_ok_and(|found| found == *content);
        for (name, content) in &was.received {
            let inbox = names(&found.dir.join("inbox"));
            if !inbox.iter().any(|entry| is(found.dir.join("inbox").join(entry).join(name), content)) {
                return self.lost("attachment", &inbox, name);
            }
        }
        let sent = found.dir.join("outbox/sent");
        if let Some((name, _)) = was.made.iter().find(|(name, content)| !is(sent.join(name), content)) {
            return self.lost("file of the agent", &names(&sent), name);
        }
        let grant = self.root.path().join("access/sessions").join(format!("{}.json", self.key));
        let working_dir = if grant.exists() { text(&json(&grant)?["working_dir"]).map(PathBuf::from) } else { None };
        self.one_of("working directory", &working_dir, &was.working_dir, &may.working_dir)
    }

    /// Entries of the queue are whole, and only such as were sent; what was
    /// accepted is there until it is answered.
    fn check_queue(&self, answered: &[String]) -> Result<(), Wrong> {
        let dir = self.root.path().join("state/queue").join(self.key);
        let mut texts = Vec::new();
        for name in names(&dir).iter().filter(|name| name.ends_with(".entry")) {
            let entry = lines(&dir.join(name), u64::MAX)?;
            texts.extend(entry.first().and_then(|message| message["text"].as_str().map(str::to_owned)));
        }
        if let Some(waiting) = &self.was.waiting
            && !texts.contains(waiting)
            && answered.last() != Some(waiting)
        {
            return self.lost("accepted message", &texts, waiting);
        }
        let known =
            [self.was.waiting.as_ref(), self.may.waiting.as_ref(), self.was.turns.last(), self.may.turns.last()];
        match texts.iter().find(|text| !known.contains(&Some(text))) {
            Some(text) => Err(Wrong::Torn(format!("`{}`: a message that nobody sent: {text:?}", self.key))),
            None => Ok(()),
        }
    }

    /// The program says the same as the files.
    fn check_commands(&self, found: &Found) -> Result<(), Wrong> {
        let history = values(&ok(self.root, &["history", self.key, "--all", "--json"])?)?;
        let user = history.iter().filter(|line| line["who"] == "user").filter_map(|line| line["text"].as_str());
        let user: Vec<&str> = user.collect();
        if !found.turns.iter().map(String::as_str).eq(user.iter().copied().take(found.turns.len())) {
            return self.lost("history", &user, &found.turns);
        }
        let pending = values(&ok(self.root, &["pending", self.key, "--json"])?)?;
        if let Some(unreadable) = pending.iter().find(|pending| !pending["error"].is_null()) {
            return Err(Wrong::Torn(format!("`{}`: {unreadable}", self.key)));
        }
        let pending: Vec<&str> = pending.iter().filter_map(|pending| pending["text"].as_str()).collect();
        if let Some(text) = pending.iter().find(|text| found.turns.iter().any(|turn| turn == *text)) {
            return Err(Wrong::Torn(format!("`{}`: {text:?} was answered and is pending", self.key)));
        }
        match &self.was.waiting {
            Some(waiting) if !pending.contains(&waiting.as_str()) && found.turns.last() != Some(waiting) => {
                self.lost("pending message", &pending, waiting)
            }
            _ => Ok(()),
        }
    }

    /// The session takes a next turn, and all of it agrees then.
    fn go_on(&self) -> Result<(), Wrong> {
        match self.place()? {
            Place::Nowhere => return Ok(()),
            Place::Sessions => {}
            Place::Trash => drop(ok(self.root, &["trash", "restore", self.key])?),
        }
        let before = Found::read(&self.dir())?;
        let provider = if self.may.said.is_some() { "notes" } else { "fake" };
        let told = ok(self.root, &["send", self.key, "what did I say", "--provider", provider])?;
        if let Some(may) = &self.may.said {
            let told = told.lines().filter_map(|line| Some(line.split_once(". ")?.1.to_owned())).collect();
            // A turn that was in the transcript already is brought into the record first.
            self.one_of("what the agent knows", &told, &before.said, may)?;
        } else if told != "heard what did I say\n" {
            return self.lost("reply", &told, &"heard what did I say");
        }
        let mut expected = [before.turns, vec!["what did I say".to_owned()]].concat();
        for pending in values(&ok(self.root, &["pending", self.key, "--json"])?)? {
            ok(self.root, &["retry", self.key])?;
            expected.push(pending["text"].as_str().unwrap_or_default().to_owned());
        }
        let after = Found::read(&self.dir())?;
        if after.turns != expected || after.record["turns"] != expected.len() {
            return self.lost("turns after a next one", &(&after.turns, &after.record["turns"]), &expected);
        }
        Ok(())
    }

    fn dir(&self) -> PathBuf {
        self.root.session(self.key)
    }

    fn trashed(&self) -> Vec<PathBuf> {
        let trash = self.root.path().join("trash");
        let names = names(&trash).into_iter().filter(|name| name.ends_with(&format!("Z-{}", self.key)));
        names.map(|name| trash.join(name)).collect()
    }

    fn place(&self) -> Result<Place, Wrong> {
        match (self.dir().exists(), self.trashed().as_slice()) {
            (false, []) => Ok(Place::Nowhere),
            (true, []) => Ok(Place::Sessions),
            (false, [_]) => Ok(Place::Trash),
            (_, trashed) => Err(Wrong::Torn(format!("`{}` is in more than one place: {trashed:?}", self.key))),
        }
    }

    /// It is as it was promised, or as the command that ran would have it.
    fn one_of<T: PartialEq + std::fmt::Debug>(&self, what: &str, found: &T, was: &T, may: &T) -> Result<(), Wrong> {
        if found == was || found == may { Ok(()) } else { self.lost(what, found, was) }
    }

    fn lost(&self, what: &str, found: &dyn std::fmt::Debug, was: &dyn std::fmt::Debug) -> Result<(), Wrong> {
        Err(Wrong::Lost(format!("{what} of `{}`: {found:?} instead of {was:?}", self.key)))
    }
}

impl Found {
    fn read(dir: &Path) -> Result<Self, Wrong> {
        let record = json(&dir.join("session.json"))?;
        let recorded = record["transcript_bytes"].as_u64().unwrap_or_default();
        let transcript = lines(&dir.join("transcript.jsonl"), recorded)?;
        let answered = |line: &&Value| {
            let answer = |other: &Value| other["who"] == "agent" && other["turn"] == line["turn"];
            line["who"] == "user" && transcript.iter().any(answer)
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let turns = transcript.iter().filter(answered).map(|line| text(&line["text"])).collect();
        // A copy counts from its first turn on.
        let current = &record["conversation"];
        let id = if current["copy_of"].is_string() { &current["copy_of"] } else { &current["id"] };
        let conversation = format!("provider/notes/{}.jsonl", text(id));
        let said = lines(&dir.join(conversation), 0)?.iter().map(|line| text(&line["said"])).collect();
        let settings = json(&dir.join("settings.json"))?;
        Ok(Self { dir: dir.to_owned(), record, settings, turns, said })
    }
}

/// The program can read all of it, finds nothing wrong with it, and nobody at
/// work. Any other command that looks at a whole root belongs here.
fn sound(root: &Root) -> Result<(), Wrong> {
    let verified = root.run(&["verify", "--quiet"]);
    if verified.code != Some(0) {
        return Err(Wrong::Torn(format!("verify: {}{}", verified.stdout, verified.stderr)));
    }
    let all = values(&ok(root, &["status", "--json"])?)?;
    match all.as_slice() {
        [all] if all["unreadable"] == 0 && all["busy"] == 0 => Ok(()),
        all => Err(Wrong::Torn(format!("status: {all:?}, {}", ok(root, &["ls", "--json"])?))),
    }
}

/// A file that is replaced whole.
fn json(path: &Path) -> Result<Value, Wrong> {
    let text = read(path)?;
    if !text.ends_with("}\n") {
        return Err(Wrong::Torn(format!("{} is torn: {text:?}", path.display())));
    }
    serde_json::from_str(&text).map_err(|error| Wrong::Torn(format!("{}: {error}: {text:?}", path.display())))
}

/// A file that is appended to: its first `whole` bytes are lines that parse. Of
/// what was appended last, and is not promised yet, any part may be missing.
fn lines(path: &Path, whole: u64) -> Result<Vec<Value>, Wrong> {
    let text = if path.exists() { read(path)? } else { String::new() };
    if whole != u64::MAX && (text.len() as u64) < whole {
        return Err(Wrong::Torn(format!("{} has {} bytes instead of {whole}", path.display(), text.len())));
    }
    let mut place = 0;
    let mut values = Vec::new();
    for line in text.split_inclusive('\n') {
        match serde_json::from_str(line) {
            Ok(value) if line.ends_with('\n') => values.push(value),
            _ if place >= whole => {}
            _ => return Err(Wrong::Torn(format!("{} has a torn line: {line:?}", path.display()))),
        }
        place += line.len() as u64;
    }
    Ok(values)
}

fn read(path: &Path) -> Result<String, Wrong> {
    let bytes = std::fs::read(path).map_err(|error| Wrong::Lost(format!("{}: {error}", path.display())))?;
    String::from_utf8(bytes).map_err(|error| Wrong::Torn(format!("{}: {error}", path.display())))
}

fn values(printed: &str) -> Result<Vec<Value>, Wrong> {
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(printed).into_iter().collect();
    let values = values.map_err(|error| Wrong::Torn(format!("{error}: {printed}")))?;
    Ok(values.into_iter().flat_map(|value| if let Value::Array(list) = value { list } else { vec![value] }).collect())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Runs a command that has to succeed. No sync: what it does is read back on
/// this very machine.
fn ok(root: &Root, args: &[&str]) -> Result<String, Wrong> {
    let mut command = root.denizen();
    command.args(args).env("DENIZEN_DURABILITY", "process");
    let output = root::run(command, "");
    if output.code == Some(0) { Ok(output.stdout) } else { Err(Wrong::Torn(format!("`{args:?}`: {output:#?}"))) }
}
