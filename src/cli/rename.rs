//! `denizen rename`: what people call a session.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::escape;
use super::watch::{self, WaitArgs};

/// Give a session a title
///
/// Its key and folder stay. An empty title takes it away.
#[derive(Debug, Args)]
pub(super) struct RenameArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    /// The title
    title: String,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &RenameArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    let changed = watch::with_wait(app, args.wait, async |wait| app.control.rename(&key, &args.title, wait).await)?;
    if app.out.json {
        app.out.json(&json!(changed.record));
    }
    app.out.done(format_args!("`{}` is called \"{}\"", escape(key.as_str()), escape(changed.record.display_name())));
    Ok(ExitCode::SUCCESS)
}
