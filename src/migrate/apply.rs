//! Doing what was planned: sessions are built aside with their conversations,
//! synced together, named one by one, and then the receipts are written.
//!
//! Where it is cut short before the receipts, the next start plans the same, and
//! finds in the records of the sessions that are there what became of the rest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::importer::LegacyError;
use super::plan::{
    ConversationPlace, ConversationRole, LeftMessage, LegacyConversation, MigrationPlan, Planned, WantedConversation,
};
use super::proposal;
use super::receipt::{Became, MigratedOutcome, MigrationReceipt, receipts_path};
use super::take::{take_file, take_tree};
use crate::causes::with_causes;
use crate::files::{Dir, Durability, Lock, make_private_dir};
use crate::key::Key;
use crate::session::{
    Author, Conversation, Grant, Message, Planted, Planting, ProviderChoice, Queue, Record, Settings, Store,
};

/// What was done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What became of each file.
    pub receipts: Vec<MigrationReceipt>,
    /// Whether proposals were put into the configuration.
    pub proposed: bool,
    /// Why they could not be, where they could not.
    pub not_proposed: Option<String>,
}

/// Does what was planned. `lock` makes the caller the only one who migrates.
/// `step` is called after each session.
///
/// # Errors
/// If something cannot be written. What was done until then stays, and is
/// recognised by the next try.
pub(super) fn apply(
    store: &Store,
    lock: &Lock,
    plan: &MigrationPlan,
    config_file: &Path,
    step: &mut dyn FnMut(),
) -> Result<Report, LegacyError> {
    let planting = store.planting(lock)?;
    let made = build(store, &planting, plan, step);
    let done = made.and_then(|made| install(store, &planting, plan, made, config_file));
    planting.finish();
    done
}

/// A session as it was built, or why it was not.
enum Built {
    New {
        uuid: Uuid,
        /// The directory that was granted to it.
        works_in: Option<PathBuf>,
    },
    /// There is one of this key.
    There,
}

fn build(
    store: &Store,
    planting: &Planting<'_>,
    plan: &MigrationPlan,
    step: &mut dyn FnMut(),
) -> Result<Vec<Built>, LegacyError> {
    let mut built = Vec::with_capacity(plan.sessions.len());
    let mut dirs = HashMap::new();
    for planned in &plan.sessions {
        if planned.entries.is_empty()
            || store.open_folder(&planned.key.folder_name()).is_ok_and(|there| there.is_some())
        {
            built.push(Built::There);
            step();
            continue;
        }
        let record = record_of(planned, plan);
        let instructions = planned.entries.iter().rev().find_map(|entry| entry.instructions.as_deref());
        let path = planting.build(&record, &Settings::default(), instructions.map(str::as_bytes))?;
        for entry in &planned.entries {
            if let ConversationPlace::At { provider, file, kept_as, more } = &entry.place {
                let conversations = path.join("provider").join(provider);
                take_file(file, &conversations.join(kept_as))?;
                for (dir, kept_as) in more {
                    take_tree(dir, &conversations.join(kept_as))?;
                }
            }
        }
        // The newest memory counts, where there are several.
        if let Some(memory) = planned.entries.iter().rev().find_map(|entry| entry.memory.as_ref()) {
            take_tree(memory, &path.join("memory"))?;
        }
        let stays = stays_in(planned, store, &mut dirs);
        if let Some((dir, until_new)) = &stays {
            let grant = Grant { working_dir: Some(dir.clone()), until_new: *until_new, ..Grant::none(record.uuid) };
            planting.grant(&planned.key.folder_name(), &grant)?;
        }
        built.push(Built::New { uuid: record.uuid, works_in: stays.map(|(dir, _)| dir) });
        step();
    }
    planting.sync()?;
    Ok(built)
}

