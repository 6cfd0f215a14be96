//! `denizen exec`: any command in a session's place.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use super::app::App;
use super::error::CliError;
use super::terminal;
use super::watch::WaitArgs;
use crate::turn;

/// Run a command in the session's directory, under its lock
///
/// The command gets the same directory and environment as an agent. Its exit
/// code is passed on.
#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &ExecArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    terminal::run(app, &key, args.wait, async |guard, wait| {
        Ok(turn::exec(&app.control.setup, guard, &args.command, wait.events).await?)
    })
}
