//! `denizen doctor --prove`: the proof of the walls, shown.

use std::process::ExitCode;

use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{BOLD, DIM, GREEN, RED, RESET, YELLOW, escape, one_line};
use crate::causes::with_causes;
use crate::prove::{self, AttemptGroup, AttemptRow, AttemptVerdict, Expected, Mode, Proof, ProofError};
use crate::sandbox::Rule;

pub(super) fn run(app: &App, control: bool, without: Option<Rule>) -> Result<ExitCode, CliError> {
    let mode = if control { Mode::Control } else { app.control.setup.config.walls.into() };
    let proof = app.wait_for(async {
        let proved = prove::prove(&app.control.store, &app.control.setup, mode, without).await;
        proved.map_err(|error| match error {
            ProofError::Turn(error) => error.into(),
            error => CliError::failed(with_causes(&error)),
        })
    })?;
    let mut group = None;
    let mut rows: Vec<&AttemptRow> = proof.rows.iter().collect();
    rows.sort_by_key(|row| (row.attempt.group, row.attempt.number));
    for row in rows {
        show(app, row, &mut group);
    }
    summary(app, &proof);
    Ok(if proof.count(AttemptVerdict::Otherwise) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(app: &App, row: &AttemptRow, group: &mut Option<AttemptGroup>) {
    let (attempt, seen) = (row.attempt, &row.seen);
    let word = match row.verdict {
        AttemptVerdict::AsExpected => "ok",
        AttemptVerdict::NotHere => "not here",
        AttemptVerdict::NotTried => "not tried",
        AttemptVerdict::Otherwise => "OTHERWISE",
    };
    if app.out.json {
        app.out.json(&json!({
            "number": attempt.number,
            "attempt": attempt.name,
            "reaches": attempt.group.reaches(),
            "expected": row.expected.to_string(),
            "through": seen.through,
            "how": seen.how,
            "verdict": word,
        }));
        return;
    }
    if app.out.quiet && row.verdict != AttemptVerdict::Otherwise {
        return;
    }
    if *group != Some(attempt.group) {
        app.out.data(format_args!("{BOLD}{}{RESET}", attempt.group.reaches()));
        *group = Some(attempt.group);
    }
    let color = match row.verdict {
        AttemptVerdict::AsExpected => GREEN,
        AttemptVerdict::NotHere | AttemptVerdict::NotTried => YELLOW,
        AttemptVerdict::Otherwise => RED,
    };
    let came = match (seen.through, row.expected) {
        (true, _) => "through".to_owned(),
        (false, Expected::Stopped(by)) => format!("stopped: {}", by.words()),
        (false, Expected::Through) => "stopped".to_owned(),
    };
    let how = one_line(&escape(&seen.how), 70);
    let expected = match row.verdict {
        AttemptVerdict::Otherwise => format!(", expected {}", row.expected),
        AttemptVerdict::NotHere => attempt.unless.map(|reason| format!(" ({reason})")).unwrap_or_default(),
        _ => String::new(),
    };
    app.out.data(format_args!(
        "{color}{word:<9}{RESET} {:>3} {}: {came}{expected} {DIM}{how}{RESET}",
        attempt.number, attempt.name
    ));
}

fn summary(app: &App, proof: &Proof) {
    let count = |verdict| proof.count(verdict);
    let (total, otherwise) = (proof.rows.len(), count(AttemptVerdict::Otherwise));
    let through = proof.rows.iter().filter(|row| row.seen.through).count();
    if app.out.json {
        return;
    }
    app.out.note(format_args!(
        "mode `{}`: {total} attempts, {through} got through, {} stopped; {otherwise} otherwise than expected{}{}",
        proof.mode,
        total - through,
        some(count(AttemptVerdict::NotHere), "not possible on this machine"),
        some(count(AttemptVerdict::NotTried), "not tried"),
    ));
}

fn some(count: usize, what: &str) -> String {
    if count == 0 { String::new() } else { format!(", {count} {what}") }
}
