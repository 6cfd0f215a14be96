//! What a network is to the rest of the program: how it is checked, started and
//! left. Not here: speaking in it, which is `client`, and what it reports, which
//! is `event`.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::client::{BoxFuture, ChannelClient};
use super::event::ChannelEvent;
#[cfg(doc)]
use super::event::NetworkState;
use super::examined::Examined;
#[cfg(doc)]
use super::section::COMMON_KEYS;
use super::section::{ChannelError, SectionContext};
use crate::config::Secret;
use crate::config::keys::KeySpec;
use crate::files::Durability;
use crate::session::People;

/// A chat network, as a value.
pub trait Channel: Sync {
    /// Its name, which is also its section: `discord`. It is the place of the
    /// sessions that are made there.
    fn name(&self) -> &'static str;

    /// The keys of its section beside [`COMMON_KEYS`].
    fn keys(&self) -> &'static [KeySpec];

    /// Reads its section strictly.
    ///
    /// # Errors
    /// If a key is unknown or a value does not fit.
    fn check(&self, section: &toml::Table, context: SectionContext<'_>) -> Result<(), ChannelError>;

    /// The link by which the bot of an application is invited with what it
    /// needs; nothing where bots are not invited.
    fn invitation(&self, _application: &str) -> Option<String> {
        None
    }

    /// Connects, and goes on connecting, in tasks on the current runtime.
    /// Returns at once; how it goes is told by [`ChannelEvent::State`].
    ///
    /// # Errors
    /// If the section is wrong.
    fn start(&self, section: &toml::Table, context: StartContext<'_>) -> Result<Connection, ChannelError>;

    /// Asks the network whether it would let the program in, and what else can
    /// be wrong on the way, for `denizen doctor`.
    fn examine<'a>(
        &'a self,
        section: &'a toml::Table,
        context: SectionContext<'a>,
        token: &'a Secret,
    ) -> BoxFuture<'a, Result<Vec<Examined>, ChannelError>>;
}

/// What a network is started with.
#[derive(Debug)]
pub struct StartContext<'a> {
    /// What the section may name.
    pub section: SectionContext<'a>,
    /// Takes what is reported. Bounded: who reports waits.
    pub events: mpsc::Sender<ChannelEvent>,
    /// The network's own directory, which exists: `state/channels/<network>`.
    pub state: PathBuf,
    /// What the network lets the program in with.
    pub token: Secret,
    /// What a write there has to survive.
    pub durability: Durability,
    /// Who was let in beyond the section.
    pub people: Arc<People>,
    /// Says when to leave.
    pub leave: Leave,
}

/// A network that was started.
pub struct Connection {
    /// How to speak there.
    pub network: Arc<dyn ChannelClient>,
    /// Its main task. It ends after [`Leave`], or when the network will not
    /// have the program back ([`NetworkState::Fatal`]).
    pub task: JoinHandle<()>,
}

/// Says when to leave: once, and for good. A dropped sender says so too.
#[derive(Debug, Clone)]
pub struct Leave(watch::Receiver<bool>);

impl Leave {
    /// What a switch says.
    #[must_use]
    pub fn new(switch: watch::Receiver<bool>) -> Self {
        Self(switch)
    }

    /// Whether it is time to leave.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until it is time to leave.
    pub async fn asked(&self) {
        let mut switch = self.0.clone();
        // An error means that nobody is left who could say it.
        let _said = switch.wait_for(|leave| *leave).await.is_ok();
    }
}
