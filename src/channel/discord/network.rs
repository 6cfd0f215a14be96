//! Speaking in Discord: messages, edits, files, buttons. Nothing that is posted
//! mentions anybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::files::form;
use super::rest::{Api, ApiError, Body, id_of};
use super::route;
use super::wire::Id;
use crate::channel::text::{split, verbatim};
use crate::channel::{BoxFuture, Button, ButtonStyle, DOUBT, Limits, Network, Post, PostedId, SendError};
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

/// Discord as it is spoken to.
pub(super) struct Speaker {
    api: Arc<Api>,
    owners: Vec<Id>,
    /// The direct channel with each owner.
    directs: Mutex<HashMap<Id, Id>>,
}

impl Speaker {
    pub(super) fn new(api: Arc<Api>, owners: Vec<Id>) -> Self {
        Self { api, owners, directs: Mutex::new(HashMap::new()) }
    }

    async fn post_in(&self, channel: &str, body: Value, post: &Post) -> Result<PostedId, SendError> {
        let path = format!("/channels/{}/messages", checked(channel)?);
        let body = if post.files.is_empty() {
            Body::Json(body)
        } else {
            let (kind, bytes) = form(body, &post.files).await?;
            Body::Form(kind, bytes)
        };
        let reply = self.api.ask(Method::POST, &path, body).await?;
        // A server that does not say the id has posted it all the same.
        Ok(PostedId(id_of(&reply).map_or_else(String::new, |id| id.to_string())))
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

impl Network for Speaker {
    fn limits(&self) -> Limits {
        Limits {
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
            let mut body = body(post);
            if let Some(nonce) = &post.nonce {
                body["nonce"] = json!(nonce);
                body["enforce_nonce"] = json!(true);
            }
            if let Some(message) = to.message.as_ref().filter(|_| post.reply) {
                // A message that was deleted meanwhile is answered without it.
                body["message_reference"] =
                    json!({ "message_id": message, "channel_id": to.channel, "fail_if_not_exists": false });
            }
            self.post_in(&to.channel, body, post).await
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
            self.api.ask(Method::PATCH, &path, Body::Json(body(post))).await?;
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

/// What is said, to whom it is not said, and the buttons.
fn body(post: &Post) -> Value {
    let mut body = json!({ "content": post.text, "allowed_mentions": { "parse": [] } });
    let buttons: Vec<Value> = post.buttons.iter().take(5).map(button).collect();
    let rows = if buttons.is_empty() { json!([]) } else { json!([{ "type": 1, "components": buttons }]) };
    body["components"] = rows;
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
