//! `denizen pending`: messages that were accepted and not answered.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{ago, escape, one_line};
use crate::session::{Pending, PendingState};

/// List the messages of a session that were accepted and not answered
///
/// `denizen retry` sends the first of them again. With `--dismiss`, those that
/// nobody takes up by itself are let go: nothing sends them again.
#[derive(Debug, Args)]
pub(super) struct PendingArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    /// Let go of what was interrupted, or left by a terminal
    #[arg(long)]
    dismiss: bool,
}

pub(super) fn run(app: &App, args: &PendingArgs) -> Result<ExitCode, CliError> {
    // A message may be left of a session that was never made.
    let key = match app.resolve(&args.key) {
        Ok(key) => key,
        Err(error) => match args.key.parse::<crate::key::Key>() {
            Ok(key) if app.control.store.queue_path(&key.folder_name()).is_dir() => key,
            _ => return Err(error),
        },
    };
    if args.dismiss {
        let dismissed = app.control.dismiss(&key, None)?;
        if dismissed.is_empty() {
            app.out.note("there was nothing to dismiss");
        }
        for message in &dismissed {
            if app.out.json {
                app.out.json(&json!({ "state": "dismissed", "at": message.at, "text": message.text }));
            } else {
                app.out.data(format_args!(
                    "{:<12} {:<9} {}",
                    "dismissed",
                    ago(message.at),
                    one_line(&message.text, 80)
                ));
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let pending = app.control.pending(&key.folder_name())?;
    if app.out.json {
        for pending in &pending {
            app.out.json(&as_json(pending));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if pending.is_empty() {
        app.out.note("every message was answered");
    }
    for pending in &pending {
        let state = state(pending.state);
        match &pending.message {
            Ok(message) => {
                app.out.data(format_args!("{state:<12} {:<9} {}", ago(message.at), one_line(&message.text, 80)))
            }
            Err(error) => app.out.data(format_args!("{state:<12} unreadable: {}", escape(&error.to_string()))),
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn as_json(pending: &Pending) -> serde_json::Value {
    let message = pending.message.as_ref().ok();
    json!({
        "entry": pending.number,
        "state": pending.state,
        "at": message.map(|message| message.at),
        "text": message.map(|message| &message.text),
        "author": message.and_then(|message| message.author.as_ref()),
        "error": pending.message.as_ref().err().map(ToString::to_string),
    })
}

/// The state of a message, in words.
pub(super) fn state(state: PendingState) -> &'static str {
    match state {
        PendingState::Waiting => "waiting",
        PendingState::Running => "running",
        PendingState::Left => "never begun",
        PendingState::Interrupted => "interrupted",
        PendingState::Answered => "undelivered",
    }
}
