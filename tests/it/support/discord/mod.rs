//! A small server that speaks Discord's protocol, of the project's own: for
//! what no server from outside offers (resume, op 7 and 9, close codes, rate
//! limits, intents, uploads, nonces). It runs in the test's process on
//! 127.0.0.1, and ends with the value.
//!
//! It is strict: what Discord refuses, it refuses. [`Behaviour`] makes it
//! sloppier, as other servers are.

#![expect(dead_code, reason = "the tests of the channel use the rest")]

mod gateway;
mod rest;
mod world;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::server::Server;
pub(crate) use world::{Behaviour, Call, Failure, Resume, TOKEN};
use world::{Interaction, Order, World, merge};

/// Longer than anything may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The world, and a bell that rings whenever somebody looked at or changed it.
pub(crate) struct Shared {
    world: Mutex<World>,
    changed: Condvar,
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let result = act(&mut self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.changed.notify_all();
        result
    }
}

/// A running server.
pub(crate) struct Discord {
    shared: Arc<Shared>,
    _server: Server,
}

/// A message that the bot posted, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) id: u64,
    pub(crate) text: String,
    /// The message that it answers.
    pub(crate) answers: Option<u64>,
    /// Label and id of each button.
    pub(crate) buttons: Vec<(String, String)>,
    /// Names of its files.
    pub(crate) files: Vec<String>,
    pub(crate) edited: bool,
}

impl Discord {
    pub(crate) fn start() -> Self {
        let (server, shared) = Server::start(async || {
            let http = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let api = format!("http://{}", http.local_addr().expect("its address"));
            let url = format!("ws://{}", socket.local_addr().expect("its address"));
            let world = Mutex::new(World::new(api, url));
            let shared = Arc::new(Shared { world, changed: Condvar::new() });
            tokio::spawn(rest::serve(http, Arc::clone(&shared)));
            tokio::spawn(gateway::serve(socket, Arc::clone(&shared)));
            shared
        });
        Self { shared, _server: server }
    }

    /// The base of the HTTP side, for `api_url`.
    pub(crate) fn api_url(&self) -> String {
        format!("{}/api/v10", self.shared.with(|world| world.api.clone()))
    }

    /// The gateway, for `gateway_url`.
    pub(crate) fn gateway_url(&self) -> String {
        self.shared.with(|world| world.gateway.clone())
    }

    /// The section of the configuration that points at this server.
    pub(crate) fn section(&self) -> String {
        format!(
            "[channels.discord]\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\ngateway_url = \"{}\"\n",
            self.api_url(),
            self.gateway_url()
        )
    }

