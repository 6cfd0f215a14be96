//! Tidying up: archiving what is idle, deleting what has been in the trash for
//! long enough. Nothing but what the configuration or the caller says.

use std::time::Duration;

use super::{Control, ControlError, Wait};
use crate::key::Key;
use crate::session::Trashed;

/// What a cleanup would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupPlan {
    /// The sessions that it would archive.
    pub idle: Vec<Key>,
    /// The removed sessions that it would delete for good.
    pub expired: Vec<Trashed>,
}

/// What a cleanup did.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// The sessions that were archived.
    pub archived: Vec<Key>,
    /// The removed sessions that were deleted for good.
    pub deleted: Vec<Trashed>,
    /// The sessions that were not archived, and why.
    pub failed: Vec<(Key, ControlError)>,
}

impl Control {
    /// What a cleanup would do: sessions without a turn for `idle`, where that
    /// is given or configured, and what was in the trash for longer than the
    /// configuration says.
    ///
    /// # Errors
    /// Where the sessions or the trash cannot be read.
    pub fn plan_cleanup(&self, idle: Option<Duration>) -> Result<CleanupPlan, ControlError> {
        let now = jiff::Timestamp::now();
        let retention = self.setup.config.retention;
        let mut plan = CleanupPlan { idle: Vec::new(), expired: Vec::new() };
        if let Some(idle) = idle.or(retention.idle) {
            for shown in self.list()? {
                let Ok(record) = shown.record else { continue };
                let since = Duration::try_from(now.duration_since(record.last_used_at)).unwrap_or_default();
                if !shown.busy && record.archived_at.is_none() && since > idle {
                    plan.idle.push(record.key);
                }
            }
        }
        if let Some(age) = retention.trash {
            plan.expired = self.store.purgeable(age)?;
        }
        Ok(plan)
    }

    /// Does what was planned. `step` is called after each session.
    ///
    /// # Errors
    /// Where something in the trash cannot be deleted.
    pub async fn cleanup(
        &self,
        plan: CleanupPlan,
        wait: &mut Wait<'_>,
        step: &mut dyn FnMut(),
    ) -> Result<Cleaned, ControlError> {
        let mut cleaned = Cleaned::default();
        for key in plan.idle {
            match self.archive(&key, true, wait).await {
                Ok(_) => cleaned.archived.push(key),
                Err(error) => cleaned.failed.push((key, error)),
            }
            step();
        }
        for trashed in plan.expired {
            self.store.purge_one(&trashed)?;
            cleaned.deleted.push(trashed);
            step();
        }
        Ok(cleaned)
    }
}
