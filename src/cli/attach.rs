//! `denizen attach`: the provider's own terminal UI.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;

use super::app::App;
use super::error::CliError;
use super::terminal;
use super::watch::WaitArgs;
use crate::turn;

/// Open the provider's own terminal UI on the session's conversation
///
/// The session is held meanwhile: messages to it wait.
#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &AttachArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(CliError::usage("`attach` needs a terminal").hint("`denizen send` works without one"));
    }
    terminal::run(app, &key, args.wait, async |guard, wait| {
        Ok(turn::attach(&app.control.setup, guard, wait.events).await?)
    })
}
