//! `denizen history`: the transcript, for people.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{BOLD, DIM, RED, RESET, escape};
use crate::session::{Speaker, TranscriptEntry};

/// Show what was said in a session
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// The session: its key, or a unique title or start of either
    key: String,
    /// How many lines, counted from the end
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    lines: usize,
    /// Show everything
    #[arg(long, short, conflicts_with = "lines")]
    all: bool,
    /// Wait for more
    #[arg(long, short)]
    follow: bool,
}

/// How often the transcript is looked at while it is followed.
const LOOK: Duration = Duration::from_millis(250);

pub(super) fn run(app: &App, args: &HistoryArgs) -> Result<ExitCode, CliError> {
    let key = app.resolve(&args.key)?;
    let Some(workspace) = app.control.store.find(&key)? else {
        return Err(CliError::failed(format!("there is no session `{key}`")));
    };
    let mut seen = workspace.transcript_bytes()?;
    if args.all {
        if let Some(mut transcript) = workspace.transcript()? {
            let read = transcript.for_each(|line| show(app, &line));
            read.map_err(|error| CliError::failed(format!("could not read the transcript of `{key}`: {error}")))?;
        }
    } else {
        for line in workspace.last_lines(args.lines)? {
            show(app, &line);
        }
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        std::thread::sleep(LOOK);
        let now = workspace.transcript_bytes()?;
        if now > seen {
            for line in workspace.lines_from(seen)? {
                show(app, &line);
            }
            seen = now;
        }
    }
}

fn show(app: &App, line: &TranscriptEntry) {
    if app.out.json {
        app.out.json(&json!(line));
        return;
    }
    let who = match (line.who, &line.author) {
        (Speaker::User, Some(author)) => escape(&author.name),
        (Speaker::User, None) => "you".to_owned(),
        (Speaker::Agent, _) => line.provider.clone().unwrap_or_else(|| "agent".to_owned()),
        (Speaker::Denizen, _) => format!("{RED}failed{RESET}"),
    };
    let time = line.at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    app.out.data(format_args!("{DIM}{time}{RESET} {BOLD}{who}{RESET}\n{}\n", app.out.foreign(&line.text)));
}
