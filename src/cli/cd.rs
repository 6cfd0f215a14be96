//! `denizen cd`: the directory that a session works in.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{RESET, YELLOW, escape};
use super::watch::{self, WaitArgs};

/// Point a session at another directory, or show where it works
///
/// Only directories below the configured `working_dirs` are allowed. Memory,
/// transcript and conversations stay in the session's own folder.
#[derive(Debug, Args)]
pub(super) struct CdArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    /// The directory
    #[arg(conflicts_with = "home")]
    dir: Option<PathBuf>,
    /// Back to the session's own folder
    #[arg(long)]
    home: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &CdArgs, here: &Path) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    if args.dir.is_some() || args.home {
        let dir = args.dir.as_ref().map(|dir| here.join(dir));
        let changed =
            watch::with_wait(app, args.wait, async |wait| app.control.change_dir(&key, dir.as_deref(), wait).await)?;
        for notice in &changed.notices {
            app.out.note(format_args!("{YELLOW}note:{RESET} {}", escape(notice)));
        }
    }
    let dir = app.control.working_dir(&key)?;
    if app.out.json {
        app.out.json(&json!({"key": key, "working_dir": dir}));
    } else {
        app.out.data(dir.display());
    }
    Ok(ExitCode::SUCCESS)
}