fn install(
    store: &Store,
    planting: &Planting<'_>,
    plan: &MigrationPlan,
    built: Vec<Built>,
    config_file: &Path,
) -> Result<Report, LegacyError> {
    let mut outcomes: Vec<Vec<MigratedOutcome>> = plan.sources.iter().map(|_| Vec::new()).collect();
    for (planned, built) in plan.sessions.iter().zip(built) {
        let there = match built {
            Built::New { uuid, works_in }
                if planting.install(&planned.key, place_of(&planned.key))? == Planted::Made =>
            {
                Ok(There::Made { uuid, works_in })
            }
            _ => found(store, &planned.key),
        };
        for entry in planned.entries.iter().chain(&planned.same) {
            if let Some(outcomes) = outcomes.get_mut(entry.source) {
                outcomes.push(outcome(entry, planned, plan, &there));
            }
        }
    }
    for message in &plan.messages {
        let outcome = replay(store, message)?;
        if let Some(outcomes) = outcomes.get_mut(message.source) {
            outcomes.push(outcome);
        }
    }
    for skipped in &plan.skipped {
        if let Some(outcomes) = outcomes.get_mut(skipped.source) {
            outcomes.push(MigratedOutcome {
                reason: Some(skipped.reason.clone()),
                ..MigratedOutcome::of(&skipped.name, Became::Skipped)
            });
        }
    }
    // A configuration that cannot be written keeps no conversation from moving in.
    let (proposed, not_proposed) = match proposal::append(plan, config_file, store.staging()?) {
        Ok(proposed) => (proposed, None),
        Err(error) => (false, Some(with_causes(&error))),
    };
    let now = Timestamp::now();
    let mut receipts = Vec::new();
    for (source, entries) in plan.sources.iter().zip(outcomes) {
        let receipt = MigrationReceipt { entries, ..MigrationReceipt::of(source, now) };
        receipt.build(&source.read.bytes, planting.path())?;
        receipts.push(receipt);
    }
    planting.sync()?;
    if !receipts.is_empty() {
        let path = receipts_path(store);
        make_private_dir(&path, store.durability())?;
        let (aside, dir) = (Dir::open(planting.path())?, Dir::open(&path)?);
        for receipt in &receipts {
            receipt.install(&aside, &dir)?;
        }
        if store.durability() == Durability::Power {
            dir.sync()?;
        }
    }
    Ok(Report { receipts, proposed, not_proposed })
}

impl MigratedOutcome {
    fn of(name: &str, became: Became) -> Self {
        Self {
            name: name.to_owned(),
            became,
            session: None,
            uuid: None,
            made: false,
            conversation: None,
            provider: None,
            moved: false,
            working_dir: None,
            reason: None,
        }
    }
}

/// The session that is there in the end.
enum There {
    /// It was made just now, as it was planned.
    Made { uuid: Uuid, works_in: Option<PathBuf> },
    /// It was there before, perhaps by a migration that was cut short.
    Before { record: Box<Record>, works_in: Option<PathBuf> },
}

fn found(store: &Store, key: &Key) -> Result<There, String> {
    let folder = key.folder_name();
    let workspace = store.open_folder(&folder).map_err(|error| with_causes(&error))?;
    let workspace = workspace.ok_or("another process makes a session of this key")?;
    let record = Box::new(workspace.record().map_err(|error| with_causes(&error))?);
    let grant = Grant::read(store, &folder, record.uuid).map_err(|error| with_causes(&error))?;
    Ok(There::Before { record, works_in: grant.working_dir })
}

