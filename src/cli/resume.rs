//! `denizen resume`: back to an earlier conversation.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{BOLD, RESET, ago, escape};
use super::status::describe;
use super::watch::{self, WaitArgs};

/// Go back to an earlier conversation, or list them
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    /// The conversation: its number in the list, or the start of its id
    conversation: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &ResumeArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    let Some(wanted) = &args.conversation else { return list(app, &key) };
    let changed = watch::with_wait(app, args.wait, async |wait| app.control.resume(&key, wanted, wait).await)?;
    if app.out.json {
        app.out.json(&json!(changed.record));
    }
    if let Some(current) = &changed.record.conversation {
        app.out.done(format_args!(
            "the next message to `{}` continues {}",
            escape(key.as_str()),
            escape(&describe(current))
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(app: &App, key: &crate::key::Key) -> Result<ExitCode, CliError> {
    let record = app.control.status(key)?.record;
    if app.out.json {
        app.out.json(&json!({"current": record.conversation, "earlier": record.earlier}));
        return Ok(ExitCode::SUCCESS);
    }
    if record.conversation.is_none() && record.earlier.is_empty() {
        app.out.note("no conversations yet");
    }
    if let Some(current) = &record.conversation {
        app.out.data(format_args!("{BOLD}*{RESET}  {:<9} {}", ago(current.last_used_at), escape(&describe(current))));
    }
    for (number, earlier) in record.earlier.iter().rev().enumerate() {
        app.out.data(format_args!("{:<2} {:<9} {}", number + 1, ago(earlier.last_used_at), escape(&describe(earlier))));
    }
    Ok(ExitCode::SUCCESS)
}
