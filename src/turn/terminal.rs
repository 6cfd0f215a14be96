//! The terminal in a session's place: the provider's own UI on the same
//! conversation, or any command, under the same lock.

use std::ffi::OsString;
use std::path::PathBuf;

use tokio::sync::Notify;
use uuid::Uuid;

use super::{Chosen, Setup, Subject, TurnError, TurnEvent, choose, finalise, walls};
use crate::config::Environment;
use crate::login;
use crate::process::{self, ChildOutcome, Launch};
use crate::provider::{Continuation, Invocation, Options, Turn, built_in, child_environment};
use crate::provider_home;
use crate::sandbox::Policy;
use crate::session::{Grant, MessageOptions, PermissionMode, WorkspaceGuard};

/// Gives the terminal to the provider's own UI, on the session's conversation.
///
/// # Errors
/// If the provider has none, or cannot be started.
pub async fn attach(
    setup: &Setup,
    guard: &mut WorkspaceGuard,
    tell: &mut (dyn FnMut(TurnEvent<'_>) + Send),
) -> Result<ChildOutcome, TurnError> {
    let settings = guard.workspace().settings()?;
    let grant = Grant::read(guard.store(), guard.folder(), guard.record().uuid)?;
    let chosen = choose(setup, guard.store(), guard.record(), &settings, &MessageOptions::default())?;
    let place = provider_home::place(guard, &grant, &chosen.name, &settings)?;
    let (brief, _) = guard.workspace().brief(&settings, &place.working_dir)?;
    let (continuation, lost) = choose::continuation(guard, &chosen, &place, false)?;
    if let Some(notice) = lost {
        tell(TurnEvent::Notice(&notice));
    }
    let (confinement, open) = walls::policy(setup, Subject::of(guard, &place.working_dir), &chosen, false)?;
    if let Some(notice) = open {
        tell(TurnEvent::Notice(&notice));
    }
    let brief = brief.with(confinement.told_of(&place.working_dir));
    let store = guard.store().clone();
    let ground = setup.ground(&store);
    let new_id = Uuid::new_v4();
    let turn = Turn {
        program: &chosen.program,
        options: &chosen.options,
        place: &place,
        user: &setup.user(&ground),
        continuation: &continuation,
        new_id,
        prompt: "",
        raw: false,
        brief: &brief,
        told: false,
        model: chosen.model.as_deref(),
        permission_mode: chosen.permission_mode,
        stream: true,
        walled: confinement.walls.is_some(),
        asks: false,
    };
    let invocation = chosen.provider.attach(&turn)?;
    let environment = child_environment(&setup.environment, chosen.provider, &chosen.options, &invocation);
    let launch = launch(setup, confinement, environment);
    let steps = chosen.provider.prepare_terminal(&turn);
    for notice in login::settle_own(guard.store(), guard.folder()).await? {
        tell(TurnEvent::Notice(&notice));
    }
    provider_home::prepare(guard, &grant, chosen.provider, &chosen.options, &turn, &launch, &steps).await?;
    let before = finalise::BeforeTurn::look(&place, true);
    let mut login = chosen.login(guard, &turn, &mut || tell(TurnEvent::WaitingForLogin)).await?;
    tell(TurnEvent::Started { provider: &chosen.name, program: &chosen.program });
    let launch = Launch { login: login.as_ref(), ..launch };
    let proven = Notify::new();
    let outcome = match process::spawn_in_terminal(guard, &grant, &invocation, &launch) {
        Ok(program) => tokio::select! {
            outcome = program.end() => Ok(outcome),
            never = login::look_after(&mut login, &proven) => match never {},
        },
        Err(error) => Err(error),
    };
    settle_granted(guard, tell);
    for notice in login::end(login).await {
        tell(TurnEvent::Notice(&notice));
    }
    let outcome = outcome?;
    let look = before.finalise(guard, &place)?;
    // Which conversation it was: the one that was asked for, else the one whose
    // file is new.
    let id = match &continuation {
        Continuation::Resume(id) => Some(id.clone()),
        Continuation::Fresh | Continuation::Fork(_) => {
            let chosen_id = Some(new_id.to_string()).filter(|id| choose::is_kept(&chosen, &place, id));
            chosen_id.or_else(|| {
                let new = look.keys().filter(|file| !before.conversations.contains_key(*file));
                new.filter_map(|file| chosen.provider.id_in(file)).next_back()
            })
        }
    };
    if let Some(id) = id {
        super::remember(guard, &chosen.name, &id, "")?;
    }
    let record = guard.record_mut();
    if let Some(current) = &mut record.conversation {
        current.file = finalise::mark(chosen.provider, &current.id, &look);
        current.copy_of = None;
    }
    record.last_used_at = crate::session::now();
    record.archived_at = None;
    guard.save()?;
    provider_home::leave(guard, &place)?;
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
    tell: &mut (dyn FnMut(TurnEvent<'_>) + Send),
) -> Result<ChildOutcome, TurnError> {
    let grant = Grant::read(guard.store(), guard.folder(), guard.record().uuid)?;
    let settings = guard.workspace().settings()?;
    let (program, args) =
        command.split_first().map(|(program, args)| (PathBuf::from(program), args)).unwrap_or_default();
    let mut options = Options::none("exec");
    let working_dir = process::working_dir(guard, &grant)?;
    let program = if program.components().count() > 1 { working_dir.join(program) } else { program };
    options.program = Some(program.to_string_lossy().into_owned());
    let provider = built_in("command").ok_or_else(|| super::ChoiceError::NoProgram("exec".to_owned()))?;
    let ground = setup.ground(guard.store());
    let program =
        super::find_program(provider, &options, &setup.environment, &setup.launcher, &ground).map_err(|error| {
            match error {
                super::ChoiceError::NotInstalled { program, .. } => super::ChoiceError::NoCommand(program),
                error => error,
            }
        })?;
    let chosen = Chosen {
        name: options.name.clone(),
        provider,
        options,
        program,
        model: None,
        permission_mode: PermissionMode::BypassPermissions,
        notices: Vec::new(),
    };
    let (confinement, open) = walls::policy(setup, Subject::of(guard, &working_dir), &chosen, false)?;
    if let Some(notice) = open {
        tell(TurnEvent::Notice(&notice));
    }
    let memory = guard.own_told_files(&settings)?;
    let mut invocation = Invocation::of(&chosen.program);
    invocation.args(args).env("DENIZEN_SESSION", guard.record().key.as_str()).env("DENIZEN_MEMORY", memory);
    let environment = child_environment(&setup.environment, provider, &chosen.options, &invocation);
    let launch = launch(setup, confinement, environment);
    let outcome = process::spawn_in_terminal(guard, &grant, &invocation, &launch)?.end().await;
    settle_granted(guard, tell);
    Ok(outcome)
}

/// Looks at what is granted to the session, and tells the person at once.
fn settle_granted(guard: &mut WorkspaceGuard, tell: &mut (dyn FnMut(TurnEvent<'_>) + Send)) {
    guard.settle_granted();
    for notice in guard.take_notices() {
        tell(TurnEvent::Notice(&notice));
    }
}

fn launch(setup: &Setup, confinement: Policy, environment: Environment) -> Launch<'_> {
    Launch { launcher: &setup.launcher, confinement, deadline: None, environment, login: None }
}
