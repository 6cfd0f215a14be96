//! What happened in Discord becomes what is reported: events in their order,
//! each once, and after an outage what was written meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::answer::Interactions;
use super::catch_up;
use super::commands::Registrar;
use super::files::attachments;
use super::gateway::GatewayEvent;
use super::position::{Mark, Passed, SavedSession, SeenEvents};
use super::rest::{Api, ApiError, Body};
use super::route::{self, ChannelRef, Me, Routed};
use super::section::Section;
use super::wire::{Guild, Id, Interaction, Member, Ready, WireChannel, WireMessage, WireUser};
use crate::channel::{ChannelEvent, ChannelMessage, NetworkState, PlaceChange, Stranger};
use crate::session::People;

/// How long after READY guilds are waited for before their channels are caught
/// up without them.
const GUILDS: Duration = Duration::from_secs(5);

/// What messages may have overtaken each other by, in milliseconds.
const OVERLAP_MS: u64 = 10_000;

/// Reads the events of the gateway.
pub(super) struct Intake {
    pub(super) api: Arc<Api>,
    pub(super) section: Arc<Section>,
    pub(super) people: Arc<People>,
    pub(super) heard: mpsc::Sender<ChannelEvent>,
    pub(super) passed: mpsc::UnboundedSender<Passed>,
    pub(super) interactions: Interactions,
    pub(super) registrar: Registrar,
    pub(super) me: Me,
    pub(super) places: HashMap<Id, ChannelRef>,
    pub(super) handled: SeenEvents,
    /// How far each channel was read.
    pub(super) marks: HashMap<Id, Mark>,
    /// The highest message that was read, and the one up to which all were when
    /// the session began.
    pub(super) highest: Option<Id>,
    pub(super) before: Option<Id>,
    /// Guilds whose channels have yet to be caught up, and until when they are waited for.
    pub(super) awaited: HashSet<Id>,
    pub(super) until: Option<Instant>,
    /// The session that is kept once everything before it was caught up.
    pub(super) session: Option<SavedSession>,
}

/// What is told when the daemon no longer listens.
pub(super) struct Deaf;

