//! The stage of a proof: a root with two sessions, a home with secrets, and a
//! process in the daemon's place, all thrown away afterwards.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::io::FdFlags;
use uuid::Uuid;

use super::attempt::{PARTY, PLANTED, Party, SCENE, Scene};
use super::{files, granted, kernel, own, sockets, terminals};
use crate::config::{Access, Environment, Share};
use crate::files::{Durability, Lock, make_private_dir};
use crate::key::Key;
use crate::process::SpawnError;
use crate::session::{Claim, ClaimError, NewSession, SessionError, Store, WorkspaceGuard};
use crate::turn::Setup;
use crate::turn::TurnError;

/// The session of the adversary.
const OWN: &str = "adversary";

/// The session beside it.
const BESIDE: &str = "beside";

/// The file with the secret, in each party's directory.
const SECRET_FILE: &str = "memory/MEMORY.md";

/// Why nothing was proved.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Another proof has the stage.
    #[error("another proof is running in this root")]
    Running,
    /// The stage could not be built.
    #[error("the stage of the proof could not be built")]
    Stage(#[source] io::Error),
    /// A process of the proof said nothing of use.
    #[error("the {who} of the proof did not say where it is: {reason}")]
    Silent {
        /// Which process.
        who: &'static str,
        /// What it said instead.
        reason: String,
    },
    /// The adversary did not come to the end.
    #[error("the adversary ended after attempt {after}: {outcome}")]
    Ended {
        /// The last attempt that it told of.
        after: u16,
        /// How it ended.
        outcome: String,
    },
    /// A file of the stage could not be made.
    #[error(transparent)]
    File(#[from] crate::files::Error),
    /// A session of the stage is not as it should be.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A session of the stage could not be claimed.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A child could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// There are no walls.
    #[error(transparent)]
    Turn(#[from] TurnError),
}

/// Everything that a proof needs. It is removed when this is dropped.
pub(super) struct ProofStage {
    dir: PathBuf,
    pub(super) scene: Scene,
    pub(super) own: WorkspaceGuard,
    pub(super) beside: WorkspaceGuard,
    /// How turns are run on it: with a home of its own, and a token among the
    /// variables.
    pub(super) setup: Setup,
    /// Processes that nothing confines: the one in the daemon's place, and one that
    /// listens for the other session where that may not.
    outside: Vec<Child>,
    leaked: File,
    claude_tmp: Option<PathBuf>,
    /// What is typed into the person's terminal, and the terminal.
    _terminal: (OwnedFd, OwnedFd),
    /// Whoever has it proves; another waits.
    _lock: Lock,
}

impl ProofStage {
    /// Builds the stage in a directory of `store`'s root. What is private there, in
    /// the real root and home, is tried too; `shares`: also in a directory that is
    /// shared, which only `full` can.
    pub(super) async fn build(store: &Store, setup: &Setup, shares: bool) -> Result<Self, ProofError> {
        let base = store.state_path("prove");
        make_private_dir(&base, Durability::Process)?;
        let lock = Lock::try_take(&base.join("lock"))?.ok_or(ProofError::Running)?;
        let home = setup.home.as_ref().and_then(|home| std::fs::canonicalize(home).ok());
        let real_home = home.filter(|home| home.parent().is_some());
        forget_earlier(&base, real_home.as_deref());
        let token = Uuid::new_v4().simple().to_string();
        let dir = base.join(&token);
        let (root, home, outside) = (dir.join("root"), dir.join("home"), dir.join("outside"));
        let lent = dir.join("lent/private");
        for dir in [&root, &home, &outside, &lent, &store.sessions_path()] {
            make_private_dir(dir, Durability::Process)?;
        }
        let inner = Arc::new(Store::at(&root, Durability::Process));
        let own = session(&inner, OWN).await?;
        let beside = session(&inner, BESIDE).await?;
        let party = |name: &str| {
            let secret = format!("secret-{name}-{}", Uuid::new_v4().simple());
            let tmp = Path::new("/tmp").join(format!("{token}-{name}"));
            let shm = Path::new("/dev/shm").join(format!("{token}-{name}"));
            // Positive, and not that of another.
            let key = i32::from_le_bytes([
                Uuid::new_v4().as_bytes()[0],
                Uuid::new_v4().as_bytes()[1],
                Uuid::new_v4().as_bytes()[2],
                0x3d,
            ]);
            Party { secret, tmp, shm, key, ..Party::default() }
        };
        let program = std::fs::canonicalize(&setup.launcher).unwrap_or_else(|_| setup.launcher.clone());
        let daemon = party("denizen");
        let (keys, terminal, terminal_path) =
            terminals::stand_in(&daemon.secret).map_err(|errno| ProofError::Stage(errno.into()))?;
        let mut environment = setup.environment.clone();
        environment.set("HOME", &home);
        environment.set(own::TOKEN, &token);
        let mut config = setup.config.clone();
        let (sessions, path) = (vec![OWN.to_owned()], dir.join(granted::NAME));
        config.shares.push(Share { sessions, path, mode: Access::Write, protect: None });
        if shares {
            let (sessions, path) = (vec![OWN.to_owned()], dir.join("lent"));
            config.shares.push(Share { sessions, path, mode: Access::Read, protect: None });
        }
        let mut private = vec![store.root().to_owned(), lent.clone()];
        private.extend(real_home.clone());
        let mut stage = Self {
            scene: Scene {
                root,
                own: own.path().to_owned(),
                beside: beside.path().to_owned(),
                outside,
                real_root: store.root().to_owned(),
                real_home: real_home.map(|home| (home, String::new())),
                lent,
                sibling: party("beside"),
                daemon,
                leaked: 0,
                handle: None,
                services: services(&setup.environment),
                host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                program_dir: program.parent().unwrap_or(Path::new("/")).to_owned(),
                home: home.clone(),
                terminal: terminal_path,
                token,
            },
            // Walls that cannot be had are no proof.
            setup: Setup { config, environment, home: Some(home), private, unattended: true, ..setup.clone() },
            leaked: File::open("/dev/null").map_err(ProofError::Stage)?,
            own,
            beside,
            outside: Vec::new(),
            claude_tmp: None,
            _terminal: (keys, terminal),
            _lock: lock,
            dir,
        };
        stage.plant().map_err(ProofError::Stage)?;
        stage.start_daemon().map_err(ProofError::Stage)?;
        Ok(stage)
    }

    /// Puts secrets wherever the adversary will look.
    fn plant(&mut self) -> io::Result<()> {
        let Scene { root, beside, home, outside, sibling, daemon, token, .. } = self.scene.clone();
        put(&beside.join(SECRET_FILE), &sibling.secret)?;
        for number in files::VICTIMS {
            put(&beside.join("files").join(number.to_string()), &sibling.secret)?;
        }
        for (path, secret) in [
            ("state/homes/beside/claude/history", &sibling.secret),
            ("state/homes/beside/codex/log", &sibling.secret),
            ("state/queue/beside/message", &sibling.secret),
            ("state/conflicts/aside", &sibling.secret),
            ("state/control/other", &sibling.secret),
            ("state/locks/other", &sibling.secret),
            ("trash/removed/MEMORY.md", &sibling.secret),
            ("access/token", &daemon.secret),
            ("access/sessions/other", &daemon.secret),
            ("logs/log", &daemon.secret),
            ("memory/MEMORY.md", &daemon.secret),
        ] {
            put(&root.join(path), secret)?;
        }
        put(&self.dir.join(PLANTED), &daemon.secret)?;
        put(&self.scene.lent.join("secret"), &daemon.secret)?;
        self.scene.real_home = self.scene.real_home.take().and_then(|(home, _)| {
            let name = format!("{PLANTED}{token}");
            // If nothing can be written, a name that is there is looked for.
            let any = || Some(std::fs::read_dir(&home).ok()?.flatten().next()?.file_name().to_str()?.to_owned());
            let name = put(&home.join(&name), &daemon.secret).map_or_else(|_| any(), |()| Some(name))?;
            Some((home, name))
        });
        put(&root.join("denizen.toml"), &format!("# {}\n", daemon.secret))?;
        put(&home.join(".ssh/id_ed25519"), &daemon.secret)?;
        put(&home.join(".claude/.credentials.json"), &daemon.secret)?;
        put(&home.join(".bashrc"), "# the person's\n")?;
        put(&outside.join("repository/.git/config"), &format!("# {}\n", daemon.secret))?;
        put(&outside.join("repository/.git/hooks/sample"), "")?;
        for (path, content) in granted::FILES {
            put(&self.dir.join(granted::NAME).join(path), content)?;
        }
        for party in [&sibling, &daemon] {
            put(&party.tmp, &party.secret)?;
            put(&party.shm, &party.secret)?;
        }
        let claude = PathBuf::from(format!("/tmp/claude-{}", rustix::process::getuid().as_raw()));
        if put(&claude.join(token), &daemon.secret).is_ok() {
            self.claude_tmp = Some(claude);
        }
        self.scene.handle = kernel::handle_of(&beside.join(SECRET_FILE), &self.dir).ok();
        self.leaked = File::open(beside.join(SECRET_FILE))?;
        rustix::io::fcntl_setfd(&self.leaked, FdFlags::empty())?;
        self.scene.leaked = self.leaked.as_raw_fd();
        Ok(())
    }

    /// The process in the daemon's place, as little confined as the daemon.
    fn start_daemon(&mut self) -> io::Result<()> {
        let Scene { token, daemon, root, .. } = self.scene.clone();
        let (pid, line) = self.start_party(&token, &daemon.secret, &root)?;
        self.scene.daemon = self.met(&daemon, &line, pid)?;
        sockets::plant(&self.dir, &self.scene.daemon, Some(&token));
        Ok(())
    }

    /// Starts a party that nothing confines; gives its number and what it said.
    #[expect(clippy::disallowed_methods, reason = "the process in the daemon's place is no child of a session")]
    fn start_party(&mut self, token: &str, secret: &str, dir: &Path) -> io::Result<(i32, String)> {
        let mut command = Command::new(&self.setup.launcher);
        command.args(["__adversary", "party", "with-input", token, secret, SECRET_FILE]);
        command.current_dir(dir).env("DENIZEN_CANARY", secret);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let said = child.stdout.take().map(BufReader::new);
        let pid = child.id().cast_signed();
        self.outside.push(child);
        let mut line = String::new();
        if let Some(mut said) = said {
            said.read_line(&mut line)?;
        }
        Ok((pid, line))
    }

    /// What a party said of itself, beside what the stage gave it. Its number is
    /// another where it has processes of its own.
    fn met(&self, planned: &Party, line: &str, pid: i32) -> io::Result<Party> {
        let said: Party = serde_json::from_str(line)?;
        let Party { tmp, shm, key, .. } = planned.clone();
        Ok(Party { tmp, shm, key, pid, ..said })
    }

    /// The arguments of the other session's process.
    pub(super) fn sibling_args(&self) -> Vec<String> {
        let (name, secret) = (self.sibling_name(), &self.scene.sibling.secret);
        ["__adversary", "party", "for-ever", &name, secret, SECRET_FILE].map(str::to_owned).to_vec()
    }

    fn sibling_name(&self) -> String {
        format!("{}-beside", self.scene.token)
    }

    /// Takes in what the other session's process said of itself, then tells the
    /// adversary everything.
    pub(super) fn meet_sibling(&mut self, line: &str) -> io::Result<()> {
        let pid = find_party(&self.scene.sibling.secret).ok_or_else(|| io::Error::other("it is not seen in /proc"))?;
        let mut sibling = self.met(&self.scene.sibling, line, pid)?;
        // As it is seen from outside.
        sibling.dir.clone_from(&self.scene.beside);
        if sibling.socket.as_os_str().is_empty() {
            let (_, line) = self.start_party(&self.sibling_name(), &sibling.secret, &sibling.dir)?;
            let outside: Party = serde_json::from_str(&line)?;
            (sibling.socket, sibling.name) = (outside.socket, outside.name);
        }
        self.scene.sibling = sibling;
        sockets::plant(&self.dir, &self.scene.sibling, None);
        let server = self.scene.root.join("state/homes/beside/codex/server");
        std::os::unix::fs::symlink(self.scene.beside.join(&self.scene.sibling.socket), server)?;
        put(&self.scene.own.join(SCENE), &serde_json::to_string(&self.scene)?)
    }
}

impl Drop for ProofStage {
    fn drop(&mut self) {
        for mut process in self.outside.drain(..) {
            let _ended = process.kill();
            let _collected = process.wait();
        }
        for party in [&self.scene.sibling, &self.scene.daemon] {
            sockets::remove(&self.dir, party, Some(&self.scene.token));
            for file in [&party.tmp, &party.shm] {
                let _removed = std::fs::remove_file(file);
            }
        }
        if let Some(dir) = &self.claude_tmp {
            let _removed = std::fs::remove_file(dir.join(&self.scene.token));
            // Left where Claude Code has something in it.
            let _removed = std::fs::remove_dir(dir);
        }
        if let Some((home, name)) = self.scene.real_home.as_ref().filter(|(_, name)| name.starts_with(PLANTED)) {
            let _removed = std::fs::remove_file(home.join(name));
        }
        let _removed = crate::files::remove_whole(&self.dir);
    }
}

/// Removes what a proof that was killed left behind.
fn forget_earlier(base: &Path, home: Option<&Path>) {
    for entry in home.into_iter().flat_map(|home| std::fs::read_dir(home).into_iter().flatten().flatten()) {
        if entry.file_name().as_encoded_bytes().starts_with(PLANTED.as_bytes()) {
            let _removed = std::fs::remove_file(entry.path());
        }
    }
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            let _removed = crate::files::remove_whole(&entry.path());
        }
    }
}

