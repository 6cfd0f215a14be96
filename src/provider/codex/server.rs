//! Codex's app server on its standard streams: one turn on one thread, with a
//! person who can be asked. Not `codex exec`, which never asks.
//!
//! Observed with 0.169.0. Its threads are the conversations of `exec`: the same
//! files, ids and home. The differences that matter here: it does not read
//! CODEX_API_KEY, so that it is told the key, which it then keeps in memory; it
//! exits at the end of its input; a line that was cut short it does not act on.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{CodexParser, failure, sandbox};
use crate::provider::{Continuation, Decision, End, Event, Failure, FailureKind, Parser, PermissionRequest, Turn};
use crate::session::Usage;

/// The numbers of our requests.
const INITIALIZE: u64 = 0;
const LOGIN: u64 = 1;
const THREAD: u64 = 2;
const TURN: u64 = 3;

/// Notifications that nothing here reads, and that may be long.
const UNREAD: &[&str] = &[
    "item/commandExecution/outputDelta",
    "item/fileChange/outputDelta",
    "item/fileChange/patchUpdated",
    "item/plan/delta",
    "item/reasoning/summaryTextDelta",
    "item/reasoning/textDelta",
    "turn/diff/updated",
];

/// What the server is told first. Everything else is said when it has answered.
pub(super) fn opening(turn: &Turn<'_>) -> Vec<u8> {
    let mut unread = UNREAD.to_vec();
    if !turn.stream {
        unread.push("item/agentMessage/delta");
    }
    let client = json!({"name": "denizen", "title": "Denizen", "version": env!("CARGO_PKG_VERSION")});
    let capabilities = json!({"optOutNotificationMethods": unread});
    request(INITIALIZE, "initialize", json!({"clientInfo": client, "capabilities": capabilities}))
}

/// The key that `exec` would read by itself.
pub(super) fn api_key<'a>(turn: &Turn<'a>) -> Option<&'a str> {
    turn.user.environment.get("CODEX_API_KEY")
}

/// Reads what the server says, and says what comes next.
pub(super) struct ServerParser {
    /// What `exec` and the server have in common.
    common: CodexParser,
    /// Everything that is said before the message.
    login: Option<Vec<u8>>,
    thread: Vec<u8>,
    prompt: String,
    working_dir: String,
    /// The thread of the turn, once it is known.
    id: Option<String>,
    usage: Option<Usage>,
    /// The changes of files that were announced: a request names only their item.
    changes: HashMap<String, String>,
    /// The requests that wait for a decision.
    open: HashSet<String>,
}

#[derive(Deserialize)]
struct Line {
    id: Option<Value>,
    method: Option<String>,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    result: Value,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    message: String,
}

impl ServerParser {
    pub(super) fn new(turn: &Turn<'_>) -> Self {
        let key = api_key(turn);
        let working_dir = turn.place.working_dir.to_string_lossy().into_owned();
        let mut params = json!({
            "cwd": working_dir,
            "sandbox": sandbox(turn.permission_mode),
            "approvalPolicy": "on-request",
            "approvalsReviewer": "user",
        });
        if let Some(model) = turn.model {
            params["model"] = model.into();
        }
        let method = match turn.continuation {
            Continuation::Fresh => "thread/start",
            Continuation::Resume(_) => "thread/resume",
            Continuation::Fork(_) => "thread/fork",
        };
        if let Some(id) = turn.continuation.id() {
            params["threadId"] = id.into();
            params["excludeTurns"] = true.into();
        }
        Self {
            common: CodexParser::new(turn.continuation),
            login: key.map(|key| request(LOGIN, "account/login/start", json!({"type": "apiKey", "apiKey": key}))),
            thread: request(THREAD, method, params),
            prompt: turn.prompt.to_owned(),
            working_dir,
            id: None,
            usage: None,
            changes: HashMap::new(),
            open: HashSet::new(),
        }
    }

