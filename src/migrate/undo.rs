//! Taking a migration back: the sessions that were made for a file go to the
//! trash, where nobody has used them since.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::importer::LegacyError;
use super::receipt::{MigrationReceipt, UNDONE, make_room, receipts_path};
use crate::causes::with_causes;
use crate::files::{Dir, Stamp};
use crate::key::Key;
use crate::session::{Claim, ClaimedFolder, Store, Workspace};

/// What was taken back, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// The sessions that are in the trash now.
    pub removed: Vec<Key>,
    /// The sessions that were changed since, each with how.
    pub changed: Vec<(Key, String)>,
}

/// How long a session that somebody uses is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// Takes back what was made for the file of a receipt. `step` is called after
/// each session.
///
/// # Errors
/// If the receipt cannot be read, or a session cannot be moved.
pub async fn undo(store: &Arc<Store>, wanted: &str, step: &mut dyn FnMut()) -> Result<Undone, LegacyError> {
    let (path, receipt) = MigrationReceipt::read(store, wanted)?;
    let mut undone = Undone::default();
    for outcome in receipt.entries.iter().filter(|outcome| outcome.made) {
        let Some(key) = &outcome.session else { continue };
        step();
        let Some(workspace) = store.find(key)? else { continue };
        match workspace.record() {
            Ok(record) if Some(record.uuid) != outcome.uuid => continue,
            Ok(_) => {}
            Err(error) => {
                undone.changed.push((key.clone(), with_causes(&error)));
                continue;
            }
        }
        if let Some(how) = changed_since(&workspace, receipt.migrated_at) {
            undone.changed.push((key.clone(), how));
            continue;
        }
        let mut claim = Claim::hold(Arc::clone(store), workspace.folder())?;
        let Ok(lock) = claim.wait(Some(PATIENCE), &mut |_| {}).await else {
            undone.changed.push((key.clone(), "it is in use".to_owned()));
            continue;
        };
        if let ClaimedFolder::Session(guard) = store.open(lock, claim)? {
            store.trash(&guard, &store.place_in_trash(guard.folder()))?;
            undone.removed.push(key.clone());
        }
    }
    if undone.changed.is_empty() {
        retire(store, &path)?;
    }
    Ok(undone)
}

/// Gives the receipt a name that says that it was taken back, so that no start
/// does the same again unasked.
fn retire(store: &Store, path: &Path) -> Result<(), LegacyError> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    if name.ends_with(UNDONE) {
        return Ok(());
    }
    let receipts = Dir::open(&receipts_path(store))?;
    let retired = format!("{name}{UNDONE}");
    make_room(&receipts, &retired)?;
    receipts.move_entry(Path::new(name), &receipts, Path::new(&retired))?;
    Ok(receipts.sync()?)
}

/// What of a session was changed after a time.
fn changed_since(workspace: &Workspace, time: Timestamp) -> Option<String> {
    if workspace.record().is_ok_and(|record| record.last_turn.is_some()) {
        return Some("it has taken a turn since".to_owned());
    }
    let changed: Vec<String> = walkdir::WalkDir::new(workspace.path())
        .min_depth(1)
        .into_iter()
        .flatten()
        .filter(|entry| entry.metadata().is_ok_and(|metadata| Stamp::from(&metadata).changed > time.as_nanosecond()))
        .filter_map(|entry| Some(entry.path().strip_prefix(workspace.path()).ok()?.display().to_string()))
        .take(5)
        .collect();
    (!changed.is_empty()).then(|| format!("changed since: {}", changed.join(", ")))
}
