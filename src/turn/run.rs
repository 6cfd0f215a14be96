//! Taking a turn: the plan, a permit, the conversation, and attempts until one of
//! them is answered or nothing is left to be tried.

use super::attempt::Run;
use super::choose::may_drive;
use super::conversation;
use super::error::ChoiceError;
use super::events::{FinishReason, TurnEvent, WaitingFor};
use super::plan::{Asked, TurnPlan};
use super::progress::TurnProgress;
use super::record::record;
use super::recovery::{FailedAttempt, History, NextTry, next};
use super::setup::Setup;
use super::subject::Subject;
use super::{TurnError, TurnReply, TurnRequest, prompt};
use crate::process::{Launch, Permit};
use crate::provider::{Continuation, Failure, Turn};
use crate::provider_home;
use crate::session::{Grant, WorkspaceGuard};

/// Takes one turn. The guard is returned so that the caller can deliver the
/// reply before the queue entry is let go.
pub async fn take(
    setup: &Setup,
    mut guard: WorkspaceGuard,
    request: TurnRequest<'_>,
) -> (WorkspaceGuard, Result<TurnReply, TurnError>) {
    let mut heard = TurnProgress::default();
    let result = ask(setup, &mut guard, request, &mut heard).await;
    guard.settle_granted();
    let (guard, result) = match result {
        Err(error) if !error.is_history() => (guard, Err(error)),
        result => record(guard, request, heard, result).await,
    };
    request.events.send(last_event(result.as_ref().err()));
    (guard, result)
}

/// How a turn ended, for whoever watches.
fn last_event(error: Option<&TurnError>) -> TurnEvent {
    match error {
        None => TurnEvent::Done(FinishReason::Answered),
        Some(TurnError::Stopped) => TurnEvent::Done(FinishReason::Stopped),
        Some(TurnError::Timeout(_)) => TurnEvent::Done(FinishReason::Deadline),
        Some(TurnError::Excess(_)) => TurnEvent::Done(FinishReason::Limit),
        Some(error) => TurnEvent::Failed(error.to_string()),
    }
}

/// Everything up to the provider's last word.
async fn ask(
    setup: &Setup,
    guard: &mut WorkspaceGuard,
    request: TurnRequest<'_>,
    heard: &mut TurnProgress,
) -> Result<(), TurnError> {
    let store = guard.store().clone();
    let ground = setup.ground(&store);
    let user = setup.user(&ground);
    let options = &request.message.options;
    let settings = guard.workspace().settings()?;
    let mut grant = Grant::read(&store, guard.folder(), guard.record().uuid)?;
    let grant_ended = options.new && grant.end_with_conversation();
    guard.own_told_files(&settings)?;

    // A command of the provider's own uses no tools.
    let asked = Asked::Provider { options, can_ask: request.approvals.is_some() && !request.raw };
    let mut plan = TurnPlan::prepare(setup, &ground, Subject::of(guard, &settings, &grant), asked)?;
    heard.provider.clone_from(&plan.chosen.name);
    heard.place = Some(plan.paths.clone());
    heard.notices.extend(plan.notices().cloned());
    let from_chat = request.message.reply.is_some() || guard.record().place != "terminal";
    if from_chat && !may_drive(plan.chosen.permission_mode, plan.policy.walls.is_some()) {
        return Err(ChoiceError::BypassWithoutWalls(plan.chosen.name).into());
    }
    guard.own_dir(&["provider", &plan.chosen.name])?;

    // All that was looked at so far is under the session's lock, so it is done while
    // others run; nothing that counts was changed, should it be stopped here.
    let mut wait_told = || request.events.send(TurnEvent::Waiting(WaitingFor::Permit));
    let _permit = tokio::select! {
        permit = Permit::take(&store, setup.config.limits.turns, &mut wait_told) => permit?,
        () = request.interrupt.notified() => return Err(TurnError::Stopped),
    };
    if grant_ended {
        grant.save(&store, guard.folder())?;
    }
    let (continuation, lost) = conversation::continuation(guard, &plan, options.new)?;
    let mut history = History::new(continuation, lost.is_some(), plan.paths.new_home);
    heard.notices.extend(lost);
    let text = prompt::compose(guard, request.message)?;
    guard.claim_mut().start()?;

    let launch = Launch { deadline: Some(setup.config.limits.turn_timeout), ..plan.launch(setup) };
    loop {
        let (provider, program) = (plan.chosen.name.clone(), plan.chosen.program.clone());
        request.events.send(TurnEvent::Started { provider, program });
        let current = guard.record().conversation.as_ref();
        let told = history.continuation != Continuation::Fresh
            && current.is_some_and(|current| current.told == Some(plan.brief.hash()));
        let turn = Turn {
            prompt: &prompt::with_replay(guard, &text, history.replay)?,
            raw: request.raw,
            told,
            stream: request.stream,
            ..plan.turn(&user, &history.continuation, history.new_id)
        };
        let run = Run { setup, chosen: &plan.chosen, turn: &turn, launch: &launch, request };
        let Some(failure) = run.attempt(guard, heard).await? else {
            heard.told = Some(plan.brief.hash());
            heard.notices.extend(not_kept(&plan, heard.conversation.as_deref()));
            return Ok(());
        };
        let retry = next(failed(&plan, guard, &history, &failure), &history);
        match &retry {
            NextTry::GiveUp => return Err(TurnError::Provider { provider: plan.chosen.name, failure }),
            NextTry::NewHome => {
                provider_home::throw_away(guard, &plan.paths)?;
                plan.paths.new_home = true;
            }
            NextTry::Fresh { replay: true, .. } => {
                let notice = forgotten(&plan, &failure);
                request.events.send(TurnEvent::Notice(notice.clone()));
                heard.notices.push(notice);
            }
            NextTry::Fresh { .. } | NextTry::Resume(_) => {}
        }
        history.note(&retry);
        heard.begin_again();
    }
}

/// What is known of an attempt that failed.
fn failed(plan: &TurnPlan, guard: &WorkspaceGuard, history: &History, failure: &Failure) -> FailedAttempt {
    FailedAttempt {
        kind: failure.kind,
        is_kept: history.continuation.id().is_some_and(|id| plan.keeps(id)),
        had_turns: guard.record().conversation.as_ref().is_some_and(|current| current.turns > 0),
    }
}

fn forgotten(plan: &TurnPlan, failure: &Failure) -> String {
    format!(
        "{} no longer knows this conversation ({}), so a fresh one was started with the last turns as context",
        plan.chosen.name, failure.message
    )
}

/// Says so if the provider answered and kept nothing.
fn not_kept(plan: &TurnPlan, conversation: Option<&str>) -> Option<String> {
    conversation.filter(|id| !plan.keeps(id)).map(|_| {
        format!(
            "{} answered, but did not store the conversation: the next message will start a fresh one",
            plan.chosen.name
        )
    })
}
