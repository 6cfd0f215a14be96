//! A file of lines, read from start to end in flat memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// The longest line that is looked into, in bytes; a longer one is only passed.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// One line, without its newline.
pub(super) struct RawLine<'a> {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Where it ends in the file, with its newline, in bytes.
    pub(super) end: u64,
    /// Whether it has a newline.
    pub(super) whole: bool,
    /// What is in it; `None` if it is too long to look into.
    pub(super) bytes: Option<&'a [u8]>,
}

/// Goes through the lines of a file; an empty one is passed over.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn each_line(file: File, mut take: impl FnMut(&RawLine<'_>)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut bytes = Vec::new();
    let (mut number, mut end) = (0, 0);
    loop {
        bytes.clear();
        let mut read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)? as u64;
        if read == 0 {
            return Ok(());
        }
        let mut whole = bytes.last() == Some(&b'\n');
        let long = !whole && read == MAX_LINE;
        while long && !whole {
            bytes.clear();
            let more = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)? as u64;
            read += more;
            whole = bytes.last() == Some(&b'\n');
            if more == 0 {
                break;
            }
        }
        number += 1;
        end += read;
        let content = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if long || !content.is_empty() {
            take(&RawLine { number, end, whole, bytes: (!long).then_some(content) });
        }
    }
}

/// The first line that is no JSON, and whether it was only being written.
pub(super) fn first_broken_line(file: File, recorded: u64, older: bool) -> Option<(String, bool)> {
    let mut broken = None;
    let read = each_line(file, |line| {
        let Some(bytes) = line.bytes else { return };
        if broken.is_none()
            && let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(bytes)
        {
            let being_written = !line.whole && (line.end > recorded || older);
            broken = Some((format!("line {} is no JSON: {}", line.number, short(&error)), being_written));
        }
    });
    match read {
        Ok(()) => broken,
        Err(error) => Some((error.to_string(), false)),
    }
}

/// Why something does not parse, without the place.
pub(super) fn short(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or_else(|| text.clone(), |(reason, _)| reason.to_owned())
}
