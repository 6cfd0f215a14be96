//! Folding the write-ahead log of a SQLite database into the database, without
//! SQLite: the format is at <https://www.sqlite.org/fileformat2.html#walformat>.
//!
//! A database and its log are two files, and a copy that reads the one before
//! a checkpoint and the other after it is malformed. So the log is folded in
//! whenever nobody has the database open, and both are replaced whole: each
//! pair of versions that a copy may find is then a good database.
//!
//! Not here: anything that looks into pages.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Dir, Error, Staging};

/// The largest database that is folded, in bytes: it is read and written whole.
const MAX_BYTES: u64 = 256 << 20;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The name of a database's log.
#[must_use]
pub fn log_of(database: &Path) -> PathBuf {
    let mut name = OsString::from(database.as_os_str());
    name.push("-wal");
    name.into()
}

/// The name of the database that a log belongs to, where it is the name of one.
#[must_use]
pub fn database_of(log: &Path) -> Option<&Path> {
    log.to_str()?.strip_suffix("-wal").map(Path::new)
}

/// Whether bytes begin as a database.
#[must_use]
pub fn is_database(bytes: &[u8]) -> bool {
    bytes.starts_with(b"SQLite format 3\0")
}

/// Whether bytes begin as a log, and if so, whether its checksums are of words in
/// big-endian order.
#[must_use]
pub fn log_order(bytes: &[u8]) -> Option<bool> {
    match number(bytes, 0)? {
        0x377f_0682 => Some(false),
        0x377f_0683 => Some(true),
        _ => None,
    }
}

/// Folds the log of a database into it, and empties the log. Nobody may have
/// the database open. Returns whether there was anything to fold.
///
/// What is no SQLite database with a log, or a very large one, is left as it is.
///
/// # Errors
/// If a file cannot be read or replaced; SQLite then finds what it left.
pub fn fold(dir: &Dir, database: &Path, staging: &Staging) -> Result<bool, Error> {
    let log_name = log_of(database);
    let log = dir.read(&log_name, MAX_BYTES)?;
    if log.is_empty() {
        return Ok(false);
    }
    let mut bytes = dir.read(database, MAX_BYTES)?;
    if !apply(&mut bytes, &log) {
        return Ok(false);
    }
    dir.replace(database, &bytes, staging)?;
    dir.replace(&log_name, b"", staging)?;
    Ok(true)
}

/// Applies every transaction that a log holds whole. `false`, with nothing
/// changed, where it holds none or is none of this database.
fn apply(database: &mut Vec<u8>, log: &[u8]) -> bool {
    let Some(Committed { page_size, size, pages }) = committed(log) else { return false };
    if !is_database(database) || page_size_of(database) != Some(page_size) {
        return false;
    }
    database.resize(size * page_size, 0);
    for (number, page) in pages {
        // A page beyond the end was cut off by a later transaction.
        let start = (number - 1) * page_size;
        if let Some(place) = database.get_mut(start..start + page_size) {
            place.copy_from_slice(page);
        }
    }
    true
}

/// What the transactions of a log leave, all together.
struct Committed<'a> {
    page_size: usize,
    /// How many pages the database has after the last of them.
    size: usize,
    /// The last version of each page, by its number, from 1.
    pages: BTreeMap<usize, &'a [u8]>,
}

/// What the transactions leave that a log holds whole, if there are any.
fn committed(log: &[u8]) -> Option<Committed<'_>> {
    let header = log.get(..HEADER)?;
    let big_endian = log_order(header)?;
    let page_size = usize::try_from(number(header, 8)?).ok()?;
    let salts = header.get(16..24)?;
    let mut sum = checksum((0, 0), header.get(..24)?, big_endian);
    let known = (512..=65_536).contains(&page_size) && page_size.is_power_of_two();
    if number(header, 4)? != 3_007_000 || !known || Some(sum) != stored(header, 24) {
        return None;
    }
    let (mut pages, mut pending, mut size) = (BTreeMap::new(), Vec::new(), 0);
    for frame in log.get(HEADER..)?.chunks_exact(FRAME_HEADER + page_size) {
        let (head, page) = frame.split_at(FRAME_HEADER);
        sum = checksum(checksum(sum, head.get(..8)?, big_endian), page, big_endian);
        // What follows is of an earlier use of the file, or was cut short.
        if head.get(8..16)? != salts || Some(sum) != stored(head, 16) {
            break;
        }
        let place = usize::try_from(number(head, 0)?).ok().filter(|place| *place > 0)?;
        pending.push((place, page));
        let size_after = usize::try_from(number(head, 4)?).ok()?;
        if size_after > 0 {
            pages.extend(pending.drain(..));
            size = size_after;
        }
    }
    (size > 0).then_some(Committed { page_size, size, pages })
}

