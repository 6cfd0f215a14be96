//! What an agent asks while its turn runs, and what it is answered. Where both are
//! kept is in `turn_files`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A question for permission that waits for an answer. Tool and detail are the
/// agent's own text: whoever shows them has to escape them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The folder of the session.
    #[serde(skip)]
    pub folder: String,
    /// The queue entry whose turn asks.
    #[serde(skip)]
    pub entry: u64,
    /// Its number in that turn, from 1.
    #[serde(skip)]
    pub number: u32,
    /// What no other question has, also when a turn is repeated.
    pub id: Uuid,
    /// The name of the tool.
    pub tool: String,
    /// The whole command, or the whole input of the tool.
    pub detail: String,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it is denied unless somebody has answered.
    pub deadline: Timestamp,
}

/// A person's answer to one question. It counts for this one use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionAnswer {
    /// The question's id.
    pub question: Uuid,
    /// Whether the agent may.
    pub allow: bool,
    /// The name of whoever decided.
    pub by: String,
    /// Why it may not, for the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was decided.
    pub at: Timestamp,
}

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerOutcome {
    /// It is the one that counts.
    Counts,
    /// Somebody was faster.
    Decided(QuestionAnswer),
    /// Nobody waits for it any more.
    Over,
}
