//! What every command works with: its output, the operations, and the options
//! that all of them take. Not here: the commands, which are in `mod.rs`.

use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::output::{self, Color, Output};
use crate::key::Key;
use crate::ops::Control;
use crate::sandbox::Ground;

/// The options that every command takes.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Where everything is kept [default: DENIZEN_ROOT, else the platform's data directory + /denizen]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(super) root: Option<PathBuf>,
    /// The configuration file [default: denizen.toml in the root]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(super) config: Option<PathBuf>,
    /// Set a configuration key for this call, such as `-c limits.turns=1`
    #[arg(short = 'c', long = "override", global = true, value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Global options")]
    pub(super) overrides: Vec<(String, String)>,
    /// Print data as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub(super) json: bool,
    /// Print nothing but data and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub(super) quiet: bool,
    /// Say more about what is done
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(super) verbose: bool,
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Global options"
    )]
    pub(super) color: Color,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it has no `=`")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What every command works with.
pub(super) struct App {
    pub(super) out: Output,
    pub(super) control: Control,
    pub(super) config_file: PathBuf,
}

impl App {
    /// The key that a person means, and a word about it if it was not the
    /// key itself.
    pub(super) fn resolve(&self, text: &str) -> Result<Key, CliError> {
        let key = self.control.store.resolve(text).map_err(|error| match text.parse::<Key>() {
            // A text that can be no key at all is wrong in itself.
            Err(wrong) => CliError::from(wrong),
            Ok(_) => CliError::from(error),
        })?;
        if key.as_str() != text {
            self.out.note(format_args!("session `{}`", output::escape(key.as_str())));
        }
        Ok(key)
    }

    /// What agents can write.
    pub(super) fn ground(&self) -> Ground<'_> {
        self.control.setup.ground(&self.control.store)
    }

    /// Runs a future to its end, on this thread.
    pub(super) fn wait_for<T>(&self, future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CliError::failed(format!("could not start: {error}")))?;
        let result = runtime.block_on(future);
        // A wait that was given up may still stand in its thread.
        runtime.shutdown_background();
        result
    }
}
