//! `denizen man`: the manual page.

use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::output::Output;

/// Print the manual page, of the program or of one command
///
/// For instance: `denizen man | man -l -`
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The command
    command: Option<String>,
}

pub(super) fn run(args: &ManArgs, out: Output, mut command: clap::Command) -> Result<ExitCode, CliError> {
    command.build();
    let page = match &args.command {
        None => command,
        Some(name) => {
            let found = command.find_subcommand(name).cloned();
            found.ok_or_else(|| CliError::usage(format!("there is no command `{name}`")))?
        }
    };
    let mut bytes = Vec::new();
    let rendered = clap_mangen::Man::new(page).render(&mut bytes);
    rendered.map_err(|error| CliError::failed(format!("could not make the page: {error}")))?;
    out.part(String::from_utf8_lossy(&bytes));
    Ok(ExitCode::SUCCESS)
}
