//! systemd, the user's or the machine's: what it is asked, in which words, and
//! how its answers are read. Not here: in which order, and what happens if it
//! refuses (`service::install`).

use std::path::{Path, PathBuf};

use super::host::{self, Here, HostCall, Said, SystemUser};
use super::{Scope, ServiceError};
use crate::config::Environment;

/// The unit's name.
pub const UNIT: &str = "denizen.service";

/// The systemd that starts services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// `systemctl`, absolute.
    systemctl: PathBuf,
    /// Whose it is.
    pub scope: Scope,
}

/// How a service is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceState {
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
    /// The manager that is asked for, else a user's own systemd, else that of the
    /// machine for root.
    ///
    /// # Errors
    /// If none can be used, with the reason.
    pub(super) fn find(environment: &Here, wanted: Option<Scope>) -> Result<Self, ServiceError> {
        let is_root = rustix::process::geteuid().is_root();
        let systemctl = environment.tool("systemctl").ok_or(ServiceError::NoManager)?;
        let of = |scope| Self { systemctl: systemctl.clone(), scope };
        let runs = |scope| of(scope).is_there(environment);
        match wanted {
            Some(Scope::System) if !is_root => Err(ServiceError::NotRoot),
            Some(scope) if runs(scope)? => Ok(of(scope)),
            Some(Scope::System) => Err(ServiceError::NotBooted),
            Some(Scope::User) => Err(ServiceError::NoUserManager),
            None if runs(Scope::User)? => Ok(of(Scope::User)),
            None if !is_root => Err(ServiceError::NoUserManager),
            None if runs(Scope::System)? => Ok(of(Scope::System)),
            None => Err(ServiceError::NotBooted),
        }
    }

    /// Every manager that can be asked for the state of a service.
    pub(super) fn all(environment: &Here, wanted: Option<Scope>) -> Result<Vec<Self>, ServiceError> {
        let systemctl = environment.tool("systemctl").ok_or(ServiceError::NoManager)?;
        let mut found = Vec::new();
        for scope in [Scope::User, Scope::System] {
            let manager = Self { systemctl: systemctl.clone(), scope };
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
    pub(super) fn call(&self, args: &[&str]) -> HostCall {
        match self.scope {
            Scope::User => HostCall::new(&self.systemctl, &[&["--user"], args].concat()),
            Scope::System => HostCall::new(&self.systemctl, args),
        }
    }

    fn ask(&self, environment: &Environment, args: &[&str]) -> Result<Said, ServiceError> {
        host::run(&self.call(args), environment, Path::new("/"), None)
    }

    /// The file that tells it of the service.
    ///
    /// # Errors
    /// If it does not say where it looks for such files.
    pub(super) fn file(&self, environment: &Environment) -> Result<PathBuf, ServiceError> {
        // It is asked, because its XDG_CONFIG_HOME need not be ours.
        let said = self.ask(environment, &["show", "--property=UnitPath", "--value"])?;
        let end = if self.scope == Scope::User { "systemd/user" } else { "systemd/system" };
        let mut dirs = words(&said.out).into_iter().map(PathBuf::from);
        let dir = dirs.find(|dir| dir.is_absolute() && dir.ends_with(end) && !dir.starts_with("/run"));
        dir.map(|dir| dir.join(UNIT)).ok_or(ServiceError::NoUnitDirectory)
    }

    /// What makes it start the service, now and from now on. A service that runs
    /// is left alone if its file is as it was.
    pub(super) fn begin(&self, is_new: bool, state: &ServiceState) -> Vec<HostCall> {
        let mut calls = vec![self.call(&["daemon-reload"]), self.call(&["enable", UNIT])];
        if state.active == "failed" {
            // One that failed too often is not started before this.
            calls.push(self.call(&["reset-failed", UNIT]));
        }
        calls.push(if is_new { self.restart() } else { self.call(&["start", UNIT]) });
        calls
    }

    /// What brings back how the service was, once its file is as it was.
    pub(super) fn back_to(&self, state: &ServiceState) -> Vec<HostCall> {
        let mut calls = vec![self.call(&["daemon-reload"])];
        if !state.enabled {
            calls.push(self.call(&["disable", UNIT]));
        }
        calls.push(self.call(&[if state.active == "active" { "restart" } else { "stop" }, UNIT]));
        calls
    }

    /// What a person calls to restart a running service.
    #[must_use]
    pub fn restart(&self) -> HostCall {
        self.call(&["restart", UNIT])
    }

    /// What makes it stop the service, now and from now on.
    pub(super) fn end(&self) -> HostCall {
        self.call(&["disable", "--now", UNIT])
    }

    /// What it is told once the file is gone.
    pub(super) fn forget(&self) -> HostCall {
        self.call(&["daemon-reload"])
    }

    /// What makes it forget that a service failed, once the file is gone. It
    /// fails if there is nothing to forget.
    pub(super) fn forget_failure(&self) -> HostCall {
        self.call(&["reset-failed", UNIT])
    }

    /// The environment that a service starts with, before its file adds to it.
    pub(super) fn environment(
        &self,
        environment: &Environment,
        person: Option<&SystemUser>,
    ) -> Result<Environment, ServiceError> {
        let mut given = assignments(&self.ask(environment, &["show-environment"])?.out);
        match (self.scope, person) {
            (Scope::System, Some(person)) => {
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
    pub(super) fn state(&self, environment: &Environment) -> Result<ServiceState, ServiceError> {
        let properties =
            "--property=ActiveState,ActiveEnterTimestamp,MainPID,NRestarts,Result,ExecMainStatus,UnitFileState";
        Ok(shown(&self.ask(environment, &["show", UNIT, properties])?.out))
    }

    /// The last lines that the service printed, the newest last.
    pub(super) fn log(&self, environment: &Here, lines: usize) -> Result<Vec<String>, ServiceError> {
        let Some(journalctl) = environment.tool("journalctl") else { return Ok(Vec::new()) };
        let lines = lines.to_string();
        let scope: &[&str] = if self.scope == Scope::User { &["--user"] } else { &[] };
        let args: &[&str] = &["--unit", UNIT, "--lines", &lines, "--no-pager", "--quiet", "--output=cat"];
        let said = host::run(&HostCall::new(&journalctl, &[scope, args].concat()), environment, Path::new("/"), None)?;
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
fn shown(text: &str) -> ServiceState {
    let mut state = ServiceState::default();
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
        let expected = ServiceState {
            active: "failed".into(),
            since: "Fri 2026-11-27 17:00:00 UTC".into(),
            pid: None,
            restarts: 5,
            result: "exit-code".into(),
            status: "2".into(),
            enabled: true,
        };
        assert_eq!(shown(text), expected);
    }
}
