//! What is found, and what becomes of it: a value, made from what was read and
//! from nothing else, that can be printed and compared whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::read::{LegacyDaemon, LegacyState, Read, Refused};
use crate::key::Key;

/// What one importer makes of one place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportDraft {
    /// The conversations.
    pub entries: Vec<LegacyConversation>,
    /// Files that turned out to hold nothing that can be read, by their number.
    pub broken: Vec<(usize, String)>,
    /// What was left out, by the number of its file.
    pub skipped: Vec<Skipped>,
    /// What the person should know.
    pub remarks: Vec<String>,
    /// Lines for the configuration, each a comment.
    pub proposal: Vec<String>,
    /// Messages that were accepted and never answered.
    pub messages: Vec<LeftMessage>,
    /// The numbers of files of which no copy is kept, because they hold secrets.
    pub secret: Vec<usize>,
}

/// One conversation of an earlier system.
#[derive(Debug, Clone, PartialEq)]
pub struct LegacyConversation {
    /// The number of the file that names it.
    pub source: usize,
    /// Its name in that file.
    pub name: String,
    /// The session that it belongs to.
    pub key: Key,
    /// Which conversation it is.
    pub conversation: WantedConversation,
    /// Whether the next message could continue it.
    pub role: ConversationRole,
    /// The provider, where the file says so.
    pub provider: Option<&'static str>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Timestamp,
    /// How many turns it has had, as far as was counted.
    pub turns: u64,
    /// The first words of it.
    pub about: String,
    /// The directories that it may have run in, the likeliest first.
    pub dirs: Arc<[PathBuf]>,
    /// Whether the session goes on in the first of them whatever happens.
    pub stays: bool,
    /// A directory of memory that comes along.
    pub memory: Option<PathBuf>,
    /// Instructions that come along.
    pub instructions: Option<String>,
    /// The entry as it was found.
    pub found: String,
    /// Where its conversation lies; known after it was looked for.
    pub place: ConversationPlace,
}

/// Which conversation an entry means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedConversation {
    /// The one with this id.
    Id(String),
    /// The one that was last used in the directory.
    Last,
    /// None: there was only the name, or a fresh one was asked for.
    Nothing,
}

/// What a conversation can be to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConversationRole {
    /// An earlier one.
    Earlier,
    /// The one that the next message continues.
    Current,
}

/// Where the file of a conversation lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConversationPlace {
    /// It was not looked for.
    Unsought,
    /// It was looked for and is not there.
    Missing,
    /// It is there.
    At {
        /// The provider that it belongs to.
        provider: &'static str,
        /// The file, absolute.
        file: PathBuf,
        /// Its path below `provider/<name>/`.
        kept_as: PathBuf,
        /// Directories that belong to it, each with its path below `provider/<name>/`.
        more: Vec<(PathBuf, PathBuf)>,
    },
}

/// Something that was left out of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The number of the file.
    pub source: usize,
    /// Its name there.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A message that an earlier system had accepted and not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftMessage {
    /// The number of its file.
    pub source: usize,
    /// The session that it is for.
    pub key: Key,
    /// Who sent it, as an id and a name.
    pub from: (String, String),
    /// The message.
    pub text: String,
    /// When it was sent.
    pub at: Timestamp,
}

/// Everything that a migration would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MigrationPlan {
    /// The files that were read.
    pub sources: Vec<LegacyFile>,
    /// The sessions, by their keys.
    pub sessions: Vec<Planned>,
    /// The files that are left alone.
    pub refused: Vec<Refused>,
    /// What is left out of the files that were read.
    pub skipped: Vec<Skipped>,
    /// What the person should know.
    pub remarks: Vec<String>,
    /// Lines for the configuration, each a comment, by the number of the first
    /// file that they were made from.
    pub proposals: Vec<(usize, Vec<String>)>,
    /// Messages that were accepted and never answered.
    pub messages: Vec<LeftMessage>,
}

/// A file that is migrated.
#[derive(Debug, Clone, PartialEq)]
pub struct LegacyFile {
    /// The system that wrote it.
    pub system: &'static str,
    /// The file.
    pub read: Read,
    /// Whether a copy of it is kept: not of one that holds secrets.
    pub kept: bool,
    /// What is wrong with it, if it could not be read.
    pub broken: Option<String>,
}

/// A session that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Its key.
    pub key: Key,
    /// Its conversations, the current one last if there is one.
    pub entries: Vec<LegacyConversation>,
    /// Entries that name one of these once more.
    pub same: Vec<LegacyConversation>,
}

impl Planned {
    /// The conversation that the next message continues.
    #[must_use]
    pub fn current(&self) -> Option<&LegacyConversation> {
        self.entries.last().filter(|entry| entry.role == ConversationRole::Current)
    }
}

