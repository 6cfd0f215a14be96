//! `denizen trash`: removed sessions.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{ago, escape};
use crate::session::Trashed;

/// List removed sessions, or bring one back
#[derive(Debug, Args)]
pub(super) struct TrashArgs {
    #[command(subcommand)]
    command: TrashCommand,
}

#[derive(Debug, Subcommand)]
enum TrashCommand {
    /// List the removed sessions, the latest last
    List,
    /// Bring a removed session back
    Restore {
        /// The session's key or folder, or its name in the trash
        name: String,
    },
}

pub(super) fn run(app: &App, args: &TrashArgs) -> Result<ExitCode, CliError> {
    match &args.command {
        TrashCommand::List => list(app),
        TrashCommand::Restore { name } => restore(app, name),
    }
}

fn list(app: &App) -> Result<ExitCode, CliError> {
    let trashed = app.control.store.trashed()?;
    if trashed.is_empty() {
        app.out.note("the trash is empty");
    }
    for trashed in &trashed {
        if app.out.json {
            app.out.json(&json!({"name": trashed.name, "folder": trashed.folder, "removed_at": trashed.removed_at, "path": trashed.path}));
        } else {
            app.out.data(format_args!("{:<9} {}", ago(trashed.removed_at), escape(&trashed.name)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn restore(app: &App, name: &str) -> Result<ExitCode, CliError> {
    let folder = name.parse::<crate::key::Key>().map(|key| key.folder_name()).unwrap_or_default();
    let fits = |trashed: &&Trashed| trashed.name == name || trashed.folder == name || trashed.folder == folder;
    let trashed = app.control.store.trashed()?;
    // The latest, where a session was removed more than once.
    let Some(found) = trashed.iter().rfind(fits) else {
        return Err(
            CliError::failed(format!("there is no `{name}` in the trash")).hint("`denizen trash list` lists it")
        );
    };
    app.control.store.untrash(found)?;
    if app.out.json {
        app.out.json(&json!({"folder": found.folder}));
    }
    app.out.done(format_args!("`{}` is back", escape(&found.folder)));
    Ok(ExitCode::SUCCESS)
}
