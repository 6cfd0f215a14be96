//! `denizen service`: Denizen started at boot by systemd.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::error::{CliError, another_source};
use super::output::{BOLD, Output, RED, RESET, YELLOW, escape};
use crate::config::{Config, ConfigInputs, Environment};
use crate::files::Durability;
use crate::service::{
    Here, InstallEvent, InstallPlan, Installed, Scope, ServiceState, UnitBefore, Wish, installed_program, plan,
    removal, status,
};
use crate::session::Store;

/// Have `denizen serve` started at boot, and again after a failure
#[derive(Debug, Args)]
pub(super) struct ServiceArgs {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    /// Write, enable and start the service, then run `doctor` as the service sees the machine
    ///
    /// A unit of your own systemd, which goes on after logout; for root if there is none, a unit of the machine.
    /// Where a step fails, those before it are taken back. The exit code is 1 where `doctor` finds something wrong.
    Install(InstallArgs),
    /// Stop the service and remove what was installed
    Uninstall(UninstallArgs),
    /// Show whether the service runs, and the last lines of its log
    ///
    /// The exit code is 1 if it does not run.
    Status(ServiceStatusArgs),
}

#[derive(Debug, Clone, Copy, Args)]
struct ScopeArgs {
    /// A service of your own
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// A service of the machine; only root can install one
    #[arg(long)]
    system: bool,
}

impl ScopeArgs {
    fn scope(self) -> Option<Scope> {
        match (self.user, self.system) {
            (true, _) => Some(Scope::User),
            (false, true) => Some(Scope::System),
            (false, false) => None,
        }
    }
}

#[derive(Debug, Args)]
struct InstallArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// As whom a service of the machine runs [default: the owner of the root]
    #[arg(long = "as", value_name = "USER")]
    as_user: Option<String>,
    /// Only print the unit, and what would be called
    #[arg(long)]
    dry_run: bool,
    /// Also for a program that may soon be gone, without a secret, or in the place of another root's service
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct UninstallArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Only print what would be called
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct ServiceStatusArgs {
    #[command(flatten)]
    scope: ScopeArgs,
}

pub(super) fn run(
    args: &ServiceArgs,
    out: Output,
    root: PathBuf,
    config: Option<PathBuf>,
    environment: &Environment,
    overrides: &[(String, String)],
) -> Result<ExitCode, CliError> {
    let store = Store::at(&root, Durability::Process);
    let here = here(&store, config.as_deref(), environment);
    for passed_over in &here.passed_over {
        out.note(format_args!("{YELLOW}warning:{RESET} {}", escape(passed_over)));
    }
    match &args.command {
        ServiceCommand::Install(args) => {
            if let Some((key, value)) = overrides.first() {
                let error = CliError::usage(format!("`-c {key}={value}` counts for one call, not for a service"));
                return Err(error.hint("write it into denizen.toml"));
            }
            let running = std::env::current_exe()
                .map_err(|error| CliError::failed(format!("it is not known where this program is: {error}")))?;
            let wish = Wish {
                program: installed_program(&running, environment),
                root,
                config,
                scope: args.scope.scope(),
                user: args.as_user.clone(),
                force: args.force,
            };
            let plan = plan(&wish, &here)?;
            if args.dry_run { show_plan(out, &plan) } else { install(out, &plan) }
        }
        ServiceCommand::Uninstall(args) => uninstall(out, args, &here),
        ServiceCommand::Status(args) => show_status(out, args, &here),
    }
}

/// The environment with the programs that may be called. Where the configuration
/// cannot be read, what it shares is not known, and other commands say so.
fn here(store: &Store, config: Option<&Path>, environment: &Environment) -> Here {
    let home = environment.get("HOME").map(PathBuf::from);
    let file = config.map_or_else(|| store.root().join("denizen.toml"), Path::to_owned);
    let inputs = ConfigInputs {
        root: store.root(),
        home: home.as_deref(),
        file: &file,
        required: false,
        environment,
        overrides: &[],
    };
    let shares = Config::load(inputs).map(|config| config.shares).unwrap_or_default();
    Here::new(environment, &store.ground(&shares))
}

