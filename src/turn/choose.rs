//! What a turn runs with: provider, program, model, permission mode, and which
//! conversation it continues.

use std::path::{Path, PathBuf};

use super::Setup;
use super::attempt::TurnProgress;
use crate::config::keys::nearest;
use crate::config::{Agent, Config, Environment};
use crate::files::files_below;
use crate::login::{Login, LoginRequest};
use crate::provider::{AUTO, Continuation, Options, OptionsError, PROVIDERS, Provider, Turn, TurnPaths, built_in};
use crate::sandbox::Ground;
use crate::session::{
    MessageOptions, PermissionMode, ProviderChoice, Record, SessionError, Settings, Store, WorkspaceGuard,
};

/// What a turn runs with.
#[derive(Clone)]
pub struct Chosen {
    /// The provider's name: a built-in one, or a section of the configuration.
    pub name: String,
    /// The provider.
    pub provider: &'static dyn Provider,
    /// Its section of the configuration.
    pub options: Options,
    /// Its program, absolute.
    pub program: PathBuf,
    /// The model.
    pub model: Option<String>,
    /// What the agent may do unasked.
    pub permission_mode: PermissionMode,
    /// What the person should know about the choice.
    pub notices: Vec<String>,
}

impl Chosen {
    /// The copies of the login for a child of this choice that is about to start.
    pub(super) async fn login(
        &self,
        guard: &WorkspaceGuard,
        turn: &Turn<'_>,
        tell: &mut (dyn FnMut() + Send),
    ) -> Result<Option<Login>, SessionError> {
        let wanted = LoginRequest {
            store: guard.store(),
            folder: guard.folder(),
            home: &turn.place.home,
            provider: self.provider,
            user: turn.user,
        };
        Login::begin(wanted, tell).await
    }
}

/// Why there is nothing to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// There is no such provider.
    #[error("there is no provider `{name}`{}", nearest.as_ref().map_or_else(String::new, |nearest| format!(", did you mean `{nearest}`?")))]
    Unknown {
        /// The name as given.
        name: String,
        /// The name that is spelt most like it.
        nearest: Option<String>,
    },
    /// The provider's program is not there.
    #[error("the program `{program}` of the provider `{name}` is not there, or is not executable")]
    NotInstalled {
        /// The provider.
        name: String,
        /// The program, as it was looked for.
        program: String,
    },
    /// The only program of that name is one that an agent could have made.
    #[error(
        "the program `{}` of the provider `{name}` is not used: it lies in `{}`, where agents can write",
        program.display(), ground.display()
    )]
    PassedOver {
        /// The provider.
        name: String,
        /// The program.
        program: PathBuf,
        /// The directory that agents can write.
        ground: PathBuf,
    },
    /// The program cannot be trusted outside the walls.
    #[error("the program `{}` of the provider `{name}` is not run outside the walls: {reason}", program.display())]
    Distrusted {
        /// The provider.
        name: String,
        /// The program.
        program: PathBuf,
        /// Why.
        reason: crate::sandbox::trust::Distrust,
    },
    /// A command that was to be run in a session's place is not there.
    #[error("the command `{0}` is not there, or is not executable")]
    NoCommand(String),
    /// The configuration names no program.
    #[error("the provider `{0}` has no program: set `providers.{0}.program`")]
    NoProgram(String),
    /// The provider has no login of its own.
    #[error("the provider `{0}` has no login of its own")]
    NoLogin(String),
    /// No provider is installed.
    #[error("none of {} is installed", AUTO.join(", "))]
    NoneInstalled,
    /// There is no such agent.
    #[error("there is no agent `{name}`{}", nearest.as_ref().map_or_else(String::new, |nearest| format!(", did you mean `{nearest}`?")))]
    UnknownAgent {
        /// The name as given.
        name: String,
        /// The name that is spelt most like it.
        nearest: Option<String>,
    },
    /// A chat could do anything at all on this machine.
    #[error("`{0}` is to do everything unasked, which a chat may not ask of it while there are no walls")]
    BypassWithoutWalls(String),
    /// The provider's section is wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The agent's permission mode is none.
    #[error("agents.{agent}.permission_mode: {reason}")]
    AgentMode {
        /// The agent.
        agent: String,
        /// What is wrong.
        reason: String,
    },
}

