//! Showing a turn while it runs: typing at once, and after a moment one message
//! that is edited at the network's pace.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

use super::context::{ChannelHandle, Shared};
use super::deliver::{self, Sent};
use super::session_state::WorkerState;
use super::{phrases, render};
use crate::channel::{Post, PostedId, SendError};
use crate::session::{EntryNote, Waiting};
use crate::turn::WaitingFor;
use crate::turn::events::{Doing, TurnSoFar};

/// How much of the end of what was said so far is shown, in bytes.
const SHOWN: usize = 6000;

/// After how long something is shown although nothing was said yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is shown of a turn: the last message's worth of what was said so far, and
/// what is done now. Empty if there is nothing to show.
fn body(so_far: &TurnSoFar, split: impl Fn(&str) -> Vec<String>) -> String {
    let mut text = so_far.tail(SHOWN).trim().to_owned();
    match doing(so_far) {
        Some(doing) if text.is_empty() => text = format!("… {doing}"),
        Some(doing) => text = format!("{text}\n\n… {doing}"),
        None => text.push_str(" …"),
    }
    split(text.trim()).pop().unwrap_or_default()
}

fn doing(so_far: &TurnSoFar) -> Option<String> {
    let words = match so_far.doing.as_ref()? {
        Doing::Waiting(WaitingFor::Session(Waiting::Line | Waiting::Lock)) => "waiting: a terminal has this session",
        Doing::Waiting(WaitingFor::Session(Waiting::Ending)) => "waiting: the last turn still ends",
        Doing::Waiting(WaitingFor::Permit) => "waiting: many turns are running",
        Doing::Waiting(WaitingFor::Login) => "waiting: another turn may be renewing the login",
        Doing::Activity(text) => return Some(phrases::one_line(text, 150)),
    };
    Some(words.to_owned())
}

/// Whether there is anything to show yet.
fn is_silent(so_far: &TurnSoFar) -> bool {
    so_far.texts.is_empty() && so_far.part.is_empty() && so_far.doing.is_none()
}

/// Shows a turn until it is over.
pub(super) async fn show(shared: &Shared, state: &Arc<WorkerState>, to: &Sent, mut over: oneshot::Receiver<()>) {
    let Some(ChannelHandle { network, .. }) = shared.network(&to.address.network) else {
        // Nothing can be shown; the turn goes on.
        let _ended = over.await;
        return;
    };
    let limits = network.limits();
    let mut typing = tokio::time::interval(limits.typing.max(Duration::from_secs(1)));
    let mut pace = tokio::time::interval_at(Instant::now() + limits.pace, limits.pace.max(Duration::from_millis(50)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    typing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began = Instant::now();
    // Of this attempt alone: one that is sent again is shown in a message of its own.
    let nonce = to.nonce(&format!("shown {}", jiff::Timestamp::now().as_microsecond()));
    let mut posted: Option<PostedId> = None;
    let mut shown = String::new();
    let mut silent = false;
    // A post whose answer was lost.
    let mut lost: Option<Post> = None;
    loop {
        // Whatever is begun here is finished, so that nothing of it can come
        // after the reply.
        tokio::select! {
            biased;
            _ended = &mut over => {
                // The same nonce gives the message that is already there.
                if let (None, Some(lost)) = (&posted, lost)
                    && let Ok(id) = network.post(&to.address, &lost).await
                {
                    deliver::note(shared, state, to.number, EntryNote::Shown(id.0)).await;
                }
                return;
            }
            _ = typing.tick() => {
                if let Err(error) = network.typing(&to.address).await {
                    tracing::debug!("typing could not be shown: {error}");
                }
            }
            _ = pace.tick(), if !silent => {
                let body = state.events.look(|so_far| {
                    let waits = is_silent(so_far) && began.elapsed() < PATIENCE;
                    (!waits).then(|| body(so_far, |text| network.split(text)))
                });
                let Some(body) = body else { continue };
                if body == shown || body.is_empty() {
                    continue;
                }
                let post = Post {
                    text: body.clone(),
                    buttons: vec![render::stop_button(to.number)],
                    nonce: Some(nonce.clone()),
                    reply: true,
                    ..Post::default()
                };
                let done = match &posted {
                    Some(id) => network.edit(&to.address, id, &post).await,
                    None => match network.post(&to.address, &post).await {
                        Ok(id) => {
                            deliver::note(shared, state, to.number, EntryNote::Shown(id.0.clone())).await;
                            posted = Some(id);
                            Ok(())
                        }
                        Err(error) => Err(error),
                    },
                };
                match done {
                    Ok(()) => shown = body,
                    Err(SendError::Gone(_)) => silent = true,
                    Err(SendError::Later(wait)) => pace.reset_after(wait.max(limits.pace)),
                    Err(SendError::Failed(reason)) => tracing::debug!("progress could not be shown: {reason}"),
                    Err(SendError::Unsure(reason)) => {
                        tracing::debug!("whether progress is shown is not known: {reason}");
                        if posted.is_none() && limits.nonces.is_some() {
                            lost = Some(post);
                        } else if posted.is_none() {
                            // Each try could show another.
                            silent = true;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{TurnEvent, TurnEvents};

    fn shown(events: &TurnEvents) -> String {
        events.look(|so_far| body(so_far, |text| vec![text.to_owned()]))
    }

    #[test]
    fn texts_are_shown_and_what_is_done() {
        let events = TurnEvents::default();
        let hear = |event| events.send(event);
        hear(TurnEvent::Activity("Bash: ls\n-l".to_owned()));
        assert_eq!(shown(&events), "… Bash: ls -l");
        hear(TurnEvent::Delta("He".into()));
        hear(TurnEvent::Delta("llo".into()));
        hear(TurnEvent::Text("Hello".into()));
        hear(TurnEvent::Text("World".into()));
        assert_eq!(shown(&events), "Hello\n\nWorld …");
        hear(TurnEvent::Activity("Read: x".to_owned()));
        assert_eq!(shown(&events), "Hello\n\nWorld\n\n… Read: x");
    }

    #[test]
    fn of_a_flood_only_the_end_is_shown() {
        let events = TurnEvents::default();
        (0..10_000).for_each(|_| events.send(TurnEvent::Delta("überlang ".into())));
        assert!(shown(&events).len() <= SHOWN + 10);
    }
}
