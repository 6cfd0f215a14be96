//! Moving in: what earlier systems left is found, planned, and made into
//! sessions. What they left is only read.
//!
//! `read` looks at the files of a place as a stranger's, an importer
//! makes an `ImportDraft` of what was read (pure), `MigrationPlan::of` puts the drafts
//! together (pure), `locate` looks for the conversations, `apply` does it.
//! To add a system: a file here, a `mod` line, an entry in `IMPORTERS`.
//!
//! Not here: the words, and when it happens; sessions that are there already are
//! never changed.

mod apply;
mod claude_telegram_bot;
mod claudeclaw;
mod fields;
mod importer;
mod keys;
mod locate;
mod plan;
mod proposal;
mod read;
mod receipt;
mod take;
mod tinyclaw;
mod undo;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use apply::Report;
pub use importer::{Importer, LegacyError, LegacySearch};
pub use plan::{
    ConversationPlace, ConversationRole, ImportDraft, LeftMessage, LegacyConversation, LegacyFile, MigrationPlan,
    Planned, Skipped, WantedConversation,
};
pub use read::{LegacyDaemon, LegacyReader, LegacyState, Read, Refused};
pub use receipt::{Became, MigratedOutcome, MigrationReceipt};
pub use undo::{Undone, undo};

use crate::files::{self, Lock, Stamp};
use crate::provider::LoginUser;
use crate::session::Store;

/// The systems that are known.
pub const IMPORTERS: &[&dyn Importer] =
    &[&claudeclaw::ClaudeClaw, &claude_telegram_bot::ClaudeTelegramBot, &tinyclaw::TinyClaw];

/// What a migration needs.
#[derive(Clone)]
pub struct Migration<'a> {
    /// Where sessions are made.
    pub store: &'a Arc<Store>,
    /// Where to look.
    pub search: LegacySearch,
    /// The user whose conversations are taken along.
    pub user: LoginUser<'a>,
    /// The configuration file, which gets the proposals.
    pub config_file: &'a Path,
    /// Whether files are taken that a program still writes.
    pub force: bool,
    /// Whether files are looked at again that were refused, or whose migration
    /// was taken back.
    pub again: bool,
}

/// The files at a glance that were not dealt with yet. Costs a few looks at
/// names if there are none, and reads nothing.
#[must_use]
pub fn glance(store: &Store, search: &LegacySearch) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for importer in IMPORTERS {
        for base in importer.bases(search) {
            for sign in importer.signs() {
                let Ok(metadata) = base.join(sign).symlink_metadata() else { continue };
                let Ok(path) = std::fs::canonicalize(&base).map(|base| base.join(sign)) else { continue };
                let stamp = Stamp::from(&metadata);
                let dealt_with = receipt::is_dealt_with(store, importer.name(), &path, &stamp, true);
                if metadata.is_file() && !dealt_with && !found.contains(&path) {
                    found.push(path);
                }
            }
        }
    }
    found
}

impl Migration<'_> {
    /// Takes the lock that makes this the only migration into the root; `None`
    /// where another has it. What one that was killed left unfinished is removed.
    ///
    /// # Errors
    /// If the lock cannot be taken.
    pub fn lock(&self) -> Result<Option<Lock>, LegacyError> {
        let path = self.store.state_path("migrate.lock");
        files::make_private_dir(&self.store.state_path(""), self.store.durability())?;
        let lock = Lock::try_take(&path)?;
        if let Some(lock) = &lock {
            self.store.forget_planting(lock)?;
        }
        Ok(lock)
    }

    /// Reads what is there, and says what would become of it. Changes nothing.
    /// `step` is called after each conversation that was looked for.
    #[must_use]
    pub fn plan(&self, step: &mut dyn FnMut()) -> MigrationPlan {
        let mut drafts = Vec::new();
        let mut seen: Vec<(&str, PathBuf)> = Vec::new();
        for importer in IMPORTERS {
            let name = importer.name();
            let dealt_with =
                |path: &Path, stamp: &Stamp| receipt::is_dealt_with(self.store, name, path, stamp, !self.again);
            for base in importer.bases(&self.search) {
                let Some(reader) = LegacyReader::open(&base, &dealt_with) else { continue };
                let mut reader = reader.with_queues(self.search.replay);
                if seen.contains(&(name, reader.state().base.clone())) {
                    continue;
                }
                importer.read(&mut reader);
                let state = reader.finish();
                seen.push((name, state.base.clone()));
                let draft = importer.plan(&state);
                drafts.push((name, state, draft));
            }
        }
        let rows_dealt_with =
            |path: &Path, stamp: &Stamp| receipt::is_dealt_with(self.store, "tinyclaw", path, stamp, !self.again);
        if let Some((dir, file)) = self.search.rows.as_ref().and_then(|rows| Some((rows.parent()?, rows.file_name()?)))
            && let Some(mut reader) = LegacyReader::open(dir, &rows_dealt_with)
        {
            reader.file(&file.to_string_lossy());
            let state = reader.finish();
            let draft = tinyclaw::plan_rows(&state);
            drafts.push(("tinyclaw", state, draft));
        }
        let mut plan = MigrationPlan::of(drafts, self.force);
        locate::locate(&mut plan, &self.user, step);
        plan
    }

    /// Does what was planned under the lock. `step` is called after each session.
    ///
    /// # Errors
    /// If something cannot be written; the next try goes on with it.
    pub fn apply(&self, lock: &Lock, plan: &MigrationPlan, step: &mut dyn FnMut()) -> Result<Report, LegacyError> {
        apply::apply(self.store, lock, plan, self.config_file, step)
    }

    /// What a start does: everything that is found and was not dealt with, and
    /// nothing else. It waits for nobody.
    ///
    /// # Errors
    /// If something cannot be written, which is to be said and keeps nobody
    /// from starting.
    pub fn at_start(&self) -> Result<(MigrationPlan, Report), LegacyError> {
        let plan = self.plan(&mut || {});
        if plan.sources.is_empty() {
            return Ok((plan, Report::default()));
        }
        let lock = self.lock()?.ok_or(LegacyError::Busy)?;
        // Another may have done it meanwhile.
        let plan = self.plan(&mut || {});
        let report = if plan.sources.is_empty() { Report::default() } else { self.apply(&lock, &plan, &mut || {})? };
        Ok((plan, report))
    }
}
