//! With every real CLI: two sessions that talk in turns never hold a word of
//! each other, and each holds all of its own, through new, resume and fork.

use crate::support::clis::{Cli, Clis, Login};
use crate::support::model::{Model, Request, reply};
use crate::support::root::Root;

#[test]
fn claude_keeps_conversations_apart_and_whole() {
    keeps_conversations_apart_and_whole(Cli::Claude, "claude_keeps_conversations_apart_and_whole");
}

#[test]
fn codex_keeps_conversations_apart_and_whole() {
    keeps_conversations_apart_and_whole(Cli::Codex, "codex_keeps_conversations_apart_and_whole");
}

#[test]
fn opencode_keeps_conversations_apart_and_whole() {
    keeps_conversations_apart_and_whole(Cli::OpenCode, "opencode_keeps_conversations_apart_and_whole");
}

#[test]
fn gemini_keeps_conversations_apart_and_whole() {
    keeps_conversations_apart_and_whole(Cli::Gemini, "gemini_keeps_conversations_apart_and_whole");
}

/// Every word that is said. The model answers `<word>` with `heard-<word>`.
const WORDS: &[&str] = &[
    "alder-one",
    "alder-two",
    "alder-three",
    "alder-four",
    "alder-five",
    "alder-six",
    "birch-one",
    "birch-two",
    "cedar-one",
    "cedar-two",
];

struct Talk {
    // Dropped in this order: the model runs in the root.
    model: Model,
    root: Root,
}

impl Talk {
    /// Says a word in a session, and demands that the model was sent exactly
    /// these earlier words beside it, and their answers, and none of the others.
    fn say(&self, key: &str, word: &str, earlier: &[&str]) {
        let text = format!("Listen: {word}.");
        let (printed, requests) = self.model.during(|| self.root.ok(&["send", key, &text]));
        assert_eq!(printed.trim(), format!("heard-{word}"), "{key}");
        assert!(!requests.is_empty());
        let sent = all(&requests);
        for other in WORDS {
            let expected = *other == word || earlier.contains(other);
            assert_eq!(sent.contains(other), expected, "{other} in what the model was sent for {word} in {key}");
            let answer = format!("heard-{other}");
            assert_eq!(sent.contains(&answer), earlier.contains(other), "{answer}, for {word} in {key}");
        }
        // Nor where another session is. The fork's past was in its source's folder.
        for other in ["alder", "birch", "cedar"].into_iter().filter(|other| *other != key && key != "cedar") {
            assert!(!sent.contains(&format!("sessions/{other}")), "the folder of {other}, for {word} in {key}");
        }
    }

    /// The id of a session's current conversation.
    fn conversation(&self, key: &str) -> String {
        let status = self.root.json(&["status", key]);
        let id = status.pointer("/record/conversation/id").and_then(|id| id.as_str());
        id.unwrap_or_else(|| panic!("no conversation in {status:#}")).to_owned()
    }
}

fn all(requests: &[Request]) -> String {
    requests.iter().map(|request| format!("{}\n{}\n", request.what, request.body)).collect()
}

fn keeps_conversations_apart_and_whole(cli: Cli, test: &str) {
    let Some(clis) = Clis::find(test) else { return };
    let mut root = Root::new(test);
    let fixtures = WORDS.iter().map(|word| reply(word, &format!("heard-{word}"))).collect();
    let model = Model::start(&root, &clis, fixtures);
    cli.set_up(&mut root, &clis, &model, Login::Environment);
    let talk = Talk { model, root };

    // Two sessions in turns, a fresh process for each.
    talk.say("alder", "alder-one", &[]);
    talk.say("birch", "birch-one", &[]);
    talk.say("alder", "alder-two", &["alder-one"]);
    talk.say("birch", "birch-two", &["birch-one"]);
    talk.say("alder", "alder-three", &["alder-one", "alder-two"]);

    // A new conversation knows nothing; the old one comes back whole.
    let first = talk.conversation("alder");
    talk.root.ok(&["new", "alder"]);
    talk.say("alder", "alder-four", &[]);
    assert_ne!(talk.conversation("alder"), first);
    talk.root.ok(&["resume", "alder", &first]);
    talk.say("alder", "alder-five", &["alder-one", "alder-two", "alder-three"]);
    assert_eq!(talk.conversation("alder"), first);

    // A fork shares the past, and neither knows the other's future.
    let past = ["alder-one", "alder-two", "alder-three", "alder-five"];
    talk.root.ok(&["fork", "alder", "cedar"]);
    talk.say("cedar", "cedar-one", &past);
    talk.say("alder", "alder-six", &past);
    talk.say("cedar", "cedar-two", &[&past[..], &["cedar-one"]].concat());
}
