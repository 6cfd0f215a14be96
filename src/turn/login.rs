//! Logging in: the CLI's own command, run for the person outside of any session.

use std::process::ExitStatus;

use super::TurnError;
use super::choose::find_program;
use super::error::ChoiceError;
use super::resolve::provider_of;
use super::setup::Setup;
use crate::login;
use crate::process::outside::{self, OutsideProgram};
use crate::session::Store;

/// Runs a provider's own command that logs in, with the person's terminal and
/// home. Nobody renews that login meanwhile; `tell` is called where somebody
/// may be doing so and is waited for. Blocks the thread.
///
/// # Errors
/// If the provider has no login of its own, or its program cannot be started.
pub fn log_in(setup: &Setup, store: &Store, name: &str, tell: impl FnOnce()) -> Result<ExitStatus, TurnError> {
    let (provider, options) = provider_of(&setup.config, name)?;
    let args = provider.login_command().ok_or_else(|| ChoiceError::NoLogin(name.to_owned()))?;
    let ground = setup.ground(store);
    let program = find_program(provider, &options, &setup.environment, &setup.launcher, &ground)?;
    let trusted = OutsideProgram::at(&program, &ground);
    let trusted = trusted.map_err(|reason| ChoiceError::Distrusted { name: name.to_owned(), program, reason })?;
    let _alone = login::hold(store, provider, &setup.user(&ground), tell)?;
    let environment = outside::environment(&setup.environment, &ground);
    Ok(trusted.run_by_hand(args, &environment, setup.home.as_deref())?)
}
