//! Commands and buttons: each acts on the session of the place it was given in,
//! and on no other. What there is, and who may give it, is in
//! [`crate::ops::commands`]; what is done is done by [`Control`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::context::{Shared, blocking};
use super::event::LoopEvent;
use super::session_state::WorkerState;
use super::{approvals, phrases, render, replies};
use crate::channel::{AccessRole, Answer, Invoked, Pressed};
use crate::key::Key;
use crate::ops::commands::{CommandSpec, MayGive, find, help};
use crate::ops::{Control, ControlError, SendOptions, Wait};
use crate::session::Address;
use crate::turn::TurnEvents;

/// How long a command waits for its session. Networks take an answer for a
/// quarter of an hour.
const PATIENCE: Duration = Duration::from_secs(14 * 60);

/// A command, with what it acts on.
pub(super) struct Given {
    pub(super) shared: Shared,
    /// The lane of its session, where one is active.
    pub(super) state: Option<Arc<WorkerState>>,
    pub(super) invoked: Invoked,
}

/// Carries out a command and answers it.
pub(super) async fn command(given: Given) {
    let invoked = &given.invoked;
    let answer = invoked.answer.clone();
    let Some(spec) = find(&invoked.name) else {
        return reply(&*answer, &format!("There is no command `/{}`.", phrases::one_line(&invoked.name, 40)), true)
            .await;
    };
    if spec.who == MayGive::Owners && invoked.standing != AccessRole::Owner {
        return reply(&*answer, phrases::NOT_ALLOWED, true).await;
    }
    if let Err(error) = answer.defer(spec.ephemeral).await {
        tracing::warn!("a command could not be acknowledged: {error}");
    }
    given.shared.note(&invoked.key.folder_name(), &format!("/{}", spec.name));
    let text = in_words(given.carry_out(spec).await);
    reply(&*answer, &text, spec.ephemeral).await;
}

/// Carries out what a button says.
pub(super) async fn button(shared: Shared, state: Option<Arc<WorkerState>>, pressed: Pressed) {
    let answer = pressed.answer.clone();
    let number = |what: &str| pressed.id.strip_prefix(what).and_then(|number| number.parse::<u64>().ok());
    if pressed.id.starts_with("ask:") {
        return match approvals::press(&shared, &pressed).await {
            Ok(None) => acknowledge(&*answer).await,
            Ok(Some(text)) => reply(&*answer, &text, true).await,
            Err(error) => reply(&*answer, &in_words(Err(error)), true).await,
        };
    }
    if let Some(number) = number("stop:") {
        return if state.is_some_and(|state| state.interrupt(Some(number))) {
            acknowledge(&*answer).await;
        } else {
            reply(&*answer, "This has ended already.", true).await;
        };
    }
    if let Some(number) = number("retry:") {
        if let Err(error) = answer.defer(true).await {
            tracing::warn!("a button could not be acknowledged: {error}");
        }
        let again = Again { shared: &shared, state: state.as_deref(), key: &pressed.key, address: &pressed.address };
        let text = in_words(again.entry(number).await.map(|()| "It is sent again.".to_owned()));
        return reply(&*answer, &text, true).await;
    }
    if let Some(number) = number("dismiss:") {
        let dismissed = read(shared.control(), &pressed.key, move |control, key| {
            Ok(replies::dismissed(&control.dismiss(key, Some(number))?))
        });
        return reply(&*answer, &in_words(dismissed.await), true).await;
    }
    reply(&*answer, "This button is of an earlier version.", true).await;
}

/// What came of something, or why nothing did.
fn in_words(result: Result<String, ControlError>) -> String {
    result.unwrap_or_else(|error| render::failed(&phrases::failed(&error)))
}

async fn reply(answer: &dyn Answer, text: &str, ephemeral: bool) {
    if let Err(error) = answer.reply(text, ephemeral).await {
        tracing::warn!("a command could not be answered: {error}");
    }
}

async fn acknowledge(answer: &dyn Answer) {
    if let Err(error) = answer.acknowledge().await {
        tracing::warn!("a button could not be acknowledged: {error}");
    }
}

impl Given {
    async fn carry_out(&self, spec: &CommandSpec) -> Result<String, ControlError> {
        let key = &self.invoked.key;
        let control = self.shared.control();
        let asked = |name: &str| self.asked(name);
        match spec.name {
            "help" => Ok(help(self.invoked.standing == AccessRole::Owner)),
            "status" => read(control, key, |control, key| Ok(replies::status(&control.status(key)?))).await,
            "cost" => read(control, key, |control, key| Ok(replies::cost(&control.status(key)?.record))).await,
            "pending" if asked("do") == Some("dismiss") => {
                read(control, key, |control, key| Ok(replies::dismissed(&control.dismiss(key, None)?))).await
            }
            "pending" => {
                read(control, key, |control, key| Ok(replies::pending(&control.pending(&key.folder_name())?))).await
            }
            "sessions" => {
                let pattern = asked("pattern").map(str::to_owned);
                read(control, key, move |control, _| Ok(replies::sessions(&control.list()?, pattern.as_deref()))).await
            }
            "stop" => self.stop(control).await,
            "retry" => {
                let again =
                    Again { shared: &self.shared, state: self.state.as_deref(), key, address: &self.invoked.address };
                again.any().await?;
                Ok("It is sent again.".to_owned())
            }
            "compact" => self.compact(&control).await,
            _ => self.change(spec, &control).await,
        }
    }

