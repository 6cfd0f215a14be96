//! tinyclaw, later TinyAGI: agents with a directory each, in which every message
//! continued the last conversation. No file names one, so the last conversation
//! that the provider keeps for the directory is taken, once.
//!
//! Its database is not read: what `sqlite3 -json` prints of `thread_sessions` is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fields::{Fields, broken, without_mark};
use super::importer::{Importer, LegacySearch};
use super::keys;
use super::plan::{
    ConversationPlace, ConversationRole, ImportDraft, LeftMessage, LegacyConversation, Skipped, WantedConversation,
};
use super::proposal::{commented, from_file};
use super::read::{LegacyReader, LegacyState, Read};

/// The importer.
#[derive(Debug)]
pub(super) struct TinyClaw;

const HOMES: [&str; 2] = [".tinyagi", ".tinyclaw"];
const SETTINGS: &str = "settings.json";
const RESET: &str = "reset_flag";

/// The agents that were there when nobody had made one.
const DEFAULT_AGENTS: [&str; 2] = ["default", "tinyagi"];

impl Importer for TinyClaw {
    fn name(&self) -> &'static str {
        "tinyclaw"
    }

    fn bases(&self, search: &LegacySearch) -> Vec<PathBuf> {
        let mut bases: Vec<PathBuf> = search.tinyclaw_homes.clone();
        for dir in search.dirs.iter().chain(&search.home) {
            if HOMES.iter().any(|name| dir.ends_with(name)) {
                bases.push(dir.clone());
            }
            bases.extend(HOMES.map(|name| dir.join(name)));
        }
        bases
    }

    fn signs(&self) -> &'static [&'static str] {
        &[SETTINGS]
    }

    fn read(&self, reader: &mut LegacyReader<'_>) {
        if let Some(at) = reader.always(SETTINGS) {
            let agents = agents(&reader.state().base, &reader.state().files[at]).unwrap_or_default();
            for agent in agents {
                reader.has_file(&agent.dir.join(RESET));
                reader.has_dir_elsewhere(&agent.dir);
            }
        }
        reader.has_file(&reader.state().base.join(RESET));
        reader.file("pairing.json");
        for place in ["incoming", "processing"] {
            reader.queue(&format!("queue/{place}/*.json"));
        }
        for lock in ["*.pid", "channels/*.pid"].iter().flat_map(|pattern| reader.matches(pattern)).collect::<Vec<_>>() {
            reader.daemon(&lock, &["tinyclaw", "tinyagi"], &[Path::new("")]);
        }
    }

    fn plan(&self, state: &LegacyState) -> ImportDraft {
        let mut draft = ImportDraft::default();
        let mut main = "default".to_owned();
        for (number, read) in state.files.iter().enumerate() {
            let result = match read.name.to_str() {
                Some(SETTINGS) => plan_settings(state, number, read, &mut draft).map(|agent| main = agent),
                Some("pairing.json") => plan_pairing(read, &mut draft),
                _ => plan_message(number, read, &main, &mut draft),
            };
            if let Err(reason) = result {
                draft.broken.push((number, reason));
            }
        }
        if state.unread > 0 {
            draft.remarks.push(format!(
                "{} messages below `{}` were never answered: `denizen migrate --replay` gives them to their sessions",
                state.unread,
                state.base.join("queue").display()
            ));
        }
        draft
    }
}

/// An agent, as the settings describe it.
struct TinyClawAgent {
    /// Its id; `None` for the only one, before there were agents.
    id: Option<String>,
    dir: PathBuf,
    provider: Option<&'static str>,
    model: Option<String>,
    instructions: Option<String>,
}

