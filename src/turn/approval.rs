//! Permission requests of an agent, on their way to a person and back: each is a
//! question in a file beside the turn's queue entry, and the first answer that is
//! put beside it counts, whichever process it comes from. Who the person is, and
//! how it is asked, is decided elsewhere.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use uuid::Uuid;

use super::events::{TurnEvent, TurnEvents, Verdict};
use crate::config::value::written_span;
pub use crate::provider::{Decision, PermissionRequest};
use crate::session::{Question, QuestionAnswer, TurnFiles};

/// How many requests of one turn may wait for a decision. An agent works on
/// few things at a time; a person who is flooded decides nothing well.
const MAX_OPEN: usize = 16;

/// How often it is looked for answers while a question waits. A watch of the
/// directory would cost every turn more than this.
const LOOK: Duration = Duration::from_millis(50);

/// The requests of one attempt that wait for a decision. When it is dropped,
/// they end.
pub(super) struct PendingApprovals<'a> {
    asking: Option<QuestionTerms>,
    events: &'a TurnEvents,
    open: Vec<Open>,
    /// The number of the last question of the turn.
    last: &'a mut u32,
    look: Instant,
    closed: bool,
}

/// How questions are asked.
#[derive(Debug)]
pub(super) struct QuestionTerms {
    /// Where they are kept.
    pub(super) files: TurnFiles,
    /// How long each waits.
    pub(super) patience: Duration,
}

/// A request that waits for a decision.
struct Open {
    /// What the provider calls it.
    id: String,
    question: Arc<Question>,
    deadline: Instant,
}

impl<'a> PendingApprovals<'a> {
    /// `asking` is `None` if nobody can be asked.
    pub(super) fn new(asking: Option<QuestionTerms>, events: &'a TurnEvents, last: &'a mut u32) -> Self {
        Self { asking, events, open: Vec::new(), last, look: Instant::now(), closed: false }
    }

    /// Asks. What cannot be asked is answered at once; once the turn is ending,
    /// nothing is.
    pub(super) fn ask(&mut self, id: String, request: PermissionRequest) -> Option<Decision> {
        if self.closed {
            return None;
        }
        let deny = |words: String| Some(Decision::Deny(words));
        let Some(QuestionTerms { files, patience }) = &self.asking else { return deny(NOBODY.to_owned()) };
        if self.open.len() >= MAX_OPEN {
            return deny(format!("{MAX_OPEN} other requests wait for a decision already"));
        }
        if self.open.iter().any(|open| open.id == id) {
            return deny("another request of that number waits already".to_owned());
        }
        let asked_at = crate::session::now();
        let question = Question {
            folder: files.folder().to_owned(),
            entry: files.entry(),
            number: *self.last + 1,
            id: Uuid::new_v4(),
            tool: request.tool,
            detail: request.detail,
            asked_at,
            deadline: after(asked_at, *patience),
        };
        if let Err(error) = files.ask(&question) {
            return deny(format!("nobody could be asked: {error}"));
        }
        *self.last += 1;
        let question = Arc::new(question);
        self.events.send(TurnEvent::Asked(question.clone()));
        self.look = Instant::now() + LOOK;
        self.open.push(Open { id, question, deadline: Instant::now() + *patience });
        None
    }

    /// The agent no longer wants to know.
    pub(super) fn withdraw(&mut self, id: &str) {
        if let Some(at) = self.open.iter().position(|open| open.id == id) {
            let open = self.open.remove(at);
            self.end(&open);
        }
    }

    /// The turn is ending: nobody wants to know any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
        for open in std::mem::take(&mut self.open) {
            self.end(&open);
        }
    }

    /// Waits for the next decision; forever if nothing was asked. Nothing is lost
    /// if this is dropped while it waits.
    pub(super) async fn decided(&mut self) -> (String, Decision) {
        loop {
            if self.open.is_empty() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep_until(self.look).await;
            self.look = Instant::now() + LOOK;
            if let Some(decided) = self.decision() {
                return decided;
            }
        }
    }

    fn decision(&mut self) -> Option<(String, Decision)> {
        let QuestionTerms { files, patience } = self.asking.as_ref()?;
        let now = Instant::now();
        let is_due = |open: &Open| open.deadline <= now || files.is_answered(&open.question);
        let at = self.open.iter().position(is_due)?;
        let Open { id, question, deadline } = self.open.remove(at);
        let (decision, verdict) = match files.close(&question) {
            Ok(Some(answer)) => decision_of(answer),
            Ok(None) if deadline <= now => {
                let within = written_span(*patience);
                (Decision::Deny(format!("nobody decided within {within}")), Verdict::TimedOut(*patience))
            }
            Ok(None) => (Decision::Deny(NOBODY.to_owned()), Verdict::Over),
            // What cannot be read may have been a no.
            Err(error) => (Decision::Deny(format!("the decision could not be read: {error}")), Verdict::Over),
        };
        self.events.send(TurnEvent::Decided { number: question.number, verdict });
        // Others may have been decided too.
        self.look = now;
        Some((id, decision))
    }

    fn end(&self, open: &Open) {
        if let Some(QuestionTerms { files, .. }) = &self.asking {
            // What stays behind goes when the entry's owner is gone.
            let _unwanted = files.close(&open.question);
        }
        self.events.send(TurnEvent::Decided { number: open.question.number, verdict: Verdict::Over });
    }
}

impl Drop for PendingApprovals<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the agent is told if nobody could decide.
pub const NOBODY: &str = "nobody decided about it in time";

fn decision_of(answer: QuestionAnswer) -> (Decision, Verdict) {
    let QuestionAnswer { allow, by, reason, .. } = answer;
    if allow {
        return (Decision::Allow, Verdict::Allowed { by });
    }
    let words = reason.unwrap_or_else(|| format!("{by} denied it"));
    (Decision::Deny(words), Verdict::Denied { by })
}

fn after(at: Timestamp, patience: Duration) -> Timestamp {
    let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
    at.checked_add(patience).unwrap_or(Timestamp::MAX)
}
