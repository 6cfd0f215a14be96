//! claudeclaw, upstream and forks: JSON files below `.claude/` of the directory
//! in which its daemon was started, in every shape since its first day.
//!
//! Its ids belong to the directory of the daemon; a fork ran each session in
//! `.claude/claudeclaw/sessions/<name>/` once that was there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{Fields, broken, without_mark};
use super::importer::{Importer, LegacySearch};
use super::keys;
use super::plan::{ConversationPlace, ConversationRole, ImportDraft, LegacyConversation, Skipped, WantedConversation};
use super::proposal::{commented, from_file};
use super::read::{LegacyReader, LegacyState, Read};
use crate::key::Key;

/// The importer.
#[derive(Debug)]
pub(super) struct ClaudeClaw;

/// The directory in which it keeps sessions, relative to the daemon's.
const OWN: &str = ".claude/claudeclaw";

/// How it was called at first.
const OLD: &str = ".claude/heartbeat";

impl Importer for ClaudeClaw {
    fn name(&self) -> &'static str {
        "claudeclaw"
    }

    fn bases(&self, search: &LegacySearch) -> Vec<PathBuf> {
        let own = |dir: &PathBuf| {
            // Somebody may name the directory of the files themselves.
            let inside = dir.ends_with(OWN) || dir.ends_with(OLD);
            if inside { dir.ancestors().nth(2).unwrap_or(dir).to_owned() } else { dir.clone() }
        };
        search.dirs.iter().map(own).collect()
    }

    fn signs(&self) -> &'static [&'static str] {
        &[
            ".claude/claudeclaw/sessions.json",
            ".claude/claudeclaw/session.json",
            ".claude/claudeclaw/session-map.json",
            ".claude/heartbeat/session.json",
            ".claude/heartbeat/telegram-sessions.json",
        ]
    }

    fn read(&self, reader: &mut LegacyReader<'_>) {
        for name in ["telegram-sessions.json", "session.json", "settings.json"] {
            reader.file(&format!("{OLD}/{name}"));
        }
        for name in ["sessions.json", "session.json", "session-map.json", "session_fallback.json"] {
            reader.file(&format!("{OWN}/{name}"));
        }
        reader.matching(&format!("{OWN}/session_*.backup"));
        reader.matching(&format!("{OWN}/fallback-sessions/*.json"));
        // Without its own directory, `agents/` is anybody's.
        if [OWN, OLD].iter().any(|own| reader.has_dir(Path::new(own))) {
            reader.matching("agents/*/session.json");
            reader.matching("agents/*/session_fallback.json");
        }
        reader.file(&format!("{OWN}/settings.json"));
        reader.file(&format!("{OWN}/permission-mode.json"));
        for name in reader.matches(&format!("{OWN}/sessions/*")) {
            reader.has_dir(&name);
            reader.has_dir(&name.join("memory"));
        }
        for home in [OWN, OLD] {
            let pid = Path::new(home).join("daemon.pid");
            reader.daemon(&pid, &["claudeclaw", "heartbeat"], &[Path::new("")]);
        }
    }

    fn plan(&self, state: &LegacyState) -> ImportDraft {
        let is_fork = state.dirs.iter().any(|dir| dir.starts_with(Path::new(OWN).join("sessions")));
        let here = Arc::from([state.base.clone()]);
        let mut planner = Planner { state, here, is_fork, draft: ImportDraft::default() };
        for (number, read) in state.files.iter().enumerate() {
            if let Err(reason) = planner.file(number, read) {
                planner.draft.broken.push((number, reason));
            }
        }
        planner.draft
    }
}

/// `sessions.json`, old and new.
#[derive(Deserialize)]
struct Sessions<'a> {
    #[serde(borrow, default)]
    threads: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    sessions: Option<BTreeMap<String, &'a RawValue>>,
}

/// `telegram-sessions.json`.
#[derive(Deserialize)]
struct Users<'a> {
    #[serde(borrow, default)]
    users: Option<BTreeMap<String, &'a RawValue>>,
}

struct Planner<'a> {
    state: &'a LegacyState,
    /// The directory of the daemon.
    here: Arc<[PathBuf]>,
    /// Whether a fork wrote it, in which the channels it listened to were one.
    is_fork: bool,
    draft: ImportDraft,
}