    /// The server's answer to one of our requests.
    fn answered(&mut self, number: Option<u64>, result: &Value, error: Option<RpcError>, events: &mut Vec<Event>) {
        if let Some(error) = error {
            self.common.finished = true;
            return events.push(Event::Failed(failure(&error.message)));
        }
        match number {
            Some(INITIALIZE) => {
                events.push(Event::Send(line(&json!({"method": "initialized"}))));
                let next = self.login.take().unwrap_or_else(|| std::mem::take(&mut self.thread));
                events.push(Event::Send(next));
            }
            Some(LOGIN) => events.push(Event::Send(std::mem::take(&mut self.thread))),
            Some(THREAD) => {
                let Some(id) = result.pointer("/thread/id").and_then(Value::as_str) else {
                    self.common.finished = true;
                    return events.push(Event::Failed(failure("the app server did not name its thread")));
                };
                let conversation = self.common.conversation(id.to_owned());
                let goes_on = matches!(conversation, Event::Conversation(_));
                events.push(conversation);
                if goes_on {
                    self.id = Some(id.to_owned());
                    let input = json!([{"type": "text", "text": self.prompt}]);
                    let params = json!({"threadId": id, "input": input});
                    events.push(Event::Send(request(TURN, "turn/start", params)));
                }
            }
            _ => {}
        }
    }

    /// The server asks for something.
    fn asked(&mut self, id: &Value, method: &str, params: &Value, events: &mut Vec<Event>) {
        let request = match method {
            "item/commandExecution/requestApproval" => {
                Some(PermissionRequest::new("exec_command", self.command(params)))
            }
            "item/fileChange/requestApproval" => {
                let item = params.get("itemId").and_then(Value::as_str).unwrap_or_default();
                self.changes.get(item).map(|changes| PermissionRequest::new("apply_patch", changes.clone()))
            }
            _ => None,
        };
        let Some(request) = request else {
            let error = json!({"code": -32601, "message": "nobody can be asked for this here"});
            return events.push(Event::Send(line(&json!({"id": id, "error": error}))));
        };
        let id = id.to_string();
        self.open.insert(id.clone());
        events.push(Event::Ask { id, request });
    }

    /// What a person is shown of a command: all that decides what it does. The
    /// agent's own reason proves nothing.
    fn command(&self, params: &Value) -> String {
        let text = |field: &str| params.get(field).and_then(Value::as_str);
        let (Some(command), "command") = (text("command"), text("kind").unwrap_or("command")) else {
            let told = ["threadId", "turnId", "itemId", "startedAtMs", "availableDecisions", "reason"];
            let mut fields = params.as_object().cloned().unwrap_or_default();
            fields.retain(|name, value| !told.contains(&name.as_str()) && !value.is_null());
            return pretty(fields);
        };
        let mut shown = command.to_owned();
        if let Some(elsewhere) = text("cwd").filter(|cwd| *cwd != self.working_dir) {
            shown.push_str(&format!("\nin the directory {elsewhere}"));
        }
        if let Some(network) = params.get("networkApprovalContext").filter(|context| !context.is_null()) {
            shown.push_str(&format!("\nwith access to {network}"));
        }
        shown
    }

