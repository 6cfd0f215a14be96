//! The policy of one child: made from the configuration, from what was granted to
//! the session, and from what its provider needs, or left out if a person at a
//! terminal has no means for walls.
//!
//! Nothing that lies in the session's folder has a say, but for what has to be
//! protected there: its control files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::choose::Chosen;
use super::setup::Setup;
use super::subject::Subject;
use crate::config::{Access, Environment, NetworkMode, WallsMode};
use crate::process::probe;
use crate::provider::{LoginUser, Options, Provider};
use crate::repository::{Granted, Protect};
use crate::sandbox::ground::{Astray, Ground};
use crate::sandbox::installation::{Installation, SystemLook};
use crate::sandbox::nest::{Exposed, Nest};
use crate::sandbox::private::{NotPrivate, Private};
use crate::sandbox::{
    EgressPolicy, Level, PersonalGit, Policy, ResourceLimits, Support, Unsupported, Walls, system, trust,
};

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
pub(super) struct PolicyInputs<'a> {
    /// Configuration, person and machine.
    pub(super) setup: &'a Setup,
    /// What agents can write.
    pub(super) ground: &'a Ground<'a>,
    /// The session.
    pub(super) subject: Subject<'a>,
    /// The directory that the child starts in: the folder, or the one that was
    /// granted. Absolute and free of links.
    pub(super) working_dir: &'a Path,
    /// The provider, its program and what its agent may do unasked.
    pub(super) chosen: &'a Chosen,
    /// Whether a person decides about what it may not.
    pub(super) asks: bool,
}

impl<'a> PolicyInputs<'a> {
    fn session(&self) -> &'a Path {
        self.subject.workspace.path()
    }

    fn homes(&self) -> PathBuf {
        self.subject.store.homes_path(self.subject.workspace.folder())
    }

    fn user(&self) -> LoginUser<'a> {
        self.setup.user(self.ground)
    }

    /// What this machine can do, asked once.
    fn means(&self) -> &'a Support {
        let Setup { means, config, environment, .. } = self.setup;
        means.get_or_init(|| probe::means(self.subject.store, config, environment))
    }

    /// Whether the child may only read the session's folder and the directory
    /// that it works in.
    fn keeps_folder(&self) -> bool {
        self.chosen.provider.walls_keep_folder(self.chosen.permission_mode, self.asks)
    }
}

