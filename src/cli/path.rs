//! `denizen path`: where a session's folder is.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;

/// Print the path of a session's folder
#[derive(Debug, Args)]
pub(super) struct PathArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
}

pub(super) fn run(app: &App, args: &PathArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    let path = app.control.store.sessions_path().join(key.folder_name());
    if app.out.json {
        app.out.json(&json!({"key": key, "path": path}));
    } else {
        app.out.data(path.display());
    }
    Ok(ExitCode::SUCCESS)
}
