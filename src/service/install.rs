//! Installing: first a plan, which changes nothing and finds what would go
//! wrong; then its steps, taken back where one fails. Not here: what is done
//! with a service that is there (`service::status`).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::host::{self, Here, HostCall, Said, SystemUser};
use super::manager::{Manager, ServiceState};
use super::unit::{self, ServeCommand, Start};
use super::{Scope, ServiceError, lost};
use crate::config::keys::{KEYS, ValueKind};
use crate::config::{Environment, Value};
use crate::files::{self, Dir, Durability, Staging, make_private_dir};

/// The largest unit that is read, in bytes.
const MAX_UNIT_BYTES: u64 = 1 << 16;

/// How many lines of the log are shown.
pub(super) const LOG_LINES: usize = 10;

/// What is to be installed.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The installed program, absolute.
    pub program: PathBuf,
    /// The root, absolute.
    pub root: PathBuf,
    /// The configuration file, where one was named, absolute.
    pub config: Option<PathBuf>,
    /// Whose service manager, if that was said.
    pub scope: Option<Scope>,
    /// As whom a service of the machine runs, if that was said.
    pub user: Option<String>,
    /// Whether what is only unwise is done.
    pub force: bool,
}

/// What is at the unit's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitBefore {
    /// Nothing.
    Absent,
    /// The same text.
    Same,
    /// Another text, written by Denizen.
    Other(String),
}

/// What an installation would do.
#[derive(Debug, Clone)]
pub struct InstallPlan {
    /// Who starts it.
    pub manager: Manager,
    /// As whom, if that is not whoever installs it.
    pub person: Option<SystemUser>,
    /// The unit.
    pub file: PathBuf,
    /// What stands in it.
    pub text: String,
    /// What is already there.
    pub before: UnitBefore,
    /// How the service is.
    pub state: ServiceState,
    /// What is called once it is written.
    pub then: Vec<HostCall>,
    /// Whether the service only lives while its user does, unless the user lingers.
    pub linger: Option<Linger>,
    /// The environment that the service starts with.
    pub environment: Environment,
    /// The root.
    pub root: PathBuf,
    /// The variables that Denizen or a provider would read, set here and not there.
    pub lost: Vec<String>,
    /// The secrets that are set here and not there, where that did not stop it.
    pub secrets: Vec<lost::EnvironmentSecret>,
    /// How `doctor` is called in that environment.
    pub doctor: HostCall,
    home: PathBuf,
    here: Here,
}

/// Starting a user's services at boot, not at login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linger {
    /// What switches it on.
    pub on: HostCall,
    /// What switches it off.
    pub off: HostCall,
}

