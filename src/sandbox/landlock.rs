//! What a child may open, write and reach: Landlock.
//!
//! At [`Level::Full`] its file system holds only what it may see, so Landlock
//! holds what it may write, and apart its signals and abstract sockets. At
//! [`Level::Kernel`] it holds everything. Never best effort: a right that the
//! kernel's version knows and refuses is an error. Rights and versions:
//! landlock(7), Documentation/userspace-api/landlock.rst of Linux 6.18.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};

use super::opened::{self, OpenError};
use super::{EgressPolicy, Level, Policy, Rule, Walls, system};

/// Why the rules are not in force.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// The kernel does not take them.
    #[error("Landlock refused the rules: {0}")]
    Refused(#[from] RulesetError),
    /// A path of the rules is not as it was worked out.
    #[error(transparent)]
    Opened(#[from] OpenError),
    /// A path of the rules cannot be opened.
    #[error("`{}` cannot be opened for Landlock's rules", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

/// The version of Landlock's interface that this kernel has; 0 is none.
#[must_use]
pub fn version() -> u8 {
    let versions = [(7, ABI::V7), (6, ABI::V6), (5, ABI::V5), (4, ABI::V4), (3, ABI::V3), (2, ABI::V2), (1, ABI::V1)];
    let has = |abi: ABI| {
        // Version 7 adds no right, only what is written to the audit log.
        handle(abi, true, true, true).and_then(Ruleset::create).is_ok()
    };
    versions.into_iter().find(|(_, abi)| has(*abi)).map_or(0, |(version, _)| version.min(6))
}

fn abi(version: u8) -> ABI {
    match version {
        0 | 1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        _ => ABI::V6,
    }
}

fn handle(abi: ABI, files: bool, ports: bool, scopes: bool) -> Result<Ruleset, RulesetError> {
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if files {
        ruleset = ruleset.handle_access(AccessFs::from_all(abi))?;
    }
    if ports && abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    if scopes && abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    }
    Ok(ruleset)
}

/// Puts the rules in force for this thread and everything that it starts.
///
/// # Errors
/// If the kernel does not take them whole, or a path is not there.
pub fn apply(confinement: &Policy, walls: &Walls) -> Result<(), LandlockError> {
    let abi = abi(walls.landlock);
    let has = |rule| confinement.has(rule);
    let reading = AccessFs::from_read(abi);
    let writing = AccessFs::from_write(abi);
    let mut handled = BitFlags::<AccessFs>::empty();
    if has(Rule::Read) {
        handled |= reading;
    }
    if has(Rule::Write) {
        handled |= writing;
    }
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if !handled.is_empty() {
        ruleset = ruleset.handle_access(handled)?;
    }
    // A network of its own is empty at `Full`, and has no sockets at `Kernel`.
    let ports = match &walls.network {
        EgressPolicy::Ports(ports) if has(Rule::Ports) => Some(ports),
        _ => None,
    };
    if ports.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    if abi >= ABI::V6 {
        if has(Rule::AbstractSockets) {
            ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
        }
        if has(Rule::Signals) {
            ruleset = ruleset.scope(Scope::Signal)?;
        }
    }
    let mut rules = RulesetDraft { created: ruleset.create()?, handled };
    for (path, access) in system_rules(walls, reading, reading | writing) {
        match rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            // What is not there needs no rule: the system's paths differ.
            Err(Errno::NOENT) => {}
            opened => {
                let opened =
                    opened.map_err(|errno| LandlockError::Path { path: path.clone(), source: errno.into() })?;
                rules.allow(&path, opened, access)?;
            }
        }
    }
    for (path, access) in own_rules(walls, reading, reading | writing) {
        match opened::open(path, OFlags::CLOEXEC) {
            Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            opened => rules.allow(path, opened?, access)?,
        }
    }
    let mut created = rules.created;
    for port in ports.into_iter().flatten() {
        created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    created.restrict_self()?;
    Ok(())
}

/// What is allowed of the system, with its rights. Links of it are followed.
fn system_rules(
    walls: &Walls,
    read: BitFlags<AccessFs>,
    all: BitFlags<AccessFs>,
) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    let mut allowed = Vec::new();
    match walls.level {
        Level::Full { .. } => {
            allowed.push((PathBuf::from("/"), read));
            // A built-in provider is this program, which lies outside of all that.
            allowed.push((PathBuf::from("/proc/self/exe"), read));
            for own in ["/tmp", "/var/tmp", "/dev"] {
                allowed.push((own.into(), all));
            }
        }
        Level::Kernel => {
            allowed.extend(system::directories(&walls.closed).into_iter().map(|path| (path, read)));
            allowed.push(("/proc".into(), read));
            allowed.push((PathBuf::from("/proc/self/exe"), read));
            for device in system::DEVICES {
                allowed.push(((*device).into(), all));
            }
        }
    }
    allowed.extend(own_terminal().map(|path| (path, all)));
    allowed
}

/// The terminal that the child has by its standard streams, which lead to it by
/// `/dev/stdin` and the like: what it may write it may open.
fn own_terminal() -> impl Iterator<Item = PathBuf> {
    let streams = [stdin(), stdout(), stderr()].into_iter().enumerate();
    let terminals = streams.filter(|(_, stream)| rustix::termios::isatty(stream));
    terminals.map(|(number, _)| PathBuf::from(format!("/proc/self/fd/{number}")))
}

/// What is allowed of the rest. Its paths lead through no link, or another session
/// has put one there.
fn own_rules(
    walls: &Walls,
    read: BitFlags<AccessFs>,
    all: BitFlags<AccessFs>,
) -> impl Iterator<Item = (&Path, BitFlags<AccessFs>)> {
    let reads = walls.read.iter().filter(|_| walls.level == Level::Kernel).map(move |path| (path.as_path(), read));
    reads.chain(walls.write.iter().map(move |path| (path.as_path(), all)))
}

/// The rules while they are made.
struct RulesetDraft {
    created: RulesetCreated,
    handled: BitFlags<AccessFs>,
}

impl RulesetDraft {
    fn allow(&mut self, path: &Path, opened: OwnedFd, access: BitFlags<AccessFs>) -> Result<(), LandlockError> {
        let failed = |error: Errno| LandlockError::Path { path: path.to_owned(), source: error.into() };
        let mut access = access & self.handled;
        if !FileType::from_raw_mode(rustix::fs::fstat(&opened).map_err(failed)?.st_mode).is_dir() {
            access &= AccessFs::from_file(ABI::V6);
        }
        if !access.is_empty() {
            (&mut self.created).add_rule(PathBeneath::new(opened, access))?;
        }
        Ok(())
    }
}
