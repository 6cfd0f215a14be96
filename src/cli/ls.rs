//! `denizen ls`: the sessions, the one used last first.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::app::App;
use super::error::CliError;
use super::output::{BOLD, RESET, YELLOW, ago, escape, one_line};
use crate::daemon;
use crate::key::Key;
use crate::ops::Shown;
use crate::session::{Record, SessionError};

/// How many sessions a terminal is shown unasked.
const SHOWN: usize = 30;

/// List the sessions, the one used last first
///
/// On a terminal the first 30 are shown; `--all`, or a pattern, shows more.
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Only sessions whose key or title matches; `*` stands for anything
    pattern: Option<String>,
    /// Show every session, also the archived ones
    #[arg(long, short)]
    all: bool,
    /// Show only archived sessions
    #[arg(long)]
    archived: bool,
}

pub(super) fn run(app: &App, args: &LsArgs) -> Result<ExitCode, CliError> {
    let mut shown = app.control.list()?;
    if let Some(pattern) = &args.pattern {
        shown.retain(|shown| names(shown).any(|name| matches(pattern, name)));
    }
    if app.out.json {
        app.out.json_lines(shown.iter().map(as_json));
        return Ok(ExitCode::SUCCESS);
    }
    let (unreadable, mut sessions): (Vec<_>, Vec<_>) = shown.into_iter().partition(|shown| shown.record.is_err());
    let archived = sessions.iter().filter(|shown| is_archived(shown)).count();
    let hidden = if args.all {
        0
    } else if args.archived {
        sessions.len() - archived
    } else {
        archived
    };
    if !args.all {
        sessions.retain(|shown| is_archived(shown) == args.archived);
    }
    let total = sessions.len();
    if !args.all && args.pattern.is_none() && std::io::stdout().is_terminal() {
        sessions.truncate(SHOWN);
    }
    if sessions.is_empty() && unreadable.is_empty() {
        app.out.note(if hidden > 0 {
            "no such sessions"
        } else {
            "no sessions yet: `denizen send <key> <text>` makes one"
        });
    } else {
        app.out.data(table(&sessions));
    }
    let mut rest = Vec::new();
    if sessions.len() < total {
        rest.push(format!(
            "{} more: `denizen ls --all`, or a pattern such as `denizen ls 'discord-*'`",
            total - sessions.len()
        ));
    }
    if !args.archived && hidden > 0 {
        rest.push(format!("{hidden} archived: `denizen ls --archived`"));
    }
    if !app.control.setup.config.channels.is_empty() && !daemon::is_running(&app.control.store) {
        rest.push("the daemon does not run, so nobody listens to the chat networks: `denizen serve`".to_owned());
    }
    for line in rest {
        app.out.note(line);
    }
    for shown in unreadable {
        show_unreadable(app, shown);
    }
    Ok(ExitCode::SUCCESS)
}

fn show_unreadable(app: &App, shown: Shown) {
    let Err(error) = shown.record else { return };
    let remedy = match &error {
        SessionError::Stray { remedy, .. } => remedy.clone(),
        _ => None,
    };
    let message = CliError::from(error).message;
    app.out.note(format_args!("{YELLOW}unreadable:{RESET} `{}`: {}", escape(&shown.folder), escape(&message)));
    if let Some(remedy) = remedy {
        app.out.note(format_args!("hint: {}", escape(&remedy)));
    }
}

fn table(sessions: &[Shown]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let head = ["SESSION", "PROVIDER", "TURNS", "USED", "", "ABOUT"];
    table.set_header(head);
    for shown in sessions {
        let Ok(record) = &shown.record else { continue };
        let state = match (shown.busy, is_archived(shown)) {
            (true, _) => "busy",
            (false, true) => "archived",
            (false, false) => "",
        };
        table.add_row([
            one_line(&name(record), 44),
            record.provider.as_ref().map_or_else(|| "-".to_owned(), |provider| provider.name.clone()),
            record.turns.to_string(),
            ago(record.last_used_at),
            state.to_owned(),
            record.conversation.as_ref().map_or_else(String::new, |current| one_line(&current.about, 40)),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let mut lines = text.into_iter();
    let head = lines.next().map(|head| format!("{BOLD}{head}{RESET}"));
    head.into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

fn name(record: &Record) -> String {
    match &record.title {
        Some(title) => format!("{title} ({})", record.key),
        None => record.key.to_string(),
    }
}

fn names(shown: &Shown) -> impl Iterator<Item = &str> {
    let record = shown.record.as_ref().ok();
    let key = record.map(|record| record.key.as_str());
    let title = record.and_then(|record| record.title.as_deref());
    key.into_iter().chain(title).chain(std::iter::once(shown.folder.as_str()))
}

fn is_archived(shown: &Shown) -> bool {
    shown.record.as_ref().is_ok_and(|record| record.archived_at.is_some())
}

/// A session in the list, as JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum SessionRow<'a> {
    Session {
        key: &'a Key,
        folder: &'a str,
        title: Option<&'a str>,
        uuid: Uuid,
        provider: Option<&'a str>,
        conversation: Option<&'a str>,
        turns: u64,
        created_at: Timestamp,
        last_used_at: Timestamp,
        archived_at: Option<Timestamp>,
        busy: bool,
    },
    Unreadable {
        folder: &'a str,
        error: String,
    },
}

fn as_json(shown: &Shown) -> SessionRow<'_> {
    match &shown.record {
        Ok(record) => SessionRow::Session {
            key: &record.key,
            folder: &shown.folder,
            title: record.title.as_deref(),
            uuid: record.uuid,
            provider: record.provider.as_ref().map(|provider| provider.name.as_str()),
            conversation: record.conversation.as_ref().map(|current| current.id.as_str()),
            turns: record.turns,
            created_at: record.created_at,
            last_used_at: record.last_used_at,
            archived_at: record.archived_at,
            busy: shown.busy,
        },
        Err(error) => SessionRow::Unreadable { folder: &shown.folder, error: error.to_string() },
    }
}

/// Whether a text matches a pattern in which `*` stands for anything; a pattern
/// without one matches where it is a part of the text.
fn matches(pattern: &str, text: &str) -> bool {
    if !pattern.contains('*') {
        return text.contains(pattern);
    }
    let mut parts = pattern.split('*');
    let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut rest = rest;
    let mut last = "";
    for part in parts {
        last = part;
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    last.is_empty() || text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("discord-*", "discord-1", true),
            ("*-topic-*", "telegram-group-1-topic-7", true),
            ("discord-*", "x-discord-1", false),
            ("*-7", "a-7-8", false),
            ("a*a", "a", false),
            ("cord", "discord-1", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
