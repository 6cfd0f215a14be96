//! `access/people.json`: who was let in by the owner, beyond the configuration,
//! and who asked to be.
//!
//! Read at each use, so that what is approved in a terminal counts at once.
//! Nothing in a session's folder can change it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{SessionError, Store};
use crate::files::{self, Dir, Lock};

/// The longest file that is read, in bytes.
const MAX_PEOPLE_BYTES: u64 = 1 << 20;

/// How long a code is good for.
const CODE_LIFE: Duration = Duration::from_secs(60 * 60);

/// How many codes of one network may be good at once.
const MOST_ASKING: usize = 3;

/// What codes are made of: nothing that is easily taken for something else.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

const NAME: &str = "people.json";

/// Who was let in, and who asked.
#[derive(Debug)]
pub struct People {
    store: Arc<Store>,
}

/// Somebody who was let in to one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The network.
    pub network: String,
    /// The network's id of the person.
    pub id: String,
    /// The name at that time, which is free text.
    pub name: String,
    /// Since when.
    pub at: Timestamp,
    /// What this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Somebody who asked to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// The code that was answered.
    pub code: String,
    /// Who, and since when.
    #[serde(flatten)]
    pub person: Person,
}

/// What a stranger's message leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairingAnswer {
    /// A code, which is told now.
    Code(String),
    /// Nothing: the stranger has a code already, or too many have one.
    Silence,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct PeopleFile {
    #[serde(default)]
    paired: Vec<Person>,
    #[serde(default)]
    asking: Vec<Asking>,
    #[serde(flatten)]
    extra: BTreeMap<String, Value>,
}

impl People {
    /// The people of a store.
    #[must_use]
    pub fn of(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Whether somebody was let in. Where the file cannot be read, nobody was.
    #[must_use]
    pub fn knows(&self, network: &str, id: &str) -> bool {
        self.read().is_ok_and(|kept| kept.paired.iter().any(|person| person.network == network && person.id == id))
    }

    /// Everybody who was let in, and everybody whose code is still good.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub fn list(&self) -> Result<(Vec<Person>, Vec<Asking>), SessionError> {
        let mut kept = self.read()?;
        kept.forget(super::now());
        Ok((kept.paired, kept.asking))
    }

    /// A stranger wrote: a code for the first message, silence for further ones.
    ///
    /// # Errors
    /// If the file cannot be read or replaced.
    pub fn ask(&self, network: &str, id: &str, name: &str) -> Result<PairingAnswer, SessionError> {
        self.change(|kept, now| {
            let of_network = || kept.asking.iter().filter(|asking| asking.person.network == network);
            if of_network().any(|asking| asking.person.id == id) || of_network().count() >= MOST_ASKING {
                return PairingAnswer::Silence;
            }
            let code = new_code();
            let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
            let (network, id) = (network.to_owned(), id.to_owned());
            let person = Person { network, id, name, at: now, extra: Map::new() };
            kept.asking.push(Asking { code: code.clone(), person });
            PairingAnswer::Code(code)
        })
    }

    /// Lets in whoever has a code. `None` if no such code is good.
    ///
    /// # Errors
    /// If the file cannot be read or replaced.
    pub fn approve(&self, code: &str) -> Result<Option<Person>, SessionError> {
        self.change(|kept, now| {
            let person = Person { at: now, ..kept.take(code)? };
            kept.paired.retain(|known| (&known.network, &known.id) != (&person.network, &person.id));
            kept.paired.push(person.clone());
            Some(person)
        })
    }

    /// Makes a code worthless. `None` if no such code is good.
    ///
    /// # Errors
    /// If the file cannot be read or replaced.
    pub fn deny(&self, code: &str) -> Result<Option<Person>, SessionError> {
        self.change(|kept, _| kept.take(code))
    }

    /// Lets somebody in no longer: by id, of one network or of all.
    ///
    /// # Errors
    /// If the file cannot be read or replaced.
    pub fn revoke(&self, network: Option<&str>, id: &str) -> Result<Vec<Person>, SessionError> {
        self.change(|kept, _| {
            let wanted = |person: &Person| person.id == id && network.is_none_or(|network| person.network == network);
            let (out, stay) = std::mem::take(&mut kept.paired).into_iter().partition(wanted);
            kept.paired = stay;
            out
        })
    }