/// Decides what a turn of this session runs with. Nothing is changed.
///
/// # Errors
/// If the choice leads to nothing.
pub fn choose(
    setup: &Setup,
    store: &Store,
    record: &Record,
    settings: &Settings,
    asked: &MessageOptions,
) -> Result<Chosen, ChoiceError> {
    let config = &setup.config;
    let ground = &Ground::of(&config.shares, store);
    let default = Agent::default();
    let agent = match &record.agent {
        None => &default,
        Some(name) => agent_of(config, name)?,
    };
    let decided = asked
        .provider
        .as_ref()
        .or(record.provider.as_ref().map(|choice| &choice.name))
        .or(agent.provider.as_ref())
        .or(config.provider.as_ref());
    let mut notices = Vec::new();
    let name = match decided {
        Some(name) => name.clone(),
        None => match automatic(config, &setup.environment, ground)? {
            Some(name) => name,
            // A person at a terminal gets something that works; a chat network
            // never gets it unasked.
            None if record.place == "terminal" => {
                notices.push(format!(
                    "none of {} is installed: `notes` answers, a built-in provider that needs no account",
                    AUTO.join(", ")
                ));
                "notes".to_owned()
            }
            None => return Err(ChoiceError::NoneInstalled),
        },
    };
    let (provider, options) = provider_of(config, &name)?;
    let program = find_program(provider, &options, &setup.environment, &setup.launcher, ground)?;
    let agent_mode = agent
        .permission_mode
        .as_deref()
        .map(str::parse::<PermissionMode>)
        .transpose()
        .map_err(|reason| ChoiceError::AgentMode { agent: record.agent.clone().unwrap_or_default(), reason })?;
    let ceiling = agent_mode.map_or(options.permission_mode, |mode| mode.min(options.permission_mode));
    let wanted = settings.permission_mode.unwrap_or(ceiling);
    if wanted > ceiling {
        notices.push(format!(
            "permission mode `{}` is above the configuration's `{}`, which is used",
            wanted.name(),
            ceiling.name()
        ));
    }
    let model = asked.model.clone().or(settings.model.clone()).or(agent.model.clone()).or(options.model.clone());
    Ok(Chosen { name, provider, options, program, model, permission_mode: wanted.min(ceiling), notices })
}

/// Whether a chat may drive an agent in a mode. What a chat says may come from
/// anybody, so without walls it never gets an agent that asks nobody.
#[must_use]
pub fn may_drive(mode: PermissionMode, walled: bool) -> bool {
    walled || mode < PermissionMode::BypassPermissions
}

/// The named agent of the configuration.
///
/// # Errors
/// If there is none of that name.
pub(crate) fn agent_of<'a>(config: &'a Config, name: &str) -> Result<&'a Agent, ChoiceError> {
    config.agents.get(name).ok_or_else(|| ChoiceError::UnknownAgent {
        name: name.to_owned(),
        nearest: nearest(name, config.agents.keys().map(String::as_str)).map(str::to_owned),
    })
}

/// The provider of a name, with its section of the configuration.
///
/// # Errors
/// If there is none, or its section is wrong.
pub fn provider_of(config: &Config, name: &str) -> Result<(&'static dyn Provider, Options), ChoiceError> {
    let table = config.providers.get(name);
    let provider = match (built_in(name), table) {
        (Some(provider), _) => provider,
        (None, Some(_)) => built_in("command").ok_or_else(|| ChoiceError::NoProgram(name.to_owned()))?,
        (None, None) => {
            let names =
                PROVIDERS.iter().map(|provider| provider.name()).chain(config.providers.keys().map(String::as_str));
            return Err(ChoiceError::Unknown {
                name: name.to_owned(),
                nearest: nearest(name, names).map(str::to_owned),
            });
        }
    };
    Ok((provider, Options::read(name, table, provider)?))
}

/// The first installed provider, of those that are looked for.
fn automatic(config: &Config, environment: &Environment, ground: &Ground<'_>) -> Result<Option<String>, ChoiceError> {
    for name in AUTO {
        let (provider, options) = provider_of(config, name)?;
        if find_program(provider, &options, environment, Path::new(""), ground).is_ok() {
            return Ok(Some((*name).to_owned()));
        }
    }
    Ok(None)
}

