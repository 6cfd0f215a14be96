//! The terminal in a session's place: the provider's own UI on the same
//! conversation, or any command, under the same lock.

use std::ffi::OsString;

use tokio::sync::Notify;
use uuid::Uuid;

use super::events::{TurnEvent, TurnEvents, WaitingFor};
use super::plan::{Asked, TurnPlan};
use super::setup::Setup;
use super::subject::Subject;
use super::{TurnError, conversation, finalise};
use crate::login;
use crate::process::{self, ChildOutcome, Launch};
use crate::provider::{Continuation, Invocation, child_environment};
use crate::provider_home;
use crate::sandbox::Ground;
use crate::session::{Grant, MessageOptions, WorkspaceGuard};

/// Gives the terminal to the provider's own UI, on the session's conversation.
///
/// # Errors
/// If the provider has none, or cannot be started.
pub async fn attach(setup: &Setup, guard: &mut WorkspaceGuard, events: &TurnEvents) -> Result<ChildOutcome, TurnError> {
    let store = guard.store().clone();
    let ground = setup.ground(&store);
    let user = setup.user(&ground);
    let asked = Asked::Provider { options: &MessageOptions::default(), can_ask: false };
    let plan = plan(setup, guard, &ground, asked)?;
    guard.own_dir(&["provider", &plan.chosen.name])?;
    let (continuation, lost) = conversation::continuation(guard, &plan, false)?;
    for notice in plan.notices().chain(&lost) {
        events.send(TurnEvent::Notice(notice.clone()));
    }
    let new_id = Uuid::new_v4();
    let turn = plan.turn(&user, &continuation, new_id);
    let chosen = &plan.chosen;
    let invocation = chosen.provider.attach(&turn)?;
    let environment = child_environment(&setup.environment, chosen.provider, &chosen.options, &invocation);
    let launch = Launch { environment, ..plan.launch(setup) };
    let steps = chosen.provider.prepare_terminal(&turn);
    for notice in login::settle_own(guard.store(), guard.folder()).await? {
        events.send(TurnEvent::Notice(notice));
    }
    provider_home::prepare(guard, chosen.provider, &chosen.options, &turn, &launch, &steps).await?;
    let before = finalise::BeforeTurn::look(&plan.paths, true);
    let mut login = chosen.login(guard, &turn, &mut || events.send(TurnEvent::Waiting(WaitingFor::Login))).await?;
    events.send(TurnEvent::Started { provider: chosen.name.clone(), program: chosen.program.clone() });
    let launch = Launch { login: login.as_ref(), ..launch };
    let proven = Notify::new();
    let outcome = match process::spawn_in_terminal(guard, &invocation, &launch) {
        Ok(program) => tokio::select! {
            outcome = program.end() => Ok(outcome),
            never = login::look_after(&mut login, &proven) => match never {},
        },
        Err(error) => Err(error),
    };
    settle_granted(guard, events);
    for notice in login::end(login).await {
        events.send(TurnEvent::Notice(notice));
    }
    let outcome = outcome?;
    let look = before.finalise(guard, &plan.paths)?;
    // Which conversation it was: the one that was asked for, else the one whose
    // file is new.
    let id = match &continuation {
        Continuation::Resume(id) => Some(id.clone()),
        Continuation::Fresh | Continuation::Fork(_) => {
            let chosen_id = Some(new_id.to_string()).filter(|id| plan.keeps(id));
            chosen_id.or_else(|| {
                let new = look.keys().filter(|file| !before.conversations.contains_key(*file));
                new.filter_map(|file| chosen.provider.id_in(file)).next_back()
            })
        }
    };
    if let Some(id) = id {
        conversation::remember(guard, &chosen.name, &id, "")?;
    }
    let record = guard.record_mut();
    if let Some(current) = &mut record.conversation {
        current.file = finalise::mark(chosen.provider, &current.id, &look);
        current.copy_of = None;
    }
    record.last_used_at = crate::session::now();
    record.archived_at = None;
    guard.save()?;
    provider_home::leave(guard, &plan.paths)?;
    Ok(outcome)
}

/// Gives the terminal to any command, in the session's working directory.
///
/// # Errors
/// If the command is not there, or cannot be started.
pub async fn exec(
    setup: &Setup,
    guard: &mut WorkspaceGuard,
    command: &[OsString],
    events: &TurnEvents,
) -> Result<ChildOutcome, TurnError> {
    let store = guard.store().clone();
    let ground = setup.ground(&store);
    let plan = plan(setup, guard, &ground, Asked::Command(command))?;
    for notice in plan.notices() {
        events.send(TurnEvent::Notice(notice.clone()));
    }
    let chosen = &plan.chosen;
    let mut invocation = Invocation::of(&chosen.program);
    let (key, memory) = (guard.record().key.as_str(), &plan.paths.memory);
    invocation.args(command.iter().skip(1)).env("DENIZEN_SESSION", key).env("DENIZEN_MEMORY", memory);
    let environment = child_environment(&setup.environment, chosen.provider, &chosen.options, &invocation);
    let launch = Launch { environment, ..plan.launch(setup) };
    let outcome = process::spawn_in_terminal(guard, &invocation, &launch)?.end().await;
    settle_granted(guard, events);
    Ok(outcome)
}

/// What would run in the session that is in hand, whose own files are set right
/// first.
fn plan(
    setup: &Setup,
    guard: &mut WorkspaceGuard,
    ground: &Ground<'_>,
    asked: Asked<'_>,
) -> Result<TurnPlan, TurnError> {
    let settings = guard.workspace().settings()?;
    let grant = Grant::read(guard.store(), guard.folder(), guard.record().uuid)?;
    guard.own_told_files(&settings)?;
    TurnPlan::prepare(setup, ground, Subject::of(guard, &settings, &grant), asked)
}

/// Looks at what is granted to the session, and tells the person at once.
fn settle_granted(guard: &mut WorkspaceGuard, events: &TurnEvents) {
    guard.settle_granted();
    for notice in guard.take_notices() {
        events.send(TurnEvent::Notice(notice));
    }
}
