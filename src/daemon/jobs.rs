//! Doing what a lane has to do: a turn, a delivery, a word about an interruption.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::context::{Shared, blocking};
use super::deliver::{self, Sent};
use super::session_state::{Running, Work, WorkerState};
use super::{approvals, phrases, progress};
use crate::causes::with_causes;
use crate::ops::{ControlError, Delivery, Held, SendOptions, Unrecorded, Wait};
use crate::session::{EntryNote, Queue};
use crate::turn::TurnError;

/// Does one thing.
pub(super) async fn work(shared: Shared, state: Arc<WorkerState>, work: Work) {
    match work {
        Work::Turn(held) => turn(&shared, &state, *held).await,
        Work::Deliver(number) => deliver::reply(&shared, &state, number, true).await,
        Work::Tell(number) => tell_interrupted(&shared, &state, number).await,
    }
    // Nobody waits for it.
    let store = shared.control().store.clone();
    let _removing = tokio::task::spawn_blocking(move || store.empty_discarded());
}

/// Takes the turn of a message, and delivers what comes of it.
async fn turn(shared: &Shared, state: &Arc<WorkerState>, held: Held) {
    let number = held.number();
    let message = held.message().clone();
    // What has no address came from a terminal, and is sent again there.
    let Some(address) = message.reply.clone() else { return };
    let owner = message.session.map_or_else(|| state.key.to_string(), |uuid| uuid.to_string());
    let to = Sent { address, owner, number };
    let interrupt = Arc::new(Notify::new());
    state.run(Some(Running { number, interrupt: interrupt.clone() }));
    let began = Instant::now();
    let Some(result) = answer(shared, state, held, &to, &interrupt).await else {
        shared.note(&state.folder, "left for the next start");
        return;
    };
    let took = began.elapsed().as_secs_f32();
    // From here on there is nothing to stop.
    state.run(None);
    match result {
        Ok(mut delivery) => {
            shared.note(&state.folder, &outcome(&delivery, took));
            for notice in delivery.take_notices() {
                tracing::warn!(session = state.folder, "{notice}");
            }
            match blocking(move || delivery.deliver_later()).await {
                None => deliver::reply(shared, state, number, false).await,
                Some(unrecorded) => deliver::unrecorded(shared, state, &to, unrecorded).await,
            }
        }
        Err(error @ ControlError::Gone(_)) => {
            // The entry stays, listed for the owner.
            let text = format!("⚠ {}", phrases::failed(&error));
            tracing::warn!(session = state.folder, "{error}");
            if deliver::told(shared, state, &to, &text, false).await {
                deliver::note(shared, state, number, EntryNote::Told(crate::session::now())).await;
            }
        }
        Err(error) => {
            shared.note(&state.folder, "a message could not be answered");
            let reason = Some(phrases::failed(&error));
            deliver::unrecorded(shared, state, &to, Unrecorded { text: String::new(), reason }).await;
        }
    }
}

/// The turn itself, shown while it runs. `None` if it had not begun when the
/// daemon was asked to leave: the message then waits for the next start.
async fn answer(
    shared: &Shared,
    state: &Arc<WorkerState>,
    held: Held,
    to: &Sent,
    interrupt: &Notify,
) -> Option<Result<Delivery, ControlError>> {
    let control = shared.control();
    let events = &state.events;
    events.begin();
    let heard = events.subscribe();
    // Dropped at the end, so that whoever watches knows that the turn is over.
    let (showing, shown_until) = oneshot::channel();
    let (attending, attended_until) = oneshot::channel();
    let patience = shared.network(&to.address.network).map_or(Duration::MAX, |spoken| spoken.approval_timeout);
    let turn = async move {
        let _watched: (oneshot::Sender<()>, oneshot::Sender<()>) = (showing, attending);
        let options = SendOptions { stream: true, interrupt, approvals: Some(patience) };
        let mut wait = Wait { limit: None, events };
        let leaves = async {
            shared.leaving().await;
            if events.look(|so_far| so_far.attempt > 0) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            result = control.answer(held, options, &mut wait) => Some(result),
            () = leaves => None,
        }
    };
    let show = progress::show(shared, state, to, shown_until);
    let attend = approvals::attend(shared, state, &to.address, heard, attended_until);
    let (result, (), ()) = tokio::join!(turn, show, attend);
    result
}

/// One line for the log, without anything that was said.
fn outcome(delivery: &Delivery, took: f32) -> String {
    match &delivery.result {
        Ok(reply) => {
            let usage = reply.usage;
            format!(
                "turn {} answered by {} in {took:.1}s, {} tokens in, {} out",
                reply.turn, reply.provider, usage.input_tokens, usage.output_tokens
            )
        }
        Err(TurnError::Provider { provider, failure }) => {
            format!("turn failed at {provider} after {took:.1}s: {:?}", failure.kind)
        }
        Err(error) => format!("turn failed after {took:.1}s: {}", with_causes(error)),
    }
}

/// Tells the author of a message once that its turn was interrupted.
async fn tell_interrupted(shared: &Shared, state: &Arc<WorkerState>, number: u64) {
    let entry = {
        let (store, folder) = (shared.control().store.clone(), state.folder.clone());
        blocking(move || Queue::open(&store, &folder)?.entry(number)).await
    };
    let Ok(entry) = entry else { return };
    let (Some(address), false, false) = (entry.message.reply.clone(), entry.told, entry.answered.is_some()) else {
        return;
    };
    let owner = entry.message.session.map_or_else(|| state.key.to_string(), |uuid| uuid.to_string());
    let to = Sent { address, owner, number };
    if deliver::told(shared, state, &to, phrases::INTERRUPTED, true).await {
        deliver::note(shared, state, number, EntryNote::Told(crate::session::now())).await;
        shared.note(&state.folder, "an interrupted turn was reported");
    }
}
