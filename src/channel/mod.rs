//! Chat networks: one file or folder per network, wire format only.
//!
//! A network reports what happened there (`ChannelEvent`) and carries out what it is
//! told (`ChannelClient`). It knows who may talk, because its own section of the
//! configuration says so; what a message then does is not decided here.

mod client;
#[cfg(feature = "discord")]
mod discord;
mod event;
mod examined;
#[cfg(feature = "discord")]
mod http;
mod section;
#[cfg(feature = "discord")]
mod text;
#[cfg(feature = "discord")]
mod tls;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use client::{
    Answer, BoxFuture, Button, ButtonStyle, ChannelClient, ChannelLimits, DOUBT, Post, PostedId, SendError, Upload,
};
pub use event::{
    Accepted, AccessRole, Attachment, ChannelEvent, ChannelMessage, Fetch, FetchError, Invoked, NetworkState,
    PlaceChange, Pressed, Stranger,
};
pub use examined::{Examined, Grade};
pub use section::{COMMON_KEYS, ChannelError, Common, SectionContext, unknown_key};

use crate::config::Secret;
use crate::config::keys::{KeySpec, nearest};
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
    /// Where a key is unknown or a value does not fit.
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
    /// Where the section is wrong.
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

/// The chat networks that this program was built with.
pub const CHANNELS: &[&dyn Channel] = &[
    #[cfg(feature = "discord")]
    &discord::Discord,
];

/// The network of a name.
///
/// # Errors
/// Where this program was built with none of that name.
pub fn named(name: &str) -> Result<&'static dyn Channel, ChannelError> {
    of(CHANNELS, name)
}

/// The network of a name, of some.
///
/// # Errors
/// Where none of them has it.
pub fn of(channels: &[&'static dyn Channel], name: &str) -> Result<&'static dyn Channel, ChannelError> {
    let found = channels.iter().copied().find(|channel| channel.name() == name);
    found.ok_or_else(|| ChannelError::Unknown {
        name: name.to_owned(),
        nearest: nearest(name, channels.iter().map(|channel| channel.name())).map(str::to_owned),
    })
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
