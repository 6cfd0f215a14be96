//! The index of a repository, as far as one has to know where other repositories
//! lie in its working tree (gitformat-index(5), versions 2 to 4).

use std::path::PathBuf;

/// The mode of an entry that is the commit of another repository.
const GITLINK: u32 = 0o160_000;

/// The paths of such entries, or `None` if git would not read the index either.
/// `hash` is the length of an object's name, in bytes.
pub(super) fn gitlinks(index: &[u8], hash: usize) -> Option<Vec<PathBuf>> {
    let mut reader = Bytes(index);
    if reader.take(4)? != b"DIRC" {
        return None;
    }
    let version = reader.number()?;
    let count = reader.number()?;
    if !(2..=4).contains(&version) {
        return None;
    }
    let mut found = Vec::new();
    let mut name: Vec<u8> = Vec::new();
    for _ in 0..count {
        let before = reader.0.len();
        // Times, device and inode number come first.
        reader.take(24)?;
        let mode = reader.number()?;
        // Owner, size, and the object.
        reader.take(12 + hash)?;
        let flags = u16::from_be_bytes(reader.take(2)?.try_into().ok()?);
        if flags & 0x4000 != 0 {
            reader.take(2)?;
        }
        if version == 4 {
            let removed = reader.offset()?;
            name.truncate(name.len().checked_sub(removed)?);
        } else {
            name.clear();
        }
        name.extend_from_slice(reader.text()?);
        if version < 4 {
            // One to eight zero bytes bring the entry to a multiple of eight.
            let length = before - reader.0.len();
            reader.take((8 - length % 8) % 8)?;
        }
        if mode == GITLINK {
            // A name that is not text can be written down nowhere.
            found.extend(std::str::from_utf8(&name).ok().map(PathBuf::from));
        }
    }
    Some(found)
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Everything up to a zero byte, which is taken too.
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    /// A number of variable length, as packs have it.
    fn offset(&mut self) -> Option<usize> {
        let mut byte = *self.take(1)?.first()?;
        let mut value = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = *self.take(1)?.first()?;
            value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: u32, mode: u32, removed: u8, name: &str, extended: bool, hash: usize) -> Vec<u8> {
        let mut bytes = vec![0; 24];
        bytes.extend(mode.to_be_bytes());
        bytes.extend(vec![7; 12 + hash]);
        bytes.extend(if extended { [0x40, 1, 0, 0].to_vec() } else { vec![0, 1] });
        if version == 4 {
            bytes.push(removed);
        }
        bytes.extend(name.as_bytes());
        bytes.push(0);
        while version < 4 && !bytes.len().is_multiple_of(8) {
            bytes.push(0);
        }
        bytes
    }

    fn index(version: u32, entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(u32::try_from(entries.len()).expect("few").to_be_bytes());
        bytes.extend(entries.concat());
        bytes.extend([0; 20]);
        bytes
    }

    #[test]
    fn commits_of_other_repositories_are_found_in_every_version() {
        for (version, hash) in [(2, 20), (3, 20), (3, 32), (4, 20), (4, 32)] {
            // In version 4 a name says how much of the one before it goes.
            let removed = |count: u8| if version == 4 { count } else { 0 };
            let last = if version == 4 { "bcd" } else { "lib/bcd" };
            let bytes = index(
                version,
                &[
                    entry(version, GITLINK, 0, "lib/a", version > 2, hash),
                    entry(version, 0o100_644, removed(1), if version == 4 { "ab" } else { "lib/ab" }, false, hash),
                    entry(version, GITLINK, removed(2), last, false, hash),
                ],
            );
            let expected = ["lib/a", "lib/bcd"].map(PathBuf::from).to_vec();
            assert_eq!(gitlinks(&bytes, hash), Some(expected), "{version} {hash}");
            assert_eq!(gitlinks(&bytes[..100], hash), None);
        }
        assert_eq!(gitlinks(&index(5, &[]), 20), None);
        assert_eq!(gitlinks(&index(2, &[]), 20), Some(Vec::new()));
    }
}
