//! `denizen compact`: the provider's own summary of the conversation.

use std::process::ExitCode;

use clap::Args;

use super::app::App;
use super::error::CliError;
use super::watch::{self, WaitArgs};

/// Ask the provider to compact the current conversation
#[derive(Debug, Args)]
pub(super) struct CompactArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &CompactArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    let limit = Some(args.wait.short());
    let reply =
        watch::with_turn(app, limit, false, async |options, wait| app.control.compact(&key, options, wait).await)?;
    watch::print_reply(app.out, key.as_str(), &reply, false);
    Ok(ExitCode::SUCCESS)
}
