//! Permission requests on the terminal: shown on standard error, answered by a
//! line of standard input. Not how they reach anybody else.

use std::convert::Infallible;
use std::io::{BufRead, IsTerminal};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::termios::QueueSelector;
use tokio::sync::mpsc;

use super::output::{BOLD, Output, RESET, escape};
use crate::turn::approval::{Decision, PermissionAsk};

/// How often it is looked whether a question still stands, in nanoseconds.
const LOOK: i64 = 100_000_000;

/// Whether somebody sits here who sees a question and can answer it.
pub(super) fn can_ask(out: Output) -> bool {
    let (stdin, stderr) = (std::io::stdin(), std::io::stderr());
    // A program in the background would be stopped when it reads.
    let foreground = || rustix::termios::tcgetpgrp(&stdin).is_ok_and(|group| group == rustix::process::getpgrp());
    !out.quiet && stdin.is_terminal() && stderr.is_terminal() && foreground()
}

/// Asks what comes, one after the other, for as long as it is polled.
pub(super) async fn ask_all(out: Output, mut asks: mpsc::Receiver<PermissionAsk>) -> Infallible {
    while let Some(ask) = asks.recv().await {
        // A thread that is left behind ends when its question does.
        let _asked = tokio::task::spawn_blocking(move || put(out, ask)).await;
    }
    std::future::pending().await
}

/// Puts one question and waits for its answer; anything but yes is no.
fn put(out: Output, ask: PermissionAsk) {
    if ask.decide.is_closed() {
        return;
    }
    let stdin = std::io::stdin();
    // What was typed before the question is no answer to it.
    let _flushed = rustix::termios::tcflush(&stdin, QueueSelector::IFlush);
    // Indented, so that no line of it looks like one of ours.
    let detail = escape(&ask.request.detail).replace('\n', "\n    ");
    let tool = escape(&ask.request.tool);
    out.error_line(format_args!("{BOLD}the agent asks for permission to use {tool}:{RESET}\n    {detail}"));
    out.error_line("allow it this once? `y` and Enter, anything else is no");
    while !ask.decide.is_closed() {
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let look = Timespec { tv_sec: 0, tv_nsec: LOOK };
        if matches!(rustix::event::poll(&mut fds, Some(&look)), Ok(0) | Err(Errno::INTR)) {
            continue;
        }
        let mut line = String::new();
        let read = stdin.lock().read_line(&mut line);
        let yes = read.is_ok() && ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str());
        let denied = || Decision::Deny("the person at the terminal said no".to_owned());
        // The question may have lost its sense in this moment.
        let _heard = ask.decide.send(if yes { Decision::Allow } else { denied() });
        return;
    }
    out.error_line("the question no longer stands");
}
