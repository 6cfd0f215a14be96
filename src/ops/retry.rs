//! Messages that were accepted and not answered: sending one again, or letting
//! go of it.

use tokio::sync::Notify;

use super::send::{Delivery, Held, SendOptions};
use super::{Control, ControlError, Wait};
use crate::key::Key;
use crate::session::{Address, Message, PendingState, Queue, SessionError, Speaker, TurnOutcome};
use crate::turn::TurnError;

impl Control {
    /// Sends again what was not answered: the first message whose turn was
    /// interrupted or never began, else the last one, if its turn failed.
    ///
    /// # Errors
    /// If there is no such message, or the session stays busy.
    pub async fn retry(
        &self,
        key: &Key,
        options: SendOptions<'_>,
        wait: &mut Wait<'_>,
    ) -> Result<Delivery, ControlError> {
        let held = self.unanswered(key, None, options.interrupt, wait).await?;
        self.answer(held, options, wait).await
    }

    /// Takes what [`Control::retry`] would send again. A message that is made
    /// again of a turn that failed gets its reply at `reply`.
    ///
    /// # Errors
    /// If there is no such message, or the session stays busy.
    pub async fn unanswered(
        &self,
        key: &Key,
        reply: Option<Address>,
        interrupt: &Notify,
        wait: &mut Wait<'_>,
    ) -> Result<Held, ControlError> {
        let Some(workspace) = self.store.find(key)? else {
            return Err(SessionError::NoSuchSession(key.to_string()).into());
        };
        // Opening it removes the message of a turn that was recorded, which is
        // not to be sent again.
        tokio::select! {
            opened = self.guard(key, wait) => drop(opened?),
            () = interrupt.notified() => return Err(TurnError::Stopped.into()),
        }
        let record = workspace.record()?;
        let queue = Queue::open(&self.store, &key.folder_name())?;
        for pending in queue.pending()? {
            let Ok(message) = pending.message else { continue };
            if !pending.state.is_abandoned() || message.session.is_some_and(|session| session != record.uuid) {
                continue;
            }
            if let Some(held) = self.take_over(key, pending.number)? {
                return Ok(held);
            }
        }
        let failed = record.last_turn.as_ref().is_some_and(|last| last.outcome == TurnOutcome::Failed);
        let lines = workspace.last_lines(3)?;
        let Some(line) = lines.into_iter().rfind(|line| line.who == Speaker::User).filter(|_| failed) else {
            return Err(ControlError::Nothing(format!(
                "there is nothing to retry in `{key}`: every message was answered"
            )));
        };
        let message = Message { author: line.author, reply, ..Message::plain(Some(record.uuid), &line.text) };
        let ticket = self.join(key, &queue, &message)?;
        Ok(Held { key: key.clone(), place: record.place, queue, ticket, message, again: false })
    }

    /// Takes over the message of an entry whose turn was interrupted or never
    /// began. `None` if it is none of these.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn take_over_unanswered(&self, key: &Key, number: u64) -> Result<Option<Held>, ControlError> {
        let pending = self.pending(&key.folder_name())?;
        match pending.iter().any(|pending| pending.number == number && pending.state.is_abandoned()) {
            true => self.take_over(key, number),
            false => Ok(None),
        }
    }

    /// Lets go of messages that nobody takes up by itself, because their turn was
    /// interrupted or their terminal is gone: of one entry, or of all. Returns
    /// them; nothing sends them again.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn dismiss(&self, key: &Key, number: Option<u64>) -> Result<Vec<Message>, ControlError> {
        let mut dismissed = Vec::new();
        for pending in self.pending(&key.folder_name())? {
            let Ok(message) = &pending.message else { continue };
            let waits = pending.state == PendingState::Left && message.reply.is_some();
            if number.is_none_or(|number| number == pending.number)
                && pending.state.is_abandoned()
                && !waits
                && let Some(held) = self.take_over(key, pending.number)?
            {
                held.queue.finish(held.ticket, held.message.attached.as_ref());
                dismissed.push(held.message);
            }
        }
        Ok(dismissed)
    }

    /// Takes over a message whose owner died. `None` if its owner lives, or
    /// it is gone.
    ///
    /// # Errors
    /// If the entry cannot be read.
    pub fn take_over(&self, key: &Key, number: u64) -> Result<Option<Held>, ControlError> {
        let queue = Queue::open(&self.store, &key.folder_name())?;
        let Some(ticket) = queue.line().take_over(number)? else { return Ok(None) };
        let message = queue.entry(number)?.message;
        let place = message.reply.as_ref().map_or("terminal", |reply| &reply.network).to_owned();
        Ok(Some(Held { key: key.clone(), place, queue, ticket, message, again: true }))
    }

    /// Leaves word for the daemon that a reply of this session waits to be
    /// delivered to its chat.
    ///
    /// # Errors
    /// If the word cannot be left.
    pub fn ask_to_deliver(&self, key: &Key) -> Result<(), ControlError> {
        Ok(self.store.note_changed(&key.folder_name())?)
    }
}
