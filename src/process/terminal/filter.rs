//! What an agent prints on its way to the person's terminal: what would take the
//! clipboard, have the terminal type an answer of the agent's choice, print, or
//! speak past tmux and screen to the terminal behind is dropped; everything else
//! goes on as it came. A parser of control sequences, not a terminal: it holds
//! back at most one sequence, and lets on only whole ones, so that no two dropped
//! pieces can be put together to one that is not.
//!
//! The states are those of DEC's terminals (Paul Williams' parser for ANSI), and
//! what is dangerous is taken from xterm's `ctlseqs` and screen(1). Bytes are
//! taken for UTF-8, and what would end that is dropped too.

use super::modes::Modes;

/// The longest sequence, and the longest command, that goes on. Links and titles
/// are shorter.
const LONGEST: usize = 8 * 1024;

const ESC: u8 = 0x1b;
const BELL: u8 = 0x07;

/// The commands (`OSC n`) that go on: titles, colours, links and their resets.
/// Not among them: clipboards (52), files and notifications of iTerm2, kitty and
/// others (9, 99, 777, 1337), the directory (7), fonts, which xterm reports (50),
/// a log file (46), properties of the window (3), commands for screen (83).
const COMMANDS: &[u16] = &[0, 1, 2, 4, 8, 10, 11, 12, 17, 19, 104, 110, 111, 112, 117, 119];

/// Where in a sequence it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterState {
    /// In none.
    Text,
    /// After `ESC`.
    Escape,
    /// After `CSI`.
    Sequence,
    /// In a string.
    In(StringKind),
    /// In a string, after `ESC`.
    Ending(StringKind),
}

/// A string, which ends with `ST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StringKind {
    /// `OSC`, kept until its end; it may end with a bell too.
    Command,
    /// `DCS` before the letter that says what it is.
    Device,
    /// A picture in sixels, which goes on while it comes.
    Picture,
    /// Anything else, dropped to its end.
    Dropped,
    /// A command that is longer than any that goes on.
    DroppedCommand,
}

/// The filter between a child and the person's terminal.
#[derive(Debug)]
pub(super) struct Filter {
    state: FilterState,
    /// What is held back of the present sequence, without what introduced it.
    held: Vec<u8>,
    /// How many bytes of the present character are still to come, and the least and
    /// greatest that the next can be.
    rest: (u8, u8, u8),
    /// `C2`, which is half a character or half a control character.
    half: bool,
    modes: Modes,
}

impl Default for Filter {
    fn default() -> Self {
        Self { state: FilterState::Text, held: Vec::new(), rest: (0, 0, 0), half: false, modes: Modes::default() }
    }
}