/// What became of an entry, by the session that is there now.
fn outcome(
    entry: &LegacyConversation,
    planned: &Planned,
    plan: &MigrationPlan,
    there: &Result<There, String>,
) -> MigratedOutcome {
    let id = match &entry.conversation {
        WantedConversation::Id(id) => Some(id.clone()),
        WantedConversation::Last | WantedConversation::Nothing => None,
    };
    let base = MigratedOutcome {
        session: Some(entry.key.clone()),
        provider: id.as_ref().map(|_| provider_of(entry).to_owned()),
        conversation: id.clone(),
        ..MigratedOutcome::of(&entry.name, Became::Conflict)
    };
    let is_last = planned.entries.last() == Some(entry);
    let (became, uuid, made, works_in) = match there {
        Err(reason) => return MigratedOutcome { reason: Some(reason.clone()), ..base },
        Ok(There::Made { uuid, works_in }) => {
            let current = planned.current().is_some_and(|current| current.conversation == entry.conversation);
            let became = match (&id, current) {
                (None, _) => Became::Empty,
                (Some(_), true) => Became::Current,
                (Some(_), false) => Became::Earlier,
            };
            (became, *uuid, is_last, works_in)
        }
        Ok(There::Before { record, works_in }) => {
            let is_it = |conversation: &Conversation| id.as_deref() == Some(conversation.id.as_str());
            let own = record.extra.get("origin").is_some_and(|origin| is_origin(origin, entry, plan));
            let became = if record.conversation.as_ref().is_some_and(is_it) {
                Became::Current
            } else if record.earlier.iter().any(is_it) {
                Became::Earlier
            } else if own && id.is_none() {
                Became::Empty
            } else {
                let reason = Some("there is a session of this key already, which stays as it is".to_owned());
                return MigratedOutcome { reason, uuid: Some(record.uuid), ..base };
            };
            (became, record.uuid, own && is_last, works_in)
        }
    };
    MigratedOutcome {
        became,
        uuid: Some(uuid),
        made,
        moved: planned.entries.iter().any(|other| {
            other.conversation == entry.conversation && matches!(other.place, ConversationPlace::At { .. })
        }),
        working_dir: works_in.clone().filter(|_| became != Became::Earlier),
        ..base
    }
}

fn is_origin(origin: &Value, entry: &LegacyConversation, plan: &MigrationPlan) -> bool {
    let path = plan.path_of(entry.source);
    origin.get("name").and_then(Value::as_str) == Some(entry.name.as_str())
        && origin.get("file").and_then(Value::as_str) == path.to_str()
}

/// The record of a session that is to be made.
fn record_of(planned: &Planned, plan: &MigrationPlan) -> Record {
    let mut record = Record::new(planned.key.clone(), place_of(&planned.key));
    let times = planned.entries.iter();
    record.created_at = times.clone().map(|entry| entry.created_at).min().unwrap_or(record.created_at);
    record.last_used_at = times.map(|entry| entry.last_used_at).max().unwrap_or(record.last_used_at);
    for entry in &planned.entries {
        record.turns = record.turns.saturating_add(entry.turns);
        let WantedConversation::Id(id) = &entry.conversation else { continue };
        let mut conversation = Conversation::new(provider_of(entry), id, &entry.about);
        conversation.started_at = entry.created_at;
        conversation.last_used_at = entry.last_used_at;
        // Of one that turns out to be lost the person is told, if it had any.
        let missing = u64::from(entry.place == ConversationPlace::Missing);
        conversation.turns = entry.turns.max(missing);
        conversation.never_here = entry.place == ConversationPlace::Missing;
        record.provider = Some(ProviderChoice { name: provider_of(entry).to_owned() });
        if entry.role == ConversationRole::Current {
            record.conversation = Some(conversation);
        } else {
            conversation.extra.insert("origin".to_owned(), origin_of(entry, plan));
            record.earlier.push(conversation);
        }
    }
    record.turns_elsewhere = record.turns;
    if let Some(entry) = planned.entries.last() {
        record.extra.insert("origin".to_owned(), origin_of(entry, plan));
        if record.provider.is_none() {
            record.provider = entry.provider.map(|name| ProviderChoice { name: name.to_owned() });
        }
    }
    record
}

