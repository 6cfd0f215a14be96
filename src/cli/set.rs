//! `denizen set`: a session's settings.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::app::App;
use super::error::CliError;
use super::output::{BOLD, DIM, RESET, YELLOW, escape};
use super::watch::{self, WaitArgs};
use crate::session::SETTINGS;

/// Set one of a session's settings, or show them
///
/// Settings are provider, model, permission_mode and memory_directory. Without
/// a value, `--default` takes the setting back.
#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    /// The setting
    setting: Option<String>,
    /// The value
    #[arg(conflicts_with = "default")]
    value: Option<String>,
    /// Back to the default
    #[arg(long, requires = "setting")]
    default: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &SetArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    let Some(setting) = &args.setting else { return show(app, &key, None) };
    if args.value.is_none() && !args.default {
        return show(app, &key, Some(setting));
    }
    let value = args.value.as_deref();
    let changed = watch::with_wait(app, args.wait, async |wait| app.control.set(&key, setting, value, wait).await)?;
    for notice in &changed.notices {
        app.out.note(format_args!("{YELLOW}note:{RESET} {}", escape(notice)));
    }
    show(app, &key, Some(setting))
}

fn show(app: &App, key: &crate::key::Key, only: Option<&str>) -> Result<ExitCode, CliError> {
    let status = app.control.status(key)?;
    let settings = json!(status.settings?);
    let provider = status.record.provider.map(|provider| provider.name);
    let value = |name: &str| match name {
        "provider" => json!(provider),
        name => settings.get(name).cloned().unwrap_or(Value::Null),
    };
    let known: Vec<_> = SETTINGS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    if known.is_empty() {
        let names: Vec<&str> = SETTINGS.iter().map(|(name, _)| *name).collect();
        let nearest = crate::config::keys::nearest(only.unwrap_or_default(), names.iter().copied());
        let hint = nearest
            .map_or_else(|| format!("there are {}", names.join(", ")), |nearest| format!("did you mean `{nearest}`?"));
        return Err(CliError::usage(format!("there is no setting `{}`", only.unwrap_or_default())).hint(hint));
    }
    if app.out.json {
        let object: serde_json::Map<String, Value> =
            known.iter().map(|(name, _)| ((*name).to_owned(), value(name))).collect();
        app.out.json(&Value::Object(object));
        return Ok(ExitCode::SUCCESS);
    }
    for (name, help) in known {
        let shown = match value(name) {
            Value::Null => "-".to_owned(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        app.out.data(format_args!("{BOLD}{name:<18}{RESET}{:<20} {DIM}{help}{RESET}", escape(&shown)));
    }
    Ok(ExitCode::SUCCESS)
}
