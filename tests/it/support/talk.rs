//! Talking in sessions with a real CLI, each message checked against everything
//! that the model was sent for it.

use std::path::{Path, PathBuf};

use super::clis::{Cli, Clis, Login};
use super::model::{Model, Request, reply};
use super::root::Root;

/// Sessions of one CLI, and the words that may be said in them.
pub(crate) struct Talk {
    // Dropped in this order: the model runs in the root.
    pub(crate) model: Model,
    pub(crate) root: Root,
    words: Vec<String>,
    at: PathBuf,
}

impl Talk {
    /// A root where the model answers each `<word>` with `heard-<word>`, or
    /// nothing where the CLI is not installed. No word may be a part of another.
    pub(crate) fn new(cli: Cli, test: &str, words: &[impl ToString]) -> Option<Self> {
        let clis = Clis::find(test)?;
        let mut root = Root::new(test);
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        // A message that quotes earlier words is answered by the last of them.
        let fixtures = words.iter().rev().map(|word| reply(word, &format!("heard-{word}"))).collect();
        let model = Model::start(&root, &clis, fixtures);
        cli.set_up(&mut root, &clis, &model, Login::Environment);
        let at = root.path();
        Some(Self { model, root, words, at })
    }

    /// Where Denizen's root is.
    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// The folder of a session there.
    pub(crate) fn session(&self, folder: &str) -> PathBuf {
        self.at.join("sessions").join(folder)
    }

    /// From now on Denizen's root is there.
    pub(crate) fn go_to(&mut self, root: &Path) {
        root.clone_into(&mut self.at);
    }

    /// Runs `denizen`, which has to succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let root = self.at.to_str().expect("a path of text");
        self.root.ok(&[&["--root", root], args].concat())
    }

    /// Says a word in a session, and demands that the model was sent exactly
    /// these earlier words beside it, with their answers, and none of the
    /// others: by the provider's own conversation, not by a replay.
    pub(crate) fn say(&self, key: &str, word: &str, earlier: &[&str]) -> String {
        let text = format!("Listen: {word}.");
        let (printed, requests) = self.model.during(|| self.ok(&["send", key, &text]));
        assert_eq!(printed.trim(), format!("heard-{word}"), "{key}");
        let sent = all(&requests);
        for other in &self.words {
            let is_earlier = earlier.contains(&other.as_str());
            let expected = other == word || is_earlier;
            assert_eq!(sent.contains(other), expected, "{other} in what the model was sent for {word} in {key}");
            let answer = format!("heard-{other}");
            assert_eq!(sent.contains(&answer), is_earlier, "{answer}, for {word} in {key}");
        }
        assert_lacks(&sent, "<earlier-conversation");
        sent
    }

    /// The id of a session's current conversation.
    pub(crate) fn conversation(&self, key: &str) -> String {
        let status: serde_json::Value = serde_json::from_str(&self.ok(&["status", key, "--json"])).expect("JSON");
        let id = status.pointer("/record/conversation/id").and_then(|id| id.as_str());
        id.unwrap_or_else(|| panic!("no conversation in {status:#}")).to_owned()
    }
}

/// Everything of some requests, as one text.
pub(crate) fn all(requests: &[Request]) -> String {
    requests.iter().map(|request| format!("{}\n{}\n", request.what, request.body)).collect()
}

/// Demands that a text, which may be long, does not hold a word.
pub(crate) fn assert_lacks(text: &str, word: &str) {
    if let Some(at) = text.find(word) {
        let around = &text.as_bytes()[at.saturating_sub(200)..text.len().min(at + 200)];
        panic!("`{word}` is in: …{}…", String::from_utf8_lossy(around));
    }
}

/// Demands that a text, which may be long, holds a word.
pub(crate) fn assert_has(text: &str, word: &str) {
    assert!(text.contains(word), "`{word}` is not in a text of {} bytes", text.len());
}
