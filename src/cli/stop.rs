//! `denizen stop`: the end of a running turn.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::escape;

/// End the running turn of a session, with everything it started
#[derive(Debug, Args)]
pub(super) struct StopArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
}

pub(super) fn run(app: &App, args: &StopArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    let stopped = app.control.stop(&key)?;
    if app.out.json {
        app.out.json(&json!({"key": key, "stopped": stopped}));
    } else if stopped {
        app.out.done(format_args!("the turn of `{}` was stopped", escape(key.as_str())));
    } else {
        app.out.done(format_args!("nothing runs in `{}`", escape(key.as_str())));
    }
    Ok(ExitCode::SUCCESS)
}
