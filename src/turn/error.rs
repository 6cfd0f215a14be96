//! Why there is nothing to run.

use std::path::PathBuf;

use crate::provider::{AUTO, OptionsError};

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
