//! Sending a message, and stopping a turn.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use super::{Control, ControlError, Wait, is_busy};
use crate::causes::with_causes;
use crate::files::Ticket;
use crate::key::Key;
use crate::message::{Inbound, ReplyTo};
use crate::process;
use crate::sandbox::ground::Astray;
use crate::session::{
    Address, Claim, ClaimedFolder, EntryNote, Grant, Message, More, NewSession, Queue, Record, SessionError, Settings,
    WorkspaceGuard,
};
use crate::turn::{
    self, LiveView, Place, PolicyError, TurnError, TurnEvent, TurnReply, TurnRequest, agent_of, provider_of,
};

/// The longest message, in bytes: what the strictest of the CLIs reads.
const MAX_MESSAGE_BYTES: usize = 10 * 1000 * 1000;

/// The largest attachment, in bytes.
const MAX_ATTACHMENT_BYTES: u64 = 100 * 1024 * 1024;

/// How a message is sent.
#[derive(Debug, Clone, Copy)]
pub struct SendOptions<'a> {
    /// Whether somebody watches the reply while it is produced.
    pub stream: bool,
    /// Rung when the turn is to be stopped.
    pub interrupt: &'a Notify,
    /// How long a request of the agent for permission waits for somebody's decision.
    /// `None` if nobody can be asked.
    pub approvals: Option<Duration>,
}

/// What became of a message. The reply is delivered first; then the message is
/// let go by [`Delivery::delivered`].
#[derive(Debug)]
pub struct Delivery {
    guard: WorkspaceGuard,
    /// The reply, or why there is none.
    pub result: Result<TurnReply, TurnError>,
    /// The chat network that the message came from.
    pub network: Option<String>,
    /// How many other messages of this session wait for somebody to send them again.
    pub left: usize,
}

impl Delivery {
    /// The session, still under its lock.
    #[must_use]
    pub fn guard(&self) -> &WorkspaceGuard {
        &self.guard
    }

    /// What the person should know of the session, and that the reply does not
    /// say.
    pub fn take_notices(&mut self) -> Vec<String> {
        self.guard.take_notices()
    }

    /// Lets the message go: its sender has been told what became of it.
    ///
    /// # Errors
    /// With why there was no reply.
    pub fn delivered(mut self) -> Result<TurnReply, TurnError> {
        self.guard.claim_mut().finish();
        self.result
    }

    /// Leaves the message in the queue, so that its reply is delivered to the chat
    /// that it came from too. The first part says whether it will be; what is not
    /// recorded is let go.
    pub fn handed_over(mut self) -> (bool, Result<TurnReply, TurnError>) {
        let is_recorded = self.result.as_ref().err().is_none_or(TurnError::is_history);
        match is_recorded && self.guard.claim_mut().answered().is_ok() {
            true => (true, self.result),
            false => (false, self.delivered()),
        }
    }

    /// Lets the session go, and leaves the message in the queue: its reply is
    /// delivered from what is recorded, however long that takes. Where nothing
    /// is recorded, [`Unrecorded`] is what has to be said.
    pub fn deliver_later(mut self) -> Option<Unrecorded> {
        let unrecorded = match self.result {
            Err(TurnError::NotRecorded { reply, source }) => {
                Some(Unrecorded { text: reply.text, reason: Some(TurnError::Session(source).to_string()) })
            }
            Err(error) if !error.is_history() => {
                Some(Unrecorded { text: String::new(), reason: Some(with_causes(&error)) })
            }
            _ => None,
        };
        if unrecorded.is_none() {
            // If it cannot be noted, whoever opens the session next does.
            let _noted = self.guard.claim_mut().answered();
        }
        unrecorded
    }
}

/// What has to be said of a turn that the transcript does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecorded {
    /// What the agent said.
    pub text: String,
    /// What went wrong.
    pub reason: Option<String>,
}

/// A message that was accepted and stands in line.
#[derive(Debug)]
pub struct Held {
    pub(super) key: Key,
    /// Where the session is made, if it has to be.
    pub(super) place: String,
    pub(super) queue: Queue,
    pub(super) ticket: Ticket,
    pub(super) message: Message,
    /// Whether it was left by somebody else, and is sent again.
    pub(super) again: bool,
}

impl Held {
    /// The session that it is for.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The number of its entry.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.ticket.number()
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Whether it was left by somebody else, and is sent again.
    #[must_use]
    pub fn is_again(&self) -> bool {
        self.again
    }

    /// Sends the reply to a channel, where it would have gone to nobody.
    ///
    /// # Errors
    /// If that cannot be noted; it then goes where it went.
    pub fn answer_to(&mut self, address: Address) -> Result<(), ControlError> {
        self.queue.note(self.number(), &EntryNote::Reply(address.clone()))?;
        self.message.reply = Some(address);
        Ok(())
    }

    /// Adds what its author wrote after it. It is kept once [`Queue::sync`] was called.
    ///
    /// # Errors
    /// If it cannot be added; nothing then is.
    pub fn add(&mut self, more: More) -> Result<(), ControlError> {
        Ok(self.queue.add(&mut self.ticket, &mut self.message, more)?)
    }
}

