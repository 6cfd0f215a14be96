//! One session's folder, looked at from end to end: record, settings,
//! transcript, the providers' conversations, memory, names, permissions.
//!
//! A copy that was made while a turn was taken is sound, though its files are
//! not all of one moment: [`moment`] tells it from damage. In a root that is
//! worked in, nothing is ever missing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Tree;
use super::finding::{Finding, FindingKind, finding};
use super::items::{OWN, is_own, stays_inside};
use super::lines::{each_line, first_broken_line, short};
use super::moment;
use super::permissions::private;
use super::sqlite;
use crate::causes::with_causes;
use crate::files::{self, Dir, SECOND, files_below, quoted};
use crate::provider::{Format, built_in};
use crate::session::{
    Conversation, NameMatch, Record, SessionError, Settings, TranscriptEntry, Workspace, better_name,
};

/// The largest `MEMORY.md` that a provider is told of, in bytes.
const MAX_MEMORY: u64 = 8 * 1024 * 1024;

/// How many findings of one sort about one session are worth telling.
const MANY: usize = 5;

/// What was found of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its folder.
    pub folder: String,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// How many turns it has taken, by its record.
    pub turns: u64,
    /// The size of its files, in bytes.
    pub bytes: u64,
}

/// The check of one session.
pub(super) struct Check<'a> {
    workspace: &'a Workspace,
    /// The tree that it is in, where its name means something.
    tree: Option<&'a Tree>,
    /// Who everything should belong to.
    owner: Option<u32>,
    /// Whether it is where sessions are worked in, not a copy.
    live: bool,
    findings: Vec<Finding>,
    bytes: u64,
    /// Whether nothing at all is in it.
    empty: bool,
}

impl<'a> Check<'a> {
    pub(super) fn of(workspace: &'a Workspace, tree: Option<&'a Tree>, owner: Option<u32>, live: bool) -> Self {
        Self { workspace, tree, owner, live, findings: Vec::new(), bytes: 0, empty: true }
    }

    pub(super) fn run(mut self) -> Checked {
        let folder = self.workspace.folder().to_owned();
        self.permissions();
        self.entries();
        let record = self.record();
        // Of an empty folder there is no more to say.
        if !self.empty {
            let settings = self.settings();
            self.memory(settings.as_ref());
        }
        let mut turns = 0;
        if let Some(record) = &record {
            turns = record.turns;
            self.name(record);
            self.transcript(record);
            let every = record.conversation.iter().map(|current| (current, true));
            for (conversation, current) in every.chain(record.earlier.iter().map(|earlier| (earlier, false))) {
                self.conversation(record, conversation, current);
            }
        }
        Checked { folder, findings: self.findings, turns, bytes: self.bytes }
    }

