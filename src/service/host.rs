//! The machine that a service is installed on: its programs, called with
//! argument vectors and never through a shell, and the users it knows. Not
//! here: what they are called for.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::ServiceError;
use crate::config::Environment;
use crate::files::quoted;
use crate::process::outside::{self, OutsideProgram, Unusable};
use crate::sandbox::Ground;

/// The programs that are called.
const TOOLS: &[&str] = &["systemctl", "loginctl", "journalctl", "getent"];

/// The environment of this process, as far as it can be trusted: its PATH leads
/// only to directories that no agent and nobody else can write, and so do the
/// programs that are called from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    environment: Environment,
    tools: BTreeMap<&'static str, PathBuf>,
    /// The PATH as it was.
    pub(super) path: String,
    /// Programs that are not used, each with the reason in words.
    pub passed_over: Vec<String>,
}

impl Here {
    /// Looks for the programs.
    #[must_use]
    pub fn new(environment: &Environment, ground: &Ground<'_>) -> Self {
        let (mut tools, mut passed_over) = (BTreeMap::new(), Vec::new());
        for name in TOOLS {
            match OutsideProgram::named(name, environment, ground) {
                Ok(program) => {
                    tools.insert(*name, program.name().to_owned());
                }
                Err(Unusable::Missing) => {}
                Err(unusable) => passed_over.push(unusable.to_string()),
            }
        }
        let path = environment.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").to_owned();
        Self { environment: outside::environment(environment, ground), tools, path, passed_over }
    }

    /// One of [`TOOLS`], absolute.
    pub(super) fn tool(&self, name: &str) -> Option<PathBuf> {
        self.tools.get(name).cloned()
    }
}

impl std::ops::Deref for Here {
    type Target = Environment;

    fn deref(&self) -> &Environment {
        &self.environment
    }
}

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCall {
    program: PathBuf,
    args: Vec<String>,
}

impl HostCall {
    pub(super) fn new(program: &Path, args: &[&str]) -> Self {
        Self { program: program.to_owned(), args: args.iter().map(|arg| (*arg).to_owned()).collect() }
    }

    /// The call with more arguments at its end.
    pub(super) fn with(&self, more: &[&str]) -> Self {
        let more = more.iter().map(|arg| (*arg).to_owned());
        Self { program: self.program.clone(), args: self.args.iter().cloned().chain(more).collect() }
    }
}

/// As it would be typed.
impl fmt::Display for HostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.file_name().unwrap_or(self.program.as_os_str());
        f.write_str(&quoted(Path::new(program)))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(Path::new(arg))))
    }
}

/// How a program ended, and what it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Its complaint in one line: the last it printed, preferably on standard
    /// error, but for where systemctl would have one look.
    #[must_use]
    pub fn complaint(&self) -> String {
        let last = |text: &str| {
            text.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.starts_with("See ")).map(str::to_owned)
        };
        last(&self.err).or_else(|| last(&self.out)).unwrap_or_else(|| "it says nothing about why".to_owned())
    }
}

/// A user of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemUser {
    /// The name.
    pub name: String,
    /// The numeric id.
    pub uid: u32,
    /// The numeric id of the group.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
    /// The shell.
    pub shell: String,
}

/// Runs a program to its end in this environment, in `dir`, as this person
/// where one is given (which only root can).
#[expect(
    clippy::disallowed_methods,
    reason = "systemctl and the like, and `denizen doctor`: no provider, no session, and so no guard to run under"
)]
pub(super) fn run(
    call: &HostCall,
    environment: &Environment,
    dir: &Path,
    person: Option<&SystemUser>,
) -> Result<Said, ServiceError> {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(&call.program);
    command.args(&call.args).env_clear().envs(environment.iter()).current_dir(dir).stdin(Stdio::null());
    if let Some(person) = person {
        // The groups of whoever called are dropped with the id.
        command.uid(person.uid).gid(person.gid);
    }
    let output = command.output();
    let output = output.map_err(|source| ServiceError::Start { call: call.to_string(), source })?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Said { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) })
}

/// The user of this name or number.
pub(super) fn person(getent: &Path, environment: &Environment, who: &str) -> Result<SystemUser, ServiceError> {
    let said = run(&HostCall::new(getent, &["passwd", who]), environment, Path::new("/"), None)?;
    said.out.lines().find_map(passwd).ok_or_else(|| ServiceError::NoSuchUser(who.to_owned()))
}

/// A line of passwd(5).
fn passwd(line: &str) -> Option<SystemUser> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
    Some(SystemUser {
        name: (*name).to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: home.into(),
        shell: (*shell).to_owned(),
    })
}

/// Whether two paths lead to one file.
pub(super) fn is_same_file(a: &Path, b: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (a, b) = (std::fs::metadata(a)?, std::fs::metadata(b)?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_passwd_is_a_person() {
        let person = passwd("ann:x:1000:1001:Ann,,,:/home/ann:/bin/bash").expect("a person");
        assert_eq!(
            person,
            SystemUser {
                name: "ann".into(),
                uid: 1000,
                gid: 1001,
                home: "/home/ann".into(),
                shell: "/bin/bash".into()
            }
        );
        assert_eq!(passwd("ann:x:none:1001::/home/ann:/bin/sh"), None);
        assert_eq!(passwd(""), None);
    }

    #[test]
    fn a_call_is_shown_as_it_would_be_typed() {
        let call = HostCall::new(Path::new("/usr/bin/systemctl"), &["--user", "start", "a b.service"]);
        assert_eq!(call.to_string(), "systemctl --user start 'a b.service'");
    }

    #[test]
    fn a_complaint_is_the_last_line() {
        let said = |out: &str, err: &str| Said { ok: false, out: out.into(), err: err.into() };
        assert_eq!(said("a\nb\n", "").complaint(), "b");
        assert_eq!(said("a\n", "Failed\nto start\n\n").complaint(), "to start");
        assert_eq!(said("", "Job failed.\nSee \"journalctl -xe\" for details.\n").complaint(), "Job failed.");
        assert_eq!(said("", "").complaint(), "it says nothing about why");
    }
}
