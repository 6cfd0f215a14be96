//! The brief: what every provider is told at the start of a conversation,
//! composed once for all of them.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::key::hex;

/// How much of `MEMORY.md` and `AGENTS.md` is told, in bytes each. A command
/// line argument may have 128 KiB on Linux, and two of them must fit.
pub(super) const MAX_PART_BYTES: usize = 48 * 1024;

/// What a provider is told beside the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// The session's own instructions, `AGENTS.md`; empty if there are none.
    pub instructions: String,
    /// The memory directory, as the agent can reach it.
    pub memory_directory: String,
    /// The content of `MEMORY.md`; empty if there is none.
    pub memory: String,
}

impl Brief {
    /// Composes the brief from the two files' content.
    #[must_use]
    pub fn new(instructions: &[u8], memory_directory: &Path, memory: &[u8]) -> Self {
        Self {
            instructions: capped(instructions, "AGENTS.md"),
            memory_directory: memory_directory.display().to_string(),
            memory: capped(memory, "MEMORY.md"),
        }
    }

    /// The same with a word of Denizen's about where the agent works.
    #[must_use]
    pub fn with(mut self, word: Option<&str>) -> Self {
        if let Some(word) = word {
            if !self.instructions.is_empty() {
                self.instructions.push_str("\n\n");
            }
            self.instructions.push_str(word);
        }
        self
    }

    /// Everything, for a provider that has no memory of its own.
    #[must_use]
    pub fn whole(&self) -> String {
        let mut text = String::new();
        if !self.instructions.is_empty() {
            text.push_str(&self.instructions);
            text.push_str("\n\n");
        }
        text.push_str("# Memory\n\nYour memory is the directory `");
        text.push_str(&self.memory_directory);
        text.push_str(
            "`. It is the only thing that outlives this conversation: keep its file `MEMORY.md` current with what you \
             will need to know later, and put longer notes in files beside it.\n",
        );
        if self.memory.is_empty() {
            text.push_str("It is empty so far.\n");
        } else {
            text.push_str("This is `MEMORY.md` now:\n\n");
            text.push_str(&self.memory);
            text.push('\n');
        }
        text
    }

    /// A hash of everything, to tell whether a conversation was told this.
    #[must_use]
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.whole())[..8])
    }
}

/// The text, cut at a line where it is too long, with a note that says so.
fn capped(bytes: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    if text.len() <= MAX_PART_BYTES {
        return text.to_owned();
    }
    let end = (0..=MAX_PART_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = &text[..end];
    let start = start.rfind('\n').map_or(start, |at| &start[..at]);
    format!("{start}\n\n[{name} is cut here: it has {} bytes, {} are shown]", text.len(), start.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_memory_is_cut_with_a_note() {
        let long = "a line of memory\n".repeat(10_000);
        let brief = Brief::new(b"", Path::new("memory"), long.as_bytes());
        assert!(brief.memory.len() < MAX_PART_BYTES + 200);
        assert!(brief.memory.ends_with("bytes, 49146 are shown]"), "{}", &brief.memory[brief.memory.len() - 80..]);
    }

    #[test]
    fn the_hash_follows_the_memory() {
        let hash = |memory: &[u8]| Brief::new(b"be kind", Path::new("memory"), memory).hash();
        assert_eq!(hash(b"x"), hash(b"x\n"));
        assert_ne!(hash(b"x"), hash(b"y"));
    }
}
