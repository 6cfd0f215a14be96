//! Working out the walls of one child: from the configuration, from what was
//! granted to the session, and from what its provider needs.
//!
//! Nothing that lies in the session's folder has a say, but for what has to be
//! protected there: its control files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::config::{Access, Config, Environment, NetworkMode, WallsMode};
use crate::key::Key;
use crate::provider::{LoginUser, Options, Provider};
use crate::repository::{Granted, Protect};
use crate::session::{PermissionMode, Store};

use super::ground::{Astray, Ground};
use super::nest::{Exposed, Nest};
use super::personal_git::PersonalGit;
use super::private::Private;
use super::system::{self, Installation, SystemLook};
use super::trust;
use super::{ClosedDirs, EgressPolicy, Level, Policy, ResourceLimits, Support, Unsupported, Walls};

/// The name, beside the providers' homes, of a session's home directory.
const HOME: &str = ".home";

/// The same for its directory of temporary files.
const TEMPORARY: &str = ".tmp";

/// Files in a session's folder that Denizen keeps.
const CONTROL_FILES: &[&str] = &["session.json", "settings.json", "transcript.jsonl"];

/// Variables that name files or directories of certificates.
const CERTIFICATES: &[&str] = &["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"];

/// Everything that the walls depend on.
#[derive(Clone, Copy)]
pub struct PolicyInputs<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Where sessions are.
    pub store: &'a Store,
    /// The user whose login is used.
    pub user: &'a LoginUser<'a>,
    /// The session's key, for what is shared.
    pub key: &'a Key,
    /// The name of its folder.
    pub folder: &'a str,
    /// Its folder.
    pub session: &'a Path,
    /// The directory that the child starts in: the folder, or the one that was
    /// granted. Absolute and free of links.
    pub working_dir: &'a Path,
    /// The provider.
    pub provider: &'a dyn Provider,
    /// Its section of the configuration.
    pub options: &'a Options,
    /// Its program, absolute.
    pub program: &'a Path,
    /// What the agent may do unasked.
    pub permission_mode: PermissionMode,
    /// Whether a person decides about what it may not.
    pub asks: bool,
    /// What this machine can do; asked only where there are to be walls.
    pub means: &'a dyn Fn() -> &'a Support,
    /// What of the system this user alone may read.
    pub closed: &'a ClosedDirs,
    /// What is private beside the root and the home of this user.
    pub private: &'a [PathBuf],
    /// The control group in which each turn gets one of its own.
    pub group: Option<&'a Path>,
}

/// Why there are no walls.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The machine lacks something.
    #[error("`walls = \"{level}\"` cannot be had here: {obstacle}")]
    Means {
        /// What the configuration asks for.
        level: &'static str,
        /// What stands in the way.
        obstacle: Unsupported,
    },
    /// A directory that was granted or shared would open what must stay closed.
    #[error("`{}` {reason}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why it cannot be let in.
        reason: &'static str,
    },
    /// What is private cannot be told from the system.
    #[error("{what} `{}` is a directory of the system, or holds one, and every agent reads those", path.display())]
    System {
        /// What is private.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
    },
    /// What is private lies in what is allowed, where only bubblewrap can cover it.
    #[error(
        "{} `{}` lies in `{}`, which the agent reads, and `walls = \"kernel\"` cannot leave out a part of it",
        .0.what, .0.path.display(), .0.within.display()
    )]
    Exposed(Exposed),
    /// A path leads where an agent wanted it to, or nowhere.
    #[error(transparent)]
    Astray(#[from] Astray),
    /// Bubblewrap could be another program by now.
    #[error("`{}` is not used: {reason}", program.display())]
    Bubblewrap {
        /// The program.
        program: PathBuf,
        /// Why.
        reason: trust::Distrust,
    },
    /// A path of the configuration cannot be read as one.
    #[error("{0}")]
    Path(String),
}