impl Planner<'_> {
    fn file(&mut self, number: usize, read: &Read) -> Result<(), String> {
        let name = read.name.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let agent = || read.name.strip_prefix("agents").ok()?.components().next()?.as_os_str().to_str();
        let shared = || ("default".to_owned(), keys::shared());
        match (name, agent()) {
            ("session.json", Some(agent)) => {
                self.one(number, read, agent, keys::of_agent(agent), ConversationRole::Current)
            }
            ("session_fallback.json", Some(agent)) => {
                self.one(number, read, agent, keys::of_agent(agent), ConversationRole::Earlier)
            }
            ("session.json", None) => self.one(number, read, &shared().0, shared().1, ConversationRole::Current),
            ("session_fallback.json", None) => {
                self.one(number, read, &shared().0, shared().1, ConversationRole::Earlier)
            }
            ("sessions.json", _) => self.sessions(number, read),
            ("session-map.json", _) => self.map(number, read),
            ("telegram-sessions.json", _) => self.users(number, read),
            ("settings.json", _) => self.settings(number, read),
            ("permission-mode.json", _) => self.permission_mode(read),
            _ if name.ends_with(".backup") => {
                let own = Fields::read(&read.bytes)?.text("key");
                let name = own.unwrap_or_else(|| "default".to_owned());
                self.one(number, read, &name, keys::of_name(&name), ConversationRole::Earlier)
            }
            _ => {
                let name = decoded(name.strip_suffix(".json").unwrap_or(name));
                self.one(number, read, &name, keys::of_name(&name), ConversationRole::Earlier)
            }
        }
    }

    /// A file that holds one conversation.
    fn one(
        &mut self,
        number: usize,
        read: &Read,
        name: &str,
        key: (Key, Option<String>),
        role: ConversationRole,
    ) -> Result<(), String> {
        let fields = Fields::read(&read.bytes)?;
        let found = String::from_utf8_lossy(without_mark(&read.bytes)).trim().to_owned();
        self.entry(number, name, key, &fields, found, role);
        Ok(())
    }

    fn sessions(&mut self, number: usize, read: &Read) -> Result<(), String> {
        let bytes = without_mark(&read.bytes);
        let sessions: Sessions<'_> = serde_json::from_slice(bytes).map_err(|error| broken(bytes, &error))?;
        self.is_fork |= sessions.sessions.is_some();
        let both = sessions.threads.is_some() && sessions.sessions.is_some();
        if both {
            self.draft
                .remarks
                .push(format!("`{}` holds both `threads` and `sessions`: both are read", read.path.display()));
        }
        for (place, found) in [sessions.threads, sessions.sessions].into_iter().flatten().flatten() {
            let Ok(fields) = Fields::read(found.get().as_bytes()) else {
                self.skip(number, &place, "it is no object");
                continue;
            };
            let name = fields.text("threadId").or_else(|| fields.text("key")).unwrap_or(place);
            self.entry(number, &name, keys::of_name(&name), &fields, found.get().to_owned(), ConversationRole::Current);
        }
        Ok(())
    }

    fn users(&mut self, number: usize, read: &Read) -> Result<(), String> {
        let bytes = without_mark(&read.bytes);
        let users: Users<'_> = serde_json::from_slice(bytes).map_err(|error| broken(bytes, &error))?;
        for (user, found) in users.users.into_iter().flatten() {
            let Ok(fields) = Fields::read(found.get().as_bytes()) else {
                self.skip(number, &user, "it is no object");
                continue;
            };
            let key = keys::of_name(&format!("tg:dm:{user}"));
            self.entry(number, &user, key, &fields, found.get().to_owned(), ConversationRole::Current);
        }
        Ok(())
    }

    /// Channels and their threads, each with a mapping.
    fn map(&mut self, number: usize, read: &Read) -> Result<(), String> {
        let channels = Fields::read(&read.bytes)?;
        for channel in channels.names() {
            for (thread, fields) in channels.objects(channel) {
                let name = format!("{channel}/{thread}");
                let key = keys::of_discord(if thread == "default" { channel } else { &thread });
                let found = channels.get(channel).and_then(|threads| threads.get(&thread));
                let found = found.map(ToString::to_string).unwrap_or_default();
                // What was reset is not to be continued.
                let reset = fields.text("status").as_deref() == Some("reset");
                let role = if reset { ConversationRole::Earlier } else { ConversationRole::Current };
                self.entry(number, &name, key, &fields, found, role);
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        number: usize,
        name: &str,
        (key, remark): (Key, Option<String>),
        fields: &Fields,
        found: String,
        role: ConversationRole,
    ) {
        let id = fields.text("sessionId").or_else(|| fields.text("claudeSessionId"));
        let Some(id) = id else {
            self.skip(number, name, "it names no conversation");
            return;
        };
        self.draft.remarks.extend(remark);
        let modified = self.state.files.get(number).map(|read| read.modified).unwrap_or_default();
        let used = ["lastUsedAt", "lastMessageAt", "lastActiveAt", "updatedAt", "createdAt"];
        let last_used_at = fields.time_of(&used).unwrap_or(modified);
        let turns = fields.count("turnCount").max(fields.count("messageCount"));
        let (dirs, memory) = self.dirs(name);
        self.draft.entries.push(LegacyConversation {
            source: number,
            name: name.to_owned(),
            key,
            conversation: WantedConversation::Id(id),
            role,
            provider: None,
            created_at: fields.time("createdAt").unwrap_or(last_used_at),
            last_used_at,
            turns,
            about: String::new(),
            dirs,
            stays: false,
            memory,
            instructions: None,
            found,
            place: ConversationPlace::Unsought,
        });
    }

    /// The directories that a conversation may have run in, and its memory.
    fn dirs(&self, name: &str) -> (Arc<[PathBuf]>, Option<PathBuf>) {
        let own = Path::new(OWN).join("sessions").join(name);
        // A name with `..` or a slash is not a directory of its own.
        let plain = Path::new(name).components().count() == 1 && !name.contains('/') && name != "..";
        if !plain || !self.state.dirs.contains(&own) {
            return (Arc::clone(&self.here), None);
        }
        let memory = own.join("memory");
        let memory = self.state.dirs.contains(&memory).then(|| self.state.base.join(memory));
        (Arc::from([self.state.base.join(own), self.state.base.clone()]), memory)
    }

    fn skip(&mut self, number: usize, name: &str, reason: &str) {
        self.draft.skipped.push(Skipped { source: number, name: name.to_owned(), reason: reason.to_owned() });
    }

    fn permission_mode(&mut self, read: &Read) -> Result<(), String> {
        let mode = Fields::read(&read.bytes)?
            .text("mode")
            .filter(|mode| mode.parse::<crate::session::PermissionMode>().is_ok());
        if let Some(mode) = mode {
            let lines = ["[providers.claude]".to_owned(), format!("permission_mode = \"{mode}\"")];
            self.draft.proposal.extend(commented(&read.path, "its permission mode", &lines));
        }
        Ok(())
    }

    /// Its settings, of which no secret is taken: only where each is.
    fn settings(&mut self, number: usize, read: &Read) -> Result<(), String> {
        self.draft.secret.push(number);
        let settings = Fields::read(&read.bytes)?;
        for (network, tokens) in
            [("telegram", &["token"][..]), ("discord", &["token"]), ("slack", &["botToken", "appToken"])]
        {
            let Some(fields) = settings.object(network) else { continue };
            let mut lines = Vec::new();
            for name in tokens {
                if fields.text(name).is_some() {
                    let place = from_file(&read.path, &[network, name]);
                    lines.push(format!("{} = {place}", if *name == "appToken" { "app_token" } else { "token" }));
                }
            }
            let owners = fields.texts("allowedUserIds");
            if !owners.is_empty() {
                lines.push(format!("owners = {}", toml::Value::from(owners)));
            }
            let mut listen = fields.texts("listenChannels");
            listen.extend(fields.texts("listenChats"));
            match (listen.is_empty(), self.is_fork) {
                (true, _) => {}
                // In the fork these channels deliberately were one session.
                (false, true) => lines.push(format!("join = {{ default = {} }}", toml::Value::from(listen))),
                (false, false) => {
                    for channel in listen {
                        lines.push(format!("channels.\"{channel}\".respond = \"all\""));
                    }
                }
            }
            if !lines.is_empty() {
                lines.insert(0, format!("[channels.{network}]"));
                self.draft.proposal.extend(commented(&read.path, network, &lines));
            }
        }
        let mut claude = Vec::new();
        if let Some(model) = settings.text("model") {
            claude.push(format!("model = {}", toml::Value::from(model)));
        }
        let mode = settings.object("security").and_then(|security| security.text("level"));
        if let Some(mode) = mode.as_deref().and_then(mode_of) {
            claude.push(format!("permission_mode = \"{mode}\""));
        }
        if !claude.is_empty() {
            claude.insert(0, "[providers.claude]".to_owned());
            self.draft.proposal.extend(commented(&read.path, "its model and security level", &claude));
        }
        Ok(())
    }
}

/// The permission mode that is nearest to a security level.
fn mode_of(level: &str) -> Option<&'static str> {
    match level {
        "locked" => Some("plan"),
        "strict" => Some("default"),
        "moderate" => Some("acceptEdits"),
        "unrestricted" => Some("bypassPermissions"),
        _ => None,
    }
}

/// A name that was made safe for a file as in an address: `%2F` is a slash.
fn decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}
