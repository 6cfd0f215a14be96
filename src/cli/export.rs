//! `denizen export`: sessions as one file.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{RESET, YELLOW, bytes, counted, escape};
use super::watch::{self, WaitArgs};
use crate::backup::Exporter;
use crate::files::{Dir, Error};
use crate::ops::{ControlError, Exported};

/// Pack sessions into one compressed file, for another machine or an archive
///
/// The file (tar, zstd) holds the sessions' whole folders, with the providers'
/// conversations, and nothing else: no login, no configuration, nothing that
/// was granted. `denizen import` unpacks it.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true)))]
pub(super) struct ExportArgs {
    /// The sessions: their keys, or unique titles or starts of either
    #[arg(group = "which", value_name = "KEY")]
    keys: Vec<String>,
    /// All sessions
    #[arg(long, group = "which")]
    all: bool,
    /// The file to be made, or `-` for standard output; one that is there is never overwritten
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) fn run(app: &App, args: &ExportArgs, here: &Path) -> Result<ExitCode, CliError> {
    let mut folders = Vec::new();
    for text in &args.keys {
        let folder = app.resolve(text)?.folder_name();
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    if args.output == Path::new("-") {
        if std::io::stdout().is_terminal() {
            return Err(CliError::usage("an export is no text for a terminal").hint("`-o FILE` writes it to a file"));
        }
        let (_, done) = pack(app, args, &folders, std::io::stdout().lock())?;
        return Ok(done.code());
    }
    let target = here.join(&args.output);
    let (parent, name) = place(&target)?;
    let exists = || CliError::failed(format!("`{}` is there already", target.display())).hint("choose another name");
    if parent.stamp(Path::new(&name))?.is_some() {
        return Err(exists());
    }
    // Under another name until it is whole.
    let partial = PathBuf::from(format!("{name}.partial"));
    if parent.stamp(&partial)?.is_some() {
        let path = parent.path().join(&partial);
        let hint = format!("rm {}, unless another export is writing it", path.display());
        return Err(
            CliError::failed(format!("`{}` is left of an export that was cut short", path.display())).hint(hint)
        );
    }
    let file = parent.create_new(&partial)?;
    let written = pack(app, args, &folders, file).and_then(|(file, done)| {
        let io = |source| Error::Io { action: "sync", path: target.clone(), source };
        file.sync_all().map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        if parent.stamp(Path::new(&name))?.is_some() {
            return Err(exists());
        }
        parent.move_entry(&partial, &parent, Path::new(&name))?;
        parent.sync()?;
        Ok((size, done))
    });
    let (size, done) = match written {
        Ok(written) => written,
        Err(error) => {
            parent.remove_file(&partial)?;
            return Err(error);
        }
    };
    if app.out.json {
        app.out.json(&json!({"file": target, "sessions": done.sessions, "bytes": done.bytes, "file_bytes": size}));
    }
    app.out.done(format_args!(
        "{}, {} of files, in {} of `{}`",
        counted(done.sessions, "session"),
        bytes(done.bytes),
        bytes(size),
        target.display()
    ));
    Ok(done.code())
}

/// What was exported.
#[derive(Default)]
struct Done {
    sessions: u64,
    bytes: u64,
    /// Whether something is missing that should be there.
    missing: bool,
}

impl Done {
    fn code(&self) -> ExitCode {
        if self.missing { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// Writes the export, and returns what it was written to.
fn pack<W: Write>(app: &App, args: &ExportArgs, folders: &[String], to: W) -> Result<(W, Done), CliError> {
    let failed = |source| CliError::from(Error::Io { action: "write", path: args.output.clone(), source });
    let mut exporter = Exporter::new(to).map_err(failed)?;
    let mut done = Done::default();
    let count = if args.all { app.control.store.folders()?.count() } else { folders.len() };
    let bar = app.out.progress("exporting", count as u64);
    let folders: Box<dyn Iterator<Item = _>> =
        if args.all { Box::new(app.control.store.folders()?) } else { Box::new(folders.iter().cloned().map(Ok)) };
    let exporter = watch::with_wait(app, args.wait, async |wait| {
        for folder in folders {
            let folder = folder?;
            match app.control.export(&folder, &mut exporter, wait).await {
                Ok(exported) => bar.suspend(|| tell(app, &mut done, &exported)),
                // The others are worth having all the same; a broken export is not.
                Err(error) if args.all && !matches!(error, ControlError::Archive(_)) => {
                    let error = CliError::from(error);
                    let message = format!("not exported: `{folder}`: {}", error.message);
                    bar.suspend(|| app.out.error_line(escape(&message)));
                    done.missing = true;
                }
                Err(error) => return Err(error),
            }
            bar.inc(1);
        }
        Ok(exporter)
    })?;
    bar.finish_and_clear();
    Ok((exporter.finish().map_err(failed)?, done))
}

fn tell(app: &App, done: &mut Done, exported: &Exported) {
    done.sessions += 1;
    done.bytes += exported.bytes;
    for left in &exported.left_out {
        done.missing |= left.unreadable;
        let path = Path::new(&exported.folder).join(&left.path);
        let line = format!("left out: `{}`: {}", path.display(), left.reason);
        if left.unreadable {
            app.out.error_line(escape(&line));
        } else {
            app.out.note(format_args!("{YELLOW}note:{RESET} {}", escape(&line)));
        }
    }
}

/// The directory that a file is to be made in, and its name there.
fn place(target: &Path) -> Result<(Dir, String), CliError> {
    let no_name = || CliError::usage(format!("`{}` is no name for a file", target.display()));
    let name = target.file_name().and_then(|name| name.to_str()).ok_or_else(no_name)?;
    let parent = target.parent().ok_or_else(no_name)?;
    let io = |source| Error::Io { action: "open the directory", path: parent.to_owned(), source };
    let real = std::fs::canonicalize(parent).map_err(io)?;
    Ok((Dir::open(&real)?, name.to_owned()))
}