/// Works out what a child may see and do. Looks at the file system, and changes
/// nothing.
///
/// # Errors
/// If the configuration asks for more than this machine can do, or for less
/// than the walls need.
pub fn plan(inputs: &PolicyInputs<'_>) -> Result<Policy, ConfineError> {
    let homes = inputs.store.homes_path(inputs.folder);
    let mode = inputs.config.walls;
    if mode == WallsMode::Off {
        return Ok(without_walls(inputs));
    }
    let means = (inputs.means)();
    refuse(mode.name(), means.against(mode))?;
    let mut ground = Ground::of(&inputs.config.shares, inputs.store);
    if inputs.working_dir != inputs.session {
        ground = ground.with(inputs.working_dir);
    }
    let level = if mode == WallsMode::Kernel {
        Level::Kernel
    } else {
        let named =
            means.bubblewrap.clone().map_err(|obstacle| ConfineError::Means { level: mode.name(), obstacle })?;
        // What could replace it may have been granted since it was found.
        let bubblewrap =
            trust::program(&named, &ground).map_err(|reason| ConfineError::Bubblewrap { program: named, reason })?;
        Level::Full { bubblewrap }
    };
    let network = network(inputs);
    if matches!(network, EgressPolicy::Ports(_)) {
        refuse(level.name(), means.against_ports())?;
    }
    let private = Private::of(inputs.store.root(), inputs.user.home, inputs.private, ground.mounts())?;
    let path = inputs.user.environment.get_os("PATH").unwrap_or_default();
    let look = SystemLook { path, private: &private, ground: &ground };
    let mut found = PolicyBuilder { inputs, look, read: BTreeSet::new(), write: BTreeSet::new() };
    let mut installation = Installation::default();
    let only_read = found.shares()?;
    found.working_dir()?;
    found.program(&mut installation)?;
    found.linked();
    found.login();
    let PolicyBuilder { mut read, mut write, .. } = found;
    installation.add(inputs.program, look);
    let (programs, search) = programs(look, &mut installation);
    read.extend(programs);
    read.append(&mut installation.read);
    write.insert(homes.clone());
    if inputs.provider.walls_keep_folder(inputs.permission_mode, inputs.asks) {
        read.insert(inputs.session.to_owned());
        write.insert(inputs.session.join("provider").join(&inputs.options.name));
    } else {
        write.insert(inputs.session.to_owned());
    }
    let mut nest = Nest { read, write, hide: BTreeSet::new() };
    let exposed = nest.exposed(&private);
    if level == Level::Kernel {
        let reason = "is shared for reading, and `walls = \"kernel\"` cannot close a part of what may be written";
        let open = only_read.into_iter().find(|path| nest.write.iter().any(|write| path.starts_with(write)));
        open.map_or(Ok(()), |path| Err(ConfineError::Open { path, reason }))?;
        exposed.into_iter().next().map_or(Ok(()), |exposed| Err(ConfineError::Exposed(exposed)))?;
        nest.thin_out();
    } else {
        nest.hide.extend(exposed.into_iter().map(|exposed| exposed.path));
        nest.thin_out();
        nest.pin();
    }
    let Nest { read, write, hide } = nest;
    installation.settle(&read.iter().chain(&write).cloned().collect::<Vec<_>>());
    let walls = Walls {
        landlock: means.landlock,
        read: read.into_iter().collect(),
        write: write.into_iter().collect(),
        keep: control_files(inputs.session),
        hide: hide.into_iter().collect(),
        closed: inputs.closed.now(),
        links: installation.links.into_iter().collect(),
        home: homes.join(HOME),
        temporary: homes.join(TEMPORARY),
        working_dir: inputs.working_dir.to_owned(),
        search,
        seen: Vec::new(),
        network,
        level,
        protect: Vec::new(),
    };
    let others: Vec<&PathBuf> = walls.read.iter().chain(&walls.write).chain(&walls.hide).collect();
    let granted = granted(inputs, &others);
    Ok(Policy { walls: Some(walls), granted, ..without_walls(inputs) })
}

/// The same with nothing but limits, whatever the configuration says.
#[must_use]
pub fn without_walls(inputs: &PolicyInputs<'_>) -> Policy {
    let limits = limits(inputs, &inputs.store.homes_path(inputs.folder));
    Policy { granted: granted(inputs, &[]), person: PersonalGit::of(inputs), ..Policy::open(limits) }
}

/// The directories that the session may write and that are the person's: of
/// what lies in one, that which the session sees otherwise is left out.
fn granted(inputs: &PolicyInputs<'_>, others: &[&PathBuf]) -> Vec<Granted> {
    let PolicyInputs { config, session, working_dir, .. } = *inputs;
    let mut granted: BTreeMap<PathBuf, Protect> = BTreeMap::new();
    let keeps = inputs.provider.walls_keep_folder(inputs.permission_mode, inputs.asks);
    if working_dir != session && !keeps {
        granted.insert(working_dir.to_owned(), config.protect);
    }
    let ground = Ground::of(&config.shares, inputs.store);
    for share in config.shares.iter().filter(|share| share.mode == Access::Write && share.is_for(inputs.key)) {
        if let Ok(way) = ground.follow(&share.path) {
            granted.insert(way.real, share.protect.unwrap_or(config.protect));
        }
    }
    let skip = |path: &Path| {
        let others = others
            .iter()
            .map(|other| other.as_path())
            .chain([inputs.store.root()])
            .chain(granted.keys().map(PathBuf::as_path));
        others.filter(|other| *other != path && other.starts_with(path)).map(Path::to_owned).collect()
    };
    granted.iter().map(|(path, protect)| Granted { skip: skip(path), path: path.clone(), protect: *protect }).collect()
}

