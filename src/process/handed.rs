//! Words for a program that Denizen starts, handed over in a memory file.
//!
//! An argument list can be read by every user of the machine; a descriptor only
//! by whoever may trace the process. So what names paths, or holds the text of a
//! person, goes this way. It has no limit of length either.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::MemfdFlags;

/// Words in a memory file, open at its start. Programs that are started while
/// this is alive inherit it.
pub(super) struct Handed(OwnedFd);

impl Handed {
    /// Puts words into memory, each ended by a zero byte, as bubblewrap's
    /// `--args` reads them.
    ///
    /// # Errors
    /// If there is no memory, or no descriptor.
    pub(super) fn new<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> std::io::Result<Self> {
        let mut bytes = Vec::new();
        for word in words {
            bytes.extend_from_slice(word.as_ref().as_bytes());
            bytes.push(0);
        }
        let mut file = File::from(rustix::fs::memfd_create("orders", MemfdFlags::CLOEXEC)?);
        file.write_all(&bytes)?;
        file.seek(SeekFrom::Start(0))?;
        // A duplicate is not closed when another program is started.
        Ok(Self(rustix::io::dup(file)?))
    }

    /// How the program that inherits it is told where the words are.
    pub(super) fn name(&self) -> String {
        self.0.as_raw_fd().to_string()
    }
}

/// Reads the words that were handed over under a name.
pub(super) fn take(name: &OsStr) -> Option<Vec<OsString>> {
    let number: u32 = name.to_str()?.parse().ok()?;
    let mut bytes = Vec::new();
    File::open(format!("/proc/self/fd/{number}")).ok()?.read_to_end(&mut bytes).ok()?;
    bytes.pop().filter(|last| *last == 0)?;
    Some(bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_as_they_are() {
        let words = ["", "a b", "\u{e4}\n", ""].map(OsString::from);
        let handed = Handed::new(&words).expect("a memory file");
        for _ in 0..2 {
            assert_eq!(take(handed.name().as_ref()).as_deref(), Some(&words[..]));
        }
        assert_eq!(take("/etc/passwd".as_ref()), None);
    }
}