impl Filter {
    /// Takes what comes next, in pieces of any size, and adds what goes on.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.state == FilterState::Text && !self.half && self.rest.0 == 0 {
                let plain = bytes.iter().take_while(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r')).count();
                if plain > 0 {
                    let (text, rest) = bytes.split_at(plain);
                    out.extend_from_slice(text);
                    bytes = rest;
                    continue;
                }
            }
            self.byte(byte, out);
            bytes = rest;
        }
    }

    /// What brings the terminal back to where it was; what is held back is gone.
    pub(super) fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.cut(&mut out);
        let modes = std::mem::take(&mut self.modes);
        *self = Self { modes, ..Self::default() };
        out.extend(self.modes.undo());
        out
    }

    /// Tells characters of several bytes from control characters.
    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.half) {
            match byte {
                0x80..=0x9f => return self.control(byte, &[0xc2, byte], out),
                _ => self.high(0xc2, out),
            }
            if (0xa0..=0xbf).contains(&byte) {
                return self.high(byte, out);
            }
        }
        let (left, least, greatest) = self.rest;
        if left > 0 && (least..=greatest).contains(&byte) {
            self.rest = (left - 1, 0x80, 0xbf);
            return self.high(byte, out);
        }
        self.rest = match byte {
            0xc3..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            _ => (0, 0, 0),
        };
        match byte {
            0xc2 => self.half = true,
            0x00..=0x1f | 0x7f..=0x9f => self.control(byte, &[byte], out),
            b' '..=b'~' => self.letter(byte, out),
            _ => self.high(byte, out),
        }
    }

    /// A byte that is part of no control sequence.
    fn high(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            FilterState::Text => out.push(byte),
            FilterState::Escape | FilterState::Sequence => {
                self.leave();
                out.push(byte);
            }
            FilterState::In(StringKind::Command) => self.hold(byte),
            FilterState::In(StringKind::Device) => self.state = FilterState::In(StringKind::Dropped),
            FilterState::In(_) => {}
            FilterState::Ending(_) => {
                self.cut(out);
                self.leave();
                out.push(byte);
            }
        }
    }

    /// A control character, in the bytes by which it came.
    fn control(&mut self, control: u8, came: &[u8], out: &mut Vec<u8>) {
        if let FilterState::Ending(_) = self.state {
            self.cut(out);
            self.enter(FilterState::Escape);
        }
        match (control, self.state) {
            // The terminal's answer to this is set by the person, to a word of theirs.
            (0x05, _) => {}
            (ESC, FilterState::In(kind)) => self.state = FilterState::Ending(kind),
            (ESC, _) => self.enter(FilterState::Escape),
            (0x18 | 0x1a, _) => {
                self.cut(out);
                self.leave();
                out.push(control);
            }
            (BELL, FilterState::In(StringKind::Command)) => self.finish(&[BELL], out),
            (BELL, FilterState::In(StringKind::DroppedCommand)) => self.leave(),
            (0x9c, FilterState::In(_)) => self.finish(b"\x1b\\", out),
            (b'\r' | b'\n', FilterState::In(StringKind::Picture)) => out.push(control),
            (0x80..=0x9f, _) => {
                self.cut(out);
                match control {
                    0x90 => self.enter(FilterState::In(StringKind::Device)),
                    0x9b => self.enter(FilterState::Sequence),
                    0x9d => self.enter(FilterState::In(StringKind::Command)),
                    0x98 | 0x9e | 0x9f => self.enter(FilterState::In(StringKind::Dropped)),
                    _ => {
                        self.leave();
                        out.extend_from_slice(came);
                    }
                }
            }
            (_, FilterState::In(_)) | (0x7f, FilterState::Escape | FilterState::Sequence) => {}
            // It counts at once, also within a sequence.
            _ => {
                self.modes.control(control);
                out.push(control);
            }
        }
    }

    /// A letter, a digit, a sign.
    fn letter(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            FilterState::Text => out.push(byte),
            FilterState::Escape if byte < b'0' => self.hold(byte),
            FilterState::Escape => self.escape(byte, out),
            FilterState::Sequence | FilterState::In(StringKind::Device) if byte < b'@' => self.hold(byte),
            FilterState::Sequence => self.sequence(byte, out),
            FilterState::In(StringKind::Device) if byte == b'q' && self.is_picture() => {
                self.pass(b"\x1bP", &[byte], out);
                self.state = FilterState::In(StringKind::Picture);
            }
            FilterState::In(StringKind::Device) => self.state = FilterState::In(StringKind::Dropped),
            FilterState::In(StringKind::Command) => {
                self.hold(byte);
                // Colours of Linux's console, which have no end.
                if matches!(self.held.as_slice(), [b'R'] | [b'P', _, _, _, _, _, _, _]) {
                    self.leave();
                }
            }
            FilterState::In(StringKind::Picture) => out.push(byte),
            FilterState::In(StringKind::Dropped | StringKind::DroppedCommand) => {}
            FilterState::Ending(_) if byte == b'\\' => self.finish(b"\x1b\\", out),
            FilterState::Ending(_) => {
                self.cut(out);
                self.enter(FilterState::Escape);
                self.letter(byte, out);
            }
        }
    }

    /// The end of a sequence without numbers, or the beginning of another.
    fn escape(&mut self, last: u8, out: &mut Vec<u8>) {
        match (self.held.as_slice(), last) {
            ([], b'[') => return self.enter(FilterState::Sequence),
            ([], b']') => return self.enter(FilterState::In(StringKind::Command)),
            ([], b'P') => return self.enter(FilterState::In(StringKind::Device)),
            // Screen sets a title by `ESC k`.
            ([], b'X' | b'^' | b'_' | b'k') => return self.enter(FilterState::In(StringKind::Dropped)),
            // Sets of characters, and a test picture.
            ([] | [b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/' | b'#'], _) => {
                self.modes.escape(&self.held, last);
                self.pass(b"\x1b", &[last], out);
            }
            // `ESC %` ends UTF-8; `ESC SP` asks for answers of 8 bits.
            _ => {}
        }
        self.leave();
    }

    /// The end of a sequence with numbers.
    fn sequence(&mut self, last: u8, out: &mut Vec<u8>) {
        if let Some((prefix, numbers, intermediates)) = parts(&self.held)
            && self.held.len() < LONGEST
            && !is_dangerous(prefix, &numbers, intermediates, last)
        {
            let numbers: Vec<u16> = numbers.iter().filter_map(|number| u16::try_from(*number).ok()).collect();
            self.modes.sequence(prefix, &numbers, intermediates, last);
            self.pass(b"\x1b[", &[last], out);
        }
        self.leave();
    }

    /// A string came to its end.
    fn finish(&mut self, terminator: &[u8], out: &mut Vec<u8>) {
        match self.state {
            FilterState::In(StringKind::Command) | FilterState::Ending(StringKind::Command) => {
                let digits = self.held.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let (number, text) = self.held.split_at(digits);
                let number = std::str::from_utf8(number).ok().and_then(|number| number.parse::<u16>().ok());
                let text = text.strip_prefix(b";");
                // Progress, which goes on, shares its number with notifications.
                let is_progress = |text: &[u8]| {
                    text.starts_with(b"4;") && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b';')
                };
                let goes_on = |number: u16| match (number, text) {
                    (9, Some(text)) => is_progress(text),
                    (_, None) => COMMANDS.contains(&number) && self.held.len() == digits,
                    _ => COMMANDS.contains(&number),
                };
                if let Some(number) = number.filter(|number| goes_on(*number)) {
                    self.modes.command(number, text.unwrap_or_default());
                    self.pass(b"\x1b]", terminator, out);
                }
            }
            FilterState::In(StringKind::Picture) | FilterState::Ending(StringKind::Picture) => {
                out.extend_from_slice(terminator)
            }
            _ => {}
        }
        self.leave();
    }

    /// A string was cut off. Of what goes on while it comes, the terminal is told.
    fn cut(&mut self, out: &mut Vec<u8>) {
        if let FilterState::In(StringKind::Picture) | FilterState::Ending(StringKind::Picture) = self.state {
            out.extend_from_slice(b"\x1b\\");
        }
    }

    /// Whether the numbers are all that stands before the letter of a string.
    fn is_picture(&self) -> bool {
        self.held.len() < LONGEST && self.held.iter().all(|byte| b"0123456789;".contains(byte))
    }

    fn enter(&mut self, state: FilterState) {
        self.held.clear();
        self.state = state;
    }

    fn leave(&mut self) {
        self.enter(FilterState::Text);
    }

    /// Holds a byte back. Of what is too long, nothing goes on.
    fn hold(&mut self, byte: u8) {
        if self.held.len() < LONGEST {
            self.held.push(byte);
        } else if self.state == FilterState::In(StringKind::Command) {
            self.enter(FilterState::In(StringKind::DroppedCommand));
        }
    }

    /// Lets what is held back go on, with what introduced and what ends it.
    fn pass(&mut self, before: &[u8], after: &[u8], out: &mut Vec<u8>) {
        for part in [before, self.held.as_slice(), after] {
            out.extend_from_slice(part);
        }
        self.held.clear();
    }
}