impl Control {
    /// Sends a message to its session, which is made if it does not exist.
    ///
    /// # Errors
    /// If the message is not accepted, or the session stays busy; nothing is
    /// then changed.
    pub async fn send(
        &self,
        inbound: &Inbound,
        options: SendOptions<'_>,
        wait: &mut Wait<'_>,
    ) -> Result<Delivery, ControlError> {
        let held = self.accept(inbound)?;
        self.answer(held, options, wait).await
    }

    /// Accepts a message: when this returns, it is kept until it is answered.
    ///
    /// # Errors
    /// If the message is not accepted; nothing is then changed.
    pub fn accept(&self, inbound: &Inbound) -> Result<Held, ControlError> {
        let key = &inbound.key;
        let session = self.check(inbound)?;
        let queue = Queue::open(&self.store, &key.folder_name())?;
        let attached = match inbound.attachments.as_slice() {
            [] => inbound.received.clone(),
            files => Some(queue.attach(files)?),
        };
        let message = Message {
            author: inbound.author.clone(),
            options: inbound.options.clone(),
            attached,
            reply: match &inbound.reply {
                ReplyTo::Terminal => None,
                ReplyTo::Channel(address) => Some(address.clone()),
            },
            id: inbound.id.clone(),
            title: inbound.title.clone(),
            late: inbound.late,
            ..Message::plain(session, &inbound.text)
        };
        let place = inbound.reply.place().to_owned();
        let ticket = self.join(key, &queue, &message)?;
        Ok(Held { key: key.clone(), place, queue, ticket, message, again: false })
    }

    /// Asks the provider to compact the current conversation.
    ///
    /// # Errors
    /// If the provider cannot, there is no conversation, or the turn fails.
    pub async fn compact(
        &self,
        key: &Key,
        options: SendOptions<'_>,
        wait: &mut Wait<'_>,
    ) -> Result<TurnReply, ControlError> {
        let guard = self.guard(key, wait).await?;
        let Some(current) = &guard.record().conversation else {
            return Err(ControlError::Nothing(format!("there is no conversation to compact in `{key}`")));
        };
        let (provider, _) = provider_of(&self.setup.config, &current.provider)?;
        let prompt = provider.compact_prompt().ok_or_else(|| ControlError::CannotCompact(current.provider.clone()))?;
        let message = Message::plain(Some(guard.record().uuid), prompt);
        let SendOptions { stream, interrupt, approvals } = options;
        let request = TurnRequest { message: &message, raw: true, stream, interrupt, approvals, events: wait.events };
        let (_guard, result) = turn::take(&self.setup, guard, request).await;
        Ok(result?)
    }

    /// Ends the running turn of a session, and waits until nothing of it is
    /// left. Blocks the thread. `false` if nothing runs.
    ///
    /// # Errors
    /// If it cannot be asked for, or takes too long.
    pub fn stop(&self, key: &Key) -> Result<bool, ControlError> {
        if self.store.find(key)?.is_none() {
            return Err(SessionError::NoSuchSession(key.to_string()).into());
        }
        Ok(process::request_stop(&self.store, &key.folder_name())?)
    }

    /// Puts a message in line, if there is room for it.
    pub(super) fn join(&self, key: &Key, queue: &Queue, message: &Message) -> Result<Ticket, ControlError> {
        let waiting = self.setup.config.limits.queued;
        if let Some(ticket) = queue.accept(message, waiting)? {
            return Ok(ticket);
        }
        if let Some(attached) = &message.attached {
            // They are copies that nobody waits for.
            let _removed = crate::files::remove_whole(&queue.attached_path(attached));
        }
        Err(ControlError::QueueFull { key: key.clone(), waiting })
    }

    /// Takes the turn of a message that stands in line.
    ///
    /// # Errors
    /// If the session stays busy or cannot be opened. A message from a
    /// terminal is then let go, because its sender is told; any other stays.
    pub async fn answer(
        &self,
        held: Held,
        options: SendOptions<'_>,
        wait: &mut Wait<'_>,
    ) -> Result<Delivery, ControlError> {
        let number = held.number();
        let folder = held.key.folder_name();
        let message = held.message.clone();
        let stays = held.again || message.reply.is_some();
        let guard = match self.enter(held, options, wait).await {
            Ok(guard) => guard,
            Err(error) => {
                if !stays {
                    Queue::open(&self.store, &folder)?.discard(number)?;
                }
                wait.events.send(TurnEvent::Failed(error.to_string()));
                return Err(error);
            }
        };
        let SendOptions { stream, interrupt, approvals } = options;
        let request = TurnRequest { message: &message, raw: false, stream, interrupt, approvals, events: wait.events };
        let live = LiveView::of(&guard);
        let (guard, result) = tokio::select! {
            biased;
            taken = turn::take(&self.setup, guard, request) => taken,
            never = live.show(wait.events) => match never {},
        };
        let left = guard.claim().left().unwrap_or_default();
        Ok(Delivery { guard, result, network: message.reply.map(|reply| reply.network), left })
    }

