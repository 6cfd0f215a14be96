//! An error and its causes, in words. Not here: what to do about it, which is
//! decided where a person is told.

use std::error::Error;

/// An error and its causes on one line; a cause that is already said is left out.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    message.replace('\n', " ")
}
