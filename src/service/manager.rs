//! Service managers: what each is asked, in which words, and how its answers
//! are read. systemd of a user or of the machine, or launchd. Not here: in
//! which order, and what happens where one refuses (`service::install`).

use std::path::{Path, PathBuf};

use super::host::{self, Call, Here, Person, Said};
use super::unit::LABEL;
use super::{Scope, ServiceError};
use crate::config::Environment;

/// The unit's name.
pub const UNIT: &str = "denizen.service";

/// Who starts services here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manager {
    /// systemd, the user's or the machine's.
    Systemd {
        /// `systemctl`, absolute.
        systemctl: PathBuf,
        /// Whose.
        scope: Scope,
    },
    /// launchd, for one user.
    Launchd {
        /// `launchctl`, absolute.
        launchctl: PathBuf,
        /// The user's numeric id.
        uid: u32,
    },
}

/// How a service is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// What the manager calls it: `active`, `inactive`, `failed`, `activating`.
    pub active: String,
    /// Since when, as the manager writes it; empty where it never was.
    pub since: String,
    /// Its process, where it runs.
    pub pid: Option<u32>,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// Why it ended, in systemd's word: `success`, `exit-code`, `timeout`, `oom-kill`.
    pub result: String,
    /// The exit code or signal that its process ended with.
    pub status: String,
    /// Whether it is started at boot, or at login where nothing lingers.
    pub enabled: bool,
}

impl Manager {
    /// The manager that is asked for, or that is there: a user's own systemd,
    /// that of the machine for root, launchd where there is no systemd.
    ///
    /// # Errors
    /// Where there is none that could be used, with the reason.
    pub(super) fn find(environment: &Here, wanted: Option<Scope>) -> Result<Self, ServiceError> {
        let uid = rustix::process::geteuid();
        let Some(systemctl) = environment.tool("systemctl") else {
            let launchctl = environment.tool("launchctl").ok_or(ServiceError::NoManager)?;
            if wanted == Some(Scope::System) {
                return Err(ServiceError::OnlyOwn);
            }
            return Ok(Self::Launchd { launchctl, uid: uid.as_raw() });
        };
        let of = |scope| Self::Systemd { systemctl: systemctl.clone(), scope };
        let runs = |scope| of(scope).is_there(environment);
        match wanted {
            Some(Scope::System) if !uid.is_root() => Err(ServiceError::NotRoot),
            Some(scope) if runs(scope)? => Ok(of(scope)),
            Some(Scope::System) => Err(ServiceError::NotBooted),
            Some(Scope::User) => Err(ServiceError::NoUserManager),
            None if runs(Scope::User)? => Ok(of(Scope::User)),
            None if !uid.is_root() => Err(ServiceError::NoUserManager),
            None if runs(Scope::System)? => Ok(of(Scope::System)),
            None => Err(ServiceError::NotBooted),
        }
    }

    /// Every manager that can be asked for the state of a service.
    pub(super) fn all(environment: &Here, wanted: Option<Scope>) -> Result<Vec<Self>, ServiceError> {
        let Some(systemctl) = environment.tool("systemctl") else {
            return Self::find(environment, wanted).map(|only| vec![only]);
        };
        let mut found = Vec::new();
        for scope in [Scope::User, Scope::System] {
            let manager = Self::Systemd { systemctl: systemctl.clone(), scope };
            if wanted.is_none_or(|wanted| wanted == scope) && manager.is_there(environment)? {
                found.push(manager);
            }
        }
        Ok(found)
    }

    fn is_there(&self, environment: &Environment) -> Result<bool, ServiceError> {
        // It ends with another code than 0 where a unit has failed, too.
        let word = self.ask(environment, &["is-system-running"])?.out;
        Ok(["initializing", "starting", "running", "degraded", "maintenance"].contains(&word.trim()))
    }

    /// A call of its program.
    pub(super) fn call(&self, args: &[&str]) -> Call {
        match self {
            Self::Systemd { systemctl, scope: Scope::User } => Call::new(systemctl, &[&["--user"], args].concat()),
            Self::Systemd { systemctl, scope: Scope::System } => Call::new(systemctl, args),
            Self::Launchd { launchctl, .. } => Call::new(launchctl, args),
        }
    }

    fn ask(&self, environment: &Environment, args: &[&str]) -> Result<Said, ServiceError> {
        host::run(&self.call(args), environment, Path::new("/"), None)
    }

