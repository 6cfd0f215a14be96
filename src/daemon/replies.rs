//! What commands answer: sessions in words. Nothing here reads or changes one.

use jiff::Timestamp;

use super::phrases::{one_line, state};
use crate::ops::{SessionStatus, Shown};
use crate::session::{Conversation, Message, Pending, Record, TurnOutcome, Usage};

/// How many sessions or messages are listed.
const LISTED: usize = 20;

pub(super) fn status(status: &SessionStatus) -> String {
    let record = &status.record;
    let mut lines = vec![format!("Session `{}`{}", record.key, title(record))];
    let doing = if status.busy { "busy" } else { "idle" };
    let archived = if record.archived_at.is_some() { ", archived" } else { "" };
    lines.push(format!("State: {doing}{archived}"));
    lines.push(settings(status));
    lines.push(format!("Turns: {}, last {}", record.turns, ago(record.last_used_at)));
    if let Some(last) = record.last_turn.as_ref().filter(|last| last.outcome == TurnOutcome::Failed) {
        let reason = last.reason.as_deref().unwrap_or("no reason was given");
        lines.push(format!("Last turn: failed, {}", one_line(reason, 200)));
    }
    if let Some(current) = &record.conversation {
        lines.push(format!("Conversation: {}", describe(current)));
    }
    if !status.pending.is_empty() {
        lines.push(format!("Not answered: {}", status.pending.len()));
    }
    lines.join("\n")
}

pub(super) fn settings(status: &SessionStatus) -> String {
    let provider = status.record.provider.as_ref().map_or("decided at the first message", |provider| &provider.name);
    let mut text = format!("Provider: {provider}");
    match &status.settings {
        Ok(settings) => {
            text.push_str(&format!(", model: {}", settings.model.as_deref().unwrap_or("default")));
            text.push_str(&format!(", mode: {}", settings.permission_mode.map_or("default", |mode| mode.name())));
        }
        Err(error) => text.push_str(&format!(", settings unreadable: {}", one_line(&error.to_string(), 200))),
    }
    text
}

pub(super) fn cost(record: &Record) -> String {
    format!("{} turns used {}", record.turns, used(record.usage))
}

fn used(usage: Usage) -> String {
    let cost = usage.cost_usd.map_or_else(String::new, |cost| format!(", ${cost:.4}"));
    format!("{} tokens in ({} cached), {} out{cost}", usage.input_tokens, usage.cached_tokens, usage.output_tokens)
}

pub(super) fn pending(pending: &[Pending]) -> String {
    if pending.is_empty() {
        return "Every message was answered.".to_owned();
    }
    let line = |pending: &Pending| match &pending.message {
        Ok(message) => format!("{}: {}", state(pending.state), one_line(&message.text, 80)),
        Err(_) => "unreadable".to_owned(),
    };
    listed(pending.iter().map(line).collect())
}

pub(super) fn dismissed(messages: &[Message]) -> String {
    match messages {
        [] => "There is nothing to dismiss.".to_owned(),
        [message] => format!("Dismissed: {}", one_line(&message.text, 80)),
        messages => format!("Dismissed {} messages.", messages.len()),
    }
}

pub(super) fn sessions(shown: &[Shown], pattern: Option<&str>) -> String {
    let lines = shown.iter().filter_map(|shown| shown.record.as_ref().ok().map(|record| (shown, record)));
    let wanted = lines.filter(|(_, record)| {
        let fits = |text: &str| pattern.is_none_or(|pattern| text.contains(pattern));
        record.archived_at.is_none() && (fits(record.key.as_str()) || record.title.as_deref().is_some_and(fits))
    });
    let lines: Vec<String> = wanted
        .map(|(shown, record)| {
            let busy = if shown.busy { ", busy" } else { "" };
            format!("`{}`{}: {} turns, {}{busy}", record.key, title(record), record.turns, ago(record.last_used_at))
        })
        .collect();
    if lines.is_empty() { "There are no such sessions.".to_owned() } else { listed(lines) }
}

pub(super) fn conversations(record: &Record) -> String {
    let mut lines = Vec::new();
    if let Some(current) = &record.conversation {
        lines.push(format!("current: {}", describe(current)));
    }
    for (number, earlier) in record.earlier.iter().rev().enumerate() {
        lines.push(format!("{}: {}", number + 1, describe(earlier)));
    }
    if lines.is_empty() { "There are no conversations yet.".to_owned() } else { listed(lines) }
}

/// What a change came to.
pub(super) fn changed(command: &str, record: &Record) -> String {
    match command {
        "new" => "The next message starts a fresh conversation; the old one stays in the list of `/resume`.".to_owned(),
        "resume" => match &record.conversation {
            Some(current) => format!("The next message continues {}", describe(current)),
            None => "Done.".to_owned(),
        },
        "fork" => format!("Copied to `{}`.", record.key),
        "name" => match &record.title {
            Some(title) => format!("It is called {title} now."),
            None => "It has no title now.".to_owned(),
        },
        "provider" => match &record.provider {
            Some(provider) => format!("The next message goes to {}.", provider.name),
            None => "The provider is the configuration's.".to_owned(),
        },
        _ => "Done.".to_owned(),
    }
}

fn title(record: &Record) -> String {
    record.title.as_ref().map_or_else(String::new, |title| format!(" ({})", one_line(title, 80)))
}

fn describe(conversation: &Conversation) -> String {
    let about = one_line(&conversation.about, 60);
    let about = if about.is_empty() { about } else { format!(", {about}") };
    format!("{} {}, {} turns{about}", conversation.provider, conversation.id, conversation.turns)
}

fn listed(mut lines: Vec<String>) -> String {
    let more = lines.len().saturating_sub(LISTED);
    lines.truncate(LISTED);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

fn ago(at: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(at).as_secs().max(0);
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
