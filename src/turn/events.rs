//! What happens during a turn, for whoever watches in this process. A view:
//! nothing is delivered or recorded through it, so whoever misses something has
//! missed the sight of it only, and nobody who watches holds a turn up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::session::{Question, TurnState, Usage, Waiting};

/// How many events a subscriber may be behind before it gets the turn so far
/// instead of those that it missed.
const BACKLOG: usize = 256;

/// How much of a text that is not whole is kept, in bytes: more than a reply may have.
const MAX_PART: usize = 16 * 1024 * 1024;

/// Something that happened in a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEvent {
    /// It waits.
    Waiting(WaitingFor),
    /// The provider is being started. What an earlier attempt said is void.
    Started {
        /// Its name.
        provider: String,
        /// Its program.
        program: PathBuf,
    },
    /// A part of a text, while it is produced.
    Delta(Arc<str>),
    /// A whole text. Its parts, if any, came before.
    Text(Arc<str>),
    /// What the agent is doing.
    Activity(String),
    /// Something the person should know.
    Notice(String),
    /// The agent asks for permission.
    Asked(Arc<Question>),
    /// A question has ended.
    Decided {
        /// Its number.
        number: u32,
        /// How.
        verdict: Verdict,
    },
    /// What the turn used so far.
    Usage(Usage),
    /// The turn is over, by the agent's word or by a decision of ours.
    Done(FinishReason),
    /// The turn has failed, and why.
    Failed(String),
}

/// What a turn waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingFor {
    /// The session is busy.
    Session(Waiting),
    /// As many turns as may run are running.
    Permit,
    /// Another turn may be renewing the login.
    Login,
}

/// Why a turn is over that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// It was answered.
    Answered,
    /// It was stopped.
    Stopped,
    /// It took longer than it may.
    Deadline,
    /// It used more of the machine than it may.
    Limit,
}

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody allowed it.
    Allowed {
        /// Who.
        by: String,
    },
    /// Somebody denied it.
    Denied {
        /// Who.
        by: String,
    },
    /// Nobody decided within this time.
    TimedOut(Duration),
    /// Nobody wants to know any more.
    Over,
}

/// A turn, as far as it has come. The one fold of events that every view uses.
#[derive(Debug, Clone, Default)]
pub struct TurnSoFar {
    /// How often a provider was started: more than once if a turn begins again.
    pub attempt: u32,
    /// The whole texts.
    pub texts: Vec<Arc<str>>,
    /// What has come of the next text.
    pub part: String,
    /// What is being done, or waited for.
    pub doing: Option<Doing>,
    /// The questions that wait for an answer, by number.
    pub questions: BTreeMap<u32, Arc<Question>>,
    /// How earlier questions ended, by number.
    pub verdicts: BTreeMap<u32, Verdict>,
    /// What it used.
    pub usage: Option<Usage>,
    /// Whether it is over.
    pub over: bool,
    /// When it began to wait, to run, or to ask.
    pub since: Option<Timestamp>,
}

/// What is being done, or waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// The turn waits.
    Waiting(WaitingFor),
    /// The agent does something.
    Activity(String),
}

impl TurnSoFar {
    /// The state in one word.
    #[must_use]
    pub fn state(&self) -> TurnState {
        match &self.doing {
            _ if !self.questions.is_empty() => TurnState::Asking,
            Some(Doing::Waiting(_)) => TurnState::Waiting,
            Some(Doing::Activity(_)) | None => TurnState::Running,
        }
    }

    /// The end of what was said, from the first whole text that fits into so many
    /// bytes on; of a longer last text only its end.
    #[must_use]
    pub fn tail(&self, most: usize) -> String {
        let texts = self.texts.iter().map(AsRef::as_ref).chain([self.part.as_str()]);
        let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
        let mut tail: Vec<&str> = Vec::new();
        let mut left = most;
        for text in texts.into_iter().rev() {
            if text.len() <= left {
                tail.push(text);
                left -= text.len();
                continue;
            }
            let from = text.len() - left;
            let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            let cut = format!("…{}", &text[from..]);
            return [cut.as_str()].into_iter().chain(tail.into_iter().rev()).collect::<Vec<_>>().join("\n\n");
        }
        tail.reverse();
        tail.join("\n\n")
    }

    fn hear(&mut self, event: &TurnEvent) {
        let before = self.since.map(|_| self.state());
        match event {
            TurnEvent::Waiting(waiting) => self.doing = Some(Doing::Waiting(*waiting)),
            TurnEvent::Started { .. } => {
                self.attempt += 1;
                (self.texts, self.part, self.doing) = (Vec::new(), String::new(), None);
            }
            TurnEvent::Delta(text) => {
                self.doing = None;
                // What is longer is no reply, and nobody is shown it.
                if self.part.len() <= MAX_PART {
                    self.part.push_str(text);
                }
            }
            TurnEvent::Text(text) => {
                self.doing = None;
                self.part.clear();
                self.texts.push(text.clone());
            }
            TurnEvent::Activity(text) => self.doing = Some(Doing::Activity(text.clone())),
            TurnEvent::Asked(question) => drop(self.questions.insert(question.number, question.clone())),
            TurnEvent::Decided { number, verdict } => {
                self.questions.remove(number);
                self.verdicts.insert(*number, verdict.clone());
            }
            TurnEvent::Usage(usage) => self.usage = Some(*usage),
            TurnEvent::Done(_) | TurnEvent::Failed(_) => {
                self.questions.clear();
                self.over = true;
            }
            // The reply carries them.
            TurnEvent::Notice(_) => {}
        }
        if before != Some(self.state()) {
            self.since = Some(crate::session::now());
        }
    }
}

