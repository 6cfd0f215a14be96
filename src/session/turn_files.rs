//! What a running turn keeps beside its queue entry for other processes: what it is
//! doing, what its agent asks, and the answers.
//!
//! ```text
//! <entry>.live            what the turn is doing
//! <entry>.ask-<n>.json    a question that waits for an answer
//! <entry>.answer-<n>      its answer; the first one counts
//! ```
//!
//! They mean something only as long as the entry's owner lives: the line sweeps
//! away those of the dead. Nothing is synced, and a short turn makes none of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Error as JsonError;

use super::question::{AnswerOutcome, Question, QuestionAnswer};
use super::{SessionError, Store};
use crate::files::{Dir, Durability, TicketLine};

/// The longest question that is read, in bytes. Its text has at most some 64 KiB,
/// and JSON may need six bytes for one.
const MAX_QUESTION_BYTES: u64 = 512 * 1024;

/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// The longest name of whoever decided, in characters.
const MAX_NAME: usize = 200;

/// The longest reason, in characters.
const MAX_REASON: usize = 2000;

/// The state of a turn in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnState {
    /// It waits.
    Waiting,
    /// It runs.
    Running,
    /// Its agent asks something.
    Asking,
}

/// What a turn is doing, as other processes see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveTurn {
    /// Its state in one word.
    pub state: TurnState,
    /// Since when.
    pub since: Timestamp,
    /// What the agent did last, in one line without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
}

/// The files of one turn. Whoever has this owns the turn's entry.
#[derive(Debug, Clone)]
pub struct TurnFiles {
    store: Arc<Store>,
    folder: String,
    entry: u64,
}

impl TurnFiles {
    /// Those of the turn of an entry. Nothing is made.
    pub(super) fn of(store: Arc<Store>, folder: &str, entry: u64) -> Self {
        Self { store, folder: folder.to_owned(), entry }
    }

    /// The folder of the session.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The queue entry.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Shows what the turn is doing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn show(&self, live: &LiveTurn) -> Result<(), SessionError> {
        self.line()?.dir().replace(&live_name(self.entry), &to_json(live), &self.store.unsynced_staging()?)?;
        Ok(())
    }

    /// No longer shows anything.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn hide(&self) -> Result<(), SessionError> {
        Ok(self.line()?.dir().remove_file(&live_name(self.entry))?)
    }

    /// Asks a question.
    ///
    /// # Errors
    /// If it cannot be written; nobody then sees it.
    pub fn ask(&self, question: &Question) -> Result<(), SessionError> {
        let line = self.line()?;
        line.dir().replace(&ask_name(question), &to_json(question), &self.store.unsynced_staging()?)?;
        self.note_changed();
        Ok(())
    }

    /// Whether somebody has answered.
    #[must_use]
    pub fn is_answered(&self, question: &Question) -> bool {
        self.store.queue_path(&self.folder).join(answer_name(question)).exists()
    }

    /// Ends a question, and gives the answer if somebody has given one. Nobody can
    /// answer it from now on.
    ///
    /// # Errors
    /// If the answer cannot be read: nobody knows then what was decided.
    pub fn close(&self, question: &Question) -> Result<Option<QuestionAnswer>, SessionError> {
        let line = self.line()?;
        // Whoever answers holds it too, so that no answer comes between these.
        let lock = line.dir().lock()?;
        let answer = read_answer(line.dir(), question);
        line.dir().remove_file(&ask_name(question))?;
        line.dir().remove_file(&answer_name(question))?;
        drop(lock);
        self.note_changed();
        answer
    }

    /// Lets other processes know that there is something new.
    pub fn note_changed(&self) {
        // Whoever misses it sees it at the next look.
        let _noted = self.store.note_changed(&self.folder);
    }

    fn line(&self) -> Result<TicketLine, SessionError> {
        Ok(TicketLine::open(&self.store.queue_path(&self.folder), Durability::Process)?)
    }
}