    fn dir(&self) -> &'a Dir {
        self.workspace.dir()
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.workspace.path().join(name)
    }

    fn finding(&self, kind: FindingKind, name: impl AsRef<Path>, problem: impl Into<String>) -> Finding {
        let path =
            if name.as_ref().as_os_str().is_empty() { self.workspace.path().to_owned() } else { self.path(name) };
        finding(kind, Some(self.workspace.folder()), &path, problem)
    }

    fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn restore(&self) -> String {
        format!("take it from an older backup: denizen restore BACKUP {}", self.workspace.folder())
    }

    fn permissions(&mut self) {
        let session = Some(self.workspace.folder());
        let mut found: Vec<Finding> = private(self.workspace.path(), 0o700, session, self.owner).into_iter().collect();
        for name in ["session.json", "settings.json", "transcript.jsonl"] {
            found.extend(private(&self.path(name), 0o600, session, self.owner));
        }
        self.findings.extend(found);
    }

    /// Everything in the folder, whatever it is.
    fn entries(&mut self) {
        let root = self.workspace.path().to_owned();
        let (mut special, mut closed, mut foreign) = (0, 0, 0);
        for entry in walkdir::WalkDir::new(&root).min_depth(1).follow_links(false) {
            self.empty = false;
            let entry = match entry {
                Ok(entry) => entry,
                // It went away while the folder was listed.
                Err(error) if error.io_error().is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound) => continue,
                Err(error) => {
                    let path = error.path().unwrap_or(&root).strip_prefix(&root).unwrap_or(&root).to_owned();
                    let found = self.finding(FindingKind::Unreadable, path, error.to_string());
                    let remedy = format!("look at it: ls -ld {}", quoted(error.path().unwrap_or(&root)));
                    self.found(found.lost("what is in it, for whoever makes this copy").remedy(remedy));
                    continue;
                }
            };
            let Ok(path) = entry.path().strip_prefix(&root).map(Path::to_owned) else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            let kind = entry.file_type();
            if kind.is_file() {
                self.bytes += metadata.len();
            }
            if kind.is_symlink() || !(kind.is_file() || kind.is_dir()) {
                special += 1;
                if special <= MANY {
                    let found = self.special(&path, kind.is_symlink());
                    self.found(found);
                }
                continue;
            }
            let needed = if kind.is_dir() { 0o500 } else { 0o400 };
            let private_already = entry.depth() == 1 && OWN[..3].iter().any(|name| entry.file_name() == *name);
            if metadata.mode() & needed != needed && !private_already {
                closed += 1;
                if closed <= MANY {
                    let problem = format!("its owner may not read it (mode {:o})", metadata.mode() & 0o777);
                    let remedy = format!("chmod u+rwX {}", quoted(entry.path()));
                    let found = self.finding(FindingKind::Permissions, &path, problem).remedy(remedy);
                    self.found(found);
                }
            }
            if self.owner.is_some_and(|owner| owner != metadata.uid()) && !private_already {
                foreign += 1;
                if foreign <= MANY {
                    let problem = format!("it belongs to the user {}", metadata.uid());
                    let remedy = format!("chown -R --reference={0} {0}/*", quoted(&root));
                    let found = self.finding(FindingKind::Owner, &path, problem).remedy(remedy);
                    self.found(found);
                }
            }
            if entry.depth() == 1 && kind.is_file() && is_left_behind(&path) {
                let found = self.finding(FindingKind::LeftBehind, &path, "a copy or an editor left it behind");
                self.found(found.remedy(format!("look at it, and delete it: rm {}", quoted(entry.path()))));
            }
        }
    }

    fn special(&self, path: &Path, is_link: bool) -> Finding {
        let (kind, own) = if is_own(path) { (FindingKind::NotAFile, true) } else { (FindingKind::AgentFile, false) };
        let problem = match is_link.then(|| std::fs::read_link(self.path(path)).unwrap_or_default()) {
            Some(target) if stays_inside(path, &target) && !own => {
                format!("it is a link to `{}`, inside the folder", target.display())
            }
            Some(target) => format!(
                "it is a link to `{}`: it is never followed, and a copy does not hold what it points at",
                target.display()
            ),
            None => "it is a FIFO, socket or device, which nothing here reads".to_owned(),
        };
        let found = self.finding(kind, path, problem);
        if own {
            found.remedy(format!("put a real file there, or delete it: ls -ld {}", quoted(&self.path(path))))
        } else {
            found
        }
    }

    fn record(&mut self) -> Option<Record> {
        let error = match self.workspace.record() {
            Ok(record) => return Some(record),
            Err(error) => error,
        };
        let problem = with_causes(&error);
        let kind = match &error {
            SessionError::File(file) if file.is_not_found() => FindingKind::RecordMissing,
            SessionError::File(files::Error::HardLinks { .. }) => FindingKind::Shared,
            SessionError::Newer { .. } => FindingKind::RecordNewer,
            SessionError::Json { .. } => FindingKind::RecordBroken,
            _ => FindingKind::RecordUnreadable,
        };
        let found = match kind {
            FindingKind::RecordMissing if self.empty => {
                let found = self.finding(kind, "", "the folder is empty");
                let remedy = format!("{}, or delete it: rmdir {}", self.restore(), quoted(self.workspace.path()));
                found.lost("the whole session, if there was one").remedy(remedy)
            }
            FindingKind::Shared => {
                let folder = quoted(self.workspace.path());
                let remedy = format!("make its files its own: cp -a {folder} {folder}-own && rm -r {folder} && mv {folder}-own {folder}");
                self.finding(kind, "session.json", problem).remedy(remedy)
            }
            FindingKind::RecordNewer => self.finding(kind, "session.json", problem).remedy("update denizen"),
            _ => self
                .finding(kind, "session.json", problem)
                .lost("which conversation was the current one, title, counters; the transcript and the conversations are files of their own")
                .remedy(self.restore()),
        };
        self.found(found);
        None
    }

    fn settings(&mut self) -> Option<Settings> {
        match self.workspace.settings() {
            Ok(settings) => Some(settings),
            Err(error) => {
                let found = self.finding(FindingKind::Settings, "settings.json", with_causes(&error));
                self.found(found.lost("model, permission mode, memory directory").remedy(self.restore()));
                None
            }
        }
    }

    fn memory(&mut self, settings: Option<&Settings>) {
        let relative = settings.map_or_else(|| PathBuf::from("memory"), Settings::memory_path);
        let dir = match self.dir().open_dir(&relative) {
            Ok(dir) => dir,
            Err(error) => {
                let missing = error.is_not_found();
                let kind = if missing { FindingKind::MemoryMissing } else { FindingKind::MemoryUnreadable };
                let problem = if missing { "there is no memory directory".to_owned() } else { with_causes(&error) };
                let found = self.finding(kind, &relative, problem);
                self.found(found.lost("what the agent had noted").remedy(self.restore()));
                return;
            }
        };
        let name = relative.join("MEMORY.md");
        let (problem, lost) = match dir.read(Path::new("MEMORY.md"), MAX_MEMORY) {
            Err(error) if error.is_not_found() => return,
            Err(error) => (with_causes(&error), "what the agent had noted"),
            Ok(bytes) if bytes.contains(&0) => ("it holds NUL bytes, as after a power cut".to_owned(), "a part of it"),
            Ok(bytes) if std::str::from_utf8(&bytes).is_err() => ("it is not UTF-8 text".to_owned(), "a part of it"),
            Ok(_) => return,
        };
        let found = self.finding(FindingKind::MemoryUnreadable, name, problem);
        self.found(found.lost(lost).remedy(self.restore()));
    }

    fn name(&mut self, record: &Record) {
        let Some(tree) = self.tree else { return };
        let folder = self.workspace.folder();
        let own = record.key.folder_name();
        let mv = || better_name(tree.sessions_path(), folder, &own);
        let original = || tree.workspace(&own).ok().and_then(|workspace| workspace.record().ok());
        let found = match NameMatch::of(folder, record) {
            NameMatch::Own => return,
            NameMatch::Nobody(reason) => Finding { remedy: mv(), ..self.finding(FindingKind::Name, "", reason) },
            NameMatch::Plain(key) if original().is_some_and(|original| original.uuid == record.uuid) => {
                let problem =
                    format!("it is a copy of `{}`, and becomes the session `{key}` at its next use", record.key);
                self.finding(FindingKind::Adoptable, "", problem)
            }
            NameMatch::Plain(key) => {
                let problem = format!("it was `{}`, and goes on as `{key}` at its next use", record.key);
                let free = tree.sessions_path().join(&own).symlink_metadata().is_err();
                let remedy = mv().filter(|_| free).map(|mv| format!("to go on under the old key: {mv}"));
                Finding { remedy, ..self.finding(FindingKind::Adoptable, "", problem) }
            }
        };
        self.found(found);
    }

    fn transcript(&mut self, record: &Record) {
        const NAME: &str = "transcript.jsonl";
        let last_turn = record.last_turn.as_ref().map_or(record.last_used_at, |last| last.at).as_nanosecond();
        let earlier = !self.live && moment::came_earlier(self.workspace.path(), Path::new(NAME), last_turn);
        let unreadable = |error: &dyn std::error::Error| {
            let found = self.finding(FindingKind::TranscriptUnreadable, NAME, with_causes(error));
            found.lost("what was said").remedy(self.restore())
        };
        let opened = match self.dir().open_file(Path::new(NAME), u64::MAX) {
            Err(error) if error.is_not_found() => None,
            Err(error) => return self.found(unreadable(&error)),
            Ok(file) => Some(file),
        };
        let Some(file) = opened else {
            if record.turns == record.turns_elsewhere {
                return;
            }
            if !self.live && moment::listed_before(self.workspace.path(), Path::new(""), last_turn, &is_own) {
                let found =
                    self.finding(FindingKind::MidTurn, NAME, "the copy was made while the first turn was recorded");
                return self.found(found);
            }
            let problem = format!("there is no transcript, and there were {} turns", record.turns);
            let found = self.finding(FindingKind::TranscriptMissing, NAME, problem);
            let lost = "what was said, as far as the provider's own files do not have it";
            return self.found(found.lost(lost).remedy(self.restore()));
        };
        let mut transcript = TurnsSeen { last: record.turns_elsewhere, ..TurnsSeen::default() };
        let size = match file.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) => return self.found(unreadable(&error)),
        };
        let recorded = record.transcript_bytes;
        let cut = size < recorded && !earlier;
        let mut broken: Vec<Finding> = Vec::new();
        let read = each_line(file, |line| {
            let Some(bytes) = line.bytes else { return };
            match serde_json::from_slice::<TranscriptEntry>(bytes) {
                Ok(parsed) => transcript.take(&parsed),
                // Its end went with what follows it.
                Err(_) if cut && !line.whole => {}
                Err(error) => {
                    // What comes after the recorded size was being written.
                    let being_written = !line.whole && (line.end > recorded || size < recorded);
                    let kind = if being_written { FindingKind::MidTurn } else { FindingKind::TranscriptBroken };
                    let problem = format!("line {} does not parse: {}", line.number, short(&error));
                    let found = self.finding(kind, NAME, problem);
                    if broken.len() < MANY {
                        broken.push(if being_written { found } else { found.lost("that line").remedy(self.restore()) });
                    }
                }
            }
        });
        if let Err(error) = read {
            return self.found(unreadable(&error));
        }
        self.findings.append(&mut broken);
        let last = transcript.last;
        if size < recorded || last < record.turns {
            let turns =
                if last < record.turns { turns_between(last + 1, record.turns) } else { "no whole turn".to_owned() };
            let found = if earlier {
                let problem = format!("the copy was made while a turn was recorded, so it lacks {turns}");
                self.finding(FindingKind::MidTurn, NAME, problem)
            } else {
                let problem = if size < recorded {
                    format!("it has {size} of {recorded} bytes")
                } else {
                    format!("it ends with turn {last}, and there were {}", record.turns)
                };
                self.finding(FindingKind::TranscriptCut, NAME, problem).lost(turns).remedy(self.restore())
            };
            self.found(found);
        }
        for (from, to) in &transcript.gaps {
            let turns = turns_between(*from, *to);
            let found = self.finding(FindingKind::TranscriptGap, NAME, format!("{turns} missing from it"));
            self.found(found.lost(format!("the words of {turns}")).remedy(self.restore()));
        }
    }

    fn conversation(&mut self, record: &Record, conversation: &Conversation, current: bool) {
        // What a section of the configuration names keeps its conversations elsewhere.
        let Some(provider) = built_in(&conversation.provider).filter(|provider| provider.keeps_files()) else { return };
        if conversation.turns == 0 && conversation.file.is_none() {
            // Its first turn did not end: there may be a file, or none.
            return;
        }
        let at = Path::new("provider").join(&conversation.provider);
        let below = self.path(&at);
        let turns = conversation.turns;
        let what = if current { "the current conversation" } else { "an earlier conversation" };
        let held = files_below(&below).filter(|(file, _)| provider.is_conversation_file(&conversation.id, file));
        let Some((file, metadata)) = held.max_by_key(|(_, metadata)| metadata.len()) else {
            let name = at.join(&conversation.id);
            let began = conversation.started_at.as_nanosecond();
            if conversation.never_here {
                let problem = format!("{what} came here without its file, from an earlier system");
                let found = self.finding(FindingKind::NeverHere, name, problem);
                return self.found(found);
            }
            let known = |file: &Path| {
                let below = file.strip_prefix(&at);
                let earlier =
                    |file| record.earlier.iter().any(|earlier| provider.is_conversation_file(&earlier.id, file));
                below.map_or_else(|_| is_own(file), earlier)
            };
            let path = self.workspace.path();
            let found = if !self.live && moment::listed_before(path, &at, began, &known) {
                self.finding(FindingKind::MidTurn, name, "the copy was made as this conversation began")
            } else {
                let lost = if current {
                    format!(
                        "what the agent knows of {turns} turns; the next message starts afresh, with the end of the transcript"
                    )
                } else {
                    format!("going back to {turns} turns: {}", conversation.about)
                };
                let problem = format!("{what} has no file of {}", conversation.provider);
                self.finding(FindingKind::ConversationMissing, name, problem).lost(lost).remedy(self.restore())
            };
            return self.found(found);
        };
        let name = at.join(&file);
        let mark = conversation.file;
        // Whole seconds, because not every copy keeps more.
        let older = !self.live
            && mark.is_some_and(|mark| {
                moment::came_earlier(self.workspace.path(), &name, i128::from(mark.modified.as_second()) * SECOND)
            });
        if let Some(mark) = mark.filter(|mark| metadata.len() < mark.bytes) {
            let problem = format!("{what} has {} of {} bytes", metadata.len(), mark.bytes);
            let found = if older {
                self.finding(FindingKind::MidTurn, &name, format!("the copy was made while a turn ended: {problem}"))
            } else {
                let lost = format!("a part of {turns} turns, for the agent; the transcript has them");
                self.finding(FindingKind::ConversationCut, &name, problem).lost(lost).remedy(self.restore())
            };
            self.found(found);
        }
        // Of a provider's file, several names are no harm.
        let opened = self.dir().open_dir(&at).map(Dir::with_hard_links);
        let (dir, opened) = match opened.and_then(|dir| dir.open_file(&file, u64::MAX).map(|opened| (dir, opened))) {
            Ok(opened) => opened,
            Err(error) => {
                let found = self.finding(FindingKind::ConversationUnreadable, &name, with_causes(&error));
                return self.found(found.lost(format!("{what}, for the agent")).remedy(self.restore()));
            }
        };
        let broken = match provider.format(&file) {
            Format::Opaque => None,
            Format::Sqlite => sqlite::check(&dir, &file, &conversation.id).map(|problem| (problem, false)),
            Format::JsonLines => first_broken_line(opened, mark.map_or(0, |mark| mark.bytes), older),
        };
        if let Some((problem, mid_turn)) = broken {
            let kind = if mid_turn { FindingKind::MidTurn } else { FindingKind::ConversationBroken };
            let found = self.finding(kind, &name, problem);
            let lost = format!("a part of {what}, for the agent; the transcript has what was said");
            self.found(if mid_turn { found } else { found.lost(lost).remedy(self.restore()) });
        }
    }
}

