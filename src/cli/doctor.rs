//! `denizen doctor`: what is right, what is not, and what to do.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::app::App;
use super::error::CliError;
use super::output::{GREEN, RED, RESET, YELLOW, escape};
use crate::channel::{self, ChannelError, Common, Grade, SectionContext};
use crate::config::{Environment, NetworkMode, SecretSource, WallsMode};
use crate::daemon;
use crate::files::quoted;
use crate::process::{self, probe};
use crate::provider::{AUTO, Provider};
use crate::sandbox::Rule;
use crate::sandbox::mounts::Mounts;
use crate::sandbox::private::Private;
use crate::sandbox::support::KERNEL_LANDLOCK;
use crate::session::SessionError;
use crate::turn::{PolicyError, TurnError, find_program, provider_of};

/// Check the installation, and say what to do about what is not right
///
/// The exit code is 1 where something does not work.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Prove the walls: try to get out of a session in every known way
    ///
    /// Two throw-away sessions are made, and from the one everything is tried that could reach the
    /// other, Denizen, or your own files. The exit code is 1 where anything comes out otherwise than
    /// `docs/security.md` says. Fit for cron: `-q` prints only that.
    #[arg(long)]
    prove: bool,
    /// With --prove: the same without any confinement, to see that the attempts are real
    #[arg(long, requires = "prove")]
    control: bool,
    /// With --prove: one rule of the walls is left out, to see what it is good for
    #[arg(long, requires = "prove", hide = true, value_name = "RULE", value_parser = rule)]
    without: Option<Rule>,
}

fn rule(text: &str) -> Result<Rule, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// One thing that was looked at.
struct DoctorCheck {
    verdict: Grade,
    about: String,
    found: String,
    remedy: Option<String>,
}

impl DoctorCheck {
    fn new(verdict: Grade, about: &str, found: impl Into<String>, remedy: Option<String>) -> Self {
        Self { verdict, about: about.to_owned(), found: found.into(), remedy }
    }
}

