//! Finding the files of conversations where the providers keep them for somebody
//! who uses them without Denizen. Only looks.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::plan::{ConversationPlace, LegacyConversation, MigrationPlan, WantedConversation};
use crate::causes::with_causes;
use crate::files::Dir;
use crate::provider::{ExternalConversations, Layout, LoginUser, PROVIDERS, Provider};

/// How much of a conversation's first line is read, in bytes.
const MAX_FIRST_LINE: u64 = 4 * 1024 * 1024;

/// Looks for every conversation of a plan: where its directory says, else
/// anywhere. `step` is called after each.
pub(super) fn locate(plan: &mut MigrationPlan, user: &LoginUser<'_>, step: &mut dyn FnMut()) {
    let mut finders: Vec<Finder> = PROVIDERS.iter().filter_map(|provider| Finder::new(*provider, user)).collect();
    for entry in plan.sessions.iter_mut().flat_map(|planned| &mut planned.entries) {
        let fits = |finder: &&mut Finder| entry.provider.is_none_or(|provider| provider == finder.provider.name());
        let place = match entry.conversation.clone() {
            WantedConversation::Id(id) => {
                finders.iter_mut().filter(fits).find_map(|finder| finder.by_directory(&id, entry))
            }
            WantedConversation::Last => {
                let found = finders.iter_mut().find(fits).and_then(|finder| finder.last(entry));
                entry.conversation =
                    found.as_ref().map_or(WantedConversation::Nothing, |(id, _, _)| WantedConversation::Id(id.clone()));
                found.map(|(_, used, place)| {
                    (entry.created_at, entry.last_used_at) = (used, used);
                    place
                })
            }
            WantedConversation::Nothing => None,
        };
        entry.place = place.unwrap_or(ConversationPlace::Missing);
        step();
    }
    let missing = |entry: &LegacyConversation| match (&entry.place, &entry.conversation) {
        (ConversationPlace::Missing, WantedConversation::Id(id)) => Some(id.clone()),
        _ => None,
    };
    for finder in &finders {
        let entries = plan.sessions.iter().flat_map(|planned| &planned.entries);
        let wanted: HashSet<String> = entries.filter_map(missing).collect();
        let found = if wanted.is_empty() { HashMap::new() } else { finder.anywhere(&wanted) };
        for entry in plan.sessions.iter_mut().flat_map(|planned| &mut planned.entries) {
            if entry.provider.is_none_or(|provider| provider == finder.provider.name())
                && let Some(place) = missing(entry).and_then(|id| found.get(&id))
            {
                entry.place = place.clone();
            }
        }
    }
    for entry in plan.sessions.iter().flat_map(|planned| &planned.entries) {
        if let (ConversationPlace::Missing, WantedConversation::Id(id)) = (&entry.place, &entry.conversation) {
            for reason in finders.iter().filter_map(|finder| finder.refused.get(id)) {
                plan.remarks.push(format!("the conversation of `{}` is left where it is: {reason}", entry.key));
            }
        }
    }
}

/// Finds the conversations of one provider.
struct Finder {
    provider: &'static dyn Provider,
    own: ExternalConversations,
    dir: Dir,
    /// The names that directories have below `dir`.
    names: HashMap<PathBuf, Vec<String>>,
    /// Files that may not be taken, by their conversation.
    refused: HashMap<String, String>,
}

impl Finder {
    fn new(provider: &'static dyn Provider, user: &LoginUser<'_>) -> Option<Self> {
        let own = provider.external_conversations(user)?;
        // The directory itself may well be a link of its owner's.
        let dir = Dir::open(&std::fs::canonicalize(&own.dir).ok()?).ok()?;
        Some(Self { provider, own, dir, names: HashMap::new(), refused: HashMap::new() })
    }

    /// The names below `dir` of a working directory: as it is written, and as it
    /// really is.
    fn names_of(&mut self, working_dir: &Path) -> Vec<String> {
        let Layout::ByWorkingDirectory(encode) = self.own.layout else { return Vec::new() };
        let names = self.names.entry(working_dir.to_owned()).or_insert_with(|| {
            let mut names = vec![encode(&working_dir.to_string_lossy())];
            if let Ok(real) = std::fs::canonicalize(working_dir) {
                names.push(encode(&real.to_string_lossy()));
            }
            names.dedup();
            names
        });
        names.clone()
    }

    /// The conversation, in a directory that its entry names.
    fn by_directory(&mut self, id: &str, entry: &LegacyConversation) -> Option<ConversationPlace> {
        let file = PathBuf::from(format!("{id}.jsonl"));
        if !self.provider.is_conversation_file(id, &file) {
            return None;
        }
        for dir in entry.dirs.iter() {
            for name in self.names_of(dir) {
                match self.dir.open_own(&Path::new(&name).join(&file), u64::MAX) {
                    Ok(_) => return Some(self.place(Path::new(&name), id)),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => {
                        self.refused.insert(id.to_owned(), with_causes(&error));
                    }
                }
            }
        }
        None
    }

