//! What people in a chat are told.

use crate::causes::with_causes;
use crate::ops::ControlError;
use crate::session::{PendingState, SessionError};
use crate::turn::TurnError;

/// Why a message is not taken.
pub(super) fn refused(error: &ControlError) -> String {
    match error {
        ControlError::QueueFull { waiting, .. } => format!(
            "{waiting} messages wait here already, so this one was not taken. Send it again later, or `/stop` what runs."
        ),
        error => format!("This message was not taken: {}", failed(error)),
    }
}

/// Why something was not done.
pub(super) fn failed(error: &ControlError) -> String {
    match error {
        ControlError::Session(SessionError::NoSuchSession(_)) => {
            "there is no session here yet: the next message makes one".to_owned()
        }
        ControlError::Turn(TurnError::Stopped) => "it was stopped".to_owned(),
        ControlError::Claim(_) => format!("{}: `/stop` ends what runs", with_causes(error)),
        error => with_causes(error),
    }
}

/// What an unanswered message waits for.
pub(super) fn state(state: PendingState) -> &'static str {
    match state {
        PendingState::Waiting => "waiting",
        PendingState::Running => "running",
        PendingState::Left => "not begun",
        PendingState::Interrupted => "interrupted, `/retry` sends it again",
        PendingState::Answered => "answered, its reply is on its way",
    }
}

/// What is said of a turn that a restart interrupted.
pub(super) const INTERRUPTED: &str =
    "⚠ This was interrupted by a restart and was not answered. It is not sent again by itself.";

/// A text on one line, at most so many characters.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let cut: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{cut}…")
}

/// What a person is told who may not do something.
pub(super) const NOT_ALLOWED: &str = "Only an owner can do this.";