/// The questions of a session that wait for an answer, in order.
///
/// # Errors
/// If the queue cannot be read.
pub fn open_questions(store: &Store, folder: &str) -> Result<Vec<Question>, SessionError> {
    let Some(line) = TicketLine::open_existing(&store.queue_path(folder))? else { return Ok(Vec::new()) };
    let mut questions = Vec::new();
    for (entry, name) in line.companions()? {
        let Some(number) = question_number(&name) else { continue };
        let Some(question) = read_question(line.dir(), folder, entry, number)? else { continue };
        let is_answered = line.dir().stamp(&answer_name(&question))?.is_some();
        if !is_answered && line.is_held(entry)? {
            questions.push(question);
        }
    }
    questions.sort_by_key(|question| (question.entry, question.number));
    Ok(questions)
}

/// Answers a question. The first answer counts, whoever gives it.
///
/// # Errors
/// If it cannot be written; the question then still stands.
pub fn answer_question(
    store: &Store,
    question: &Question,
    answer: &QuestionAnswer,
) -> Result<AnswerOutcome, SessionError> {
    let Some(line) = TicketLine::open_existing(&store.queue_path(&question.folder))? else {
        return Ok(AnswerOutcome::Over);
    };
    let cut = |text: &str, most| text.chars().take(most).collect::<String>();
    let answer = QuestionAnswer {
        question: question.id,
        by: cut(&answer.by, MAX_NAME),
        reason: answer.reason.as_deref().map(|reason| cut(reason, MAX_REASON)),
        ..answer.clone()
    };
    let staging = store.unsynced_staging()?;
    let outcome = {
        let _lock = line.dir().lock()?;
        let standing = read_question(line.dir(), &question.folder, question.entry, question.number)?;
        if standing.is_none_or(|standing| standing.id != question.id) || !line.is_held(question.entry)? {
            AnswerOutcome::Over
        } else if line.dir().make_new(&answer_name(question), &to_json(&answer), &staging)? {
            AnswerOutcome::Counts
        } else {
            read_answer(line.dir(), question)?.map_or(AnswerOutcome::Over, AnswerOutcome::Decided)
        }
    };
    if outcome == AnswerOutcome::Counts {
        // Whoever misses it sees it at the next look.
        let _noted = store.note_changed(&question.folder);
    }
    Ok(outcome)
}

fn read_question(dir: &Dir, folder: &str, entry: u64, number: u32) -> Result<Option<Question>, SessionError> {
    let name = PathBuf::from(format!("{entry:016}.ask-{number}.json"));
    let question: Option<Question> = read(dir, &name, MAX_QUESTION_BYTES)?;
    Ok(question.map(|question| Question { folder: folder.to_owned(), entry, number, ..question }))
}

fn read_answer(dir: &Dir, question: &Question) -> Result<Option<QuestionAnswer>, SessionError> {
    let answer: Option<QuestionAnswer> = read(dir, &answer_name(question), MAX_ANSWER_BYTES)?;
    Ok(answer.filter(|answer| answer.question == question.id))
}

fn read<T: for<'a> Deserialize<'a>>(dir: &Dir, name: &Path, most: u64) -> Result<Option<T>, SessionError> {
    match dir.read(name, most) {
        Ok(bytes) => {
            let json = |error: JsonError| SessionError::json(dir.path().join(name), &error);
            serde_json::from_slice(&bytes).map(Some).map_err(json)
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Serialising plain data into memory cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn live_name(entry: u64) -> PathBuf {
    format!("{entry:016}.live").into()
}

fn ask_name(question: &Question) -> PathBuf {
    format!("{:016}.ask-{}.json", question.entry, question.number).into()
}

fn answer_name(question: &Question) -> PathBuf {
    format!("{:016}.answer-{}", question.entry, question.number).into()
}

/// The number of the question that a file of that name holds.
fn question_number(name: &Path) -> Option<u32> {
    let (_, ending) = name.file_name().and_then(OsStr::to_str)?.split_once('.')?;
    ending.strip_prefix("ask-")?.strip_suffix(".json")?.parse().ok()
}
