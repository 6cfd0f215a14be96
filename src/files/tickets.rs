//! Waiting in order of arrival, across processes.
//!
//! A line is a directory; who waits has a numbered file in it and holds the
//! lock on that file. The lowest living number goes next: whoever stands behind
//! it waits for that file's lock, so a death lets the line move on by itself
//! and nobody polls. A file whose owner died stays, if it holds something
//! (a message); an empty one is swept away by the next who comes, and so are
//! companions: files named after a place that mean something only while its
//! owner lives.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Dir, Durability, Error, make_private_dir};

/// A directory in which processes stand in line.
#[derive(Debug)]
pub struct TicketLine {
    dir: Dir,
}

/// A place in a line, as seen by anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketPlace {
    /// Its number; lower ones go first. Microseconds since 1970, or one more
    /// than the highest number present.
    pub number: u64,
    /// The file's name.
    pub name: PathBuf,
    /// Whether its owner lives.
    pub alive: bool,
}

/// One's own place in a line. It is left when this is dropped.
#[derive(Debug)]
pub struct Ticket {
    path: PathBuf,
    number: u64,
    file: File,
    kept: bool,
    /// Whether nobody alive stood before it when it came. Numbers grow, so
    /// nobody will, but who takes over what a dead one left.
    first: bool,
    /// Whether nobody at all stood there, dead or alive.
    alone: bool,
    /// Whether what is added for the first was added to the entry.
    added: bool,
}

/// The ending of files that hold nothing but a place.
const HOLD: &str = "hold";

/// The ending of files that hold something, which stays until it is removed.
const ENTRY: &str = "entry";

/// How the endings of companions begin: what a running turn shows of itself, what
/// it asks, and what it is answered.
const COMPANIONS: [&str; 3] = ["live", "ask-", "answer-"];

