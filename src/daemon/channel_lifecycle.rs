//! Channels and threads that are made, renamed, archived and deleted: their
//! sessions follow, and are never made for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::context::{Shared, blocking};
use crate::causes::with_causes;
use crate::channel::PlaceChange;
use crate::files::{self, Dir, make_private_dir};
use crate::key::Key;
use crate::ops::{Control, ControlError, Wait};
use crate::session::SessionError;
use crate::turn::TurnEvents;

/// The longest note that is read, in bytes.
const MAX_NOTE_BYTES: u64 = 64 * 1024;

/// The longest title, in bytes.
const MAX_TITLE_BYTES: usize = 200;

/// Lets a session follow its place.
pub(super) async fn change(shared: Shared, change: PlaceChange) {
    let control = shared.control();
    let done = match &change {
        PlaceChange::Created { key, title } => rename(&control, key, title, false).await,
        PlaceChange::Renamed { key, title } => rename(&control, key, title, true).await,
        PlaceChange::Archived(key) => archive(&control, key, true).await,
        PlaceChange::Revived(key) => archive(&control, key, false).await,
        PlaceChange::Deleted(key) => {
            let (control, key) = (control.clone(), key.clone());
            blocking(move || note_deleted(&control, &key)).await
        }
    };
    match done {
        // There is nothing to follow.
        Ok(()) | Err(ControlError::Session(SessionError::NoSuchSession(_))) => {}
        Err(error) => tracing::warn!("a session could not follow its channel: {}", with_causes(&error)),
    }
}

async fn rename(control: &Control, key: &Key, title: &str, over: bool) -> Result<(), ControlError> {
    let title = fitting_title(title);
    let Some(record) = control.store.find(key)?.map(|workspace| workspace.record()).transpose()? else {
        return Ok(());
    };
    if record.title.as_deref() == Some(&title) || (record.title.is_some() && !over) {
        return Ok(());
    }
    with_wait(async |wait| control.rename(key, &title, wait).await.map(|_| ())).await
}

async fn archive(control: &Control, key: &Key, archived: bool) -> Result<(), ControlError> {
    with_wait(async |wait| control.archive(key, archived, wait).await.map(|_| ())).await
}

/// A title as a session may have it.
pub(super) fn fitting_title(title: &str) -> String {
    let mut fitting = String::new();
    for c in title.trim().chars().filter(|c| !c.is_control()) {
        if fitting.len() + c.len_utf8() > MAX_TITLE_BYTES {
            break;
        }
        fitting.push(c);
    }
    fitting
}

async fn with_wait<T>(act: impl AsyncFnOnce(&mut Wait<'_>) -> T) -> T {
    act(&mut Wait { limit: None, events: &TurnEvents::default() }).await
}

/// That the channel of a session was deleted.
#[derive(Debug, Serialize, Deserialize)]
struct Deleted {
    key: String,
    at: Timestamp,
}

fn notes(control: &Control) -> PathBuf {
    control.store.state_path("channels/deleted")
}

/// Notes that the channel of a session was deleted. Blocks.
fn note_deleted(control: &Control, key: &Key) -> Result<(), ControlError> {
    if control.store.find(key)?.is_none() || control.setup.config.retention.deleted_channels.is_none() {
        return Ok(());
    }
    let path = notes(control);
    make_private_dir(&path, control.store.durability())?;
    let dir = Dir::open(&path)?;
    let name = key.folder_name();
    if dir.stamp(Path::new(&name))?.is_some() {
        // Told before: the time runs from then.
        return Ok(());
    }
    let note = Deleted { key: key.to_string(), at: crate::session::now() };
    // Serialising plain data into memory cannot fail.
    let bytes = serde_json::to_vec(&note).unwrap_or_default();
    dir.replace(Path::new(&name), &bytes, control.store.staging()?)?;
    Ok(())
}

/// Moves the sessions to the trash whose channels were deleted long enough ago.
/// `stop` ends what runs in one.
pub(super) async fn sweep(shared: Shared, stop: impl Fn(&Key)) {
    let control = shared.control();
    let Some(age) = control.setup.config.retention.deleted_channels else { return };
    let due = {
        let control = control.clone();
        blocking(move || due(&control, age)).await
    };
    let due = match due {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!("the notes of deleted channels cannot be read: {error}");
            return;
        }
    };
    for (key, note) in due {
        stop(&key);
        match remove(&control, &key).await {
            Ok(()) | Err(ControlError::Session(SessionError::NoSuchSession(_))) => {
                shared.note(&key.folder_name(), "its channel was deleted, so it is in the trash");
                let _removed = std::fs::remove_file(note);
            }
            Err(error) => tracing::warn!("a session of a deleted channel stays: {}", with_causes(&error)),
        }
    }
}

async fn remove(control: &Arc<Control>, key: &Key) -> Result<(), ControlError> {
    {
        let (control, key) = (control.clone(), key.clone());
        // What a terminal or another process runs in it ends as well.
        blocking(move || control.stop(&key)).await?;
    }
    with_wait(async |wait| control.remove(key, false, wait).await.map(|_| ())).await
}

/// The keys whose time has come, with their notes. Blocks.
fn due(control: &Control, age: std::time::Duration) -> Result<Vec<(Key, PathBuf)>, files::Error> {
    let path = notes(control);
    let dir = match Dir::open(&path) {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        opened => opened?,
    };
    let now = Timestamp::now();
    let mut due = Vec::new();
    for name in dir.names()? {
        let Ok(bytes) = dir.read(Path::new(&name), MAX_NOTE_BYTES) else { continue };
        let Ok(note) = serde_json::from_slice::<Deleted>(&bytes) else { continue };
        let Ok(key) = note.key.parse::<Key>() else { continue };
        let passed = std::time::Duration::try_from(now.duration_since(note.at)).unwrap_or_default();
        if passed >= age {
            due.push((key, path.join(&name)));
        }
    }
    Ok(due)
}

/// The channel of a session is there after all: somebody wrote in it.
pub(super) fn is_there(control: &Control, key: &Key) {
    // Nearly always there is none.
    let _removed = std::fs::remove_file(notes(control).join(key.folder_name()));
}

#[cfg(test)]
mod tests {
    use super::fitting_title;

    #[test]
    fn a_title_is_cut_and_cleaned() {
        assert_eq!(fitting_title(" a\nb "), "ab");
        assert_eq!(fitting_title(&"ü".repeat(4000)).len(), 200);
    }
}