    /// Changes how the server behaves from now on.
    pub(crate) fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        self.shared.with(|world| change(&mut world.behaviour));
    }

    /// Orders a response for the next request that fits.
    pub(crate) fn fail(&self, failure: Failure) {
        self.shared.with(|world| world.failures.push_back(failure));
    }

    pub(crate) fn bot(&self) -> u64 {
        self.shared.with(|world| world.bot)
    }

    pub(crate) fn application(&self) -> u64 {
        self.shared.with(|world| world.application)
    }

    /// What addresses the bot in a text.
    pub(crate) fn mention(&self) -> String {
        format!("<@{}>", self.bot())
    }

    pub(crate) fn user(&self, name: &str) -> u64 {
        self.shared.with(|world| {
            let id = world.id();
            world.users.insert(id, (name.to_owned(), false));
            id
        })
    }

    /// A user that is another bot.
    pub(crate) fn other_bot(&self, name: &str) -> u64 {
        let id = self.user(name);
        self.shared.with(|world| world.users.insert(id, (name.to_owned(), true)));
        id
    }

    /// A guild that the bot is in; a connected bot is told.
    pub(crate) fn guild(&self, name: &str) -> u64 {
        self.shared.with(|world| {
            let id = world.id();
            world.guilds.insert(id, name.to_owned());
            let guild = world.guild(id);
            world.dispatch("GUILD_CREATE", guild);
            id
        })
    }

    pub(crate) fn channel(&self, guild: u64, name: &str) -> u64 {
        self.shared.with(|world| {
            let id = world.add_channel(0, Some(guild), None, name);
            let channel = world.channel(id);
            world.dispatch("CHANNEL_CREATE", channel);
            id
        })
    }

    pub(crate) fn thread(&self, channel: u64, name: &str) -> u64 {
        self.shared.with(|world| {
            let guild = world.channels[&channel].guild;
            let id = world.add_channel(11, guild, Some(channel), name);
            let mut thread = world.channel(id);
            thread["newly_created"] = json!(true);
            world.dispatch("THREAD_CREATE", thread);
            id
        })
    }

    /// The channel of direct messages with a user.
    pub(crate) fn dm(&self, user: u64) -> u64 {
        self.shared.with(|world| world.dm(user))
    }

    /// Gives a user a role.
    pub(crate) fn grant(&self, guild: u64, user: u64) -> u64 {
        self.shared.with(|world| {
            let role = world.id();
            world.roles.entry((guild, user)).or_default().push(role);
            role
        })
    }

    /// A user writes a message; gives its id.
    pub(crate) fn say(&self, channel: u64, user: u64, text: &str) -> u64 {
        self.say_with(channel, user, json!({ "content": text }))
    }

    /// A user writes a message with any fields.
    pub(crate) fn say_with(&self, channel: u64, user: u64, fields: Value) -> u64 {
        self.shared.with(|world| {
            if world.channels[&channel].archived {
                world.channels.get_mut(&channel).expect("the thread").archived = false;
                let thread = world.channel(channel);
                world.dispatch("THREAD_UPDATE", thread);
            }
            let author = world.user(user);
            id_of(&world.post(channel, author, fields))
        })
    }

    /// A user writes a message with files.
    pub(crate) fn say_files(&self, channel: u64, user: u64, text: &str, files: &[(&str, &[u8])]) -> u64 {
        let attachments = self.shared.with(|world| {
            files.iter().map(|(name, bytes)| world.keep_file(channel, name, bytes.to_vec())).collect::<Vec<_>>()
        });
        self.say_with(channel, user, json!({ "content": text, "attachments": attachments }))
    }

    /// A user answers a message.
    pub(crate) fn reply(&self, channel: u64, user: u64, text: &str, to: u64) -> u64 {
        let referenced = self.shared.with(|world| {
            let messages = &world.channels[&channel].messages;
            messages.iter().find(|message| id_of(message) == to).cloned().unwrap_or(Value::Null)
        });
        let reference = json!({ "message_id": to.to_string(), "channel_id": channel.to_string() });
        self.say_with(
            channel,
            user,
            json!({ "content": text, "type": 19, "message_reference": reference, "referenced_message": referenced }),
        )
    }

    /// A user presses a button of a message; gives the interaction.
    pub(crate) fn click(&self, channel: u64, message: u64, button: &str, user: u64) -> String {
        let on = self.shared.with(|world| {
            let messages = &world.channels[&channel].messages;
            messages.iter().find(|it| id_of(it) == message).cloned().expect("the message")
        });
        let data = json!({ "custom_id": button, "component_type": 2 });
        self.interact(channel, user, 3, json!({ "data": data, "message": on }), message)
    }

    /// A user runs a slash command; gives the interaction.
    pub(crate) fn run_command(&self, channel: u64, user: u64, name: &str, arguments: &[(&str, &str)]) -> String {
        let options: Vec<Value> =
            arguments.iter().map(|(name, value)| json!({ "name": name, "type": 3, "value": value })).collect();
        self.interact(
            channel,
            user,
            2,
            json!({ "data": { "id": "1", "name": name, "type": 1, "options": options } }),
            0,
        )
    }

    fn interact(&self, channel: u64, user: u64, kind: u64, fields: Value, on: u64) -> String {
        self.shared.with(|world| {
            let id = world.id();
            let token = format!("token-of-{id}");
            let mut event = json!({ "id": id.to_string(), "application_id": world.application.to_string(), "type": kind,
                "token": token, "version": 1, "channel_id": channel.to_string(), "channel": world.channel(channel) });
            match world.channels[&channel].guild {
                Some(guild) => {
                    event["guild_id"] = json!(guild.to_string());
                    let mut member = world.member(guild, user);
                    member["user"] = world.user(user);
                    event["member"] = member;
                }
                None => event["user"] = world.user(user),
            }
            merge(&mut event, fields);
            let its = Interaction {
                id: if on == 0 { id } else { on },
                channel,
                answers: Vec::new(),
                callback: None,
                event: event.clone(),
                hidden: false,
            };
            world.interactions.insert(token.clone(), its);
            world.dispatch("INTERACTION_CREATE", event);
            token
        })
    }

    /// Delivers an interaction again, with some fields changed, as one who replays it does.
    pub(crate) fn replay(&self, interaction: &str, changed: Value) {
        self.shared.with(|world| {
            let mut event = world.interactions[interaction].event.clone();
            merge(&mut event, changed);
            world.dispatch("INTERACTION_CREATE", event);
        });
    }

    /// What an interaction was answered with, and whether only its user sees it.
    pub(crate) fn answer(&self, interaction: &str) -> (String, bool) {
        self.wait("an answer to the interaction", |world| {
            world.interactions[interaction].answers.iter().rev().find(|(text, _)| !text.is_empty()).cloned()
        })
    }

    /// The kind of callback that an interaction got, if any.
    pub(crate) fn callback(&self, interaction: &str) -> Option<u64> {
        self.shared.with(|world| world.interactions[interaction].callback)
    }

    pub(crate) fn rename(&self, channel: u64, name: &str) {
        self.shared.with(|world| {
            world.channels.get_mut(&channel).expect("the channel").name = name.to_owned();
            let event = if world.channels[&channel].parent.is_some() { "THREAD_UPDATE" } else { "CHANNEL_UPDATE" };
            let value = world.channel(channel);
            world.dispatch(event, value);
        });
    }

    pub(crate) fn archive(&self, thread: u64, archived: bool) {
        self.shared.with(|world| {
            world.channels.get_mut(&thread).expect("the thread").archived = archived;
            let value = world.channel(thread);
            world.dispatch("THREAD_UPDATE", value);
        });
    }

    pub(crate) fn delete(&self, channel: u64) {
        self.shared.with(|world| {
            let value = world.channel(channel);
            let event = if world.channels[&channel].parent.is_some() { "THREAD_DELETE" } else { "CHANNEL_DELETE" };
            world.channels.remove(&channel);
            world.dispatch(event, value);
        });
    }

    /// The bot may no longer see or write in a channel, without being told.
    pub(crate) fn close_to_bot(&self, channel: u64) {
        self.shared.with(|world| world.channels.get_mut(&channel).expect("the channel").closed_to_bot = true);
    }

    /// Cuts every connection without a word.
    pub(crate) fn cut(&self) {
        self.order(&Order::Cut);
    }

    /// Closes every connection with a code.
    pub(crate) fn close(&self, code: u16) {
        self.order(&Order::Close(code));
    }

    /// Sends any payload to every connection.
    pub(crate) fn send_raw(&self, payload: &Value) {
        self.order(&Order::Send(payload.to_string()));
    }

    fn order(&self, order: &Order) {
        self.shared.with(|world| {
            for session in world.sessions.values() {
                if let Some(connection) = &session.connection {
                    let _gone = connection.send(order.clone());
                }
            }
        });
    }

    /// Forgets every session, so that none can be resumed.
    pub(crate) fn forget_sessions(&self) {
        self.shared.with(|world| {
            for (_, session) in world.sessions.drain() {
                if let Some(connection) = session.connection {
                    let _gone = connection.send(Order::Cut);
                }
            }
        });
    }

    /// Waits until a bot is connected, for the `count`-th time.
    pub(crate) fn wait_identified(&self, count: u64) {
        self.wait("an IDENTIFY", |world| {
            let connected = world.sessions.values().any(|session| session.connection.is_some());
            (connected && world.identifies >= count).then_some(())
        });
    }

    /// Waits until a bot is connected.
    pub(crate) fn wait_connected(&self) {
        self.wait("a connection", |world| world.sessions.values().any(|it| it.connection.is_some()).then_some(()));
    }

    /// Waits until a session was resumed, for the `count`-th time.
    pub(crate) fn wait_resumed(&self, count: u64) {
        self.wait("a RESUME", |world| (world.resumes >= count).then_some(()));
    }

    /// Waits until bots sent this many heartbeats.
    pub(crate) fn wait_heartbeats(&self, count: u64) {
        self.wait("a heartbeat", |world| (world.acknowledged >= count).then_some(()));
    }

    /// Waits until no bot is connected.
    pub(crate) fn wait_gone(&self) {
        self.wait("the end of the connection", |world| {
            world.sessions.values().all(|session| session.connection.is_none()).then_some(())
        });
    }

    /// How often a bot identified, resumed and connected.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        self.shared.with(|world| (world.identifies, world.resumes, world.connections))
    }

    /// What the bot posted in a channel so far.
    pub(crate) fn posted(&self, channel: u64) -> Vec<Posted> {
        self.shared.with(|world| world.posted(channel))
    }

    /// Waits until the bot posted at least this many messages in a channel.
    pub(crate) fn wait_posted(&self, channel: u64, count: usize) -> Vec<Posted> {
        self.wait(&format!("{count} messages of the bot in {channel}"), |world| {
            Some(world.posted(channel)).filter(|posted| posted.len() >= count)
        })
    }

    /// Waits for a message of the bot in a channel, as it stands after its edits, that holds a text.
    pub(crate) fn wait_text(&self, channel: u64, text: &str) -> Posted {
        self.wait(&format!("a message of the bot in {channel} with `{text}`"), |world| {
            world.posted(channel).into_iter().find(|posted| posted.text.contains(text))
        })
    }

    /// Every request so far.
    pub(crate) fn journal(&self) -> Vec<Call> {
        self.shared.with(|world| world.journal.clone())
    }

    /// Waits for a request that fits.
    pub(crate) fn wait_call(&self, what: &str, fits: impl Fn(&Call) -> bool) -> Call {
        self.wait(what, |world| world.journal.iter().find(|call| fits(call)).cloned())
    }

    /// The commands of a scope: `global`, or the id of a guild.
    pub(crate) fn commands(&self, scope: &str) -> Option<Value> {
        self.shared.with(|world| world.commands.get(scope).cloned())
    }

    /// The threads that the bot joined.
    pub(crate) fn joined(&self, thread: u64) -> bool {
        self.shared.with(|world| world.joined.contains(&thread))
    }

    /// How often the bot was shown typing in a channel.
    pub(crate) fn typed(&self, channel: u64) -> usize {
        self.shared.with(|world| world.typing.iter().filter(|id| **id == channel).count())
    }

    /// Waits until something can be said of the world.
    fn wait<T>(&self, what: &str, look: impl Fn(&World) -> Option<T>) -> T {
        let end = Instant::now() + TIMEOUT;
        let mut world = self.shared.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            if let Some(found) = look(&world) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "there was not {what}; the last requests: {:#?}", tail(&world.journal));
            let waited = self.shared.changed.wait_timeout(world, left);
            world = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

