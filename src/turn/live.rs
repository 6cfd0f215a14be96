//! What other processes see of a running turn: a file beside its queue entry,
//! replaced at most once a second and only when it says something else. A turn of
//! less than a second has none.

use std::convert::Infallible;
use std::time::Duration;

use super::events::{Doing, TurnEvents, TurnSoFar, TurnState, WaitingFor};
use crate::session::{LiveTurn, TurnFiles, WorkspaceGuard};

/// How often the file is replaced at most.
const PACE: Duration = Duration::from_secs(1);

/// The longest activity that is shown, in characters.
const MAX_ACTIVITY: usize = 200;

/// Shows the turn of the message that a guard has in hand for as long as it is polled.
pub(crate) struct LiveView {
    files: Option<TurnFiles>,
    shown: Option<LiveTurn>,
}

impl LiveView {
    /// Nothing is shown yet.
    pub(crate) fn of(guard: &WorkspaceGuard) -> Self {
        Self { files: guard.claim().turn_files(), shown: None }
    }

    /// Shows what happens, until it is dropped.
    pub(crate) async fn show(mut self, events: &TurnEvents) -> Infallible {
        loop {
            tokio::time::sleep(PACE).await;
            let live = events.look(live);
            if let Some(files) = &self.files
                && live.is_some()
                && live != self.shown
                && let Some(live) = live
            {
                let state = self.shown.replace(live.clone()).map(|shown| shown.state);
                // A view that cannot be shown is missed by nobody who works.
                let _shown = files.show(&live);
                if state != Some(live.state) {
                    files.note_changed();
                }
            }
        }
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        if let (Some(files), Some(_)) = (&self.files, &self.shown) {
            // What stays behind goes when the entry's owner is gone.
            let _hidden = files.hide();
            files.note_changed();
        }
    }
}

fn live(so_far: &TurnSoFar) -> Option<LiveTurn> {
    let state = match so_far.state() {
        TurnState::Waiting => "waiting",
        TurnState::Running => "running",
        TurnState::Asking => "asking",
    };
    let activity = match &so_far.doing {
        Some(Doing::Activity(text)) => Some(escaped_line(text)),
        Some(Doing::Waiting(WaitingFor::Permit)) => Some("as many turns as may run are running".to_owned()),
        Some(Doing::Waiting(WaitingFor::Login)) => Some("another turn may be renewing the login".to_owned()),
        Some(Doing::Waiting(WaitingFor::Session(_))) | None => None,
    };
    Some(LiveTurn { state: state.to_owned(), since: so_far.since?, activity })
}

/// A text of the agent on one line, in which nothing acts on a terminal.
fn escaped_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut escaped = String::new();
    for (at, c) in line.chars().enumerate() {
        if at == MAX_ACTIVITY {
            escaped.push('…');
            break;
        }
        let is_hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if is_hidden { escaped.extend(c.escape_unicode()) } else { escaped.push(c) }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activity_is_one_line_that_does_nothing() {
        assert_eq!(escaped_line("Bash:\n  ls \x1b[2J\u{202e}x"), "Bash: ls \\u{1b}[2J\\u{202e}x");
        assert_eq!(escaped_line(&"ü".repeat(1000)).chars().count(), MAX_ACTIVITY + 1);
    }
}
