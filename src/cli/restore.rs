//! `denizen restore`: sessions back from a backup.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{ago, counted, escape};
use super::verify;
use super::watch::{self, WaitArgs};
use crate::backup::Tree;
use crate::key::Key;
use crate::ops::{RestoreOptions, Restored, Restoring};

/// Bring sessions back from a backup
///
/// Each is copied and checked first; then the session that is here goes to the
/// trash, from where `denizen trash restore` brings it back. What is here just as
/// it is in the backup is left alone, and so is what the backup does not have.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup: a copy of a root, of its `sessions`, or of one session's folder
    dir: PathBuf,
    /// Only these sessions, by their keys
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Take what is damaged all the same
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &RestoreArgs, here: &Path) -> Result<ExitCode, CliError> {
    let tree = Tree::at(&here.join(&args.dir))?;
    if std::fs::canonicalize(app.control.store.sessions_path()).is_ok_and(|own| own == tree.sessions_path()) {
        return Err(CliError::usage("this is where the sessions are, not a backup of them"));
    }
    let folders = folders(args, &tree)?;
    let options = RestoreOptions { force: args.force, dry_run: args.dry_run };
    let verb = if args.dry_run { "comparing" } else { "restoring" };
    let bar = app.out.progress(verb, folders.len() as u64);
    let mut failed: Option<CliError> = None;
    watch::with_wait(app, args.wait, async |wait| {
        for folder in &folders {
            match app.control.restore(&tree, folder, options, wait).await {
                Ok(restored) => bar.suspend(|| show(app, &restored, args.dry_run)),
                Err(error) => {
                    let error = CliError::from(error);
                    if folders.len() > 1 {
                        let line = format!("not restored: `{folder}`: {}", error.message);
                        bar.suspend(|| app.out.error_line(escape(&line)));
                    }
                    failed.get_or_insert(error);
                }
            }
            bar.inc(1);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(error) if folders.len() == 1 => Err(error),
        Some(error) => Ok(ExitCode::from(error.code)),
    }
}

/// The folders that were asked for.
fn folders(args: &RestoreArgs, tree: &Tree) -> Result<Vec<String>, CliError> {
    if args.keys.is_empty() {
        let mut folders = Vec::new();
        for name in tree.names()? {
            let name = name?;
            // What is not a session is for `verify` to tell of.
            if tree.sessions_path().join(&name).join("session.json").exists() {
                folders.push(name);
            }
        }
        folders.sort();
        return Ok(folders);
    }
    let mut folders = Vec::new();
    for text in &args.keys {
        let folder = text.parse::<Key>()?.folder_name();
        let there = |folder: &str| tree.sessions_path().join(folder).is_dir();
        let folder = [folder, text.clone()].into_iter().find(|folder| there(folder)).ok_or_else(|| {
            CliError::failed(format!("there is no session `{text}` in `{}`", tree.sessions_path().display()))
                .hint(format!("denizen --root {} ls", tree.root().unwrap_or(Path::new("BACKUP")).display()))
        })?;
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    Ok(folders)
}

fn show(app: &App, restored: &Restored, dry_run: bool) {
    let (word, trashed) = match (&restored.outcome, dry_run) {
        (Restoring::Unchanged, _) => ("unchanged", None),
        (Restoring::New | Restoring::Replaces(_), true) => ("would restore", None),
        (Restoring::New, false) => ("restored", None),
        (Restoring::Replaces(trashed), false) => ("restored", trashed.as_ref()),
    };
    let record = &restored.record;
    if app.out.json {
        app.out.json(&json!({
            "action": word,
            "key": restored.key,
            "turns": record.turns,
            "last_used_at": record.last_used_at,
            "trashed": trashed.map(|trashed| &trashed.name),
            "findings": restored.findings,
        }));
        return;
    }
    if app.out.quiet {
        return;
    }
    let key = escape(restored.key.as_str());
    let replaces = match (&restored.outcome, trashed) {
        (_, Some(trashed)) => format!("; the one that was here: `denizen trash restore {}`", trashed.name),
        (Restoring::Replaces(_), None) => "; the one that is here goes to the trash".to_owned(),
        _ => String::new(),
    };
    app.out.data(format_args!(
        "{word:<14} {key}: {}, used {}{replaces}",
        counted(record.turns, "turn"),
        ago(record.last_used_at)
    ));
    restored.findings.iter().for_each(|finding| verify::show(app.out, finding));
}
