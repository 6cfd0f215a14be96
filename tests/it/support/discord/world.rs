//! What the fake knows: users, guilds, channels, messages, gateway sessions,
//! and how it behaves. No wire here.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

/// The first second of Discord's ids, in milliseconds.
const EPOCH: u64 = 1_420_070_400_000;

pub(crate) const TOKEN: &str = "MTk4NjIyNDgzNDcxOTI1MjQ4.secret-of-the-bot";

/// Intents by name.
pub(super) const GUILDS: u64 = 1;
pub(super) const GUILD_MESSAGES: u64 = 1 << 9;
pub(super) const DIRECT_MESSAGES: u64 = 1 << 12;
pub(super) const MESSAGE_CONTENT: u64 = 1 << 15;

/// What a RESUME is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// What was missed, and RESUMED.
    Works,
    /// Nothing at all, as some servers do.
    Ignored,
    /// Op 9: the session is lost.
    Refused,
}

/// How the server behaves: strict and complete by default.
#[derive(Debug, Clone)]
pub(crate) struct Behaviour {
    /// A message whose nonce was seen is not made again.
    pub(crate) nonces: bool,
    pub(crate) resume: Resume,
    /// The intent to see what is written may be used.
    pub(crate) message_content: bool,
    /// `GET /gateway/bot` is there.
    pub(crate) gateway_bot: bool,
    /// Heartbeats are answered.
    pub(crate) acknowledges: bool,
    pub(crate) heartbeat_ms: u64,
    /// Every event is delivered twice.
    pub(crate) twice: bool,
    /// Ids are numbers in the JSON.
    pub(crate) numeric_ids: bool,
    /// Rate limit headers are on every response.
    pub(crate) limit_headers: bool,
    /// Guilds and messages leave out what a client could do without.
    pub(crate) sparse: bool,
    /// Messages with one of these fields are refused.
    pub(crate) unknown_fields: Vec<&'static str>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            nonces: true,
            resume: Resume::Works,
            message_content: true,
            gateway_bot: true,
            acknowledges: true,
            heartbeat_ms: 20_000,
            twice: false,
            numeric_ids: false,
            limit_headers: true,
            sparse: false,
            unknown_fields: Vec::new(),
        }
    }
}

/// One request to the HTTP side.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// Without `/api/v10`.
    pub(crate) path: String,
    /// The JSON of the body, of a multipart body its `payload_json`.
    pub(crate) body: Value,
    /// Names and contents of uploaded files.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) status: u16,
}

/// A response that was ordered for a request to come.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Method and the start of the path, as `POST /channels/1/`.
    pub(crate) request: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The request is carried out, and the answer lost on the way.
    pub(crate) after: bool,
}

/// What the gateway side of a connection is told.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Send(String),
    Close(u16),
    Cut,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) intents: u64,
    pub(super) sequence: u64,
    pub(super) history: Vec<(u64, String)>,
    pub(super) connection: Option<mpsc::UnboundedSender<Order>>,
}

#[derive(Debug, Clone)]
pub(super) struct Channel {
    pub(super) kind: u64,
    pub(super) guild: Option<u64>,
    pub(super) parent: Option<u64>,
    pub(super) name: String,
    pub(super) archived: bool,
    pub(super) recipient: Option<u64>,
    pub(super) messages: Vec<Value>,
    pub(super) closed_to_bot: bool,
}

/// An interaction, by its token.
#[derive(Debug, Clone)]
pub(super) struct Interaction {
    pub(super) id: u64,
    pub(super) channel: u64,
    /// Each answer, with whether only the person who asked sees it.
    pub(super) answers: Vec<(String, bool)>,
    pub(super) callback: Option<u64>,
    /// The event that told the bot.
    pub(super) event: Value,
    /// Whether the answer that was promised is for one person only.
    pub(super) hidden: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(super) bot: u64,
    pub(super) application: u64,
    pub(super) users: BTreeMap<u64, (String, bool)>,
    /// Guild → name.
    pub(super) guilds: BTreeMap<u64, String>,
    /// Guild and user → roles.
    pub(super) roles: HashMap<(u64, u64), Vec<u64>>,
    pub(super) channels: BTreeMap<u64, Channel>,
    pub(super) sessions: HashMap<String, Session>,
    pub(super) interactions: HashMap<String, Interaction>,
    pub(super) commands: BTreeMap<String, Value>,
    pub(super) files: HashMap<u64, Vec<u8>>,
    pub(super) nonces: HashMap<(u64, String), u64>,
    pub(super) joined: HashSet<u64>,
    pub(super) typing: Vec<u64>,
    pub(super) failures: VecDeque<Failure>,
    pub(super) journal: Vec<Call>,
    pub(super) identifies: u64,
    pub(super) resumes: u64,
    pub(super) connections: u64,
    pub(super) acknowledged: u64,
    pub(super) behaviour: Behaviour,
    pub(super) api: String,
    pub(super) gateway: String,
    last_id: u64,
}