    fn path(&self) -> PathBuf {
        self.store.root().join("access")
    }

    fn read(&self) -> Result<PeopleFile, SessionError> {
        let dir = match Dir::open(&self.path()) {
            Err(error) if error.is_not_found() => return Ok(PeopleFile::default()),
            opened => opened?,
        };
        match dir.read(Path::new(NAME), MAX_PEOPLE_BYTES) {
            Err(error) if error.is_not_found() => Ok(PeopleFile::default()),
            Err(error) => Err(error.into()),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| SessionError::json(dir.path().join(NAME), &error))
            }
        }
    }

    /// Changes the file, alone: a terminal and the daemon may both want to.
    fn change<T>(&self, change: impl FnOnce(&mut PeopleFile, Timestamp) -> T) -> Result<T, SessionError> {
        files::make_private_dir(&self.path(), self.store.durability())?;
        let locks = self.store.state_path("locks");
        files::make_private_dir(&locks, self.store.durability())?;
        let _lock = Lock::take(&locks.join("people.access"))?;
        let mut kept = self.read()?;
        let now = super::now();
        kept.forget(now);
        let done = change(&mut kept, now);
        // Serialising plain data into memory cannot fail.
        let mut bytes = serde_json::to_vec_pretty(&kept).unwrap_or_default();
        bytes.push(b'\n');
        Dir::open(&self.path())?.replace(Path::new(NAME), &bytes, self.store.staging()?)?;
        Ok(done)
    }
}

impl PeopleFile {
    /// Forgets the codes that are no longer good.
    fn forget(&mut self, now: Timestamp) {
        let limit = jiff::SignedDuration::try_from(CODE_LIFE).unwrap_or_default();
        self.asking.retain(|asking| now.duration_since(asking.person.at) < limit);
    }

    fn take(&mut self, code: &str) -> Option<Person> {
        let code = code.trim().to_ascii_uppercase();
        let at = self.asking.iter().position(|asking| asking.code == code)?;
        Some(self.asking.remove(at).person)
    }
}

/// Eight characters, 40 random bits.
fn new_code() -> String {
    let random = uuid::Uuid::new_v4();
    // These bytes of a random uuid hold no version and no variant.
    let bytes = random.as_bytes();
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    bytes[..6].iter().chain(&bytes[10..12]).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Durability;

    #[test]
    fn a_stranger_is_let_in_by_code() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(Store::at(dir.path(), Durability::Process));
        let people = People::of(store);
        let PairingAnswer::Code(code) = people.ask("net", "7", "Ann\u{7}").expect("kept") else { panic!("a code") };
        assert_eq!(code.len(), 8);
        assert_eq!(people.ask("net", "7", "Ann").expect("kept"), PairingAnswer::Silence);
        assert!(!people.knows("net", "7"));
        assert_eq!(people.approve("WRONG").expect("read"), None);
        let person = people.approve(&code.to_lowercase()).expect("kept").expect("a person");
        assert_eq!((person.id.as_str(), person.name.as_str()), ("7", "Ann"));
        assert!(people.knows("net", "7") && !people.knows("other", "7"));
        assert_eq!(people.approve(&code).expect("read"), None, "a code is good once");
        assert_eq!(people.revoke(None, "7").expect("kept").len(), 1);
        assert!(!people.knows("net", "7"));
    }

    #[test]
    fn only_three_wait_per_network_and_codes_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Arc::new(Store::at(dir.path(), Durability::Process));
        let people = People::of(store);
        for id in ["1", "2", "3"] {
            assert!(matches!(people.ask("net", id, ""), Ok(PairingAnswer::Code(_))));
        }
        assert_eq!(people.ask("net", "4", "").expect("read"), PairingAnswer::Silence);
        assert!(matches!(people.ask("other", "4", ""), Ok(PairingAnswer::Code(_))));
        let mut kept = people.read().expect("read");
        let later = super::super::now() + Duration::from_secs(3601);
        kept.forget(later);
        assert!(kept.asking.is_empty());
    }
}
