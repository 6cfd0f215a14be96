//! One turn: a prompt in, a reply out, the record saved. Shared by the command
//! line and everything else that talks to a session.
//!
//! The caller holds the session's guard. Which conversation the turn belongs to
//! is decided once, under that lock, and carried to the end.

pub mod approval;
mod attempt;
mod choose;
mod finalise;
mod login;
mod prompt;
mod setup;
mod terminal;
mod walls;

use std::path::{Path, PathBuf};

use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

pub(crate) use choose::agent_of;
pub use choose::{ChoiceError, Chosen, choose, find_program, may_drive, provider_of};
pub use login::log_in;
pub use setup::Setup;
pub use terminal::{attach, exec};
pub use walls::{Subject, policy};

use crate::config::Environment;
use crate::files::{self, Durability};
use crate::process::{Launch, Permit, SpawnError};
use crate::provider::{Continuation, Failure, FailureKind, ProviderError, Turn};
use crate::provider_home::{self, RehomeError};
use crate::sandbox::{ConfineError, LimitExceeded};
use crate::session::{
    Conversation, Grant, LastTurn, Message, PermissionMode, SessionError, Speaker, TranscriptEntry, TurnOutcome, Usage,
    Waiting, WorkspaceGuard,
};

/// What is asked of a session.
#[derive(Debug, Clone, Copy)]
pub struct TurnRequest<'a> {
    /// The message.
    pub message: &'a Message,
    /// Whether the text is a command to the provider itself.
    pub raw: bool,
    /// Whether somebody watches the reply while it is produced.
    pub stream: bool,
    /// Rung when the turn is to be stopped.
    pub interrupt: &'a Notify,
    /// Where the agent's requests for permission go. `None` if nobody can be
    /// asked: what the agent may not do unasked, it then may not do.
    pub approvals: Option<&'a mpsc::Sender<approval::PermissionAsk>>,
}

