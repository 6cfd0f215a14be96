//! Watching a turn from a terminal: what is printed while it runs, how it is
//! interrupted, how its reply is delivered.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use super::app::App;
use super::error::CliError;
use super::output::{Output, RESET, YELLOW, escape, one_line};
use super::permission;
use crate::config::value::parse_span;
use crate::daemon;
use crate::key::Key;
use crate::ops::{ControlError, Delivery, SendOptions, Wait};
use crate::session::Waiting;
use crate::turn::{TurnError, TurnEvent, TurnReply};

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
    let out = app.out;
    let mut watcher = Watcher::new(out, false);
    let mut tell = |progress: TurnEvent<'_>| match progress {
        // No reply carries it.
        TurnEvent::Notice(text) => out.note(format_args!("{YELLOW}note:{RESET} {}", escape(text))),
        progress => watcher.show(progress),
    };
    app.wait_for(async {
        let mut wait = Wait { limit: Some(wait.short()), tell: &mut tell };
        Ok(act(&mut wait).await?)
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
    let mut watcher = Watcher::new(out, streaming);
    let mut tell = move |progress: TurnEvent<'_>| watcher.show(progress);
    app.wait_for(async {
        let mut interrupts = InterruptSignals::listen()
            .map_err(|error| CliError::failed(format!("could not listen for interrupts: {error}")))?;
        let interrupt = Notify::new();
        let (asking, asks) = mpsc::channel(1);
        let approvals = Some(&asking).filter(|_| permission::can_ask(out));
        let options = SendOptions { stream: streaming, interrupt: &interrupt, approvals };
        let mut wait = Wait { limit, tell: &mut tell };
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
            result = act(options, &mut wait) => Ok(result?),
            never = permission::ask_all(out, asks) => match never {},
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

/// Shows what happens to whoever watches.
struct Watcher {
    out: Output,
    /// Whether the reply itself is printed while it is produced.
    streaming: bool,
    /// Whether parts of the current text were printed.
    parts: bool,
    /// How many texts were begun.
    texts: usize,
}

impl Watcher {
    fn new(out: Output, streaming: bool) -> Self {
        Self { out, streaming, parts: false, texts: 0 }
    }

    fn show(&mut self, progress: TurnEvent<'_>) {
        let out = self.out;
        match progress {
            TurnEvent::Waiting(Waiting::Line) => out.activity("waiting: another turn or terminal has this session"),
            TurnEvent::Waiting(Waiting::Lock) => out.activity("waiting: another process holds this session"),
            TurnEvent::Waiting(Waiting::Ending) => out.activity("waiting: the last turn's processes are still ending"),
            TurnEvent::WaitingForPermit => out.activity("waiting: as many turns as `limits.turns` allows are running"),
            TurnEvent::WaitingForLogin => out.activity("waiting: another turn may be renewing the login"),
            TurnEvent::Started { provider, program } => out.detail(format_args!("{provider}: {}", program.display())),
            TurnEvent::Delta(text) if self.streaming => {
                self.begin();
                self.parts = true;
                out.part(out.foreign(text));
            }
            // Its parts were printed already, where it came in parts.
            TurnEvent::Text(_) if self.streaming && self.parts => self.parts = false,
            TurnEvent::Text(text) if self.streaming => {
                self.begin();
                out.part(out.foreign(text));
            }
            TurnEvent::Activity(text) => out.activity(format_args!("· {}", one_line(text, 100))),
            // The reply carries them.
            TurnEvent::Delta(_) | TurnEvent::Text(_) | TurnEvent::Notice(_) => {}
        }
    }

    /// Puts an empty line between two texts.
    fn begin(&mut self) {
        if !self.parts {
            if self.texts > 0 {
                self.out.part("\n\n");
            }
            self.texts += 1;
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
