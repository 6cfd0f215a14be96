//! What is known so far of a turn that runs: what the provider said, over all
//! attempts. Not here: what is shown of it, which is `events`.

use std::sync::Arc;

use crate::provider::TurnPaths;
use crate::session::{FileMark, Usage};

/// What was heard from the provider, over all attempts of a turn.
#[derive(Debug, Default)]
pub(super) struct TurnProgress {
    pub(super) provider: String,
    /// Where the provider's things are, once that is known.
    pub(super) place: Option<TurnPaths>,
    pub(super) conversation: Option<String>,
    pub(super) texts: Vec<Arc<str>>,
    /// The length of all texts together, in bytes.
    pub(super) text_bytes: usize,
    pub(super) usage: Option<Usage>,
    pub(super) reported: Option<Usage>,
    pub(super) notices: Vec<String>,
    /// What the conversation's file was like at the end.
    pub(super) file: Option<FileMark>,
    /// The hash of the brief, once the conversation was told it.
    pub(super) told: Option<String>,
    /// The number of the last question that the agent asked.
    pub(super) asked: u32,
}

impl TurnProgress {
    /// The reply so far.
    pub(super) fn text(&self) -> String {
        let texts: Vec<&str> = self.texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
        texts.join("\n\n")
    }

    /// Forgets what a failed attempt said.
    pub(super) fn begin_again(&mut self) {
        self.texts.clear();
        self.text_bytes = 0;
        self.usage = None;
        self.conversation = None;
    }
}
