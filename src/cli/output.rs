//! The only place that prints: data on standard output, everything else on
//! standard error.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How much is said, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
    pub(super) quiet: bool,
    pub(super) verbose: bool,
    pub(super) color: Color,
}

/// Whether data could not be printed that somebody waits for.
static UNPRINTED: AtomicBool = AtomicBool::new(false);

/// Whether standard output could not be written, on a full disk for example.
/// That nobody reads it any more does not count.
pub(super) fn is_unprinted() -> bool {
    UNPRINTED.load(Ordering::Relaxed)
}

fn printed(result: std::io::Result<()>) {
    if result.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe) {
        UNPRINTED.store(true, Ordering::Relaxed);
    }
}

pub(super) const DIM: &str = "\x1b[2m";
pub(super) const BOLD: &str = "\x1b[1m";
pub(super) const RED: &str = "\x1b[31m";
pub(super) const YELLOW: &str = "\x1b[33m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const RESET: &str = "\x1b[0m";

impl Output {
    fn choice(self) -> ColorChoice {
        match self.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }

    /// A line of data. Where nobody reads it any more, it is dropped.
    pub(super) fn data(self, line: impl Display) {
        let mut out = AutoStream::new(std::io::stdout(), self.choice());
        printed(writeln!(out, "{line}"));
    }

    /// A part of data, without a newline.
    pub(super) fn part(self, text: impl Display) {
        let mut out = AutoStream::new(std::io::stdout(), self.choice());
        printed(write!(out, "{text}").and_then(|()| out.flush()));
    }

    /// One JSON value, for `--json`.
    pub(super) fn json(self, value: &serde_json::Value) {
        self.data(value);
    }

    /// Many JSON values, one a line.
    pub(super) fn json_lines(self, values: impl Iterator<Item = impl serde::Serialize>) {
        // JSON has no colours to take out, and a list may be long.
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for value in values {
            let written = serde_json::to_writer(&mut out, &value).map_err(std::io::Error::from);
            let written = written.and_then(|()| out.write_all(b"\n"));
            if written.is_err() {
                return printed(written);
            }
        }
        printed(out.flush());
    }

    /// What was done, for a person; not with `--quiet` or `--json`.
    pub(super) fn done(self, line: impl Display) {
        if !self.quiet && !self.json {
            self.data(line);
        }
    }

    /// A remark for a person.
    pub(super) fn note(self, line: impl Display) {
        if !self.quiet {
            self.error_line(line);
        }
    }

    /// A remark that only makes sense to somebody who is watching.
    pub(super) fn activity(self, line: impl Display) {
        if !self.quiet && std::io::stderr().is_terminal() {
            self.error_line(format_args!("{DIM}{line}{RESET}"));
        }
    }

    /// A remark for who asked for many.
    pub(super) fn detail(self, line: impl Display) {
        if self.verbose {
            self.error_line(format_args!("{DIM}{line}{RESET}"));
        }
    }

    /// A line on standard error, whatever was asked for.
    pub(super) fn error_line(self, line: impl Display) {
        let mut err = AutoStream::new(std::io::stderr(), self.choice());
        let _written = writeln!(err, "{line}");
    }

    /// A bar for work on many sessions, seen only on a terminal: what is done
    /// with them, how many are, how fast, how long it will still take.
    pub(super) fn progress(self, verb: &'static str, sessions: u64) -> ProgressBar {
        self.bar(verb, sessions, "{human_pos}/{human_len} sessions, {rate}/s, {eta} left")
    }

    /// The same for the reading of one file, of this size in bytes.
    pub(super) fn reading(self, verb: &'static str, bytes: u64) -> ProgressBar {
        self.bar(verb, bytes, "{binary_bytes}/{binary_total_bytes}, {eta} left")
    }

    /// The same for things whose number is not known.
    pub(super) fn counting(self, verb: &'static str) -> ProgressBar {
        self.bar(verb, 0, "{human_pos}")
    }

    fn bar(self, verb: &'static str, steps: u64, counts: &str) -> ProgressBar {
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // What cannot be drawn is not missed.
            let _drawn = write!(out, "{:.0}", state.per_sec());
        };
        let style = ProgressStyle::with_template(&format!("{{msg}} {{wide_bar}} {counts}"));
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate);
        let bar = ProgressBar::new(steps).with_style(style).with_message(verb);
        if self.quiet || self.json || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar
    }

    /// Text of somebody else, fit for where it goes: a terminal would act on
    /// escape sequences, a file or pipe gets every byte as it was said.
    pub(super) fn foreign(self, text: &str) -> String {
        if std::io::stdout().is_terminal() { escape(text) } else { text.to_owned() }
    }
}

/// The text with control and direction-changing characters made visible;
/// newlines and tabs stay.
pub(super) fn escape(text: &str) -> String {
    let unsafe_char = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    if !text.contains(unsafe_char) {
        return text.to_owned();
    }
    text.chars().map(|c| if unsafe_char(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// The text on one line, at most `width` columns wide.
pub(super) fn one_line(text: &str, width: usize) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    let line = escape(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    if line.width() <= width {
        return line;
    }
    let mut cut = String::new();
    let mut used = 1;
    for c in line.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}

/// How long ago something was, in one unit.
pub(super) fn ago(at: jiff::Timestamp) -> String {
    let seconds = jiff::Timestamp::now().duration_since(at).as_secs();
    match seconds {
        ..=4 => "now".to_owned(),
        5..=59 => format!("{seconds}s ago"),
        60..=3599 => format!("{}m ago", seconds / 60),
        3600..=86_399 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// A number of things, in words.
pub(super) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A number of bytes, in a unit that a person reads.
pub(super) fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let count_f = count as f64;
    match count {
        0..=1023 => format!("{count} B"),
        1024..=1_048_575 => format!("{:.1} KiB", count_f / 1024.0),
        1_048_576..=1_073_741_823 => format!("{:.1} MiB", count_f / 1_048_576.0),
        _ => format!("{:.1} GiB", count_f / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_do_not_reach_a_terminal() {
        assert_eq!(escape("a\x1b[31mb\nc\u{202e}"), "a\\u{1b}[31mb\nc\\u{202e}");
        assert_eq!(one_line("héllo   wörld\nagain", 9), "héllo wö…");
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}
