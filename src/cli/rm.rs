//! `denizen rm`: the end of a session.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::escape;
use super::watch::{self, WaitArgs};

/// Move a session to the trash
///
/// `denizen trash restore` brings it back until `retention.trash` has passed.
#[derive(Debug, Args)]
pub(super) struct RmArgs {
    /// The session's key, in full
    key: String,
    /// Delete it for good
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &RmArgs) -> Result<ExitCode, CliError> {
    // A destructive act wants the whole key, not something that starts like it.
    let key = args.key.parse()?;
    let removed = watch::with_wait(app, args.wait, async |wait| app.control.remove(&key, args.purge, wait).await)?;
    let path = removed.trashed.as_ref().map(|trashed| &trashed.path);
    if app.out.json {
        app.out.json(&json!({"key": key, "trash": path}));
    }
    match path {
        Some(_) => app.out.done(format_args!(
            "`{0}` is in the trash: `denizen trash restore {0}` brings it back",
            escape(key.as_str())
        )),
        None => app.out.done(format_args!("`{}` was deleted for good", escape(key.as_str()))),
    }
    Ok(ExitCode::SUCCESS)
}
