//! `denizen config`: every value in force, and where it came from.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::App;
use super::error::CliError;
use super::output::{DIM, RESET};
use crate::config::Origin;

/// Show every configuration value in force, and where it came from
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Only keys that start with this
    key: Option<String>,
}

pub(super) fn run(app: &App, args: &ConfigArgs) -> Result<ExitCode, CliError> {
    let config = &app.control.setup.config;
    let wanted = |name: &str| args.key.as_deref().is_none_or(|start| name.starts_with(start));
    let found: Vec<_> = config.settings.iter().filter(|setting| wanted(&setting.name)).collect();
    if let (Some(key), true) = (&args.key, found.is_empty()) {
        let names = config.settings.iter().map(|setting| setting.name.as_str());
        let nearest = crate::config::keys::nearest(key, names).map(|nearest| format!("did you mean `{nearest}`?"));
        let error = CliError::usage(format!("there is no key `{key}`"));
        return Err(match nearest {
            Some(nearest) => error.hint(nearest),
            None => error,
        });
    }
    if !app.out.json {
        app.out.note(format_args!("{DIM}# {}{RESET}", app.config_file.display()));
    }
    for setting in found {
        if app.out.json {
            app.out.json(&json!({"key": setting.name, "value": setting.value, "origin": setting.origin.to_string()}));
            continue;
        }
        let value = if setting.value.is_empty() { "-" } else { &setting.value };
        let origin = if setting.origin == Origin::Default {
            String::new()
        } else {
            format!("  {DIM}# {}{RESET}", setting.origin)
        };
        app.out.data(format_args!("{} = {value}{origin}", setting.name));
    }
    Ok(ExitCode::SUCCESS)
}
