//! What a child may see and do, as a value.
//!
//! The room knows paths, and no session, provider or configuration: `turn::policy`
//! makes the value of those. It can be printed, and is handed to the launcher,
//! which puts it up before the provider starts: bubblewrap gives it a file
//! system of its own (`bubblewrap`), Landlock holds what it may open, write
//! and reach (`landlock`), seccomp which system calls it may make (`seccomp`).
//! Nothing here starts a process; what this machine can do is asked by
//! `process::probe`. `README.md` says what each part enforces, and in which order.

pub mod bubblewrap;
pub mod ground;
pub mod installation;
pub mod landlock;
pub mod limits;
pub mod mounts;
pub mod nest;
pub mod opened;
pub mod path_walk;
pub mod personal_git;
pub mod private;
pub mod seccomp;
pub mod support;
pub mod system;
pub mod trust;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::repository::{Granted, Over};

pub use ground::Ground;
pub use limits::{LimitExceeded, ResourceLimits};
pub use personal_git::PersonalGit;
pub use support::{Support, Unsupported};
pub use system::ClosedDirs;

/// What a child may see and do, and how much of the machine it may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The walls; `None` is everything that its user may: `walls = "off"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walls: Option<Walls>,
    /// How much it may use.
    #[serde(default)]
    pub limits: ResourceLimits,
    /// The directories that it may write and that are the person's.
    #[serde(skip)]
    pub granted: Vec<Granted>,
    /// What else of the person's has a say there.
    #[serde(skip)]
    pub person: PersonalGit,
    /// A rule that is left out, so that a test can see what it is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<Rule>,
}

/// The walls around one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// What holds them.
    pub level: Level,
    /// The version of Landlock's interface that the kernel has.
    pub landlock: u8,
    /// The session's folder and everything else that may be read and written.
    pub write: Vec<PathBuf>,
    /// What may be read, beside the system.
    pub read: Vec<PathBuf>,
    /// What lies below `write` and may only be read all the same. Only held at
    /// [`Level::Full`], and until Denizen itself replaces the file.
    pub keep: Vec<PathBuf>,
    /// What lies below `write` or `read` and is not seen. Only at [`Level::Full`].
    pub hide: Vec<PathBuf>,
    /// What of `/etc` is not seen: what only root may read, where root runs this.
    pub closed: Vec<PathBuf>,
    /// Symbolic links that lead to the program, each with where it points.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Its home directory.
    pub home: PathBuf,
    /// Its directory for temporary files; seen as `/tmp` at [`Level::Full`].
    pub temporary: PathBuf,
    /// The directory it starts in.
    pub working_dir: PathBuf,
    /// The PATH it has instead of its user's, where that would not lead to the
    /// same directories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<PathBuf>,
    /// What was opened to be mounted, and has to be found in its place inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<OpenedFile>,
    /// What it may reach over the network.
    pub network: EgressPolicy,
    /// What of the directories that were granted is mounted over itself, as was
    /// found when the child started. Only at [`Level::Full`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<Over>,
}

/// A file or directory that was opened, to be known again inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedFile {
    /// Where it is.
    pub path: PathBuf,
    /// The device it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Whether inside something else has to be in its place.
    pub is_covered: bool,
}

/// What holds the walls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Bubblewrap, with Landlock and seccomp inside.
    Full {
        /// The program `bwrap`.
        bubblewrap: PathBuf,
    },
    /// Landlock and seccomp alone.
    Kernel,
}

impl Level {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::Kernel => "kernel",
        }
    }
}

/// What a child may reach over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EgressPolicy {
    /// Everything.
    Open,
    /// TCP to these ports. What is no TCP stays open: names are looked up by UDP.
    Ports(Vec<u16>),
    /// Nothing, not even itself at [`Level::Kernel`].
    None,
}

