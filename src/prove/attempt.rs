//! What an attempt is, what it is told, and what can come of it. Not here: the
//! attempts themselves, which are in `table` and the files that it names.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One attempt, with what has to come of it.
pub struct Attempt {
    /// Its number, which it keeps forever.
    pub number: u16,
    /// What it is aimed at.
    pub group: AttemptGroup,
    /// What is tried, in a few words.
    pub name: &'static str,
    /// What has to come of it with `walls = "full"`.
    pub full: Expected,
    /// With `walls = "kernel"`.
    pub kernel: Expected,
    /// With `walls = "off"`.
    pub off: Expected,
    /// Why even a plain process may fail at it, where it may.
    pub unless: Option<&'static str>,
    pub(super) over: Option<NeededNetwork>,
    pub(super) make: fn(&Scene) -> Tried,
}

/// The network that an attempt needs, where it needs one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NeededNetwork {
    Tcp,
    Udp,
    Netlink,
}

/// What attempts are aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttemptGroup {
    /// The files of another session.
    SiblingFiles,
    /// The processes of another session.
    SiblingProcesses,
    /// The processes of Denizen.
    DaemonProcesses,
    /// Sockets, shared memory and places that all processes share.
    Shared,
    /// The kernel, and what holds the walls up.
    Kernel,
    /// The session's own folder. It is the agent's: what counts is that nothing
    /// outside acts on what is in it.
    Own,
    /// The rest of Denizen's root.
    Root,
    /// The person's own files and terminals.
    Person,
    /// Services of the machine and of the person's desktop.
    Services,
    /// What has to work, or the walls keep the agent from its work.
    Needed,
}

impl AttemptGroup {
    /// What an attempt of this group would reach.
    #[must_use]
    pub fn reaches(self) -> &'static str {
        match self {
            Self::SiblingFiles => "the files of another session",
            Self::SiblingProcesses => "the processes of another session",
            Self::DaemonProcesses => "the processes of Denizen",
            Self::Shared => "sockets and memory of another session or of Denizen",
            Self::Kernel => "the kernel, and what holds the walls up",
            Self::Own => "the session's own folder, and what acts on it later",
            Self::Root => "what Denizen keeps",
            Self::Person => "the person's own files and terminals",
            Self::Services => "services of the machine and the desktop",
            Self::Needed => "what an agent needs",
        }
    }
}

/// What has to come of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It succeeds.
    Through,
    /// Something stops it.
    Stopped(Prevention),
}

/// What stops an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prevention {
    /// It sees only what is mounted for it.
    Mounts,
    /// It sees only its own processes.
    Pids,
    /// System V objects and message queues of its own.
    Ipc,
    /// It sees another name of the machine.
    Name,
    /// It has no rights over the kernel, and cannot get any.
    Rights,
    /// Landlock: rights on files.
    Landlock,
    /// Landlock: signals and abstract sockets stay among its own.
    Scopes,
    /// The kernel refuses the system call.
    Seccomp,
    /// The configured network.
    Network,
    /// The launcher, which every child has.
    Launcher,
    /// Denizen does not act on it.
    Denizen,
}

impl Prevention {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Mounts => "own mounts",
            Self::Pids => "own processes",
            Self::Ipc => "own IPC",
            Self::Name => "own host name",
            Self::Rights => "no rights over the kernel",
            Self::Landlock => "Landlock",
            Self::Scopes => "Landlock's scopes",
            Self::Seccomp => "seccomp",
            Self::Network => "`network`",
            Self::Launcher => "launcher",
            Self::Denizen => "Denizen does not act on it",
        }
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.name)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Through => f.write_str("through"),
            Self::Stopped(by) => write!(f, "stopped: {}", by.words()),
        }
    }
}

/// What came of an attempt: how it got through, or what stopped it.
pub(super) type Tried = io::Result<Got>;

/// How an attempt got through.
#[derive(Debug)]
pub(super) enum Got {
    /// By its own word.
    Through(String),
    /// If this file is seen outside.
    Left(PathBuf),
}

pub(super) fn through(how: impl Into<String>) -> Tried {
    Ok(Got::Through(how.into()))
}

pub(super) fn stopped(how: impl Into<String>) -> io::Error {
    io::Error::other(how.into())
}

/// What the adversary prints of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptLine {
    /// The attempt's number.
    pub n: u16,
    /// Whether it got through.
    pub through: bool,
    /// How, or what stopped it.
    pub how: String,
    /// Whether it could not be made at all.
    #[serde(default)]
    pub untried: bool,
    /// A file that was left, which has to be seen outside where it got through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<PathBuf>,
}

/// Everything that the adversary is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Scene {
    /// A word that nothing else on the machine has.
    pub(super) token: String,
    /// Denizen's root, as the daemon has it.
    pub(super) root: PathBuf,
    /// The adversary's own folder.
    pub(super) own: PathBuf,
    /// The folder of the other session.
    pub(super) beside: PathBuf,
    /// The person's home.
    pub(super) home: PathBuf,
    /// A directory of the person's that nobody was granted.
    pub(super) outside: PathBuf,
    /// The root of whoever proves.
    pub(super) real_root: PathBuf,
    /// The home of whoever proves, with a name in it, if there is one to be
    /// looked for.
    pub(super) real_home: Option<(PathBuf, String)>,
    /// A private directory in one that is shared, where that can be.
    pub(super) lent: PathBuf,
    /// The other session.
    pub(super) sibling: Party,
    /// What stands in for the daemon.
    pub(super) daemon: Party,
    /// A descriptor to a file of the other session, inherited where nothing
    /// closes it.
    pub(super) leaked: i32,
    /// The kernel's handle of a file of the other session, and its type.
    pub(super) handle: Option<(i32, Vec<u8>)>,
    /// Where sockets of services are, by name.
    pub(super) services: BTreeMap<String, PathBuf>,
    /// The name of the machine.
    pub(super) host: String,
    /// The directory of the program itself.
    pub(super) program_dir: PathBuf,
    /// A terminal of the person's, into which Denizen's secret was typed.
    pub(super) terminal: PathBuf,
}

/// A process that the adversary would reach, as it is seen from outside.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Party {
    /// What must not get out.
    pub(super) secret: String,
    /// The process.
    pub(super) pid: i32,
    /// A descriptor that is open in it, to a file with the secret.
    pub(super) fd: i32,
    /// Where in its memory the secret is.
    pub(super) address: u64,
    /// The file with the secret, below its working directory.
    pub(super) file: PathBuf,
    /// Its working directory.
    pub(super) dir: PathBuf,
    /// Its socket, below its working directory.
    pub(super) socket: PathBuf,
    /// Its abstract socket.
    pub(super) name: String,
    /// Its TCP port on 127.0.0.1.
    pub(super) tcp: u16,
    /// Its UDP port there.
    pub(super) udp: u16,
    /// Its file in `/tmp`.
    pub(super) tmp: PathBuf,
    /// Its file in `/dev/shm`.
    pub(super) shm: PathBuf,
    /// The key of its System V shared memory, message queue and semaphore.
    pub(super) key: i32,
}

/// What the main thread of a party is named, so that another process that has
/// its number in another namespace is not taken for it.
pub(super) const PARTY: &str = "denizen-canary";

/// How the names of files begin that are planted in the real root and home.
pub(super) const PLANTED: &str = ".denizen-prove-";

/// The file in the adversary's folder that tells it what to reach.
pub(super) const SCENE: &str = "scene.json";
