//! Programs that run outside the walls: bubblewrap, the commands that print
//! secrets, service managers. Each is taken by the rule of `sandbox::trust`,
//! every time again, and what was opened is what is run. Not here: what a session
//! runs, which [`super::spawn`] starts.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::fs::OFlags;

use super::SpawnError;
use crate::config::Environment;
use crate::sandbox::trust::{self, Distrust};
use crate::sandbox::{Ground, opened};

/// A program that may run outside the walls, open.
#[derive(Debug)]
pub struct OutsideProgram {
    /// As it was named, which is what it is told that it is called.
    name: PathBuf,
    /// Where it really lies.
    real: PathBuf,
    file: OwnedFd,
}

/// Why there is no such program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// There is none of that name.
    Missing,
    /// There is one that must not be used, and no other.
    Distrusted {
        /// The first that was found.
        program: PathBuf,
        /// What is wrong with it.
        reason: Distrust,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is not in PATH"),
            Self::Distrusted { program, reason } => write!(f, "`{}` is not used: {reason}", program.display()),
        }
    }
}

impl OutsideProgram {
    /// The program at a path.
    ///
    /// # Errors
    /// With why it must not be used.
    pub fn at(path: &Path, ground: &Ground<'_>) -> Result<Self, Distrust> {
        Self::opened(path, &trust::program(path, ground)?)
    }

    /// A program whose path was taken by the rule a moment ago, by this program
    /// or the one that started it.
    ///
    /// # Errors
    /// If something else is there now.
    pub fn taken(real: &Path) -> Result<Self, Distrust> {
        Self::opened(real, real)
    }

    fn opened(name: &Path, real: &Path) -> Result<Self, Distrust> {
        let nowhere = |error: &dyn fmt::Display| Distrust::Nowhere(error.to_string());
        let file = opened::open(real, OFlags::CLOEXEC).map_err(|error| nowhere(&error))?;
        let found =
            std::fs::metadata(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|error| nowhere(&error))?;
        if !found.is_file() {
            return Err(Distrust::NotProgram);
        }
        trust::check(real, &found)?;
        Ok(Self { name: name.to_owned(), real: real.to_owned(), file })
    }

    /// The first program of this name in some directories that may be used.
    ///
    /// # Errors
    /// If there is none.
    pub fn among(
        directories: impl Iterator<Item = PathBuf>,
        name: &str,
        ground: &Ground<'_>,
    ) -> Result<Self, Unusable> {
        let mut refused = None;
        for program in directories.filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)) {
            match Self::at(&program, ground) {
                Ok(found) => return Ok(found),
                Err(reason) if program.is_file() => {
                    refused.get_or_insert(Unusable::Distrusted { program, reason });
                }
                Err(_) => {}
            }
        }
        Err(refused.unwrap_or(Unusable::Missing))
    }

    /// The program that a command names: a path, or a name in PATH.
    ///
    /// # Errors
    /// If there is none that may be used.
    pub fn named(name: &str, environment: &Environment, ground: &Ground<'_>) -> Result<Self, Unusable> {
        if name.contains('/') {
            let program = PathBuf::from(name);
            return match Self::at(&program, ground) {
                Err(_) if !program.exists() => Err(Unusable::Missing),
                found => found.map_err(|reason| Unusable::Distrusted { program, reason }),
            };
        }
        let path = environment.get_os("PATH").unwrap_or_default();
        Self::among(std::env::split_paths(path), name, ground)
    }

    /// As it was found.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Where it really lies.
    #[must_use]
    pub fn real(&self) -> &Path {
        &self.real
    }

    /// The file that is run. A script is run by its path, on which nothing can
    /// have been changed: it finds what belongs to it by the name it is given.
    #[expect(clippy::disallowed_methods, reason = "the one place that starts programs outside sessions")]
    #[must_use]
    pub fn command(&self) -> Command {
        let mut start = [0; 2];
        let is_script =
            std::fs::File::open(&self.real).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"#!";
        if is_script {
            return Command::new(&self.real);
        }
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.arg0(&self.name);
        command
    }
}

impl OutsideProgram {
    /// Runs it for the person, with their terminal and environment, and waits for
    /// its end. Blocks the thread.
    ///
    /// # Errors
    /// If it cannot be started.
    #[expect(clippy::disallowed_methods, reason = "a program of the person's own, which belongs to no session")]
    pub fn run_by_hand(
        &self,
        args: &[&str],
        environment: &Environment,
        home: Option<&Path>,
    ) -> Result<ExitStatus, SpawnError> {
        let mut command = self.command();
        command.args(args).env_clear().envs(environment.iter()).current_dir(home.unwrap_or(Path::new("/")));
        command.status().map_err(|source| SpawnError::Launcher { program: self.name.clone(), source })
    }
}

/// The environment of a program that runs outside the walls: with a PATH that
/// leads only to directories that are taken by the rule, as it may start others.
#[must_use]
pub fn environment(of: &Environment, ground: &Ground<'_>) -> Environment {
    let mut environment = of.clone();
    let path = of.get_os("PATH").unwrap_or_else(|| OsStr::new(""));
    let dirs = std::env::split_paths(path).filter_map(|dir| trust::directory(&dir, ground).ok());
    environment.set("PATH", std::env::join_paths(dirs).unwrap_or_else(|_| OsString::new()));
    environment
}