    /// The conversations with these ids, wherever they are.
    fn anywhere(&self, wanted: &HashSet<String>) -> HashMap<String, ConversationPlace> {
        let mut found: HashMap<String, (Timestamp, ConversationPlace)> = HashMap::new();
        let mut take = |id: &str, below: &Path, place: ConversationPlace| {
            // The newest counts, where there are several.
            let Ok((_, stamp)) = self.dir.open_own(below, u64::MAX) else { return };
            let used = Timestamp::from_nanosecond(stamp.modified).unwrap_or_default();
            if found.get(id).is_none_or(|(known, _)| *known < used) {
                found.insert(id.to_owned(), (used, place));
            }
        };
        match self.own.layout {
            Layout::ByWorkingDirectory(_) => {
                for project in self.dir.names().unwrap_or_default() {
                    let Ok(names) = self.dir.open_dir(Path::new(&project)).and_then(|dir| dir.names()) else {
                        continue;
                    };
                    for name in names {
                        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".jsonl")) else { continue };
                        if wanted.contains(id) {
                            take(id, &Path::new(&project).join(&name), self.place(Path::new(&project), id));
                        }
                    }
                }
            }
            Layout::AsKept => self.each_kept(&mut |below, id| {
                if wanted.contains(&id) {
                    take(&id, below, self.place_as_kept(below));
                }
            }),
        }
        found.into_iter().map(|(id, (_, place))| (id, place)).collect()
    }

    /// The conversation that was last used in the directories of an entry, with
    /// its id and when that was.
    fn last(&mut self, entry: &LegacyConversation) -> Option<(String, Timestamp, ConversationPlace)> {
        let mut latest: Option<(Timestamp, String, ConversationPlace)> = None;
        let mut take = |dir: &Dir, id: String, below: &Path, place: ConversationPlace| {
            let Ok((_, stamp)) = dir.open_own(below, u64::MAX) else { return };
            let used = Timestamp::from_nanosecond(stamp.modified).unwrap_or_default();
            if stamp.size > 0 && latest.as_ref().is_none_or(|(known, ..)| *known < used) {
                latest = Some((used, id, place));
            }
        };
        for working_dir in entry.dirs.iter() {
            for project in self.names_of(working_dir) {
                let Ok(names) = self.dir.open_dir(Path::new(&project)).and_then(|dir| dir.names()) else { continue };
                for name in names {
                    let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".jsonl")) else { continue };
                    if self.provider.is_conversation_file(id, Path::new(&name)) {
                        let place = self.place(Path::new(&project), id);
                        take(&self.dir, id.to_owned(), &Path::new(&project).join(&name), place);
                    }
                }
            }
            if let Layout::AsKept = self.own.layout {
                let real = std::fs::canonicalize(working_dir).unwrap_or_else(|_| working_dir.clone());
                self.each_kept(&mut |below, id| {
                    if self.began_in(below).is_some_and(|dir| dir == *working_dir || dir == real) {
                        take(&self.dir, id, below, self.place_as_kept(below));
                    }
                });
            }
        }
        latest.map(|(used, id, place)| (id, used, place))
    }

    /// Goes through the files that lie as Denizen keeps them.
    fn each_kept(&self, take: &mut dyn FnMut(&Path, String)) {
        for entry in walkdir::WalkDir::new(self.dir.path()).max_depth(8).into_iter().flatten() {
            let Ok(below) = entry.path().strip_prefix(self.dir.path()) else { continue };
            if let (true, Some(id)) = (entry.file_type().is_file(), self.provider.id_in(below)) {
                take(below, id);
            }
        }
    }

    /// The working directory in the first line of a conversation.
    fn began_in(&self, below: &Path) -> Option<PathBuf> {
        let (file, _): (File, _) = self.dir.open_own(below, u64::MAX).ok()?;
        let mut line = Vec::new();
        BufReader::new(file.take(MAX_FIRST_LINE)).read_until(b'\n', &mut line).ok()?;
        let line: serde_json::Value = serde_json::from_slice(&line).ok()?;
        Some(PathBuf::from(line.pointer("/payload/cwd")?.as_str()?))
    }

    fn place(&self, project: &Path, id: &str) -> ConversationPlace {
        let beside = self.dir.path().join(project).join(id);
        let more = self.own.more.iter().map(|(dir, kept)| (dir.join(id), Path::new(kept).join(id)));
        let more = std::iter::once((beside.clone(), PathBuf::from(id))).chain(more);
        ConversationPlace::At {
            provider: self.provider.name(),
            file: beside.with_file_name(format!("{id}.jsonl")),
            kept_as: PathBuf::from(format!("{id}.jsonl")),
            more: more.filter(|(dir, _)| dir.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())).collect(),
        }
    }

    fn place_as_kept(&self, below: &Path) -> ConversationPlace {
        let (file, kept_as) = (self.dir.path().join(below), below.to_owned());
        ConversationPlace::At { provider: self.provider.name(), file, kept_as, more: Vec::new() }
    }
}