fn show_plan(out: Output, plan: &InstallPlan) -> Result<ExitCode, CliError> {
    let before: Vec<String> = plan.linger.iter().map(|linger| &linger.on).map(ToString::to_string).collect();
    let then: Vec<String> = plan.then.iter().chain([&plan.doctor]).map(ToString::to_string).collect();
    if out.json {
        let writes = plan.before != UnitBefore::Same;
        out.json(&json!({
            "file": plan.file, "writes": writes, "text": plan.text, "before": before, "then": then, "lost": plan.lost,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    for call in before {
        out.data(format_args!("would call   {}", escape(&call)));
    }
    match plan.before {
        UnitBefore::Same => out.data(format_args!("unchanged    {}", plan.file.display())),
        UnitBefore::Absent => out.data(format_args!("would write  {}", plan.file.display())),
        UnitBefore::Other(_) => out.data(format_args!("would write  {} anew", plan.file.display())),
    }
    for call in then {
        out.data(format_args!("would call   {}", escape(&call)));
    }
    out.data("");
    out.part(escape(&plan.text));
    remarks(out, plan);
    Ok(ExitCode::SUCCESS)
}

fn install(out: Output, plan: &InstallPlan) -> Result<ExitCode, CliError> {
    plan.install(&mut |event| tell(out, event))?;
    if out.json {
        let said = plan.doctor(&["--json"])?;
        let found: Vec<Value> = said.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        out.json(&json!({"file": plan.file, "healthy": said.ok, "doctor": found, "lost": plan.lost}));
        return Ok(if said.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let as_whom = plan.person.as_ref().map_or_else(String::new, |person| format!(" as {}", escape(&person.name)));
    out.done(format_args!("The service runs{as_whom}, and starts at boot"));
    if plan.before == UnitBefore::Same && plan.state.active == "active" {
        out.done(format_args!("It ran already and was left alone; after an upgrade: {}", plan.manager.restart()));
    }
    let said = plan.doctor(&[])?;
    out.done(format_args!("\n{BOLD}`denizen doctor`, as the service sees the machine:{RESET}"));
    for line in said.out.lines() {
        out.data(escape(line));
    }
    for line in said.err.lines() {
        out.note(escape(line));
    }
    remarks(out, plan);
    if said.ok {
        return Ok(ExitCode::SUCCESS);
    }
    out.note(format_args!(
        "{YELLOW}warning:{RESET} the service is installed and runs, but see above what is wrong there"
    ));
    Ok(ExitCode::FAILURE)
}

fn tell(out: Output, event: InstallEvent<'_>) {
    match event {
        InstallEvent::Called(call) => out.done(format_args!("called   {}", escape(&call.to_string()))),
        InstallEvent::Wrote(file) => out.done(format_args!("wrote    {}", escape(&file.display().to_string()))),
        InstallEvent::Removed(file) => out.done(format_args!("removed  {}", escape(&file.display().to_string()))),
        InstallEvent::Log(line) => out.note(format_args!("log      {}", escape(line))),
    }
}

/// What a person should know who set more in the shell than the service has.
fn remarks(out: Output, plan: &InstallPlan) {
    if plan.person.as_ref().is_some_and(|person| person.uid == 0) {
        out.note(format_args!(
            "{YELLOW}warning:{RESET} it runs as root, and so do the agents; with `--as USER` as another user"
        ));
    }
    for source in &plan.secrets {
        let (key, variable) = (escape(&source.key), escape(&source.variable));
        out.note(format_args!(
            "{YELLOW}warning:{RESET} the service does not have {variable}, from which `{key}` comes"
        ));
        out.note(format_args!("hint: {}", escape(&another_source(source, &plan.root))));
    }
    if !plan.lost.is_empty() {
        let names = escape(&plan.lost.join(", "));
        out.note(format_args!("{YELLOW}note:{RESET} set here, but not where the service runs: {names}"));
        let hint = match plan.manager.scope {
            Scope::User => {
                "where it needs them: `NAME=value` lines in `~/.config/environment.d/denizen.conf` (chmod 600), \
                 `systemctl --user daemon-reload`, and install again"
            }
            Scope::System => {
                "where it needs them: `NAME=value` lines in `/etc/denizen.env` (chmod 600), and `systemctl edit denizen` \
                 with `EnvironmentFile=/etc/denizen.env` below `[Service]`"
            }
        };
        out.note(format_args!("hint: {hint}"));
    }
}

fn uninstall(out: Output, args: &UninstallArgs, here: &Here) -> Result<ExitCode, CliError> {
    let Some(removal) = removal(here, args.scope.scope())? else {
        if out.json {
            out.json(&json!({"removed": null}));
        }
        out.done("No service of Denizen is installed");
        return Ok(ExitCode::SUCCESS);
    };
    if args.dry_run {
        out.done(format_args!("would call    {}", escape(&removal.first.to_string())));
        out.done(format_args!("would remove  {}", removal.file.display()));
        out.done(format_args!("would call    {}", escape(&removal.then.to_string())));
    } else {
        removal.remove(&mut |event| tell(out, event))?;
    }
    if out.json {
        out.json(&json!({"removed": removal.file, "dry_run": args.dry_run}));
    }
    if let Some(linger) = &removal.linger {
        out.done(format_args!("Your other services still start at boot; where there are none: {linger}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn show_status(out: Output, args: &ServiceStatusArgs, here: &Here) -> Result<ExitCode, CliError> {
    let installed = status(here, args.scope.scope())?;
    if installed.is_empty() {
        if out.json {
            return Ok(ExitCode::FAILURE);
        }
        out.done("No service of Denizen is installed: `denizen service install`");
        return Ok(ExitCode::FAILURE);
    }
    for one in &installed {
        show(out, one);
    }
    let runs = installed.iter().all(|one| one.state.active == "active");
    Ok(if runs { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(out: Output, one: &Installed) {
    let state = &one.state;
    if out.json {
        out.json(&json!({
            "file": one.file, "root": one.root, "active": state.active, "since": state.since, "pid": state.pid,
            "restarts": state.restarts, "result": state.result, "status": state.status, "enabled": state.enabled,
            "lingers": one.lingers, "log": one.log,
        }));
        return;
    }
    let starts = match (state.enabled, one.lingers) {
        (false, _) => "only by hand: it is not enabled",
        (true, Some(false)) => "when you log in, and stops when you log out: `loginctl enable-linger` changes that",
        (true, _) => "at boot",
    };
    out.data(format_args!("{BOLD}service{RESET}  {}", escape(&one.file.display().to_string())));
    out.data(format_args!("{BOLD}root{RESET}     {}", escape(&one.root)));
    let color = if state.active == "failed" { RED } else { "" };
    out.data(format_args!("{BOLD}state{RESET}    {color}{}{RESET}", escape(&in_words(state))));
    out.data(format_args!("{BOLD}starts{RESET}   {starts}"));
    for line in &one.log {
        out.data(format_args!("{BOLD}log{RESET}      {}", escape(line)));
    }
    if state.active != "active" {
        out.data("hint: `denizen doctor` looks at the installation, `denizen service install` starts it again");
    }
}

/// How a service is, for a person.
fn in_words(state: &ServiceState) -> String {
    let again = match state.restarts {
        0 => String::new(),
        1 => ", started again once by itself".to_owned(),
        times => format!(", started again {times} times by itself"),
    };
    match state.active.as_str() {
        "active" => {
            let since = if state.since.is_empty() { String::new() } else { format!(" since {}", state.since) };
            let pid = state.pid.map_or_else(String::new, |pid| format!(", process {pid}"));
            format!("runs{since}{pid}{again}")
        }
        "activating" => format!("is starting{again}"),
        "deactivating" => "is stopping: running turns may end".to_owned(),
        "failed" => format!("failed: {}{again}", why(state)),
        "inactive" | "" => "does not run".to_owned(),
        other => format!("{other}{again}"),
    }
}

/// Why a service ended, by the word of systemd.exec(5) and systemd.service(5).
fn why(state: &ServiceState) -> String {
    match (state.result.as_str(), state.status.as_str()) {
        ("exit-code", "2") => "the configuration or the command line is wrong (exit code 2)".to_owned(),
        ("exit-code", "203") => "the program is not there any more, or cannot be started".to_owned(),
        ("exit-code", "217") => "its user does not exist".to_owned(),
        ("exit-code", code) => format!("it ended with exit code {code}"),
        ("signal" | "core-dump", signal) => format!("it was ended by signal {signal}"),
        ("timeout", _) => "it took too long to start or to stop".to_owned(),
        ("oom-kill", _) => "the machine ran out of memory".to_owned(),
        ("start-limit-hit", _) => "it failed too often in a short time".to_owned(),
        ("protocol", _) => "it ended before it was ready".to_owned(),
        (other, _) => other.to_owned(),
    }
}
