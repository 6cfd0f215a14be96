//! The walls of a turn or terminal: worked out for what was chosen, or left out
//! where a person at a terminal has no means for them.

use std::path::Path;

use super::{Chosen, Setup, TurnError};
use crate::confine::{self, ConfineError, Confinement, Inputs};
use crate::process;
use crate::session::WorkspaceGuard;

/// Works out what the child of a turn may see and do. The second part is a word
/// for the person, where there are no walls though the configuration asks for
/// them: a person who sits there may go on, a service may not.
///
/// # Errors
/// Where the walls cannot be had.
pub fn confinement(
    setup: &Setup,
    guard: &WorkspaceGuard,
    chosen: &Chosen,
    working_dir: &Path,
) -> Result<(Confinement, Option<String>), TurnError> {
    let means = setup.means.get_or_init(|| process::probe::means(guard.store(), &setup.environment));
    let inputs = Inputs {
        config: &setup.config,
        store: guard.store(),
        user: &setup.user(),
        key: &guard.record().key,
        folder: guard.folder(),
        session: guard.path(),
        working_dir,
        provider: chosen.provider,
        options: &chosen.options,
        program: &chosen.program,
        permission_mode: chosen.permission_mode,
        means,
    };
    match confine::plan(&inputs) {
        Ok(confinement) => Ok((confinement, None)),
        Err(ConfineError::Means { level, obstacle }) if !setup.unattended => {
            let open = confine::plan::without_walls(&inputs);
            Ok((
                open,
                Some(format!("this runs without walls (`walls = \"{level}\"`): {obstacle}: {}", obstacle.remedy())),
            ))
        }
        Err(error) => Err(error.into()),
    }
}
