//! `transcript.jsonl`: every turn, the same for all providers, append-only.
//!
//! Each line is one JSON object whose first fields are `at`, `who` and `text`,
//! so that `less` shows a conversation. A line that does not parse (a write was
//! cut short, a person edited it) is skipped by readers. One that has no end
//! either is kept in `state/conflicts/` before the next is written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::queue::Author;
use super::record::Usage;

/// Who said a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// A person, or a program that speaks for one.
    User,
    /// The agent.
    Agent,
    /// Denizen itself: what a turn failed of.
    Denizen,
}

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TranscriptEntry {
    /// When it was said.
    pub at: Timestamp,
    /// Who said it.
    pub who: Speaker,
    /// What was said.
    pub text: String,
    /// The session's number of the turn, from 1.
    #[serde(default)]
    pub turn: u64,
    /// The author, where a channel names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// The provider that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's id of the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// The number of the queue entry that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// What the turn used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What the person was told beside the reply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// Files that the agent left, relative to the session's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
}

/// What a turn came to, as the transcript says it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    /// The number of the turn.
    pub turn: u64,
    /// What the agent said.
    pub text: String,
    /// Why the turn failed, if it did.
    pub failed: Option<String>,
    /// What the person is told beside it.
    pub notices: Vec<String>,
    /// Files that the agent left, relative to the session's folder.
    pub files: Vec<PathBuf>,
}

impl Recorded {
    /// What some lines say of the turn of a queue entry. `None` if they do
    /// not hold both its message and what came of it.
    pub(super) fn of<'a>(lines: impl Iterator<Item = &'a TranscriptEntry>, entry: u64) -> Option<Self> {
        let mut recorded = Self::default();
        let (mut asked, mut ended) = (false, false);
        for line in lines.filter(|line| line.entry == Some(entry)) {
            recorded.turn = line.turn;
            match line.who {
                // One that is sent again begins again.
                Speaker::User => (recorded, asked, ended) = (Self { turn: line.turn, ..Self::default() }, true, false),
                Speaker::Agent => {
                    recorded.text.clone_from(&line.text);
                    ended = true;
                }
                Speaker::Denizen => {
                    recorded.failed = Some(line.text.clone());
                    ended = true;
                }
            }
            if line.who != Speaker::User {
                recorded.notices.extend(line.notices.iter().cloned());
                recorded.files.extend(line.files.iter().cloned());
            }
        }
        (asked && ended).then_some(recorded)
    }
}

impl TranscriptEntry {
    /// The line as it is written, with its newline.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Serialising plain data into memory cannot fail.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// A transcript, open for reading.
#[derive(Debug)]
pub struct Transcript {
    file: File,
}

/// How much of the end is read at a time, in bytes.
const BLOCK: u64 = 64 * 1024;

/// The longest part of a transcript that is read at once, in bytes.
const MAX_TAIL: u64 = 64 * 1024 * 1024;

impl Transcript {
    pub(super) fn new(file: File) -> Self {
        Self { file }
    }

    /// The last `count` lines that parse, in order.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn last(&mut self, count: usize) -> io::Result<Vec<TranscriptEntry>> {
        let size = self.file.metadata()?.len();
        let mut length = BLOCK;
        loop {
            let length_now = length.min(size);
            let mut tail = Vec::new();
            self.file.seek(SeekFrom::Start(size - length_now))?;
            self.file.by_ref().take(length_now).read_to_end(&mut tail)?;
            // The first line of a part of the file is a part of a line.
            let whole = length_now == size;
            let start = if whole { 0 } else { tail.iter().position(|b| *b == b'\n').map_or(tail.len(), |at| at + 1) };
            let mut lines: Vec<TranscriptEntry> = parse_lines(tail.get(start..).unwrap_or_default());
            if whole || lines.len() >= count || length >= MAX_TAIL {
                return Ok(lines.split_off(lines.len().saturating_sub(count)));
            }
            length *= 4;
        }
    }

    /// The lines that parse and begin at or after a place, in bytes.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn from(&mut self, place: u64) -> io::Result<Vec<TranscriptEntry>> {
        let mut tail = Vec::new();
        self.file.seek(SeekFrom::Start(place))?;
        self.file.by_ref().take(MAX_TAIL).read_to_end(&mut tail)?;
        Ok(parse_lines(&tail))
    }

    /// Goes through the lines that parse, from the start, one at a time.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn for_each(&mut self, mut take: impl FnMut(TranscriptEntry)) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(&self.file);
        let mut bytes = Vec::new();
        while reader.by_ref().take(MAX_TAIL).read_until(b'\n', &mut bytes)? > 0 {
            if let Ok(line) = serde_json::from_slice(&bytes) {
                take(line);
            }
            bytes.clear();
        }
        Ok(())
    }
}

fn parse_lines(bytes: &[u8]) -> Vec<TranscriptEntry> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_whatever_is_before_it() {
        use std::io::Write;
        let mut file = tempfile::tempfile().expect("a file");
        for turn in 1..=500 {
            let text = "x".repeat(turn);
            let line = TranscriptEntry {
                at: Timestamp::UNIX_EPOCH,
                who: Speaker::User,
                text,
                turn: turn as u64,
                author: None,
                provider: None,
                conversation: None,
                entry: None,
                usage: None,
                notices: Vec::new(),
                files: Vec::new(),
            };
            file.write_all(&line.to_json()).expect("written");
        }
        file.write_all(b"{\"at\": torn").expect("written");
        let mut transcript = Transcript::new(file);
        let turns: Vec<u64> = transcript.last(3).expect("read").iter().map(|line| line.turn).collect();
        assert_eq!(turns, [498, 499, 500]);
        assert_eq!(transcript.last(9999).expect("read").len(), 500);
        let mut count = 0;
        transcript.for_each(|_| count += 1).expect("read");
        assert_eq!(count, 500);
    }
}
