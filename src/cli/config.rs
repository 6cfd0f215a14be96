//! `denizen config`: every value in force, and where it came from.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{BOLD, DIM, RESET, YELLOW, escape};
use crate::config::Origin;
use crate::session::SessionError;

/// Show every configuration value in force, and where it came from
///
/// `denizen config walls SESSION` shows what the agent of that session may see,
/// change and reach, as its next turn would have it.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Only keys that start with this
    key: Option<String>,
    /// With `walls`: the session, by its key, or a unique title or start of either
    session: Option<String>,
}

pub(super) fn run(app: &App, args: &ConfigArgs) -> Result<ExitCode, CliError> {
    match (args.key.as_deref(), &args.session) {
        (Some("walls"), Some(session)) => return walls(app, session),
        (_, Some(session)) => {
            return Err(CliError::usage(format!(
                "only the walls are a session's own, not what was asked of `{session}`"
            ))
            .hint("`denizen config walls <session>`"));
        }
        (_, None) => {}
    }
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

/// What the child of a session may see and do.
fn walls(app: &App, session: &str) -> Result<ExitCode, CliError> {
    let key = app.resolve(session)?;
    let plan = app.control.plan(&key)?;
    if app.out.json {
        app.out.json(&json!({"session": key.as_str(), "confinement": plan.policy, "notices": plan.notices().collect::<Vec<_>>()}));
        return Ok(ExitCode::SUCCESS);
    }
    for (name, value) in plan.policy.lines() {
        app.out.data(format_args!("{BOLD}{name:<14}{RESET}{}", escape(&value)));
    }
    for granted in plan.policy.granted.iter().filter(|granted| !granted.protect.is_none()) {
        for gap in app.control.store.gaps_in_granted(&granted.path).map_err(SessionError::from)? {
            app.out.data(format_args!("{BOLD}{:<14}{RESET}{}", "not held", escape(&gap)));
        }
    }
    for notice in plan.notices() {
        app.out.note(format_args!("{YELLOW}note:{RESET} {}", escape(notice)));
    }
    Ok(ExitCode::SUCCESS)
}
