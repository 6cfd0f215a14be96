//! The session that a plan is made for.

use crate::session::{Grant, Record, Settings, Store, Workspace, WorkspaceGuard};

/// The session that something is to run in, as it was read.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Where sessions are.
    pub store: &'a Store,
    /// Its folder.
    pub workspace: &'a Workspace,
    /// Its record.
    pub record: &'a Record,
    /// Its settings.
    pub settings: &'a Settings,
    /// What its owner granted to it.
    pub grant: &'a Grant,
}

impl<'a> Subject<'a> {
    /// A session that is in hand.
    #[must_use]
    pub fn of(guard: &'a WorkspaceGuard, settings: &'a Settings, grant: &'a Grant) -> Self {
        Self { store: guard.store(), workspace: guard.workspace(), record: guard.record(), settings, grant }
    }
}
