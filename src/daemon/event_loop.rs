//! The loop: everything that happens comes by here, in order, and nothing here
//! waits for a session.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::channels::{self, RunningChannel};
use super::check::check;
use super::commands::{self, Given};
use super::config_watcher::ConfigSource;
use super::context::{DaemonContext, Shared};
use super::error::DaemonError;
use super::event::LoopEvent;
use super::session_worker::{Job, SessionWorker};
use super::stage::ShutdownStage;
use super::{channel_lifecycle, deliver, recover, sd_notify};
use crate::causes::with_causes;
use crate::channel::{
    Accepted, Channel, ChannelEvent, ChannelMessage, Invoked, NetworkState, PlaceChange, Pressed, Stranger,
};
use crate::config::{Config, ConfigError};
use crate::key::Key;
use crate::ops::{Control, Held};
use crate::session::{PairingAnswer, People};
use crate::turn::Setup;

/// How much waits for the loop.
const EVENTS: usize = 1024;

/// How often it is looked for sessions of deleted channels.
const SWEEP: Duration = Duration::from_secs(10 * 60);

/// How long deliveries and commands may still take after the last turn.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The daemon's state. Only its loop has it.
struct EventLoop {
    now: watch::Sender<DaemonContext>,
    shared: Shared,
    source: ConfigSource,
    channels: &'static [&'static dyn Channel],
    started: BTreeMap<&'static str, RunningChannel>,
    /// The networks that will not have the program back, and why.
    ended: BTreeMap<&'static str, String>,
    lanes: HashMap<Key, SessionWorker>,
    /// Commands, places and the like, each in a task of its own.
    tasks: JoinSet<()>,
    starts: u64,
}

/// Serves until it is told to leave.
pub(super) async fn serve(
    control: Arc<Control>,
    source: ConfigSource,
    channels: &'static [&'static dyn Channel],
    stage: watch::Receiver<ShutdownStage>,
) -> Result<(), DaemonError> {
    let (events, mut heard) = mpsc::channel(EVENTS);
    let socket = control.setup.environment.get("NOTIFY_SOCKET").map(str::to_owned);
    let (now, current) = watch::channel(DaemonContext { control: control.clone(), networks: BTreeMap::new() });
    let shared = Shared::new(current, stage.clone(), events.clone());
    let mut hub = EventLoop {
        now,
        shared: shared.clone(),
        source: source.clone(),
        channels,
        started: BTreeMap::new(),
        ended: BTreeMap::new(),
        lanes: HashMap::new(),
        tasks: JoinSet::new(),
        starts: 0,
    };
    let configured = control.setup.config.channels.keys();
    let configured: Vec<_> =
        channels.iter().filter(|channel| configured.clone().any(|name| name == channel.name())).collect();
    for channel in configured {
        hub.start(*channel).await?;
    }
    sd_notify::tell(socket.as_deref(), "READY=1");
    tracing::info!(root = %control.store.root().display(), "ready");
    let watching = tokio::spawn(source.watch(events.clone()));
    let walking = tokio::spawn(recover::walk(shared.clone()));
    let hearing = tokio::spawn(recover::watch(shared.clone()));
    let mut sweep = tokio::time::interval(SWEEP);
    let result = loop {
        tokio::select! {
            biased;
            () = shared.leaving() => break Ok(()),
            _ = sweep.tick() => hub.hear(LoopEvent::Sweep).await,
            event = heard.recv() => match event {
                Some(event) => hub.hear(event).await,
                None => break Ok(()),
            },
            Some(_done) = hub.tasks.join_next() => {}
        }
        if !hub.ended.is_empty() && hub.started.is_empty() {
            let reasons: Vec<String> = hub.ended.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
            break Err(DaemonError::Ended(reasons.join("; ")));
        }
    };
    sd_notify::tell(socket.as_deref(), "STOPPING=1");
    watching.abort();
    walking.abort();
    hearing.abort();
    hub.leave(stage, heard).await;
    result
}

impl EventLoop {
    fn control(&self) -> Arc<Control> {
        self.shared.control()
    }

    async fn start(&mut self, channel: &'static dyn Channel) -> Result<(), DaemonError> {
        self.starts += 1;
        let name = channel.name();
        let control = self.control();
        let (started, spoken) =
            channels::start(channel, &control, &self.source, &self.shared.events, self.starts).await?;
        self.ended.remove(name);
        self.started.insert(name, started);
        self.now.send_modify(|now| {
            now.networks.insert(name, spoken);
        });
        Ok(())
    }

