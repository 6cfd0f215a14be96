//! `denizen new`: the next message starts a fresh conversation.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::escape;
use super::watch::{self, WaitArgs};

/// Start a fresh conversation with the next message
///
/// The old one stays in the list for `denizen resume`; memory stays.
#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &NewArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    let changed = watch::with_wait(app, args.wait, async |wait| app.control.new_conversation(&key, wait).await)?;
    if app.out.json {
        app.out.json(&json!(changed.record));
    }
    for notice in &changed.notices {
        app.out.note(notice);
    }
    app.out.done(format_args!("the next message to `{}` starts a fresh conversation", escape(key.as_str())));
    Ok(ExitCode::SUCCESS)
}
