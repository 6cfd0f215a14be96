//! What an earlier process left in the queues.
//!
//! Nothing is looked at before the daemon is ready. Then the queues are walked
//! in the background; and a session that gets a message first is looked at
//! first, so that what waited there comes before it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config_watcher::FileWatch;
use super::context::{Shared, blocking};
use super::event::LoopEvent;
use super::session_state::{Work, WorkerState};
use crate::files::{Durability, make_private_dir};
use crate::key::Key;
use crate::ops::{Control, ControlError};
use crate::session::{EntryNote, Queue, Store};

/// Hears of the sessions that other processes have changed, until nobody listens.
/// What changed before is found by [`walk`].
pub(super) async fn watch(shared: Shared) {
    let store = shared.control().store.clone();
    let changed = store.changed_path();
    let watched = async {
        make_private_dir(&changed, Durability::Process).map_err(std::io::Error::other)?;
        let heard = FileWatch::new(&changed, |_| true)?;
        loop {
            for path in files_of(&changed) {
                // Before the look, so that what is noted meanwhile counts.
                let _removed = std::fs::remove_file(&path);
                let folder = path.file_name().and_then(OsStr::to_str);
                if let Some(key) = folder.and_then(|folder| key_of(&store, folder)) {
                    let _gone = shared.events.send(LoopEvent::Left(key)).await;
                }
            }
            heard.changed().await;
        }
    };
    let ended: notify::Result<()> = watched.await;
    if let Err(error) = ended {
        tracing::warn!("replies to `denizen retry` are not posted before a restart: {error}");
    }
}

/// Finds the sessions of which something is left, and reports each.
pub(super) async fn walk(shared: Shared) {
    let store = shared.control().store.clone();
    let events = shared.events.clone();
    blocking(move || {
        match store.settle_all_granted() {
            Ok(words) => {
                for (folder, word) in words {
                    tracing::warn!(session = folder, "{word}");
                }
            }
            Err(error) => tracing::warn!("what earlier turns left in granted directories was not looked at: {error}"),
        }
        store.empty_discarded();
        let Ok(queues) = std::fs::read_dir(store.state_path("queue")) else { return };
        for queue in queues.flatten() {
            let Some(folder) = queue.file_name().to_str().map(str::to_owned) else { continue };
            if !holds_something(&queue.path()) {
                continue;
            }
            let Some(key) = key_of(&store, &folder) else {
                tracing::warn!("messages wait in a queue whose session nobody knows: `{}`", queue.path().display());
                continue;
            };
            if events.blocking_send(LoopEvent::Left(key)).is_err() {
                return;
            }
        }
    })
    .await;
}

fn files_of(directory: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn holds_something(queue: &Path) -> bool {
    files_of(queue).any(|path| path.extension().is_some_and(|ending| ending == "entry" || ending == "files"))
}

/// The key of a folder, which need not exist.
fn key_of(store: &Store, folder: &str) -> Option<Key> {
    let record = store.open_folder(folder).ok().flatten().and_then(|workspace| workspace.record().ok());
    let own = record.map(|record| record.key).filter(|key| key.folder_name() == folder);
    own.or_else(|| Key::from_plain_folder(folder))
}

/// Puts in a lane what an earlier process left of its session.
pub(super) async fn look(shared: &Shared, state: &Arc<WorkerState>) {
    let control = shared.control();
    if !control.store.queue_path(&state.folder).is_dir() {
        return;
    }
    let found = {
        let (shared, state) = (shared.clone(), state.clone());
        blocking(move || left(&shared, &control, &state)).await
    };
    match found {
        Ok(works) => works.into_iter().for_each(|work| state.push(work)),
        Err(error) => tracing::warn!(session = state.folder, "what was left in its queue cannot be read: {error}"),
    }
}

fn left(shared: &Shared, control: &Control, state: &WorkerState) -> Result<Vec<Work>, ControlError> {
    let queue = Queue::open(&control.store, &state.folder)?;
    let workspace = control.store.find(&state.key)?;
    let uuid = workspace.as_ref().and_then(|workspace| workspace.record().ok()).map(|record| record.uuid);
    let mut works = Vec::new();
    for place in queue.line().places()? {
        // What somebody holds is being dealt with, and so is what waits here.
        if place.alive || place.name.extension().is_none_or(|ending| ending != "entry") || state.has(place.number) {
            continue;
        }
        let Ok(entry) = queue.entry(place.number) else { continue };
        // Of a terminal: `denizen retry` sends it again.
        let Some(address) = &entry.message.reply else { continue };
        if let Some(spoken) = shared.network(&address.network) {
            // That process may have ended after it wrote the entry and before
            // it noted its ids: the network then repeats the message.
            for id in entry.ids.iter().filter(|id| spoken.handled.begin(id)) {
                spoken.handled.keep(id, control.store.staging()?)?;
            }
        }
        if entry.message.session.is_some() && entry.message.session != uuid {
            tracing::warn!(session = state.folder, "a message waits for a session that was moved or removed");
            continue;
        }
        let recorded = match &workspace {
            Some(workspace) if entry.started && entry.answered.is_none() => workspace.recorded(place.number)?.is_some(),
            _ => false,
        };
        if recorded {
            queue.note(place.number, &EntryNote::Answered(crate::session::now()))?;
        }
        if recorded || entry.answered.is_some() {
            works.push(Work::Deliver(place.number));
        } else if !entry.started {
            works.extend(control.take_over(&state.key, place.number)?.map(|held| Work::Turn(Box::new(held))));
        } else if !entry.told {
            works.push(Work::Tell(place.number));
        }
    }
    sweep(&queue);
    Ok(works)
}

/// Removes attachments whose message was never accepted: their process ended
/// while they were received.
fn sweep(queue: &Queue) {
    const OLD: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
    let path = queue.line().dir().path();
    let Ok(pending) = queue.pending() else { return };
    // As long as an entry cannot be read, nobody knows what it names.
    let Ok(messages) = pending.into_iter().map(|pending| pending.message).collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let attached = messages.into_iter().filter_map(|message| message.attached);
    let named: Vec<String> = attached.map(|attached| attached.directory).collect();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > OLD));
        if name.ends_with(".files") && old && !named.contains(&name) {
            let _removed = crate::files::remove_whole(&entry.path());
        }
    }
}
