//! One attempt of a turn: the child, its output, and what came of it.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::ChildStdin;
use tokio::sync::{Notify, mpsc};

use super::approval::PendingApprovals;
use super::choose::Chosen;
use super::setup::Setup;
use super::{TurnError, TurnEvent, TurnRequest, conversation, finalise};
use crate::config::value::written_span;
use crate::login;
use crate::process::{self, ChildOutcome, Launch, Stopper};
use crate::provider::{Failure, FailureKind, Parser, ProcessEnd, ProviderEvent, Turn, TurnPaths, child_environment};
use crate::provider_home;
use crate::session::{FileMark, Usage, WorkspaceGuard};

/// The longest line of output that is read, in bytes.
const MAX_LINE_BYTES: usize = 32 * 1024 * 1024;

/// The longest reply, in bytes. What a turn printed beyond it ends the turn.
const MAX_REPLY_BYTES: usize = 10 * 1024 * 1024;

/// How much of the end of standard error is kept, in bytes.
const STDERR_BYTES: usize = 64 * 1024;

/// What was heard from the provider, over all attempts of a turn.
#[derive(Debug, Default)]
pub(super) struct TurnProgress {
    pub(super) provider: String,
    /// Where the provider's things are, once that is known.
    pub(super) place: Option<TurnPaths>,
    pub(super) conversation: Option<String>,
    pub(super) texts: Vec<String>,
    /// The length of all texts together, in bytes.
    pub(super) text_bytes: usize,
    pub(super) usage: Option<Usage>,
    pub(super) reported: Option<Usage>,
    pub(super) notices: Vec<String>,
    /// What the conversation's file was like at the end.
    pub(super) file: Option<FileMark>,
    /// The hash of the brief, once the conversation was told it.
    pub(super) told: Option<String>,
}

impl TurnProgress {
    /// The reply so far.
    pub(super) fn text(&self) -> String {
        let texts: Vec<&str> = self.texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
        texts.join("\n\n")
    }

    /// Forgets what a failed attempt said.
    pub(super) fn begin_again(&mut self) {
        self.texts.clear();
        self.text_bytes = 0;
        self.usage = None;
        self.conversation = None;
    }
}

/// What an attempt is made with.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) setup: &'a Setup,
    pub(super) chosen: &'a Chosen,
    pub(super) turn: &'a Turn<'a>,
    pub(super) launch: &'a Launch<'a>,
    pub(super) request: TurnRequest<'a>,
}

impl Run<'_> {
    /// Makes the attempt. `None` is an answer, `Some` a failure that the
    /// provider itself stated.
    pub(super) async fn attempt(
        &self,
        guard: &mut WorkspaceGuard,
        heard: &mut TurnProgress,
        tell: &mut (dyn FnMut(TurnEvent<'_>) + Send),
    ) -> Result<Option<Failure>, TurnError> {
        let (chosen, turn) = (self.chosen, self.turn);
        heard.notices.extend(login::settle_own(guard.store(), guard.folder()).await?);
        provider_home::prepare(guard, chosen.provider, &chosen.options, turn, self.launch, &[]).await?;
        let keeps_files = chosen.provider.keeps_files();
        let before = finalise::BeforeTurn::look(turn.place, keeps_files);
        let invocation = chosen.provider.invocation(turn)?;
        let environment = child_environment(&self.setup.environment, chosen.provider, &chosen.options, &invocation);
        let mut waiting = || tell(TurnEvent::WaitingForLogin);
        let mut login = tokio::select! {
            login = chosen.login(guard, turn, &mut waiting) => login?,
            () = self.request.interrupt.notified() => return Err(TurnError::Stopped),
        };
        let launch = Launch { environment, login: login.as_ref(), ..self.launch.clone() };
        let mut child = match process::spawn(guard, &invocation, &launch) {
            Ok(child) => child,
            Err(error) => {
                heard.notices.extend(login::end(login).await);
                return Err(error.into());
            }
        };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (to_say, said) = mpsc::unbounded_channel();
        let continued =
            guard.record().conversation.as_ref().filter(|current| turn.continuation.id() == Some(&current.id));
        let reported_before = continued.and_then(|current| current.reported).unwrap_or_default();
        let logged_in = Notify::new();
        let mut listener = Listener {
            parser: chosen.provider.parser(turn),
            stopper: child.stopper(),
            turn,
            questions: PendingApprovals::new(self.request.approvals.filter(|_| turn.asks)),
            to_say: Some(to_say),
            reported_before,
            guard,
            heard,
            tell,
            done: false,
            failure: None,
            error: None,
            logged_in: &logged_in,
        };
        let listen = async {
            if let Some(stdout) = stdout {
                listener.listen(stdout, self.request.interrupt).await;
            }
        };
        let mut tail = Vec::new();
        let read_errors = async {
            if let Some(stderr) = stderr {
                read_tail(stderr, &mut tail).await;
            }
        };
        let speak = async {
            if let Some(stdin) = stdin {
                speak(stdin, invocation.stdin.bytes(), said).await;
            }
            std::future::pending().await
        };
        // A child that is gone reads no more, so its end is not waited for
        // together with what it should have read.
        let ((), (), outcome) = tokio::select! {
            ended = async { tokio::join!(listen, read_errors, child.end()) } => ended,
            never = speak => never,
            never = login::look_after(&mut login, &logged_in) => match never {},
        };
        let stderr = String::from_utf8_lossy(&tail).into_owned();
        let result = listener.finish(&outcome, &stderr, self.setup.config.limits.turn_timeout);
        heard.notices.extend(login::end(login).await);
        match before.finalise(guard, turn.place) {
            Ok(look) => {
                let id = guard.record().conversation.as_ref().map(|current| current.id.as_str());
                heard.file = id.and_then(|id| finalise::mark(chosen.provider, id, &look));
            }
            // The reply is there all the same; only a power cut could take it.
            Err(error) => {
                heard.notices.push(format!("what the agent wrote may not survive a power cut: {error}"));
            }
        }
        result
    }
}

/// Turns the lines of output into what happens.
struct Listener<'a> {
    parser: Box<dyn Parser>,
    stopper: Stopper,
    turn: &'a Turn<'a>,
    questions: PendingApprovals<'a>,
    /// What the child is to read. `None` once it has read enough.
    to_say: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// What the conversation that is continued had used, as it last said. A
    /// copy starts with its original's total.
    reported_before: Usage,
    guard: &'a mut WorkspaceGuard,
    heard: &'a mut TurnProgress,
    tell: &'a mut (dyn FnMut(TurnEvent<'_>) + Send),
    done: bool,
    failure: Option<Failure>,
    error: Option<TurnError>,
    /// Rung when the model has said something: the child is logged in.
    logged_in: &'a Notify,
}

