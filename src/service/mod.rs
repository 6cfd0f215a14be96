//! Denizen as a service of systemd: started at boot, started again if it fails,
//! stopped in order. What is written is a unit, from `templates/`. Not here: the
//! daemon itself, which knows nothing of who started it.

mod host;
mod install;
mod lost;
mod manager;
mod status;
mod unit;

use std::path::PathBuf;

pub use host::{Here, HostCall, Said, SystemUser};
pub use install::{InstallEvent, InstallPlan, Linger, UnitBefore, Wish, installed_program, plan};
pub use lost::EnvironmentSecret;
pub use manager::{Manager, ServiceState, UNIT};
pub use status::{Installed, UninstallPlan, removal, status};
pub use unit::{ServeCommand, Start, Unwritable};

/// Whose service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The user's own.
    User,
    /// The machine's.
    System,
}

/// Why nothing was installed, removed or looked at.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no systemd.
    #[error("there is no systemd here: `systemctl` is not in PATH")]
    NoManager,
    /// systemd does not run this machine, as in most containers.
    #[error("systemd is installed, but it does not run this machine")]
    NotBooted,
    /// The user has no systemd of their own, or it cannot be reached from here.
    #[error("there is no systemd of your own to be reached: `systemctl --user` finds no bus")]
    NoUserManager,
    /// Only root may install for the machine.
    #[error("only root installs a service of the machine")]
    NotRoot,
    /// A program that is needed is not there.
    #[error("`{0}` is not in PATH")]
    Missing(&'static str),
    /// The manager does not say where it looks for files.
    #[error("the service manager does not say where its files are")]
    NoUnitDirectory,
    /// There is no such user.
    #[error("there is no user `{0}` on this machine")]
    NoSuchUser(String),
    /// A user was named for a service that runs as whoever installs it.
    #[error("a service of your own runs as you, not as `{0}`")]
    NotAs(String),
    /// The program would be gone soon.
    #[error("`{}` is {reason}", program.display())]
    Passing {
        /// The program.
        program: PathBuf,
        /// Why it will not stay.
        reason: &'static str,
    },
    /// A path or name that a unit cannot hold.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    /// A file of that name is there, and was not written by Denizen.
    #[error("`{}` was not written by Denizen, and is left as it is", .0.display())]
    Foreign(PathBuf),
    /// It is installed for another root.
    #[error("`{}` is for the root `{root}`", file.display())]
    OtherRoot {
        /// The unit.
        file: PathBuf,
        /// The root in it.
        root: String,
    },
    /// Both the user and the machine have one.
    #[error("there are two services, one of yours and one of the machine")]
    Two,
    /// Secrets that the service would not have.
    #[error("{}, which the service does not have", variables(sources))]
    Secrets {
        /// The secrets, at least one.
        sources: Vec<EnvironmentSecret>,
        /// The root, below which there is a place for them.
        root: PathBuf,
    },
    /// The program does not work as the service would run it.
    #[error("Denizen does not work as the service would run it: {complaint}")]
    Unusable {
        /// What it says.
        complaint: String,
    },
    /// The configuration is no TOML.
    #[error("`{}` cannot be read: {reason}", file.display())]
    Configuration {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A program could not be started.
    #[error("`{call}` could not be run")]
    Start {
        /// The call.
        call: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A step failed.
    #[error("`{call}` failed: {complaint}{}", if *undone { "; what was done before it was taken back" } else { "" })]
    Step {
        /// The call.
        call: String,
        /// What it printed last.
        complaint: String,
        /// Whether everything is as it was.
        undone: bool,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] crate::files::Error),
}

fn variables(sources: &[EnvironmentSecret]) -> String {
    let said = sources.iter().map(|source| {
        let EnvironmentSecret { key, variable } = source;
        format!("`{key}` comes from the environment variable {variable}")
    });
    said.collect::<Vec<_>>().join(", ")
}
