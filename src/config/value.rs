//! Values as they are written, checked against what a key allows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::ValueKind;
use crate::sizes::{UNITS, written_size};

/// A value that fits its key's [`ValueKind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, a choice, or a path as written.
    Text(String),
    /// A whole number.
    Number(u64),
    /// A time span; `None` is `never`.
    Span(Option<Duration>),
    /// A number of bytes; `None` is `never`.
    Size(Option<u64>),
    /// A whole number; `None` is `never`.
    Count(Option<u64>),
    /// TCP ports.
    Ports(Vec<u16>),
    /// A list.
    Texts(Vec<String>),
}

impl Value {
    /// Reads a value that was given as plain text: by default, environment or
    /// command line. Lists are separated by commas.
    ///
    /// # Errors
    /// With the rule that the text breaks.
    pub fn from_text(text: &str, kind: ValueKind) -> Result<Self, String> {
        let text = text.trim();
        match kind {
            ValueKind::Number(_) => {
                text.parse().map_err(|_| format!("`{text}` is not a whole number")).and_then(|n| number(n, kind))
            }
            ValueKind::NumberOrNever(_) if text != "never" => Self::from_text(text, plain(kind)).map(Self::count),
            ValueKind::Ports => {
                let inner = text.trim_start_matches('[').trim_end_matches(']');
                let words = inner.split(',').map(str::trim).filter(|word| !word.is_empty());
                words.map(port).collect::<Result<_, _>>().map(Self::Ports)
            }
            ValueKind::Paths | ValueKind::Texts => {
                let inner = text.trim_start_matches('[').trim_end_matches(']');
                let words = inner.split(',').map(|word| word.trim().trim_matches('"')).filter(|word| !word.is_empty());
                Ok(Self::Texts(words.map(str::to_owned).collect()))
            }
            _ => text_value(text, kind),
        }
    }

    /// Reads a value from a TOML document.
    ///
    /// # Errors
    /// With the rule that the value breaks.
    pub fn from_toml(value: &toml::Value, kind: ValueKind) -> Result<Self, String> {
        match (value, kind) {
            (toml::Value::Integer(n), ValueKind::Number(_)) => {
                u64::try_from(*n).map_err(|_| format!("{n} is negative")).and_then(|n| number(n, kind))
            }
            (toml::Value::Integer(_), ValueKind::NumberOrNever(_)) => {
                Self::from_toml(value, plain(kind)).map(Self::count)
            }
            (toml::Value::Array(items), ValueKind::Ports) => {
                items.iter().map(|item| port(&item.to_string())).collect::<Result<_, _>>().map(Self::Ports)
            }
            (toml::Value::Array(items), ValueKind::Paths | ValueKind::Texts) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| format!("{item} is not text")))
                .collect::<Result<_, _>>()
                .map(Self::Texts),
            (toml::Value::String(text), kind)
                if !matches!(kind, ValueKind::Number(_) | ValueKind::Paths | ValueKind::Texts | ValueKind::Ports) =>
            {
                text_value(text, kind)
            }
            _ => Err(format!("{value} is not {}", expected(kind))),
        }
    }

    /// The value as it would be written in the configuration file.
    #[must_use]
    pub fn written(&self) -> String {
        match self {
            Self::Text(text) => toml::Value::from(text.as_str()).to_string(),
            Self::Number(n) => n.to_string(),
            Self::Span(None) | Self::Size(None) | Self::Count(None) => "\"never\"".to_owned(),
            Self::Span(Some(span)) => format!("\"{}\"", written_span(*span)),
            Self::Size(Some(bytes)) => format!("\"{}\"", written_size(*bytes)),
            Self::Count(Some(count)) => count.to_string(),
            Self::Ports(ports) => {
                format!("[{}]", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "))
            }
            Self::Texts(items) => toml::Value::from(items.clone()).to_string(),
        }
    }

    /// A number that was read where `never` is one too.
    fn count(self) -> Self {
        match self {
            Self::Number(number) => Self::Count(Some(number)),
            other => other,
        }
    }
}

/// The kind of a number that is not `never`.
fn plain(kind: ValueKind) -> ValueKind {
    match kind {
        ValueKind::NumberOrNever(least) => ValueKind::Number(least),
        other => other,
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("`{text}` is no TCP port, a number from 1 to 65535")),
        Ok(port) => Ok(port),
    }
}

fn number(n: u64, kind: ValueKind) -> Result<Value, String> {
    match kind {
        ValueKind::Number(least) if n < least => Err(format!("{n} is less than {least}")),
        _ => Ok(Value::Number(n)),
    }
}

