//! Chat networks: one file or folder per network, wire format only.
//!
//! A network reports what happened there (`ChannelEvent`) and carries out what it is
//! told (`ChannelClient`). It knows who may talk, because its own section of the
//! configuration says so; what a message then does is not decided here.

mod client;
mod connection;
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

pub use client::{
    Answer, BoxFuture, Button, ButtonStyle, ChannelClient, ChannelLimits, DOUBT, Post, PostedId, SendError, Upload,
};
pub use connection::{Channel, Connection, Leave, StartContext};
pub use event::{
    Accepted, AccessRole, Attachment, ChannelEvent, ChannelMessage, Fetch, FetchError, Invoked, NetworkState,
    PlaceChange, Pressed, Stranger,
};
pub use examined::{Examined, Grade};
pub use section::{COMMON_KEYS, ChannelError, Common, SectionContext, unknown_key};

use crate::config::keys::nearest;

/// The chat networks that this program was built with.
pub const CHANNELS: &[&dyn Channel] = &[
    #[cfg(feature = "discord")]
    &discord::Discord,
];

/// The network of a name.
///
/// # Errors
/// If this program was built with none of that name.
pub fn named(name: &str) -> Result<&'static dyn Channel, ChannelError> {
    of(CHANNELS, name)
}

/// The network of a name, of some.
///
/// # Errors
/// If none of them has it.
pub fn of(channels: &[&'static dyn Channel], name: &str) -> Result<&'static dyn Channel, ChannelError> {
    let found = channels.iter().copied().find(|channel| channel.name() == name);
    found.ok_or_else(|| ChannelError::Unknown {
        name: name.to_owned(),
        nearest: nearest(name, channels.iter().map(|channel| channel.name())).map(str::to_owned),
    })
}
