//! The process of a provider: what it prints, what it is told, and its end. It
//! knows nothing of turns: what is asked of it is an `Exchange`.

use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{Notify, mpsc};

use crate::process::{self, ChildOutcome, Launch, SpawnError, Stopper};
use crate::provider::Invocation;
use crate::session::WorkspaceGuard;

/// The longest line of output that is read, in bytes.
const MAX_LINE_BYTES: usize = 32 * 1024 * 1024;

/// The most that is read altogether, in bytes.
const MAX_PRINTED_BYTES: usize = MAX_LINE_BYTES * 8;

/// How much of the end of standard error is kept, in bytes.
const STDERR_BYTES: usize = 64 * 1024;

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A running provider. Dropped, it is stopped.
pub(super) struct ProviderProcess {
    stopper: Stopper,
    input: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// What goes on meanwhile, each until it is done.
    speaking: Option<Task<()>>,
    errors: Option<Task<Vec<u8>>>,
    ending: Option<Task<ChildOutcome>>,
    output: Option<ProcessOutput>,
    stderr: Vec<u8>,
    outcome: Option<ChildOutcome>,
}

/// Something that comes from a provider's process.
#[derive(Debug, PartialEq)]
pub(super) enum ProcessEvent {
    /// Whole lines that it printed, without the last newline.
    Lines(Vec<u8>),
    /// It printed more than anybody reads, and no more of it is given.
    TooMuch(String),
    /// It has ended, with everything that it had started.
    Ended,
}

impl ProviderProcess {
    /// Starts it.
    ///
    /// # Errors
    /// As [`process::spawn`].
    pub(super) fn spawn(
        guard: &WorkspaceGuard,
        invocation: &Invocation,
        launch: &Launch<'_>,
    ) -> Result<Self, SpawnError> {
        let mut child = process::spawn(guard, invocation, launch)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (input, said) = mpsc::unbounded_channel();
        let first = invocation.stdin.bytes();
        let speaking = stdin.map(|stdin| -> Task<()> { Box::pin(speak(stdin, first.to_vec(), said)) });
        Ok(Self {
            stopper: child.stopper(),
            input: Some(input),
            speaking,
            errors: stderr.map(|stderr| -> Task<Vec<u8>> { Box::pin(read_tail(stderr)) }),
            ending: Some(Box::pin(child.end())),
            output: stdout.map(ProcessOutput::new),
            stderr: Vec::new(),
            outcome: None,
        })
    }

    /// Sends it something. It reads that when it likes; nobody waits for it.
    pub(super) fn send(&self, bytes: Vec<u8>) {
        if let Some(input) = &self.input {
            // A process that no longer reads is one that ended.
            let _heard = input.send(bytes);
        }
    }

    /// Ends its input after what was sent, so that it can exit.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// Asks for its end. Its input stays open: at its end a process that waits
    /// for a decision would go on without one.
    pub(super) fn stop(&self) {
        self.stopper.stop();
    }

    /// Drops what it prints from now on. It is read all the same, so that the
    /// process can end.
    pub(super) fn ignore_output(&mut self) {
        if let Some(output) = &mut self.output {
            output.ignore();
        }
    }

    /// Waits for what comes next. Nothing is lost if this is dropped while it waits.
    pub(super) async fn next(&mut self) -> ProcessEvent {
        loop {
            // A process that is gone reads no more, so that is not waited for.
            if let (None, None, None) = (&self.output, &self.errors, &self.ending) {
                return ProcessEvent::Ended;
            }
            tokio::select! {
                biased;
                event = next_of(&mut self.output) => match event {
                    Some(event) => return event,
                    None => self.output = None,
                },
                tail = finished(&mut self.errors) => (self.errors, self.stderr) = (None, tail),
                outcome = finished(&mut self.ending) => (self.ending, self.outcome) = (None, Some(outcome)),
                () = finished(&mut self.speaking) => self.speaking = None,
            }
        }
    }

