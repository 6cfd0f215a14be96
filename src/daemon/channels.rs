//! Starting a chat network, and hearing from it.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::check::section_context;
use super::config_watcher::ConfigSource;
use super::context::ChannelHandle;
use super::error::DaemonError;
use super::event::LoopEvent;
use super::seen::SeenMessages;
use crate::channel::{Channel, ChannelError, Common, Connection, Leave, StartContext};
use crate::files::make_private_dir;
use crate::ops::Control;
use crate::process;
use crate::session::People;

/// How many reports of one network wait to be heard.
const REPORTS: usize = 256;

/// A network that was started, as the loop holds it.
#[derive(Debug)]
pub(super) struct RunningChannel {
    /// The section that it was started with.
    pub(super) section: toml::Table,
    /// Which start this was.
    pub(super) start: u64,
    leave: watch::Sender<bool>,
}

impl RunningChannel {
    /// Asks the network to leave. What it reports from then on is not heard.
    pub(super) fn leave(&self) {
        let _gone = self.leave.send(true);
    }
}

/// Starts a network.
pub(super) async fn start(
    channel: &'static dyn Channel,
    control: &Control,
    source: &ConfigSource,
    events: &mpsc::Sender<LoopEvent>,
    start: u64,
) -> Result<(RunningChannel, ChannelHandle), DaemonError> {
    let name = channel.name();
    let config = &control.setup.config;
    let section = config.channels.get(name).cloned().unwrap_or_default();
    let agents: Vec<&str> = config.agents.keys().map(String::as_str).collect();
    let context = section_context(&agents, source);
    let common = Common::read(name, &section, context)?;
    let token = common.token.ok_or_else(|| ChannelError::NoToken(name.to_owned()))?;
    let ground = control.store.ground(&config.shares);
    let token = process::secret(&token, &control.setup.environment, &ground)
        .await
        .map_err(|reason| ChannelError::Token { channel: name.to_owned(), reason })?;
    let durability = control.store.durability();
    let state = control.store.state_path("channels").join(name);
    make_private_dir(&state, durability)?;
    let handled = Arc::new(SeenMessages::open(&state, durability)?);
    let (reports, mut heard) = mpsc::channel(REPORTS);
    let (leave, left) = watch::channel(false);
    let Connection { network, task } = channel.start(
        &section,
        StartContext {
            section: context,
            events: reports,
            state,
            token,
            durability,
            people: Arc::new(People::of(control.store.clone())),
            leave: Leave::new(left.clone()),
        },
    )?;
    let events = events.clone();
    tokio::spawn(async move {
        let (mut left, mut task) = (left, task);
        let forward = async |heard| events.send(LoopEvent::Heard { network: name, heard: Box::new(heard) }).await;
        let ended = loop {
            let report = tokio::select! {
                biased;
                _ = left.wait_for(|left| *left) => return,
                report = heard.recv() => report,
                ended = &mut task => break ended,
            };
            let Some(report) = report else { break (&mut task).await };
            if forward(report).await.is_err() {
                return;
            }
        };
        if let Err(error) = ended {
            tracing::error!(network = name, "the network's task failed: {error}");
        }
        // What it said last comes before its end.
        while let Ok(report) = heard.try_recv() {
            if forward(report).await.is_err() {
                return;
            }
        }
        let _gone = events.send(LoopEvent::Ended { network: name, start }).await;
    });
    let busy = common.busy.unwrap_or(config.busy);
    let spoken = ChannelHandle { network, handled, busy, approval_timeout: common.approval_timeout, connected: false };
    Ok((RunningChannel { section, start, leave }, spoken))
}
