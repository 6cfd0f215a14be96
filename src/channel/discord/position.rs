//! How far the bot has read, in `state/channels/discord/position.json`: the
//! gateway's session, the last message of each channel, the ids that were
//! handled last. It moves past a message only after that message is durable.
//!
//! Losing the file loses no session: what was written meanwhile is then not
//! caught up.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::route::Me;
use super::wire::{Id, lenient};
use crate::channel::Accepted;
use crate::files::{self, Dir, Durability, Staging};

const NAME: &str = "position.json";

/// The longest file that is read, in bytes.
const MOST_BYTES: u64 = 4 << 20;

/// How many handled ids are known, and how many of them are kept on disk.
const MOST_HANDLED: usize = 4096;
const MOST_KEPT: usize = 256;

/// How many channels are remembered.
const MOST_CHANNELS: usize = 1000;

/// How late the position is kept at most: after a message that was accepted, and
/// after anything else. A crash in between makes the server tell it again.
const SOON: Duration = Duration::from_millis(500);
const LAZY: Duration = Duration::from_secs(5);

/// How far the bot has read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Position {
    /// The gateway session, if it can be resumed.
    pub(super) session: Option<SavedSession>,
    /// The last event of the session that needs not come again.
    pub(super) sequence: u64,
    /// The last message of each channel.
    pub(super) channels: BTreeMap<String, Mark>,
    /// The highest id of a message seen at all.
    pub(super) highest: Option<Id>,
    /// The ids that were handled last, the newest last.
    pub(super) handled: VecDeque<Id>,
}

/// A gateway session, and what is only told when one begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedSession {
    pub(super) id: String,
    pub(super) url: Option<String>,
    /// Who the bot is.
    pub(super) me: Me,
    #[serde(deserialize_with = "lenient")]
    pub(super) application: Id,
}

/// How far a channel was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Its last message.
    pub(super) last: Id,
    /// The guild that it is in; absent for a direct channel.
    #[serde(default)]
    pub(super) guild: Option<Id>,
}

impl Position {
    /// Notes a message.
    pub(super) fn pass(&mut self, channel: &Id, message: &Id, guild: Option<&Id>) {
        let mark = self.channels.get(channel.as_str());
        if mark.is_none_or(|mark| mark.last.order() < message.order()) {
            self.channels.insert(channel.to_string(), Mark { last: message.clone(), guild: guild.cloned() });
            if self.channels.len() > MOST_CHANNELS {
                let oldest = self.channels.iter().min_by_key(|(_, mark)| mark.last.order().0);
                let oldest = oldest.map(|(channel, _)| channel.clone());
                oldest.and_then(|channel| self.channels.remove(&channel));
            }
        }
        if self.highest.as_ref().is_none_or(|highest| highest.order() < message.order()) {
            self.highest = Some(message.clone());
        }
    }

    fn handle(&mut self, id: Id) {
        self.handled.push_back(id);
        while self.handled.len() > MOST_KEPT {
            self.handled.pop_front();
        }
    }
}

/// Ids that were handled, as many as are remembered.
#[derive(Debug, Default)]
pub(super) struct SeenEvents {
    known: HashSet<Id>,
    order: VecDeque<Id>,
}

impl SeenEvents {
    pub(super) fn of(ids: impl IntoIterator<Item = Id>) -> Self {
        let mut handled = Self::default();
        for id in ids {
            handled.is_new(&id);
        }
        handled
    }

    /// Whether an id comes for the first time; from now on it does not.
    pub(super) fn is_new(&mut self, id: &Id) -> bool {
        if !self.known.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id.clone());
        if self.order.len() > MOST_HANDLED {
            self.order.pop_front().inspect(|oldest| {
                self.known.remove(oldest);
            });
        }
        true
    }
}

/// Something that was read, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// `Some(None)` where the session before is over, `Some(Some(_))` the one
    /// that can be resumed from now on.
    pub(super) session: Option<Option<SavedSession>>,
    /// Its number in the session.
    pub(super) sequence: Option<u64>,
    /// Its channel, guild and id, where it is a message.
    pub(super) message: Option<(Id, Option<Id>, Id)>,
    /// Everything before this id is as good as read.
    pub(super) from: Option<Id>,
    /// Its id, where it must not be handled again.
    pub(super) handled: Option<Id>,
    /// Told once it is durable; absent where nothing has to be.
    pub(super) accepted: Option<oneshot::Receiver<Accepted>>,
}

/// Where the position is kept.
#[derive(Debug, Clone)]
pub(super) struct StateDir {
    pub(super) dir: PathBuf,
    pub(super) durability: Durability,
}