impl MigrationPlan {
    /// Puts together what the importers made of what was read. Where a program
    /// still writes the files of a place, they are left alone, unless `force`.
    #[must_use]
    pub fn of(drafts: Vec<(&'static str, LegacyState, ImportDraft)>, force: bool) -> Self {
        let mut plan = Self::default();
        let mut entries: BTreeMap<Key, Vec<LegacyConversation>> = BTreeMap::new();
        for (system, state, draft) in drafts {
            plan.refused.extend(state.refused);
            let first = plan.sources.len();
            let mut numbers: Vec<Option<usize>> = Vec::new();
            for (number, read) in state.files.into_iter().enumerate() {
                let written = if force { None } else { written_by(&state.daemons, &read.path) };
                if let Some(daemon) = written {
                    let reason =
                        format!("{system} still runs (process {}, says `{}`)", daemon.pid, daemon.file.display());
                    plan.refused.push(Refused { path: read.path, reason });
                    numbers.push(None);
                } else if read.dealt_with {
                    numbers.push(None);
                } else {
                    let broken = draft.broken.iter().find(|(at, _)| *at == number).map(|(_, reason)| reason.clone());
                    numbers.push(Some(plan.sources.len()));
                    plan.sources.push(LegacyFile { system, read, kept: !draft.secret.contains(&number), broken });
                }
            }
            let at = |number: usize| numbers.get(number).copied().flatten();
            for mut entry in draft.entries {
                let Some(source) = at(entry.source) else { continue };
                entry.source = source;
                entries.entry(entry.key.clone()).or_default().push(entry);
            }
            for mut skipped in draft.skipped {
                let Some(source) = at(skipped.source) else { continue };
                skipped.source = source;
                plan.skipped.push(skipped);
            }
            for mut message in draft.messages {
                let Some(source) = at(message.source) else { continue };
                message.source = source;
                plan.messages.push(message);
            }
            if plan.sources.len() > first {
                plan.remarks.extend(draft.remarks);
                if !draft.proposal.is_empty() {
                    plan.proposals.push((first, draft.proposal));
                }
            }
        }
        for (key, entries) in entries {
            let planned = merged(key, entries, &plan.sources, &mut plan.remarks);
            plan.sessions.push(planned);
        }
        plan
    }

    /// Whether there is nothing to do and nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.refused.is_empty()
    }

    /// How many conversations there are.
    #[must_use]
    pub fn conversations(&self) -> usize {
        self.sessions.iter().map(|planned| planned.entries.len()).sum()
    }

    /// The file that an entry came from.
    #[must_use]
    pub fn path_of(&self, source: usize) -> &Path {
        self.sources.get(source).map_or(Path::new(""), |source| &source.read.path)
    }
}

fn written_by<'a>(daemons: &'a [LegacyDaemon], path: &Path) -> Option<&'a LegacyDaemon> {
    daemons.iter().find(|daemon| daemon.writes.iter().any(|dir| path.starts_with(dir)))
}

/// The conversations of one session: the newest that may be current is, the
/// others are earlier ones, and each is there once.
fn merged(
    key: Key,
    mut entries: Vec<LegacyConversation>,
    sources: &[LegacyFile],
    remarks: &mut Vec<String>,
) -> Planned {
    // Stable, so that of two that were used at the same time the first read wins.
    entries.reverse();
    entries.sort_by_key(|entry| (entry.role, entry.last_used_at));
    let (mut kept, mut same): (Vec<LegacyConversation>, Vec<LegacyConversation>) = (Vec::new(), Vec::new());
    while let Some(mut entry) = entries.pop() {
        let is_same = |other: &LegacyConversation| {
            matches!(entry.conversation, WantedConversation::Id(_)) && other.conversation == entry.conversation
        };
        if kept.iter().any(is_same) {
            same.push(entry);
            continue;
        }
        if let Some(current) = kept.first().filter(|first| first.role == ConversationRole::Current)
            && entry.role == ConversationRole::Current
        {
            let file = |entry: &LegacyConversation| {
                sources.get(entry.source).map_or_else(String::new, |source| source.read.path.display().to_string())
            };
            remarks.push(format!(
                "`{key}` is in two places: `{}` in `{}` was used last and is current, `{}` in `{}` is an earlier conversation",
                current.name.escape_debug(),
                file(current),
                entry.name.escape_debug(),
                file(&entry)
            ));
            entry.role = ConversationRole::Earlier;
        }
        kept.push(entry);
    }
    kept.reverse();
    kept.sort_by_key(|entry| (entry.role, entry.last_used_at));
    Planned { key, entries: kept, same }
}
