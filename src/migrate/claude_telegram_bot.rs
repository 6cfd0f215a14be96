//! claude-telegram-bot, in both lines of it: JSON files in the temp directory,
//! of one conversation, of the last five, or of one for each chat.
//!
//! The temp directory is shared: a file there is read only where it and its
//! directory belong to this user. No file says which provider it belongs to.

use std::path::{Path, PathBuf};

use super::fields::{Fields, without_mark};
use super::importer::{Importer, LegacySearch};
use super::keys;
use super::plan::{ConversationPlace, ConversationRole, ImportDraft, LegacyConversation, Skipped, WantedConversation};
use super::read::{LegacyReader, LegacyState, Read};

/// The importer.
#[derive(Debug)]
pub(super) struct ClaudeTelegramBot;

const SINGLE: &str = "claude-telegram-session.json";
const CHATS: &str = "claude-telegram-sessions";

impl Importer for ClaudeTelegramBot {
    fn name(&self) -> &'static str {
        "claude-telegram-bot"
    }

    fn bases(&self, search: &LegacySearch) -> Vec<PathBuf> {
        let own = |dir: &PathBuf| {
            // Somebody may name one of its directories.
            let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let inside = name == CHATS || name.starts_with("ctb-");
            if inside { dir.parent().unwrap_or(dir).to_owned() } else { dir.clone() }
        };
        search.temp.iter().chain(&search.from).map(own).collect()
    }

    fn signs(&self) -> &'static [&'static str] {
        &[SINGLE, CHATS]
    }

    fn read(&self, reader: &mut LegacyReader<'_>) {
        reader.file(SINGLE);
        reader.matching("ctb-*/session.json");
        reader.matching(&format!("{CHATS}/*.json"));
        for lock in reader.matches("ctb-*/pid.lock") {
            let instance = lock.parent().unwrap_or(&lock).to_owned();
            let words = ["claude-telegram", "telegram-bot"];
            reader.daemon(&lock, &words, &[&instance, Path::new(CHATS), Path::new(SINGLE)]);
        }
    }

    fn plan(&self, state: &LegacyState) -> ImportDraft {
        let mut draft = ImportDraft::default();
        for (number, read) in state.files.iter().enumerate() {
            if let Err(reason) = plan_file(number, read, &mut draft) {
                draft.broken.push((number, reason));
            }
        }
        draft
    }
}

fn plan_file(number: usize, read: &Read, draft: &mut ImportDraft) -> Result<(), String> {
    let fields = Fields::read(&read.bytes)?;
    if fields.get("sessions").is_some() {
        // The one used last comes first; the others are what could be resumed.
        for (place, session) in fields.objects("sessions") {
            let role = if place == "0" { ConversationRole::Current } else { ConversationRole::Earlier };
            let at = place.parse::<usize>().ok();
            let found = fields.get("sessions").and_then(|list| list.get(at?)).map(ToString::to_string);
            add(number, read, &place, &session, found.unwrap_or_default(), role, draft);
        }
        return Ok(());
    }
    let found = String::from_utf8_lossy(without_mark(&read.bytes)).trim().to_owned();
    let name = read.name.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let name = if read.name.starts_with(CHATS) { name.to_owned() } else { "session".to_owned() };
    add(number, read, &name, &fields, found, ConversationRole::Current, draft);
    Ok(())
}

fn add(
    number: usize,
    read: &Read,
    name: &str,
    fields: &Fields,
    found: String,
    role: ConversationRole,
    draft: &mut ImportDraft,
) {
    let skip = |reason: &str| Skipped { source: number, name: name.to_owned(), reason: reason.to_owned() };
    let Some(id) = fields.text("session_id") else {
        draft.skipped.push(skip("it names no conversation"));
        return;
    };
    // The file's name tells the chat where its content does not.
    let chat = fields.number("chat_id").or_else(|| name.parse().ok().filter(|_| read.name.starts_with(CHATS)));
    let (key, remark) = chat.map_or_else(keys::shared, keys::of_chat);
    draft.remarks.extend(remark);
    let saved_at = fields.time("saved_at").unwrap_or(read.modified);
    let dir = fields.text("working_dir").map(PathBuf::from).filter(|dir| dir.is_absolute());
    draft.entries.push(LegacyConversation {
        source: number,
        name: name.to_owned(),
        key,
        conversation: WantedConversation::Id(id),
        role,
        provider: None,
        created_at: saved_at,
        last_used_at: saved_at,
        turns: 0,
        about: fields.text("title").unwrap_or_default(),
        dirs: dir.into_iter().collect::<Vec<_>>().into(),
        stays: false,
        memory: None,
        instructions: None,
        found,
        place: ConversationPlace::Unsought,
    });
}
