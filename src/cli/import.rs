//! `denizen import`: sessions out of one file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{bytes, escape};
use super::verify;
use super::watch::{self, WaitArgs};
use crate::backup::{self, ArchivedSession};
use crate::files::{Dir, Error, open_regular};
use crate::key::Key;
use crate::ops::{ControlError, ImportStep, Imported};
use crate::session::SessionError;

/// Unpack sessions that `denizen export` packed
///
/// The whole file is checked before anything is made: paths, links, kinds and
/// sizes. A session that is here already is never touched; `--as` takes the
/// other one in under a key of its own.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file, or `-` for standard input
    file: PathBuf,
    /// Only these sessions of it, by their keys
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// The key that the session gets here, where it is one
    #[arg(long = "as", value_name = "KEY")]
    new_key: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Take names that differ only in case, which not every file system tells apart
    #[arg(long)]
    case_twins: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &ImportArgs, here: &Path) -> Result<ExitCode, CliError> {
    let (file, path) = seekable(app, &args.file, here)?;
    let io = |source| Error::Io { action: "read", path: path.clone(), source };
    let size = file.metadata().map_err(io)?.len();
    let bar = app.out.reading("checking", size);
    let found = backup::inspect(&file, &path, args.case_twins, &mut |read| bar.set_position(read))?;
    bar.finish_and_clear();
    let wanted = choose(args, found)?;
    let mut missed = false;
    let mut free = Vec::new();
    for (incoming, key) in wanted {
        if app.control.store.find(&key)?.is_some() {
            let error = CliError::from(SessionError::Exists(key.clone()));
            app.out.error_line(format_args!("not imported: {}", escape(&error.message)));
            app.out.note(format_args!(
                "hint: under another key: denizen import {} {} --as KEY",
                escape(&args.file.display().to_string()),
                incoming.folder
            ));
            missed = true;
        } else {
            free.push((incoming, key));
        }
    }
    if args.dry_run {
        for (incoming, key) in &free {
            show(app, "would import", key, incoming.files, incoming.bytes);
        }
        return Ok(code(missed));
    }
    let unpacking = app.out.reading("unpacking", size);
    let importing = app.out.progress("importing", free.len() as u64);
    let mut step = |step: ImportStep| match step {
        ImportStep::Read(bytes) => unpacking.set_position(bytes),
        ImportStep::Unpacked => {
            unpacking.finish_and_clear();
            importing.reset_elapsed();
        }
        ImportStep::Done(key, result) => {
            missed |= result.is_err();
            importing.suspend(|| tell(app, &key, result));
            importing.inc(1);
        }
    };
    watch::with_wait(app, args.wait, async |wait| {
        app.control.import(&file, &path, args.case_twins, free, wait, &mut step).await
    })?;
    importing.finish_and_clear();
    Ok(code(missed))
}

/// A file that is read from its start more than once: standard input is kept
/// aside first.
fn seekable(app: &App, source: &Path, here: &Path) -> Result<(File, PathBuf), CliError> {
    if source != Path::new("-") {
        let path = here.join(source);
        let opened = open_regular(&path).map_err(|error| match error {
            Error::NotRegular { .. } => CliError::from(error).hint("`-` reads standard input: denizen import - < FILE"),
            error => CliError::from(error),
        })?;
        return Ok((opened, path));
    }
    let staging = app.control.store.staging()?;
    let dir = Dir::open(staging.path())?;
    let name = staging.unique_name();
    let mut file = dir.create_new(&name)?;
    // Nobody else needs its name.
    dir.remove_file(&name)?;
    let copied = std::io::copy(&mut std::io::stdin().lock(), &mut file);
    copied.map_err(|source| Error::Io { action: "keep", path: "standard input".into(), source })?;
    Ok((file, PathBuf::from("-")))
}

fn tell(app: &App, key: &Key, result: Result<Imported, ControlError>) {
    match result {
        Ok(imported) => {
            show(app, "imported", key, imported.files, imported.bytes);
            imported.findings.iter().for_each(|finding| verify::show(app.out, finding));
        }
        Err(error) => {
            let error = CliError::from(error);
            let line = format!("not imported: `{}`: {}", escape(key.as_str()), escape(&error.message));
            app.out.error_line(line);
        }
    }
}

fn code(missed: bool) -> ExitCode {
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The sessions that were asked for, each with the key that it is to have.
fn choose(args: &ImportArgs, found: Vec<ArchivedSession>) -> Result<Vec<(ArchivedSession, Key)>, CliError> {
    for text in &args.keys {
        if !found.iter().any(|incoming| names(incoming, text)) {
            let mut known: Vec<String> = found.iter().take(5).map(|i| format!("`{}`", i.key)).collect();
            if found.len() > known.len() {
                known.push(format!("and {} more", found.len() - known.len()));
            }
            return Err(CliError::failed(format!("there is no session `{text}` in the file"))
                .hint(format!("it holds {}", known.join(", "))));
        }
    }
    let wanted = found.into_iter().filter(|i| args.keys.is_empty() || args.keys.iter().any(|text| names(i, text)));
    let mut wanted: Vec<(ArchivedSession, Key)> = wanted
        .map(|incoming| {
            let key = incoming.key.clone();
            (incoming, key)
        })
        .collect();
    if let Some(text) = &args.new_key {
        let [(_, key)] = wanted.as_mut_slice() else {
            return Err(CliError::usage(format!("`--as` is for one session, and {} are chosen", wanted.len()))
                .hint("name the one: denizen import FILE KEY --as NEW-KEY"));
        };
        *key = text.parse()?;
    }
    Ok(wanted)
}

fn names(incoming: &ArchivedSession, text: &str) -> bool {
    incoming.key.as_str() == text || incoming.folder == text
}

fn show(app: &App, what: &str, key: &Key, files: u64, size: u64) {
    if app.out.json {
        app.out.json(&json!({"action": what, "key": key, "files": files, "bytes": size}));
    } else if !app.out.quiet {
        app.out.data(format_args!("{what:<14} {}: {files} files, {}", escape(key.as_str()), bytes(size)));
    }
}
