//! What the agents of running turns ask, from whichever process: seeing it, and
//! answering it once.

use super::{Control, ControlError};
use crate::key::Key;
use crate::session::{AnswerOutcome, Question, QuestionAnswer, answer_question, now, open_questions};
use crate::turn::approval::Decision;

/// Who answers a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approver {
    /// The person at a terminal, to whom everything here belongs.
    Terminal,
    /// Somebody in a chat.
    Chat {
        /// Their name.
        name: String,
        /// Whether they may decide.
        may_decide: bool,
    },
    /// Denizen itself, which only ever denies: nobody can be asked.
    Denizen,
}

impl Approver {
    fn name(&self) -> &str {
        match self {
            Self::Terminal => "the person at the terminal",
            Self::Chat { name, .. } => name,
            Self::Denizen => "Denizen",
        }
    }

    fn may(&self, decision: &Decision) -> bool {
        match self {
            Self::Terminal => true,
            Self::Chat { may_decide, .. } => *may_decide,
            Self::Denizen => *decision != Decision::Allow,
        }
    }
}

impl Control {
    /// The questions of a session that wait for an answer, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn questions(&self, key: &Key) -> Result<Vec<Question>, ControlError> {
        Ok(open_questions(&self.store, &key.folder_name())?)
    }

    /// Answers a question of a running turn. The first answer counts, whichever
    /// process gives it. Blocks the thread for a moment.
    ///
    /// # Errors
    /// If the approver may not decide, or the answer cannot be written; the question
    /// then still stands.
    pub fn decide(
        &self,
        question: &Question,
        decision: Decision,
        approver: &Approver,
    ) -> Result<AnswerOutcome, ControlError> {
        let by = approver.name().to_owned();
        if !approver.may(&decision) {
            return Err(ControlError::MayNotDecide(by));
        }
        let (allow, reason) = match decision {
            Decision::Allow => (true, None),
            Decision::Deny(words) => (false, Some(words)),
        };
        let answer = QuestionAnswer { question: question.id, allow, by, reason, at: now() };
        Ok(answer_question(&self.store, question, &answer)?)
    }
}