/// The program of a provider, absolute.
///
/// # Errors
/// If none is named, or it is not there.
pub fn find_program(
    provider: &dyn Provider,
    options: &Options,
    environment: &Environment,
    own_program: &Path,
    ground: &Ground<'_>,
) -> Result<PathBuf, ChoiceError> {
    if provider.name() == "notes" {
        return Ok(own_program.to_owned());
    }
    let program = match (&options.program, provider.program()) {
        (Some(program), _) => program.as_str(),
        (None, Some(program)) => program,
        (None, None) => return Err(ChoiceError::NoProgram(options.name.clone())),
    };
    let missing = || ChoiceError::NotInstalled { name: options.name.clone(), program: program.to_owned() };
    if program.contains('/') {
        let path = PathBuf::from(program);
        return if path.is_absolute() && is_executable(&path) { Ok(path) } else { Err(missing()) };
    }
    on_path(environment, program, ground).map_err(|passed_over| match passed_over {
        None => missing(),
        Some((program, ground)) => ChoiceError::PassedOver { name: options.name.clone(), program, ground },
    })
}

/// The program of this name in PATH, absolute. Directories of PATH that are
/// relative do not count: they would be another in each session. What an agent
/// could have put there does not count either.
///
/// # Errors
/// If there is none, with the first that did not count and the directory in
/// which agents can write.
fn on_path(
    environment: &Environment,
    program: &str,
    ground: &Ground<'_>,
) -> Result<PathBuf, Option<(PathBuf, PathBuf)>> {
    let path = environment.get_os("PATH").unwrap_or_default();
    let mut passed_over = None;
    for dir in std::env::split_paths(path).filter(|dir| dir.is_absolute()) {
        let candidate = dir.join(program);
        if !is_executable(&candidate) {
            continue;
        }
        match ground.reaching(&candidate) {
            None => return Ok(candidate),
            Some(ground) => passed_over = passed_over.or(Some((candidate, ground))),
        }
    }
    Err(passed_over)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Which conversation the turn belongs to. An id counts only where the file
/// that makes it resumable is in this session's folder. The second part is a
/// notice, where a conversation with a past was lost.
pub(super) fn continuation(
    guard: &mut WorkspaceGuard,
    chosen: &Chosen,
    place: &TurnPaths,
    new: bool,
) -> Result<(Continuation, Option<String>), SessionError> {
    let record = guard.record_mut();
    record.provider = Some(ProviderChoice { name: chosen.name.clone() });
    if new {
        record.retire_conversation();
    }
    record.take_back_original();
    let Some(current) = &record.conversation else { return Ok((Continuation::Fresh, None)) };
    if current.provider != chosen.name {
        record.retire_conversation();
        return Ok((Continuation::Fresh, None));
    }
    let id = current.id.clone();
    if is_kept(chosen, place, &id) {
        let fork = current.fork;
        return Ok((if fork { Continuation::Fork(id) } else { Continuation::Resume(id) }, None));
    }
    let lost = (current.turns > 0).then(|| {
        format!("the conversation {id} is no longer in the session's folder, so a fresh one was started with the last turns as context")
    });
    Ok((Continuation::Fresh, lost))
}

/// Whether the file that makes a conversation resumable is there.
pub(crate) fn is_kept(chosen: &Chosen, place: &TurnPaths, id: &str) -> bool {
    kept_in(chosen.provider, &place.conversations, id)
}

/// Whether a directory of conversations holds the one with this id: as a
/// regular file with one name, reached through no link.
pub(crate) fn kept_in(provider: &dyn Provider, conversations: &Path, id: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    if !provider.keeps_files() {
        return provider.is_conversation_file(id, Path::new(""));
    }
    files_below(conversations).any(|(file, metadata)| provider.is_conversation_file(id, &file) && metadata.nlink() == 1)
}

/// Says so where the provider answered and kept nothing.
pub(super) fn check_kept(chosen: &Chosen, place: &TurnPaths, heard: &mut TurnProgress) {
    if let Some(id) = &heard.conversation
        && !is_kept(chosen, place, id)
    {
        heard.notices.push(format!(
            "{} answered, but did not store the conversation: the next message will start a fresh one",
            chosen.name
        ));
    }
}