/// The prefix, the numbers and the intermediate bytes of a sequence; `None` if
/// they do not come in this order.
fn parts(held: &[u8]) -> Option<(Option<u8>, Vec<u64>, &[u8])> {
    let prefix = held.first().copied().filter(|byte| (b'<'..=b'?').contains(byte));
    let rest = if prefix.is_some() { &held[1..] } else { held };
    let end = rest.iter().position(|byte| *byte < b'0').unwrap_or(rest.len());
    let (numbers, intermediates) = rest.split_at(end);
    if !numbers.iter().all(|byte| (b'0'..=b';').contains(byte)) || !intermediates.iter().all(|byte| *byte < b'0') {
        return None;
    }
    let number = |digits: &[u8]| {
        digits.iter().fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    };
    Some((prefix, numbers.split(|byte| matches!(byte, b';' | b':')).map(number).collect(), intermediates))
}

/// Whether a sequence is dropped.
fn is_dangerous(prefix: Option<u8>, numbers: &[u64], intermediates: &[u8], last: u8) -> bool {
    // A terminal that counts in fewer bits would take it for another.
    let is_huge = numbers.iter().any(|number| *number > u64::from(u16::MAX));
    match (prefix, intermediates, last) {
        // Printing, and what is printed goes to a program of the person's.
        (_, _, b'i') => true,
        // Typing the title of the window; how titles are read.
        (Some(b'>'), [], b't' | b'T') => true,
        (_, [], b't') => is_huge || matches!(numbers.first(), Some(20 | 21)),
        // A checksum of what is on the screen; a macro.
        (_, [b'*'], b'y' | b'z') => true,
        // The modes of a VT52, which has other sequences.
        (Some(b'?'), [], b'l') => is_huge || numbers.contains(&2),
        // Those of a Tektronix, which has others too.
        (Some(b'?'), [], b'h') => is_huge || numbers.contains(&38),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