    /// Waits for the session of a message, and opens or makes it.
    async fn enter(
        &self,
        held: Held,
        options: SendOptions<'_>,
        wait: &mut Wait<'_>,
    ) -> Result<WorkspaceGuard, ControlError> {
        let Held { key, place, queue, ticket, message, again: _ } = held;
        let attached = message.attached.clone();
        let gone = || ControlError::Gone(key.clone());
        let mut claim = Claim::with_message(self.store.clone(), &key.folder_name(), queue, ticket, attached);
        let mut tell = |waiting| wait.events.send(is_busy(waiting));
        let lock = tokio::select! {
            waited = claim.wait(wait.limit, &mut tell) => waited?,
            () = options.interrupt.notified() => return Err(TurnError::Stopped.into()),
        };
        // What came from a channel may wait for long: whoever has the name by
        // then may be somebody else.
        let named = message.session.filter(|_| message.reply.is_some());
        let (lock, claim) = match self.store.open(lock, claim)? {
            ClaimedFolder::Session(guard) if named.is_some_and(|uuid| guard.record().uuid != uuid) => {
                return Err(gone());
            }
            ClaimedFolder::Session(guard) => return Ok(*guard),
            ClaimedFolder::Missing(..) if named.is_some() => return Err(gone()),
            ClaimedFolder::Missing(lock, claim) => (lock, claim),
        };
        let mut new = self.new_session(&key, &place, message.options.agent.as_deref())?;
        new.title.clone_from(&message.title);
        let guard = self.store.create(lock, claim, new)?;
        if let Some(directory) = &self.setup.config.working_dir {
            let mut grant = Grant::none(guard.record().uuid);
            grant.working_dir = Some(self.default_dir(directory)?);
            grant.save(&self.store, guard.folder())?;
        }
        Ok(guard)
    }

    /// The directory that sessions work in by the configuration, as it is granted:
    /// by where it leads.
    fn default_dir(&self, directory: &Path) -> Result<PathBuf, ControlError> {
        match self.setup.ground(&self.store).follow(directory) {
            Ok(way) => Ok(way.real),
            // That is told when it is to be used.
            Err(Astray::Nowhere { .. }) => Ok(directory.to_owned()),
            Err(error) => Err(TurnError::from(PolicyError::from(error)).into()),
        }
    }

    /// A session that is to be made for a key.
    fn new_session(&self, key: &Key, place: &str, agent: Option<&str>) -> Result<NewSession, ControlError> {
        let mut new = NewSession::plain(key.clone(), place);
        if let Some(name) = agent {
            let agent = agent_of(&self.setup.config, name)?;
            new.agent = Some(name.to_owned());
            if let Some(path) = &agent.instructions {
                let read = std::fs::read(path);
                let io =
                    |source| crate::files::Error::Io { action: "read the instructions", path: path.clone(), source };
                new.instructions = Some(read.map_err(io)?);
            }
        }
        Ok(new)
    }

    /// Everything that can be wrong with a message before it is accepted.
    /// Returns the uuid of its session, if that exists.
    fn check(&self, inbound: &Inbound) -> Result<Option<Uuid>, ControlError> {
        let length = inbound.text.len();
        if inbound.text.trim().is_empty() && inbound.attachments.is_empty() && inbound.received.is_none() {
            return Err(ControlError::Message("the message is empty".to_owned()));
        }
        if length > MAX_MESSAGE_BYTES {
            return Err(ControlError::Message(format!(
                "the message has {length} bytes, at most {MAX_MESSAGE_BYTES} are taken: put long material into a file, and `--attach` it"
            )));
        }
        if inbound.text.contains('\0') {
            return Err(ControlError::Message("the message holds a NUL character".to_owned()));
        }
        for file in &inbound.attachments {
            let io = |source| crate::files::Error::Io { action: "attach", path: file.clone(), source };
            let metadata = std::fs::metadata(file).map_err(io)?;
            if !metadata.is_file() {
                return Err(ControlError::Message(format!(
                    "`{}` is no regular file, so it is not attached",
                    file.display()
                )));
            }
            if metadata.len() > MAX_ATTACHMENT_BYTES {
                return Err(ControlError::Message(format!(
                    "`{}` has {} bytes, at most {MAX_ATTACHMENT_BYTES} are attached",
                    file.display(),
                    metadata.len()
                )));
            }
        }
        if let Some(model) = &inbound.options.model {
            Settings::default().set("model", Some(model))?;
        }
        let (record, settings) = match self.store.find(&inbound.key)? {
            Some(workspace) => (workspace.record_if_any()?, workspace.settings()?),
            None => (None, Settings::default()),
        };
        let session = record.as_ref().map(|record| record.uuid);
        let record = record.unwrap_or_else(|| {
            let mut record = Record::new(inbound.key.clone(), inbound.reply.place());
            record.agent.clone_from(&inbound.options.agent);
            record
        });
        let place = Place { record: &record, settings: &settings };
        turn::choose(&self.setup, &self.setup.ground(&self.store), place, &inbound.options)?;
        Ok(session)
    }
}