impl Listener<'_> {
    async fn listen(&mut self, stdout: impl AsyncRead + Unpin, interrupt: &Notify) {
        let mut reader = BufReader::with_capacity(64 * 1024, stdout);
        let mut line = Vec::new();
        let mut stopping = false;
        let mut printed = 0_usize;
        loop {
            let filled = tokio::select! {
                biased;
                filled = reader.fill_buf() => filled,
                () = interrupt.notified(), if !stopping => {
                    stopping = true;
                    self.stop();
                    continue;
                }
                (id, decision) = self.questions.decided() => {
                    let mut events = Vec::new();
                    self.parser.answer(&id, &decision, &mut events);
                    self.take(events);
                    continue;
                }
            };
            // A pipe that breaks is one that ended.
            let Ok(bytes) = filled else { break };
            if bytes.is_empty() {
                break;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            let text = &bytes[..end.unwrap_or(taken)];
            printed += taken;
            // What comes after an error is read, so that the child can end, and dropped.
            if self.over().is_none() {
                line.extend_from_slice(text);
            }
            reader.consume(taken);
            if line.len() > MAX_LINE_BYTES {
                self.refuse(format!("it printed a line of more than {MAX_LINE_BYTES} bytes"));
                line.clear();
            }
            if end.is_some() && self.over().is_none() {
                self.line(&line);
                line.clear();
            }
            if printed > MAX_LINE_BYTES * 8 {
                self.refuse(format!("it printed more than {} bytes", MAX_LINE_BYTES * 8));
            }
        }
        if !line.is_empty() {
            self.line(&line);
        }
    }

    /// Whether the turn has failed already, for a reason of ours.
    fn over(&self) -> Option<()> {
        (self.failure.is_some() || self.error.is_some()).then_some(())
    }

    fn line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let mut events = Vec::new();
        self.parser.line(line.trim_end_matches('\r'), &mut events);
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
            ProviderEvent::Conversation(id) => {
                let about = self.turn.prompt;
                if self.heard.conversation.as_ref() != Some(&id) {
                    if let Err(error) = conversation::remember(self.guard, &self.heard.provider, &id, about) {
                        self.fail(error.into());
                    }
                    self.heard.conversation = Some(id);
                }
            }
            ProviderEvent::Delta(text) => (self.tell)(TurnEvent::Delta(&text)),
            ProviderEvent::Text(text) => {
                (self.tell)(TurnEvent::Text(&text));
                self.heard.text_bytes += text.len();
                self.heard.texts.push(text);
                if self.heard.text_bytes > MAX_REPLY_BYTES {
                    self.heard.texts.clear();
                    self.refuse(format!("its reply is longer than {MAX_REPLY_BYTES} bytes"));
                }
            }
            ProviderEvent::Activity(text) | ProviderEvent::Retry(text) => (self.tell)(TurnEvent::Activity(&text)),
            ProviderEvent::Notice(text) => {
                (self.tell)(TurnEvent::Notice(&text));
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
            ProviderEvent::Usage(usage) => self.heard.usage = Some(usage),
            ProviderEvent::TotalUsage(total) => {
                self.heard.usage = Some(total.since(self.reported_before));
                self.heard.reported = Some(total);
            }
            ProviderEvent::Send(bytes) => self.say(bytes),
            ProviderEvent::Ask { id, request } => {
                if let Some(decision) = self.questions.ask(id.clone(), request) {
                    let mut events = Vec::new();
                    self.parser.answer(&id, &decision, &mut events);
                    self.take(events);
                }
            }
            ProviderEvent::Withdrawn(id) => self.questions.withdraw(&id),
            ProviderEvent::Done => {
                self.done = true;
                self.say_no_more();
            }
            ProviderEvent::Failed(failure) => {
                self.failure.get_or_insert(failure);
                self.say_no_more();
            }
        }
    }

    fn say(&mut self, bytes: Vec<u8>) {
        if let Some(to_say) = &self.to_say {
            // A child that no longer reads is one that ended.
            let _heard = to_say.send(bytes);
        }
    }

    /// Ends the child's input, after its last word, so that it can exit.
    fn say_no_more(&mut self) {
        self.to_say = None;
        self.questions.close();
    }

    /// Ends the child. Its input stays open: at its end a child that waits for a
    /// decision would go on without one.
    fn stop(&mut self) {
        self.questions.close();
        self.stopper.stop();
    }

    /// Ends the turn for a reason of ours.
    fn refuse(&mut self, message: String) {
        self.failure = Some(Failure::new(FailureKind::Other, message));
        self.stop();
    }

    fn fail(&mut self, error: TurnError) {
        self.error.get_or_insert(error);
        self.stop();
    }

    /// What the child's end makes of it all.
    fn finish(
        mut self,
        outcome: &ChildOutcome,
        stderr: &str,
        timeout: std::time::Duration,
    ) -> Result<Option<Failure>, TurnError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.failure.is_none() && !self.done {
            match outcome {
                ChildOutcome::Deadline => return Err(TurnError::Timeout(written_span(timeout))),
                ChildOutcome::Excess(excess) => return Err(TurnError::Excess(*excess)),
                ChildOutcome::Stopped => return Err(TurnError::Stopped),
                ChildOutcome::NotStarted(reason) => {
                    let said = ProcessEnd { code: None, stderr }.last_words();
                    let said = if said.is_empty() { said } else { format!(": {said}") };
                    let message = format!("could not be started: {reason}{said}");
                    return Ok(Some(Failure::new(FailureKind::Other, message)));
                }
                ChildOutcome::LauncherKilled => {
                    return Ok(Some(Failure::new(FailureKind::Other, "its launcher was killed")));
                }
                ChildOutcome::Exited(_) | ChildOutcome::Signalled(_) => {}
            }
        }
        let code = match outcome {
            ChildOutcome::Exited(code) => Some(*code),
            _ => None,
        };
        let mut events = Vec::new();
        self.parser.end(&ProcessEnd { code, stderr }, &mut events);
        if self.failure.is_none() {
            self.take(events);
        }
        match (self.failure, self.error, self.done) {
            (_, Some(error), _) => Err(error),
            (Some(failure), ..) => Ok(Some(failure)),
            (None, None, true) => Ok(None),
            (None, None, false) => Ok(Some(ProcessEnd { code, stderr }.failure())),
        }
    }
}

/// Writes what a child is to read, as it comes, until there is no more.
async fn speak(mut stdin: ChildStdin, first: &[u8], mut more: mpsc::UnboundedReceiver<Vec<u8>>) {
    let mut written = stdin.write_all(first).await;
    while written.is_ok() {
        let Some(bytes) = more.recv().await else { return };
        written = stdin.write_all(&bytes).await;
    }
}

/// Reads to the end and keeps the last part.
async fn read_tail(mut stderr: impl AsyncRead + Unpin, tail: &mut Vec<u8>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        tail.extend_from_slice(&buffer[..count]);
        if tail.len() > 2 * STDERR_BYTES {
            tail.drain(..tail.len() - STDERR_BYTES);
        }
    }
}