/// The events of the turns of one session, one turn after another.
#[derive(Debug)]
pub struct TurnEvents {
    sender: broadcast::Sender<TurnEvent>,
    so_far: Arc<Mutex<TurnSoFar>>,
}

impl Default for TurnEvents {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG), so_far: Arc::default() }
    }
}

impl TurnEvents {
    /// A turn begins: what is known so far is of an earlier one.
    pub fn begin(&self) {
        *lock(&self.so_far) = TurnSoFar::default();
    }

    /// Tells everybody who watches. Nobody is waited for.
    pub fn send(&self, event: TurnEvent) {
        // Under the lock, so that whoever gets the turn so far misses nothing after it.
        let mut so_far = lock(&self.so_far);
        so_far.hear(&event);
        // An error says that nobody watches.
        let _watched = self.sender.send(event);
    }

    /// Begins to watch.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        let _no_event_between = lock(&self.so_far);
        Subscription { receiver: self.sender.subscribe(), so_far: self.so_far.clone() }
    }

    /// Looks at the turn so far. Nothing may be waited for in there.
    pub fn look<T>(&self, look: impl FnOnce(&TurnSoFar) -> T) -> T {
        look(&lock(&self.so_far))
    }
}

/// Something that a subscriber gets.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnUpdate<T> {
    /// What happened next.
    Event(TurnEvent),
    /// It was too slow: what it took of the turn so far, after which events go on.
    Missed(T),
}

/// Somebody who watches.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<TurnEvent>,
    so_far: Arc<Mutex<TurnSoFar>>,
}

impl Subscription {
    /// Waits for what comes next; `None` once nobody is left who could send. If
    /// events were missed, `take` takes what the subscriber needs of the turn so
    /// far; nothing may be waited for in there.
    pub async fn next<T>(&mut self, take: impl FnOnce(&TurnSoFar) -> T) -> Option<TurnUpdate<T>> {
        let received = self.receiver.recv().await;
        self.update(received, take)
    }

    /// The same on a thread that may block.
    pub fn blocking_next<T>(&mut self, take: impl FnOnce(&TurnSoFar) -> T) -> Option<TurnUpdate<T>> {
        let received = self.receiver.blocking_recv();
        self.update(received, take)
    }

    /// Looks at the turn so far. Nothing may be waited for in there.
    pub fn look<T>(&self, look: impl FnOnce(&TurnSoFar) -> T) -> T {
        look(&lock(&self.so_far))
    }

    fn update<T>(
        &mut self,
        received: Result<TurnEvent, RecvError>,
        take: impl FnOnce(&TurnSoFar) -> T,
    ) -> Option<TurnUpdate<T>> {
        match received {
            Ok(event) => Some(TurnUpdate::Event(event)),
            Err(RecvError::Closed) => None,
            Err(RecvError::Lagged(_)) => {
                let so_far = lock(&self.so_far);
                self.receiver = self.receiver.resubscribe();
                Some(TurnUpdate::Missed(take(&so_far)))
            }
        }
    }
}

fn lock(so_far: &Mutex<TurnSoFar>) -> MutexGuard<'_, TurnSoFar> {
    so_far.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> TurnEvent {
        TurnEvent::Text(text.into())
    }

    fn delta(text: &str) -> TurnEvent {
        TurnEvent::Delta(text.into())
    }

    #[tokio::test]
    async fn whoever_is_too_slow_gets_the_turn_so_far_and_then_goes_on() {
        let events = TurnEvents::default();
        let mut slow = events.subscribe();
        for number in 0..2 * BACKLOG {
            events.send(delta(&format!("{number} ")));
        }
        events.send(text("whole"));
        events.send(delta("next"));
        let all = |so_far: &TurnSoFar| (so_far.texts.clone(), so_far.part.clone());
        assert_eq!(slow.next(all).await, Some(TurnUpdate::Missed((vec!["whole".into()], "next".to_owned()))));
        events.send(delta(" one"));
        drop(events);
        assert_eq!(slow.next(all).await, Some(TurnUpdate::Event(delta(" one"))));
        assert_eq!(slow.next(all).await, None);
    }

    #[tokio::test]
    async fn it_gets_it_also_when_the_turn_is_over_by_then() {
        let events = TurnEvents::default();
        let mut slow = events.subscribe();
        (0..=BACKLOG).for_each(|_| events.send(delta("x")));
        drop(events);
        let length = |so_far: &TurnSoFar| so_far.part.len();
        assert_eq!(slow.next(length).await, Some(TurnUpdate::Missed(BACKLOG + 1)));
        assert_eq!(slow.next(length).await, None);
    }

    #[test]
    fn an_attempt_voids_what_the_one_before_it_said() {
        let events = TurnEvents::default();
        let started = || TurnEvent::Started { provider: "fake".into(), program: "/bin/fake".into() };
        [started(), text("half"), delta("a"), started(), delta("b")].into_iter().for_each(|event| events.send(event));
        let so_far = events.look(Clone::clone);
        assert_eq!((so_far.attempt, so_far.texts.len(), so_far.part.as_str()), (2, 0, "b"));
        events.begin();
        assert_eq!(events.look(|so_far| (so_far.attempt, so_far.part.len())), (0, 0));
    }

    #[test]
    fn the_tail_is_the_end_of_what_was_said() {
        let events = TurnEvents::default();
        for event in [text("one"), text(""), text("two"), delta("übe"), delta("r")] {
            events.send(event);
        }
        let tail = |most| events.look(|so_far| so_far.tail(most));
        assert_eq!(tail(100), "one\n\ntwo\n\nüber");
        assert_eq!(tail(8), "…\n\ntwo\n\nüber");
        assert_eq!(tail(4), "…ber");
    }
}
