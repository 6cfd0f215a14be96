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
use crate::channel::{self, CHANNELS, Grade};
use crate::config::{Config, ConfigInputs, Environment};
use crate::files::{Durability, make_private_dir, quoted};
use crate::provider::AUTO;
use crate::session::Store;
use crate::turn::{find_program, provider_of};

/// What a configuration starts as.
const EXAMPLE: &str = include_str!("../../templates/denizen.toml");
/// The part of it for Discord.
const DISCORD: &str = include_str!("../../templates/discord.toml");

/// Where the bot's token is kept, below the root.
const TOKEN: &str = "access/discord-token";

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
    /// For a bot on Discord too: its section in the configuration, and what is left to do
    #[arg(long)]
    discord: bool,
    /// The id of a Discord user who may do everything there
    #[arg(long, value_name = "ID", requires = "discord", value_parser = user_id)]
    owner: Vec<String>,
}

fn user_id(text: &str) -> Result<String, String> {
    match text.len() {
        15..=20 if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(text.to_owned()),
        _ => {
            Err("a user's id is 15 to 20 digits: with `Developer Mode` on, right-click the name, `Copy User ID`"
                .to_owned())
        }
    }
}

pub(super) fn run(
    args: &InitArgs,
    out: Output,
    root: &Path,
    file: &Path,
    environment: &Environment,
    home: Option<&Path>,
) -> Result<ExitCode, CliError> {
    if args.discord && channel::of(CHANNELS, "discord").is_err() {
        return Err(
            CliError::usage("this program was built without Discord").hint("build it with its feature `discord`")
        );
    }
    for warning in doctor::bad_places(root, environment, home) {
        out.note(format_args!("{YELLOW}warning:{RESET} {}", escape(&warning)));
    }
    let existed = file.exists();
    let config = Config::load(ConfigInputs { root, home, file, required: false, environment, overrides: &[] })?;
    for (verdict, found, remedy) in doctor::places(root, home, config.walls) {
        let word = if verdict == Grade::Bad { "warning" } else { "note" };
        out.note(format_args!("{YELLOW}{word}:{RESET} {}", escape(&found)));
        if let Some(remedy) = remedy {
            out.note(format_args!("hint: {}", escape(&remedy)));
        }
    }
    let wanted =
        if args.try_it { Some("notes".to_owned()) } else { args.provider.clone().or_else(|| config.provider.clone()) };
    let candidates: Vec<String> = match &wanted {
        Some(name) => vec![name.clone()],
        None => AUTO.iter().map(|name| (*name).to_owned()).collect(),
    };
    let store = Store::at(root, Durability::Process);
    let ground = store.ground(&config.shares);
    let mut chosen = None;
    for name in &candidates {
        let (provider, options) = provider_of(&config, name)?;
        match find_program(provider, &options, environment, Path::new("denizen"), &ground) {
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
    let discord = DISCORD.replace("{owners}", &toml::Value::from(args.owner.clone()).to_string());
    let has_discord = config.channels.contains_key("discord");
    if args.discord {
        make_private_dir(&root.join("access"), Durability::Power)?;
    }
    if !existed {
        let text = EXAMPLE.replace("{provider}", &name).replace("{program}", &program_line(&name, &program));
        let discord = if args.discord { discord.clone() } else { commented(&discord) };
        write_new(file, &format!("{text}\n{discord}"))?;
    }
    let steps = if args.discord { discord_steps(args, root, file, existed && !has_discord) } else { Vec::new() };
    if out.json {
        out.json(&json!({
            "root": root, "config": file, "provider": name, "program": program, "created": !existed, "next": steps,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    out.done(format_args!("{BOLD}root{RESET}      {}", root.display()));
    let state = if existed { " (it was there already, and was left as it is)" } else { "" };
    out.done(format_args!("{BOLD}config{RESET}    {}{state}", file.display()));
    out.done(format_args!("{BOLD}provider{RESET}  {name}"));
    out.done("");
    out.done("Say something: denizen send hello \"remember the gate is blue\"");
    if args.discord {
        out.done(format_args!("\n{BOLD}Next, for the bot on Discord:{RESET}"));
        for (at, step) in steps.iter().enumerate() {
            out.done(format_args!("{}. {}", at + 1, escape(step).replace('\n', "\n   ")));
        }
        if existed && !has_discord {
            out.done(format_args!("\n{discord}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person does who has nothing yet but the root.
fn discord_steps(args: &InitArgs, root: &Path, file: &Path, is_to_be_added: bool) -> Vec<String> {
    let invitation = channel::of(CHANNELS, "discord")
        .ok()
        .and_then(|discord| discord.invitation("APPLICATION_ID"))
        .unwrap_or_default();
    let token = root.join(TOKEN);
    let mut steps = vec![
        "Make an application at https://discord.com/developers/applications: `New Application`".to_owned(),
        "There, under `Bot`: switch `Message Content Intent` on and save, then `Reset Token` shows the token"
            .to_owned(),
        format!(
            "Keep the token where only you can read it: run this, paste it, press Enter and Ctrl-D\n\
             (umask 077; cat > {})",
            quoted(&token)
        ),
        format!(
            "Invite the bot to your server: open this, with the `Application ID` of `General Information` in it\n\
             {invitation}"
        ),
    ];
    if is_to_be_added {
        steps.push(format!("Add the section below to {}", quoted(file)));
    }
    if args.owner.is_empty() {
        steps.push(format!(
            "Get your user id: in Discord, `User Settings`, `Advanced`, `Developer Mode`; then right-click your name,\n\
             `Copy User ID`; and write it into {}: owners = [\"123456789012345678\"]",
            quoted(file)
        ));
    }
    steps.push("See whether all is right, and what to do where it is not: denizen doctor".to_owned());
    steps.push("Start it: denizen serve. Mention the bot in a channel, or write to it directly".to_owned());
    steps.push("Have it started at boot: denizen service install".to_owned());
    steps
}

/// A part of the example that is switched off.
fn commented(text: &str) -> String {
    text.lines().map(|line| format!("# {line}\n")).collect()
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
