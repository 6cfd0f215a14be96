//! What would run in a session: decided once, in one way, for a turn, for a
//! terminal, and for whoever only wants to know. Reads, and changes nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::TurnError;
use super::choose::{Chosen, choose, find_program};
use super::error::ChoiceError;
use super::policy::{PolicyInputs, policy};
use super::resolve::Place;
use super::setup::Setup;
use super::subject::Subject;
use crate::config::Environment;
use crate::files::files_below;
use crate::process::{Launch, SpawnError, WorkingDir};
use crate::provider::{Continuation, LoginUser, Options, Turn, TurnPaths, built_in};
use crate::provider_home;
use crate::sandbox::{Ground, Policy};
use crate::session::{Brief, MessageOptions, PermissionMode};

/// What is to run in a session.
#[derive(Clone, Copy)]
pub enum Asked<'a> {
    /// Its provider.
    Provider {
        /// What the message says about that.
        options: &'a MessageOptions,
        /// Whether somebody could decide about what the agent may not do unasked.
        can_ask: bool,
    },
    /// A command of the person's, in the provider's place.
    Command(&'a [OsString]),
}

/// What would run, and in which walls.
pub struct TurnPlan {
    /// The provider, its program, model and permission mode.
    pub chosen: Chosen,
    /// Where its things are.
    pub paths: TurnPaths,
    /// The directory that its children start in.
    pub working_dir: WorkingDir,
    /// What it is told beside the message.
    pub brief: Brief,
    /// What it may see and do.
    pub policy: Policy,
    /// Whether somebody decides about what the agent may not do unasked.
    pub asks: bool,
    /// Why there are no walls though the configuration asks for them.
    pub without_walls: Option<String>,
    /// What else the person should know.
    notices: Vec<String>,
}

impl TurnPlan {
    /// Decides what would run in a session.
    ///
    /// # Errors
    /// If there is nothing to run, nowhere to run it, or no walls for it.
    pub fn prepare(
        setup: &Setup,
        ground: &Ground<'_>,
        subject: Subject<'_>,
        asked: Asked<'_>,
    ) -> Result<Self, TurnError> {
        let Subject { store, workspace, record, settings, grant } = subject;
        let working_dir = WorkingDir::of(workspace.path(), grant).map_err(SpawnError::from)?;
        let (chosen, can_ask) = match asked {
            Asked::Provider { options, can_ask } => {
                (choose(setup, ground, Place { record, settings }, options)?, can_ask)
            }
            Asked::Command(command) => (by_hand(setup, ground, &working_dir, command)?, false),
        };
        let asks = can_ask && chosen.permission_mode != PermissionMode::BypassPermissions;
        let paths = provider_home::paths(store, workspace, record, settings, &chosen.name, &working_dir)?;
        let (brief, mut notices) = workspace.brief(settings, working_dir.path());
        notices.extend(chosen.notices.iter().cloned());
        let inputs = PolicyInputs { setup, ground, subject, working_dir: working_dir.path(), chosen: &chosen, asks };
        let (policy, without_walls) = policy(&inputs)?;
        let brief = brief.with(policy.told_of(working_dir.path()));
        Ok(Self { chosen, paths, working_dir, brief, policy, asks, without_walls, notices })
    }

    /// Everything that the person should know.
    pub fn notices(&self) -> impl Iterator<Item = &String> {
        self.notices.iter().chain(&self.without_walls)
    }

    /// Whether the session's folder holds the file that makes a conversation
    /// resumable: a regular file with one name, reached through no link.
    #[must_use]
    pub fn keeps(&self, id: &str) -> bool {
        use std::os::unix::fs::MetadataExt;
        let provider = self.chosen.provider;
        if !provider.keeps_files() {
            return provider.is_conversation_file(id, Path::new(""));
        }
        let mut files = files_below(&self.paths.conversations);
        files.any(|(file, metadata)| provider.is_conversation_file(id, &file) && metadata.nlink() == 1)
    }

    /// What its provider is told, for a conversation, without a message.
    pub(super) fn turn<'a>(
        &'a self,
        user: &'a LoginUser<'a>,
        continuation: &'a Continuation,
        new_id: Uuid,
    ) -> Turn<'a> {
        let Chosen { program, options, model, permission_mode, .. } = &self.chosen;
        Turn {
            program,
            options,
            place: &self.paths,
            user,
            continuation,
            new_id,
            prompt: "",
            raw: false,
            brief: &self.brief,
            told: false,
            model: model.as_deref(),
            permission_mode: *permission_mode,
            stream: true,
            walled: self.policy.walls.is_some(),
            asks: self.asks,
        }
    }

    /// What its children are started with, all but their environment: it is each
    /// invocation's own.
    #[must_use]
    pub fn launch<'a>(&self, setup: &'a Setup) -> Launch<'a> {
        Launch {
            launcher: &setup.launcher,
            working_dir: self.working_dir.clone(),
            confinement: self.policy.clone(),
            deadline: None,
            environment: Environment::default(),
            login: None,
        }
    }
}

/// A command of the person's: a name in PATH, or a path from where it runs.
fn by_hand(
    setup: &Setup,
    ground: &Ground<'_>,
    working_dir: &WorkingDir,
    command: &[OsString],
) -> Result<Chosen, ChoiceError> {
    let provider = built_in("command").ok_or_else(|| ChoiceError::NoProgram("exec".to_owned()))?;
    let program = command.first().map(PathBuf::from).unwrap_or_default();
    let program = if program.components().count() > 1 { working_dir.path().join(program) } else { program };
    let options = Options { program: Some(program.to_string_lossy().into_owned()), ..Options::none("exec") };
    let program = find_program(provider, &options, &setup.environment, &setup.launcher, ground);
    let program = program.map_err(|error| match error {
        ChoiceError::NotInstalled { program, .. } => ChoiceError::NoCommand(program),
        error => error,
    })?;
    Ok(Chosen {
        name: options.name.clone(),
        provider,
        options,
        program,
        model: None,
        permission_mode: PermissionMode::BypassPermissions,
        notices: Vec::new(),
    })
}
