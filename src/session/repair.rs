//! What a program that was killed, or a disk, left half done in a session: the
//! record behind its transcript, a message that was answered, a torn last line.

use std::path::Path;

use super::record::{Conversation, LastTurn, TurnOutcome};
use super::transcript::Speaker;
use super::workspace::{SETTINGS, TRANSCRIPT};
use super::{SessionError, Settings, Workspace, WorkspaceGuard};
use crate::files;

/// The longest last line that is looked at, in bytes.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// A last line that was never written to its end.
struct TornEnd {
    /// Where it begins, in bytes.
    from: u64,
    bytes: Vec<u8>,
}

impl Workspace {
    /// The last line of the transcript, where it has no end and is no JSON.
    fn torn_end(&self) -> Result<Option<TornEnd>, SessionError> {
        let Some((from, bytes)) = self.dir().unended_line(Path::new(TRANSCRIPT), MAX_LINE)? else { return Ok(None) };
        let torn = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_err();
        Ok(torn.then_some(TornEnd { from, bytes }))
    }
}

impl WorkspaceGuard {
    /// Finishes what the program was doing when it ended: brings the record up
    /// to the transcript, and removes a message that was answered, or notes that
    /// it was, where its reply still has to be delivered.
    pub(super) fn repair(&mut self) -> Result<(), SessionError> {
        self.own_control_files()?;
        let size = self.workspace().transcript_bytes()?;
        if size != self.record().transcript_bytes {
            self.catch_up(size)?;
        }
        if !self.claim().came_alone()
            && self.claim().has_left()?
            && let Some(entry) = self.workspace().last_recorded()
        {
            self.claim().settle(entry)?;
        }
        Ok(())
    }

    /// Sees to it that the files which Denizen believes are there, and are its own:
    /// walls protect what exists when a child starts, and what does not could be
    /// forged by it.
    fn own_control_files(&mut self) -> Result<(), SessionError> {
        let transcript = Path::new(TRANSCRIPT);
        match self.workspace().dir().open_file(transcript, u64::MAX) {
            Err(files::Error::Link { .. } | files::Error::NotRegular { .. } | files::Error::HardLinks { .. }) => {
                self.set_aside(transcript)?;
                self.workspace().dir().create_new(transcript)?;
            }
            Err(error) if error.is_not_found() => drop(self.workspace().dir().create_new(transcript)?),
            // What cannot be read now is an error of whoever needs it.
            _ => {}
        }
        // What else stands in the place of the settings is told by who reads them.
        if self.workspace().dir().stamp(Path::new(SETTINGS))?.is_none() {
            self.save_settings(&Settings::default())?;
        }
        Ok(())
    }

    /// Brings the record up to the transcript, where a turn was written to the
    /// one and not yet to the other.
    fn catch_up(&mut self, size: u64) -> Result<(), SessionError> {
        // A line that is torn was never recorded, and is cut off at the next append.
        let torn = self.workspace().torn_end().ok().flatten();
        self.record_mut().transcript_bytes = torn.map_or(size, |torn| torn.from);
        let Some(line) = self.workspace().last_turn().filter(|line| line.turn > self.record().turns) else {
            return Ok(());
        };
        let record = self.record_mut();
        record.turns = line.turn;
        record.last_used_at = line.at;
        let answered = line.who == Speaker::Agent;
        record.last_turn = Some(LastTurn {
            at: line.at,
            outcome: if answered { TurnOutcome::Answered } else { TurnOutcome::Failed },
            reason: (!answered).then(|| line.text.clone()),
        });
        if let Some(usage) = line.usage {
            record.usage.add(usage);
        }
        if let (true, Some(provider), Some(id)) = (answered, &line.provider, &line.conversation) {
            let current = record.conversation.as_mut().filter(|current| current.is(provider, id));
            match current {
                Some(current) => {
                    current.turns = current.turns.saturating_add(1);
                    current.last_used_at = line.at;
                    current.copy_of = None;
                }
                None => {
                    record.retire_conversation();
                    let mut conversation = Conversation::new(provider, id, "");
                    conversation.turns = 1;
                    record.conversation = Some(conversation);
                }
            }
        }
        self.save()
    }

    /// Keeps a torn last line in `state/conflicts/` and cuts it off, so that the
    /// transcript is whole again. Nothing that was acknowledged is in it.
    pub(super) fn cut_torn_end(&mut self) -> Result<(), SessionError> {
        // What is not a file at all is set aside by the append.
        let Ok(Some(torn)) = self.workspace().torn_end() else { return Ok(()) };
        self.keep_bytes(TRANSCRIPT, &torn.bytes)?;
        if self.record().transcript_bytes > torn.from {
            // Before the cut: no record may state more than there is.
            self.record_mut().transcript_bytes = torn.from;
            self.save()?;
        }
        let durability = self.store().durability();
        Ok(self.workspace().dir().cut_off(Path::new(TRANSCRIPT), torn.from, durability)?)
    }
}
