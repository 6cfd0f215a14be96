//! Tidying up: archiving what is idle, trashing what was archived for long,
//! deleting what has been in the trash for long enough. Nothing but what the
//! configuration or the caller says.

use std::time::Duration;

use jiff::Timestamp;

use super::cleanup_receipt::{CleanupReceipt, Noted};
use super::{Control, ControlError, Wait};
use crate::config::Retention;
use crate::key::Key;
use crate::login;
use crate::session::{Record, SessionError, Trashed};

/// What a cleanup does with one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanupStep {
    /// It is archived.
    Archive(Key),
    /// It was archived, and is moved to the trash.
    Trash(Key),
    /// It was in the trash, and is deleted for good.
    Delete(Trashed),
}

/// What a cleanup would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupPlan {
    rules: CleanupRules,
    /// Its steps, in order.
    pub steps: Vec<CleanupStep>,
}

/// What is old enough, at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CleanupRules {
    now: Timestamp,
    retention: Retention,
}

impl CleanupRules {
    /// What is to be done with a session, as far as its record says.
    fn step(&self, record: &Record) -> Option<CleanupStep> {
        let (since, age) = match record.archived_at {
            None => (record.last_used_at, self.retention.idle?),
            Some(archived_at) => (archived_at, self.retention.archived?),
        };
        // A time to come is no age.
        let passed = Duration::try_from(self.now.duration_since(since)).unwrap_or_default();
        (passed > age).then(|| match record.archived_at {
            None => CleanupStep::Archive(record.key.clone()),
            Some(_) => CleanupStep::Trash(record.key.clone()),
        })
    }
}

impl CleanupStep {
    /// The session's key, or its name in the trash.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Archive(key) | Self::Trash(key) => key.as_str(),
            Self::Delete(trashed) => &trashed.name,
        }
    }
}

impl Control {
    /// What a cleanup would do: sessions without a turn for `idle`, where that
    /// is given or configured, sessions that have been archived for long, and
    /// what was in the trash for longer than the configuration says.
    ///
    /// # Errors
    /// If the sessions or the trash cannot be read.
    pub fn plan_cleanup(&self, idle: Option<Duration>) -> Result<CleanupPlan, ControlError> {
        let mut retention = self.setup.config.retention;
        retention.idle = idle.or(retention.idle);
        let rules = CleanupRules { now: Timestamp::now(), retention };
        let (mut archive, mut trash) = (Vec::new(), Vec::new());
        if retention.idle.is_some() || retention.archived.is_some() {
            let running = self.running()?;
            // One record at a time: there may be many sessions.
            for listed in self.store.listed()? {
                let shown = self.show(listed, &running);
                let Ok(record) = shown.record else { continue };
                match rules.step(&record) {
                    Some(CleanupStep::Archive(key)) if !shown.busy => archive.push(key),
                    Some(CleanupStep::Trash(key)) if !shown.busy && self.pending(&shown.folder)?.is_empty() => {
                        trash.push(key);
                    }
                    _ => {}
                }
            }
        }
        archive.sort();
        trash.sort();
        let expired = retention.trash.map(|age| self.store.purgeable(age)).transpose()?.unwrap_or_default();
        let steps = archive.into_iter().map(CleanupStep::Archive);
        let steps = steps.chain(trash.into_iter().map(CleanupStep::Trash));
        Ok(CleanupPlan { rules, steps: steps.chain(expired.into_iter().map(CleanupStep::Delete)).collect() })
    }

    /// Does what was planned. `tell` hears of each step that was done or failed;
    /// one whose session was used meanwhile is left out.
    ///
    /// Each step is noted in the receipt before it is done, so that [`Control::undo`]
    /// knows of all of them wherever this ends.
    ///
    /// # Errors
    /// If another cleanup is running.
    pub async fn cleanup(
        &self,
        plan: CleanupPlan,
        wait: &mut Wait<'_>,
        tell: &mut dyn FnMut(&CleanupStep, Result<(), ControlError>),
    ) -> Result<(), ControlError> {
        if plan.steps.is_empty() {
            return Ok(());
        }
        let mut receipt = CleanupReceipt::begin(&self.store)?;
        for step in &plan.steps {
            match self.clean(plan.rules, step, &mut receipt, wait).await {
                Ok(false) => {}
                Ok(true) => tell(step, Ok(())),
                Err(error) => tell(step, Err(error)),
            }
        }
        Ok(())
    }

    /// Does one step. `false` if there is no reason for it any more.
    async fn clean(
        &self,
        rules: CleanupRules,
        step: &CleanupStep,
        receipt: &mut CleanupReceipt<'_>,
        wait: &mut Wait<'_>,
    ) -> Result<bool, ControlError> {
        let key = match step {
            CleanupStep::Archive(key) | CleanupStep::Trash(key) => key,
            CleanupStep::Delete(trashed) => {
                if !trashed.path.is_dir() {
                    return Ok(false);
                }
                receipt.note(&Noted::Deleted { name: trashed.name.clone() })?;
                self.store.purge_one(trashed)?;
                return Ok(true);
            }
        };
        let mut guard = match self.guard(key, wait).await {
            Err(ControlError::Session(SessionError::NoSuchSession(_))) => return Ok(false),
            guard => guard?,
        };
        if rules.step(guard.record()).as_ref() != Some(step) {
            return Ok(false);
        }
        let (key, uuid) = (key.clone(), guard.record().uuid);
        if matches!(step, CleanupStep::Archive(_)) {
            let archived_at = crate::session::now();
            receipt.note(&Noted::Archived { key, uuid, archived_at })?;
            guard.record_mut().archived_at = Some(archived_at);
            guard.save()?;
            return Ok(true);
        }
        if !self.pending(guard.folder())?.is_empty() {
            return Ok(false);
        }
        login::settle_own(&self.store, guard.folder()).await?;
        let place = self.store.place_in_trash(guard.folder());
        receipt.note(&Noted::Trashed { key, uuid, name: place.name.clone() })?;
        self.store.trash(&guard, &place)?;
        // One that was accepted meanwhile is for this session, and waits in line
        // behind this.
        if !self.pending(guard.folder())?.is_empty() {
            self.store.untrash(&place)?;
            return Ok(false);
        }
        Ok(true)
    }
}