fn agents(base: &Path, read: &Read) -> Result<Vec<TinyClawAgent>, String> {
    let settings = Fields::read(&read.bytes)?;
    let workspace = settings.object("workspace").and_then(|workspace| workspace.text("path")).map(PathBuf::from);
    let beside = base.parent().unwrap_or(base);
    let is_new = base.ends_with(HOMES[0]);
    let workspace =
        workspace.unwrap_or_else(|| beside.join(if is_new { "tinyagi-workspace" } else { "tinyclaw-workspace" }));
    let models = settings.object("models").unwrap_or_default();
    let common = models.text("provider").unwrap_or_else(|| "anthropic".to_owned());
    let agents: Vec<TinyClawAgent> = settings
        .objects("agents")
        .into_iter()
        .map(|(id, fields)| {
            let provider = fields.text("provider").unwrap_or_else(|| common.clone());
            let dir = fields.text("working_directory").map_or_else(|| workspace.join(&id), |dir| workspace.join(dir));
            let (model, instructions) = (fields.text("model"), fields.text("system_prompt"));
            TinyClawAgent { id: Some(id), dir, provider: provider_of(&settings, &provider), model, instructions }
        })
        .collect();
    if !agents.is_empty() {
        return Ok(agents);
    }
    let provider = provider_of(&settings, &common);
    let model = models.object(&common).and_then(|own| own.text("model")).or_else(|| settings.text("model"));
    let (id, dir) = if settings.get("workspace").is_some() || settings.get("models").is_some() {
        let id = DEFAULT_AGENTS[usize::from(is_new)];
        (Some(id.to_owned()), workspace.join(id))
    } else {
        // Before there were agents, the program itself was where it worked.
        (None, beside.to_owned())
    };
    Ok(vec![TinyClawAgent { id, dir, provider, model, instructions: None }])
}

fn provider_of(settings: &Fields, name: &str) -> Option<&'static str> {
    let custom =
        settings.object("custom_providers").and_then(|custom| custom.object(name.trim_start_matches("custom:")));
    let harness = custom.and_then(|custom| custom.text("harness"));
    match harness.as_deref().unwrap_or(name) {
        "anthropic" | "claude" => Some("claude"),
        "openai" | "codex" => Some("codex"),
        "opencode" => Some("opencode"),
        _ => None,
    }
}

/// Plans the agents, and returns the one that gets what names none.
fn plan_settings(state: &LegacyState, number: usize, read: &Read, draft: &mut ImportDraft) -> Result<String, String> {
    draft.secret.push(number);
    let agents = agents(&state.base, read)?;
    let ids = || agents.iter().filter_map(|agent| agent.id.as_deref());
    let main = ids().find(|id| DEFAULT_AGENTS.contains(id)).or_else(|| ids().next()).unwrap_or("default").to_owned();
    let reset_all = state.flags.contains(&state.base.join(RESET));
    let mut lines = Vec::new();
    for agent in agents {
        let name = agent.id.clone().unwrap_or_else(|| "default".to_owned());
        let (key, remark) = agent.id.as_deref().map_or_else(keys::shared, keys::of_agent);
        draft.remarks.extend(remark);
        if !state.dirs.contains(&agent.dir) {
            let reason = format!("its directory `{}` is not there", agent.dir.display());
            draft.skipped.push(Skipped { source: number, name, reason });
            continue;
        }
        let reset = reset_all || state.flags.contains(&agent.dir.join(RESET));
        if reset {
            draft.remarks.push(format!("`{key}` was reset: its next message starts a fresh conversation"));
        }
        lines.push(format!("[agents.{}]", toml::Value::from(name.clone())));
        lines.extend(agent.provider.map(|provider| format!("provider = \"{provider}\"")));
        lines.extend(agent.model.map(|model| format!("model = {}", toml::Value::from(model))));
        let found = Fields::read(&read.bytes)?.object("agents").and_then(|all| all.get(&name).map(ToString::to_string));
        draft.entries.push(LegacyConversation {
            source: number,
            name,
            key,
            conversation: WantedConversation::Last,
            role: if reset { ConversationRole::Earlier } else { ConversationRole::Current },
            provider: agent.provider,
            created_at: read.modified,
            last_used_at: read.modified,
            turns: 0,
            about: String::new(),
            dirs: Arc::from([agent.dir]),
            stays: true,
            memory: None,
            instructions: agent.instructions,
            found: found.unwrap_or_default(),
            place: ConversationPlace::Unsought,
        });
    }
    if !lines.is_empty() {
        draft.proposal.extend(commented(&read.path, "its agents", &lines));
    }
    plan_channels(read, draft)?;
    Ok(main)
}

