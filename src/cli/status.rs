//! `denizen status`: one session in full, or all in short.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{BOLD, RESET, YELLOW, ago, bytes, escape, one_line};
use crate::config::{Access, WallsMode};
use crate::daemon;
use crate::ops::SessionStatus;
use crate::process::probe;
use crate::session::{Conversation, TurnOutcome, Usage};

/// Show one session in full, or all of them in short
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The session: its key, or a unique title or start of either
    key: Option<String>,
}

pub(super) fn run(app: &App, args: &StatusArgs) -> Result<ExitCode, CliError> {
    match &args.key {
        Some(key) => one(app, key),
        None => all(app),
    }
}

fn all(app: &App) -> Result<ExitCode, CliError> {
    let overview = app.control.overview()?;
    if app.out.json {
        let mut json = json!(overview);
        json["daemon"] = daemon::is_running(&app.control.store).into();
        app.out.json(&json);
        return Ok(ExitCode::SUCCESS);
    }
    let line = |name: &str, value: String| app.out.data(format_args!("{BOLD}{name:<11}{RESET}{value}"));
    line("root", app.control.store.root().display().to_string());
    let archived = if overview.archived > 0 { format!(", {} archived", overview.archived) } else { String::new() };
    line("daemon", daemon_here(app));
    line("sessions", format!("{}{archived}", overview.sessions));
    line("busy", overview.busy.to_string());
    line("turns", overview.turns.to_string());
    line("used", used(overview.usage));
    line("walls", walls_here(app));
    for share in &app.control.setup.config.shares {
        let mode = if share.mode == Access::Write { "read and write" } else { "read" };
        line("shared", escape(&format!("{} with {} ({mode})", share.path.display(), share.sessions.join(", "))));
    }
    if overview.pending > 0 {
        line("pending", format!("{} messages are not answered", overview.pending));
    }
    if overview.undelivered > 0 {
        line("undelivered", format!("{} replies are not yet in their channel", overview.undelivered));
    }
    if overview.trashed > 0 {
        line("trash", format!("{} removed sessions: `denizen trash list`", overview.trashed));
    }
    if overview.unreadable > 0 {
        line("unreadable", format!("{YELLOW}{}{RESET}: `denizen ls` says why", overview.unreadable));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the daemon runs, and whether it should.
fn daemon_here(app: &App) -> String {
    match (daemon::is_running(&app.control.store), app.control.setup.config.channels.is_empty()) {
        (true, _) => "runs".to_owned(),
        (false, true) => "does not run; no chat network is configured".to_owned(),
        (false, false) => format!("{YELLOW}does not run{RESET}: `denizen serve`"),
    }
}

fn one(app: &App, key: &str) -> Result<ExitCode, CliError> {
    let key = app.resolve(key)?;
    let status = app.control.status(&key)?;
    if app.out.json {
        let walls = app.control.plan(&key).map_or_else(|_| "none".to_owned(), |plan| plan.policy.to_string());
        app.out.json(&as_json(&status, &walls));
        return Ok(ExitCode::SUCCESS);
    }
    let record = &status.record;
    let line = |name: &str, value: String| {
        app.out.data(format_args!("{BOLD}{name:<14}{RESET}{}", escape(&value)));
    };
    line("session", record.key.to_string());
    if let Some(title) = &record.title {
        line("title", title.clone());
    }
    line("folder", status.path.display().to_string());
    if status.working_dir != status.path {
        let until = if status.until_new { ", where its conversation was, until `denizen new`" } else { "" };
        line("works in", format!("{}{until}", status.working_dir.display()));
    }
    line("state", state(&status));
    if let Some(agent) = &record.agent {
        line("agent", agent.clone());
    }
    line(
        "provider",
        record.provider.as_ref().map_or_else(|| "decided at the first message".to_owned(), |p| p.name.clone()),
    );
    match &status.settings {
        Ok(settings) => {
            if let Some(model) = &settings.model {
                line("model", model.clone());
            }
            if let Some(mode) = settings.permission_mode {
                line("mode", mode.name().to_owned());
            }
            line("memory", format!("{}/", settings.memory_directory));
        }
        Err(error) => line("settings", format!("unreadable: {error}")),
    }
    line("created", ago(record.created_at));
    line("turns", format!("{}, last {}", record.turns, ago(record.last_used_at)));
    line("used", used(record.usage));
    line("size", bytes(status.bytes));
    let walls = app.control.plan(&key).map(|plan| plan.without_walls.unwrap_or_else(|| plan.policy.summary()));
    line("walls", walls.unwrap_or_else(|error| error.to_string()));
    for share in app.control.setup.config.shares.iter().filter(|share| share.is_for(&key)) {
        let mode = if share.mode == Access::Write { "read and write" } else { "read" };
        line("shared", format!("{} ({mode})", share.path.display()));
    }
    if let Some(fork) = &record.forked_from {
        line("forked from", fork.key.to_string());
    }
    if let Some(last) = record.last_turn.as_ref().filter(|last| last.outcome == TurnOutcome::Failed) {
        line("last turn", format!("failed: {}", last.reason.as_deref().unwrap_or("no reason was given")));
    }
    if let Some(conversation) = &record.conversation {
        line("conversation", describe(conversation));
    }
    for (number, conversation) in record.earlier.iter().rev().enumerate().take(5) {
        line(&format!("earlier {}", number + 1), describe(conversation));
    }
    if record.earlier.len() > 5 {
        line("", format!("and {} more: `denizen resume {}` lists them", record.earlier.len() - 5, record.key));
    }
    for pending in &status.pending {
        let text = pending.message.as_ref().map_or_else(ToString::to_string, |message| one_line(&message.text, 50));
        line("pending", format!("{}: {text}", super::pending::state(pending.state)));
    }
    Ok(ExitCode::SUCCESS)
}

fn state(status: &SessionStatus) -> String {
    match (status.busy, status.record.archived_at) {
        (true, _) => "busy".to_owned(),
        (false, Some(at)) => format!("archived {}", ago(at)),
        (false, None) => "idle".to_owned(),
    }
}

pub(super) fn describe(conversation: &Conversation) -> String {
    let about =
        if conversation.about.is_empty() { String::new() } else { format!(", {}", one_line(&conversation.about, 50)) };
    let turns = if conversation.turns == 1 { "1 turn".to_owned() } else { format!("{} turns", conversation.turns) };
    format!("{} {}, {turns}{about}", conversation.provider, conversation.id)
}

pub(super) fn used(usage: Usage) -> String {
    let cost = usage.cost_usd.map_or_else(String::new, |cost| format!(", ${cost:.4}"));
    format!("{} tokens in ({} cached), {} out{cost}", usage.input_tokens, usage.cached_tokens, usage.output_tokens)
}

/// What the configuration asks for, and whether that can be had here.
pub(super) fn walls_here(app: &App) -> String {
    let setup = &app.control.setup;
    let means = || setup.means.get_or_init(|| probe::means(&app.control.store, &setup.config, &setup.environment));
    let walls = setup.config.walls;
    let held = match walls {
        WallsMode::Off => return "off: agents can read and write whatever you can, other sessions too".to_owned(),
        WallsMode::Full => "full: each agent sees its own session and the system",
        WallsMode::Kernel => "kernel: each agent reads its own session and the system; some of others shows",
    };
    match probe::against(means(), walls) {
        None => held.to_owned(),
        Some(obstacle) => format!("{} cannot be had here: {obstacle}", walls.name()),
    }
}

fn as_json(status: &SessionStatus, walls: &str) -> serde_json::Value {
    json!({
        "record": status.record,
        "settings": status.settings.as_ref().ok(),
        "path": status.path,
        "working_dir": status.working_dir,
        "until_new": status.until_new,
        "busy": status.busy,
        "bytes": status.bytes,
        "pending": status.pending.iter().map(super::pending::as_json).collect::<Vec<_>>(),
        "walls": walls,
    })
}
