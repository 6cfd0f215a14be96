//! `denizen migrate`: what earlier bots left becomes sessions.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{BOLD, RESET, YELLOW, escape};
use crate::migrate::{
    self, Became, ConversationPlace, LegacySearch, MigratedOutcome, Migration, MigrationPlan, MigrationReceipt, Report,
    WantedConversation,
};
use crate::provider::LoginUser;

/// Move in from claudeclaw, claude-telegram-bot or tinyclaw
///
/// Looks beside the root, in the current directory, in `legacy.from`, and where
/// these systems keep their state; with --from only there. What is found is only
/// read: each file is copied to `legacy/` with a receipt, each conversation
/// becomes a session, and the provider's own file of it is copied into the
/// session's folder, so that the next message continues it. A session that is
/// there already stays as it is.
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Look only here: a directory in which a bot was started or kept its state
    #[arg(long, value_name = "PATH")]
    from: Vec<PathBuf>,
    /// Also take these rows: what `sqlite3 -json tinyagi.db 'select * from thread_sessions'` prints
    #[arg(long, value_name = "FILE")]
    from_json: Option<PathBuf>,
    /// Also give messages that tinyclaw never answered to their sessions, where they wait for `denizen retry`
    #[arg(long)]
    replay: bool,
    /// Also take the files of a bot that still runs
    #[arg(long)]
    force: bool,
    /// Take back what was made for one file: its sessions go to the trash, unless they were used since
    #[arg(long, value_name = "RECEIPT", conflicts_with_all = ["dry_run", "from", "from_json", "replay", "force"])]
    undo: Option<String>,
}

/// How many sessions are named one by one, unless they are all asked for.
const SHOWN: usize = 20;

pub(super) fn run(app: &App, args: &MigrateArgs, here: &Path) -> Result<ExitCode, CliError> {
    if let Some(receipt) = &args.undo {
        return undo(app, receipt);
    }
    let setup = &app.control.setup;
    let (root, home) = (app.control.store.root(), setup.home.as_deref());
    let mut search = if args.from.is_empty() && args.from_json.is_none() {
        LegacySearch::everywhere(root, here, &setup.config.legacy, home, &setup.environment)
    } else {
        LegacySearch::only(&args.from.iter().map(|path| place(&here.join(path))).collect::<Result<Vec<_>, _>>()?)
    };
    search.replay = args.replay;
    if let Some(rows) = &args.from_json {
        let rows = here.join(rows);
        let metadata = std::fs::metadata(&rows);
        metadata.map_err(|error| CliError::usage(format!("`{}` cannot be read: {error}", rows.display())))?;
        search.rows = Some(rows);
    }
    let ground = app.ground();
    let migration = Migration {
        store: &app.control.store,
        search,
        user: LoginUser { environment: &setup.environment, home, files: &ground },
        config_file: &app.config_file,
        force: args.force,
        again: true,
    };
    let bar = app.out.counting("looking for conversations");
    if args.dry_run {
        let plan = migration.plan(&mut || bar.inc(1));
        bar.finish_and_clear();
        return Ok(show_plan(app, &plan));
    }
    let busy = || CliError::from(migrate::LegacyError::Busy);
    let lock = migration.lock()?.ok_or_else(busy)?;
    let plan = migration.plan(&mut || bar.inc(1));
    bar.finish_and_clear();
    let bar = app.out.progress("moving in", plan.sessions.len() as u64);
    let report =
        if plan.sources.is_empty() { Report::default() } else { migration.apply(&lock, &plan, &mut || bar.inc(1))? };
    bar.finish_and_clear();
    Ok(show_report(app, &plan, &report))
}

/// The directory that a person means, who may have named a file in it.
fn place(path: &Path) -> Result<PathBuf, CliError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(path.to_owned()),
        Ok(_) => Ok(path.parent().unwrap_or(path).to_owned()),
        Err(error) => Err(CliError::usage(format!("`{}` cannot be read: {error}", path.display()))),
    }
}

/// One line, where something of an earlier system lies near and was not dealt
/// with yet.
pub(super) fn notice(app: &App, here: &Path) {
    if app.out.quiet || app.out.json {
        return;
    }
    let search = LegacySearch::near(app.control.store.root(), here, &app.control.setup.config.legacy);
    let found = migrate::glance(&app.control.store, &search);
    let Some(first) = found.first() else { return };
    let more = if found.len() > 1 { format!(" and {} more", found.len() - 1) } else { String::new() };
    let first = escape(&first.display().to_string());
    app.out
        .note(format_args!("conversations of an earlier bot are in `{first}`{more}: `denizen migrate` moves them in"));
}

