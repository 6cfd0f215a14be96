//! Any program: the prompt on standard input, the reply on standard output.
//!
//! Its arguments are a template: `{conversation}` is the conversation's id,
//! which Denizen chooses, `{session}` the session's folder, `{memory}` the
//! memory directory, `{model}` the model. The brief is told in the prompt, at
//! the start of a conversation and when the memory changed. The program is
//! trusted to remember its conversations by their id; one that cannot is simply
//! asked again each time.

use std::path::Path;

use uuid::Uuid;

use super::{
    Continuation, Failure, FailureKind, Input, Invocation, Parser, ProcessEnd, Provider, ProviderError, ProviderEvent,
    Step, Turn, briefed_prompt,
};
use crate::config::keys::{KeySpec, ValueKind};

/// The provider.
#[derive(Debug)]
pub(super) struct CommandProvider;

const KEYS: &[KeySpec] = &[KeySpec {
    name: "args",
    kind: ValueKind::Texts,
    default: "[]",
    help: "The program's arguments. `{conversation}`, `{session}`, `{memory}` and `{model}` are filled in.",
}];

impl Provider for CommandProvider {
    fn name(&self) -> &'static str {
        "command"
    }

    fn program(&self) -> Option<&'static str> {
        None
    }

    fn keys(&self) -> &'static [KeySpec] {
        KEYS
    }

    fn login_hint(&self) -> &'static str {
        "see the program's own documentation, and name its variables in `env`"
    }

    fn keeps_files(&self) -> bool {
        false
    }

    /// What the program keeps is its own affair, so an id that Denizen made is
    /// as good as a file.
    fn is_conversation_file(&self, id: &str, _file: &Path) -> bool {
        id.parse::<Uuid>().is_ok()
    }

    fn prepare(&self, _turn: &Turn<'_>) -> Vec<Step> {
        Vec::new()
    }

    fn invocation(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        let new_id = turn.new_id.to_string();
        let conversation = match turn.continuation {
            Continuation::Resume(id) => id,
            Continuation::Fresh | Continuation::Fork(_) => &new_id,
        };
        let mut invocation = Invocation::of(turn.program);
        let fill = |arg: &String| {
            arg.replace("{conversation}", conversation)
                .replace("{session}", &turn.place.session.to_string_lossy())
                .replace("{memory}", &turn.place.memory.to_string_lossy())
                .replace("{model}", turn.model.unwrap_or_default())
        };
        invocation.args(turn.options.args.iter().map(fill));
        invocation.env("DENIZEN_CONVERSATION", conversation).env("DENIZEN_MEMORY", turn.place.memory.as_os_str());
        invocation.stdin = Input::Whole(briefed_prompt(turn));
        Ok(invocation)
    }

    fn parser(&self, turn: &Turn<'_>) -> Box<dyn Parser> {
        let conversation = match turn.continuation {
            Continuation::Resume(id) => id.clone(),
            Continuation::Fresh | Continuation::Fork(_) => turn.new_id.to_string(),
        };
        Box::new(CommandParser { conversation, text: String::new() })
    }
}

/// Takes all that is printed for the reply.
struct CommandParser {
    conversation: String,
    text: String,
}

impl Parser for CommandParser {
    fn line(&mut self, line: &str, events: &mut Vec<ProviderEvent>) {
        let line = format!("{line}\n");
        self.text.push_str(&line);
        events.push(ProviderEvent::Delta(line));
    }

    fn end(&mut self, end: &ProcessEnd<'_>, events: &mut Vec<ProviderEvent>) {
        let text = self.text.trim_end();
        if end.code != Some(0) {
            events.push(ProviderEvent::Failed(end.failure()));
        } else if text.is_empty() {
            events.push(ProviderEvent::Failed(Failure::new(FailureKind::Other, "it ended without printing a reply")));
        } else {
            events.push(ProviderEvent::Conversation(self.conversation.clone()));
            events.push(ProviderEvent::Text(text.to_owned()));
            events.push(ProviderEvent::Done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::{self, Fixture};

    #[test]
    fn arguments_are_filled_in() {
        let mut fixture = Fixture::default();
        fixture.options.args = ["--session".into(), "{conversation}".into(), "in {session}".into()].into();
        let resume = Continuation::Resume("id-1".into());
        let mut turn = fixture.turn(&resume, "hello");
        turn.told = true;
        let invocation = CommandProvider.invocation(&turn).expect("an invocation");
        assert_eq!(testing::args(&invocation), ["--session", "id-1", "in /r/sessions/a"]);
        assert_eq!(invocation.stdin.bytes(), b"hello");
        turn.told = false;
        let invocation = CommandProvider.invocation(&turn).expect("an invocation");
        assert!(String::from_utf8_lossy(invocation.stdin.bytes()).starts_with("<brief>\nBe kind.\n\n# Memory\n"));
    }

    #[test]
    fn silence_is_a_failure() {
        let parser = || CommandParser { conversation: "c".into(), text: String::new() };
        let silent = testing::events(&mut parser(), &["", " "], Some(0), "");
        assert!(matches!(silent.last(), Some(ProviderEvent::Failed(_))), "{silent:?}");
        let failed = testing::events(&mut parser(), &["half"], Some(3), "oh no\n");
        assert!(
            matches!(failed.last(), Some(ProviderEvent::Failed(failure)) if failure.message == "oh no"),
            "{failed:?}"
        );
        let good = testing::events(&mut parser(), &["a", "b"], Some(0), "");
        assert_eq!(
            good[2..],
            [ProviderEvent::Conversation("c".into()), ProviderEvent::Text("a\nb".into()), ProviderEvent::Done]
        );
    }
}