/// Why there are no walls.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
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
    #[error(transparent)]
    System(#[from] NotPrivate),
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

/// Works out what a child may see and do. The second part is a word for the
/// person, if there are no walls though the configuration asks for them: a
/// person who sits there may go on, a service may not.
///
/// # Errors
/// If the walls cannot be had.
pub(super) fn policy(inputs: &PolicyInputs<'_>) -> Result<(Policy, Option<String>), PolicyError> {
    match with_walls(inputs) {
        Ok(policy) => Ok((policy, None)),
        Err(PolicyError::Means { level, obstacle }) if !inputs.setup.unattended => {
            let remedy = obstacle.remedy();
            let word = format!("this runs without walls (`walls = \"{level}\"`): {obstacle}: {remedy}");
            Ok((without_walls(inputs), Some(word)))
        }
        Err(error) => Err(error),
    }
}

/// The walls that the configuration asks for. Looks at the file system, and
/// changes nothing.
fn with_walls(inputs: &PolicyInputs<'_>) -> Result<Policy, PolicyError> {
    let PolicyInputs { setup, subject, chosen, working_dir, .. } = *inputs;
    let (store, session, homes) = (subject.store, inputs.session(), inputs.homes());
    let mode = setup.config.walls;
    if mode == WallsMode::Off {
        return Ok(without_walls(inputs));
    }
    let means = inputs.means();
    refuse(mode.name(), probe::against(means, mode))?;
    let with_working_dir;
    let ground = if working_dir == session {
        inputs.ground
    } else {
        with_working_dir = setup.ground(store).with(working_dir);
        &with_working_dir
    };
    let level = if mode == WallsMode::Kernel {
        Level::Kernel
    } else {
        let named = means.bubblewrap.clone().map_err(|obstacle| PolicyError::Means { level: mode.name(), obstacle })?;
        // What could replace it may have been granted since it was found.
        let bubblewrap =
            trust::program(&named, ground).map_err(|reason| PolicyError::Bubblewrap { program: named, reason })?;
        Level::Full { bubblewrap }
    };
    let network = network(inputs);
    if matches!(network, EgressPolicy::Ports(_)) {
        refuse(level.name(), means.against_ports())?;
    }
    let private = Private::of(store.root(), setup.home.as_deref(), &setup.private, ground.mounts())?;
    let path = setup.environment.get_os("PATH").unwrap_or_default();
    let look = SystemLook { path, private: &private, ground };
    let mut found = PolicyBuilder { inputs, look, read: BTreeSet::new(), write: BTreeSet::new() };
    let mut installation = Installation::default();
    let only_read = found.shares()?;
    found.working_dir()?;
    found.program(&mut installation)?;
    found.linked();
    found.login();
    let PolicyBuilder { mut read, mut write, .. } = found;
    installation.add(&chosen.program, look);
    let (programs, search) = programs(look, &mut installation);
    read.extend(programs);
    read.append(&mut installation.read);
    write.insert(homes.clone());
    if inputs.keeps_folder() {
        read.insert(session.to_owned());
        write.insert(session.join("provider").join(&chosen.options.name));
    } else {
        write.insert(session.to_owned());
    }
    let mut nest = Nest { read, write, hide: BTreeSet::new() };
    let exposed = nest.exposed(&private);
    if level == Level::Kernel {
        let reason = "is shared for reading, and `walls = \"kernel\"` cannot close a part of what may be written";
        let open = only_read.into_iter().find(|path| nest.write.iter().any(|write| path.starts_with(write)));
        open.map_or(Ok(()), |path| Err(PolicyError::Open { path, reason }))?;
        exposed.into_iter().next().map_or(Ok(()), |exposed| Err(PolicyError::Exposed(exposed)))?;
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
        keep: control_files(session),
        hide: hide.into_iter().collect(),
        closed: setup.closed.now(),
        links: installation.links.into_iter().collect(),
        home: homes.join(HOME),
        temporary: homes.join(TEMPORARY),
        working_dir: working_dir.to_owned(),
        search,
        seen: Vec::new(),
        network,
        level,
        protect: Vec::new(),
    };
    let others: Vec<&PathBuf> = walls.read.iter().chain(&walls.write).chain(&walls.hide).collect();
    let rest = around(inputs, granted(inputs, &others));
    Ok(Policy { walls: Some(walls), ..rest })
}

/// The same with nothing but limits, whatever the configuration says.
fn without_walls(inputs: &PolicyInputs<'_>) -> Policy {
    around(inputs, granted(inputs, &[]))
}

/// All of a policy but its walls.
fn around(inputs: &PolicyInputs<'_>, granted: Vec<Granted>) -> Policy {
    Policy { granted, person: personal_git(inputs), ..Policy::open(limits(inputs)) }
}

/// Where git's configuration of the person lies, and what is shared.
fn personal_git(inputs: &PolicyInputs<'_>) -> PersonalGit {
    let user = inputs.user();
    let home = user.home.map(Path::to_owned);
    let named = |name: &str| user.environment.get_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let config = named("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
    let global = match named("GIT_CONFIG_GLOBAL") {
        Some(path) => vec![path],
        None => config.map(|config| config.join("git/config")).into_iter().chain(below_home(".gitconfig")).collect(),
    };
    let system = named("GIT_CONFIG_SYSTEM").unwrap_or_else(|| "/etc/gitconfig".into());
    let shared = inputs.setup.config.shares.iter().filter(|share| share.mode == Access::Write);
    PersonalGit {
        files: global.into_iter().chain([system]).collect(),
        shared: shared.map(|share| share.path.clone()).collect(),
        home,
    }
}

/// The directories that the session may write and that are the person's: of
/// what lies in one, that which the session sees otherwise is left out.
fn granted(inputs: &PolicyInputs<'_>, others: &[&PathBuf]) -> Vec<Granted> {
    let PolicyInputs { setup, ground, subject, working_dir, .. } = *inputs;
    let config = &setup.config;
    let mut granted: BTreeMap<PathBuf, Protect> = BTreeMap::new();
    if working_dir != inputs.session() && !inputs.keeps_folder() {
        granted.insert(working_dir.to_owned(), config.protect);
    }
    for share in config.shares.iter().filter(|share| share.mode == Access::Write && share.is_for(&subject.record.key)) {
        if let Ok(way) = ground.follow(&share.path) {
            granted.insert(way.real, share.protect.unwrap_or(config.protect));
        }
    }
    let skip = |path: &Path| {
        let others = others
            .iter()
            .map(|other| other.as_path())
            .chain([subject.store.root()])
            .chain(granted.keys().map(PathBuf::as_path));
        others.filter(|other| *other != path && other.starts_with(path)).map(Path::to_owned).collect()
    };
    granted.iter().map(|(path, protect)| Granted { skip: skip(path), path: path.clone(), protect: *protect }).collect()
}

fn refuse(level: &'static str, obstacle: Option<Unsupported>) -> Result<(), PolicyError> {
    obstacle.map_or(Ok(()), |obstacle| Err(PolicyError::Means { level, obstacle }))
}

fn limits(inputs: &PolicyInputs<'_>) -> ResourceLimits {
    let config = &inputs.setup.config.limits;
    ResourceLimits {
        processes: config.processes,
        memory: config.memory,
        file_size: config.file_size,
        disk: config.disk,
        files: config.files,
        directories: vec![inputs.session().to_owned(), inputs.homes()],
        group: inputs.setup.group.clone(),
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
    let PolicyInputs { setup, chosen, .. } = *inputs;
    match chosen.options.network.unwrap_or(setup.config.network) {
        NetworkMode::Open => EgressPolicy::Open,
        NetworkMode::None => EgressPolicy::None,
        NetworkMode::Providers => {
            let mut ports: BTreeSet<u16> = setup.config.ports.iter().copied().collect();
            ports.extend(named_ports(&setup.environment, chosen.provider, &chosen.options));
            let user = inputs.user();
            for file in chosen.provider.login(&user) {
                if let Some(text) = file.copy.is_none().then(|| user.files.read(&file.path)).flatten() {
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
    fn let_in(&mut self, path: PathBuf, access: Access) -> Result<(), PolicyError> {
        let (root, mounts) = (self.inputs.subject.store.root(), self.look.ground.mounts());
        if mounts.is_inside(&path, root) && !path.starts_with(self.inputs.session()) {
            return Err(PolicyError::Open { path, reason: "lies in Denizen's own root, where other sessions are" });
        }
        if system::is_part(&path) || system::DIRECTORIES.iter().any(|dir| Path::new(dir).starts_with(&path)) {
            return Err(PolicyError::Open { path, reason: "is or holds a directory of the system" });
        }
        match access {
            Access::Read => self.read.insert(path),
            Access::Write => self.write.insert(path),
        };
        Ok(())
    }

    /// What the configuration shares with this session. Returns what of it may
    /// only be read.
    fn shares(&mut self) -> Result<Vec<PathBuf>, PolicyError> {
        let mut only_read = Vec::new();
        let Subject { record, .. } = self.inputs.subject;
        for share in self.inputs.setup.config.shares.iter().filter(|share| share.is_for(&record.key)) {
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

    fn working_dir(&mut self) -> Result<(), PolicyError> {
        if self.inputs.working_dir == self.inputs.session() {
            return Ok(());
        }
        let kept = self.inputs.keeps_folder();
        self.let_in(self.inputs.working_dir.to_owned(), if kept { Access::Read } else { Access::Write })
    }

    /// What the owner's configuration says that the program reads, and the
    /// files that its arguments and the environment name.
    fn program(&mut self, installation: &mut Installation) -> Result<(), PolicyError> {
        let PolicyInputs { setup, subject, chosen, .. } = *self.inputs;
        let (options, root) = (&chosen.options, subject.store.root());
        for text in &options.read {
            let path = crate::config::value::absolute(text, root, setup.home.as_deref()).map_err(PolicyError::Path)?;
            match self.look.ground.follow(&path) {
                Ok(way) => self.let_in(way.real, Access::Read)?,
                Err(Astray::Nowhere { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let named = options.args.iter().map(PathBuf::from).filter(|path| path.is_file());
        let certificates = CERTIFICATES.iter().filter_map(|name| setup.environment.get(name)).map(PathBuf::from);
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
        let files = self.inputs.chosen.provider.login(&self.inputs.user());
        for file in files.into_iter().filter(|file| file.copy.is_none()) {
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
