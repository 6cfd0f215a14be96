//! Commands and buttons: who may, which session it is about, and how to answer.
//!
//! Whoever gives a command is checked here by the interaction's user, whatever
//! the server let that person see.

use std::sync::Arc;

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::client::MOST_TEXT;
use super::rest::{Api, ApiError, Body};
use super::route::{self, ChannelRef};
use super::section::Section;
use super::wire::{Id, Interaction};
use crate::channel::text::split;
use crate::channel::{AccessRole, Answer, BoxFuture, ChannelEvent, Invoked, Pressed, SendError};

/// Only the person who asked sees it.
const EPHEMERAL: u64 = 1 << 6;

/// How many messages an answer may have.
const MOST_PIECES: usize = 5;

/// What reads interactions.
#[derive(Debug, Default)]
pub(super) struct Interactions {
    pub(super) application: Id,
}

impl Interactions {
    /// What an interaction is. Who may not is told so, and nobody else.
    pub(super) fn read(
        &self,
        api: &Arc<Api>,
        section: &Section,
        place: &ChannelRef,
        interaction: &Interaction,
        paired: &dyn Fn(&Id) -> bool,
    ) -> Option<ChannelEvent> {
        let user = interaction.by()?;
        let roles = interaction.member.as_ref().map_or(&[][..], |member| &member.roles);
        let answer = Arc::new(InteractionReply {
            api: Arc::clone(api),
            application: interaction.application_id.clone().unwrap_or_else(|| self.application.clone()),
            id: interaction.id.clone(),
            token: escaped(&interaction.token),
            state: Mutex::new(InteractionState::Fresh),
        });
        let approver = section.approvers.contains(&user.id);
        let standing = route::standing(section, place, &user.id, roles, paired);
        // Who may only answer for the owner may press, and not command.
        let standing = standing.or((approver && interaction.kind == 3).then_some(AccessRole::Talker));
        let key = route::key(section, place, user);
        let (Some(standing), Ok(key), true) = (standing, key, route::listens(section, place)) else {
            if matches!(interaction.kind, 2 | 3) {
                tokio::spawn(async move { answer.reply("You may not do that here.", true).await });
            }
            return None;
        };
        let by = route::author(user);
        match interaction.kind {
            2 => Some(ChannelEvent::Command(Invoked {
                title: route::title(section, place, user),
                key,
                by,
                standing,
                name: interaction.data.name.clone(),
                args: interaction
                    .data
                    .options
                    .iter()
                    .map(|option| (option.name.clone(), words(&option.value)))
                    .collect(),
                address: route::address(&place.id, None),
                answer,
            })),
            3 => Some(ChannelEvent::Button(Pressed {
                id: interaction.data.custom_id.clone(),
                key,
                by,
                standing,
                approver,
                address: route::address(&place.id, interaction.message.as_ref().map(|message| &message.id)),
                answer,
            })),
            _ => None,
        }
    }
}

/// An argument as text, whatever it came as.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A token in a path. Most of what tokens are made of needs nothing.
fn escaped(token: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~=:".contains(&byte);
    token.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// How far an interaction was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InteractionState {
    Fresh,
    /// An answer was promised, and is put in the place of the promise.
    Promised,
    /// It was heard, or answered: what comes now is a message of its own.
    Heard,
}

/// Answers one interaction.
#[derive(Debug)]
struct InteractionReply {
    api: Arc<Api>,
    application: Id,
    id: Id,
    token: String,
    state: Mutex<InteractionState>,
}

impl InteractionReply {
    async fn call_back(&self, body: Value) -> Result<(), ApiError> {
        let path = format!("/interactions/{}/{}/callback", self.id, self.token);
        self.api.ask(Method::POST, &path, Body::Json(body)).await.map(drop)
    }

    async fn say(&self, state: InteractionState, text: &str, ephemeral: bool) -> Result<(), ApiError> {
        let flags = if ephemeral { EPHEMERAL } else { 0 };
        let data = json!({ "content": text, "flags": flags, "allowed_mentions": { "parse": [] } });
        let base = format!("/webhooks/{}/{}", self.application, self.token);
        match state {
            InteractionState::Fresh => self.call_back(json!({ "type": 4, "data": data })).await,
            InteractionState::Promised => {
                let data = json!({ "content": text, "allowed_mentions": { "parse": [] } });
                let path = format!("{base}/messages/@original");
                self.api.ask(Method::PATCH, &path, Body::Json(data)).await.map(drop)
            }
            InteractionState::Heard => self.api.ask(Method::POST, &base, Body::Json(data)).await.map(drop),
        }
    }
}

impl Answer for InteractionReply {
    fn defer(&self, ephemeral: bool) -> BoxFuture<'_, Result<(), SendError>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            if *state != InteractionState::Fresh {
                return Ok(());
            }
            let flags = if ephemeral { EPHEMERAL } else { 0 };
            self.call_back(json!({ "type": 5, "data": { "flags": flags } })).await?;
            *state = InteractionState::Promised;
            Ok(())
        })
    }

    fn acknowledge(&self) -> BoxFuture<'_, Result<(), SendError>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            if *state == InteractionState::Fresh {
                self.call_back(json!({ "type": 6 })).await?;
                *state = InteractionState::Heard;
            }
            Ok(())
        })
    }

    fn reply<'a>(&'a self, text: &'a str, ephemeral: bool) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let mut pieces = split(text, MOST_TEXT);
            if pieces.is_empty() {
                pieces.push("Done.".to_owned());
            }
            if pieces.len() > MOST_PIECES {
                pieces.truncate(MOST_PIECES);
                if let Some(last) = pieces.last_mut() {
                    *last = "… the rest is left out".to_owned();
                }
            }
            for piece in pieces {
                self.say(*state, &piece, ephemeral).await?;
                *state = InteractionState::Heard;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stays_in_its_place() {
        assert_eq!(escaped("aW50ZXJh-Y3Rpb246_x.y="), "aW50ZXJh-Y3Rpb246_x.y=");
        assert_eq!(escaped("../../users/@me?x#y"), "..%2F..%2Fusers%2F%40me%3Fx%23y");
    }

    #[test]
    fn arguments_are_text() {
        assert_eq!(words(&json!("a b")), "a b");
        assert_eq!(words(&json!(1_573_601_509_734_655_098_u64)), "1573601509734655098");
        assert_eq!(words(&Value::Null), "");
    }
}
