//! `denizen login`: the person's login to an agent CLI, without a session.

use std::process::ExitCode;

use clap::Args;

use super::app::App;
use super::error::{CliError, FAILED};
use crate::turn;

/// Log in to an agent CLI, with the command that it has for that
///
/// The CLI runs outside of any session, in your own home and terminal. Every
/// session uses that login from then on.
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// The provider: `claude`, `codex`, `opencode` or `gemini`
    provider: String,
}

pub(super) fn run(app: &App, args: &LoginArgs) -> Result<ExitCode, CliError> {
    let tell = || app.out.note("waiting: a turn may be renewing the login");
    let status = turn::log_in(&app.control.setup, &app.control.store, &args.provider, tell)?;
    if status.success() { Ok(ExitCode::SUCCESS) } else { Ok(ExitCode::from(FAILED)) }
}
