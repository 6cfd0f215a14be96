//! `denizen retry`: a message again that was not answered.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::app::App;
use super::error::CliError;
use super::watch;
use crate::config::value::parse_span;

/// Send a message again that was not answered
///
/// The first one whose turn was interrupted or never began, else the last one,
/// if its turn failed.
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    /// Print the reply while it is produced
    #[arg(long)]
    stream: bool,
    /// How long to wait while the session is busy; forever if not given
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    wait: Option<Duration>,
}

pub(super) fn run(app: &App, args: &RetryArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    let delivery = watch::with_turn(app, args.wait, args.stream, async |options, wait| {
        app.control.retry(&key, options, wait).await
    })?;
    watch::deliver(app, &key, delivery, args.stream)
}
