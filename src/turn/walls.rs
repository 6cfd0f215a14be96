//! The walls of a turn or terminal: worked out for what was chosen, or left out
//! where a person at a terminal has no means for them.

use std::path::Path;

use super::{Chosen, Setup};
use crate::key::Key;
use crate::process;
use crate::sandbox::{self, ConfineError, Policy, PolicyInputs};
use crate::session::{Store, WorkspaceGuard};

/// The session that walls are for.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Where sessions are.
    pub store: &'a Store,
    /// Its key.
    pub key: &'a Key,
    /// The name of its folder.
    pub folder: &'a str,
    /// Its folder.
    pub session: &'a Path,
    /// The directory that its children start in.
    pub working_dir: &'a Path,
}

impl<'a> Subject<'a> {
    /// A session that is in hand.
    #[must_use]
    pub fn of(guard: &'a WorkspaceGuard, working_dir: &'a Path) -> Self {
        let key = &guard.record().key;
        Self { store: guard.store(), key, folder: guard.folder(), session: guard.path(), working_dir }
    }
}

/// Works out what a child may see and do. The second part is a word for the
/// person, if there are no walls though the configuration asks for them: a
/// person who sits there may go on, a service may not.
///
/// # Errors
/// If the walls cannot be had.
pub fn policy(
    setup: &Setup,
    subject: Subject<'_>,
    chosen: &Chosen,
    asks: bool,
) -> Result<(Policy, Option<String>), ConfineError> {
    let ground = setup.ground(subject.store);
    let means = || setup.means.get_or_init(|| process::probe::means(subject.store, &setup.config, &setup.environment));
    let inputs = PolicyInputs {
        config: &setup.config,
        store: subject.store,
        user: &setup.user(&ground),
        key: subject.key,
        folder: subject.folder,
        session: subject.session,
        working_dir: subject.working_dir,
        provider: chosen.provider,
        options: &chosen.options,
        program: &chosen.program,
        permission_mode: chosen.permission_mode,
        asks,
        means: &means,
        closed: &setup.closed,
        private: &setup.private,
        group: setup.group.as_deref(),
    };
    match sandbox::plan(&inputs) {
        Ok(confinement) => Ok((confinement, None)),
        Err(ConfineError::Means { level, obstacle }) if !setup.unattended => {
            let open = sandbox::plan::without_walls(&inputs);
            let remedy = obstacle.remedy();
            Ok((open, Some(format!("this runs without walls (`walls = \"{level}\"`): {obstacle}: {remedy}"))))
        }
        Err(error) => Err(error),
    }
}