fn undo(app: &App, receipt: &str) -> Result<ExitCode, CliError> {
    let bar = app.out.counting("taking back");
    let undone = app.wait_for(async {
        let undone = migrate::undo(&app.control.store, receipt, &mut || bar.inc(1)).await;
        Ok(undone?)
    })?;
    bar.finish_and_clear();
    if app.out.json {
        app.out.json_lines(undone.removed.iter().map(|key| json!({"action": "removed", "session": key})));
        app.out.json_lines(
            undone.changed.iter().map(|(key, how)| json!({"action": "kept", "session": key, "reason": how})),
        );
    } else {
        app.out.data(format_args!("{} sessions are in the trash: `denizen trash list`", undone.removed.len()));
        for (key, how) in &undone.changed {
            app.out.data(format_args!("kept `{}`: {}", escape(key.as_str()), escape(how)));
        }
    }
    Ok(if undone.changed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show_plan(app: &App, plan: &MigrationPlan) -> ExitCode {
    if app.out.json {
        app.out.json_lines(plan.sources.iter().map(|source| {
            json!({
                "source": source.read.path,
                "system": source.system,
                "size": source.read.bytes.len(),
                "sha256": source.read.sha256,
                "refused": source.broken,
            })
        }));
        app.out.json_lines(plan.sessions.iter().map(|planned| {
            let entries = planned.entries.iter().rev().map(|entry| {
                json!({
                    "source": plan.path_of(entry.source),
                    "name": entry.name,
                    "conversation": id_of(&entry.conversation),
                    "current": planned.current() == Some(entry),
                    "moves": matches!(entry.place, ConversationPlace::At { .. }),
                    "last_used_at": entry.last_used_at,
                })
            });
            let there = app.control.store.find(&planned.key).is_ok_and(|there| there.is_some());
            json!({
                "session": planned.key,
                "folder": planned.key.folder_name(),
                "there": there,
                "conversations": entries.collect::<Vec<_>>(),
            })
        }));
    } else {
        for planned in &plan.sessions {
            let there = app.control.store.find(&planned.key).is_ok_and(|there| there.is_some());
            let key = escape(planned.key.as_str());
            let word = if there { "is there already" } else { "would be made" };
            app.out.data(format_args!("{BOLD}{key}{RESET} {word}"));
            for entry in planned.entries.iter().rev() {
                let role = if planned.current() == Some(entry) { "current" } else { "earlier" };
                let what = match (&entry.conversation, &entry.place) {
                    (WantedConversation::Id(id), ConversationPlace::At { provider, .. }) => {
                        format!("{provider} {id}, whose file moves along")
                    }
                    (WantedConversation::Id(id), _) => format!("{id}, whose file was not found"),
                    _ => "no conversation".to_owned(),
                };
                let from = plan.path_of(entry.source).display().to_string();
                app.out.data(format_args!(
                    "  {role}  {} (`{}` in {})",
                    escape(&what),
                    escape(&entry.name),
                    escape(&from)
                ));
            }
        }
        for (_, lines) in &plan.proposals {
            app.out.data(format_args!("for `{}`:", app.config_file.display()));
            for line in lines {
                app.out.data(escape(line));
            }
        }
        if plan.sessions.is_empty() {
            app.out.data("there is nothing to move in");
        }
    }
    show_rest(app, plan)
}

fn id_of(wanted: &WantedConversation) -> Option<&str> {
    match wanted {
        WantedConversation::Id(id) => Some(id),
        WantedConversation::Last | WantedConversation::Nothing => None,
    }
}

fn show_report(app: &App, plan: &MigrationPlan, report: &Report) -> ExitCode {
    if app.out.json {
        app.out.json_lines(report.receipts.iter().map(|receipt| {
            let mut value = json!(receipt);
            value["receipt"] = receipt.name().into();
            value
        }));
        app.out.json_lines(report.not_proposed.iter().map(|error| json!({"remark": error})));
        return show_rest(app, plan);
    }
    let mut left = SHOWN;
    for receipt in report.receipts.iter().filter(|receipt| receipt.refused.is_none()) {
        show_receipt(app, receipt, &mut left);
    }
    if report.receipts.is_empty() {
        app.out.done("there is nothing to move in");
    } else {
        if let Some(error) = &report.not_proposed {
            app.out.note(format_args!("its settings could not be put into the configuration: {}", escape(error)));
        }
        if report.proposed {
            app.out.done(format_args!("its settings stand in `{}` as comments", app.config_file.display()));
        }
        let receipts = app.control.store.root().join("legacy");
        app.out.done(format_args!("copies and receipts: {}", receipts.display()));
    }
    show_rest(app, plan)
}

fn show_receipt(app: &App, receipt: &MigrationReceipt, left: &mut usize) {
    let count = |fits: &dyn Fn(&MigratedOutcome) -> bool| receipt.entries.iter().filter(|entry| fits(entry)).count();
    let mut words = Vec::new();
    let mut word = |count: usize, one: &str, many: &str| match count {
        0 => {}
        1 => words.push(format!("1 {one}")),
        count => words.push(format!("{count} {many}")),
    };
    word(count(&|entry| matches!(entry.became, Became::Current | Became::Empty)), "session", "sessions");
    word(count(&|entry| entry.became == Became::Earlier), "earlier conversation", "earlier conversations");
    word(count(&|entry| entry.became == Became::Waiting), "waiting message", "waiting messages");
    word(count(&|entry| entry.became == Became::Conflict), "conflict", "conflicts");
    word(count(&|entry| entry.became == Became::Skipped), "left out", "left out");
    let not_moved = count(&|entry| {
        entry.conversation.is_some() && !entry.moved && matches!(entry.became, Became::Current | Became::Earlier)
    });
    word(not_moved, "conversation whose file was not found", "conversations whose files were not found");
    let words = if words.is_empty() { "nothing to move in".to_owned() } else { words.join(", ") };
    let source = escape(&receipt.source.display().to_string());
    app.out.done(format_args!("{BOLD}{source}{RESET}: {words} (receipt {})", receipt.name()));
    let made: Vec<&MigratedOutcome> = receipt.entries.iter().filter(|entry| entry.made).collect();
    for entry in made.iter().take(*left) {
        let Some(key) = &entry.session else { continue };
        let place = match &entry.working_dir {
            Some(dir) => format!(", works in {}", dir.display()),
            None => String::new(),
        };
        app.out.done(format_args!("  {}{}", escape(key.as_str()), escape(&place)));
    }
    if made.len() > *left {
        app.out.done(format_args!("  and {} more: `denizen ls`", made.len() - *left));
    }
    *left = left.saturating_sub(made.len());
    for entry in receipt.entries.iter().filter(|entry| matches!(entry.became, Became::Conflict | Became::Skipped)) {
        let what = entry.session.as_ref().map_or(entry.name.as_str(), |key| key.as_str());
        let id = entry.conversation.as_deref().map(|id| format!(" ({id})")).unwrap_or_default();
        let reason = entry.reason.as_deref().unwrap_or_default();
        app.out.note(format_args!(
            "{YELLOW}not moved in:{RESET} `{}`{}: {}",
            escape(what),
            escape(&id),
            escape(reason)
        ));
    }
}

/// What is left alone, and what the person should know; the exit code.
fn show_rest(app: &App, plan: &MigrationPlan) -> ExitCode {
    let broken = plan.sources.iter().filter_map(|source| Some((&source.read.path, source.broken.as_ref()?)));
    let refused = plan.refused.iter().map(|refused| (&refused.path, &refused.reason));
    let left: Vec<_> = broken.chain(refused).collect();
    if app.out.json {
        app.out.json_lines(plan.remarks.iter().map(|remark| json!({"remark": remark})));
        app.out.json_lines(left.iter().map(|(path, reason)| json!({"left_alone": path, "reason": reason})));
    } else {
        for remark in &plan.remarks {
            app.out.note(escape(remark));
        }
        for (path, reason) in &left {
            let path = escape(&path.display().to_string());
            app.out.error_line(format_args!("{YELLOW}left alone:{RESET} `{path}`: {}", escape(reason)));
        }
        if left.iter().any(|(_, reason)| reason.contains("still runs")) {
            app.out.error_line("hint: stop the bot and migrate again, or take its files as they are with `--force`");
        }
    }
    if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
