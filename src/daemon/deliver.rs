//! Delivering: a reply is posted piece by piece, and how far it came is noted in
//! the queue's entry, which is removed when everything is there.
//!
//! Each piece has a nonce that is computed from session, entry and number. A
//! crash between a post and its note repeats that piece with the same nonce; a
//! network that knows nonces then shows nothing twice, and on any other the one
//! piece that may be there twice says so.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::context::{ChannelHandle, Shared, blocking};
use super::render;
use super::session_state::WorkerState;
use crate::channel::{ChannelClient, DOUBT, Post, PostedId, SendError};
use crate::key::hex;
use crate::ops::Unrecorded;
use crate::session::{Address, EntryNote, Queue, QueueEntry, SessionError};

/// The longest time between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often something is tried that a network refuses while the connection
/// stands; what is given up stays in the queue for the next start.
const TRIES: u32 = 8;

/// At most 25 characters that stand for some parts.
pub(super) fn nonce(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize()[..12])
}

/// What a turn's message is known by, whatever becomes of it.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) address: Address,
    /// The session's uuid if it has one, else its key.
    pub(super) owner: String,
    pub(super) number: u64,
}

impl Sent {
    /// The nonce of a post that belongs to the message.
    pub(super) fn nonce(&self, what: &str) -> String {
        nonce(&[&self.owner, &self.number.to_string(), what])
    }
}

/// Why a post is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotPosted {
    /// It can never be.
    Gone(String),
    /// It was given up for now, or the daemon leaves.
    Later,
}