    /// The file that tells it of the service.
    ///
    /// # Errors
    /// Where it does not say where it looks for such files.
    pub(super) fn file(&self, environment: &Environment) -> Result<PathBuf, ServiceError> {
        let Self::Systemd { scope, .. } = self else {
            let home = environment.get("HOME").ok_or(ServiceError::NoUnitDirectory)?;
            return Ok(Path::new(home).join(format!("Library/LaunchAgents/{LABEL}.plist")));
        };
        // It is asked, because its XDG_CONFIG_HOME need not be ours.
        let said = self.ask(environment, &["show", "--property=UnitPath", "--value"])?;
        let end = if *scope == Scope::User { "systemd/user" } else { "systemd/system" };
        let mut dirs = words(&said.out).into_iter().map(PathBuf::from);
        let dir = dirs.find(|dir| dir.is_absolute() && dir.ends_with(end) && !dir.starts_with("/run"));
        dir.map(|dir| dir.join(UNIT)).ok_or(ServiceError::NoUnitDirectory)
    }

    /// What has to be said before another version of the file is in its place.
    pub(super) fn before_replacing(&self, state: &State) -> Vec<Call> {
        match self {
            Self::Launchd { .. } if state.enabled => self.end(),
            Self::Launchd { .. } | Self::Systemd { .. } => Vec::new(),
        }
    }

    /// What makes it start the service, now and from now on. Where the file is
    /// as it was, a service that runs is left alone.
    pub(super) fn begin(&self, file: &Path, is_new: bool, state: &State) -> Vec<Call> {
        match self {
            Self::Systemd { .. } => {
                let mut calls = vec![self.call(&["daemon-reload"]), self.call(&["enable", UNIT])];
                if state.active == "failed" {
                    // One that failed too often is not started before this.
                    calls.push(self.call(&["reset-failed", UNIT]));
                }
                calls.push(self.call(&[if is_new { "restart" } else { "start" }, UNIT]));
                calls
            }
            Self::Launchd { uid, .. } if is_new => {
                vec![self.call(&["bootstrap", &format!("gui/{uid}"), &file.to_string_lossy()])]
            }
            Self::Launchd { uid, .. } => vec![self.call(&["kickstart", &format!("gui/{uid}/{LABEL}")])],
        }
    }

    /// What brings back how the service was, once its file is as it was.
    pub(super) fn back_to(&self, state: &State, file: &Path) -> Vec<Call> {
        match self {
            Self::Systemd { .. } => {
                let mut calls = vec![self.call(&["daemon-reload"])];
                if !state.enabled {
                    calls.push(self.call(&["disable", UNIT]));
                }
                calls.push(self.call(&[if state.active == "active" { "restart" } else { "stop" }, UNIT]));
                calls
            }
            Self::Launchd { .. } if state.enabled => self.begin(file, true, state),
            Self::Launchd { .. } => Vec::new(),
        }
    }

    /// What a person calls to have a running service started anew.
    #[must_use]
    pub fn restart(&self) -> Call {
        match self {
            Self::Systemd { .. } => self.call(&["restart", UNIT]),
            Self::Launchd { uid, .. } => self.call(&["kickstart", "-k", &format!("gui/{uid}/{LABEL}")]),
        }
    }

    /// What makes it stop the service, now and from now on.
    pub(super) fn end(&self) -> Vec<Call> {
        match self {
            Self::Systemd { .. } => vec![self.call(&["disable", "--now", UNIT])],
            Self::Launchd { uid, .. } => vec![self.call(&["bootout", &format!("gui/{uid}/{LABEL}")])],
        }
    }

    /// What it is told once the file is gone.
    pub(super) fn forget(&self) -> Vec<Call> {
        match self {
            Self::Systemd { .. } => vec![self.call(&["daemon-reload"])],
            Self::Launchd { .. } => Vec::new(),
        }
    }

    /// What makes it forget that a service failed, once the file is gone. It
    /// fails where there is nothing to forget.
    pub(super) fn forget_failure(&self) -> Option<Call> {
        match self {
            Self::Systemd { .. } => Some(self.call(&["reset-failed", UNIT])),
            Self::Launchd { .. } => None,
        }
    }

    /// The environment that a service starts with, before its file adds to it.
    pub(super) fn environment(
        &self,
        environment: &Environment,
        person: Option<&Person>,
    ) -> Result<Environment, ServiceError> {
        let mut given: Environment = match self {
            Self::Systemd { .. } => assignments(&self.ask(environment, &["show-environment"])?.out),
            Self::Launchd { .. } => Environment::default(),
        };
        match (self, person) {
            (Self::Systemd { scope: Scope::System, .. }, Some(person)) => {
                given.set("HOME", person.home.as_os_str());
                given.set("USER", &person.name);
                given.set("LOGNAME", &person.name);
                given.set("SHELL", &person.shell);
            }
            _ => {
                for name in ["HOME", "USER", "LOGNAME", "SHELL", "XDG_RUNTIME_DIR"] {
                    if let (None, Some(value)) = (given.get_os(name), environment.get_os(name)) {
                        given.set(name, value);
                    }
                }
            }
        }
        Ok(given)
    }

