//! How to speak in a network.

use std::fs::File;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::session::Address;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What stands before a message that may be there already.
pub const DOUBT: &str = "(perhaps a second time) ";

/// A network as it is spoken to. Every call keeps to the network's rate limits
/// by itself: it waits rather than fails, for at most some seconds.
pub trait ChannelClient: Send + Sync {
    /// What fits.
    fn limits(&self) -> ChannelLimits;

    /// Cuts a text into pieces that each fit one message, behind [`DOUBT`] too.
    /// Code blocks are closed and opened again, and no character is cut. Empty
    /// for an empty text.
    fn split(&self, text: &str) -> Vec<String>;

    /// Shows text that is nobody's to write in, such as a command, as it is:
    /// in a code block that it cannot end.
    fn verbatim(&self, text: &str) -> String;

    /// Posts a message. It mentions nobody.
    fn post<'a>(&'a self, to: &'a Address, post: &'a Post) -> BoxFuture<'a, Result<PostedId, SendError>>;

    /// Replaces text and buttons of a message that was posted.
    fn edit<'a>(
        &'a self,
        to: &'a Address,
        posted: &'a PostedId,
        post: &'a Post,
    ) -> BoxFuture<'a, Result<(), SendError>>;

    /// Shows that an answer is being written, for about [`ChannelLimits::typing`].
    fn typing<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, Result<(), SendError>>;

    /// Tells the owners something, each in a direct message. Who cannot be
    /// reached is left out.
    fn tell_owners<'a>(&'a self, text: &'a str) -> BoxFuture<'a, ()>;
}

/// What fits in one message, and how often something may be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelLimits {
    /// The largest file, in bytes.
    pub file_bytes: u64,
    /// How many files fit one message.
    pub files: usize,
    /// The shortest time between two edits of a message.
    pub pace: Duration,
    /// How often it has to be said that an answer is being written.
    pub typing: Duration,
    /// For how long a post with a nonce that was posted already gives the message
    /// that is there, instead of a second one. `None` if it may give a second.
    pub nonces: Option<Duration>,
}

/// A message to post.
#[derive(Debug, Clone, Default)]
pub struct Post {
    /// What it says: one piece of [`ChannelClient::split`].
    pub text: String,
    /// Its buttons, at most five.
    pub buttons: Vec<Button>,
    /// Its files.
    pub files: Vec<Upload>,
    /// At most 25 characters by which the network knows a message that is
    /// posted twice.
    pub nonce: Option<String>,
    /// Whether it answers the message of the address.
    pub reply: bool,
}

/// A file to send.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its name there.
    pub name: String,
    /// The open file, to be read at offsets from 0: it may be sent twice.
    pub file: Arc<File>,
    /// Its size, in bytes.
    pub size: u64,
}

/// A button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// Its id, at most 100 bytes of ASCII.
    pub id: String,
    /// What it says.
    pub label: String,
    /// How it looks.
    pub style: ButtonStyle,
}

/// How a button looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ButtonStyle {
    /// The expected thing.
    Primary,
    /// Something else.
    Secondary,
    /// Something that ends or risks something.
    Danger,
}

/// The network's id of a message that was posted; empty if it does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostedId(pub String);

/// Why something was not said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It can never be said there: the channel is gone, or closed to the program.
    #[error("{0}")]
    Gone(String),
    /// It may be said again after a while.
    #[error("the network asks to wait {}s", .0.as_secs())]
    Later(Duration),
    /// It was not said; whether it ever can is not known.
    #[error("{0}")]
    Failed(String),
    /// It may have been said: the answer is lost.
    #[error("{0}")]
    Unsure(String),
}

/// How to answer a command or a button.
pub trait Answer: Send + Sync {
    /// Says that an answer will come. To be called at once: networks wait for
    /// three seconds. With `ephemeral` only the person who asked will see it.
    fn defer(&self, ephemeral: bool) -> BoxFuture<'_, Result<(), SendError>>;

    /// Says that a button was heard, and shows nothing.
    fn acknowledge(&self) -> BoxFuture<'_, Result<(), SendError>>;

    /// Answers; a text that does not fit one message is split. After
    /// [`Answer::defer`], what was said there about `ephemeral` holds; after
    /// [`Answer::acknowledge`] it is a message of its own.
    fn reply<'a>(&'a self, text: &'a str, ephemeral: bool) -> BoxFuture<'a, Result<(), SendError>>;
}
