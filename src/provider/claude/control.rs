//! Claude Code's control protocol, as far as permissions need it: how it asks
//! over its standard streams, and how it is answered. Not the turn's other
//! lines.
//!
//! Observed with 2.1.197, as `-p --input-format stream-json
//! --permission-prompt-tool stdio`. It waits for a decision forever. An answer
//! that it cannot read is a denial with the reason for the model.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::{Decision, PermissionRequest, ProviderEvent};

/// Tools that want another answer than yes or no. The CLI offers them only
/// where it can ask; without them a turn has the tools that it always has.
pub(super) const QUESTIONS: &str = "AskUserQuestion,EnterPlanMode,ExitPlanMode";

/// What the model is told where it used one of them all the same.
const NOT_HERE: &str = "the person can only allow or deny a tool here: ask in your reply, and end your turn";

/// The requests of one turn.
#[derive(Default)]
pub(super) struct ControlRequests {
    /// The inputs of the tools of those that wait. They are kept as they came,
    /// because what was allowed is what is sent back to be run.
    open: HashMap<String, Box<RawValue>>,
    /// The numbers of the calls that were ever asked about.
    asked: HashSet<String>,
}

#[derive(Deserialize)]
struct ControlRequest {
    subtype: String,
    tool_name: Option<String>,
    input: Option<Box<RawValue>>,
    tool_use_id: Option<String>,
}

impl ControlRequests {
    /// The CLI wants something.
    pub(super) fn request(&mut self, id: String, request: &RawValue, events: &mut Vec<ProviderEvent>) {
        let parts = match serde_json::from_str::<ControlRequest>(request.get()) {
            Ok(ControlRequest { subtype, tool_name: Some(tool), input: Some(input), tool_use_id })
                if subtype == "can_use_tool" =>
            {
                Some((tool, input, tool_use_id))
            }
            _ => None,
        };
        let Some((tool, input, call)) = parts else {
            // It would wait for an answer.
            return events.push(ProviderEvent::Send(error_line(&id, "this is not supported here")));
        };
        if QUESTIONS.split(',').any(|question| question == tool) {
            return events.push(ProviderEvent::Send(decision_line(&id, &deny(NOT_HERE))));
        }
        self.asked.extend(call);
        let request = PermissionRequest::new(&tool, detail(&tool, &input));
        self.open.insert(id.clone(), input);
        events.push(ProviderEvent::Ask { id, request });
    }

    /// The CLI no longer wants to know.
    pub(super) fn cancel(&mut self, id: String, events: &mut Vec<ProviderEvent>) {
        if self.open.remove(&id).is_some() {
            events.push(ProviderEvent::Withdrawn(id));
        }
    }

