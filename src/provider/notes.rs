//! The built-in provider that needs no account: `denizen __notes`, a child
//! process like the others. What it does is in `cli/notes.rs`.
//!
//! It speaks one JSON object a line: `{"conversation": id}` first, then
//! `{"text": …}`, then `{"done": true}` or `{"failed": reason}`.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::{
    Continuation, Failure, FailureKind, Input, Invocation, Parser, ProcessEnd, Provider, ProviderError, ProviderEvent,
    Step, Turn,
};

/// The provider.
#[derive(Debug)]
pub(super) struct Notes;

impl Provider for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn program(&self) -> Option<&'static str> {
        None
    }

    fn login_hint(&self) -> &'static str {
        "it needs no login"
    }

    fn is_conversation_file(&self, id: &str, file: &Path) -> bool {
        id.parse::<Uuid>().is_ok() && file == Path::new(&format!("{id}.jsonl"))
    }

    fn prepare(&self, _turn: &Turn<'_>) -> Vec<Step> {
        Vec::new()
    }

    fn invocation(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        let mut invocation = Invocation::of(turn.program);
        let new_id = turn.new_id.to_string();
        invocation.arg("__notes").arg(&turn.place.conversations).arg(&turn.place.memory);
        match turn.continuation {
            Continuation::Fresh => invocation.args(["fresh", &new_id]),
            Continuation::Resume(id) => invocation.args(["resume", id]),
            Continuation::Fork(id) => invocation.args(["fork", &new_id, id]),
        };
        invocation.stdin = Input::Whole(turn.prompt.as_bytes().to_vec());
        Ok(invocation)
    }

    fn parser(&self, _turn: &Turn<'_>) -> Box<dyn Parser> {
        Box::new(NotesParser { finished: false })
    }
}

struct NotesParser {
    finished: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum NotesLine {
    Conversation(String),
    Text(String),
    Done(IgnoredAny),
    Failed(String),
}

impl Parser for NotesParser {
    fn line(&mut self, line: &str, events: &mut Vec<ProviderEvent>) {
        match serde_json::from_str(line) {
            Ok(NotesLine::Conversation(id)) => events.push(ProviderEvent::Conversation(id)),
            Ok(NotesLine::Text(text)) => events.push(ProviderEvent::Text(text)),
            Ok(NotesLine::Done(_)) => {
                self.finished = true;
                events.push(ProviderEvent::Done);
            }
            Ok(NotesLine::Failed(reason)) => {
                self.finished = true;
                let kind = match reason.as_str() {
                    "no such conversation" => FailureKind::ConversationUnknown,
                    "that conversation exists" => FailureKind::ConversationInUse,
                    _ => FailureKind::Other,
                };
                events.push(ProviderEvent::Failed(Failure::new(kind, reason)));
            }
            Err(_) => {}
        }
    }

    fn end(&mut self, end: &ProcessEnd<'_>, events: &mut Vec<ProviderEvent>) {
        if !self.finished {
            events.push(ProviderEvent::Failed(end.failure()));
        }
    }
}
