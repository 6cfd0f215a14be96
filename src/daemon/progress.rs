//! Showing a turn while it runs: typing at once, and after a moment one message
//! that is edited at the network's pace.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::context::{ChannelHandle, Shared};
use super::deliver::{self, Sent};
use super::session_worker::WorkerState;
use super::{phrases, render};
use crate::channel::{Post, PostedId, SendError};
use crate::session::{EntryNote, Waiting};
use crate::turn::TurnEvent;

/// How much of the end of what was said so far is shown, in bytes.
const SHOWN: usize = 6000;

/// After how long something is shown although nothing was said yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a reply that is being made.
#[derive(Debug, Default)]
pub(super) struct ReplyDraft {
    text: String,
    /// Whether parts of the current text came.
    parts: bool,
    doing: Option<String>,
}

impl ReplyDraft {
    /// Takes note of what happens.
    pub(super) fn hear(&mut self, progress: TurnEvent<'_>) {
        match progress {
            TurnEvent::Waiting(Waiting::Line | Waiting::Lock) => {
                self.doing = Some("waiting: a terminal has this session".to_owned());
            }
            TurnEvent::Waiting(Waiting::Ending) => self.doing = Some("waiting: the last turn still ends".to_owned()),
            TurnEvent::WaitingForPermit => self.doing = Some("waiting: many turns are running".to_owned()),
            TurnEvent::WaitingForLogin => {
                self.doing = Some("waiting: another turn may be renewing the login".to_owned())
            }
            TurnEvent::Started { .. } => self.doing = None,
            TurnEvent::Delta(text) => {
                self.begin();
                self.parts = true;
                self.push(text);
            }
            // Its parts came already.
            TurnEvent::Text(_) if self.parts => self.parts = false,
            TurnEvent::Text(text) => {
                self.begin();
                self.push(text);
            }
            TurnEvent::Activity(text) => self.doing = Some(phrases::one_line(text, 150)),
            // The reply carries them.
            TurnEvent::Notice(_) => {}
        }
    }

    fn begin(&mut self) {
        self.doing = None;
        if !self.parts && !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        if self.text.len() > 2 * SHOWN {
            let mut cut = self.text.len() - SHOWN;
            while !self.text.is_char_boundary(cut) {
                cut += 1;
            }
            self.text.replace_range(..cut, "…");
        }
    }

    /// What is shown of it: the last message's worth.
    fn body(&self, split: impl Fn(&str) -> Vec<String>) -> String {
        let mut text = self.text.trim().to_owned();
        match &self.doing {
            Some(doing) if text.is_empty() => text = format!("… {doing}"),
            Some(doing) => text = format!("{text}\n\n… {doing}"),
            None => text.push_str(" …"),
        }
        split(text.trim()).pop().unwrap_or_default()
    }
}

/// Shows a turn until it is over.
pub(super) async fn show(shared: &Shared, state: &Arc<WorkerState>, to: &Sent, mut draft: watch::Receiver<ReplyDraft>) {
    let Some(ChannelHandle { network, .. }) = shared.network(&to.address.network) else {
        // Nothing can be shown; the turn goes on.
        while draft.changed().await.is_ok() {}
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
            () = over(&mut draft) => {
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
                let body = {
                    let draft = draft.borrow();
                    if draft.text.is_empty() && draft.doing.is_none() && began.elapsed() < PATIENCE {
                        continue;
                    }
                    draft.body(|text| network.split(text))
                };
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

/// Waits until the turn is over: nobody writes its draft any more.
async fn over(draft: &mut watch::Receiver<ReplyDraft>) {
    while draft.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(draft: &ReplyDraft) -> String {
        draft.body(|text| vec![text.to_owned()])
    }

    #[test]
    fn a_draft_shows_texts_and_what_is_done() {
        let mut draft = ReplyDraft::default();
        draft.hear(TurnEvent::Activity("Bash: ls\n-l"));
        assert_eq!(body(&draft), "… Bash: ls -l");
        draft.hear(TurnEvent::Delta("He"));
        draft.hear(TurnEvent::Delta("llo"));
        draft.hear(TurnEvent::Text("Hello"));
        draft.hear(TurnEvent::Text("World"));
        assert_eq!(body(&draft), "Hello\n\nWorld …");
        draft.hear(TurnEvent::Activity("Read: x"));
        assert_eq!(body(&draft), "Hello\n\nWorld\n\n… Read: x");
    }

    #[test]
    fn a_flood_stays_small() {
        let mut draft = ReplyDraft::default();
        for _ in 0..10_000 {
            draft.hear(TurnEvent::Delta("überlang "));
        }
        assert!(draft.text.len() <= 2 * SHOWN + 10);
    }
}
