//! What an agent changed about the person's terminal, and the bytes that undo
//! it when the agent is gone: a program that was killed leaves the mouse on and
//! the cursor hidden. Private modes and sequences: xterm's `ctlseqs`, and kitty's
//! keyboard protocol.

/// The private modes (`CSI ? n h`) that a terminal has on by itself.
const ON: &[u16] = &[7, 8, 25];

/// Those that it has off: keys of the cursor, reverse video, origin, the mouse in
/// all its forms, keypad, margins, focus, paste, synchronised output, colour
/// scheme, size.
const OFF: &[u16] =
    &[1, 5, 6, 9, 66, 69, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 2026, 2027, 2031, 2048];

/// The alternate screen, by its several names.
const ALTERNATE: &[u16] = &[47, 1047, 1049];

/// The modes without `?` that a terminal has off: locked keyboard, insertion, new
/// lines.
const PLAIN: &[u16] = &[2, 4, 20];

/// Colours that can be set (`OSC n`); `OSC 100 + n` brings each back.
const COLOURS: &[u16] = &[4, 10, 11, 12, 17, 19];

/// What is not as it was.
#[derive(Debug, Default)]
pub(super) struct Modes {
    /// Private modes that are not as a terminal has them by itself.
    private: Vec<u16>,
    plain: Vec<u16>,
    colours: Vec<u16>,
    attributes: bool,
    keypad: bool,
    cursor: bool,
    charset: bool,
    region: bool,
    keys: bool,
    progress: bool,
    /// How many keyboard modes are stacked on the main and on the alternate screen.
    stacked: [u32; 2],
    keyboard: bool,
}

/// A mode is among those that are changed, or no more.
fn mark(marked: &mut Vec<u16>, mode: u16, changed: bool) {
    marked.retain(|other| *other != mode);
    if changed {
        marked.push(mode);
    }
}

impl Modes {
    /// A control character.
    pub(super) fn control(&mut self, byte: u8) {
        match byte {
            0x0e => self.charset = true,
            0x0f => self.charset = false,
            _ => {}
        }
    }

    /// `ESC`, intermediate bytes, and this.
    pub(super) fn escape(&mut self, intermediates: &[u8], last: u8) {
        match (intermediates, last) {
            ([], b'c') => *self = Self::default(),
            ([], b'=') => self.keypad = true,
            ([], b'>') => self.keypad = false,
            ([], b'n' | b'o') => self.charset = true,
            ([b'('], b'B') => self.charset = false,
            ([b'('], _) => self.charset = true,
            _ => {}
        }
    }

    /// A colour was set by `OSC`, or progress was shown.
    pub(super) fn command(&mut self, number: u16, text: &[u8]) {
        match number {
            9 => self.progress = text != b"4;0" && text != b"4;0;",
            _ if COLOURS.contains(&number) && !text.ends_with(b"?") => mark(&mut self.colours, number, true),
            _ => {}
        }
    }

    /// `CSI`, with its prefix, numbers and intermediate bytes.
    pub(super) fn sequence(&mut self, prefix: Option<u8>, numbers: &[u16], intermediates: &[u8], last: u8) {
        let first = numbers.first().copied().unwrap_or(0);
        match (prefix, intermediates, last) {
            (Some(b'?'), [], b'h' | b'l') => {
                for mode in numbers {
                    self.private(*mode, last == b'h');
                }
            }
            // They become what they were at some time.
            (Some(b'?'), [], b'r') => {
                for mode in numbers {
                    self.private(*mode, !ON.contains(mode));
                }
            }
            (None, [], b'h' | b'l') => {
                for mode in numbers.iter().filter(|mode| PLAIN.contains(mode)) {
                    mark(&mut self.plain, *mode, last == b'h');
                }
            }
            (None, [], b'm') => self.attributes = numbers.iter().any(|number| *number != 0),
            (None, [], b'r') => self.region = numbers.iter().any(|number| *number != 0),
            (None, [b' '], b'q') => self.cursor = first != 0,
            (Some(b'>'), [], b'm') => self.keys = matches!(numbers, [4, level, ..] if *level != 0),
            (Some(b'>'), [], b'u') => *self.stack() = self.stack().saturating_add(1),
            (Some(b'<'), [], b'u') => *self.stack() = self.stack().saturating_sub(u32::from(first.max(1))),
            (Some(b'='), [], b'u') => self.keyboard = true,
            _ => {}
        }
    }

    fn private(&mut self, mode: u16, on: bool) {
        if ON.contains(&mode) || OFF.contains(&mode) || ALTERNATE.contains(&mode) {
            mark(&mut self.private, mode, on != ON.contains(&mode));
        }
    }

    fn is_alternate(&self) -> bool {
        self.private.iter().any(|mode| ALTERNATE.contains(mode))
    }

    fn stack(&mut self) -> &mut u32 {
        let screen = usize::from(self.is_alternate());
        &mut self.stacked[screen]
    }

    /// What brings the terminal back; nothing if nothing was changed.
    pub(super) fn undo(&mut self) -> Vec<u8> {
        let modes = std::mem::take(self);
        let mut text = String::new();
        if modes.keyboard {
            text.push_str("\x1b[=0u");
        }
        let [main, alternate] =
            modes.stacked.map(|count| if count > 0 { format!("\x1b[<{count}u") } else { String::new() });
        text.push_str(&alternate);
        // The screen last of the modes: what belongs to a screen is undone on it.
        let (screens, others): (Vec<u16>, Vec<u16>) = modes.private.iter().partition(|mode| ALTERNATE.contains(mode));
        for mode in others.iter().chain(&screens) {
            text.push_str(&format!("\x1b[?{mode}{}", if ON.contains(mode) { 'h' } else { 'l' }));
        }
        text.push_str(&main);
        for mode in &modes.plain {
            text.push_str(&format!("\x1b[{mode}l"));
        }
        for colour in &modes.colours {
            text.push_str(&format!("\x1b]{}\x1b\\", 100 + colour));
        }
        for (changed, undo) in [
            (modes.keys, "\x1b[>4m"),
            (modes.keypad, "\x1b>"),
            (modes.cursor, "\x1b[0 q"),
            (modes.charset, "\x0f\x1b(B"),
            (modes.region, "\x1b7\x1b[r\x1b8"),
            (modes.attributes, "\x1b[m"),
            (modes.progress, "\x1b]9;4;0\x1b\\"),
        ] {
            if changed {
                text.push_str(undo);
            }
        }
        text.into_bytes()
    }
}