fn text_value(text: &str, kind: ValueKind) -> Result<Value, String> {
    match kind {
        ValueKind::Choice(choices) if !choices.contains(&text) => Err(format!("`{text}` is not {}", expected(kind))),
        ValueKind::SpanOrNever if text == "never" => Ok(Value::Span(None)),
        ValueKind::SizeOrNever if text == "never" => Ok(Value::Size(None)),
        ValueKind::NumberOrNever(_) if text == "never" => Ok(Value::Count(None)),
        ValueKind::NumberOrNever(_) => Err(format!("`{text}` is not {}", expected(kind))),
        ValueKind::SizeOrNever => parse_size(text).map(|size| Value::Size(Some(size))),
        ValueKind::Span | ValueKind::SpanOrNever => parse_span(text).map(|span| Value::Span(Some(span))),
        _ if text.contains('\0') => Err("it holds a NUL character".to_owned()),
        _ => Ok(Value::Text(text.to_owned())),
    }
}

fn expected(kind: ValueKind) -> String {
    match kind {
        ValueKind::Text | ValueKind::Path => "text".to_owned(),
        ValueKind::Choice(choices) => format!("one of `{}`", choices.join("`, `")),
        ValueKind::Number(_) => "a whole number".to_owned(),
        ValueKind::Span => "a time span such as \"30m\"".to_owned(),
        ValueKind::SpanOrNever => "a time span such as \"30d\", or \"never\"".to_owned(),
        ValueKind::Paths | ValueKind::Texts => "a list of texts".to_owned(),
        ValueKind::Ports => "a list of TCP ports".to_owned(),
        ValueKind::SizeOrNever => "a number of bytes such as \"512M\" or \"8G\", or \"never\"".to_owned(),
        ValueKind::NumberOrNever(_) => "a whole number, or \"never\"".to_owned(),
        ValueKind::Secret => {
            "text, or one of `{ env = \"NAME\" }`, `{ file = \"PATH\" }`, `{ command = [..] }`".to_owned()
        }
        ValueKind::Section => "a section".to_owned(),
    }
}

/// Reads a number of bytes such as `512M` or `8G`.
///
/// # Errors
/// If the text is none, or it is zero.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a number of bytes such as `512M` or `8G`");
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, bytes) = unit.unwrap_or((text, 1));
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(bytes).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// Reads a time span such as `90s`, `30m`, `24h` or `30d`.
///
/// # Errors
/// If the text is no time span, or is zero or negative.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time span such as `90s`, `30m`, `24h` or `30d`");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let seconds = span.total(jiff::SpanTotal::from(jiff::Unit::Second).days_are_24_hours()).map_err(|_| wrong())?;
    let span = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if span.is_zero() { Err(format!("`{text}` is no time at all")) } else { Ok(span) }
}

/// A time span in the largest unit that divides it.
#[must_use]
pub fn written_span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        s if span.subsec_nanos() > 0 => format!("{}ms", u128::from(s) * 1000 + u128::from(span.subsec_millis())),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// A path as it was written, made absolute: `~/` is the home directory, and a
/// relative path is below `base`.
///
/// # Errors
/// If the path starts with `~` and there is no home directory.
pub fn absolute(text: &str, base: &Path, home: Option<&Path>) -> Result<PathBuf, String> {
    let rest = text.strip_prefix("~/").or(if text == "~" { Some("") } else { None });
    match (rest, home) {
        (Some(rest), Some(home)) => Ok(home.join(rest)),
        (Some(_), None) => Err(format!("`{text}` needs a home directory, and HOME is not set")),
        (None, _) => Ok(base.join(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_write() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("24h", 86_400), ("30d", 2_592_000), ("1h30m", 5400)] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(written_span(Duration::from_secs(86_400)), "1d");
        assert_eq!(written_span(Duration::from_millis(1500)), "1500ms");
        assert!(parse_span("soon").is_err());
        assert!(parse_span("0s").is_err());
        assert!(parse_span("-5m").is_err());
    }

    #[test]
    fn sizes_read_and_write() {
        for (text, bytes) in [("512M", 512 << 20), ("8G", 8 << 30), ("1K", 1024), ("1000", 1000)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(written_size(bytes), text);
        }
        for wrong in ["", "G", "0", "-1", "1.5G", "99999999999T"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_become_absolute() {
        let absolute = |text| absolute(text, Path::new("/root-dir"), Some(Path::new("/home/u")));
        assert_eq!(absolute("~/x"), Ok("/home/u/x".into()));
        assert_eq!(absolute("~"), Ok("/home/u/".into()));
        assert_eq!(absolute("x"), Ok("/root-dir/x".into()));
        assert_eq!(absolute("/x"), Ok("/x".into()));
    }
}