    /// The commands that change the session under its lock.
    async fn change(&self, spec: &CommandSpec, control: &Control) -> Result<String, ControlError> {
        let key = &self.invoked.key;
        let wait = &mut Wait { limit: Some(PATIENCE), events: &TurnEvents::default() };
        let asked = |name: &str| self.asked(name);
        let changed = match (spec.name, asked(spec.args.first().map_or("", |arg| arg.name))) {
            ("new", _) => control.new_conversation(key, wait).await?,
            ("resume", None) => return Ok(replies::conversations(&control.status(key)?.record)),
            ("resume", Some(wanted)) => control.resume(key, wanted, wait).await?,
            ("fork", Some(new)) => {
                let new: Key = new.parse().map_err(|error: crate::key::KeyError| bad(error.to_string()))?;
                control.fork(key, &new, wait).await?
            }
            ("cd", None) => return Ok(format!("It works in `{}`.", control.working_dir(key)?.display())),
            ("cd", Some("home")) => control.change_dir(key, None, wait).await?,
            ("cd", Some(dir)) => control.change_dir(key, Some(&self.directory(control, dir)?), wait).await?,
            ("name", title) => control.rename(key, title.unwrap_or_default(), wait).await?,
            ("model" | "mode" | "provider", None) => return Ok(replies::settings(&control.status(key)?)),
            ("mode", value) => control.set(key, "permission_mode", value, wait).await?,
            (name @ ("model" | "provider"), value) => {
                control.set(key, name, value.filter(|value| *value != "default"), wait).await?
            }
            (name, _) => return Err(bad(format!("`/{name}` needs more than that"))),
        };
        let mut text = replies::changed(spec.name, &changed.record);
        for notice in changed.notices {
            text.push_str(&format!("\nNote: {notice}"));
        }
        Ok(text)
    }

    /// A directory as it is written in a chat: absolute, or below home.
    fn directory(&self, control: &Control, text: &str) -> Result<PathBuf, ControlError> {
        let home = control.setup.home.as_deref();
        let dir = crate::config::value::absolute(text, Path::new("/"), home).map_err(bad)?;
        if text.starts_with(['/', '~']) { Ok(dir) } else { Err(bad(format!("`{text}` is not an absolute directory"))) }
    }

    async fn stop(&self, control: Arc<Control>) -> Result<String, ControlError> {
        if self.state.as_ref().is_some_and(|state| state.interrupt(None)) {
            return Ok("Stopping.".to_owned());
        }
        let key = self.invoked.key.clone();
        // What a terminal runs in it.
        let stopped = blocking(move || control.stop(&key)).await?;
        Ok(if stopped { "Stopped." } else { "Nothing is running here." }.to_owned())
    }

    async fn compact(&self, control: &Control) -> Result<String, ControlError> {
        let mut wait = Wait { limit: Some(PATIENCE), events: &TurnEvents::default() };
        let interrupt = Notify::new();
        let options = SendOptions { stream: false, interrupt: &interrupt, approvals: None };
        let compacted = tokio::select! {
            compacted = control.compact(&self.invoked.key, options, &mut wait) => compacted?,
            () = self.shared.leaving() => return Err(bad("I am just leaving".to_owned())),
        };
        let said = phrases::one_line(&compacted.text, 500);
        Ok(if said.is_empty() { "The conversation is compacted.".to_owned() } else { said })
    }

    /// What was said with the command, if it is not empty.
    fn asked(&self, name: &str) -> Option<&str> {
        let mut args = self.invoked.args.iter();
        args.find(|(known, _)| known == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }
}

/// Reads something off the loop: it may be much.
async fn read(
    control: Arc<Control>,
    key: &Key,
    look: impl FnOnce(&Control, &Key) -> Result<String, ControlError> + Send + 'static,
) -> Result<String, ControlError> {
    let key = key.clone();
    blocking(move || look(&control, &key)).await
}

fn bad(text: String) -> ControlError {
    ControlError::Message(text)
}

/// Sending something again.
struct Again<'a> {
    shared: &'a Shared,
    state: Option<&'a WorkerState>,
    key: &'a Key,
    address: &'a Address,
}

impl Again<'_> {
    /// What was not answered, whichever it is.
    async fn any(&self) -> Result<(), ControlError> {
        if self.state.is_some_and(WorkerState::has_turns) {
            return Err(bad("something is running here already".to_owned()));
        }
        let mut wait = Wait { limit: Some(PATIENCE), events: &TurnEvents::default() };
        let interrupt = Notify::new();
        let control = self.shared.control();
        let held = control.unanswered(self.key, Some(self.address.clone()), &interrupt, &mut wait).await?;
        self.send(held).await
    }

    /// The message of one entry: where it was interrupted, or its turn was the
    /// last of its session, and failed.
    async fn entry(&self, number: u64) -> Result<(), ControlError> {
        let control = self.shared.control();
        if let Some(held) = control.take_over_unanswered(self.key, number)? {
            return self.send(held).await;
        }
        let workspace = control.store.find(self.key)?;
        if workspace.and_then(|workspace| workspace.last_recorded()) != Some(number) {
            return Err(ControlError::Nothing(
                "something else was asked here since, so this is not sent again".to_owned(),
            ));
        }
        self.any().await
    }

    async fn send(&self, mut held: crate::ops::Held) -> Result<(), ControlError> {
        if held.message().reply.is_none() {
            held.answer_to(self.address.clone())?;
        }
        let _gone = self.shared.events.send(LoopEvent::Again(Box::new(held))).await;
        Ok(())
    }
}