async fn session(store: &Arc<Store>, name: &str) -> Result<WorkspaceGuard, ProofError> {
    let key: Key = name.parse().map_err(|_| ProofError::Stage(io::ErrorKind::InvalidInput.into()))?;
    let mut claim = Claim::hold(store.clone(), name)?;
    let lock = claim.wait(None, &mut |_| {}).await?;
    Ok(store.create(lock, claim, NewSession::plain(key, "prove"))?)
}

/// A new file that only its owner can read.
fn put(path: &Path, content: &str) -> io::Result<()> {
    if let Some(dir) = path.parent().filter(|dir| !dir.is_dir()) {
        make_private_dir(dir, Durability::Process).map_err(io::Error::other)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content.as_bytes())
}

/// The process of a party, as it is seen from here.
fn find_party(secret: &str) -> Option<i32> {
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        read("comm").trim_ascii() == PARTY.as_bytes()
            && read("cmdline").windows(secret.len()).any(|window| window == secret.as_bytes())
    })
}

/// Where services listen, by what the environment says and by custom.
fn services(environment: &Environment) -> BTreeMap<String, PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let or = |name: &str, default: String| environment.get(name).map_or(default, str::to_owned);
    let runtime = PathBuf::from(or("XDG_RUNTIME_DIR", format!("/run/user/{uid}")));
    let docker = or("DOCKER_HOST", "unix:///run/docker.sock".to_owned());
    let display = or("DISPLAY", ":0".to_owned());
    let number = display.trim_start_matches("unix").trim_start_matches(':').split('.').next().unwrap_or_default();
    let tmux = format!("{}/tmux-{uid}/default", or("TMUX_TMPDIR", "/tmp".to_owned()));
    let tmux = environment.get("TMUX").and_then(|tmux| tmux.split(',').next()).map_or(tmux, str::to_owned);
    let mut found = BTreeMap::new();
    let mut add = |name: &str, path: PathBuf| found.insert(name.to_owned(), path);
    add("bus", runtime.join("bus"));
    add("systemd", runtime.join("systemd/private"));
    add("docker", docker.trim_start_matches("unix://").into());
    add("x11", format!("/tmp/.X11-unix/X{number}").into());
    add("wayland", runtime.join(or("WAYLAND_DISPLAY", "wayland-0".to_owned())));
    add("gpg-agent", runtime.join("gnupg/S.gpg-agent"));
    add("tmux", tmux.into());
    let bus = or("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket".to_owned());
    add("system-bus", bus.trim_start_matches("unix:path=").into());
    if let Some(agent) = environment.get("SSH_AUTH_SOCK") {
        add("ssh-agent", agent.into());
    }
    found
}
