//! Questions of an agent for permission: asked in the channel, decided by a
//! button, for one use only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::context::{ChannelHandle, Shared};
use super::phrases;
use super::session_worker::WorkerState;
use crate::channel::{Button, ButtonStyle, ChannelClient, Post, PostedId, Pressed};
use crate::config::value::written_span;
use crate::key::Key;
use crate::session::Address;
use crate::turn::approval::{Decision, PermissionAsk};

/// How much of a question is shown, in characters. What is longer is denied:
/// nobody can allow what they have not seen.
const MOST_SHOWN: usize = 6000;

/// The questions that wait for an answer, by the random id of their buttons.
#[derive(Debug, Default)]
pub(super) struct OpenQuestions(Mutex<HashMap<String, Open>>);

/// A question that waits for an answer.
#[derive(Debug)]
struct Open {
    key: Key,
    channel: String,
    /// The message with the buttons, once it is known.
    message: Option<String>,
    decide: oneshot::Sender<Decided>,
}

/// A decision, and whose it was.
#[derive(Debug)]
struct Decided {
    allow: bool,
    by: String,
}

impl OpenQuestions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A button was pressed. What the person is told; `None` if the message
    /// itself will say it. The button counts only on the message it was made
    /// for, in its session, once, and only for somebody who may decide.
    pub(super) fn press(&self, pressed: &Pressed) -> Option<&'static str> {
        const OVER: &str = "This is no longer asked.";
        let Some((id, choice)) = pressed.id.strip_prefix("ask:").and_then(|rest| rest.split_once(':')) else {
            return Some(OVER);
        };
        let allow = match choice {
            "allow" => true,
            "deny" => false,
            _ => return Some(OVER),
        };
        let mut open = self.lock();
        let Some(question) = open.get(id) else { return Some(OVER) };
        let same_message = question.message.is_none() || question.message == pressed.address.message;
        if question.key != pressed.key || question.channel != pressed.address.channel || !same_message {
            return Some(OVER);
        }
        if !pressed.approver {
            return Some("Only an owner can decide this.");
        }
        let Some(question) = open.remove(id) else { return Some(OVER) };
        let decided = Decided { allow, by: pressed.by.name.clone() };
        // Where nobody waits for it any more, the message says so.
        let _over = question.decide.send(decided);
        None
    }
}

/// Forgets a question when it is dropped, however that comes about.
struct QuestionGuard<'a> {
    questions: &'a OpenQuestions,
    id: &'a str,
}

impl Drop for QuestionGuard<'_> {
    fn drop(&mut self) {
        self.questions.lock().remove(self.id);
    }
}

/// Asks what a turn wants to know, until the turn is over.
pub(super) async fn attend(
    shared: &Shared,
    state: &Arc<WorkerState>,
    to: &Address,
    mut asks: mpsc::Receiver<PermissionAsk>,
) {
    let mut open = JoinSet::new();
    while let Some(ask) = asks.recv().await {
        open.spawn(one(shared.clone(), state.clone(), to.clone(), ask));
        while open.try_join_next().is_some() {}
    }
    // Each sees that nobody waits for its answer, and says so in its message.
    while open.join_next().await.is_some() {}
}

async fn one(shared: Shared, state: Arc<WorkerState>, to: Address, ask: PermissionAsk) {
    let PermissionAsk { request, mut decide } = ask;
    let Some(ChannelHandle { network, approval_timeout, .. }) = shared.network(&to.network) else { return };
    let shown = network.verbatim(&request.detail);
    let tool = phrases::one_line(&request.tool, 80);
    let head = format!("The agent asks for permission: {tool}");
    let mut pieces = network.split(&format!("{head}\n{shown}"));
    if request.detail.chars().count() > MOST_SHOWN || pieces.is_empty() {
        let _over = decide.send(Decision::Deny("it is too long to be shown to a person".to_owned()));
        return;
    }
    let id = Uuid::new_v4().simple().to_string();
    let button =
        |choice: &str, label: &str, style| Button { id: format!("ask:{id}:{choice}"), label: label.to_owned(), style };
    let buttons = vec![button("allow", "Allow", ButtonStyle::Primary), button("deny", "Deny", ButtonStyle::Danger)];
    let (decider, decided) = oneshot::channel();
    let open = Open { key: state.key.clone(), channel: to.channel.clone(), message: None, decide: decider };
    shared.questions.lock().insert(id.clone(), open);
    let _asked = QuestionGuard { questions: &shared.questions, id: &id };
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let post = Post { text: piece, ..Post::default() };
        if network.post(&to, &post).await.is_err() {
            return;
        }
    }
    let post = Post { text: last.clone(), buttons, ..Post::default() };
    let posted = match network.post(&to, &post).await {
        Ok(posted) => posted,
        Err(error) => {
            tracing::warn!(session = state.folder, "a question for permission could not be asked: {error}");
            return;
        }
    };
    if let Some(open) = shared.questions.lock().get_mut(&id) {
        // Where the network does not name it, its one-time id is all that is known of it.
        open.message = Some(posted.0.clone()).filter(|id| !id.is_empty());
    }
    shared.note(&state.folder, "the agent asks for permission");
    let became = tokio::select! {
        decided = decided => match decided {
            Ok(Decided { allow, by }) => {
                let by = phrases::one_line(&by, 60);
                let (decision, became) = if allow {
                    (Decision::Allow, format!("✅ Allowed by {by}, this once."))
                } else {
                    (Decision::Deny(format!("{by} denied it")), format!("⛔ Denied by {by}."))
                };
                match decide.send(decision) {
                    Ok(()) => became,
                    Err(_) => over(),
                }
            }
            Err(_) => over(),
        },
        () = decide.closed() => over(),
        () = tokio::time::sleep(approval_timeout) => {
            let within = written_span(approval_timeout);
            let _over = decide.send(Decision::Deny(format!("nobody decided within {within}")));
            format!("⛔ Denied: nobody decided within {within}.")
        }
    };
    shared.note(&state.folder, &format!("a question for permission came to its end: {became}"));
    close(&*network, &to, &posted, &last, &became).await;
}

fn over() -> String {
    "No longer asked: the turn has ended.".to_owned()
}

/// Takes the buttons away and says what became of the question.
async fn close(network: &dyn ChannelClient, to: &Address, posted: &PostedId, text: &str, became: &str) {
    let text = network.split(&format!("{text}\n{became}"));
    // Where both do not fit, what became of it is what counts.
    let text = if let [one] = text.as_slice() { one.clone() } else { became.to_owned() };
    if let Err(error) = network.edit(to, posted, &Post { text, ..Post::default() }).await {
        tracing::warn!("a question for permission could not be closed: {error}");
    }
}
