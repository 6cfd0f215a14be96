//! Questions of an agent for permission: asked in the channel, answered by a
//! button, for one use only. Whoever else answers one is as good.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::context::{ChannelHandle, Shared, blocking};
use super::phrases;
use super::questions::{OVER, PutQuestion, QuestionGuard};
use super::session_state::WorkerState;
use crate::channel::{Button, ButtonStyle, ChannelClient, Post, PostedId, Pressed};
use crate::config::value::written_span;
use crate::ops::{Approver, ControlError};
use crate::session::{Address, AnswerOutcome, Question};
use crate::turn::TurnEvent;
use crate::turn::approval::{Decision, NOBODY};
use crate::turn::events::{Subscription, TurnUpdate, Verdict};

/// How much of a question is shown, in characters. What is longer is denied:
/// nobody can allow what they have not seen.
const MOST_SHOWN: usize = 6000;

/// A button was pressed. What the person is told; `None` if the message itself
/// will say it.
///
/// # Errors
/// If the decision cannot be written down.
pub(super) async fn press(shared: &Shared, pressed: &Pressed) -> Result<Option<String>, ControlError> {
    let (question, allow) = match shared.questions.pressed(pressed) {
        Ok(decided) => decided,
        Err(told) => return Ok(Some(told.to_owned())),
    };
    let name = phrases::one_line(&pressed.by.name, 60);
    let decision = if allow { Decision::Allow } else { Decision::Deny(format!("{name} denied it")) };
    let approver = Approver::Chat { name, may_decide: pressed.approver };
    Ok(match decide(shared, question, decision, approver).await? {
        AnswerOutcome::Counts => None,
        AnswerOutcome::Decided(answer) => {
            let verdict = if answer.allow { "allowed" } else { "denied" };
            Some(format!("{} {verdict} this already.", phrases::one_line(&answer.by, 60)))
        }
        AnswerOutcome::Over => Some(OVER.to_owned()),
    })
}

async fn decide(
    shared: &Shared,
    question: Arc<Question>,
    decision: Decision,
    approver: Approver,
) -> Result<AnswerOutcome, ControlError> {
    let control = shared.control();
    blocking(move || control.decide(&question, decision, &approver)).await
}

/// Puts in the channel what a turn asks, until the turn is over.
pub(super) async fn attend(
    shared: &Shared,
    state: &Arc<WorkerState>,
    to: &Address,
    mut heard: Subscription,
    mut over: oneshot::Receiver<()>,
) {
    let mut asked: HashMap<u32, oneshot::Sender<Verdict>> = HashMap::new();
    let mut last = 0;
    let mut open = JoinSet::new();
    loop {
        let update = tokio::select! {
            biased;
            update = heard.next(|so_far| (so_far.questions.clone(), so_far.verdicts.clone())) => update,
            _ended = &mut over => break,
        };
        let (questions, verdicts) = match update {
            Some(TurnUpdate::Event(TurnEvent::Asked(question))) => (vec![question], Vec::new()),
            Some(TurnUpdate::Event(TurnEvent::Decided { number, verdict })) => (Vec::new(), vec![(number, verdict)]),
            Some(TurnUpdate::Event(_)) => continue,
            Some(TurnUpdate::Missed((questions, verdicts))) => {
                (questions.into_values().collect(), verdicts.into_iter().collect())
            }
            None => break,
        };
        for question in questions {
            if question.number <= last {
                continue;
            }
            last = question.number;
            let (tell, told) = oneshot::channel();
            asked.insert(question.number, tell);
            open.spawn(one(shared.clone(), state.clone(), to.clone(), question, told));
        }
        for (number, verdict) in verdicts {
            if let Some(tell) = asked.remove(&number) {
                // It may have been given up.
                let _told = tell.send(verdict);
            }
        }
        while open.try_join_next().is_some() {}
    }
    // Each sees that nobody waits for its answer, and says so in its message.
    asked.clear();
    while open.join_next().await.is_some() {}
}

async fn one(
    shared: Shared,
    state: Arc<WorkerState>,
    to: Address,
    question: Arc<Question>,
    verdict: oneshot::Receiver<Verdict>,
) {
    // This is finished in any case, so that no button is left that nobody takes away.
    let (posted, text, _put) = match put(&shared, &state, &to, &question).await {
        Ok(posted) => posted,
        Err(words) => {
            let denied = decide(&shared, question, Decision::Deny(words.to_owned()), Approver::Denizen).await;
            if let Err(error) = denied {
                tracing::warn!(session = state.folder, "a question for permission could not be denied: {error}");
            }
            return;
        }
    };
    shared.note(&state.folder, "the agent asks for permission");
    let became = match verdict.await.unwrap_or(Verdict::Over) {
        Verdict::Allowed { by } => format!("✅ Allowed by {}, this once.", phrases::one_line(&by, 60)),
        Verdict::Denied { by } => format!("⛔ Denied by {}.", phrases::one_line(&by, 60)),
        Verdict::TimedOut(within) => format!("⛔ Denied: nobody decided within {}.", written_span(within)),
        Verdict::Over => "No longer asked: the turn has ended.".to_owned(),
    };
    shared.note(&state.folder, &format!("a question for permission came to its end: {became}"));
    let Some(ChannelHandle { network, .. }) = shared.network(&to.network) else { return };
    close(&*network, &to, &posted, &text, &became).await;
}

/// Posts a question with its buttons. The error is what the agent is told if
/// nobody can see it.
async fn put<'a>(
    shared: &'a Shared,
    state: &WorkerState,
    to: &Address,
    question: &Arc<Question>,
) -> Result<(PostedId, String, QuestionGuard<'a>), &'static str> {
    let Some(ChannelHandle { network, .. }) = shared.network(&to.network) else { return Err(NOBODY) };
    let shown = network.verbatim(&question.detail);
    let tool = phrases::one_line(&question.tool, 80);
    let mut pieces = network.split(&format!("The agent asks for permission: {tool}\n{shown}"));
    if question.detail.chars().count() > MOST_SHOWN || pieces.is_empty() {
        return Err("it is too long to be shown to a person");
    }
    let id = Uuid::new_v4().simple().to_string();
    let button =
        |choice: &str, label: &str, style| Button { id: format!("ask:{id}:{choice}"), label: label.to_owned(), style };
    let buttons = vec![button("allow", "Allow", ButtonStyle::Primary), button("deny", "Deny", ButtonStyle::Danger)];
    let (key, channel) = (state.key.clone(), to.channel.clone());
    let put = shared.questions.put(id, PutQuestion { key, channel, message: None, question: question.clone() });
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let post = Post { text: piece, ..Post::default() };
        network.post(to, &post).await.map_err(|_| NOBODY)?;
    }
    let post = Post { text: last.clone(), buttons, ..Post::default() };
    let posted = network.post(to, &post).await.map_err(|error| {
        tracing::warn!(session = state.folder, "a question for permission could not be asked: {error}");
        NOBODY
    })?;
    put.is_in(&posted.0);
    Ok((posted, last, put))
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
