//! What other processes see of a running turn: a file beside its queue entry,
//! replaced at most once a second and only when it says something else. A turn of
//! less than a second has none.

use std::convert::Infallible;
use std::time::Duration;

use super::events::{Doing, TurnEvents, TurnSoFar, WaitingFor};
use crate::session::{LiveTurn, TurnFiles, WorkspaceGuard};
use crate::unseen::is_unseen;

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
            let (Some(files), Some(live)) = (&self.files, events.look(live)) else { continue };
            if self.shown.as_ref() != Some(&live) {
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
    let activity = match &so_far.doing {
        Some(Doing::Activity(text)) => Some(escaped_line(text)),
        Some(Doing::Waiting(WaitingFor::Permit)) => Some("as many turns as may run are running".to_owned()),
        Some(Doing::Waiting(WaitingFor::Login)) => Some("another turn may be renewing the login".to_owned()),
        Some(Doing::Waiting(WaitingFor::Session(_))) | None => None,
    };
    Some(LiveTurn { state: so_far.state(), since: so_far.since?, activity })
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
        if is_unseen(c) { escaped.extend(c.escape_unicode()) } else { escaped.push(c) }
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
