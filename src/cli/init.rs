//! `denizen init`: a root, and a configuration that says what is used.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::doctor;
use super::error::CliError;
use super::output::{BOLD, Output, RESET, YELLOW, escape};
use crate::config::{Config, Environment, Inputs};
use crate::files::{Durability, make_private_dir};
use crate::provider::AUTO;
use crate::turn::{find_program, provider_of};

/// What a configuration starts as.
const EXAMPLE: &str = include_str!("../../templates/denizen.toml");

/// Make the root and a configuration that names the provider in use
///
/// Nothing that exists is changed.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Use the built-in provider that needs no account
    #[arg(long = "try", conflicts_with = "provider")]
    try_it: bool,
    /// The provider
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
}

pub(super) fn run(
    args: &InitArgs,
    out: Output,
    root: &Path,
    file: &Path,
    environment: &Environment,
    home: Option<&Path>,
) -> Result<ExitCode, CliError> {
    for warning in doctor::bad_places(root, environment, home) {
        out.note(format_args!("{YELLOW}warning:{RESET} {}", escape(&warning)));
    }
    let existed = file.exists();
    let config = Config::load(Inputs { root, home, file, required: false, environment, overrides: &[] })?;
    let wanted =
        if args.try_it { Some("notes".to_owned()) } else { args.provider.clone().or_else(|| config.provider.clone()) };
    let candidates: Vec<String> = match &wanted {
        Some(name) => vec![name.clone()],
        None => AUTO.iter().map(|name| (*name).to_owned()).collect(),
    };
    let mut chosen = None;
    for name in &candidates {
        let (provider, options) = provider_of(&config, name)?;
        match find_program(provider, &options, environment, Path::new("denizen")) {
            Ok(program) => {
                chosen = Some((name.clone(), program));
                break;
            }
            Err(error) if wanted.is_some() => return Err(error.into()),
            Err(_) => {}
        }
    }
    let Some((name, program)) = chosen else {
        return Err(CliError::failed(format!("none of {} is installed", AUTO.join(", ")))
            .hint("install one, or try it without an account: `denizen init --try`"));
    };
    make_private_dir(&root.join("sessions"), Durability::Power)?;
    if !existed {
        let text = EXAMPLE.replace("{provider}", &name).replace("{program}", &program_line(&name, &program));
        write_new(file, &text)?;
    }
    if out.json {
        out.json(&json!({"root": root, "config": file, "provider": name, "program": program, "created": !existed}));
        return Ok(ExitCode::SUCCESS);
    }
    out.done(format_args!("{BOLD}root{RESET}      {}", root.display()));
    let state = if existed { " (it was there already, and was left as it is)" } else { "" };
    out.done(format_args!("{BOLD}config{RESET}    {}{state}", file.display()));
    out.done(format_args!("{BOLD}provider{RESET}  {name}"));
    out.done("");
    out.done("Say something: denizen send hello \"remember the gate is blue\"");
    Ok(ExitCode::SUCCESS)
}

/// Where the program was found, for people; the built-in one has no path.
fn program_line(name: &str, program: &Path) -> String {
    if name == "notes" {
        String::new()
    } else {
        format!("\n[providers.{name}]\nprogram = {}\n", toml::Value::from(program.to_string_lossy().into_owned()))
    }
}

fn write_new(file: &Path, text: &str) -> Result<(), CliError> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut opened| opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()));
    written.map_err(|error| CliError::failed(format!("could not write `{}`: {error}", file.display())))
}
