//! The proof: an adversary that tries to get out of a session, for real.
//!
//! `ATTEMPTS` is the one table of what is tried and what has to come of it in
//! each mode. `adversary` makes the attempts inside a session's confinement,
//! `stage` builds what they are aimed at, `run` puts the one into the other and
//! compares. Nothing here confines anything: that is `sandbox`'s.

mod adversary;
mod attempt;
mod files;
mod granted;
mod kernel;
mod own;
mod processes;
mod raw;
mod run;
mod sockets;
mod stage;
mod table;
mod terminals;

pub use adversary::run as adversary;
pub use attempt::{Attempt, AttemptGroup, AttemptLine, Expected, Prevention};
pub use run::{AttemptRow, AttemptVerdict, Mode, Proof, prove};
pub use stage::ProofError;
pub use table::ATTEMPTS;
