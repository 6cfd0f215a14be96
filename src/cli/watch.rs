//! Watching a turn from a terminal: what is printed while it runs, how it is
//! interrupted, how its reply is delivered.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::app::App;
use super::error::CliError;
use super::output::{Output, RESET, YELLOW, escape, one_line};
use super::permission;
use crate::config::value::parse_span;
use crate::daemon;
use crate::key::Key;
use crate::ops::{Control, ControlError, Delivery, SendOptions, Wait};
use crate::session::{Question, Waiting};
use crate::turn::events::{Subscription, TurnSoFar, TurnUpdate};
use crate::turn::{TurnError, TurnEvent, TurnEvents, TurnReply, WaitingFor};

/// Within this time several signals are one: `timeout` and many supervisors
/// signal a process and then its whole group.
const ONE_INTERRUPT: Duration = Duration::from_millis(500);

/// How long to wait for a busy session.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct WaitArgs {
    /// How long to wait while the session is busy, such as `30s` or `10m`
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub(super) wait: Option<Duration>,
}

impl WaitArgs {
    /// Operations that take a moment wait for a moment; a running turn may take
    /// half an hour.
    pub(super) fn short(self) -> Duration {
        self.wait.unwrap_or(Duration::from_secs(10))
    }
}

/// Runs an operation that may have to wait for its session.
pub(super) fn with_wait<T>(
    app: &App,
    wait: WaitArgs,
    act: impl AsyncFnOnce(&mut Wait<'_>) -> Result<T, ControlError>,
) -> Result<T, CliError> {
    let watcher = Watcher { notices: true, ..Watcher::new(app, false) };
    app.wait_for(async {
        let events = TurnEvents::default();
        let watching = watcher.follow(events.subscribe());
        let done = act(&mut Wait { limit: Some(wait.short()), events: &events }).await;
        // Its watcher ends with it, once all is shown.
        drop(events);
        let _shown = watching.await;
        Ok(done?)
    })
}

/// Runs something that takes a turn. The first interrupt stops the turn, the
/// second ends this program, and with it the turn.
pub(super) fn with_turn<T>(
    app: &App,
    limit: Option<Duration>,
    stream: bool,
    act: impl AsyncFnOnce(SendOptions<'_>, &mut Wait<'_>) -> Result<T, ControlError>,
) -> Result<T, CliError> {
    let out = app.out;
    let streaming = stream && !out.json;
    let watcher = Watcher::new(app, streaming);
    app.wait_for(async {
        let mut interrupts = InterruptSignals::listen()
            .map_err(|error| CliError::failed(format!("could not listen for interrupts: {error}")))?;
        let interrupt = Notify::new();
        let taken = async {
            let events = TurnEvents::default();
            let watching = watcher.follow(events.subscribe());
            // Whoever sits here has as long as the turn.
            let approvals = permission::can_ask(out).then_some(Duration::MAX);
            let options = SendOptions { stream: streaming, interrupt: &interrupt, approvals };
            let done = act(options, &mut Wait { limit, events: &events }).await;
            // Its watcher ends with it, once all is shown.
            drop(events);
            let _shown = watching.await;
            done
        };
        let twice = async {
            interrupts.next().await;
            interrupt.notify_one();
            let first = Instant::now();
            loop {
                interrupts.next().await;
                if first.elapsed() > ONE_INTERRUPT {
                    break;
                }
            }
        };
        tokio::select! {
            result = taken => Ok(result?),
            () = twice => {
                Err(CliError::failed("interrupted: what the turn had started is still being ended"))
            }
        }
    })
}

/// Interrupt, termination and hang-up.
struct InterruptSignals([Signal; 3]);

impl InterruptSignals {
    fn listen() -> std::io::Result<Self> {
        let [interrupt, terminate, hang_up] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hang_up?]))
    }

    /// Waits for the next of them.
    async fn next(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

/// What a watcher that was too slow has missed.
struct Missed {
    attempt: u32,
    /// The texts that are whole by now.
    texts: Vec<Arc<str>>,
    /// What came of the next one.
    part: String,
    questions: Vec<Arc<Question>>,
}

/// Shows what happens to whoever watches, on a thread of its own: a terminal or a
/// pipe that takes nothing more holds up the sight of a turn, and not the turn.
struct Watcher {
    out: Output,
    control: Control,
    /// Whether the reply itself is printed while it is produced.
    streaming: bool,
    /// Whether notices are printed, because no reply carries them.
    notices: bool,
    /// Which attempt is shown.
    attempt: u32,
    /// How many of its texts were printed whole.
    texts: usize,
    /// What was printed of the next one.
    part: String,
    /// Whether any text was begun.
    begun: bool,
    /// The number of the last question that was put.
    asked: u32,
}

impl Watcher {
    fn new(app: &App, streaming: bool) -> Self {
        let (out, control) = (app.out, app.control.clone());
        let (attempt, texts, part, begun, asked) = (0, 0, String::new(), false, 0);
        Self { out, control, streaming, notices: false, attempt, texts, part, begun, asked }
    }

    /// Follows a turn to its end.
    fn follow(mut self, mut heard: Subscription) -> JoinHandle<()> {
        tokio::task::spawn_blocking(move || {
            while let Some(update) = heard.blocking_next(|so_far| self.missed(so_far)) {
                match update {
                    TurnUpdate::Event(TurnEvent::Asked(question)) => self.ask(&heard, &question),
                    TurnUpdate::Event(event) => self.show(event),
                    TurnUpdate::Missed(missed) => {
                        self.catch_up(&missed);
                        missed.questions.iter().for_each(|question| self.ask(&heard, question));
                    }
                }
            }
        })
    }

    fn show(&mut self, event: TurnEvent) {
        let out = self.out;
        match event {
            TurnEvent::Waiting(WaitingFor::Session(Waiting::Line)) => {
                out.activity("waiting: another turn or terminal has this session");
            }
            TurnEvent::Waiting(WaitingFor::Session(Waiting::Lock)) => {
                out.activity("waiting: another process holds this session");
            }
            TurnEvent::Waiting(WaitingFor::Session(Waiting::Ending)) => {
                out.activity("waiting: the last turn's processes are still ending");
            }
            TurnEvent::Waiting(WaitingFor::Permit) => {
                out.activity("waiting: as many turns as `limits.turns` allows are running");
            }
            TurnEvent::Waiting(WaitingFor::Login) => out.activity("waiting: another turn may be renewing the login"),
            TurnEvent::Started { provider, program } => {
                self.begin_attempt(self.attempt + 1);
                out.detail(format_args!("{provider}: {}", program.display()));
            }
            TurnEvent::Delta(text) => self.print(&text),
            TurnEvent::Text(text) => self.end_text(&text),
            TurnEvent::Activity(text) => out.activity(format_args!("· {}", one_line(&text, 100))),
            TurnEvent::Notice(text) if self.notices => out.note(format_args!("{YELLOW}note:{RESET} {}", escape(&text))),
            // What else there is to say is said with the reply, or by whoever asks.
            TurnEvent::Notice(_)
            | TurnEvent::Asked(_)
            | TurnEvent::Decided { .. }
            | TurnEvent::Usage(_)
            | TurnEvent::Done(_)
            | TurnEvent::Failed(_) => {}
        }
    }

    /// Takes what was missed, and nothing that was shown already.
    fn missed(&self, so_far: &TurnSoFar) -> Missed {
        let questions = so_far.questions.values().cloned().collect();
        let (attempt, mut texts, mut part) = (so_far.attempt, Vec::new(), String::new());
        if self.streaming {
            let is_same = attempt == self.attempt;
            let whole = if is_same { self.texts } else { 0 };
            texts = so_far.texts.iter().skip(whole).cloned().collect();
            let shown = if is_same && texts.is_empty() { self.part.len() } else { 0 };
            part = so_far.part.get(shown..).unwrap_or_default().to_owned();
        }
        Missed { attempt, texts, part, questions }
    }

    fn catch_up(&mut self, missed: &Missed) {
        if missed.attempt != self.attempt {
            self.begin_attempt(missed.attempt);
        }
        for text in &missed.texts {
            // Some providers print more space in parts than in the whole.
            if !text.starts_with(&self.part) && !self.part.starts_with(text.trim_end()) {
                self.part.clear();
            }
            self.end_text(text);
        }
        self.print(&missed.part);
    }

    fn begin_attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
        (self.texts, self.part) = (0, String::new());
    }

    /// A text is whole. Its parts were printed already, if it came in parts.
    fn end_text(&mut self, text: &str) {
        if let Some(rest) = text.strip_prefix(self.part.as_str()) {
            self.print(rest);
        }
        self.texts += 1;
        self.part.clear();
    }

    /// Prints a text, or the next part of one; an empty line stands between two.
    fn print(&mut self, text: &str) {
        if !self.streaming || text.is_empty() {
            return;
        }
        if self.part.is_empty() && std::mem::replace(&mut self.begun, true) {
            self.out.part("\n\n");
        }
        self.out.part(self.out.foreign(text));
        self.part.push_str(text);
    }

    fn ask(&mut self, heard: &Subscription, question: &Question) {
        if question.number > self.asked {
            self.asked = question.number;
            permission::put(self.out, &self.control, heard, question);
        }
    }
}