fn refuse(level: &'static str, obstacle: Option<Unsupported>) -> Result<(), ConfineError> {
    obstacle.map_or(Ok(()), |obstacle| Err(ConfineError::Means { level, obstacle }))
}

fn limits(inputs: &PolicyInputs<'_>, homes: &Path) -> ResourceLimits {
    let config = &inputs.config.limits;
    ResourceLimits {
        processes: config.processes,
        memory: config.memory,
        file_size: config.file_size,
        disk: config.disk,
        files: config.files,
        directories: vec![inputs.session.to_owned(), homes.to_owned()],
        group: inputs.group.map(Path::to_owned),
    }
}

/// The directories of PATH, as what lies in them is meant to be run; and with
/// shims, which run what lies beside them, the directory of both. Not those in
/// which an agent could have put something. The second part is a PATH to search
/// instead, where it names a directory by way of another that is not there inside.
fn programs(look: SystemLook<'_>, installation: &mut Installation) -> (Vec<PathBuf>, Option<PathBuf>) {
    let (mut found, mut search, mut is_other) = (Vec::new(), Vec::new(), false);
    for dir in std::env::split_paths(look.path) {
        let way = look.ground.follow(&dir).ok().filter(|way| look.ground.holding(&way.real).is_none());
        let Some(way) = way.filter(|way| way.real.is_dir()) else {
            search.push(dir);
            continue;
        };
        installation.add_links(&way, look.private);
        let real = match way.real.parent().filter(|_| dir.ends_with("shims")) {
            Some(parent) if !look.private.is_in(parent) => parent.to_owned(),
            _ => way.real.clone(),
        };
        if !look.private.leaves_to_system(&real) && !look.private.is_in(&real) {
            found.push(real);
        }
        let by_way = dir.components().any(|component| component == Component::ParentDir);
        is_other |= by_way;
        search.push(if by_way { way.real } else { dir });
    }
    let search: Option<OsString> = std::env::join_paths(search).ok().filter(|_| is_other);
    (found, search.map(PathBuf::from))
}

/// The control files that are there, each a regular file with one name. What
/// stands in the place of one was planted, and is the guard's to set aside.
fn control_files(session: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let is_plain = |path: &PathBuf| {
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1)
    };
    CONTROL_FILES.iter().map(|name| session.join(name)).filter(is_plain).collect()
}

fn network(inputs: &PolicyInputs<'_>) -> EgressPolicy {
    match inputs.options.network.unwrap_or(inputs.config.network) {
        NetworkMode::Open => EgressPolicy::Open,
        NetworkMode::None => EgressPolicy::None,
        NetworkMode::Providers => {
            let mut ports: BTreeSet<u16> = inputs.config.ports.iter().copied().collect();
            ports.extend(named_ports(inputs.user.environment, inputs.provider, inputs.options));
            for file in inputs.provider.login(inputs.user) {
                if let Some(text) = file.copy.is_none().then(|| inputs.user.files.read(&file.path)).flatten() {
                    ports.extend(ports_in(&String::from_utf8_lossy(&text)));
                }
            }
            EgressPolicy::Ports(ports.into_iter().collect())
        }
    }
}

/// The ports that the addresses in the child's variables name: of a model
/// server, and of a proxy.
fn named_ports(environment: &Environment, provider: &dyn Provider, options: &Options) -> Vec<u16> {
    let none = crate::provider::Invocation::default();
    let inherited = crate::provider::child_environment(environment, provider, options, &none);
    inherited.iter().filter_map(|(_, value)| value.to_str()).flat_map(ports_in).collect()
}

/// The ports that the addresses in a text name, as `scheme://host:port`.
fn ports_in(text: &str) -> Vec<u16> {
    let ends = |c: char| c.is_whitespace() || "/\"'<>,;?#".contains(c);
    let hosts = text.split("://").skip(1).map(|rest| rest.split(ends).next().unwrap_or_default());
    hosts.filter_map(|host| host.rsplit_once(':')?.1.parse().ok()).collect()
}

