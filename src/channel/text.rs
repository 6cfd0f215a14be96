//! Text that is made to fit: cut into messages, shown as it is. Lengths are
//! counted in UTF-16 units, which no network counts more of than a text has.

use unicode_segmentation::UnicodeSegmentation;

use crate::unseen::is_unseen;

/// What begins and ends a code block.
const FENCE: &str = "```";

/// The longest language of a code block that is repeated, in characters.
const MOST_LANGUAGE: usize = 32;

/// The length of a text in UTF-16 units.
pub(super) fn length(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Cuts a text into pieces of at most `most` units: between lines where it can,
/// else between words, else between characters as people see them. A code block
/// that is cut ends with its piece and begins again, in its language, with the
/// next. What is only space is left out.
pub(super) fn split(text: &str, most: usize) -> Vec<String> {
    let mut pieces = Pieces { most, done: Vec::new(), piece: String::new(), fence: None };
    for line in text.split_inclusive('\n') {
        pieces.add_line(line);
    }
    pieces.end();
    pieces.done
}

/// The state of the cutting.
struct Pieces {
    most: usize,
    done: Vec<String>,
    piece: String,
    /// The language of the code block that is open.
    fence: Option<String>,
}

impl Pieces {
    /// What the piece and the end of its code block take.
    fn taken(&self, line: &str) -> usize {
        let end = if self.fence.is_some() || line.contains(FENCE) { FENCE.len() + 1 } else { 0 };
        length(&self.piece) + end
    }

    fn add_line(&mut self, line: &str) {
        // The end of a block fits always: room was kept for it.
        let ends = self.fence.is_some() && line.trim() == FENCE;
        let mut rest = line;
        // The line break at the end of a message is not needed.
        let is_too_long = |this: &Self, rest: &str| this.taken(rest) + length(rest.trim_end_matches('\n')) > this.most;
        if !ends && is_too_long(self, rest) && !self.is_fresh() {
            self.end_piece();
        }
        while !ends && is_too_long(self, rest) {
            let at = cut_at(rest, self.most.saturating_sub(self.taken(rest)));
            if at == 0 {
                break;
            }
            let (fits, left) = rest.split_at(at);
            self.piece.push_str(fits);
            self.fence = fence_after(fits, self.fence.take());
            self.end_piece();
            rest = left;
        }
        self.piece.push_str(rest);
        self.fence = fence_after(rest, self.fence.take());
    }

    /// Whether the piece holds nothing but the beginning of a code block.
    fn is_fresh(&self) -> bool {
        match &self.fence {
            Some(language) => self.piece == opening(language),
            None => self.piece.is_empty(),
        }
    }

    /// Ends a piece, and begins the next in the same code block.
    fn end_piece(&mut self) {
        let fence = self.fence.take();
        if let Some(language) = &fence {
            let opening = opening(language);
            if self.piece.ends_with(&opening) {
                // A block that has only begun begins with the next piece.
                self.piece.truncate(self.piece.len() - opening.len());
            } else {
                self.piece.push_str(if self.piece.ends_with('\n') { FENCE } else { "\n```" });
            }
        }
        self.end();
        if let Some(language) = fence {
            self.piece = opening(&language);
            self.fence = Some(language);
        }
    }

    fn end(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        let piece = piece.trim_end_matches('\n');
        if !piece.trim().is_empty() {
            self.done.push(piece.to_owned());
        }
    }
}

fn opening(language: &str) -> String {
    format!("{FENCE}{language}\n")
}

/// The language of the code block that is open after a line.
fn fence_after(line: &str, before: Option<String>) -> Option<String> {
    let mut open = before;
    let mut rest = line;
    while let Some(at) = rest.find(FENCE) {
        rest = rest[at..].trim_start_matches('`');
        open = match open {
            Some(_) => None,
            None => {
                let language = rest.trim();
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '_' | '#' | '.');
                let is_language =
                    rest.ends_with('\n') && language.len() <= MOST_LANGUAGE && language.chars().all(plain);
                Some(if is_language { language.to_owned() } else { String::new() })
            }
        };
    }
    open
}

/// Where to cut a text so that the first part has at most `most` units; 0 where
/// not even one fits.
fn cut_at(text: &str, most: usize) -> usize {
    let mut used = 0;
    let mut hard = 0;
    let mut soft = 0;
    for (at, seen) in text.grapheme_indices(true) {
        used += length(seen);
        if used > most {
            break;
        }
        hard = at + seen.len();
        if seen.chars().all(char::is_whitespace) {
            soft = hard;
        }
    }
    if hard == 0 {
        // One character of thousands of marks fits nowhere: it is cut after all.
        let mut used = 0;
        let fits = |c: &char| {
            used += c.len_utf16();
            used <= most
        };
        return text.chars().take_while(fits).map(char::len_utf8).sum();
    }
    // A word that begins late is moved; one that fills half of it is cut.
    let at = if soft * 2 > hard { soft } else { hard };
    let before_ticks = text[..at].trim_end_matches('`').len();
    if text[at..].starts_with('`') && before_ticks > 0 { before_ticks } else { at }
}