/// What of the turns was seen in a transcript.
#[derive(Default)]
struct TurnsSeen {
    last: u64,
    /// Turns that are missing between others, or at the start.
    gaps: Vec<(u64, u64)>,
}

impl TurnsSeen {
    fn take(&mut self, line: &TranscriptEntry) {
        if line.turn > self.last + 1 && self.gaps.len() < MANY {
            self.gaps.push((self.last + 1, line.turn - 1));
        }
        self.last = self.last.max(line.turn);
    }
}

fn turns_between(from: u64, to: u64) -> String {
    if from == to { format!("turn {from}") } else { format!("turns {from} to {to}") }
}

/// Whether a name at the top of a folder is one that rsync, an editor or a
/// synchroniser gives to a copy of one of Denizen's own files.
fn is_left_behind(path: &Path) -> bool {
    let name = path.to_string_lossy();
    OWN[..4].iter().any(|own| {
        let (stem, ending) = own.rsplit_once('.').unwrap_or((own, ""));
        let hidden =
            name.strip_prefix('.').and_then(|name| name.strip_prefix(own)).is_some_and(|rest| rest.starts_with('.'));
        let backup = name.strip_prefix(own).is_some_and(|rest| matches!(rest, "~" | ".bak" | ".orig" | ".swp"));
        let conflict = name.starts_with(stem) && name.ends_with(ending) && name.contains("conflict");
        hidden || backup || conflict
    })
}