pub(super) fn run(app: &App, args: &DoctorArgs) -> Result<ExitCode, CliError> {
    if args.prove {
        return super::prove::run(app, args.control, args.without);
    }
    let mut findings = Vec::new();
    root(app, &mut findings);
    providers(app, &mut findings);
    channels(app, &mut findings)?;
    sessions(app, &mut findings)?;
    leftovers(app, &mut findings);
    walls(app, &mut findings);
    for finding in &findings {
        show(app, finding);
    }
    let bad = findings.iter().filter(|finding| finding.verdict == Grade::Bad).count();
    if bad > 0 {
        app.out.note(format_args!("{bad} of {} checks failed", findings.len()));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(app: &App, finding: &DoctorCheck) {
    let word = match finding.verdict {
        Grade::Good => "ok",
        Grade::Note => "note",
        Grade::Bad => "bad",
    };
    if app.out.json {
        app.out
            .json(&json!({"verdict": word, "about": finding.about, "found": finding.found, "remedy": finding.remedy}));
        return;
    }
    let color = match finding.verdict {
        Grade::Good => GREEN,
        Grade::Note => YELLOW,
        Grade::Bad => RED,
    };
    app.out.data(format_args!("{color}{word:<5}{RESET}{:<16} {}", escape(&finding.about), escape(&finding.found)));
    if let Some(remedy) = &finding.remedy {
        app.out.data(format_args!("     hint: {}", escape(remedy)));
    }
}

fn root(app: &App, findings: &mut Vec<DoctorCheck>) {
    use std::os::unix::fs::PermissionsExt;
    let root = app.control.store.root();
    let setup = &app.control.setup;
    match std::fs::metadata(root) {
        Err(_) => {
            let remedy = Some("`denizen init`, or the first message, makes it".to_owned());
            findings.push(DoctorCheck::new(
                Grade::Note,
                "root",
                format!("{} does not exist yet", root.display()),
                remedy,
            ));
        }
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 == 0 {
                findings.push(DoctorCheck::new(Grade::Good, "root", root.display().to_string(), None));
            } else {
                let found = format!("{} can be entered by others (mode {mode:o})", root.display());
                findings.push(DoctorCheck::new(
                    Grade::Note,
                    "root",
                    found,
                    Some(format!("chmod 700 {}", root.display())),
                ));
            }
            if let Err(error) = app.control.store.staging() {
                findings.push(DoctorCheck::new(Grade::Bad, "root", CliError::from(error).message, None));
            }
        }
    }
    for warning in bad_places(root, &setup.environment, setup.home.as_deref()) {
        findings.push(DoctorCheck::new(
            Grade::Bad,
            "root",
            warning,
            Some("move it, or choose another with `--root`".to_owned()),
        ));
    }
    for (verdict, found, remedy) in places(root, setup.home.as_deref(), setup.config.walls) {
        findings.push(DoctorCheck::new(verdict, "places", found, remedy));
    }
    let found = if app.config_file.exists() {
        app.config_file.display().to_string()
    } else {
        "none, defaults are used".to_owned()
    };
    findings.push(DoctorCheck::new(Grade::Good, "configuration", found, None));
}

/// What is to be said of where the root and HOME are, as agents read the system.
pub(super) fn places(root: &Path, home: Option<&Path>, walls: WallsMode) -> Vec<(Grade, String, Option<String>)> {
    if walls == WallsMode::Off {
        return Vec::new();
    }
    let private = match Private::of(root, home, &[], &Mounts::now()) {
        Ok(private) => private,
        Err(error) => {
            let error = CliError::from(TurnError::from(PolicyError::from(error)));
            return vec![(Grade::Bad, error.message, error.hint)];
        }
    };
    let place = |(what, path): (&str, &Path)| {
        let found = format!("{what} `{}` lies in a directory of the system, which agents read", path.display());
        let remedy = "move it elsewhere";
        match walls {
            WallsMode::Kernel => {
                let remedy = format!("{remedy}, or choose `walls = \"full\"`, which covers it");
                (Grade::Bad, format!("{found}, and `walls = \"kernel\"` cannot leave it out"), Some(remedy))
            }
            _ => {
                (Grade::Note, format!("{found}: it is covered for them"), Some(format!("{remedy} to be without that")))
            }
        }
    };
    private.in_system().map(place).collect()
}

/// Why a root is in a bad place, if it is.
pub(super) fn bad_places(root: &Path, environment: &Environment, home: Option<&Path>) -> Vec<String> {
    let mut bad = Vec::new();
    if root.components().any(|component| component.as_os_str() == ".claude") {
        bad.push(format!("{} is below a directory `.claude`, where Claude Code refuses to edit files", root.display()));
    }
    let temporary = environment.get("TMPDIR").map_or_else(|| Path::new("/tmp").to_owned(), Into::into);
    if root.starts_with(&temporary) || root.starts_with("/tmp") {
        bad.push(format!(
            "{} is below a temporary directory: it is cleaned up by the system, and Codex's sandbox breaks there",
            root.display()
        ));
    }
    let repository = root.ancestors().skip(1).find(|dir| Some(*dir) != home && dir.join(".git").exists());
    if let Some(repository) = repository {
        bad.push(format!(
            "{} is inside the git repository {}, whose instructions and settings the CLIs would read",
            root.display(),
            repository.display()
        ));
    }
    bad
}

fn providers(app: &App, findings: &mut Vec<DoctorCheck>) {
    let setup = &app.control.setup;
    let names = AUTO
        .iter()
        .copied()
        .chain(setup.config.providers.keys().map(String::as_str).filter(|name| !AUTO.contains(name)));
    let ground = app.ground();
    let mut installed = 0;
    for name in names {
        let about = format!("provider {name}");
        let (provider, options) = match provider_of(&setup.config, name) {
            Ok(found) => found,
            Err(error) => {
                findings.push(DoctorCheck::new(Grade::Bad, &about, error.to_string(), None));
                continue;
            }
        };
        match find_program(provider, &options, &setup.environment, &setup.launcher, &ground) {
            Ok(program) => {
                installed += 1;
                let login = login(app, provider);
                let found = format!("{}, {login}", program.display());
                let remedy = (login == NO_LOGIN).then(|| provider.login_hint().to_owned());
                let verdict = if remedy.is_some() { Grade::Note } else { Grade::Good };
                findings.push(DoctorCheck::new(verdict, &about, found, remedy));
            }
            Err(error)
                if setup.config.provider.as_deref() == Some(name) || setup.config.providers.contains_key(name) =>
            {
                let hint = CliError::from(error.clone()).hint;
                findings.push(DoctorCheck::new(Grade::Bad, &about, error.to_string(), hint));
            }
            Err(_) => findings.push(DoctorCheck::new(Grade::Note, &about, "not installed", None)),
        }
    }
    if installed == 0 {
        let remedy = Some("install one, or use `--provider notes`, which needs no account".to_owned());
        findings.push(DoctorCheck::new(Grade::Note, "providers", "no agent CLI is installed", remedy));
    }
}

/// The daemon, and whether each chat network would work: its section, its token,
/// and what the network says to it.
fn channels(app: &App, findings: &mut Vec<DoctorCheck>) -> Result<(), CliError> {
    let setup = &app.control.setup;
    let root = app.control.store.root();
    let runs = daemon::is_running(&app.control.store);
    let found = if runs { "runs" } else { "does not run" };
    let remedy = (!runs && !setup.config.channels.is_empty()).then(|| "`denizen serve` starts it".to_owned());
    let verdict = if remedy.is_some() { Grade::Note } else { Grade::Good };
    findings.push(DoctorCheck::new(verdict, "daemon", found, remedy));
    let agents: Vec<&str> = setup.config.agents.keys().map(String::as_str).collect();
    let context = SectionContext { agents: &agents, root, home: setup.home.as_deref() };
    for (name, section) in &setup.config.channels {
        let about = format!("channel {name}");
        let wrong = |error: ChannelError, remedy: Option<String>| {
            let error = CliError::from(daemon::DaemonError::from(error));
            DoctorCheck::new(Grade::Bad, &about, error.message, remedy.or(error.hint))
        };
        let checked = channel::named(name).and_then(|channel| {
            channel.check(section, context)?;
            let source = Common::read(name, section, context)?.token;
            Ok((channel, source.ok_or_else(|| ChannelError::NoToken(name.clone()))?))
        });
        let (channel, source) = match checked {
            Ok(checked) => checked,
            Err(error) => {
                findings.push(wrong(error, None));
                continue;
            }
        };
        let token =
            match app.wait_for(async { Ok(process::secret(&source, &setup.environment, &app.ground()).await) })? {
                Ok(token) => token,
                Err(reason) => {
                    let error = ChannelError::Token { channel: name.clone(), reason };
                    findings.push(wrong(error, Some(how_to_give(&source))));
                    continue;
                }
            };
        match app.wait_for(async { Ok(channel.examine(section, context, &token).await) })? {
            Ok(found) => {
                findings
                    .extend(found.into_iter().map(|one| DoctorCheck::new(one.grade, &about, one.found, one.remedy)));
            }
            Err(error) => findings.push(wrong(error, None)),
        }
    }
    Ok(())
}

const NO_LOGIN: &str = "no login was found";

/// Where a provider's login seems to be. Whether it is valid, only it can say.
fn login(app: &App, provider: &dyn Provider) -> String {
    let setup = &app.control.setup;
    let keys = ["_API_KEY", "_TOKEN"];
    let variable = provider
        .variables()
        .iter()
        .find(|name| keys.iter().any(|key| name.ends_with(key)) && setup.environment.get(name).is_some());
    if let Some(variable) = variable {
        return format!("login by {variable}");
    }
    let home = setup.home.as_deref();
    let file = provider.login_files().iter().find(|file| home.is_some_and(|home| home.join(file).exists()));
    match file {
        Some(file) => format!("login by ~/{file}"),
        None if provider.login_files().is_empty() => "no login is known to be needed".to_owned(),
        None => NO_LOGIN.to_owned(),
    }
}

fn sessions(app: &App, findings: &mut Vec<DoctorCheck>) -> Result<(), CliError> {
    let listed = app.control.list()?;
    let mut good = 0;
    for shown in listed {
        let Err(error) = shown.record else {
            good += 1;
            continue;
        };
        let remedy = match &error {
            SessionError::Stray { remedy, .. } => remedy.clone(),
            _ => None,
        };
        let error = CliError::from(error);
        let about = format!("session {}", shown.folder);
        findings.push(DoctorCheck::new(Grade::Bad, &about, error.message, remedy.or(error.hint)));
    }
    findings.push(DoctorCheck::new(Grade::Good, "sessions", format!("{good} can be read"), None));
    Ok(())
}

/// What keeps agents inside their sessions here, and what does not.
fn walls(app: &App, findings: &mut Vec<DoctorCheck>) {
    let setup = &app.control.setup;
    let means = probe::means_now(&app.control.store, &setup.config, &setup.environment);
    let walls = setup.config.walls;
    if walls == WallsMode::Off {
        let found = "off: an agent can read and write whatever you can, other sessions too";
        let possible =
            [WallsMode::Full, WallsMode::Kernel].into_iter().find(|mode| probe::against(&means, *mode).is_none());
        let possible = possible.map(|mode| format!("`walls = \"{}\"` can be had here", mode.name()));
        findings.push(DoctorCheck::new(Grade::Note, "walls", found, possible));
        return;
    }
    if let Some(obstacle) = probe::against(&means, walls) {
        let found = format!("{} cannot be had: {obstacle}", walls.name());
        findings.push(DoctorCheck::new(Grade::Bad, "walls", found, Some(obstacle.remedy().to_owned())));
        return;
    }
    let sockets = if means.landlock >= KERNEL_LANDLOCK {
        "abstract sockets and signals of others are out of reach"
    } else {
        "agents get no local sockets, because this kernel cannot keep those of others apart"
    };
    let held = match (&means.bubblewrap, setup.config.walls) {
        (Ok(program), WallsMode::Full) => {
            format!("full: {}, Landlock {}, seccomp; {sockets}", program.display(), means.landlock)
        }
        _ => format!("kernel: Landlock {}, seccomp", means.landlock),
    };
    findings.push(DoctorCheck::new(Grade::Good, "walls", held, None));
    if setup.config.walls == WallsMode::Kernel {
        let found =
            "not held: names, sizes and times of others' files, and their mode and attributes; all command lines";
        findings.push(DoctorCheck::new(Grade::Note, "walls", found, Some("`walls = \"full\"` holds these".to_owned())));
    }
    match setup.config.network {
        NetworkMode::Open => {
            let found = "open: agents reach the network, and servers on this machine's loopback address";
            let remedy = "`network = \"providers\"` leaves them the ports of model servers";
            findings.push(DoctorCheck::new(Grade::Note, "network", found, Some(remedy.to_owned())));
        }
        NetworkMode::Providers => match means.against_ports() {
            None => findings.push(DoctorCheck::new(
                Grade::Good,
                "network",
                "providers: TCP to the configured ports only",
                None,
            )),
            Some(obstacle) => {
                let found = format!("providers cannot be had: {obstacle}");
                findings.push(DoctorCheck::new(Grade::Bad, "network", found, Some(obstacle.remedy().to_owned())));
            }
        },
        NetworkMode::None => findings.push(DoctorCheck::new(Grade::Good, "network", "none", None)),
    }
}

/// How a secret gets to where it is looked for.
fn how_to_give(source: &SecretSource) -> String {
    match source {
        SecretSource::Written(_) => "write it into denizen.toml, in quotes".to_owned(),
        SecretSource::Variable(name) => {
            format!("export {name}=… before `denizen serve`; a service has to get it from a file or a command")
        }
        SecretSource::File(path) => {
            format!("run this, paste the token, press Enter and Ctrl-D: (umask 077; cat > {})", quoted(path))
        }
        SecretSource::Command(words) => format!("run it by hand, and see what it says: {}", words.join(" ")),
    }
}

/// What earlier crashes left behind.
fn leftovers(app: &App, findings: &mut Vec<DoctorCheck>) {
    let store = &app.control.store;
    let count = |name: &str| std::fs::read_dir(store.state_path(name)).map_or(0, Iterator::count);
    let conflicts = count("conflicts");
    if conflicts > 0 {
        let remedy = Some(format!("look at them and remove them: {}", store.conflicts_path().display()));
        findings.push(DoctorCheck::new(Grade::Note, "conflicts", format!("{conflicts} files were set aside"), remedy));
    }
    let temporaries = count("tmp");
    if temporaries > 0 {
        let remedy = Some(format!("when nothing runs, remove them: {}", store.state_path("tmp").display()));
        findings.push(DoctorCheck::new(
            Grade::Note,
            "temporaries",
            format!("{temporaries} were left behind by a crash"),
            remedy,
        ));
    }
}