/// The places of tokens, and whose messages went to which agent.
fn plan_channels(read: &Read, draft: &mut ImportDraft) -> Result<(), String> {
    let settings = Fields::read(&read.bytes)?;
    let channels = settings.object("channels").unwrap_or_default();
    for network in ["discord", "telegram"] {
        let flat = format!("{network}_bot_token");
        let place = if channels.object(network).is_some_and(|own| own.text("bot_token").is_some()) {
            from_file(&read.path, &["channels", network, "bot_token"])
        } else if settings.text(&flat).is_some() {
            from_file(&read.path, &[&flat])
        } else {
            continue;
        };
        let lines = [format!("[channels.{network}]"), format!("token = {place}")];
        draft.proposal.extend(commented(&read.path, network, &lines));
    }
    let defaults = channels.object("defaults").or_else(|| settings.object("channel_defaults")).unwrap_or_default();
    for user in defaults.names() {
        let agent = defaults.text(user).or_else(|| defaults.object(user)?.text("agentId"));
        if let Some(agent) = agent {
            draft.proposal.extend(commented(&read.path, &format!("messages of {user} went to the agent {agent}"), &[]));
        }
    }
    Ok(())
}

/// The people who were let in.
fn plan_pairing(read: &Read, draft: &mut ImportDraft) -> Result<(), String> {
    let pairing = Fields::read(&read.bytes)?;
    let approved = pairing.objects("approved");
    let mut networks: Vec<String> = approved.iter().filter_map(|(_, person)| person.text("channel")).collect();
    networks.sort_unstable();
    networks.dedup();
    for network in networks {
        let of_network = approved.iter().filter(|(_, person)| person.text("channel").as_ref() == Some(&network));
        let owners: Vec<String> = of_network.filter_map(|(_, person)| person.text("senderId")).collect();
        let lines = [format!("[channels.{network}]"), format!("owners = {}", toml::Value::from(owners))];
        draft.proposal.extend(commented(&read.path, "who was approved", &lines));
    }
    Ok(())
}

/// A message of the queue of files.
fn plan_message(number: usize, read: &Read, main: &str, draft: &mut ImportDraft) -> Result<(), String> {
    let message = Fields::read(&read.bytes)?;
    let text = message.text("message").ok_or("it holds no message")?;
    let agent = message.text("agent").unwrap_or_else(|| main.to_owned());
    let sender = message.text("sender").unwrap_or_default();
    let id = message.text("senderId").unwrap_or_else(|| sender.clone());
    let at = message.time("timestamp").unwrap_or(read.modified);
    draft.messages.push(LeftMessage { source: number, key: keys::of_agent(&agent).0, from: (id, sender), text, at });
    Ok(())
}

/// What `sqlite3 -json … 'select * from thread_sessions'` printed.
pub(super) fn plan_rows(state: &LegacyState) -> ImportDraft {
    let mut draft = ImportDraft::default();
    for (number, read) in state.files.iter().enumerate() {
        let bytes = without_mark(&read.bytes);
        let rows = match serde_json::from_slice::<Vec<serde_json::Value>>(bytes) {
            Ok(rows) => rows,
            // Nothing is printed where the table is empty.
            Err(_) if bytes.iter().all(u8::is_ascii_whitespace) => Vec::new(),
            Err(error) => {
                draft.broken.push((number, broken(bytes, &error)));
                continue;
            }
        };
        for (at, row) in rows.into_iter().enumerate() {
            if let Err(reason) = plan_row(number, read, &row, &mut draft) {
                draft.skipped.push(Skipped { source: number, name: format!("row {}", at + 1), reason });
            }
        }
    }
    draft
}

fn plan_row(number: usize, read: &Read, row: &serde_json::Value, draft: &mut ImportDraft) -> Result<(), String> {
    let found = row.to_string();
    let fields = Fields::read(found.as_bytes())?;
    let field = |name: &str| fields.text(name).ok_or_else(|| format!("it has no `{name}`"));
    let (agent, thread, id) = (field("agent_id")?, field("thread_id")?, field("session_id")?);
    let (mut key, remark) = keys::of_name(&thread);
    draft.remarks.extend(remark);
    if !DEFAULT_AGENTS.contains(&agent.as_str()) {
        key = key.for_agent(&agent).map_err(|error| error.to_string())?;
    }
    let last_used_at = fields.time_of(&["updated_at", "created_at"]).unwrap_or(read.modified);
    draft.entries.push(LegacyConversation {
        source: number,
        name: format!("{agent}/{thread}"),
        key,
        conversation: WantedConversation::Id(id),
        role: ConversationRole::Current,
        provider: fields.text("provider").and_then(|name| provider_of(&Fields::default(), &name)),
        created_at: fields.time("created_at").unwrap_or(last_used_at),
        last_used_at,
        turns: 0,
        about: String::new(),
        dirs: Arc::from([]),
        stays: false,
        memory: None,
        instructions: None,
        found,
        place: ConversationPlace::Unsought,
    });
    Ok(())
}