impl World {
    /// The channel of direct messages with a user, made if there is none.
    fn dm(&mut self, user: u64) -> u64 {
        let known = self.channels.iter().find(|(_, channel)| channel.recipient == Some(user)).map(|(id, _)| *id);
        known.unwrap_or_else(|| {
            let id = self.add_channel(1, None, None, "");
            self.channels.get_mut(&id).expect("just made").recipient = Some(user);
            id
        })
    }

    /// Keeps a file, and describes it as an attachment.
    fn keep_file(&mut self, channel: u64, name: &str, bytes: Vec<u8>) -> Value {
        let id = self.id();
        let size = bytes.len();
        self.files.insert(id, bytes);
        let url = format!("{}/attachments/{channel}/{id}/file", self.api);
        json!({ "id": id.to_string(), "filename": name, "size": size, "url": url, "proxy_url": url })
    }

    fn posted(&self, channel: u64) -> Vec<Posted> {
        let bot = self.bot.to_string();
        let Some(channel) = self.channels.get(&channel) else { return Vec::new() };
        let own = channel.messages.iter().filter(|message| message["author"]["id"] == json!(bot));
        own.map(|message| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let rows = message["components"].as_array().cloned().unwrap_or_default();
            let buttons = rows.iter().flat_map(|row| row["components"].as_array().cloned().unwrap_or_default());
            Posted {
                id: id_of(message),
                text: text(&message["content"]),
                answers: message["message_reference"]["message_id"].as_str().and_then(|id| id.parse().ok()),
                buttons: buttons.map(|button| (text(&button["label"]), text(&button["custom_id"]))).collect(),
                files: message["attachments"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|file| text(&file["filename"]))
                    .collect(),
                edited: message["edited_timestamp"].is_string(),
            }
        })
        .collect()
    }
}

fn id_of(message: &Value) -> u64 {
    message["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

fn tail(journal: &[Call]) -> Vec<String> {
    let last = journal.iter().rev().take(12).rev();
    last.map(|call| format!("{} {} {} → {}", call.method, call.path, call.body, call.status)).collect()
}