impl World {
    pub(super) fn new(api: String, gateway: String) -> Self {
        let mut world = Self {
            bot: 0,
            application: 0,
            users: BTreeMap::new(),
            guilds: BTreeMap::new(),
            roles: HashMap::new(),
            channels: BTreeMap::new(),
            sessions: HashMap::new(),
            interactions: HashMap::new(),
            commands: BTreeMap::new(),
            files: HashMap::new(),
            nonces: HashMap::new(),
            joined: HashSet::new(),
            typing: Vec::new(),
            failures: VecDeque::new(),
            journal: Vec::new(),
            identifies: 0,
            resumes: 0,
            connections: 0,
            acknowledged: 0,
            behaviour: Behaviour::default(),
            api,
            gateway,
            last_id: 0,
        };
        world.application = world.id();
        world.bot = world.id();
        world.users.insert(world.bot, ("Denizen".to_owned(), true));
        world
    }

    /// A new id: of this millisecond, and higher than all before.
    pub(super) fn id(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let now = u64::try_from(now).expect("a time");
        self.last_id = ((now - EPOCH) << 22).max(self.last_id + 1);
        self.last_id
    }

    pub(super) fn user(&self, id: u64) -> Value {
        let (name, bot) = self.users.get(&id).cloned().unwrap_or(("ghost".to_owned(), false));
        let mut user = json!({ "id": id.to_string(), "username": name, "global_name": name, "discriminator": "0" });
        if bot {
            user["bot"] = json!(true);
        }
        user
    }

    pub(super) fn member(&self, guild: u64, user: u64) -> Value {
        let roles = self.roles.get(&(guild, user)).cloned().unwrap_or_default();
        let roles: Vec<String> = roles.iter().map(u64::to_string).collect();
        json!({ "roles": roles, "joined_at": "2026-01-01T00:00:00.000000+00:00", "deaf": false, "mute": false })
    }

    pub(super) fn channel(&self, id: u64) -> Value {
        let channel = &self.channels[&id];
        let mut value = json!({ "id": id.to_string(), "type": channel.kind, "name": channel.name });
        if let Some(guild) = channel.guild {
            value["guild_id"] = json!(guild.to_string());
        }
        if let Some(parent) = channel.parent {
            value["parent_id"] = json!(parent.to_string());
            value["thread_metadata"] = json!({ "archived": channel.archived, "locked": false,
                "auto_archive_duration": 1440, "archive_timestamp": "2026-01-01T00:00:00.000000+00:00" });
        }
        if let Some(last) = channel.messages.last().filter(|_| !self.behaviour.sparse) {
            value["last_message_id"] = last["id"].clone();
        }
        if let Some(recipient) = channel.recipient {
            value["recipients"] = json!([self.user(recipient)]);
        }
        value
    }

    pub(super) fn guild(&self, id: u64) -> Value {
        let of = |threads: bool| -> Vec<Value> {
            let own = self.channels.iter().filter(|(_, channel)| channel.guild == Some(id));
            own.filter(|(_, channel)| channel.parent.is_some() == threads && !channel.archived)
                .map(|(id, _)| self.channel(*id))
                .collect()
        };
        let mut guild =
            json!({ "id": id.to_string(), "name": self.guilds[&id], "channels": of(false), "unavailable": false });
        if !self.behaviour.sparse {
            guild["threads"] = json!(of(true));
            guild["roles"] = json!([{ "id": id.to_string(), "name": "@everyone", "permissions": "0" }]);
            guild["members"] = json!([]);
            guild["member_count"] = json!(3);
        }
        guild
    }

    pub(super) fn add_channel(&mut self, kind: u64, guild: Option<u64>, parent: Option<u64>, name: &str) -> u64 {
        let id = self.id();
        let channel = Channel {
            kind,
            guild,
            parent,
            name: name.to_owned(),
            archived: false,
            recipient: None,
            messages: Vec::new(),
            closed_to_bot: false,
        };
        self.channels.insert(id, channel);
        id
    }