    /// Waits for the end of a process that is told nothing more. With a grace, it
    /// may end by itself: it is stopped when that is over, or `interrupt` is rung.
    /// Without, it has been stopped already. `hear` gets the lines that still come,
    /// and says whether it may go on.
    pub(super) async fn end(
        &mut self,
        grace: Option<Duration>,
        interrupt: &Notify,
        mut hear: impl FnMut(&[u8]) -> bool,
    ) -> (ChildOutcome, String) {
        let mut patience = std::pin::pin!(tokio::time::sleep(grace.unwrap_or_default()));
        let mut interrupted = std::pin::pin!(interrupt.notified());
        let mut patient = grace.is_some();
        loop {
            let event = tokio::select! {
                biased;
                () = async { tokio::select! { () = &mut patience => {}, () = &mut interrupted => {} } }, if patient => {
                    patient = false;
                    self.stop();
                    continue;
                }
                event = self.next() => event,
            };
            match event {
                ProcessEvent::Lines(lines) => {
                    if !hear(&lines) {
                        self.ignore_output();
                        self.stop();
                    }
                }
                // There is no end to it.
                ProcessEvent::TooMuch(_) => self.stop(),
                ProcessEvent::Ended => break,
            }
        }
        let stderr = String::from_utf8_lossy(&self.stderr).into_owned();
        (self.outcome.take().unwrap_or(ChildOutcome::LauncherKilled), stderr)
    }
}

/// The next event of an output; never if there is none.
async fn next_of(output: &mut Option<ProcessOutput>) -> Option<ProcessEvent> {
    match output {
        Some(output) => output.next().await,
        None => std::future::pending().await,
    }
}

/// The end of a task; never if there is none.
async fn finished<T>(task: &mut Option<Task<T>>) -> T {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Standard output, in whole lines.
struct ProcessOutput {
    reader: BufReader<ChildStdout>,
    /// The line that is not whole yet.
    line: Vec<u8>,
    printed: usize,
    ignored: bool,
}

impl ProcessOutput {
    fn new(stdout: ChildStdout) -> Self {
        Self { reader: BufReader::with_capacity(64 * 1024, stdout), line: Vec::new(), printed: 0, ignored: false }
    }

    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<ProcessEvent> {
        loop {
            // A pipe that breaks is one that ended.
            let bytes = self.reader.fill_buf().await.unwrap_or_default();
            if bytes.is_empty() {
                let last = std::mem::take(&mut self.line);
                return (!last.is_empty()).then_some(ProcessEvent::Lines(last));
            }
            let read = bytes.len();
            let mut whole = None;
            if !self.ignored {
                let mut rest = bytes;
                if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                    let mut lines = std::mem::take(&mut self.line);
                    lines.extend_from_slice(&bytes[..end]);
                    (whole, rest) = (Some(ProcessEvent::Lines(lines)), &bytes[end + 1..]);
                }
                self.line.extend_from_slice(rest);
                self.printed += read;
            }
            self.reader.consume(read);
            if self.line.len() > MAX_LINE_BYTES {
                return Some(self.refuse(format!("it printed a line of more than {MAX_LINE_BYTES} bytes")));
            }
            if self.printed > MAX_PRINTED_BYTES && !self.ignored {
                return Some(self.refuse(format!("it printed more than {MAX_PRINTED_BYTES} bytes")));
            }
            if whole.is_some() {
                return whole;
            }
        }
    }

    fn refuse(&mut self, words: String) -> ProcessEvent {
        self.ignore();
        ProcessEvent::TooMuch(words)
    }

    fn ignore(&mut self) {
        self.ignored = true;
        self.line = Vec::new();
    }
}

/// Writes what a process is to read, as it comes, until there is no more.
async fn speak(mut stdin: ChildStdin, first: Vec<u8>, mut more: mpsc::UnboundedReceiver<Vec<u8>>) {
    let mut written = stdin.write_all(&first).await;
    while written.is_ok() {
        let Some(bytes) = more.recv().await else { return };
        written = stdin.write_all(&bytes).await;
    }
}

/// Reads to the end and keeps the last part.
async fn read_tail(mut stderr: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut tail = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        tail.extend_from_slice(&buffer[..count]);
        if tail.len() > 2 * STDERR_BYTES {
            tail.drain(..tail.len() - STDERR_BYTES);
        }
    }
    tail
}
