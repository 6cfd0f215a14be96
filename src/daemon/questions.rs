//! The questions of agents that were put in a chat and wait for a button, by the
//! random ids of their buttons.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::channel::Pressed;
use crate::key::Key;
use crate::session::Question;

/// What is said of a button that decides nothing any more.
pub(super) const OVER: &str = "This is no longer asked.";

/// The questions that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct OpenQuestions(Mutex<HashMap<String, PutQuestion>>);

/// A question that was put in a chat.
#[derive(Debug)]
pub(super) struct PutQuestion {
    pub(super) key: Key,
    pub(super) channel: String,
    /// The message with the buttons, once it is known.
    pub(super) message: Option<String>,
    pub(super) question: Arc<Question>,
}

impl OpenQuestions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, PutQuestion>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question is put. It is forgotten when what is returned is dropped.
    pub(super) fn put(&self, id: String, question: PutQuestion) -> QuestionGuard<'_> {
        self.lock().insert(id.clone(), question);
        QuestionGuard { questions: self, id }
    }

    /// What a button that was pressed decides: which question, and whether it is
    /// allowed. Else what the person is told. A button counts only on the message
    /// it was made for, in its session, and only for somebody who may decide.
    pub(super) fn pressed(&self, pressed: &Pressed) -> Result<(Arc<Question>, bool), &'static str> {
        let (id, choice) = pressed.id.strip_prefix("ask:").and_then(|rest| rest.split_once(':')).ok_or(OVER)?;
        let allow = match choice {
            "allow" => true,
            "deny" => false,
            _ => return Err(OVER),
        };
        let open = self.lock();
        let put = open.get(id).ok_or(OVER)?;
        let same_message = put.message.is_none() || put.message == pressed.address.message;
        if put.key != pressed.key || put.channel != pressed.address.channel || !same_message {
            return Err(OVER);
        }
        if !pressed.approver {
            return Err("Only an owner can decide this.");
        }
        Ok((put.question.clone(), allow))
    }
}

/// Forgets a question when it is dropped, however that comes about.
pub(super) struct QuestionGuard<'a> {
    questions: &'a OpenQuestions,
    id: String,
}

impl QuestionGuard<'_> {
    /// The question was put in this message. If the network does not name it, its
    /// one-time id is all that is known of it.
    pub(super) fn is_in(&self, message: &str) {
        if let Some(put) = self.questions.lock().get_mut(&self.id) {
            put.message = Some(message.to_owned()).filter(|id| !id.is_empty());
        }
    }
}

impl Drop for QuestionGuard<'_> {
    fn drop(&mut self) {
        self.questions.lock().remove(&self.id);
    }
}