/// What happens during a turn, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TurnEvent<'a> {
    /// The session is busy.
    Waiting(Waiting),
    /// As many turns as may run are running.
    WaitingForPermit,
    /// Another turn may be renewing the login.
    WaitingForLogin,
    /// The provider is being started.
    Started {
        /// Its name.
        provider: &'a str,
        /// Its program.
        program: &'a Path,
    },
    /// A part of a text, while it is produced.
    Delta(&'a str),
    /// A whole text.
    Text(&'a str),
    /// What the agent is doing.
    Activity(&'a str),
    /// Something the person should know.
    Notice(&'a str),
}

/// A turn that was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnReply {
    /// What the agent said: all its texts, with an empty line between two.
    pub text: String,
    /// The number of the turn.
    pub turn: u64,
    /// The provider.
    pub provider: String,
    /// The provider's id of the conversation.
    pub conversation: Option<String>,
    /// What the turn used.
    pub usage: Usage,
    /// What the person should know beside the reply.
    pub notices: Vec<String>,
    /// Files that the agent left in `outbox/`.
    pub files: Vec<PathBuf>,
}

/// Why a turn was not answered.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The provider did not answer.
    #[error("{provider}: {}", failure.message)]
    Provider {
        /// The provider.
        provider: String,
        /// What it said.
        failure: Failure,
    },
    /// The provider's section of the configuration is wrong, or names nothing.
    #[error("{0}")]
    Choice(#[from] ChoiceError),
    /// It took longer than the configuration allows.
    #[error("the turn took longer than {0}, and everything it had started was ended")]
    Timeout(String),
    /// It used more of the machine than a session may.
    #[error("the turn was ended: {0}")]
    Excess(LimitExceeded),
    /// It was asked to stop.
    #[error("the turn was stopped")]
    Stopped,
    /// There are no walls for it.
    #[error(transparent)]
    Walls(#[from] ConfineError),
    /// The session's folder is not as it should be.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The provider's home could not be prepared.
    #[error(transparent)]
    Rehome(#[from] RehomeError),
    /// A child could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// There is no invocation.
    #[error(transparent)]
    Invocation(#[from] ProviderError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The provider answered, and the answer could not be recorded.
    #[error("the reply could not be recorded: {source}")]
    NotRecorded {
        /// The reply, which is not lost.
        reply: Box<TurnReply>,
        /// Why.
        source: SessionError,
    },
    /// The turn failed, and not even that could be recorded.
    #[error("{failure}; and that could not be recorded: {source}")]
    FailureNotRecorded {
        /// Why the turn failed.
        failure: Box<TurnError>,
        /// Why it could not be recorded.
        source: SessionError,
    },
}

impl TurnError {
    /// Whether the provider was asked, so that the failure is part of the
    /// session's history.
    pub(crate) fn is_history(&self) -> bool {
        matches!(self, Self::Provider { .. } | Self::Timeout(_) | Self::Excess(_) | Self::Stopped)
    }
}

/// Takes one turn. The guard is returned so that the caller can deliver the
/// reply before the queue entry is let go.
pub async fn take(
    setup: &Setup,
    mut guard: WorkspaceGuard,
    request: TurnRequest<'_>,
    tell: &mut (dyn FnMut(TurnEvent<'_>) + Send),
) -> (WorkspaceGuard, Result<TurnReply, TurnError>) {
    let mut heard = attempt::TurnProgress::default();
    let result = ask(setup, &mut guard, request, tell, &mut heard).await;
    guard.settle_granted();
    let result = match result {
        Err(error) if !error.is_history() => return (guard, Err(error)),
        result => result,
    };
    record(guard, request, heard, result).await
}

/// Everything up to the provider's last word.
async fn ask(
    setup: &Setup,
    guard: &mut WorkspaceGuard,
    request: TurnRequest<'_>,
    tell: &mut (dyn FnMut(TurnEvent<'_>) + Send),
    heard: &mut attempt::TurnProgress,
) -> Result<(), TurnError> {
    let store = guard.store().clone();
    let settings = guard.workspace().settings()?;
    let mut grant = Grant::read(&store, guard.folder(), guard.record().uuid)?;
    let chosen = choose(setup, &store, guard.record(), &settings, &request.message.options)?;
    heard.provider.clone_from(&chosen.name);
    let changed = request.message.options.new && grant.end_with_conversation();
    let mut place = provider_home::place(guard, &grant, &chosen.name, &settings)?;
    heard.place = Some(place.clone());
    let (brief, left_out) = guard.workspace().brief(&settings, &place.working_dir)?;
    heard.notices.extend(left_out);
    heard.notices.extend(chosen.notices.iter().cloned());
    // A command of the provider's own uses no tools.
    let asks =
        request.approvals.is_some() && !request.raw && chosen.permission_mode != PermissionMode::BypassPermissions;
    let (confinement, open) = policy(setup, Subject::of(guard, &place.working_dir), &chosen, asks)?;
    heard.notices.extend(open);
    let brief = brief.with(confinement.told_of(&place.working_dir));
    let walled = confinement.walls.is_some();
    let from_chat = request.message.reply.is_some() || guard.record().place != "terminal";
    if from_chat && !may_drive(chosen.permission_mode, walled) {
        return Err(ChoiceError::BypassWithoutWalls(chosen.name).into());
    }
    // All that was looked at so far is under the session's lock, so it is done while
    // others run; nothing that counts was changed, should it be stopped here.
    let mut wait_told = || tell(TurnEvent::WaitingForPermit);
    let _permit = tokio::select! {
        permit = Permit::take(&store, setup.config.limits.turns, &mut wait_told) => permit?,
        () = request.interrupt.notified() => return Err(TurnError::Stopped),
    };
    if changed {
        grant.save(&store, guard.folder())?;
    }
    let (mut continuation, lost) = choose::continuation(guard, &chosen, &place, request.message.options.new)?;
    if let Some(notice) = lost {
        heard.notices.push(notice);
        heard.replay = true;
    }
    let launch = Launch {
        launcher: &setup.launcher,
        confinement,
        deadline: Some(setup.config.limits.turn_timeout),
        environment: Environment::default(),
        login: None,
    };
    let ground = setup.ground(&store);
    let text = prompt::compose(guard, request.message)?;
    guard.claim_mut().start()?;
    tell(TurnEvent::Started { provider: &chosen.name, program: &chosen.program });
    let mut new_id = Uuid::new_v4();
    let mut flipped = false;
    loop {
        let replayed = prompt::with_replay(guard, &text, heard.replay)?;
        let told = match &continuation {
            Continuation::Fresh => false,
            _ => guard.record().conversation.as_ref().is_some_and(|current| current.told == Some(brief.hash())),
        };
        let turn = Turn {
            program: &chosen.program,
            options: &chosen.options,
            place: &place,
            user: &setup.user(&ground),
            continuation: &continuation,
            new_id,
            prompt: &replayed,
            raw: request.raw,
            brief: &brief,
            told,
            model: chosen.model.as_deref(),
            permission_mode: chosen.permission_mode,
            stream: request.stream,
            walled,
            asks,
        };
        let run = attempt::Run { setup, chosen: &chosen, grant: &grant, turn: &turn, launch: &launch, request };
        let Some(failure) = run.attempt(guard, heard, tell).await? else {
            heard.told = Some(brief.hash());
            choose::check_kept(&chosen, &place, heard);
            return Ok(());
        };
        // What the home holds may be older than the conversation's file, as
        // Codex's index is that names another place for it.
        if failure.kind == FailureKind::ConversationUnknown
            && !place.new_home
            && continuation.id().is_some_and(|id| choose::is_kept(&chosen, &place, id))
        {
            provider_home::throw_away(guard, &place)?;
            place.new_home = true;
            heard.begin_again();
            continue;
        }
        // Between creating and resuming the wrong choice is corrected once;
        // after that the conversation is given up, and the person is told.
        let given_up = match (failure.kind, &continuation) {
            (FailureKind::ConversationInUse, Continuation::Fresh) if !flipped => {
                continuation = Continuation::Resume(new_id.to_string());
                false
            }
            (FailureKind::ConversationUnknown, Continuation::Resume(id)) if !flipped => {
                new_id = id.parse().unwrap_or(new_id);
                continuation = Continuation::Fresh;
                true
            }
            (FailureKind::ConversationUnknown | FailureKind::ConversationInUse | FailureKind::ConversationOther, _)
                if !heard.gave_up =>
            {
                new_id = Uuid::new_v4();
                continuation = Continuation::Fresh;
                heard.gave_up = true;
                true
            }
            _ => return Err(TurnError::Provider { provider: chosen.name.clone(), failure }),
        };
        flipped = true;
        if given_up && !heard.replay && guard.record().conversation.as_ref().is_some_and(|current| current.turns > 0) {
            heard.replay = true;
            let notice = format!(
                "{} no longer knows this conversation ({}), so a fresh one was started with the last turns as context",
                chosen.name, failure.message
            );
            tell(TurnEvent::Notice(&notice));
            heard.notices.push(notice);
        }
        heard.begin_again();
    }
}

/// Writes down what became of the turn: the transcript, then the record.
async fn record(
    guard: WorkspaceGuard,
    request: TurnRequest<'_>,
    heard: attempt::TurnProgress,
    result: Result<(), TurnError>,
) -> (WorkspaceGuard, Result<TurnReply, TurnError>) {
    let message = request.message.clone();
    let durability = guard.store().durability();
    let write = move |mut guard: WorkspaceGuard| {
        let mut heard = heard;
        let files = prompt::outbox(&mut guard);
        let written = write_down(&mut guard, &message, &heard, &files, result.as_ref().err());
        if let Some(place) = &heard.place {
            // A stamp that cannot be written makes the next turn make the home again.
            let _left = provider_home::leave(&guard, place);
        }
        // A failure carries no notices: who delivers it asks the guard.
        if result.is_ok() {
            heard.notices.extend(guard.take_notices());
        }
        let reply = TurnReply {
            text: heard.text(),
            turn: guard.record().turns,
            provider: heard.provider,
            conversation: guard.record().conversation.as_ref().map(|current| current.id.clone()),
            usage: heard.usage.unwrap_or_default(),
            notices: heard.notices,
            files,
        };
        let result = match (result, written) {
            (Ok(()), Ok(())) => Ok(reply),
            (Ok(()), Err(source)) => Err(TurnError::NotRecorded { reply: Box::new(reply), source }),
            (Err(error), Ok(())) => Err(error),
            (Err(failure), Err(source)) => Err(TurnError::FailureNotRecorded { failure: Box::new(failure), source }),
        };
        (guard, result)
    };
    if durability == Durability::Process {
        return write(guard);
    }
    // Syncing may take long when the disk is busy.
    match tokio::task::spawn_blocking(move || write(guard)).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn write_down(
    guard: &mut WorkspaceGuard,
    message: &Message,
    heard: &attempt::TurnProgress,
    files: &[PathBuf],
    failed: Option<&TurnError>,
) -> Result<(), SessionError> {
    let now = crate::session::now();
    let turn = guard.record().turns.saturating_add(1);
    let conversation = guard.record().conversation.as_ref().map(|current| current.id.clone());
    let entry = guard.claim().message_entry();
    let line = |at, who, text: String| TranscriptEntry {
        at,
        who,
        text,
        turn,
        author: None,
        provider: Some(heard.provider.clone()),
        conversation: conversation.clone(),
        entry,
        usage: None,
        notices: Vec::new(),
        files: Vec::new(),
    };
    let (notices, path) = (heard.notices.clone(), guard.path());
    let files = files.iter().filter_map(|file| file.strip_prefix(path).ok().map(Path::to_owned)).collect();
    let mut lines = vec![TranscriptEntry {
        author: message.author.clone(),
        ..line(message.at, Speaker::User, message.text.clone())
    }];
    let text = heard.text();
    if failed.is_none() || !text.is_empty() {
        lines.push(TranscriptEntry { usage: heard.usage, ..line(now, Speaker::Agent, text) });
    }
    if let Some(error) = failed {
        lines.push(line(now, Speaker::Denizen, error.to_string()));
    }
    if let Some(last) = lines.last_mut() {
        (last.notices, last.files) = (notices, files);
    }
    guard.append(&lines)?;
    let record = guard.record_mut();
    record.turns = turn;
    record.last_used_at = now;
    record.archived_at = None;
    record.usage.add(heard.usage.unwrap_or_default());
    record.last_turn = Some(LastTurn {
        at: now,
        outcome: if failed.is_none() { TurnOutcome::Answered } else { TurnOutcome::Failed },
        reason: failed.map(ToString::to_string),
    });
    if let Some(current) = &mut record.conversation {
        current.last_used_at = now;
        current.reported = heard.reported.or(current.reported);
        current.file = heard.file;
        current.copy_of = None;
        if failed.is_none() {
            current.turns = current.turns.saturating_add(1);
            current.told.clone_from(&heard.told);
        }
    }
    guard.save()
}

/// Makes `id` the current conversation, and saves that at once.
fn remember(guard: &mut WorkspaceGuard, provider: &str, id: &str, about: &str) -> Result<(), SessionError> {
    let record = guard.record_mut();
    match &mut record.conversation {
        Some(current) if current.is(provider, id) => {
            if !std::mem::take(&mut current.fork) {
                return Ok(());
            }
        }
        current => {
            let copied = current.as_ref().filter(|current| current.fork && current.provider == provider);
            let copy_of = copied.map(|current| current.id.clone());
            record.retire_conversation();
            record.conversation = Some(Conversation { copy_of, ..Conversation::new(provider, id, about) });
        }
    }
    guard.save()
}