/// Text that somebody else chose, in a code block that it cannot end: what
/// cannot be seen, or turns the direction of text, is written out.
pub(super) fn verbatim(text: &str) -> String {
    let mut shown = String::from("```\n");
    let mut ticks = 0;
    for c in text.chars() {
        ticks = if c == '`' { ticks + 1 } else { 0 };
        if c != '\n' && c != '\t' && is_unseen(c) {
            shown.extend(c.escape_unicode());
            continue;
        }
        if ticks == 3 {
            shown.push('\u{200b}');
            ticks = 1;
        }
        shown.push(c);
    }
    // A tick at the end would join those that end the block.
    shown.push_str(if text.ends_with('`') { "\u{200b}\n```" } else { "\n```" });
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that the pieces of one in a code block hold, without what
    /// cutting added.
    fn without_fences(pieces: &[String]) -> String {
        let inner = pieces.iter().map(|piece| {
            let piece = piece.strip_prefix("```rust\n").expect("it opens the block");
            piece.strip_suffix("\n```").expect("it ends the block").to_owned()
        });
        inner.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_fits_is_one_piece_and_space_is_none() {
        assert_eq!(split("hello\nworld", 2000), ["hello\nworld"]);
        assert_eq!(split("", 2000), Vec::<String>::new());
        assert_eq!(split(" \n\n ", 2000), Vec::<String>::new());
        assert_eq!(split(&"x".repeat(2000), 2000).len(), 1);
    }

    #[test]
    fn lines_then_words_then_characters() {
        assert_eq!(split("aaaa\nbbbb\ncccc", 10), ["aaaa\nbbbb", "cccc"]);
        assert_eq!(split("one two three four", 10), ["one two ", "three four"]);
        assert_eq!(split(&"x".repeat(25), 10), ["x".repeat(10), "x".repeat(10), "x".repeat(5)]);
    }

    #[test]
    fn no_character_is_cut() {
        let family = "👨‍👩‍👧‍👦";
        for piece in split(&family.repeat(50), 30) {
            assert_eq!(piece.replace(family, ""), "", "{piece}");
            assert!(length(&piece) <= 30);
        }
        let marks = format!("e{}", "\u{301}".repeat(5000));
        let pieces = split(&marks, 2000);
        assert!(pieces.iter().all(|piece| length(piece) <= 2000));
        assert_eq!(pieces.concat(), marks);
    }

    #[test]
    fn a_code_block_ends_and_begins_again() {
        let lines: Vec<String> = (0..60).map(|n| format!("let line_{n} = {n};")).collect();
        let code = lines.join("\n");
        let pieces = split(&format!("```rust\n{code}\n```"), 200);
        assert!(pieces.len() > 5);
        assert!(pieces.iter().all(|piece| length(piece) <= 200), "{pieces:#?}");
        assert_eq!(without_fences(&pieces), code);
    }

    #[test]
    fn a_long_line_in_a_code_block_keeps_it_closed() {
        let pieces = split(&format!("before\n```rust\n{}\n```\nafter", "y".repeat(500)), 100);
        for piece in &pieces {
            assert_eq!(piece.matches(FENCE).count() % 2, 0, "{piece}");
            assert!(length(piece) <= 100);
        }
        let ys: usize = pieces.iter().map(|piece| piece.matches('y').count()).sum();
        assert_eq!(ys, 500);
        assert!(pieces.last().expect("a piece").ends_with("after"));
    }

    #[test]
    fn every_length_of_every_text_is_kept() {
        let text = "Some words, ```inline``` and\n```sh\necho 'a b c'\n\necho d\n```\ntail 👩🏽‍🚀 x\n```\nopen";
        for most in 24..90 {
            let pieces = split(text, most);
            for piece in &pieces {
                assert!(length(piece) <= most, "{most}: {piece:?}");
                let last = std::ptr::eq(piece, pieces.last().expect("a piece"));
                assert!(last || piece.matches(FENCE).count() % 2 == 0, "{most}: {piece:?}");
            }
            for word in ["Some", "inline", "echo", "tail", "👩🏽‍🚀", "open"] {
                assert!(pieces.concat().contains(word), "{most}: {word} in {pieces:?}");
            }
        }
    }

    #[test]
    fn verbatim_text_cannot_end_its_block_or_hide() {
        assert_eq!(verbatim("rm -rf /"), "```\nrm -rf /\n```");
        let hostile = verbatim("``````\n@everyone ```` \u{202e}evil\u{200b}`");
        assert_eq!(hostile.matches(FENCE).count(), 2, "{hostile}");
        assert!(hostile.contains("\\u{202e}evil\\u{200b}"), "{hostile}");
    }
}