    async fn hear(&mut self, event: LoopEvent) {
        match event {
            LoopEvent::Heard { network, heard } => self.report(network, *heard),
            LoopEvent::Ended { network, start } => self.end(network, start),
            LoopEvent::Config(loaded) => self.reload(*loaded).await,
            LoopEvent::Taken(key) => {
                if let Some(lane) = self.lanes.get_mut(&key) {
                    lane.untaken = lane.untaken.saturating_sub(1);
                }
                self.rest(&key);
            }
            LoopEvent::Rested(key) => self.rest(&key),
            LoopEvent::Again(held) => self.again(held),
            LoopEvent::Left(key) => match self.lanes.get_mut(&key) {
                // If there is no room, it is found when a lane of the session begins next.
                Some(lane) => drop(lane.give(Job::Look)),
                // A lane that begins looks by itself.
                None => drop(self.lane(&key)),
            },
            LoopEvent::Sweep => {
                let running: HashMap<Key, _> =
                    self.lanes.iter().map(|(key, lane)| (key.clone(), lane.state.clone())).collect();
                self.tasks.spawn(channel_lifecycle::sweep(self.shared.clone(), move |key| {
                    if let Some(state) = running.get(key) {
                        state.interrupt(None);
                    }
                }));
            }
        }
    }

    fn report(&mut self, network: &'static str, heard: ChannelEvent) {
        match heard {
            ChannelEvent::Message(incoming) => self.message(network, incoming),
            ChannelEvent::Command(invoked) => self.command(invoked),
            ChannelEvent::Button(pressed) => self.button(pressed),
            ChannelEvent::Stranger(stranger) => self.stranger(stranger),
            ChannelEvent::Place(change) => {
                if let PlaceChange::Archived(key) | PlaceChange::Deleted(key) = &change {
                    tracing::info!(session = key.folder_name(), "its channel was archived or deleted");
                }
                self.tasks.spawn(channel_lifecycle::change(self.shared.clone(), change));
            }
            ChannelEvent::State(state) => self.state(network, state),
        }
    }

    /// The lane of a session; it begins if there is none.
    fn lane(&mut self, key: &Key) -> &mut SessionWorker {
        let shared = &self.shared;
        self.lanes.entry(key.clone()).or_insert_with(|| SessionWorker::begin(key, shared))
    }

    /// Lets the lane of a session go, if nothing is left to do.
    fn rest(&mut self, key: &Key) {
        if self.lanes.get(key).is_some_and(SessionWorker::is_idle) {
            self.lanes.remove(key);
        }
    }

    fn message(&mut self, network: &'static str, incoming: ChannelMessage) {
        let key = incoming.key.clone();
        channel_lifecycle::is_there(&self.control(), &key);
        let job = Job::Message { network, incoming: Box::new(incoming) };
        let Err(job) = self.lane(&key).give(job) else { return };
        if let Job::Message { incoming, .. } = job {
            let text = "Too much comes here at once, so this message was not taken. Send it again later.".to_owned();
            deliver::say(&self.shared, &incoming.address, text.clone(), None);
            let _told = incoming.accepted.send(Accepted::Refused(text));
        }
    }

    fn again(&mut self, held: Box<Held>) {
        let key = held.key().clone();
        if self.lane(&key).give(Job::Again(held)).is_err() {
            // It stays in the queue, where the next retry finds it.
            tracing::warn!(session = key.folder_name(), "too much waits here to send a message again");
        }
    }

    fn command(&mut self, invoked: Invoked) {
        let state = self.lanes.get(&invoked.key).map(|lane| lane.state.clone());
        self.tasks.spawn(commands::command(Given { shared: self.shared.clone(), state, invoked }));
    }

    fn button(&mut self, pressed: Pressed) {
        let state = self.lanes.get(&pressed.key).map(|lane| lane.state.clone());
        self.tasks.spawn(commands::button(self.shared.clone(), state, pressed));
    }

