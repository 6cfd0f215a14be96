//! Writing down what became of a turn.

use std::path::{Path, PathBuf};

use super::progress::TurnProgress;
use super::{TurnError, TurnReply, TurnRequest, prompt};
use crate::files::Durability;
use crate::provider_home;
use crate::session::{LastTurn, Message, SessionError, Speaker, TranscriptEntry, TurnOutcome, WorkspaceGuard};

/// Writes down what became of the turn: the transcript, then the record.
pub(super) async fn record(
    guard: WorkspaceGuard,
    request: TurnRequest<'_>,
    heard: TurnProgress,
    result: Result<(), TurnError>,
) -> (WorkspaceGuard, Result<TurnReply, TurnError>) {
    let message = request.message.clone();
    let durability = guard.store().durability();
    let write = move |mut guard: WorkspaceGuard| {
        let mut heard = heard;
        let files = prompt::outbox(&mut guard);
        let written = write_down(&mut guard, &message, &heard, &files, result.as_ref().err());
        if let Some(place) = &heard.place {
            // A stamp that cannot be written makes the next turn make the home again.
            let _left = provider_home::leave(&guard, place);
        }
        // A failure carries no notices: who delivers it asks the guard.
        if result.is_ok() {
            heard.notices.extend(guard.take_notices());
        }
        let reply = TurnReply {
            text: heard.text(),
            turn: guard.record().turns,
            provider: heard.provider,
            conversation: guard.record().conversation.as_ref().map(|current| current.id.clone()),
            usage: heard.usage.unwrap_or_default(),
            notices: heard.notices,
            files,
        };
        let result = match (result, written) {
            (Ok(()), Ok(())) => Ok(reply),
            (Ok(()), Err(source)) => Err(TurnError::NotRecorded { reply: Box::new(reply), source }),
            (Err(error), Ok(())) => Err(error),
            (Err(failure), Err(source)) => Err(TurnError::FailureNotRecorded { failure: Box::new(failure), source }),
        };
        (guard, result)
    };
    if durability == Durability::Process {
        return write(guard);
    }
    // Syncing may take long when the disk is busy.
    match tokio::task::spawn_blocking(move || write(guard)).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn write_down(
    guard: &mut WorkspaceGuard,
    message: &Message,
    heard: &TurnProgress,
    files: &[PathBuf],
    failed: Option<&TurnError>,
) -> Result<(), SessionError> {
    let now = crate::session::now();
    let turn = guard.record().turns.saturating_add(1);
    let conversation = guard.record().conversation.as_ref().map(|current| current.id.clone());
    let entry = guard.claim().message_entry();
    let line = |at, who, text: String| TranscriptEntry {
        at,
        who,
        text,
        turn,
        author: None,
        provider: Some(heard.provider.clone()),
        conversation: conversation.clone(),
        entry,
        usage: None,
        notices: Vec::new(),
        files: Vec::new(),
    };
    let (notices, path) = (heard.notices.clone(), guard.path());
    let files = files.iter().filter_map(|file| file.strip_prefix(path).ok().map(Path::to_owned)).collect();
    let mut lines = vec![TranscriptEntry {
        author: message.author.clone(),
        ..line(message.at, Speaker::User, message.text.clone())
    }];
    let text = heard.text();
    if failed.is_none() || !text.is_empty() {
        lines.push(TranscriptEntry { usage: heard.usage, ..line(now, Speaker::Agent, text) });
    }
    if let Some(error) = failed {
        lines.push(line(now, Speaker::Denizen, error.to_string()));
    }
    if let Some(last) = lines.last_mut() {
        (last.notices, last.files) = (notices, files);
    }
    guard.append(&lines)?;
    let record = guard.record_mut();
    record.turns = turn;
    record.last_used_at = now;
    record.archived_at = None;
    record.usage.add(heard.usage.unwrap_or_default());
    record.last_turn = Some(LastTurn {
        at: now,
        outcome: if failed.is_none() { TurnOutcome::Answered } else { TurnOutcome::Failed },
        reason: failed.map(ToString::to_string),
    });
    if let Some(current) = &mut record.conversation {
        current.last_used_at = now;
        current.reported = heard.reported.or(current.reported);
        current.file = heard.file;
        current.copy_of = None;
        if failed.is_none() {
            current.turns = current.turns.saturating_add(1);
            current.told.clone_from(&heard.told);
        }
    }
    guard.save()
}