    /// How the CLI is told a decision.
    pub(super) fn answer(&mut self, id: &str, decision: &Decision, events: &mut Vec<ProviderEvent>) {
        let Some(input) = self.open.remove(id) else { return };
        let answer = match decision {
            Decision::Allow => format!(r#"{{"behavior":"allow","updatedInput":{input}}}"#),
            Decision::Deny(words) => deny(words),
        };
        events.push(ProviderEvent::Send(decision_line(id, &answer)));
    }

    /// Whether a call was asked about, so that the person knows what became of it.
    pub(super) fn was_asked(&self, call: Option<&str>) -> bool {
        call.is_some_and(|call| self.asked.contains(call))
    }
}

/// A message of the person, as a line of input. A line that is cut short is no
/// JSON, and then the CLI ends with an error and does nothing.
pub(super) fn message_line(text: &str) -> Vec<u8> {
    format!("{}\n", json!({"type": "user", "message": {"role": "user", "content": text}})).into_bytes()
}

fn deny(words: &str) -> String {
    json!({"behavior": "deny", "message": words}).to_string()
}

fn decision_line(id: &str, answer: &str) -> Vec<u8> {
    let id = Value::from(id);
    let response = format!(r#"{{"subtype":"success","request_id":{id},"response":{answer}}}"#);
    format!("{{\"type\":\"control_response\",\"response\":{response}}}\n").into_bytes()
}

fn error_line(id: &str, words: &str) -> Vec<u8> {
    let response = json!({"subtype": "error", "request_id": id, "error": words});
    format!("{}\n", json!({"type": "control_response", "response": response})).into_bytes()
}

/// What a person is shown: the command of a shell, else the whole input. What
/// the agent says *about* its command is left out: it proves nothing.
fn detail(tool: &str, input: &RawValue) -> String {
    // JavaScript writes some strings that are no text; they are shown as they came.
    let Ok(Value::Object(mut fields)) = serde_json::from_str(input.get()) else { return input.get().to_owned() };
    if tool == "Bash"
        && let Some(command) = fields.get("command").and_then(Value::as_str).map(str::to_owned)
    {
        fields.retain(|name, _| name != "command" && name != "description");
        return if fields.is_empty() { command } else { format!("{command}\n{}", Value::Object(fields)) };
    }
    let fields = Value::Object(fields);
    serde_json::to_string_pretty(&fields).unwrap_or_else(|_| fields.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(requests: &mut ControlRequests, id: &str, request: &str) -> Vec<ProviderEvent> {
        let mut events = Vec::new();
        requests.request(id.to_owned(), serde_json::from_str(request).expect("JSON"), &mut events);
        events
    }

    fn answer(requests: &mut ControlRequests, id: &str, decision: &Decision) -> Vec<String> {
        let mut events = Vec::new();
        requests.answer(id, decision, &mut events);
        sent(events)
    }

    fn sent(events: Vec<ProviderEvent>) -> Vec<String> {
        let text = |event| match event {
            ProviderEvent::Send(bytes) => String::from_utf8(bytes).expect("text"),
            other => panic!("{other:?}"),
        };
        events.into_iter().map(text).collect()
    }

    #[test]
    fn what_was_allowed_is_sent_back_as_it_came() {
        let mut requests = ControlRequests::default();
        let request = r#"{"subtype":"can_use_tool","tool_name":"Bash","display_name":"Bash","input":{"command":"rm -r x","description":"list files","timeout":1e400},"tool_use_id":"t"}"#;
        // A number that no type holds is JSON all the same.
        let ask = |detail: &str| ProviderEvent::Ask {
            id: "r".into(),
            request: PermissionRequest::new("Bash", detail.into()),
        };
        let input = r#"{"command":"rm -r x","description":"list files","timeout":1e400}"#;
        assert_eq!(events(&mut requests, "r", request), [ask(input)]);
        assert_eq!(
            answer(&mut requests, "r", &Decision::Allow),
            [format!(
                "{{\"type\":\"control_response\",\"response\":{{\"subtype\":\"success\",\"request_id\":\"r\",\"response\":{{\"behavior\":\"allow\",\"updatedInput\":{input}}}}}}}\n"
            )]
        );
        // It counts once.
        assert_eq!(answer(&mut requests, "r", &Decision::Allow), Vec::<String>::new());
        assert!(requests.was_asked(Some("t")) && !requests.was_asked(Some("u")) && !requests.was_asked(None));
    }

    #[test]
    fn a_denial_carries_its_words() {
        let mut requests = ControlRequests::default();
        events(&mut requests, "r", r#"{"subtype":"can_use_tool","tool_name":"Write","input":{"file_path":"/x"}}"#);
        assert_eq!(
            answer(&mut requests, "r", &Decision::Deny("not \"that\"".into())),
            [
                r#"{"type":"control_response","response":{"subtype":"success","request_id":"r","response":{"behavior":"deny","message":"not \"that\""}}}"#.to_owned() + "\n"
            ]
        );
    }

    #[test]
    fn a_request_that_is_taken_back_is_not_answered() {
        let mut requests = ControlRequests::default();
        events(&mut requests, "r", r#"{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"ls"}}"#);
        let mut withdrawn = Vec::new();
        requests.cancel("r".into(), &mut withdrawn);
        requests.cancel("other".into(), &mut withdrawn);
        assert_eq!(withdrawn, [ProviderEvent::Withdrawn("r".into())]);
        assert_eq!(answer(&mut requests, "r", &Decision::Allow), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_answered_with_yes_or_no_is_not_asked() {
        let mut requests = ControlRequests::default();
        for tool in QUESTIONS.split(',') {
            let request = format!(r#"{{"subtype":"can_use_tool","tool_name":"{tool}","input":{{}}}}"#);
            let lines = sent(events(&mut requests, "r", &request));
            assert!(
                lines[0].contains(r#""behavior":"deny","message":"the person can only allow or deny"#),
                "{lines:?}"
            );
        }
        let lines = sent(events(&mut requests, "r", r#"{"subtype":"hook_callback","callback_id":"x"}"#));
        assert!(lines[0].contains(r#""subtype":"error","request_id":"r""#), "{lines:?}");
    }

    #[test]
    fn a_person_is_shown_all_that_is_to_be_run() {
        let shown = |tool, input: &str| detail(tool, serde_json::from_str(input).expect("JSON"));
        assert_eq!(shown("Bash", r#"{"command":"a\nb","description":"harmless"}"#), "a\nb");
        assert_eq!(shown("Bash", r#"{"command":"a","run_in_background":true}"#), "a\n{\"run_in_background\":true}");
        assert_eq!(shown("Bash", r#"{"command":["a"]}"#), "{\n  \"command\": [\n    \"a\"\n  ]\n}");
        assert_eq!(
            shown("Write", r#"{"file_path":"/x","content":"y"}"#),
            "{\n  \"file_path\": \"/x\",\n  \"content\": \"y\"\n}"
        );
        let half = r#"{"command":"echo \ud800"}"#;
        assert_eq!(shown("Bash", half), half);
    }
}