impl Intake {
    /// Reads events until there are none, or nobody listens.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<GatewayEvent>) {
        loop {
            let until = self.until.unwrap_or_else(Instant::now);
            let told = tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.event(event).await,
                    None => return,
                },
                () = sleep_until(until), if self.until.is_some() => {
                    self.until = None;
                    let guilds = std::mem::take(&mut self.awaited);
                    // Those that were read before and have not come in sight.
                    let told = self.catch_up_guilds(&guilds).await;
                    // From here on it is enough to resume the session.
                    if let Some(session) = self.session.take() {
                        let session = SavedSession { me: self.me.clone(), ..session };
                        self.pass(Passed { session: Some(Some(session)), ..Passed::default() });
                    }
                    told
                }
            };
            if told.is_err() {
                return;
            }
        }
    }

    async fn event(&mut self, event: GatewayEvent) -> Result<(), Deaf> {
        let sequence = event.sequence;
        let data = event.data.as_str();
        match event.name.as_str() {
            "READY" => return self.ready(&read::<Ready>(data).unwrap_or_default(), sequence).await,
            "RESUMED" => self.tell(ChannelEvent::State(NetworkState::Connected)).await?,
            "MESSAGE_CREATE" => {
                if let Some(message) = read::<WireMessage>(data) {
                    return self.message(message, sequence, false).await;
                }
            }
            "INTERACTION_CREATE" => {
                if let Some(interaction) = read::<Interaction>(data) {
                    return self.interaction(interaction, sequence).await;
                }
            }
            "GUILD_CREATE" => self.guild(&read::<Guild>(data).unwrap_or_default()).await?,
            "THREAD_LIST_SYNC" => {
                let synced = read::<Guild>(data).unwrap_or_default();
                for thread in &synced.threads {
                    self.see(thread, synced.guild_id.as_ref()).await?;
                }
            }
            "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "THREAD_UPDATE" => {
                if let Some(channel) = read::<WireChannel>(data) {
                    self.see(&channel, None).await?;
                }
            }
            "THREAD_CREATE" => {
                if let Some(thread) = read::<WireChannel>(data) {
                    self.see(&thread, None).await?;
                    self.join(&thread.id);
                }
            }
            "CHANNEL_DELETE" | "THREAD_DELETE" => {
                if let Some(channel) = read::<WireChannel>(data) {
                    self.deleted(&channel).await?;
                }
            }
            _ => {}
        }
        self.pass(Passed { sequence, ..Passed::default() });
        Ok(())
    }

    async fn ready(&mut self, ready: &Ready, sequence: Option<u64>) -> Result<(), Deaf> {
        match &ready.user {
            Some(user) => self.me.id = user.id.clone(),
            None => {
                let user = self.api.get("/users/@me").await.unwrap_or_default();
                self.me.id = serde_json::from_value::<WireUser>(user).map(|user| user.id).unwrap_or_default();
            }
        }
        let named = self.section.application.clone().or_else(|| ready.application.as_ref().map(|it| it.id.clone()));
        // The application of a bot has its id, but for some old ones.
        let application = named.unwrap_or_else(|| self.me.id.clone());
        self.interactions.application.clone_from(&application);
        self.registrar.begin(&application);
        self.registrar.register(None);
        let url = ready.resume_gateway_url.clone();
        let session = |id: &String| SavedSession { id: id.clone(), url, application, me: Me::default() };
        self.session = ready.session_id.as_ref().map(session);
        // Until everything before it was caught up, a restart has to begin again.
        // What was written before the bot was there for the first time is not for it.
        let from = self.highest.is_none().then(now);
        self.before = self.highest.as_ref().map(earlier);
        self.highest = self.highest.take().or(from.clone());
        self.pass(Passed { session: Some(None), sequence, from, ..Passed::default() });
        self.tell(ChannelEvent::State(NetworkState::Connected)).await?;
        // What was missed is fetched guild by guild, as they come in sight.
        self.awaited = self.marks.values().filter_map(|mark| mark.guild.clone()).collect();
        self.until = Some(Instant::now() + GUILDS);
        let wanted = catch_up::directs(&self.marks);
        self.catch_up(wanted, None).await
    }

    async fn guild(&mut self, guild: &Guild) -> Result<(), Deaf> {
        let Some(id) = guild.id.as_ref().or(guild.guild_id.as_ref()).filter(|_| !guild.unavailable) else {
            return Ok(());
        };
        let own = guild.roles.iter().filter(|role| {
            role.tags.as_ref().and_then(|tags| tags.bot_id.as_ref()).is_some_and(|bot| *bot == self.me.id)
        });
        self.me.roles.extend(own.map(|role| role.id.clone()));
        for channel in guild.channels.iter().chain(&guild.threads) {
            self.see(channel, Some(id)).await?;
        }
        self.registrar.register(Some(id));
        self.awaited.remove(id);
        if self.until.is_some() { self.catch_up_guild(id, guild).await } else { Ok(()) }
    }

    async fn catch_up_guilds(&mut self, guilds: &HashSet<Id>) -> Result<(), Deaf> {
        for id in guilds {
            self.catch_up_guild(id, &Guild::default()).await?;
        }
        Ok(())
    }

    async fn catch_up_guild(&mut self, id: &Id, guild: &Guild) -> Result<(), Deaf> {
        let wanted = catch_up::guild(&self.marks, self.before.as_ref(), id, guild);
        self.catch_up(wanted, Some(id)).await
    }

    /// Reads what was written in channels while nobody listened, as late.
    async fn catch_up(&mut self, wanted: Vec<(Id, Id)>, guild: Option<&Id>) -> Result<(), Deaf> {
        for (channel, after) in wanted {
            if self.places.get(&channel).is_some_and(|place| !route::listens(&self.section, place)) {
                continue;
            }
            for message in catch_up::written(&self.api, &channel, guild, &after).await {
                self.message(message, None, true).await?;
            }
        }
        Ok(())
    }

    /// Notes a channel or thread as it is now, and tells what changed.
    async fn see(&mut self, channel: &WireChannel, guild: Option<&Id>) -> Result<(), Deaf> {
        let place = ChannelRef::of(channel, guild);
        let known = self.places.insert(place.id.clone(), place.clone());
        let title = route::title_of(&place);
        let changes = route::keys_of_place(&self.section, &place).into_iter().flat_map(|key| {
            let mut changes = Vec::new();
            if let Some(title) = title.clone() {
                let title = if key.as_str().starts_with("agent-") { agent_title(&key, &place, &title) } else { title };
                match &known {
                    None => changes.push(PlaceChange::Created { key: key.clone(), title }),
                    Some(known) if known.name != place.name => {
                        changes.push(PlaceChange::Renamed { key: key.clone(), title });
                    }
                    Some(_) => {}
                }
            }
            match known.as_ref().is_some_and(|known| known.archived) {
                false if place.archived => changes.push(PlaceChange::Archived(key)),
                true if !place.archived => changes.push(PlaceChange::Revived(key)),
                _ => {}
            }
            changes
        });
        let changes: Vec<PlaceChange> = changes.collect();
        if !route::listens(&self.section, &place) {
            return Ok(());
        }
        for change in changes {
            self.tell(ChannelEvent::Place(change)).await?;
        }
        Ok(())
    }

    async fn deleted(&mut self, channel: &WireChannel) -> Result<(), Deaf> {
        let gone = self.places.remove(&channel.id).unwrap_or_else(|| ChannelRef::of(channel, None));
        // The threads of a channel go with it, without a word.
        let threads: Vec<Id> = self
            .places
            .values()
            .filter(|place| place.parent.as_ref() == Some(&channel.id))
            .map(|place| place.id.clone())
            .collect();
        let threads: Vec<ChannelRef> = threads.iter().filter_map(|id| self.places.remove(id)).collect();
        for place in std::iter::once(&gone).chain(&threads) {
            for key in route::keys_of_place(&self.section, place) {
                self.tell(ChannelEvent::Place(PlaceChange::Deleted(key))).await?;
            }
        }
        Ok(())
    }

    /// Joins a thread where it listens. To join twice is to join.
    fn join(&self, thread: &Id) {
        let listens = self.places.get(thread).is_some_and(|place| route::listens(&self.section, place));
        if listens {
            let (api, thread) = (Arc::clone(&self.api), thread.clone());
            tokio::spawn(async move {
                let path = format!("/channels/{thread}/thread-members/@me");
                if let Err(error) = api.ask(hyper::Method::PUT, &path, Body::Nothing).await {
                    tracing::debug!(%thread, %error, "a thread was not joined");
                }
            });
        }
    }

    /// Reads one message.
    pub(super) async fn message(
        &mut self,
        message: WireMessage,
        sequence: Option<u64>,
        late: bool,
    ) -> Result<(), Deaf> {
        if !self.handled.is_new(&message.id) {
            self.pass(Passed { sequence, ..Passed::default() });
            return Ok(());
        }
        let place = self.place(&message).await;
        let roles = self.roles(&message, &place, late).await;
        let people = Arc::clone(&self.people);
        let paired = move |id: &Id| people.knows(route::NETWORK, id.as_str());
        let routed = route::route(&self.section, &self.me, &place, &message, &roles, &paired);
        let channel = message.channel_id.clone();
        let mark = Mark { last: message.id.clone(), guild: place.guild.clone() };
        if self.marks.get(&channel).is_none_or(|known| known.last.order() < mark.last.order()) {
            self.marks.insert(channel.clone(), mark);
        }
        if self.highest.as_ref().is_none_or(|highest| highest.order() < message.id.order()) {
            self.highest = Some(message.id.clone());
        }
        let mut passed = Passed {
            sequence,
            message: Some((channel.clone(), place.guild.clone(), message.id.clone())),
            handled: Some(message.id.clone()),
            ..Passed::default()
        };
        let told = match routed {
            Routed::To(routing) => {
                let (accepted, told) = oneshot::channel();
                passed.accepted = Some(told);
                Some(ChannelEvent::Message(ChannelMessage {
                    key: routing.key,
                    title: routing.title,
                    author: route::author(&message.author),
                    standing: routing.standing,
                    text: routing.text,
                    attachments: attachments(&self.api, &message.attachments),
                    agent: routing.agent,
                    address: route::address(&channel, Some(&message.id)),
                    id: message.id.to_string(),
                    late,
                    accepted,
                }))
            }
            Routed::Stranger => Some(ChannelEvent::Stranger(Stranger {
                author: route::author(&message.author),
                address: route::address(&channel, Some(&message.id)),
            })),
            Routed::Ignored(why) => {
                tracing::debug!(message = %message.id, ?why, "a message was ignored");
                // Only what could have been for the bot must not come twice.
                passed.handled = None;
                None
            }
        };
        self.pass(passed);
        match told {
            Some(told) => self.tell(told).await,
            None => Ok(()),
        }
    }

    async fn interaction(&mut self, interaction: Interaction, sequence: Option<u64>) -> Result<(), Deaf> {
        let handled = Some(interaction.id.clone());
        self.pass(Passed { sequence, handled, ..Passed::default() });
        if !self.handled.is_new(&interaction.id) {
            return Ok(());
        }
        let Some(channel) =
            interaction.channel_id.clone().or_else(|| interaction.channel.as_ref().map(|it| it.id.clone()))
        else {
            return Ok(());
        };
        if let Some(described) = interaction.channel.as_ref().filter(|_| !self.places.contains_key(&channel)) {
            let place = ChannelRef::of(described, interaction.guild_id.as_ref());
            self.places.insert(channel.clone(), place);
        }
        let place = self.place_of(&channel, interaction.guild_id.as_ref()).await;
        let people = Arc::clone(&self.people);
        let paired = move |id: &Id| people.knows(route::NETWORK, id.as_str());
        match self.interactions.read(&self.api, &self.section, &place, &interaction, &paired) {
            Some(told) => self.tell(told).await,
            None => Ok(()),
        }
    }

    async fn place(&mut self, message: &WireMessage) -> ChannelRef {
        // Who is no person is ignored anywhere.
        if message.author.bot || message.webhook_id.is_some() || message.author.id == self.me.id {
            let known = self.places.get(&message.channel_id).cloned();
            return known.unwrap_or_else(|| ChannelRef::unknown(&message.channel_id, message.guild_id.as_ref()));
        }
        let place = self.place_of(&message.channel_id, message.guild_id.as_ref()).await;
        // Who is a member is in a guild, even where the server does not say which.
        ChannelRef { direct: place.direct && message.member.is_none(), ..place }
    }

    /// The place of a channel; the server is asked if it was not seen yet,
    /// since a message does not say whether it stands in a thread.
    async fn place_of(&mut self, channel: &Id, guild: Option<&Id>) -> ChannelRef {
        if let Some(place) = self.places.get(channel) {
            return place.clone();
        }
        let place = match self.api.get(&format!("/channels/{channel}")).await {
            Ok(value) => serde_json::from_value::<WireChannel>(value).ok().map(|found| ChannelRef::of(&found, guild)),
            Err(error) => {
                tracing::debug!(%channel, %error, "a channel was not described");
                // To ask again for each message would be one refusal more each time.
                matches!(error, ApiError::Refused { status: 400..=499, .. })
                    .then(|| ChannelRef::unknown(channel, guild))
            }
        };
        match place {
            Some(place) => {
                self.places.insert(channel.clone(), place.clone());
                place
            }
            None => ChannelRef::unknown(channel, guild),
        }
    }

    /// The roles of a message's author. The HTTP API does not tell them with a
    /// message, so they are asked for where they could matter.
    async fn roles(&self, message: &WireMessage, place: &ChannelRef, late: bool) -> Vec<Id> {
        if let Some(member) = &message.member {
            return member.roles.clone();
        }
        let nobody = |_: &Id| false;
        let known = route::standing(&self.section, place, &message.author.id, &[], &nobody).is_some();
        let wanted = late && !known && self.section.names_roles();
        let Some(guild) = place.guild.as_ref().filter(|_| wanted) else { return Vec::new() };
        let path = format!("/guilds/{guild}/members/{}", message.author.id);
        let member = self.api.get(&path).await.ok().and_then(|value| serde_json::from_value::<Member>(value).ok());
        member.unwrap_or_default().roles
    }

    pub(super) async fn tell(&self, heard: ChannelEvent) -> Result<(), Deaf> {
        self.heard.send(heard).await.map_err(|_| Deaf)
    }

    fn pass(&self, passed: Passed) {
        // It ends only with this program, or at a message that was not taken.
        let _ended = self.passed.send(passed);
    }
}

/// The id of this moment.
fn now() -> Id {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Id::at_ms(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// An id some seconds before another: messages of different channels may have
/// overtaken each other by as much.
fn earlier(id: &Id) -> Id {
    id.made_at_ms().map_or_else(|| id.clone(), |ms| Id::at_ms(ms.saturating_sub(OVERLAP_MS)))
}

/// The title of an agent's session of a place.
fn agent_title(key: &crate::key::Key, place: &ChannelRef, title: &str) -> String {
    let base = format!("-{}-{}", route::NETWORK, place.id);
    let name = key.as_str().strip_prefix("agent-").and_then(|rest| rest.strip_suffix(&base));
    name.map_or_else(|| title.to_owned(), |name| format!("{title} @{name}"))
}

fn read<T: DeserializeOwned>(data: &str) -> Option<T> {
    let read = serde_json::from_str(data);
    if let Err(error) = &read {
        tracing::debug!(%error, "an event was not read");
    }
    read.ok()
}
