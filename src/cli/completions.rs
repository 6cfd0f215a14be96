//! `denizen completions`: completion for a shell.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::error::CliError;

/// Print the completion script for a shell
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<ExitCode, CliError> {
    clap_complete::generate(args.shell, command, "denizen", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
