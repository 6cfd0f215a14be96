//! `denizen send`: one message, one reply.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::app::App;
use super::error::CliError;
use super::watch;
use crate::config::value::parse_span;
use crate::key::Key;
use crate::message::Inbound;
use crate::session::MessageOptions;
use crate::turn::Setup;

/// Send a message to a session and print the reply
///
/// The session is made if it does not exist. Without a text, or with `-`, the
/// message is read from standard input. At a terminal, you are asked for what
/// the agent may not do unasked, unless with `--quiet`. Exit codes: 0 answered, 1 failed,
/// 2 wrong usage, 3 the provider failed, 4 busy or timed out.
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// The session's key
    key: String,
    /// The message, or `-` for standard input
    text: Option<String>,
    /// Talk to this agent of the configuration; its session is `agent-<AGENT>-<KEY>`
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// The provider, from now on
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// The model, for this message
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Start a fresh conversation
    #[arg(long)]
    new: bool,
    /// A file to send along; may be given several times
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// How long the turn may take, such as `90s` or `30m`
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    timeout: Option<Duration>,
    /// Print the reply while it is produced
    #[arg(long)]
    stream: bool,
    /// How long to wait while the session is busy; forever if not given
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    wait: Option<Duration>,
}

pub(super) fn run(app: &App, args: &SendArgs, here: &Path) -> Result<ExitCode, CliError> {
    let mut key: Key = args.key.parse()?;
    if let Some(agent) = &args.agent {
        key = key.for_agent(agent)?;
    }
    let text = match args.text.as_deref() {
        Some("-") => read_input()?,
        Some(text) => text.to_owned(),
        None if !args.attach.is_empty() && std::io::stdin().is_terminal() => String::new(),
        None if std::io::stdin().is_terminal() => {
            return Err(CliError::usage("there is no message").hint("give it as an argument, or on standard input"));
        }
        None => read_input()?,
    };
    let inbound = Inbound {
        attachments: args.attach.iter().map(|file| here.join(file)).collect(),
        options: MessageOptions {
            new: args.new,
            provider: args.provider.clone(),
            model: args.model.clone(),
            agent: args.agent.clone(),
        },
        ..Inbound::from_terminal(key, text)
    };
    let mut control = app.control.clone();
    if let Some(timeout) = args.timeout {
        let mut setup = Setup::clone(&control.setup);
        setup.config.limits.turn_timeout = timeout;
        control.setup = Arc::new(setup);
    }
    let delivery = watch::with_turn(app, args.wait, args.stream, async |options, wait| {
        control.send(&inbound, options, wait).await
    })?;
    watch::deliver(app, &inbound.key, delivery, args.stream)
}

fn read_input() -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(16 * 1024 * 1024).read_to_end(&mut bytes);
    read.map_err(|error| CliError::failed(format!("could not read the message from standard input: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        CliError::usage(format!("the message is not UTF-8: byte {} is wrong", error.utf8_error().valid_up_to()))
    })
}
