//! JSON as earlier systems left it, read with tolerance: a field that is missing
//! or of another kind is nothing, and numbers keep all their digits.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The fields of one object.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads an object.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        match serde_json::from_slice(without_mark(bytes)) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(Value::Null) => Err("it holds `null`".to_owned()),
            Ok(_) => Err("it holds no JSON object".to_owned()),
            Err(error) => Err(broken(bytes, &error)),
        }
    }

    /// The object in a field.
    #[must_use]
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        self.0.get(name).and_then(Value::as_object).cloned().map(Self)
    }

    /// The objects in a field that holds a list or an object of them, each with
    /// its name or number.
    #[must_use]
    pub(super) fn objects(&self, name: &str) -> Vec<(String, Self)> {
        let pair = |(name, value): (String, &Value)| Some((name, Self(value.as_object()?.clone())));
        match self.0.get(name) {
            Some(Value::Array(items)) => {
                items.iter().enumerate().filter_map(|(number, item)| pair((number.to_string(), item))).collect()
            }
            Some(Value::Object(items)) => items.iter().filter_map(|(name, item)| pair((name.clone(), item))).collect(),
            _ => Vec::new(),
        }
    }

    /// A text that is not empty; a whole number is its digits.
    #[must_use]
    pub(super) fn text(&self, name: &str) -> Option<String> {
        text_of(self.0.get(name)?)
    }

    /// The texts in a field that holds a list.
    #[must_use]
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(text_of).collect()
    }

    /// A time: ISO 8601, or milliseconds since 1970.
    #[must_use]
    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        match self.0.get(name)? {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => Timestamp::from_millisecond(number.as_i64()?).ok(),
            _ => None,
        }
    }

    /// The first of these times that is there.
    #[must_use]
    pub(super) fn time_of(&self, names: &[&str]) -> Option<Timestamp> {
        names.iter().find_map(|name| self.time(name))
    }

    /// A whole number.
    #[must_use]
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            Value::String(text) => text.parse().ok(),
            value => value.as_i64(),
        }
    }

    /// A count; what is none is 0.
    #[must_use]
    pub(super) fn count(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    /// The names of all fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Any field.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

/// The bytes without the mark that some editors put before a text.
#[must_use]
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// What is wrong with bytes that are no JSON.
#[must_use]
pub(super) fn broken(bytes: &[u8], error: &serde_json::Error) -> String {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return "it is empty".to_owned();
    }
    if error.is_eof() {
        format!("it ends in the middle: {error}")
    } else {
        format!("it is no JSON as it should be: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let fields = Fields::read(br#"{"id": 1484567890123456789, "list": [1484567890123456789, "x", null, 1.5]}"#);
        let fields = fields.expect("an object");
        assert_eq!(fields.text("id").as_deref(), Some("1484567890123456789"));
        assert_eq!(fields.texts("list"), ["1484567890123456789", "x"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |text: &str| Fields::read(text.as_bytes()).expect_err("no object");
        assert_eq!(said(""), "it is empty");
        assert_eq!(said("null"), "it holds `null`");
        assert_eq!(said("[]"), "it holds no JSON object");
        assert!(said("{\"a\": ").starts_with("it ends in the middle: "));
        assert!(Fields::read("\u{feff}{}".as_bytes()).is_ok());
    }
}
