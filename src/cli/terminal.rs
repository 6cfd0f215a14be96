//! What `attach` and `exec` share: the session's guard while something else
//! has the terminal.

use std::process::ExitCode;

use super::app::App;
use super::error::CliError;
use super::watch::{self, WaitArgs};
use crate::key::Key;
use crate::ops::{ControlError, Wait};
use crate::process::ChildOutcome;
use crate::session::WorkspaceGuard;

/// Claims the session and runs something in its place. Interrupts are the
/// child's affair meanwhile; its exit code becomes ours.
pub(super) fn run(
    app: &App,
    key: &Key,
    wait: WaitArgs,
    act: impl AsyncFnOnce(&mut WorkspaceGuard, &mut Wait<'_>) -> Result<ChildOutcome, ControlError>,
) -> Result<ExitCode, CliError> {
    let outcome = watch::with_wait(app, wait, async |wait| {
        let mut guard = app.control.guard(key, wait).await?;
        let _ignored = ignore_interrupts();
        act(&mut guard, wait).await
    })?;
    match outcome {
        ChildOutcome::Exited(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        ChildOutcome::Signalled(signal) => Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))),
        ChildOutcome::Stopped => Err(CliError::failed("it was stopped")),
        ChildOutcome::Excess(excess) => Err(CliError::failed(format!("it was ended: {excess}"))),
        ChildOutcome::Deadline => Err(CliError::failed("it ran into its deadline")),
        ChildOutcome::NotStarted(reason) => Err(CliError::failed(format!("could not be started: {reason}"))),
        ChildOutcome::LauncherKilled => Err(CliError::failed("its launcher was killed")),
    }
}

/// Keys for interrupt and quit go to every process in the terminal; this one
/// has to outlive them, to end what the child started and save the session.
fn ignore_interrupts() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    // A registered signal no longer ends the process; nobody listens to it.
    let _interrupt = signal(SignalKind::interrupt())?;
    let _quit = signal(SignalKind::quit())?;
    Ok(())
}
