//! What an agent may not do unasked: its request, and what a person decides.
//! How the request reaches a person is not decided here.

/// The longest text of a request that is shown, in bytes.
const MAX_DETAIL_BYTES: usize = 64 * 1024;

/// The longest name of a tool, in bytes.
const MAX_TOOL_BYTES: usize = 200;

/// What an agent asks to be allowed to do, once. All of it is the agent's own
/// text, and so to be trusted as little as the agent is: whoever shows it has
/// to escape it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionRequest {
    /// The name of the tool.
    pub tool: String,
    /// The whole command, or the whole input of the tool. Where it was too long
    /// to be shown, its last line says how much is missing.
    pub detail: String,
}

impl PermissionRequest {
    /// A request, cut where it is too long.
    #[must_use]
    pub fn new(tool: &str, detail: String) -> Self {
        let tool = beginning(tool, MAX_TOOL_BYTES).to_owned();
        let shown = beginning(&detail, MAX_DETAIL_BYTES);
        if shown.len() == detail.len() {
            return Self { tool, detail };
        }
        let missing = detail.len() - shown.len();
        Self { tool, detail: format!("{shown}\n[{missing} more bytes are not shown]") }
    }
}

/// The beginning of a text, at most so many bytes.
fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// What a person decides about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may, this once.
    Allow,
    /// It may not; the words are for the agent.
    Deny(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_request_says_what_is_missing() {
        let request = PermissionRequest::new("Bash", "é".repeat(MAX_DETAIL_BYTES / 2));
        assert_eq!(request.detail.len(), MAX_DETAIL_BYTES);
        let request =
            PermissionRequest::new(&"é".repeat(MAX_TOOL_BYTES), format!("a{}", "é".repeat(MAX_DETAIL_BYTES / 2)));
        assert_eq!(request.tool.len(), MAX_TOOL_BYTES);
        let (shown, note) = request.detail.rsplit_once('\n').expect("two lines");
        assert_eq!((shown.len(), note), (MAX_DETAIL_BYTES - 1, "[2 more bytes are not shown]"));
    }
}