    /// Somebody who may not talk wrote: the first message is answered with a
    /// code, further ones with silence.
    fn stranger(&mut self, stranger: Stranger) {
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let people = People::of(shared.control().store.clone());
            let Stranger { author, address } = stranger;
            let network = address.network.clone();
            let asked = super::context::blocking(move || people.ask(&network, &author.id, &author.name)).await;
            match asked {
                Ok(PairingAnswer::Code(code)) => {
                    let text = format!(
                        "I only talk with people my owner knows. To be let in, ask my owner to run `denizen pairing \
                         approve {code}` within an hour."
                    );
                    deliver::say(&shared, &address, text, None);
                }
                Ok(PairingAnswer::Silence) => {}
                Err(error) => tracing::warn!("a stranger could not be given a code: {error}"),
            }
        });
    }

    fn state(&mut self, name: &'static str, state: NetworkState) {
        let connected = state == NetworkState::Connected;
        self.now.send_modify(|now| {
            if let Some(spoken) = now.networks.get_mut(name) {
                spoken.connected = connected;
            }
        });
        match state {
            NetworkState::Connected => tracing::info!(network = name, "connected"),
            NetworkState::Reconnecting { reason } => tracing::warn!(network = name, "connecting again: {reason}"),
            NetworkState::Fatal { reason, remedy } => {
                let remedy = remedy.map_or_else(String::new, |remedy| format!("; {remedy}"));
                tracing::error!(network = name, "the network will not have this program back: {reason}{remedy}");
                self.ended.insert(name, format!("{reason}{remedy}"));
            }
        }
    }

    fn end(&mut self, name: &'static str, start: u64) {
        if self.started.get(name).is_none_or(|started| started.start != start) {
            return;
        }
        self.started.remove(name);
        self.ended.entry(name).or_insert_with(|| "it ended without a reason".to_owned());
    }

    /// Takes a changed configuration into use. One that is wrong changes nothing.
    async fn reload(&mut self, loaded: Result<Config, ConfigError>) {
        let before = self.control();
        let checked = loaded.map_err(DaemonError::from).and_then(|config| {
            check(&config, self.channels, &self.source)?;
            Ok(config)
        });
        let config = match checked {
            Ok(config) => config,
            Err(error) => {
                let error = with_causes(&error);
                tracing::error!("the configuration is wrong, so the last good one stays in force: {error}");
                let text = format!("⚠ The configuration is wrong, so the last good one stays in force: {error}");
                self.tell_owners(text);
                return;
            }
        };
        if config.durability != before.store.durability() {
            tracing::warn!("`durability` changes at the next start");
        }
        let setup = Setup { config, ..Setup::clone(&before.setup) };
        let control = Arc::new(Control { setup: Arc::new(setup), store: before.store.clone() });
        self.now.send_modify(|now| now.control = control.clone());
        tracing::info!("the configuration was read again");
        for channel in self.channels {
            let name = channel.name();
            let section = control.setup.config.channels.get(name);
            if self.started.get(name).map(|started| &started.section) == section {
                continue;
            }
            if let Some(started) = self.started.remove(name) {
                started.leave();
                tracing::info!(network = name, "its section changed, so it is left");
            }
            if section.is_none() {
                self.ended.remove(name);
                self.now.send_modify(|now| drop(now.networks.remove(name)));
            } else if let Err(error) = self.start(*channel).await {
                tracing::error!(network = name, "it could not be started: {error}");
                self.tell_owners(format!("⚠ `{name}` could not be started: {error}"));
            }
        }
        // What the sections share with the rest may have changed too.
        let default = control.setup.config.busy;
        self.now.send_modify(|now| {
            for (name, spoken) in &mut now.networks {
                let section = control.setup.config.channels.get(*name);
                let own = section.and_then(|section| section.get("busy")).and_then(toml::Value::as_str);
                spoken.busy = own.and_then(crate::config::Busy::from_word).unwrap_or(default);
            }
        });
    }

    fn tell_owners(&mut self, text: String) {
        let networks: Vec<_> = self.now.borrow().networks.values().map(|spoken| spoken.network.clone()).collect();
        self.tasks.spawn(async move {
            for network in networks {
                network.tell_owners(&text).await;
            }
        });
    }

    /// Leaves: nothing is taken in any more, running turns may finish for a
    /// while, then they are interrupted. What waits stays in the queues.
    async fn leave(mut self, mut stage: watch::Receiver<ShutdownStage>, mut heard: mpsc::Receiver<LoopEvent>) {
        for started in self.started.values() {
            started.leave();
        }
        let grace = self.control().setup.config.limits.grace;
        let running = self.lanes.values().filter(|lane| lane.state.running().is_some()).count();
        tracing::info!("leaving; {running} turns are running, and may take up to {}s", grace.as_secs());
        let at_once = async {
            let _said = stage.wait_for(|stage| *stage >= ShutdownStage::AtOnce).await.is_ok();
        };
        let calm = async {
            let finished = tokio::time::timeout(grace, self.settle(&mut heard)).await;
            if finished.is_err() {
                for lane in self.lanes.values() {
                    lane.state.interrupt(None);
                }
                tracing::info!("the turns that still run are interrupted");
                let _late = tokio::time::timeout(LAST_WORDS * 4, self.settle(&mut heard)).await;
            }
            let _late =
                tokio::time::timeout(LAST_WORDS, async { while self.tasks.join_next().await.is_some() {} }).await;
        };
        tokio::select! {
            () = at_once => tracing::warn!("leaving at once"),
            () = calm => {}
        }
        tracing::info!("left");
    }

    /// Waits until no lane has anything to do.
    async fn settle(&mut self, heard: &mut mpsc::Receiver<LoopEvent>) {
        self.lanes.retain(|_, lane| !lane.is_idle());
        while !self.lanes.is_empty() {
            match heard.recv().await {
                Some(LoopEvent::Taken(key)) => {
                    if let Some(lane) = self.lanes.get_mut(&key) {
                        lane.untaken = lane.untaken.saturating_sub(1);
                    }
                    self.rest(&key);
                }
                Some(LoopEvent::Rested(key)) => self.rest(&key),
                // What is dropped here was acknowledged to nobody, or is in the queue.
                Some(_) => {}
                None => return,
            }
        }
    }
}
