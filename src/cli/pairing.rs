//! `denizen pairing`: who was let in by a code, and who asks to be.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{BOLD, RESET, ago, escape};
use crate::session::{People, Person};

/// Let people in who wrote to the bot, or no longer
///
/// Who may not talk and writes a direct message is told a code. It is good for
/// an hour; who is let in by it may talk to the bot from then on.
#[derive(Debug, Args)]
pub(super) struct PairingArgs {
    #[command(subcommand)]
    command: PairingCommand,
}

#[derive(Debug, Subcommand)]
enum PairingCommand {
    /// List who asks to be let in, and who was
    List,
    /// Let the person in who has this code
    Approve {
        /// The code
        code: String,
    },
    /// Make a code worthless
    Deny {
        /// The code
        code: String,
    },
    /// Let a person in no longer
    Revoke {
        /// The network's id of the person
        id: String,
        /// The network, where the id is known in several
        #[arg(long, value_name = "NETWORK")]
        network: Option<String>,
    },
}

pub(super) fn run(app: &App, args: &PairingArgs) -> Result<ExitCode, CliError> {
    let people = People::of(app.control.store.clone());
    match &args.command {
        PairingCommand::List => list(app, &people),
        PairingCommand::Approve { code } => done(app, people.approve(code)?, "may talk now"),
        PairingCommand::Deny { code } => done(app, people.deny(code)?, "was not let in"),
        PairingCommand::Revoke { id, network } => {
            let out = people.revoke(network.as_deref(), id)?;
            if out.is_empty() {
                return Err(CliError::failed(format!("nobody of the id `{id}` was let in by a code"))
                    .hint("`denizen pairing list` shows who was; others are let in by denizen.toml"));
            }
            for person in out {
                show(app, &person, "may talk no longer");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list(app: &App, people: &People) -> Result<ExitCode, CliError> {
    let (paired, asking) = people.list()?;
    if app.out.json {
        for asking in &asking {
            let person = &asking.person;
            app.out.json(&json!({
                "state": "asking", "code": asking.code, "network": person.network, "id": person.id,
                "name": person.name, "at": person.at,
            }));
        }
        for person in &paired {
            app.out.json(&json!({
                "state": "paired", "network": person.network, "id": person.id, "name": person.name, "at": person.at,
            }));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if paired.is_empty() && asking.is_empty() {
        app.out.note("nobody asks to be let in, and nobody was");
    }
    for asking in &asking {
        app.out.data(format_args!("{BOLD}{}{RESET}  asks      {}", asking.code, described(&asking.person)));
    }
    for person in &paired {
        app.out.data(format_args!("{:<8}  may talk  {}", "", described(person)));
    }
    Ok(ExitCode::SUCCESS)
}

fn described(person: &Person) -> String {
    format!("{} {} ({}), {}", escape(&person.network), escape(&person.id), escape(&person.name), ago(person.at))
}

fn done(app: &App, person: Option<Person>, what: &str) -> Result<ExitCode, CliError> {
    let Some(person) = person else {
        return Err(CliError::failed("no such code is good")
            .hint("`denizen pairing list` shows those that are; a code is good for an hour"));
    };
    show(app, &person, what);
    Ok(ExitCode::SUCCESS)
}

fn show(app: &App, person: &Person, what: &str) {
    if app.out.json {
        app.out.json(&json!({"network": person.network, "id": person.id, "name": person.name}));
        return;
    }
    app.out.done(format_args!("{} {} ({}) {what}", escape(&person.network), escape(&person.id), escape(&person.name)));
}
