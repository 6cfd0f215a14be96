//! How far the daemon is on its way out.

/// How far the daemon is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShutdownStage {
    /// It serves.
    Serve,
    /// It takes nothing in any more, and lets running turns finish for a while.
    Leave,
    /// It goes at once.
    AtOnce,
}
