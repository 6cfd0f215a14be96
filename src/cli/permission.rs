//! Permission requests on the terminal: shown on standard error, answered by a
//! line of standard input. Not how they reach anybody else.

use std::io::{BufRead, IsTerminal};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::termios::QueueSelector;

use super::output::{BOLD, Output, RESET, escape, one_line};
use crate::ops::{Approver, Control};
use crate::session::{AnswerOutcome, Question};
use crate::turn::approval::Decision;
use crate::turn::events::Subscription;

/// How often it is looked whether a question still stands, in nanoseconds.
const LOOK: i64 = 100_000_000;

/// Whether somebody sits here who sees a question and can answer it.
pub(super) fn can_ask(out: Output) -> bool {
    let (stdin, stderr) = (std::io::stdin(), std::io::stderr());
    // A program in the background would be stopped when it reads.
    let foreground = || rustix::termios::tcgetpgrp(&stdin).is_ok_and(|group| group == rustix::process::getpgrp());
    !out.quiet && stdin.is_terminal() && stderr.is_terminal() && foreground()
}

/// Puts one question and waits for its answer; anything but yes is no.
pub(super) fn put(out: Output, control: &Control, heard: &Subscription, question: &Question) {
    let stands = || heard.look(|so_far| so_far.questions.contains_key(&question.number));
    if !stands() {
        return;
    }
    let stdin = std::io::stdin();
    // What was typed before the question is no answer to it.
    let _flushed = rustix::termios::tcflush(&stdin, QueueSelector::IFlush);
    // Indented, so that no line of it looks like one of ours.
    let detail = escape(&question.detail).replace('\n', "\n    ");
    let tool = escape(&question.tool);
    out.error_line(format_args!("{BOLD}the agent asks for permission to use {tool}:{RESET}\n    {detail}"));
    out.error_line("allow it this once? `y` and Enter, anything else is no");
    while stands() {
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let look = Timespec { tv_sec: 0, tv_nsec: LOOK };
        if matches!(rustix::event::poll(&mut fds, Some(&look)), Ok(0) | Err(Errno::INTR)) {
            continue;
        }
        let mut line = String::new();
        let read = stdin.lock().read_line(&mut line);
        let yes = read.is_ok() && ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str());
        let denied = || Decision::Deny("the person at the terminal said no".to_owned());
        let decision = if yes { Decision::Allow } else { denied() };
        match control.decide(question, decision, &Approver::Terminal) {
            Ok(AnswerOutcome::Counts) => {}
            Ok(AnswerOutcome::Decided(answer)) => {
                let verdict = if answer.allow { "allowed" } else { "denied" };
                out.error_line(format_args!("{} {verdict} it already", one_line(&answer.by, 60)));
            }
            Ok(AnswerOutcome::Over) => out.error_line("the question no longer stands"),
            Err(error) => out.error_line(format_args!("the answer does not count: {error}")),
        }
        return;
    }
    out.error_line("the question no longer stands");
}
