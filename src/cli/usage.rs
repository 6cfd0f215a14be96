//! `denizen usage`: what sessions used.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{BOLD, RESET, one_line};
use super::status::used;
use crate::session::Usage;

/// Show what a session used, or each of them and their sum
#[derive(Debug, Args)]
pub(super) struct UsageArgs {
    /// The session: its key, or a unique title or start of either
    key: Option<String>,
}

pub(super) fn run(app: &App, args: &UsageArgs) -> Result<ExitCode, CliError> {
    let only = args.key.as_deref().map(|key| app.resolve(key)).transpose()?;
    let mut total = Usage::default();
    let mut rows = Vec::new();
    for record in app.control.list()?.into_iter().filter_map(|shown| shown.record.ok()) {
        if only.as_ref().is_none_or(|only| *only == record.key) {
            total.add(record.usage);
            rows.push(record);
        }
    }
    if app.out.json {
        for record in &rows {
            app.out.json(&json!({"key": record.key, "turns": record.turns, "usage": record.usage}));
        }
        return Ok(ExitCode::SUCCESS);
    }
    for record in &rows {
        app.out.data(format_args!(
            "{:<40} {:>5} turns  {}",
            one_line(record.display_name(), 40),
            record.turns,
            used(record.usage)
        ));
    }
    if rows.len() > 1 {
        app.out.data(format_args!(
            "{BOLD}{:<40} {:>5} turns  {}{RESET}",
            "all",
            rows.iter().map(|record| record.turns).sum::<u64>(),
            used(total)
        ));
    }
    Ok(ExitCode::SUCCESS)
}