/// Something that was done, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallEvent<'a> {
    /// A program was called.
    Called(&'a HostCall),
    /// The unit was written.
    Wrote(&'a Path),
    /// The unit was removed.
    Removed(&'a Path),
    /// A line of the service's log, after it failed to start.
    Log(&'a str),
}

/// Where the running program is installed: by its name in PATH, which may be a
/// link that is set again with each version, else where it was started.
#[must_use]
pub fn installed_program(running: &Path, environment: &Environment) -> PathBuf {
    let path = environment.get_os("PATH").unwrap_or_default();
    let named =
        running.file_name().into_iter().flat_map(|name| std::env::split_paths(path).map(move |dir| dir.join(name)));
    let is_it = |named: &PathBuf| named.is_absolute() && host::is_same_file(named, running).unwrap_or(false);
    named.into_iter().find(is_it).unwrap_or_else(|| running.to_owned())
}

/// Refuses a program that will not stay where it is.
///
/// # Errors
/// If it is a build of a checkout, or in a directory that is cleaned up.
fn check_program(program: &Path, environment: &Environment) -> Result<(), ServiceError> {
    let real = std::fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let passing = |reason| Err(ServiceError::Passing { program: program.to_owned(), reason });
    for path in [program, &real] {
        let is_build =
            |dir: &Path| dir.file_name().is_some_and(|name| name == "target") || dir.join(".rustc_info.json").exists();
        if path.ancestors().skip(1).any(is_build) {
            return passing("a build in a checkout, which the next `cargo clean` removes");
        }
        let temporary = environment.get("TMPDIR").map(Path::new).filter(|dir| dir.is_absolute());
        if path.starts_with("/tmp") || temporary.is_some_and(|dir| path.starts_with(dir)) {
            return passing("in a temporary directory, which the system cleans up");
        }
    }
    Ok(())
}

/// The plan for a wish. Nothing is changed.
///
/// # Errors
/// If it could not be done, with the reason.
pub fn plan(wish: &Wish, here: &Here) -> Result<InstallPlan, ServiceError> {
    if !wish.force {
        check_program(&wish.program, here)?;
    }
    let manager = Manager::find(here, wish.scope)?;
    let person = whom(wish, &manager, here)?;
    let file = manager.file(here)?;
    let (grace, sources) = configured(wish)?;
    let daemon = ServeCommand {
        program: wish.program.clone(),
        root: wish.root.clone(),
        config: wish.config.clone(),
        path: search_path(here),
        grace,
    };
    let mut environment = manager.environment(here, person.as_ref())?;
    environment.set("PATH", &daemon.path);
    let home = PathBuf::from(environment.get("HOME").unwrap_or("/"));
    let start = match &person {
        Some(person) => Start::SystemUnit { user: person.name.clone() },
        None => Start::UserUnit,
    };
    let text = daemon.file(&start)?;
    let before = before(&file, &text, wish.force)?;
    let secrets: Vec<_> = sources.into_iter().filter(|source| environment.get(&source.variable).is_none()).collect();
    if !secrets.is_empty() && !wish.force {
        return Err(ServiceError::Secrets { sources: secrets, root: wish.root.clone() });
    }
    let mut words = daemon.command()?;
    let program = PathBuf::from(words.remove(0));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let doctor = HostCall::new(&program, &[&words[..], &["doctor"]].concat());
    let state = manager.state(here)?;
    let is_new = before != UnitBefore::Same;
    let plan = InstallPlan {
        linger: linger(&manager, here)?,
        then: manager.begin(is_new, &state),
        lost: lost::variables(here, &environment),
        manager,
        person,
        file,
        text,
        before,
        state,
        environment,
        secrets,
        doctor,
        root: wish.root.clone(),
        home,
        here: here.clone(),
    };
    // A configuration that is wrong is better known before anything is there.
    let usable = plan.as_the_service(&HostCall::new(&program, &[&words[..], &["--json", "config"]].concat()))?;
    if !usable.ok {
        let complaint = usable.complaint();
        // An error is one object then.
        let said: Option<serde_json::Value> = serde_json::from_str(&complaint).ok();
        let error = said.and_then(|said| Some(said.get("error")?.as_str()?.to_owned()));
        return Err(ServiceError::Unusable { complaint: error.unwrap_or(complaint) });
    }
    Ok(plan)
}

/// As whom a service of the machine runs: as asked, else as whoever owns the
/// root, else as root.
fn whom(wish: &Wish, manager: &Manager, here: &Here) -> Result<Option<SystemUser>, ServiceError> {
    use std::os::unix::fs::MetadataExt;
    if manager.scope != Scope::System {
        return match &wish.user {
            Some(user) => Err(ServiceError::NotAs(user.clone())),
            None => Ok(None),
        };
    }
    let getent = here.tool("getent").ok_or(ServiceError::Missing("getent"))?;
    let who = match &wish.user {
        Some(user) => user.clone(),
        None => std::fs::metadata(&wish.root).map_or(0, |metadata| metadata.uid()).to_string(),
    };
    host::person(&getent, here, &who).map(Some)
}

/// What of the configuration concerns the unit. It may belong to another user,
/// whom this process may not be: it is read for that alone.
fn configured(wish: &Wish) -> Result<(Duration, Vec<lost::EnvironmentSecret>), ServiceError> {
    let file = wish.config.clone().unwrap_or_else(|| wish.root.join("denizen.toml"));
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && wish.config.is_none() => String::new(),
        Err(source) => return Err(files::Error::io("read the configuration", &file, source).into()),
    };
    let table: toml::Table = toml::from_str(&text)
        .map_err(|error| ServiceError::Configuration { file, reason: error.message().to_owned() })?;
    let given = table
        .get("limits")
        .and_then(|limits| limits.get("grace"))
        .map(|grace| Value::from_toml(grace, ValueKind::Span));
    let default = KEYS.iter().find(|spec| spec.name == "limits.grace");
    let default = default.map(|spec| Value::from_text(spec.default, ValueKind::Span));
    let grace = [given, default].into_iter().flatten().find_map(|value| match value {
        Ok(Value::Span(span)) => span,
        _ => None,
    });
    Ok((grace.unwrap_or_default(), lost::sources(&table)))
}

/// The PATH of now, without what would be another directory there.
fn search_path(here: &Here) -> String {
    let path = &here.path;
    let mut dirs: Vec<&str> = Vec::new();
    for dir in path.split(':').filter(|dir| dir.starts_with('/')) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs.join(":")
}

fn before(file: &Path, text: &str, force: bool) -> Result<UnitBefore, ServiceError> {
    let Some(old) = read(file)? else { return Ok(UnitBefore::Absent) };
    if !unit::is_ours(&old) {
        return Err(ServiceError::Foreign(file.to_owned()));
    }
    if old == text {
        return Ok(UnitBefore::Same);
    }
    match unit::root_of(&old) {
        Some(root) if !force && unit::root_of(text).as_ref() != Some(&root) => {
            Err(ServiceError::OtherRoot { file: file.to_owned(), root })
        }
        _ => Ok(UnitBefore::Other(old)),
    }
}

pub(super) fn read(file: &Path) -> Result<Option<String>, ServiceError> {
    let Some((dir, name)) = file.parent().zip(file.file_name()) else { return Ok(None) };
    let bytes = Dir::open(dir).and_then(|dir| dir.read(Path::new(name), MAX_UNIT_BYTES));
    match bytes {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.is_not_found() => Ok(None),
        // A link, as `systemctl mask` and packages make them.
        Err(files::Error::Link { .. }) => Err(ServiceError::Foreign(file.to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// How a user's services are made to start at boot, where they do not yet.
fn linger(manager: &Manager, here: &Here) -> Result<Option<Linger>, ServiceError> {
    if manager.scope != Scope::User {
        return Ok(None);
    }
    let loginctl = here.tool("loginctl").ok_or(ServiceError::Missing("loginctl"))?;
    if lingers(&loginctl, here)? {
        return Ok(None);
    }
    Ok(Some(Linger {
        on: HostCall::new(&loginctl, &["enable-linger"]),
        off: HostCall::new(&loginctl, &["disable-linger"]),
    }))
}

pub(super) fn lingers(loginctl: &Path, here: &Environment) -> Result<bool, ServiceError> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let call = HostCall::new(loginctl, &["show-user", &uid, "--property=Linger", "--value"]);
    // It fails where the user is not known to it, who then does not linger.
    Ok(host::run(&call, here, Path::new("/"), None)?.out.trim() == "yes")
}

impl InstallPlan {
    /// Runs a program as the service would.
    fn as_the_service(&self, call: &HostCall) -> Result<Said, ServiceError> {
        let dir = if self.home.is_dir() { &self.home } else { Path::new("/") };
        host::run(call, &self.environment, dir, self.person.as_ref())
    }

    /// What `doctor` says in the service's environment, with these options.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn doctor(&self, options: &[&str]) -> Result<Said, ServiceError> {
        self.as_the_service(&self.doctor.with(options))
    }

    /// Does it. Where a step fails, those before it are taken back.
    ///
    /// # Errors
    /// With the step that failed.
    pub fn install(&self, tell: &mut dyn FnMut(InstallEvent<'_>)) -> Result<(), ServiceError> {
        self.steps(tell).map_err(|error| {
            if let Ok(lines) = self.manager.log(&self.here, LOG_LINES) {
                lines.iter().for_each(|line| tell(InstallEvent::Log(line)));
            }
            let undone = self.take_back().is_ok();
            match error {
                ServiceError::Step { call, complaint, .. } => ServiceError::Step { call, complaint, undone },
                other => other,
            }
        })
    }

    fn steps(&self, tell: &mut dyn FnMut(InstallEvent<'_>)) -> Result<(), ServiceError> {
        let call = |call: &HostCall, tell: &mut dyn FnMut(InstallEvent<'_>)| {
            step(call, &self.here).inspect(|()| tell(InstallEvent::Called(call)))
        };
        if let Some(linger) = &self.linger {
            call(&linger.on, tell)?;
        }
        if self.before != UnitBefore::Same {
            write(&self.file, &self.text)?;
            tell(InstallEvent::Wrote(&self.file));
        }
        self.then.iter().try_for_each(|next| call(next, tell))
    }

    /// Makes it as it was before.
    fn take_back(&self) -> Result<(), ServiceError> {
        let call = |call: &HostCall| step(call, &self.here);
        match &self.before {
            UnitBefore::Absent => {
                if read(&self.file)?.is_some() {
                    // It fails where the unit was not loaded yet; then there is nothing to stop.
                    let _ended = call(&self.manager.end());
                    remove(&self.file)?;
                    call(&self.manager.forget())?;
                    let _forgotten = call(&self.manager.forget_failure());
                }
            }
            UnitBefore::Same => self.manager.back_to(&self.state).iter().try_for_each(call)?,
            UnitBefore::Other(old) => {
                write(&self.file, old)?;
                self.manager.back_to(&self.state).iter().try_for_each(call)?;
            }
        }
        match &self.linger {
            Some(linger) => call(&linger.off),
            None => Ok(()),
        }
    }
}

/// Runs a call that has to succeed.
pub(super) fn step(call: &HostCall, environment: &Environment) -> Result<(), ServiceError> {
    let said = host::run(call, environment, Path::new("/"), None)?;
    if said.ok {
        return Ok(());
    }
    Err(ServiceError::Step { call: call.to_string(), complaint: said.complaint(), undone: false })
}

/// Puts a unit in its place, whole. It holds no secret, and systemd complains of
/// one that not everybody can read.
fn write(file: &Path, text: &str) -> Result<(), ServiceError> {
    let (Some(dir), Some(name)) = (file.parent(), file.file_name()) else { return Err(ServiceError::NoUnitDirectory) };
    make_private_dir(dir, Durability::Power)?;
    let opened = Dir::open(dir)?;
    // A temporary has a name that is no unit's.
    let staging = Staging::new(Dir::open(dir)?, Durability::Power);
    opened.replace(Path::new(name), text.as_bytes(), &staging)?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644))
        .map_err(|source| files::Error::io("open to all readers", file, source).into())
}

pub(super) fn remove(file: &Path) -> Result<(), ServiceError> {
    let (Some(dir), Some(name)) = (file.parent(), file.file_name()) else { return Err(ServiceError::NoUnitDirectory) };
    Ok(Dir::open(dir)?.remove_file(Path::new(name))?)
}