    /// How the service is.
    pub(super) fn state(&self, environment: &Environment) -> Result<State, ServiceError> {
        match self {
            Self::Systemd { .. } => {
                let properties = "--property=ActiveState,ActiveEnterTimestamp,MainPID,NRestarts,Result,ExecMainStatus,\
                                  UnitFileState";
                Ok(shown(&self.ask(environment, &["show", UNIT, properties])?.out))
            }
            Self::Launchd { uid, .. } => {
                let said = self.ask(environment, &["print", &format!("gui/{uid}/{LABEL}")])?;
                Ok(printed(&said))
            }
        }
    }

    /// The last lines that the service printed, the newest last.
    pub(super) fn log(&self, environment: &Here, lines: usize) -> Result<Vec<String>, ServiceError> {
        let Self::Systemd { scope, .. } = self else { return Ok(Vec::new()) };
        let Some(journalctl) = environment.tool("journalctl") else { return Ok(Vec::new()) };
        let lines = lines.to_string();
        let scope: &[&str] = if *scope == Scope::User { &["--user"] } else { &[] };
        let args: &[&str] = &["--unit", UNIT, "--lines", &lines, "--no-pager", "--quiet", "--output=cat"];
        let said = host::run(&Call::new(&journalctl, &[scope, args].concat()), environment, Path::new("/"), None)?;
        Ok(said.out.lines().map(str::to_owned).collect())
    }
}

/// Words that are separated by spaces, and in double quotes where one holds some.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = text.trim().chars();
    while let Some(c) = chars.next() {
        let Some(word) = words.last_mut() else { break };
        match c {
            '"' => is_quoted = !is_quoted,
            '\\' => word.extend(chars.next()),
            c if c.is_whitespace() && !is_quoted => words.push(String::new()),
            c => word.push(c),
        }
    }
    words
}

/// What `systemctl show-environment` prints: one assignment a line, with a
/// value in `$'…'` where it holds special characters.
fn assignments(text: &str) -> Environment {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| {
            let quoted = value.strip_prefix("$'").and_then(|rest| rest.strip_suffix('\''));
            (name, quoted.map_or_else(|| value.to_owned(), unescaped))
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                other => plain.extend(other),
            },
            (c, false) => plain.push(c),
        }
    }
    plain
}

/// What `systemctl show` prints.
fn shown(text: &str) -> State {
    let mut state = State::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match name {
            "ActiveState" => value.clone_into(&mut state.active),
            "ActiveEnterTimestamp" => value.clone_into(&mut state.since),
            "MainPID" => state.pid = value.parse().ok().filter(|pid| *pid != 0),
            "NRestarts" => state.restarts = value.parse().unwrap_or(0),
            "Result" => value.clone_into(&mut state.result),
            "ExecMainStatus" => value.clone_into(&mut state.status),
            "UnitFileState" => state.enabled = value.starts_with("enabled"),
            _ => {}
        }
    }
    state
}

/// What `launchctl print` prints, of which Apple says that it may change.
fn printed(said: &Said) -> State {
    let value = |name: &str| {
        let mut lines = said.out.lines().filter_map(|line| line.trim().split_once(" = "));
        lines.find_map(|(known, value)| (known == name).then(|| value.to_owned()))
    };
    let active = match value("state").as_deref() {
        Some("running") => "active",
        _ => "inactive",
    };
    State {
        active: active.to_owned(),
        pid: value("pid").and_then(|pid| pid.parse().ok()),
        status: value("last exit code").unwrap_or_default(),
        enabled: said.ok,
        ..State::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_with_their_quotes() {
        assert_eq!(words("/a/b \"/c d/e\" /f\n"), ["/a/b", "/c d/e", "/f"]);
        assert_eq!(words(r#"/a\ b "c\"d""#), ["/a b", "c\"d"]);
    }

    #[test]
    fn the_environment_of_a_manager_is_read() {
        let given = assignments("HOME=/home/a\nX=$'a b\\'c\\n'\nY=a=b\nnothing\n");
        let pairs: Vec<_> = given.iter().map(|(n, v)| (n.to_str().unwrap_or(""), v.to_str().unwrap_or(""))).collect();
        assert_eq!(pairs, [("HOME", "/home/a"), ("X", "a b'c\n"), ("Y", "a=b")]);
    }

    #[test]
    fn a_state_is_read() {
        let text = "MainPID=0\nNRestarts=5\nExecMainStatus=2\nResult=exit-code\nActiveState=failed\n\
                    ActiveEnterTimestamp=Fri 2026-11-27 17:00:00 UTC\nUnitFileState=enabled\n";
        let expected = State {
            active: "failed".into(),
            since: "Fri 2026-11-27 17:00:00 UTC".into(),
            pid: None,
            restarts: 5,
            result: "exit-code".into(),
            status: "2".into(),
            enabled: true,
        };
        assert_eq!(shown(text), expected);
        let said =
            Said { ok: true, out: "gui/501/denizen = {\n\tstate = running\n\tpid = 42\n}\n".into(), err: "".into() };
        let expected = State { active: "active".into(), pid: Some(42), enabled: true, ..State::default() };
        assert_eq!(printed(&said), expected);
    }
}
