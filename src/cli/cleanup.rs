//! `denizen cleanup`: archive what is idle, trash what was archived for long,
//! delete what was in the trash for long; and take that back.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::escape;
use super::watch::{self, WaitArgs};
use crate::config::value::parse_span;
use crate::ops::{CleanupStep, NotUndone, Noted};

/// Archive and trash old sessions, and delete what was in the trash for long enough
///
/// Nothing but what `retention.idle` (or `--idle`), `retention.archived` and
/// `retention.trash` say. An archived session is revived by its next message or
/// `denizen unarchive`, a trashed one by `denizen trash restore`; `--undo` takes
/// back a whole cleanup. What was deleted from the trash is gone for good.
#[derive(Debug, Args)]
pub(super) struct CleanupArgs {
    /// Archive sessions without a turn for this long, such as `24h` or `30d`
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    idle: Option<Duration>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Take back the last cleanup: what it archived or trashed and nobody touched since
    #[arg(long, conflicts_with = "idle")]
    undo: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &CleanupArgs) -> Result<ExitCode, CliError> {
    match (args.undo, args.dry_run) {
        (false, false) => clean(app, args),
        (false, true) => show_plan(app, args),
        (true, false) => undo(app, args.wait),
        (true, true) => show_undo(app),
    }
}

fn show_plan(app: &App, args: &CleanupArgs) -> Result<ExitCode, CliError> {
    for step in app.control.plan_cleanup(args.idle)?.steps {
        let what = match step {
            CleanupStep::Archive(_) => "would archive",
            CleanupStep::Trash(_) => "would trash",
            CleanupStep::Delete(_) => "would delete",
        };
        show(app, what, step.name());
    }
    Ok(ExitCode::SUCCESS)
}

fn clean(app: &App, args: &CleanupArgs) -> Result<ExitCode, CliError> {
    let plan = app.control.plan_cleanup(args.idle)?;
    let bar = app.out.progress("cleaning up", plan.steps.len() as u64);
    let mut code = ExitCode::SUCCESS;
    let mut tell = |step: &CleanupStep, done: Result<(), _>| {
        bar.inc(1);
        let (did, not) = match step {
            CleanupStep::Archive(_) => ("archived", "not archived"),
            CleanupStep::Trash(_) => ("trashed", "not trashed"),
            CleanupStep::Delete(_) => ("deleted", "not deleted"),
        };
        bar.suspend(|| match done {
            Ok(()) => show(app, did, step.name()),
            Err(error) => {
                code = ExitCode::FAILURE;
                failed(app, not, step.name(), &CliError::from(error));
            }
        });
    };
    let result = watch::with_wait(app, args.wait, async move |wait| app.control.cleanup(plan, wait, &mut tell).await);
    bar.finish_and_clear();
    result.map(|()| code)
}

fn show_undo(app: &App) -> Result<ExitCode, CliError> {
    for step in app.control.plan_undo()? {
        match (&step.noted, step.left) {
            (noted, Some(reason)) => leave(app, "would leave", noted.name(), &reason),
            (Noted::Archived { key, .. }, None) => show(app, "would unarchive", key.as_str()),
            (noted, None) => show(app, "would restore", noted.name()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn undo(app: &App, wait: WaitArgs) -> Result<ExitCode, CliError> {
    let bar = app.out.progress("taking back", app.control.plan_undo()?.len() as u64);
    let mut code = ExitCode::SUCCESS;
    let mut tell = |noted: &Noted, done: Result<(), NotUndone>| {
        bar.inc(1);
        let (did, not) = match noted {
            Noted::Archived { .. } => ("unarchived", "not unarchived"),
            Noted::Trashed { .. } | Noted::Deleted { .. } => ("restored", "not restored"),
        };
        bar.suspend(|| match done {
            Ok(()) => show(app, did, noted.name()),
            Err(NotUndone::Left(reason)) => leave(app, "left", noted.name(), &reason),
            Err(NotUndone::Failed(error)) => {
                code = ExitCode::FAILURE;
                failed(app, not, noted.name(), &CliError::from(error));
            }
        });
    };
    let result = watch::with_wait(app, wait, async move |wait| app.control.undo(wait, &mut tell).await);
    bar.finish_and_clear();
    result.map(|()| code)
}

fn show(app: &App, what: &str, name: &str) {
    if app.out.json {
        app.out.json(&json!({"action": what, "name": name}));
    } else {
        app.out.data(format_args!("{what:<15} {}", escape(name)));
    }
}

fn leave(app: &App, what: &str, name: &str, reason: &str) {
    if app.out.json {
        app.out.json(&json!({"action": what, "name": name, "reason": reason}));
    } else {
        app.out.data(format_args!("{what:<15} {}: {reason}", escape(name)));
    }
}

fn failed(app: &App, not: &str, name: &str, error: &CliError) {
    app.out.error_line(format_args!("{not}: `{}`: {}", escape(name), error.message));
}