/// Posts something, and again while the network is down. `edit` is a message
/// that becomes it; `since` is when it may have been posted already.
pub(super) async fn post(
    shared: &Shared,
    to: &Address,
    post: &Post,
    edit: Option<&PostedId>,
    mut since: Option<Timestamp>,
) -> Result<PostedId, NotPosted> {
    let mut pause = Duration::from_secs(1);
    let mut refused = 0;
    let mut edit = edit;
    loop {
        let Some(ChannelHandle { network, connected, .. }) = shared.network(&to.network) else {
            // Its section was taken out of the configuration, or it is started again.
            if !shared.pause(pause).await {
                return Err(NotPosted::Later);
            }
            refused += 1;
            if refused > TRIES {
                return Err(NotPosted::Later);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            continue;
        };
        let posted = match (edit, since) {
            (Some(id), _) => network.edit(to, id, post).await.map(|()| id.clone()),
            (None, Some(since)) if !is_known(&*network, since) => network.post(to, &doubtful(post)).await,
            (None, _) => network.post(to, post).await,
        };
        let wait = match posted {
            Ok(id) => return Ok(id),
            // What was to become it may be deleted, or too old.
            Err(SendError::Gone(_) | SendError::Failed(_) | SendError::Unsure(_)) if edit.is_some() => {
                edit = None;
                continue;
            }
            Err(SendError::Gone(reason)) => return Err(NotPosted::Gone(reason)),
            Err(SendError::Later(wait)) => wait.max(Duration::from_millis(100)),
            Err(error @ (SendError::Failed(_) | SendError::Unsure(_))) => {
                if let SendError::Unsure(_) = error {
                    since.get_or_insert_with(Timestamp::now);
                }
                tracing::warn!(network = to.network, "a message could not be posted: {error}");
                refused += u32::from(connected);
                if refused >= TRIES {
                    return Err(NotPosted::Later);
                }
                pause
            }
        };
        if !shared.pause(wait).await {
            // While the daemon leaves, what can be said at once is said.
            return Err(NotPosted::Later);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the network still knows the nonce of what may have been posted then,
/// and so does not show it twice.
fn is_known(network: &dyn ChannelClient, since: Timestamp) -> bool {
    let ago = Timestamp::now().duration_since(since).unsigned_abs();
    network.limits().nonces.is_some_and(|kept| ago < kept)
}

/// The same post, saying that it may be there already.
fn doubtful(post: &Post) -> Post {
    Post { text: format!("{DOUBT}{}", post.text), ..post.clone() }
}

/// Says something that nothing depends on, beside everything else.
pub(super) fn say(shared: &Shared, to: &Address, text: String, nonce: Option<String>) {
    let (shared, to) = (shared.clone(), to.clone());
    tokio::spawn(async move {
        let Some(spoken) = shared.network(&to.network) else { return };
        for (at, text) in spoken.network.split(&text).into_iter().enumerate() {
            let nonce = nonce.as_ref().map(|whole| self::nonce(&[whole, &at.to_string()]));
            let message = Post { text, nonce, reply: at == 0, ..Post::default() };
            if let Err(NotPosted::Gone(reason)) = post(&shared, &to, &message, None, None).await {
                tracing::warn!(network = to.network, "nobody could be told: {reason}");
                return;
            }
        }
    });
}

/// Everything that a delivery is made from.
struct Prepared {
    to: Sent,
    entry: QueueEntry,
    posts: Vec<Post>,
}

/// Delivers the recorded reply of an entry. `again` where an earlier process
/// may have posted the first piece that is not noted.
pub(super) async fn reply(shared: &Shared, state: &Arc<WorkerState>, number: u64, again: bool) {
    let prepared = {
        let (shared, state) = (shared.clone(), state.clone());
        blocking(move || prepare(&shared, &state, number)).await
    };
    let prepared = match prepared {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(session = state.folder, "a reply could not be delivered: {error}");
            return;
        }
    };
    let Prepared { to, entry, posts } = prepared;
    let count = posts.len();
    for (at, mut piece) in posts.into_iter().enumerate().skip(entry.posted) {
        piece.nonce = Some(to.nonce(&at.to_string()));
        let shown = entry.shown.clone().filter(|_| at == 0 && piece.files.is_empty()).map(PostedId);
        let since = entry.answered.filter(|_| again && at == entry.posted);
        match post(shared, &to.address, &piece, shown.as_ref(), since).await {
            Ok(_) => note(shared, state, number, EntryNote::Posted(at + 1)).await,
            Err(NotPosted::Gone(reason)) => {
                tracing::warn!(
                    session = state.folder,
                    "the reply is not delivered, and stays in the session: {reason}"
                );
                break;
            }
            Err(NotPosted::Later) => {
                shared.note(&state.folder, "the reply could not be delivered yet");
                return;
            }
        }
    }
    let_go(shared, state, number).await;
    shared.note(&state.folder, &format!("delivered, {count} messages"));
}

/// Reads what is to be posted. `None` if there is nothing to deliver, or no
/// network to do it in.
fn prepare(shared: &Shared, state: &WorkerState, number: u64) -> Result<Option<Prepared>, SessionError> {
    let control = shared.control();
    let queue = Queue::open(&control.store, &state.folder)?;
    let entry = match queue.entry(number) {
        Err(SessionError::File(error)) if error.is_not_found() => return Ok(None),
        entry => entry?,
    };
    let Some(address) = entry.message.reply.clone() else { return Ok(None) };
    let Some(workspace) = control.store.find(&state.key)? else { return Ok(None) };
    let uuid = workspace.record()?.uuid;
    if entry.message.session.is_some_and(|session| session != uuid) {
        // Whoever has the name now is somebody else: it stays listed for the owner.
        return Ok(None);
    }
    let Some(recorded) = workspace.recorded(number)? else { return Ok(None) };
    let Some(spoken) = shared.network(&address.network) else { return Ok(None) };
    let posts = render::reply(&*spoken.network, &workspace, &entry.message, &recorded, number);
    let to = Sent { address, owner: uuid.to_string(), number };
    Ok(Some(Prepared { to, entry, posts }))
}

/// Says what came of a turn that is not recorded, then lets its message go.
pub(super) async fn unrecorded(shared: &Shared, state: &Arc<WorkerState>, to: &Sent, what: Unrecorded) {
    let mut text = what.text;
    if let Some(reason) = what.reason {
        text = format!("{text}\n\n{}", render::failed(&reason));
    }
    if told(shared, state, to, text.trim(), false).await {
        let_go(shared, state, to.number).await;
    }
}

/// Tells the author of a message what became of it, where that is no reply.
/// `false` if it could not be said for now.
pub(super) async fn told(shared: &Shared, state: &Arc<WorkerState>, to: &Sent, text: &str, retry: bool) -> bool {
    let Some(spoken) = shared.network(&to.address.network) else { return false };
    let shown = {
        let (store, folder, number) = (shared.control().store.clone(), state.folder.clone(), to.number);
        blocking(move || Queue::open(&store, &folder).and_then(|queue| queue.entry(number)).ok()).await
    };
    let mut shown = shown.and_then(|entry| entry.shown).map(PostedId);
    let pieces = spoken.network.split(text);
    let last = pieces.len().saturating_sub(1);
    for (at, text) in pieces.into_iter().enumerate() {
        let buttons = match retry && at == last {
            true => vec![render::retry_button(to.number), render::dismiss_button(to.number)],
            false => Vec::new(),
        };
        let nonce = Some(to.nonce(&format!("told {at}")));
        let piece = Post { text, buttons, nonce, reply: at == 0, ..Post::default() };
        match post(shared, &to.address, &piece, shown.take().as_ref(), None).await {
            Ok(_) => {}
            Err(NotPosted::Gone(reason)) => {
                tracing::warn!(session = state.folder, "nobody could be told: {reason}");
                return true;
            }
            Err(NotPosted::Later) => return false,
        }
    }
    true
}

/// Notes what became of a message. What cannot be noted is done again after a
/// crash, which is better than not at all.
pub(super) async fn note(shared: &Shared, state: &WorkerState, number: u64, note: EntryNote) {
    let (store, folder) = (shared.control().store.clone(), state.folder.clone());
    let noted = blocking(move || Queue::open(&store, &folder)?.note(number, &note)).await;
    if let Err(error) = noted {
        tracing::warn!(session = state.folder, "how far a delivery came could not be noted: {error}");
    }
}

/// Removes the entry of a message that is dealt with.
pub(super) async fn let_go(shared: &Shared, state: &WorkerState, number: u64) {
    let (store, folder) = (shared.control().store.clone(), state.folder.clone());
    let removed = blocking(move || Queue::open(&store, &folder)?.discard(number)).await;
    if let Err(error) = removed {
        tracing::warn!(session = state.folder, "an answered message could not be removed: {error}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nonces_are_short_and_their_parts_are_apart() {
        let nonce = super::nonce(&["a", "12", "3"]);
        assert!(nonce.len() <= 25, "{nonce}");
        assert_eq!(nonce, super::nonce(&["a", "12", "3"]));
        assert_ne!(nonce, super::nonce(&["a", "1", "23"]));
    }
}