impl TicketLine {
    /// Opens a line; its directory is made if it is missing.
    ///
    /// # Errors
    /// If the directory cannot be made or opened.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, Error> {
        match Dir::open(path) {
            Err(error) if error.is_not_found() => make_private_dir(path, durability)?,
            opened => return opened.map(|dir| Self { dir }),
        }
        Dir::open(path).map(|dir| Self { dir })
    }

    /// Opens a line, or returns `None` if nobody ever stood in it.
    ///
    /// # Errors
    /// If the directory cannot be opened.
    pub fn open_existing(path: &Path) -> Result<Option<Self>, Error> {
        match Dir::open(path) {
            Err(error) if error.is_not_found() => Ok(None),
            opened => opened.map(|dir| Some(Self { dir })),
        }
    }

    /// The directory of the line.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Goes to the end of the line with nothing in hand.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn join(&self) -> Result<Ticket, Error> {
        let lock = self.dir.lock()?;
        let places = self.places_locked()?;
        self.sweep(&places)?;
        let ticket = self.add(&places, HOLD)?;
        drop(lock);
        Ok(ticket)
    }

    /// Goes to the end of the line with an entry in hand, which stays in the
    /// line until [`Ticket::finish`], also when its owner dies. `None` if
    /// already `most` entries stand there. `if_first` is added to the entry where
    /// nobody alive stands before it.
    ///
    /// With [`Durability::Power`] the entry survives a power cut when this returns.
    ///
    /// # Errors
    /// If the file cannot be made; nothing then stands in the line.
    pub fn join_with(
        &self,
        entry: &[u8],
        if_first: &[u8],
        most: u64,
        durability: Durability,
    ) -> Result<Option<Ticket>, Error> {
        let lock = self.dir.lock()?;
        let places = self.places_locked()?;
        if places.iter().filter(|place| !is_hold(&place.name)).count() as u64 >= most {
            return Ok(None);
        }
        self.sweep(&places)?;
        let mut ticket = self.add(&places, HOLD)?;
        // Only what is whole gets the name of an entry: a part of one would stay
        // forever, and nobody could take it.
        ticket.added = ticket.first && !if_first.is_empty();
        let entry = if ticket.added { [entry, if_first].concat() } else { entry.to_vec() };
        ticket.note(&entry, durability)?;
        let (hold, name) = (file_name(ticket.number, HOLD), file_name(ticket.number, ENTRY));
        self.dir.move_entry(Path::new(&hold), &self.dir, Path::new(&name))?;
        ticket.path = self.dir.path().join(name);
        drop(lock);
        if durability == Durability::Power {
            self.dir.sync()?;
        }
        ticket.kept = true;
        Ok(Some(ticket))
    }

    /// Takes over an entry whose owner died, in its old place; the owner's
    /// companions are removed. `None` if the owner lives or the entry is gone.
    ///
    /// # Errors
    /// If the entry cannot be opened, or a companion not removed.
    pub fn take_over(&self, number: u64) -> Result<Option<Ticket>, Error> {
        let _lock = self.dir.lock()?;
        let path = self.dir.path().join(file_name(number, ENTRY));
        let file = match std::fs::OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path, source)),
        }
        let ticket = Ticket { path, number, file, kept: true, first: false, alone: false, added: false };
        self.remove_companions(|of| of == number)?;
        Ok(Some(ticket))
    }

    /// The companions of every place, each with the number of its place, in no order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn companions(&self) -> Result<Vec<(u64, PathBuf)>, Error> {
        let names = self.dir.names()?.into_iter();
        Ok(names.filter_map(|name| Some((companion_of(&name)?, name.into()))).collect())
    }

    /// Whether the owner of an entry lives.
    ///
    /// # Errors
    /// If the entry cannot be looked at.
    pub fn is_held(&self, number: u64) -> Result<bool, Error> {
        super::is_locked(&self.dir.path().join(file_name(number, ENTRY)))
    }

    fn remove_companions(&self, of: impl Fn(u64) -> bool) -> Result<(), Error> {
        let unwanted = self.companions()?.into_iter().filter(|(number, _)| of(*number));
        unwanted.into_iter().try_for_each(|(_, name)| self.dir.remove_file(&name))
    }

    /// Adds a note to an entry, whoever owns it. `false` if it is gone.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn note(&self, number: u64, line: &[u8], durability: Durability) -> Result<bool, Error> {
        let path = self.dir.path().join(file_name(number, ENTRY));
        let mut file = match std::fs::OpenOptions::new().append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        file.write_all(line).map_err(|source| Error::io("write", &path, source))?;
        if durability == Durability::Power {
            file.sync_data().map_err(|source| Error::io("sync", &path, source))?;
        }
        Ok(true)
    }

    /// Everybody in the line, in order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn places(&self) -> Result<Vec<TicketPlace>, Error> {
        let _lock = self.dir.lock()?;
        self.places_locked()
    }

    /// The file of the living owner who stands nearest before `ticket`.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn ahead_of(&self, ticket: &Ticket) -> Result<Option<PathBuf>, Error> {
        if ticket.first {
            return Ok(None);
        }
        let places = self.places()?;
        let ahead = places.iter().rfind(|place| place.number < ticket.number && place.alive);
        Ok(ahead.map(|place| self.dir.path().join(&place.name)))
    }

    /// Whether nobody alive stands in the line.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(!self.places()?.iter().any(|place| place.alive))
    }

    /// Waits until the owner of a place in the line is gone. Blocks the thread.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn wait_for(path: &Path) -> Result<(), Error> {
        match File::open(path) {
            Ok(file) => file.lock_shared().map_err(|source| Error::io("wait for", path, source)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("wait for", path, error)),
        }
    }

    fn places_locked(&self) -> Result<Vec<TicketPlace>, Error> {
        let mut places = Vec::new();
        for name in self.dir.names()? {
            let Some(number) = number_of(&name) else { continue };
            let alive = super::is_locked(&self.dir.path().join(&name))?;
            places.push(TicketPlace { number, name: name.into(), alive });
        }
        places.sort_by_key(|place| place.number);
        Ok(places)
    }

    /// Removes what the dead left behind: places with nothing in hand, companions.
    fn sweep(&self, places: &[TicketPlace]) -> Result<(), Error> {
        let is_alive = |number| places.iter().any(|place| place.alive && place.number == number);
        self.remove_companions(|number| !is_alive(number))?;
        places
            .iter()
            .filter(|place| !place.alive && is_hold(&place.name))
            .try_for_each(|place| self.dir.remove_file(&place.name))
    }

    fn add(&self, places: &[TicketPlace], ending: &str) -> Result<Ticket, Error> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let number = places.last().map_or(now, |last| now.max(last.number + 1));
        let name = file_name(number, ending);
        let file = self.dir.create_new(Path::new(&name))?;
        let path = self.dir.path().join(name);
        file.lock().map_err(|source| Error::io("lock", &path, source))?;
        let first = !places.iter().any(|place| place.alive);
        Ok(Ticket { path, number, file, kept: false, first, alone: places.is_empty(), added: false })
    }
}

impl Ticket {
    /// The number of this place.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether there is an entry in hand.
    #[must_use]
    pub fn is_entry(&self) -> bool {
        self.kept
    }

    /// Whether the entry got what is added for the first in line.
    #[must_use]
    pub fn has_addition(&self) -> bool {
        self.added
    }