/// Prints a reply, then lets its message go; one that came from a chat gets its
/// reply there too.
pub(super) fn deliver(app: &App, key: &Key, mut delivery: Delivery, streamed: bool) -> Result<ExitCode, CliError> {
    let out = app.out;
    let network = delivery.network.take();
    let left = delivery.left;
    for notice in delivery.take_notices() {
        out.note(format_args!("{YELLOW}note:{RESET} {}", escape(&notice)));
    }
    if let Ok(reply) = &delivery.result {
        print_reply(out, key.as_str(), reply, streamed);
    } else if let Err(TurnError::NotRecorded { reply, .. }) = &delivery.result {
        print_reply(out, key.as_str(), reply, streamed);
    }
    match network {
        None => delivery.delivered()?,
        Some(network) => {
            let (handed_over, result) = delivery.handed_over();
            if handed_over {
                app.control.ask_to_deliver(key)?;
                let when = if daemon::is_running(&app.control.store) { "" } else { " when the daemon runs again" };
                out.note(format_args!("{YELLOW}note:{RESET} it is said on {} too{when}", escape(&network)));
            }
            result?
        }
    };
    if left > 0 {
        let plural = if left == 1 { "message was" } else { "messages were" };
        out.note(format_args!(
            "{YELLOW}note:{RESET} {left} earlier {plural} never answered: `denizen pending {}`",
            escape(key.as_str())
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn print_reply(out: Output, key: &str, reply: &TurnReply, streamed: bool) {
    if out.json {
        out.json(&json!({
            "session": key,
            "turn": reply.turn,
            "provider": reply.provider,
            "conversation": reply.conversation,
            "text": reply.text,
            "usage": reply.usage,
            "notices": reply.notices,
            "files": reply.files,
        }));
        return;
    }
    if streamed {
        out.data("");
    } else {
        out.data(out.foreign(&reply.text));
    }
    for notice in &reply.notices {
        out.note(format_args!("{YELLOW}note:{RESET} {}", escape(notice)));
    }
    for file in &reply.files {
        out.note(format_args!("file: {}", file.display()));
    }
    if std::io::stderr().is_terminal() {
        out.detail(format_args!("{} tokens in, {} out", reply.usage.input_tokens, reply.usage.output_tokens));
    }
}