/// One rule of the walls. What each is good for is shown by leaving it out:
/// `docs/security.md` names what then gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Bubblewrap: only what is named is mounted.
    Mounts,
    /// Bubblewrap: what is private is covered in what is mounted around it.
    Private,
    /// Bubblewrap: control files in the session's folder are mounted read-only.
    ControlFiles,
    /// Bubblewrap: what the person's own programs run from a granted directory is
    /// mounted read-only.
    Repositories,
    /// Bubblewrap: `/tmp` is the session's own.
    PrivateTmp,
    /// Bubblewrap: `/dev` and `/dev/shm` are its own.
    PrivateDev,
    /// Bubblewrap: process numbers of its own, and a `/proc` that shows only them.
    Pids,
    /// Bubblewrap: System V IPC and POSIX message queues of its own.
    Ipc,
    /// Bubblewrap: a host name of its own.
    Uts,
    /// Bubblewrap: no network at all, where that is configured.
    Net,
    /// No capability is left.
    Capabilities,
    /// No descriptor is inherited.
    Descriptors,
    /// The launcher: a session of its own, without the person's terminal.
    Session,
    /// Landlock: files are read only where it is allowed.
    Read,
    /// Landlock: files are written only where it is allowed.
    Write,
    /// Landlock: signals reach only its own processes.
    Signals,
    /// Landlock: abstract sockets of others are out of reach.
    AbstractSockets,
    /// Landlock: TCP only to the configured ports.
    Ports,
    /// Seccomp: no tracing, no reading of another process's memory or descriptors.
    Trace,
    /// Seccomp: no new user namespaces, and no entering of others.
    Namespaces,
    /// Seccomp: no mounting.
    Mounting,
    /// Seccomp: the kernel's keyrings are out of reach.
    Keyrings,
    /// Seccomp: no io_uring, which would pass the other rules by.
    IoUring,
    /// Seccomp: no BPF, performance events, userfaultfd, modules, clocks, reboot.
    Kernel,
    /// Seccomp: no opening of files by handle.
    Handles,
    /// Seccomp: limits and priorities of other processes stay as they are.
    Others,
    /// Seccomp: only local, IP and routing sockets.
    Families,
    /// Seccomp: of the kernel's own sockets, only that of routes.
    Netlink,
    /// Seccomp: over IP only TCP and UDP, where ports are limited.
    Protocols,
    /// Seccomp: no connection by sending, where ports are limited.
    FastOpen,
    /// Seccomp: no local sockets by name, where nothing else keeps those of others away.
    LocalSockets,
    /// Seccomp: no System V IPC, where it is shared.
    SystemV,
    /// Seccomp: nothing is typed into the terminal.
    Terminal,
    /// Seccomp: no system calls of another architecture.
    ForeignCalls,
}

impl Rule {
    /// All rules.
    pub const ALL: &[Self] = &[
        Self::Mounts,
        Self::Private,
        Self::ControlFiles,
        Self::Repositories,
        Self::PrivateTmp,
        Self::PrivateDev,
        Self::Pids,
        Self::Ipc,
        Self::Uts,
        Self::Net,
        Self::Capabilities,
        Self::Descriptors,
        Self::Session,
        Self::Read,
        Self::Write,
        Self::Signals,
        Self::AbstractSockets,
        Self::Ports,
        Self::Trace,
        Self::Namespaces,
        Self::Mounting,
        Self::Keyrings,
        Self::IoUring,
        Self::Kernel,
        Self::Handles,
        Self::Others,
        Self::Families,
        Self::Netlink,
        Self::Protocols,
        Self::FastOpen,
        Self::LocalSockets,
        Self::SystemV,
        Self::Terminal,
        Self::ForeignCalls,
    ];
}

impl Policy {
    /// No walls, only limits.
    #[must_use]
    pub fn open(limits: ResourceLimits) -> Self {
        Self { walls: None, limits, granted: Vec::new(), person: PersonalGit::default(), without: None }
    }

    /// Whether a rule is in force.
    #[must_use]
    pub fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// The same without one rule. For tests of the rules.
    #[must_use]
    pub fn without(mut self, rule: Rule) -> Self {
        self.without = Some(rule);
        self
    }