/// The page size that a database states, in bytes.
#[must_use]
pub fn page_size_of(database: &[u8]) -> Option<usize> {
    match u16::from_be_bytes(database.get(16..18)?.try_into().ok()?) {
        1 => Some(65_536),
        size => Some(usize::from(size)),
    }
}

/// The number at a place of a header.
#[must_use]
pub fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn stored(bytes: &[u8], at: usize) -> Option<(u32, u32)> {
    Some((number(bytes, at)?, number(bytes, at + 4)?))
}

/// SQLite's running checksum over words of four bytes, two at a time.
fn checksum(sum: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let (words, _) = bytes.as_chunks::<4>();
    let word = |word: &[u8; 4]| if big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) };
    words.chunks_exact(2).fold(sum, |(a, b), pair| {
        let a = a.wrapping_add(word(&pair[0])).wrapping_add(b);
        (a, b.wrapping_add(word(&pair[1])).wrapping_add(a))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Durability;

    /// Made by SQLite 3 with pages of 512 bytes: the database before, its log of
    /// three transactions, and what SQLite made of it with one, two and all.
    const BEFORE: &[u8] = include_bytes!("../../tests/fixtures/sqlite/before.db");
    const LOG: &[u8] = include_bytes!("../../tests/fixtures/sqlite/before.db-wal");
    const AFTER: [&[u8]; 3] = [
        include_bytes!("../../tests/fixtures/sqlite/after-1.db"),
        include_bytes!("../../tests/fixtures/sqlite/after-2.db"),
        include_bytes!("../../tests/fixtures/sqlite/after-3.db"),
    ];

    #[test]
    fn a_log_cut_anywhere_gives_what_sqlite_makes_of_it() {
        let mut seen = vec![0; 4];
        for cut in 0..=LOG.len() {
            let mut database = BEFORE.to_vec();
            let applied = apply(&mut database, &LOG[..cut]);
            let states = std::iter::once(BEFORE).chain(AFTER);
            let state = states.into_iter().position(|state| state == database);
            let state = state.unwrap_or_else(|| panic!("the log, cut at {cut}, gives no state of the database"));
            assert_eq!(applied, state > 0, "cut at {cut}");
            seen[state] += 1;
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
        assert_eq!(seen[3], 1, "only the whole log has the last transaction");
    }

    #[test]
    fn a_changed_byte_ends_the_log() {
        for at in (0..LOG.len()).step_by(7) {
            let mut log = LOG.to_vec();
            log[at] ^= 0x10;
            let mut database = BEFORE.to_vec();
            apply(&mut database, &log);
            assert!(database == BEFORE || AFTER[..2].contains(&database.as_slice()), "byte {at}");
        }
    }

    #[test]
    fn the_log_is_emptied_and_nothing_else_is_touched() {
        let temporary = tempfile::tempdir().expect("a directory");
        let dir = Dir::open(temporary.path()).expect("it opens");
        dir.make_dir(Path::new("tmp")).expect("made");
        let staging = Staging::new(dir.open_dir(Path::new("tmp")).expect("it opens"), Durability::Power);
        let (database, log) = (Path::new("a.db"), Path::new("a.db-wal"));
        let read = |name| dir.read(name, MAX_BYTES).expect("read");
        dir.replace(database, BEFORE, &staging).expect("written");
        dir.replace(log, LOG, &staging).expect("written");
        assert!(fold(&dir, database, &staging).expect("folded"));
        assert_eq!((read(database).as_slice(), read(log).as_slice()), (AFTER[2], &b""[..]));
        assert!(!fold(&dir, database, &staging).expect("nothing to fold"));
        for (content, other) in [(&b"no database"[..], LOG), (BEFORE, &b"no log"[..])] {
            dir.replace(database, content, &staging).expect("written");
            dir.replace(log, other, &staging).expect("written");
            assert!(!fold(&dir, database, &staging).expect("nothing to fold"));
            assert_eq!((read(database).as_slice(), read(log).as_slice()), (content, other));
        }
    }
}
