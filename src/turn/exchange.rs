//! One prompt up to its final event: what the lines of a provider mean, what its
//! agent asks meanwhile, and when it has taken too long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::approval::{Decision, PendingApprovals};
use super::events::{TurnEvent, TurnEvents};
use super::progress::TurnProgress;
use super::provider_process::{ProcessEvent, ProviderProcess};
use super::{TurnError, conversation};
use crate::config::value::written_span;
use crate::process::ChildOutcome;
use crate::provider::{Failure, FailureKind, Parser, ProcessEnd, ProviderEvent, Turn};
use crate::session::{Usage, WorkspaceGuard};

/// The longest reply, in bytes. What a turn printed beyond it ends the turn.
const MAX_REPLY_BYTES: usize = 10 * 1024 * 1024;

/// One prompt, and what comes of it.
pub(super) struct Exchange<'a> {
    parser: Box<dyn Parser>,
    turn: &'a Turn<'a>,
    questions: PendingApprovals<'a>,
    /// What the conversation that is continued had used, as it last said. A
    /// copy starts with its original's total.
    reported_before: Usage,
    guard: &'a mut WorkspaceGuard,
    heard: &'a mut TurnProgress,
    events: &'a TurnEvents,
    /// Rung when the model has said something: the child is logged in.
    logged_in: &'a Notify,
    state: ExchangeState,
    /// What the provider is to be told.
    to_say: Vec<Vec<u8>>,
}

/// How far an exchange has come.
#[derive(Debug)]
enum ExchangeState {
    /// There was no final event yet.
    Open,
    /// The provider's final event: it is complete.
    Done,
    /// The provider's final event: it failed.
    Failed(Failure),
    /// What the provider printed is not accepted.
    Refused(Failure),
    /// Something of ours went wrong, or it took too long.
    Broken(TurnError),
}

/// What the process does once an exchange is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// It has given its final event, and may exit.
    MayExit,
    /// It was stopped, or has ended already.
    Ends,
}

impl<'a> Exchange<'a> {
    /// A prompt that is being sent. `heard` gets what comes of it.
    pub(super) fn new(
        parser: Box<dyn Parser>,
        turn: &'a Turn<'a>,
        questions: PendingApprovals<'a>,
        guard: &'a mut WorkspaceGuard,
        heard: &'a mut TurnProgress,
        (events, logged_in): (&'a TurnEvents, &'a Notify),
    ) -> Self {
        let current = guard.record().conversation.as_ref();
        let continued = current.filter(|current| turn.continuation.id() == Some(&current.id));
        let reported_before = continued.and_then(|current| current.reported).unwrap_or_default();
        let (state, to_say) = (ExchangeState::Open, Vec::new());
        Self { parser, turn, questions, reported_before, guard, heard, events, logged_in, state, to_say }
    }

    /// Listens until the final event, or until there will be none.
    pub(super) async fn run(
        &mut self,
        process: &mut ProviderProcess,
        limit: Duration,
        interrupt: &Notify,
    ) -> Afterwards {
        let mut deadline = std::pin::pin!(tokio::time::sleep(limit));
        let mut interrupted = std::pin::pin!(interrupt.notified());
        let mut stopping = false;
        let afterwards = loop {
            tokio::select! {
                biased;
                () = &mut interrupted, if !stopping => {
                    stopping = true;
                    self.questions.close();
                    process.stop();
                }
                () = &mut deadline, if !stopping => {
                    self.state = ExchangeState::Broken(TurnError::Timeout(written_span(limit)));
                }
                (id, decision) = self.questions.decided() => self.answer(&id, &decision),
                event = process.next() => match event {
                    ProcessEvent::Lines(lines) => self.lines(&lines),
                    ProcessEvent::TooMuch(words) => self.refuse(words),
                    ProcessEvent::Ended => break Afterwards::Ends,
                },
            }
            self.to_say.drain(..).for_each(|bytes| process.send(bytes));
            match &self.state {
                ExchangeState::Open => {}
                ExchangeState::Done => break Afterwards::MayExit,
                ExchangeState::Failed(_) => {
                    process.ignore_output();
                    break Afterwards::MayExit;
                }
                ExchangeState::Refused(_) | ExchangeState::Broken(_) => {
                    process.ignore_output();
                    process.stop();
                    break Afterwards::Ends;
                }
            }
        };
        self.questions.close();
        afterwards
    }

    /// Hears lines that come after the final event, such as what was used. `false`
    /// if the process has to be stopped for them.
    pub(super) fn hear_late(&mut self, lines: &[u8]) -> bool {
        self.lines(lines);
        !self.has_failed()
    }

    fn has_failed(&self) -> bool {
        !matches!(self.state, ExchangeState::Open | ExchangeState::Done)
    }