/// Where something came from, for people; nothing reads it as state but this module.
fn origin_of(entry: &LegacyConversation, plan: &MigrationPlan) -> Value {
    let system = plan.sources.get(entry.source).map_or("", |source| source.system);
    let mut origin = json!({
        "system": system,
        "file": plan.path_of(entry.source),
        "name": entry.name,
    });
    if let Some(dir) = entry.dirs.first() {
        origin["working_dir"] = json!(dir);
    }
    if let Ok(found) = serde_json::from_str::<Value>(&entry.found) {
        origin["entry"] = found;
    }
    origin
}

/// The channel that a session belongs to, as its key tells.
fn place_of(key: &Key) -> &'static str {
    let networks = [("discord-", "discord"), ("telegram-", "telegram"), ("whatsapp-", "whatsapp"), ("slk:", "slack")];
    networks.into_iter().find(|(start, _)| key.as_str().starts_with(start)).map_or("terminal", |(_, place)| place)
}

/// The provider of an entry. Ids that are nowhere tell it by their kind: Codex
/// makes them of the time (version 7), Claude Code at random.
fn provider_of(entry: &LegacyConversation) -> &str {
    let by_id = || match &entry.conversation {
        WantedConversation::Id(id) if id.parse::<Uuid>().is_ok_and(|id| id.get_version_num() == 7) => "codex",
        _ => "claude",
    };
    match (&entry.place, entry.provider) {
        (ConversationPlace::At { provider, .. }, _) => provider,
        (_, Some(provider)) => provider,
        _ => by_id(),
    }
}

/// The directory that a session goes on in, and whether only until a fresh
/// conversation begins: where the current one could not be moved.
fn stays_in(planned: &Planned, store: &Store, known: &mut HashMap<PathBuf, bool>) -> Option<(PathBuf, bool)> {
    let entry = planned.entries.last()?;
    let not_moved = planned.current().is_some_and(|current| {
        matches!(current.place, ConversationPlace::Missing) && matches!(current.conversation, WantedConversation::Id(_))
    });
    if !entry.stays && !not_moved {
        return None;
    }
    let dir = entry.dirs.iter().find(|dir| *known.entry((*dir).clone()).or_insert_with(|| may_work_in(dir, store)))?;
    Some((std::fs::canonicalize(dir).ok()?, !entry.stays))
}

/// Whether a directory may be granted: it is this user's, and neither holds the
/// root nor is inside it.
fn may_work_in(dir: &Path, store: &Store) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(real) = std::fs::canonicalize(dir) else { return false };
    let own = rustix::process::geteuid().as_raw();
    let is_own = std::fs::metadata(&real).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own);
    is_own && !real.starts_with(store.root()) && !store.root().starts_with(&real)
}

/// Gives a message to its session, where it waits to be sent.
fn replay(store: &Store, left: &LeftMessage) -> Result<MigratedOutcome, LegacyError> {
    let folder = left.key.folder_name();
    let base = MigratedOutcome { session: Some(left.key.clone()), ..MigratedOutcome::of("message", Became::Waiting) };
    let Some(workspace) = store.open_folder(&folder)? else {
        let reason = Some("there is no session for it".to_owned());
        return Ok(MigratedOutcome { reason, became: Became::Skipped, ..base });
    };
    let record = workspace.record()?;
    let author = Author { id: left.from.0.clone(), name: left.from.1.clone() };
    let message = Message {
        at: left.at,
        author: (!author.id.is_empty()).then_some(author),
        ..Message::plain(Some(record.uuid), &left.text)
    };
    let queue = Queue::open(store, &folder)?;
    let waits = |pending: &crate::session::Pending| pending.message.as_ref().is_ok_and(|found| *found == message);
    if !queue.pending()?.iter().any(waits) {
        // Whoever comes first is taken to begin at once, and this one waits.
        let before = queue.line().join()?;
        let _kept = queue.accept(&message, u64::MAX)?;
        before.finish();
    }
    Ok(MigratedOutcome { uuid: Some(record.uuid), ..base })
}
