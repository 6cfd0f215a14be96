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
    Continuation, End, Event, Failure, FailureKind, Input, Invocation, Parser, Provider, ProviderError, Step, Turn,
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

    fn holds(&self, id: &str, file: &Path) -> bool {
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
enum Line {
    Conversation(String),
    Text(String),
    Done(IgnoredAny),
    Failed(String),
}

impl Parser for NotesParser {
    fn line(&mut self, line: &str, events: &mut Vec<Event>) {
        match serde_json::from_str(line) {
            Ok(Line::Conversation(id)) => events.push(Event::Conversation(id)),
            Ok(Line::Text(text)) => events.push(Event::Text(text)),
            Ok(Line::Done(_)) => {
                self.finished = true;
                events.push(Event::Done);
            }
            Ok(Line::Failed(reason)) => {
                self.finished = true;
                let kind = match reason.as_str() {
                    "no such conversation" => FailureKind::ConversationUnknown,
                    "that conversation exists" => FailureKind::ConversationInUse,
                    _ => FailureKind::Other,
                };
                events.push(Event::Failed(Failure::new(kind, reason)));
            }
            Err(_) => {}
        }
    }

    fn end(&mut self, end: &End<'_>, events: &mut Vec<Event>) {
        if !self.finished {
            events.push(Event::Failed(end.failure()));
        }
    }
}
