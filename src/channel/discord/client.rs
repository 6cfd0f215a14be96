//! Speaking in Discord: messages, edits, files, buttons. Nothing that is posted
//! mentions anybody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::files::form;
use super::rest::{Api, ApiError, Body, id_of};
use super::route;
use super::wire::Id;
use crate::channel::http::HttpResponse;
use crate::channel::text::{split, verbatim};
use crate::channel::{
    BoxFuture, Button, ButtonStyle, ChannelClient, ChannelLimits, DOUBT, Post, PostedId, SendError, Upload,
};
use crate::session::Address;

/// The longest message, in UTF-16 units.
pub(super) const MOST_TEXT: usize = 2000;

/// The largest file that a bot may send.
const MOST_FILE: u64 = 10 << 20;

/// For how long a nonce is known: Discord's reference says "the past few minutes"
/// (Create Message, `enforce_nonce`).
const NONCES_KEPT: Duration = Duration::from_secs(120);

/// How many files fit a message; together they have to fit one request.
const MOST_FILES: usize = 2;

/// The longest label of a button, in characters.
const MOST_LABEL: usize = 80;

/// How much a message may carry beside its text: everything, no nonce, no buttons
/// and no answered message either. Other servers refuse whole messages for a field
/// that they do not know.
const PLAINEST: usize = 2;

/// Discord as it is spoken to.
pub(super) struct DiscordClient {
    api: Arc<Api>,
    owners: Vec<Id>,
    /// How plain a message has to be, up to [`PLAINEST`].
    plain: AtomicUsize,
    /// The direct channel with each owner.
    directs: Mutex<HashMap<Id, Id>>,
}

impl DiscordClient {
    pub(super) fn new(api: Arc<Api>, owners: Vec<Id>) -> Self {
        Self { api, owners, plain: AtomicUsize::new(0), directs: Mutex::new(HashMap::new()) }
    }

    /// Says something with files; where the server refuses it for its form, plainer.
    async fn say(
        &self,
        method: Method,
        path: &str,
        body: impl Fn(usize) -> Value,
        files: &[Upload],
    ) -> Result<HttpResponse, SendError> {
        let mut plain = self.plain.load(Ordering::Relaxed);
        loop {
            let body = if files.is_empty() {
                Body::Json(body(plain))
            } else {
                let (kind, bytes) = form(body(plain), files).await?;
                Body::Form(kind, bytes)
            };
            match self.api.ask(method.clone(), path, body).await {
                Ok(reply) => {
                    self.plain.fetch_max(plain, Ordering::Relaxed);
                    return Ok(reply);
                }
                Err(ApiError::Refused { status: 400, .. }) if plain < PLAINEST && !self.api.url().is_discord => {
                    plain += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn direct(&self, user: &Id) -> Result<Id, ApiError> {
        let known = self.directs.lock().unwrap_or_else(PoisonError::into_inner).get(user).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let body = Body::Json(json!({ "recipient_id": user }));
        let reply = self.api.ask(Method::POST, "/users/@me/channels", body).await?;
        let channel = id_of(&reply).unwrap_or_default();
        self.directs.lock().unwrap_or_else(PoisonError::into_inner).insert(user.clone(), channel.clone());
        Ok(channel)
    }
}

impl ChannelClient for DiscordClient {
    fn limits(&self) -> ChannelLimits {
        ChannelLimits {
            file_bytes: MOST_FILE,
            files: MOST_FILES,
            pace: Duration::from_millis(1500),
            typing: Duration::from_secs(8),
            // Other servers may take a nonce and not keep to it.
            nonces: self.api.url().is_discord.then_some(NONCES_KEPT),
        }
    }

    fn split(&self, text: &str) -> Vec<String> {
        split(text, MOST_TEXT - DOUBT.len())
    }

    fn verbatim(&self, text: &str) -> String {
        verbatim(text)
    }

    fn post<'a>(&'a self, to: &'a Address, post: &'a Post) -> BoxFuture<'a, Result<PostedId, SendError>> {
        Box::pin(async move {
            let path = format!("/channels/{}/messages", checked(&to.channel)?);
            let reply = self.say(Method::POST, &path, |plain| new_body(to, post, plain), &post.files).await?;
            // A server that does not say the id has posted it all the same.
            Ok(PostedId(id_of(&reply).map_or_else(String::new, |id| id.to_string())))
        })
    }

    fn edit<'a>(
        &'a self,
        to: &'a Address,
        posted: &'a PostedId,
        post: &'a Post,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            if posted.0.is_empty() {
                return Err(SendError::Gone("the server did not say which message it is".to_owned()));
            }
            let path = format!("/channels/{}/messages/{}", checked(&to.channel)?, checked(&posted.0)?);
            self.say(Method::PATCH, &path, |plain| body(post, plain), &[]).await?;
            Ok(())
        })
    }

    fn typing<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let path = format!("/channels/{}/typing", checked(&to.channel)?);
            self.api.ask(Method::POST, &path, Body::Nothing).await?;
            Ok(())
        })
    }

    fn tell_owners<'a>(&'a self, text: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for owner in &self.owners {
                let told = async {
                    let channel = self.direct(owner).await?;
                    let to = route::address(&channel, None);
                    for text in self.split(text) {
                        self.post(&to, &Post { text, ..Post::default() }).await?;
                    }
                    Ok::<_, SendError>(())
                };
                if let Err(error) = told.await {
                    tracing::debug!(%owner, %error, "an owner was not told");
                }
            }
        })
    }
}

/// What a new message carries.
fn new_body(to: &Address, post: &Post, plain: usize) -> Value {
    let mut body = body(post, plain);
    if let Some(nonce) = post.nonce.as_ref().filter(|_| plain < 1) {
        body["nonce"] = json!(nonce);
        body["enforce_nonce"] = json!(true);
    }
    if let Some(message) = to.message.as_ref().filter(|_| post.reply && plain < PLAINEST) {
        // A message that was deleted meanwhile is answered without it.
        body["message_reference"] =
            json!({ "message_id": message, "channel_id": to.channel, "fail_if_not_exists": false });
    }
    body
}

/// What is said, to whom it is not said, and the buttons.
fn body(post: &Post, plain: usize) -> Value {
    let mut body = json!({ "content": post.text, "allowed_mentions": { "parse": [] } });
    if plain < PLAINEST {
        let buttons: Vec<Value> = post.buttons.iter().take(5).map(button).collect();
        let rows = if buttons.is_empty() { json!([]) } else { json!([{ "type": 1, "components": buttons }]) };
        body["components"] = rows;
    }
    body
}

fn button(button: &Button) -> Value {
    let style = match button.style {
        ButtonStyle::Primary => 1,
        ButtonStyle::Secondary => 2,
        ButtonStyle::Danger => 4,
    };
    let label: String = button.label.chars().take(MOST_LABEL).collect();
    json!({ "type": 2, "style": style, "label": label, "custom_id": button.id })
}

/// An id that comes from a queue entry, and may have been written by hand.
fn checked(id: &str) -> Result<Id, SendError> {
    Id::new(id).ok_or_else(|| SendError::Gone("it names no channel of Discord".to_owned()))
}
