//! `denizen fork`: a copy that shares the past and not the future.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::escape;
use super::watch::{self, WaitArgs};
use crate::key::Key;

/// Copy a session: the copy shares the past and not the future
#[derive(Debug, Args)]
pub(super) struct ForkArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    /// The key of the copy
    new_key: String,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &ForkArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    let new_key: Key = args.new_key.parse()?;
    let changed = watch::with_wait(app, args.wait, async |wait| app.control.fork(&key, &new_key, wait).await)?;
    if app.out.json {
        app.out.json(&json!(changed.record));
    }
    app.out.done(format_args!("`{}` is a copy of `{}`", escape(new_key.as_str()), escape(key.as_str())));
    Ok(ExitCode::SUCCESS)
}
