//! `denizen cleanup`: archive what is idle, delete what was in the trash for long.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::json;

use super::App;
use super::error::CliError;
use super::output::escape;
use super::watch::{self, WaitArgs};
use crate::config::value::parse_span;

/// Archive idle sessions, and delete what was in the trash for long enough
///
/// Nothing but what `retention.idle` (or `--idle`) and `retention.trash` say.
/// An archived session is revived by its next message or `denizen unarchive`.
#[derive(Debug, Args)]
pub(super) struct CleanupArgs {
    /// Archive sessions without a turn for this long, such as `24h` or `30d`
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    idle: Option<Duration>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &CleanupArgs) -> Result<ExitCode, CliError> {
    let plan = app.control.plan_cleanup(args.idle)?;
    if args.dry_run {
        for key in &plan.idle {
            show(app, "would archive", key.as_str());
        }
        for trashed in &plan.expired {
            show(app, "would delete", &trashed.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let bar = ProgressBar::new((plan.idle.len() + plan.expired.len()) as u64);
    if app.out.quiet || app.out.json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let cleaned = watch::with_wait(app, args.wait, async move |wait| {
        let result = app.control.cleanup(plan, wait, &mut || bar.inc(1)).await;
        bar.finish_and_clear();
        result
    })?;
    for key in &cleaned.archived {
        show(app, "archived", key.as_str());
    }
    for trashed in &cleaned.deleted {
        show(app, "deleted", &trashed.name);
    }
    let mut code = ExitCode::SUCCESS;
    for (key, error) in cleaned.failed {
        app.out.error_line(format_args!("not archived: `{}`: {}", escape(key.as_str()), CliError::from(error).message));
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

fn show(app: &App, what: &str, name: &str) {
    if app.out.json {
        app.out.json(&json!({"action": what, "name": name}));
    } else {
        app.out.data(format_args!("{what:<14} {}", escape(name)));
    }
}
