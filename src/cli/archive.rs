//! `denizen archive` and `denizen unarchive`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::escape;
use super::watch::{self, WaitArgs};

/// Put a session away; a new message revives it
#[derive(Debug, Args)]
pub(super) struct ArchiveArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Take a session out of the archive
#[derive(Debug, Args)]
pub(super) struct UnarchiveArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &ArchiveArgs) -> Result<ExitCode, CliError> {
    set(app, &args.key, args.wait, true)
}

pub(super) fn run_unarchive(app: &App, args: &UnarchiveArgs) -> Result<ExitCode, CliError> {
    set(app, &args.key, args.wait, false)
}

fn set(app: &App, key: &str, wait: WaitArgs, archived: bool) -> Result<ExitCode, CliError> {
    let key = app.resolve(key)?;
    let changed = watch::with_wait(app, wait, async |wait| app.control.archive(&key, archived, wait).await)?;
    if app.out.json {
        app.out.json(&json!(changed.record));
    }
    let state = if archived { "archived" } else { "no longer archived" };
    app.out.done(format_args!("`{}` is {state}", escape(key.as_str())));
    Ok(ExitCode::SUCCESS)
}