    fn notified(&mut self, method: &str, params: &Value, events: &mut Vec<Event>) {
        let text = |pointer: &str| params.pointer(pointer).and_then(Value::as_str);
        match method {
            "serverRequest/resolved" => {
                let id = params.get("requestId").map(Value::to_string).unwrap_or_default();
                if self.open.remove(&id) {
                    events.push(Event::Withdrawn(id));
                }
            }
            "item/started" | "item/completed" => {
                let completed = method == "item/completed";
                if let Some(item) = params.get("item") {
                    self.item(item, completed, text("/threadId"), events);
                }
            }
            "configWarning" => events.extend(text("/summary").map(|words| Event::Notice(words.to_owned()))),
            "warning" => events.extend(text("/message").map(|words| Event::Notice(words.to_owned()))),
            // What follows is said of sub-agents too, which have threads of their own.
            _ if text("/threadId") != self.id.as_deref() => {}
            "item/agentMessage/delta" => events.extend(text("/delta").map(|part| Event::Delta(part.to_owned()))),
            "thread/tokenUsage/updated" => {
                let tokens = |name: &str| params.pointer(&format!("/tokenUsage/total/{name}")).and_then(Value::as_u64);
                // Over all turns of the conversation.
                self.usage = Some(Usage {
                    input_tokens: tokens("inputTokens").unwrap_or_default(),
                    cached_tokens: tokens("cachedInputTokens").unwrap_or_default(),
                    output_tokens: tokens("outputTokens").unwrap_or_default(),
                    cost_usd: None,
                });
            }
            "error" => {
                let words = text("/error/message").unwrap_or_default().to_owned();
                if params.get("willRetry") == Some(&Value::Bool(true)) {
                    events.push(Event::Activity(words.clone()));
                }
                self.common.error = Some(words);
            }
            "turn/completed" => {
                self.common.finished = true;
                events.extend(self.usage.map(Event::TotalUsage));
                events.push(match text("/turn/status") {
                    Some("completed") => Event::Done,
                    Some("interrupted") => Event::Failed(Failure::new(FailureKind::Other, "the turn was interrupted")),
                    _ => {
                        let words = text("/turn/error/message").map(str::to_owned).or(self.common.error.take());
                        Event::Failed(failure(&words.unwrap_or_else(|| "an error without words".to_owned())))
                    }
                });
            }
            _ => {}
        }
    }

    fn item(&mut self, item: &Value, completed: bool, thread: Option<&str>, events: &mut Vec<Event>) {
        let kind = snake_case(item.get("type").and_then(Value::as_str).unwrap_or_default());
        let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
        if kind == "file_change" && completed {
            self.changes.remove(id);
        } else if kind == "file_change" {
            self.changes.insert(id.to_owned(), changes(item));
        }
        if thread == self.id.as_deref() {
            self.common.item(&kind, item, completed, events);
        }
    }
}

impl Parser for ServerParser {
    fn line(&mut self, line: &str, events: &mut Vec<Event>) {
        let Ok(line) = serde_json::from_str::<Line>(line) else { return };
        match (line.method, line.id) {
            (Some(method), Some(id)) => self.asked(&id, &method, &line.params, events),
            (Some(method), None) => self.notified(&method, &line.params, events),
            (None, id) => self.answered(id.and_then(|id| id.as_u64()), &line.result, line.error, events),
        }
    }

    fn end(&mut self, end: &End<'_>, events: &mut Vec<Event>) {
        self.common.end(end, events);
    }

    /// It has no words for the model: the tool is told that the user rejected it.
    fn answer(&mut self, id: &str, decision: &Decision, events: &mut Vec<Event>) {
        if !self.open.remove(id) {
            return;
        }
        let word = match decision {
            Decision::Allow => "accept",
            Decision::Deny(_) => "decline",
        };
        events.push(Event::Send(format!("{{\"id\":{id},\"result\":{{\"decision\":\"{word}\"}}}}\n").into_bytes()));
    }
}

/// What a person is shown of a change of files. The lines of a file are
/// indented, so that none of them looks like the name of another.
fn changes(item: &Value) -> String {
    let mut shown = String::new();
    for change in item.get("changes").and_then(Value::as_array).into_iter().flatten() {
        let text = |pointer: &str| change.pointer(pointer).and_then(Value::as_str);
        shown.push_str(&format!("{} {}", text("/kind/type").unwrap_or("change"), text("/path").unwrap_or_default()));
        if let Some(to) = text("/kind/move_path").or(text("/kind/movePath")) {
            shown.push_str(&format!(" -> {to}"));
        }
        shown.push('\n');
        for line in text("/diff").unwrap_or_default().lines() {
            shown.push_str(&format!("    {line}\n"));
        }
    }
    shown.truncate(shown.trim_end().len());
    shown
}

fn pretty(fields: Map<String, Value>) -> String {
    let fields = Value::Object(fields);
    serde_json::to_string_pretty(&fields).unwrap_or_else(|_| fields.to_string())
}

fn snake_case(camel: &str) -> String {
    let mut snake = String::new();
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn request(number: u64, method: &str, params: Value) -> Vec<u8> {
    line(&json!({"id": number, "method": method, "params": params}))
}

fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}
