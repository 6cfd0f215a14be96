//! A database of SQLite, looked at from outside: its header, its size, and
//! whether it holds a text. The format is that of <https://sqlite.org/fileformat2.html>.
//!
//! What such a file looks like, `files::sqlite` knows. No SQLite is linked: whether each page is sound, only SQLite could say.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::causes::with_causes;
use crate::files::{Dir, sqlite};

/// What is wrong with a database, or `None`. `text` has to be in it or in its log.
pub(super) fn check(dir: &Dir, name: &Path, text: &str) -> Option<String> {
    let log = dir.open_file(&sqlite::log_of(name), u64::MAX).ok();
    let looked = || -> io::Result<Option<String>> {
        let file = dir.open_file(name, u64::MAX).map_err(|error| io::Error::other(with_causes(&error)))?;
        let size = file.metadata()?.len();
        let log_size = log.as_ref().map_or(Ok(0), |log| log.metadata().map(|metadata| metadata.len()))?;
        // With a whole log beside it, the database itself may lag behind.
        if log_size == 0
            && let Some(problem) = header(&file, size)?
        {
            return Ok(Some(problem));
        }
        if let Some(log) = &log
            && log_size > 0
            && let Some(problem) = log_header(log)?
        {
            return Ok(Some(problem));
        }
        let found = contains(file, text.as_bytes())? || log.map_or(Ok(false), |log| contains(log, text.as_bytes()))?;
        Ok((!found).then(|| format!("the conversation {text} is not in it")))
    };
    looked().unwrap_or_else(|error| Some(error.to_string()))
}

fn header(file: &File, size: u64) -> io::Result<Option<String>> {
    let mut header = [0; 100];
    if size < 100 {
        return Ok(Some(format!("it has {size} bytes, which is no database")));
    }
    file.read_exact_at(&mut header, 0)?;
    if !sqlite::is_database(&header) {
        return Ok(Some("it does not begin as a database of SQLite".to_owned()));
    }
    let number = |at| u64::from(sqlite::number(&header, at).unwrap_or_default());
    // The number of pages counts only where both counters of changes agree.
    let whole = sqlite::page_size_of(&header).unwrap_or_default() as u64 * number(28);
    let cut = number(24) == number(92) && size < whole;
    Ok(cut.then(|| format!("it has {size} of {whole} bytes")))
}

fn log_header(log: &File) -> io::Result<Option<String>> {
    let mut magic = [0; 4];
    let read = log.read_at(&mut magic, 0)?;
    let known = read == 4 && sqlite::log_order(&magic).is_some();
    Ok((!known).then(|| "its log (-wal) does not begin as one".to_owned()))
}

/// Whether a file holds some bytes.
fn contains(mut file: File, text: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; 256 * 1024];
    let mut kept = 0;
    loop {
        let count = file.read(&mut buffer[kept..])?;
        if count == 0 {
            return Ok(false);
        }
        let filled = kept + count;
        if buffer[..filled].windows(text.len()).any(|window| window == text) {
            return Ok(true);
        }
        // The text may lie across two reads.
        kept = filled.min(text.len().saturating_sub(1));
        buffer.copy_within(filled - kept..filled, 0);
    }
}