    /// Whether the line was empty when this place in it was taken.
    #[must_use]
    pub fn came_alone(&self) -> bool {
        self.alone
    }

    /// Adds a note to the entry in hand.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn note(&mut self, line: &[u8], durability: Durability) -> Result<(), Error> {
        self.file.write_all(line).map_err(|source| Error::io("write", &self.path, source))?;
        match durability {
            Durability::Power => self.file.sync_data().map_err(|source| Error::io("sync", &self.path, source)),
            Durability::Process => Ok(()),
        }
    }

    /// Leaves the line and removes the entry in hand.
    pub fn finish(mut self) {
        self.kept = false;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.kept {
            // A file that stays behind is seen as dead by everybody, because
            // its lock ends here.
            let _removed = std::fs::remove_file(&self.path);
        }
        // As for `Lock`: a child that is just being started has a copy.
        let _ended = self.file.unlock();
    }
}

fn file_name(number: u64, ending: &str) -> String {
    format!("{number:016}.{ending}")
}

fn number_of(name: &std::ffi::OsStr) -> Option<u64> {
    let (number, ending) = name.to_str()?.split_once('.')?;
    matches!(ending, HOLD | ENTRY).then(|| number.parse().ok()).flatten()
}

/// The number of the place that a file belongs to, if it is a companion.
fn companion_of(name: &std::ffi::OsStr) -> Option<u64> {
    let (number, ending) = name.to_str()?.split_once('.')?;
    let is_companion = COMPANIONS.iter().any(|companion| ending.starts_with(companion));
    is_companion.then(|| number.parse().ok()).flatten()
}

fn is_hold(name: &Path) -> bool {
    name.extension().is_some_and(|ending| ending == HOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_keeps_the_order_of_arrival() {
        let dir = tempfile::tempdir().expect("a directory");
        let line = TicketLine::open(&dir.path().join("line"), Durability::Process).expect("a line");
        let first = line.join().expect("a ticket");
        let second = line.join_with(b"hello\n", b"", 9, Durability::Process).expect("written").expect("room");
        let third = line.join().expect("a ticket");
        assert!(first.number < second.number && second.number < third.number);
        assert_eq!(line.ahead_of(&first).expect("read"), None);
        assert_eq!(line.ahead_of(&third).expect("read"), Some(second.path.clone()));
        drop(first);
        assert_eq!(line.ahead_of(&second).expect("read"), None);
        second.finish();
        assert_eq!(line.ahead_of(&third).expect("read"), None);
    }

    #[test]
    fn an_entry_outlives_its_owner_and_can_be_taken_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let line = TicketLine::open(dir.path(), Durability::Process).expect("a line");
        let ticket = line.join_with(b"hello\n", b"", 1, Durability::Process).expect("written").expect("room");
        let number = ticket.number();
        assert!(line.take_over(number).expect("read").is_none(), "its owner lives");
        assert!(line.join_with(b"x", b"", 1, Durability::Process).expect("read").is_none(), "the line is full");
        drop(ticket);
        assert!(line.is_empty().expect("read"));
        let taken = line.take_over(number).expect("read").expect("its owner died");
        taken.finish();
        assert!(line.places().expect("read").is_empty());
    }

    #[test]
    fn companions_live_as_long_as_the_owner_of_their_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let line = TicketLine::open(dir.path(), Durability::Process).expect("a line");
        let join = || line.join_with(b"hello\n", b"", 9, Durability::Process).expect("written").expect("room");
        let (lives, dies, gone) = (join(), join(), join());
        let accompany = |number: u64| {
            for ending in ["live", "ask-1.json", "answer-1"] {
                drop(line.dir.create_new(Path::new(&file_name(number, ending))).expect("made"));
            }
        };
        [lives.number, dies.number, gone.number].into_iter().for_each(accompany);
        // What a person keeps there is none.
        let kept = file_name(dies.number, "entry.kept");
        drop(line.dir.create_new(Path::new(&kept)).expect("made"));
        let (alive, dead) = (lives.number, dies.number);
        drop(dies);
        gone.finish();
        drop(line.join().expect("a place"));
        let left = line.companions().expect("read");
        assert_eq!((left.len(), left.iter().all(|(number, _)| *number == alive)), (3, true), "{left:?}");
        assert!(line.is_held(alive).expect("read") && !line.is_held(dead).expect("read"));
        accompany(dead);
        let taken = line.take_over(dead).expect("read").expect("its owner died");
        assert_eq!(line.companions().expect("read").len(), 3, "those of the dead one are gone");
        assert!(dir.path().join(kept).exists());
        drop((lives, taken));
    }
}
