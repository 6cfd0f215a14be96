//! The command line: arguments, environment, words, exit codes. One command,
//! one file; the comment on a command's arguments is its help text.

mod app;
mod archive;
mod attach;
mod cd;
mod cleanup;
mod compact;
mod completions;
mod config;
mod doctor;
mod error;
mod exec;
mod export;
mod fork;
mod history;
mod import;
mod init;
mod login;
mod ls;
mod man;
mod migrate;
mod new;
mod notes;
mod output;
mod pairing;
mod path;
mod pending;
mod permission;
mod prove;
mod rename;
mod restore;
mod resume;
mod retry;
mod rm;
mod send;
mod serve;
mod service;
mod set;
mod status;
mod stop;
mod terminal;
mod trash;
mod usage;
mod verify;
mod watch;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigInputs, Environment};
use crate::ops::Control;
use crate::process::{inside, launcher};
use crate::provider::PROVIDERS;
use crate::session::Store;
use crate::turn::Setup;
use app::{App, Global};
use error::CliError;
use output::{Output, RED, RESET};

/// Every conversation with an agent CLI has a home of its own: one folder with
/// its memory, its transcript and the provider's own files.
#[derive(Debug, Parser)]
#[command(
    name = "denizen",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    Send(send::SendArgs),
    Attach(attach::AttachArgs),
    Exec(exec::ExecArgs),
    Ls(ls::LsArgs),
    Status(status::StatusArgs),
    History(history::HistoryArgs),
    Path(path::PathArgs),
    Usage(usage::UsageArgs),
    Pending(pending::PendingArgs),
    #[command(visible_alias = "reset")]
    New(new::NewArgs),
    Resume(resume::ResumeArgs),
    Fork(fork::ForkArgs),
    Rename(rename::RenameArgs),
    Compact(compact::CompactArgs),
    Cd(cd::CdArgs),
    Set(set::SetArgs),
    Stop(stop::StopArgs),
    Retry(retry::RetryArgs),
    Archive(archive::ArchiveArgs),
    Unarchive(archive::UnarchiveArgs),
    Rm(rm::RmArgs),
    Trash(trash::TrashArgs),
    Cleanup(cleanup::CleanupArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Verify(verify::VerifyArgs),
    Restore(restore::RestoreArgs),
    Migrate(migrate::MigrateArgs),
    Init(init::InitArgs),
    Login(login::LoginArgs),
    Serve(serve::ServeArgs),
    Pairing(pairing::PairingArgs),
    Service(service::ServiceArgs),
    Doctor(doctor::DoctorArgs),
    Config(config::ConfigArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// The program. Reads arguments and environment once and passes them down.
#[expect(clippy::disallowed_methods, reason = "this is the one snapshot of the environment")]
#[must_use]
pub fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    // The programs that are only ever started by this one.
    match args.get(1).and_then(|arg| arg.to_str()) {
        Some("__run") => return launcher::run(args.drain(2..)).into(),
        Some("__inside") => return inside::run_inside(args.drain(2..)).into(),
        Some("__notes") => return notes::run(args.drain(2..)),
        Some("__adversary") => return crate::prove::adversary(args.drain(2..)),
        _ => {}
    }
    let environment: Environment = std::env::vars_os().collect();
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; `exit_code` is 0 for them.
            let _printed = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(error::USAGE));
        }
    };
    let out =
        Output { json: cli.global.json, quiet: cli.global.quiet, verbose: cli.global.verbose, color: cli.global.color };
    match run(cli, out, environment, &here) {
        Ok(_) if output::is_unprinted() => {
            let error = CliError::failed("standard output could not be written, but what was to be done is done");
            show_error(out, &error.hint("`denizen history <key>` shows the replies of a session"));
            ExitCode::from(error::FAILED)
        }
        Ok(code) => code,
        Err(error) => {
            show_error(out, &error);
            ExitCode::from(error.code)
        }
    }
}

fn show_error(out: Output, error: &CliError) {
    if out.json {
        out.error_line(serde_json::json!({"error": error.message, "hint": error.hint, "code": error.code}));
        return;
    }
    out.error_line(format_args!("{RED}error:{RESET} {}", output::escape(&error.message)));
    if let Some(hint) = &error.hint {
        out.error_line(format_args!("hint: {}", output::escape(hint)));
    }
}

