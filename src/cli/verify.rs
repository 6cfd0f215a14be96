//! `denizen verify`: could this tree be restored?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::output::{DIM, Output, RED, RESET, YELLOW, bytes, counted, escape};
use crate::backup::{Finding, Severity, Tree, verify};

/// Check whether a root or a backup of it could be restored
///
/// Looks at every session: record, settings, transcript, the provider's
/// conversations, memory, names, permissions; and at what lies around them.
/// Says what is wrong, what is lost at most, and what to do. Writes nothing.
/// The exit code is 0 where everything is sound, and 1 where not; with
/// `--quiet`, what is only worth knowing is not told.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A root, its `sessions`, or one session's folder; live or a copy [default: the root]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &VerifyArgs, out: Output, root: &Path, here: &Path) -> Result<ExitCode, CliError> {
    let dir = args.dir.as_ref().map_or_else(|| root.to_owned(), |dir| here.join(dir));
    let tree = match Tree::at(&dir) {
        Err(_) if args.dir.is_none() && is_unused(&dir) => {
            out.note("no sessions yet");
            return Ok(ExitCode::SUCCESS);
        }
        tree => tree?,
    };
    let count = tree.names()?.count() as u64;
    let bar = out.progress("checking", count);
    let verdict =
        verify(&tree, tree.is_below(root), &mut || bar.inc(1), &mut |finding| bar.suspend(|| show(out, finding)))?;
    bar.finish_and_clear();
    if out.json {
        out.json(&json!({"verdict": verdict}));
    } else if !out.quiet {
        out.data(format_args!(
            "{}, {} sound: {} damaged, {} wrong, {} to note; {}, {}",
            counted(verdict.sessions, "session"),
            verdict.sound,
            verdict.damaged,
            verdict.wrong,
            verdict.notes,
            counted(verdict.turns, "turn"),
            bytes(verdict.bytes)
        ));
    }
    Ok(if verdict.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether nothing was ever done in a root: it is not there, or holds only what
/// a new file system has.
fn is_unused(root: &Path) -> bool {
    std::fs::read_dir(root).map_or(true, |entries| entries.flatten().all(|entry| entry.file_name() == "lost+found"))
}

/// A finding, its loss and its remedy, on a line each.
pub(super) fn show(out: Output, finding: &Finding) {
    if out.json {
        return out.json(&json!({"finding": finding}));
    }
    let (word, color) = match finding.severity {
        Severity::Damaged => ("damaged", RED),
        Severity::Wrong => ("wrong", YELLOW),
        Severity::Note if out.quiet => return,
        Severity::Note => ("note", DIM),
    };
    let path = finding.path.display().to_string();
    out.data(format_args!("{color}{word:<8}{RESET} {}: {}", escape(&path), escape(&finding.problem)));
    if let Some(lost) = &finding.lost {
        out.data(format_args!("         lost at most: {}", escape(lost)));
    }
    if let Some(remedy) = &finding.remedy {
        out.data(format_args!("         hint: {}", escape(remedy)));
    }
}