/// What is let in, while it is collected.
struct PolicyBuilder<'a, 'b> {
    inputs: &'a PolicyInputs<'b>,
    look: SystemLook<'a>,
    read: BTreeSet<PathBuf>,
    write: BTreeSet<PathBuf>,
}

impl PolicyBuilder<'_, '_> {
    /// Lets a directory or file in, unless that would open Denizen's own or the
    /// system to writing. Its path is free of links.
    fn let_in(&mut self, path: PathBuf, access: Access) -> Result<(), ConfineError> {
        let (root, mounts) = (self.inputs.store.root(), self.look.ground.mounts());
        if mounts.is_inside(&path, root) && !path.starts_with(self.inputs.session) {
            return Err(ConfineError::Open { path, reason: "lies in Denizen's own root, where other sessions are" });
        }
        if system::is_part(&path) || system::DIRECTORIES.iter().any(|dir| Path::new(dir).starts_with(&path)) {
            return Err(ConfineError::Open { path, reason: "is or holds a directory of the system" });
        }
        match access {
            Access::Read => self.read.insert(path),
            Access::Write => self.write.insert(path),
        };
        Ok(())
    }

    /// What the configuration shares with this session. Returns what of it may
    /// only be read.
    fn shares(&mut self) -> Result<Vec<PathBuf>, ConfineError> {
        let mut only_read = Vec::new();
        for share in self.inputs.config.shares.iter().filter(|share| share.is_for(self.inputs.key)) {
            match self.look.ground.follow(&share.path) {
                Ok(way) => {
                    if share.mode == Access::Read {
                        only_read.push(way.real.clone());
                    }
                    self.let_in(way.real, share.mode)?;
                }
                // One that is not there now shares nothing.
                Err(Astray::Nowhere { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(only_read)
    }

    fn working_dir(&mut self) -> Result<(), ConfineError> {
        if self.inputs.working_dir == self.inputs.session {
            return Ok(());
        }
        let kept = self.inputs.provider.walls_keep_folder(self.inputs.permission_mode, self.inputs.asks);
        self.let_in(self.inputs.working_dir.to_owned(), if kept { Access::Read } else { Access::Write })
    }

    /// What the owner's configuration says that the program reads, and the
    /// files that its arguments and the environment name.
    fn program(&mut self, installation: &mut Installation) -> Result<(), ConfineError> {
        let PolicyInputs { options, user, store, .. } = *self.inputs;
        for text in &options.read {
            let path = crate::config::value::absolute(text, store.root(), user.home).map_err(ConfineError::Path)?;
            match self.look.ground.follow(&path) {
                Ok(way) => self.let_in(way.real, Access::Read)?,
                Err(Astray::Nowhere { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let named = options.args.iter().map(PathBuf::from).filter(|path| path.is_file());
        let certificates = CERTIFICATES.iter().filter_map(|name| user.environment.get(name)).map(PathBuf::from);
        for path in named.chain(certificates) {
            // What an agent could have put there is seen where it was granted.
            let Ok(way) = self.look.ground.follow(&path) else { continue };
            if self.look.ground.holding(&way.real).is_some() {
                continue;
            }
            installation.add_links(&way, self.look.private);
            if !self.look.private.leaves_to_system(&way.real) {
                self.let_in(way.real, Access::Read)?;
            }
        }
        Ok(())
    }

    /// The files that links in `/etc` lead to, outside the system's directories.
    fn linked(&mut self) {
        for link in system::LINKED {
            let Ok(way) = self.look.ground.follow(Path::new(link)) else { continue };
            if !self.look.private.leaves_to_system(&way.real) && self.look.ground.holding(&way.real).is_none() {
                self.read.insert(way.real);
            }
        }
    }

    /// The files of the provider's login that it reads where they are. Of the
    /// others it has copies.
    fn login(&mut self) {
        for file in self.inputs.provider.login(self.inputs.user).into_iter().filter(|file| file.copy.is_none()) {
            if let Ok(way) = self.look.ground.follow(&file.path)
                && way.real.is_file()
            {
                self.read.insert(way.real);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_taken_from_addresses() {
        assert_eq!(ports_in("http://127.0.0.1:4711/v1"), [4711]);
        assert_eq!(ports_in("base_url = \"http://[::1]:80\"\nx = 'https://h:8443'"), [80, 8443]);
        assert_eq!(ports_in("https://api.example.org/x:1 time 12:30"), Vec::<u16>::new());
    }
}