    /// Makes a message and tells the gateway.
    pub(super) fn post(&mut self, channel: u64, author: Value, fields: Value) -> Value {
        let id = self.id();
        let guild = self.channels[&channel].guild;
        let mut message = json!({
            "id": id.to_string(), "channel_id": channel.to_string(), "author": author, "content": "",
            "timestamp": "2026-11-27T12:00:00.000000+00:00", "edited_timestamp": null, "tts": false,
            "mention_everyone": false, "mentions": [], "mention_roles": [], "attachments": [], "embeds": [],
            "pinned": false, "type": 0, "flags": 0, "components": [],
        });
        if self.behaviour.sparse {
            message = json!({ "id": id.to_string(), "channel_id": channel.to_string(), "author": message["author"],
                "content": "", "timestamp": "2026-11-27T12:00:00Z" });
        }
        merge(&mut message, fields);
        let mentioned = self.mentioned(message["content"].as_str().unwrap_or_default());
        if !mentioned.is_empty() && !self.behaviour.sparse {
            message["mentions"] = Value::Array(mentioned);
        }
        let mut event = message.clone();
        if let Some(guild) = guild {
            event["guild_id"] = json!(guild.to_string());
            if message.get("webhook_id").is_none() {
                let user = message["author"]["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or(0);
                event["member"] = self.member(guild, user);
            }
        }
        self.channels.get_mut(&channel).expect("the channel").messages.push(message.clone());
        self.dispatch("MESSAGE_CREATE", event);
        message
    }

    fn mentioned(&self, content: &str) -> Vec<Value> {
        let ids = self.users.keys();
        ids.filter(|id| content.contains(&format!("<@{id}>"))).map(|id| self.user(*id)).collect()
    }

    /// Sends an event to every session whose intents allow it, connected or not.
    pub(super) fn dispatch(&mut self, name: &str, data: Value) {
        let guild = data.get("guild_id").is_some() || name.starts_with("GUILD");
        let needed = match name {
            "MESSAGE_CREATE" if guild => GUILD_MESSAGES,
            "MESSAGE_CREATE" => DIRECT_MESSAGES,
            "INTERACTION_CREATE" => 0,
            _ if guild => GUILDS,
            _ => 0,
        };
        let bot = self.bot.to_string();
        let readable = data["author"]["id"] == json!(bot)
            || !guild
            || data["content"].as_str().is_some_and(|text| text.contains(&format!("<@{bot}>")));
        let names: Vec<String> = self.sessions.keys().cloned().collect();
        for session in names {
            let intents = self.sessions[&session].intents;
            if intents & needed != needed {
                continue;
            }
            let mut data = data.clone();
            if name == "MESSAGE_CREATE" && intents & MESSAGE_CONTENT == 0 && !readable {
                data["content"] = json!("");
                data["attachments"] = json!([]);
            }
            let twice = self.behaviour.twice;
            self.send_to(&session, name, &data);
            if twice {
                self.send_to(&session, name, &data);
            }
        }
    }

    /// Sends an event to one session.
    pub(super) fn send_to(&mut self, session: &str, name: &str, data: &Value) {
        let data = self.dressed(data.clone());
        let session = self.sessions.get_mut(session).expect("the session");
        session.sequence += 1;
        let text = json!({ "op": 0, "t": name, "s": session.sequence, "d": data }).to_string();
        session.history.push((session.sequence, text.clone()));
        if let Some(connection) = &session.connection {
            let _cut = connection.send(Order::Send(text));
        }
    }

    /// The value as this server writes it.
    pub(super) fn dressed(&self, value: Value) -> Value {
        if !self.behaviour.numeric_ids {
            return value;
        }
        match value {
            Value::Object(fields) => Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| {
                        let id = name == "id" || name.ends_with("_id");
                        let number = value.as_str().filter(|_| id).and_then(|text| text.parse::<u64>().ok());
                        let value = number.map_or_else(|| self.dressed(value), Value::from);
                        (name, value)
                    })
                    .collect::<Map<_, _>>(),
            ),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.dressed(item)).collect()),
            other => other,
        }
    }
}

/// Puts the fields of one object over those of another.
pub(super) fn merge(into: &mut Value, fields: Value) {
    if let (Value::Object(into), Value::Object(fields)) = (into, fields) {
        into.extend(fields);
    }
}