    fn lines(&mut self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == b'\n') {
            // What comes after that is dropped.
            if self.has_failed() {
                return;
            }
            self.line(line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let mut events = Vec::new();
        self.parser.line(line.trim_end_matches('\r'), &mut events);
        self.take(events);
    }

    fn answer(&mut self, id: &str, decision: &Decision) {
        let mut events = Vec::new();
        self.parser.answer(id, decision, &mut events);
        self.take(events);
    }

    fn take(&mut self, events: Vec<ProviderEvent>) {
        for event in events {
            self.event(event);
        }
    }

    fn event(&mut self, event: ProviderEvent) {
        if event.is_the_models() {
            self.logged_in.notify_one();
        }
        match event {
            ProviderEvent::Conversation(id) => self.conversation(id),
            ProviderEvent::Delta(text) => self.events.send(TurnEvent::Delta(text.into())),
            ProviderEvent::Text(text) => {
                let text: Arc<str> = text.into();
                self.events.send(TurnEvent::Text(text.clone()));
                self.heard.text_bytes += text.len();
                self.heard.texts.push(text);
                if self.heard.text_bytes > MAX_REPLY_BYTES {
                    self.heard.texts.clear();
                    self.refuse(format!("its reply is longer than {MAX_REPLY_BYTES} bytes"));
                }
            }
            ProviderEvent::Activity(text) | ProviderEvent::Retry(text) => self.events.send(TurnEvent::Activity(text)),
            ProviderEvent::Notice(text) => {
                self.events.send(TurnEvent::Notice(text.clone()));
                self.heard.notices.push(text);
            }
            ProviderEvent::MemoryDirectory(found) => {
                let expected = &self.turn.place.memory;
                // Components, because the CLI may add a slash at the end.
                if !found.components().eq(expected.components()) {
                    self.refuse(format!(
                        "it uses the memory directory `{}` instead of `{}`, so the turn was stopped",
                        found.display(),
                        expected.display()
                    ));
                }
            }
            ProviderEvent::Usage(usage) => self.used(usage),
            ProviderEvent::TotalUsage(total) => {
                self.used(total.since(self.reported_before));
                self.heard.reported = Some(total);
            }
            ProviderEvent::Send(bytes) => self.to_say.push(bytes),
            ProviderEvent::Ask { id, request } => {
                if let Some(decision) = self.questions.ask(id.clone(), request) {
                    self.answer(&id, &decision);
                }
            }
            ProviderEvent::Withdrawn(id) => self.questions.withdraw(&id),
            ProviderEvent::Done => {
                if let ExchangeState::Open = self.state {
                    self.state = ExchangeState::Done;
                }
                self.questions.close();
            }
            ProviderEvent::Failed(failure) => {
                if let ExchangeState::Open | ExchangeState::Done = self.state {
                    self.state = ExchangeState::Failed(failure);
                }
                self.questions.close();
            }
        }
    }

    fn conversation(&mut self, id: String) {
        if self.heard.conversation.as_ref() == Some(&id) {
            return;
        }
        if let Err(error) = conversation::remember(self.guard, &self.heard.provider, &id, self.turn.prompt) {
            self.state = ExchangeState::Broken(error.into());
        }
        self.heard.conversation = Some(id);
    }

    fn used(&mut self, usage: Usage) {
        self.heard.usage = Some(usage);
        self.events.send(TurnEvent::Usage(usage));
    }

    /// Ends the turn because of what the provider printed.
    fn refuse(&mut self, message: String) {
        self.state = ExchangeState::Refused(Failure::new(FailureKind::Other, message));
    }

    /// What the end of the process makes of it all. `None` is an answer, `Some` a
    /// failure that the provider itself stated. After the final event it does not
    /// matter how the process ended.
    ///
    /// # Errors
    /// With a reason that is not the provider's.
    pub(super) fn finish(
        mut self,
        outcome: &ChildOutcome,
        stderr: &str,
        limit: Duration,
    ) -> Result<Option<Failure>, TurnError> {
        let failed = |message: String| Ok(Some(Failure::new(FailureKind::Other, message)));
        if let ExchangeState::Open = self.state {
            match outcome {
                ChildOutcome::Deadline => return Err(TurnError::Timeout(written_span(limit))),
                ChildOutcome::Excess(excess) => return Err(TurnError::Excess(*excess)),
                ChildOutcome::Stopped => return Err(TurnError::Stopped),
                ChildOutcome::NotStarted(reason) => {
                    let said = ProcessEnd { code: None, stderr }.last_words();
                    let said = if said.is_empty() { said } else { format!(": {said}") };
                    return failed(format!("could not be started: {reason}{said}"));
                }
                ChildOutcome::LauncherKilled => return failed("its launcher was killed".to_owned()),
                ChildOutcome::Exited(_) | ChildOutcome::Signalled(_) => {}
            }
        }
        let code = match outcome {
            ChildOutcome::Exited(code) => Some(*code),
            _ => None,
        };
        if !self.has_failed() {
            let mut events = Vec::new();
            self.parser.end(&ProcessEnd { code, stderr }, &mut events);
            self.take(events);
        }
        match self.state {
            ExchangeState::Done => Ok(None),
            ExchangeState::Failed(failure) | ExchangeState::Refused(failure) => Ok(Some(failure)),
            ExchangeState::Broken(error) => Err(error),
            ExchangeState::Open => Ok(Some(ProcessEnd { code, stderr }.failure())),
        }
    }
}
