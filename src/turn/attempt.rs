//! One attempt of a turn: the provider's process, its exchange, and what is settled
//! after it.

use std::time::Duration;

use tokio::sync::Notify;

use super::approval::{PendingApprovals, QuestionTerms};
use super::choose::Chosen;
use super::events::{TurnEvent, WaitingFor};
use super::exchange::{Afterwards, Exchange};
use super::progress::TurnProgress;
use super::provider_process::ProviderProcess;
use super::setup::Setup;
use super::{TurnError, TurnRequest, finalise};
use crate::login;
use crate::process::Launch;
use crate::provider::{Failure, Turn, child_environment};
use crate::provider_home;
use crate::session::WorkspaceGuard;

/// How long a provider that has given its final event may take to exit by itself,
/// once its input is closed: some write the end of their conversation then.
/// Measured on two cores with a load of 15: Claude Code 2.1.197 took up to 1.1 s;
/// Codex 0.169.0 and Gemini CLI 0.61.0 took 0.5 and 1 s, and a few of some twenty
/// were not done after 2 s. OpenCode 1.18.33 has no final event but its exit.
const EXIT_GRACE: Duration = Duration::from_secs(8);

/// What an attempt is made with.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) setup: &'a Setup,
    pub(super) chosen: &'a Chosen,
    pub(super) turn: &'a Turn<'a>,
    pub(super) launch: &'a Launch<'a>,
    pub(super) request: TurnRequest<'a>,
}

impl Run<'_> {
    /// Makes the attempt. `None` is an answer, `Some` a failure that the
    /// provider itself stated.
    pub(super) async fn attempt(
        &self,
        guard: &mut WorkspaceGuard,
        heard: &mut TurnProgress,
    ) -> Result<Option<Failure>, TurnError> {
        let (chosen, turn) = (self.chosen, self.turn);
        let TurnRequest { events, interrupt, .. } = self.request;
        heard.notices.extend(login::settle_own(guard.store(), guard.folder()).await?);
        provider_home::prepare(guard, chosen.provider, &chosen.options, turn, self.launch, &[]).await?;
        let keeps_files = chosen.provider.keeps_files();
        let before = finalise::BeforeTurn::look(turn.place, keeps_files);
        let invocation = chosen.provider.invocation(turn)?;
        let environment = child_environment(&self.setup.environment, chosen.provider, &chosen.options, &invocation);
        let mut waiting = || events.send(TurnEvent::Waiting(WaitingFor::Login));
        let mut login = tokio::select! {
            login = chosen.login(guard, turn, &mut waiting) => login?,
            () = interrupt.notified() => return Err(TurnError::Stopped),
        };
        let launch = Launch { environment, login: login.as_ref(), ..self.launch.clone() };
        let mut process = match ProviderProcess::spawn(guard, &invocation, &launch) {
            Ok(process) => process,
            Err(error) => {
                heard.notices.extend(login::end(login).await);
                return Err(error.into());
            }
        };
        let logged_in = Notify::new();
        let limit = self.setup.config.limits.turn_timeout;
        let mut asked = heard.asked;
        let asking = self.request.approvals.filter(|_| turn.asks).and_then(|patience| {
            let files = guard.claim().turn_files()?;
            // A question ends with its turn at the latest.
            Some(QuestionTerms { files, patience: patience.min(limit) })
        });
        let questions = PendingApprovals::new(asking, events, &mut asked);
        let watched = (events, &logged_in);
        let mut exchange = Exchange::new(chosen.provider.parser(turn), turn, questions, guard, heard, watched);
        let take_place = async {
            let afterwards = exchange.run(&mut process, limit, interrupt).await;
            let grace = match afterwards {
                Afterwards::MayExit => {
                    process.close_input();
                    Some(EXIT_GRACE)
                }
                Afterwards::Ends => None,
            };
            process.end(grace, interrupt, |lines| exchange.hear_late(lines)).await
        };
        let (outcome, stderr) = tokio::select! {
            ended = take_place => ended,
            never = login::look_after(&mut login, &logged_in) => match never {},
        };
        let result = exchange.finish(&outcome, &stderr, limit);
        heard.asked = asked;
        heard.notices.extend(login::end(login).await);
        match before.finalise(guard, turn.place) {
            Ok(look) => {
                let id = guard.record().conversation.as_ref().map(|current| current.id.as_str());
                heard.file = id.and_then(|id| finalise::mark(chosen.provider, id, &look));
            }
            // The reply is there all the same; only a power cut could take it.
            Err(error) => {
                heard.notices.push(format!("what the agent wrote may not survive a power cut: {error}"));
            }
        }
        result
    }
}