fn run(cli: Cli, out: Output, environment: Environment, here: &Path) -> Result<ExitCode, CliError> {
    // These two need no root.
    match &cli.command {
        CliCommand::Completions(args) => return completions::run(args, &mut Cli::command()),
        CliCommand::Man(args) => return man::run(args, out, Cli::command()),
        _ => {}
    }
    let home = environment.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let root = root(cli.global.root.as_deref(), &environment, home.as_deref(), here)?;
    let config_file = match &cli.global.config {
        Some(file) => here.join(file),
        None => root.join("denizen.toml"),
    };
    // These work where the configuration is missing or broken.
    match &cli.command {
        CliCommand::Init(args) => return init::run(args, out, &root, &config_file, &environment, home.as_deref()),
        CliCommand::Service(args) => {
            let config = cli.global.config.is_some().then_some(config_file);
            return service::run(args, out, root, config, &environment, &cli.global.overrides);
        }
        CliCommand::Verify(args) => return verify::run(args, out, &root, here),
        _ => {}
    }
    let config = Config::load(ConfigInputs {
        root: &root,
        home: home.as_deref(),
        file: &config_file,
        required: cli.global.config.is_some(),
        environment: &environment,
        overrides: &cli.global.overrides,
    })?;
    // `doctor` names a wrong section among everything else.
    if !matches!(cli.command, CliCommand::Doctor(_)) {
        for name in config.providers.keys() {
            crate::turn::provider_of(&config, name)?;
        }
    }
    out.detail(format_args!("root: {}", root.display()));
    let store = Arc::new(Store::at(&root, config.durability));
    store.recover();
    // The launcher is this very program, also after its file was replaced.
    let launcher = PathBuf::from("/proc/self/exe");
    let control = Control { setup: Arc::new(Setup::attended(config, environment, home, launcher)), store };
    let app = App { out, control, config_file };
    // The daemon moves it in by itself.
    if !matches!(cli.command, CliCommand::Migrate(_) | CliCommand::Serve(_)) {
        migrate::notice(&app, here);
    }
    let store = app.control.store.clone();
    let done = dispatch(cli, app, here);
    // After everything that somebody waits for.
    store.empty_discarded();
    done
}

fn dispatch(cli: Cli, app: App, here: &Path) -> Result<ExitCode, CliError> {
    match cli.command {
        CliCommand::Send(args) => send::run(&app, &args, here),
        CliCommand::Attach(args) => attach::run(&app, &args),
        CliCommand::Exec(args) => exec::run(&app, &args),
        CliCommand::Ls(args) => ls::run(&app, &args),
        CliCommand::Status(args) => status::run(&app, &args),
        CliCommand::History(args) => history::run(&app, &args),
        CliCommand::Path(args) => path::run(&app, &args),
        CliCommand::Usage(args) => usage::run(&app, &args),
        CliCommand::Pending(args) => pending::run(&app, &args),
        CliCommand::New(args) => new::run(&app, &args),
        CliCommand::Resume(args) => resume::run(&app, &args),
        CliCommand::Fork(args) => fork::run(&app, &args),
        CliCommand::Rename(args) => rename::run(&app, &args),
        CliCommand::Compact(args) => compact::run(&app, &args),
        CliCommand::Cd(args) => cd::run(&app, &args, here),
        CliCommand::Set(args) => set::run(&app, &args),
        CliCommand::Stop(args) => stop::run(&app, &args),
        CliCommand::Retry(args) => retry::run(&app, &args),
        CliCommand::Archive(args) => archive::run(&app, &args),
        CliCommand::Unarchive(args) => archive::run_unarchive(&app, &args),
        CliCommand::Rm(args) => rm::run(&app, &args),
        CliCommand::Trash(args) => trash::run(&app, &args),
        CliCommand::Cleanup(args) => cleanup::run(&app, &args),
        CliCommand::Export(args) => export::run(&app, &args, here),
        CliCommand::Import(args) => import::run(&app, &args, here),
        CliCommand::Restore(args) => restore::run(&app, &args, here),
        CliCommand::Migrate(args) => migrate::run(&app, &args, here),
        CliCommand::Serve(args) => serve::run(app, &args, &cli.global, here),
        CliCommand::Login(args) => login::run(&app, &args),
        CliCommand::Pairing(args) => pairing::run(&app, &args),
        CliCommand::Doctor(args) => doctor::run(&app, &args),
        CliCommand::Config(args) => config::run(&app, &args),
        CliCommand::Init(_)
        | CliCommand::Service(_)
        | CliCommand::Verify(_)
        | CliCommand::Completions(_)
        | CliCommand::Man(_) => Ok(ExitCode::SUCCESS),
    }
}

/// The root, absolute and free of links as far as it exists.
fn root(
    given: Option<&Path>,
    environment: &Environment,
    home: Option<&Path>,
    here: &Path,
) -> Result<PathBuf, CliError> {
    let root = match (given, environment.get("DENIZEN_ROOT")) {
        (Some(root), _) => here.join(root),
        (None, Some(root)) => here.join(root),
        (None, None) => {
            let data = environment.get("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let data = data.or_else(|| home.map(|home| home.join(".local/share"))).ok_or_else(|| {
                CliError::usage("there is no home directory to keep sessions in: HOME is not set")
                    .hint("say where with `--root DIR` or DENIZEN_ROOT")
            })?;
            data.join("denizen")
        }
    };
    let mut missing = Vec::new();
    let mut existing = root.as_path();
    loop {
        match std::fs::canonicalize(existing) {
            Ok(mut real) => {
                real.extend(missing.iter().rev());
                if real.exists() && !real.is_dir() {
                    let error = CliError::usage(format!("the root `{}` is no directory", real.display()));
                    return Err(error.hint("choose another with `--root DIR` or DENIZEN_ROOT"));
                }
                return Ok(real);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (Some(name), Some(parent)) = (existing.file_name(), existing.parent()) else {
                    return Err(CliError::usage(format!("the root `{}` is no path", root.display())));
                };
                missing.push(name.to_owned());
                existing = parent;
            }
            Err(error) => {
                return Err(CliError::usage(format!("the root `{}` cannot be used: {error}", root.display())));
            }
        }
    }
}

/// The command line as data, from which `docs/cli.md` is made.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The names of all built-in providers.
#[must_use]
pub fn provider_names() -> Vec<&'static str> {
    PROVIDERS.iter().map(|provider| provider.name()).collect()
}
