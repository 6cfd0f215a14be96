//! What a turn runs with: what was resolved, with the program that it leads to.

use std::path::{Path, PathBuf};

use super::error::ChoiceError;
use super::resolve::{Effective, Place, provider_of, resolve};
use super::setup::Setup;
use crate::config::{Config, Environment};
use crate::login::{Login, LoginRequest};
use crate::provider::{AUTO, Options, Provider, Turn};
use crate::sandbox::Ground;
use crate::session::{MessageOptions, PermissionMode, SessionError, WorkspaceGuard};

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

/// Decides what a turn of this session runs with. Nothing is changed.
///
/// # Errors
/// If the choice leads to nothing.
pub fn choose(
    setup: &Setup,
    ground: &Ground<'_>,
    place: Place<'_>,
    asked: &MessageOptions,
) -> Result<Chosen, ChoiceError> {
    let installed = || automatic(&setup.config, &setup.environment, ground);
    let Effective { name, provider, options, model, permission_mode, notices, .. } =
        resolve(&setup.config, place, asked, installed)?;
    let program = find_program(provider, &options, &setup.environment, &setup.launcher, ground)?;
    Ok(Chosen {
        name: name.value,
        provider,
        options,
        program,
        model: model.map(|model| model.value),
        permission_mode: permission_mode.value,
        notices,
    })
}

/// Whether a chat may drive an agent in a mode. What a chat says may come from
/// anybody, so without walls it never gets an agent that asks nobody.
#[must_use]
pub fn may_drive(mode: PermissionMode, walled: bool) -> bool {
    walled || mode < PermissionMode::BypassPermissions
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