    /// The environment variables that a child has instead of its user's.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, &Path)> {
        let Some(walls) = &self.walls else { return Vec::new() };
        let temporary = walls.temporary_inside(self);
        let mut variables =
            vec![("HOME", walls.home.as_path()), ("TMPDIR", temporary), ("CLAUDE_CODE_TMPDIR", temporary)];
        variables.extend(walls.search.as_deref().map(|search| ("PATH", search)));
        variables
    }

    /// As one word, for another process of ours.
    #[must_use]
    pub fn to_word(&self) -> String {
        // Serialising plain data into memory cannot fail; what cannot be read
        // back is refused by the launcher.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads it back.
    #[must_use]
    pub fn from_word(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Walls {
    /// Where the child finds its directory for temporary files.
    fn temporary_inside(&self, confinement: &Policy) -> &Path {
        match self.level {
            Level::Full { .. } if confinement.has(Rule::PrivateTmp) => Path::new("/tmp"),
            _ => &self.temporary,
        }
    }

    /// Whether Landlock keeps abstract sockets and signals of others away; it
    /// can from version 6 of its interface on (Linux 6.12).
    #[must_use]
    pub fn has_scopes(&self) -> bool {
        self.landlock >= 6
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.walls {
            None => f.write_str("off"),
            Some(walls) => f.write_str(walls.level.name()),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{EgressPolicy, Level, Walls};

    /// Walls of a session `a` below `/r`.
    pub(crate) fn walls() -> Walls {
        Walls {
            level: Level::Full { bubblewrap: "/usr/bin/bwrap".into() },
            landlock: 6,
            write: vec!["/r/state/homes/a".into(), "/r/sessions/a".into(), "/h".into()],
            read: vec!["/h/tool".into()],
            keep: vec!["/r/sessions/a/session.json".into()],
            hide: vec!["/r".into()],
            closed: Vec::new(),
            links: Vec::new(),
            home: "/r/state/homes/a/.home".into(),
            temporary: "/r/state/homes/a/.tmp".into(),
            working_dir: "/r/sessions/a".into(),
            search: None,
            seen: Vec::new(),
            network: EgressPolicy::Open,
            protect: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_survives_being_handed_over() {
        let walls = Walls {
            level: Level::Full { bubblewrap: "/usr/bin/bwrap".into() },
            landlock: 7,
            write: vec!["/r/sessions/a".into()],
            read: vec!["/opt/x".into()],
            keep: vec!["/r/sessions/a/session.json".into()],
            hide: Vec::new(),
            closed: vec!["/etc/shadow".into()],
            links: vec![("/h/bin/x".into(), "../x".into())],
            home: "/r/state/homes/a/.home".into(),
            temporary: "/r/state/homes/a/.tmp".into(),
            working_dir: "/r/sessions/a".into(),
            search: None,
            seen: vec![OpenedFile { path: "/opt/x".into(), device: 1, inode: 2, is_covered: false }],
            network: EgressPolicy::Ports(vec![443]),
            protect: vec![Over { path: "/g/.git".into(), write: true, device: 1, inode: 2 }],
        };
        let confinement = Policy { walls: Some(walls), ..Policy::open(ResourceLimits::default()) };
        for confinement in [confinement.clone(), confinement.without(Rule::Pids), Policy::default()] {
            assert_eq!(Policy::from_word(&confinement.to_word()), Some(confinement));
        }
        assert_eq!(Policy::from_word("off"), None);
    }

    #[test]
    fn the_page_for_auditors_names_every_rule_once_and_no_other() {
        let names = |rule: &Rule| serde_json::to_string(rule).expect("a name").trim_matches('"').to_owned();
        let page = include_str!("README.md");
        let table = page.split("| rule | by | holds |").nth(1).and_then(|rest| rest.split("\n\n").next());
        let rows = table.expect("the table").lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
        assert_eq!(rows.collect::<Vec<_>>(), Rule::ALL.iter().map(names).collect::<Vec<_>>());
    }

    #[test]
    fn every_rule_is_listed_once() {
        let names: std::collections::BTreeSet<_> =
            Rule::ALL.iter().map(|rule| serde_json::to_string(rule).expect("a name")).collect();
        assert_eq!(names.len(), Rule::ALL.len());
        assert_eq!(Rule::ALL.last(), Some(&Rule::ForeignCalls));
        assert_eq!(Rule::ALL.len(), Rule::ForeignCalls as usize + 1);
    }
}