impl StateDir {
    /// Reads one of the channel's own files; nothing if it cannot be read.
    pub(super) fn read<T: for<'de> Deserialize<'de> + Default>(&self, name: &str) -> T {
        let bytes = Dir::open(&self.dir).and_then(|dir| dir.read(Path::new(name), MOST_BYTES));
        bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Replaces one of the channel's own files.
    ///
    /// # Errors
    /// If it cannot be replaced.
    pub(super) fn write(&self, name: &str, value: &impl Serialize) -> Result<(), files::Error> {
        files::make_private_dir(&self.dir, self.durability)?;
        let dir = Dir::open(&self.dir)?;
        let staging = Staging::new(dir.make_dirs(Path::new("tmp"))?, self.durability);
        // Serialising plain data into memory cannot fail.
        let mut bytes = serde_json::to_vec(value).unwrap_or_default();
        bytes.push(b'\n');
        dir.replace(Path::new(name), &bytes, &staging).map(drop)
    }

    pub(super) fn position(&self) -> Position {
        self.read(NAME)
    }
}

/// Moves the position on, in order, each step once it may. Ends with the
/// senders, or at the first message that nobody will make durable any more.
pub(super) async fn keep(place: StateDir, mut position: Position, mut passed: mpsc::UnboundedReceiver<Passed>) {
    let mut due: Option<Instant> = None;
    loop {
        let later = due.unwrap_or_else(Instant::now);
        let next = tokio::select! {
            biased;
            () = sleep_until(later), if due.is_some() => {
                save(&place, &position).await;
                due = None;
                continue;
            }
            next = passed.recv() => next,
        };
        let Some(step) = next else { break };
        let span = match &step {
            // Nothing is caught up after a first start of which nothing is known.
            Passed { from: Some(_), .. } => Duration::ZERO,
            Passed { accepted: Some(_), .. } | Passed { session: Some(_), .. } => SOON,
            _ => LAZY,
        };
        if let Some(accepted) = step.accepted
            && accepted.await.is_err()
        {
            // Whatever comes after it must come again too.
            break;
        }
        if position.highest.is_none() {
            position.highest = step.from;
        }
        apply(&mut position, step.session, step.sequence, step.message, step.handled);
        let at = Instant::now() + span;
        due = Some(due.map_or(at, |due| due.min(at)));
    }
    if due.is_some() {
        save(&place, &position).await;
    }
}

fn apply(
    position: &mut Position,
    session: Option<Option<SavedSession>>,
    sequence: Option<u64>,
    message: Option<(Id, Option<Id>, Id)>,
    handled: Option<Id>,
) {
    if let Some(session) = session {
        if session.is_none() {
            position.sequence = 0;
        }
        position.session = session;
    }
    if let Some(sequence) = sequence {
        position.sequence = position.sequence.max(sequence);
    }
    if let Some((channel, guild, id)) = message {
        position.pass(&channel, &id, guild.as_ref());
    }
    if let Some(id) = handled {
        position.handle(id);
    }
}

async fn save(place: &StateDir, position: &Position) {
    let (place, position) = (place.clone(), position.clone());
    let written = tokio::task::spawn_blocking(move || place.write(NAME, &position)).await;
    match written {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the position in Discord was not kept"),
        Err(error) => tracing::warn!(%error, "the position in Discord was not kept"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        Id::new(text).expect("an id")
    }

    fn message(sequence: u64, number: &str) -> Passed {
        Passed {
            sequence: Some(sequence),
            message: Some((id("7"), None, id(number))),
            handled: Some(id(number)),
            ..Passed::default()
        }
    }

    fn place(dir: &Path) -> StateDir {
        StateDir { dir: dir.join("discord"), durability: Durability::Process }
    }

    #[tokio::test]
    async fn the_position_does_not_pass_what_is_not_durable() {
        let dir = tempfile::tempdir().expect("a directory");
        let (send, passed) = mpsc::unbounded_channel();
        let (first, accepted) = oneshot::channel();
        send.send(Passed { accepted: Some(accepted), ..message(1, "10") }).expect("sent");
        let (second, accepted) = oneshot::channel::<Accepted>();
        send.send(Passed { accepted: Some(accepted), ..message(2, "11") }).expect("sent");
        send.send(message(3, "12")).expect("sent");
        let keeping = tokio::spawn(keep(place(dir.path()), Position::default(), passed));
        first.send(Accepted::Kept).expect("heard");
        // The daemon died before the second was durable.
        drop(second);
        keeping.await.expect("an end");
        let position = place(dir.path()).position();
        assert_eq!((position.sequence, position.handled), (1, [id("10")].into()));
        assert_eq!(position.channels["7"].last, id("10"));
    }

    #[tokio::test]
    async fn what_needs_nothing_is_kept_in_the_end_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let (send, passed) = mpsc::unbounded_channel();
        let session = SavedSession { id: "s".to_owned(), ..SavedSession::default() };
        send.send(Passed { session: Some(None), sequence: Some(1), ..Passed::default() }).expect("sent");
        send.send(message(2, "9")).expect("sent");
        send.send(Passed { session: Some(Some(session.clone())), ..Passed::default() }).expect("sent");
        drop(send);
        keep(place(dir.path()), Position::default(), passed).await;
        let position = place(dir.path()).position();
        assert_eq!((position.session, position.sequence, position.highest), (Some(session), 2, Some(id("9"))));
    }

    #[test]
    fn a_torn_file_is_no_position() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = place(dir.path());
        assert_eq!(place.position(), Position::default());
        place.write(NAME, &"{\"sequence\":").expect("written");
        assert_eq!(place.position(), Position::default());
    }

    #[test]
    fn ids_come_once_and_are_forgotten_in_the_end() {
        let mut handled = SeenEvents::of([id("1")]);
        assert!(!handled.is_new(&id("1")) && handled.is_new(&id("2")) && !handled.is_new(&id("2")));
        for number in 10..10 + MOST_HANDLED {
            assert!(handled.is_new(&id(&number.to_string())));
        }
        assert!(handled.known.len() <= MOST_HANDLED && handled.is_new(&id("1")));
    }
}
