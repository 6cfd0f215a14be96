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
use crate::provider::{
    Continuation, Decision, Failure, FailureKind, Parser, PermissionRequest, ProcessEnd, ProviderEvent, Turn,
};
use crate::session::{PermissionMode, Usage};

/// The numbers of our requests.
const INITIALIZE: u64 = 0;
const LOGIN: u64 = 1;
const THREAD: u64 = 2;
const TURN: u64 = 3;

/// The requests for permission that a person can decide about.
const COMMAND: &str = "item/commandExecution/requestApproval";
const FILE_CHANGE: &str = "item/fileChange/requestApproval";

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
    /// Whether what the agent does not single out is done unasked, because the
    /// walls hold it, as the sandbox of its own would.
    walls_allow: bool,
    /// The thread of the turn, once it is known.
    id: Option<String>,
    usage: Option<Usage>,
    /// The changes of files that were announced: a request names only their item.
    changes: HashMap<String, String>,
    /// The requests that wait for a decision.
    open: HashSet<String>,
}

#[derive(Deserialize)]
struct ServerLine {
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
            "sandbox": sandbox(turn),
            // If there is no sandbox of its own to run things in unasked, it
            // asks for everything that it does not know to be harmless.
            "approvalPolicy": if turn.walled { "untrusted" } else { "on-request" },
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
            walls_allow: turn.walled && turn.permission_mode == PermissionMode::AcceptEdits,
            id: None,
            usage: None,
            changes: HashMap::new(),
            open: HashSet::new(),
        }
    }

    /// The server's answer to one of our requests.
    fn answered(
        &mut self,
        number: Option<u64>,
        result: &Value,
        error: Option<RpcError>,
        events: &mut Vec<ProviderEvent>,
    ) {
        if let Some(error) = error {
            self.common.finished = true;
            return events.push(ProviderEvent::Failed(failure(&error.message)));
        }
        match number {
            Some(INITIALIZE) => {
                events.push(ProviderEvent::Send(line(&json!({"method": "initialized"}))));
                let next = self.login.take().unwrap_or_else(|| std::mem::take(&mut self.thread));
                events.push(ProviderEvent::Send(next));
            }
            Some(LOGIN) => events.push(ProviderEvent::Send(std::mem::take(&mut self.thread))),
            Some(THREAD) => {
                let Some(id) = result.pointer("/thread/id").and_then(Value::as_str) else {
                    self.common.finished = true;
                    return events.push(ProviderEvent::Failed(failure("the app server did not name its thread")));
                };
                let conversation = self.common.conversation(id.to_owned());
                let goes_on = matches!(conversation, ProviderEvent::Conversation(_));
                events.push(conversation);
                if goes_on {
                    self.id = Some(id.to_owned());
                    let input = json!([{"type": "text", "text": self.prompt}]);
                    let params = json!({"threadId": id, "input": input});
                    events.push(ProviderEvent::Send(request(TURN, "turn/start", params)));
                }
            }
            _ => {}
        }
    }

    /// The server asks for something.
    fn asked(&mut self, id: &Value, method: &str, params: &Value, events: &mut Vec<ProviderEvent>) {
        // A reason comes with what it wants done outside its sandbox.
        let plain = params.get("reason").is_none_or(Value::is_null);
        if self.walls_allow && (method == FILE_CHANGE || method == COMMAND && plain) {
            return events.push(decided(&id.to_string(), "accept"));
        }
        let request = match method {
            COMMAND => Some(PermissionRequest::new("exec_command", self.command(params))),
            FILE_CHANGE => {
                let item = params.get("itemId").and_then(Value::as_str).unwrap_or_default();
                self.changes.get(item).map(|changes| PermissionRequest::new("apply_patch", changes.clone()))
            }
            _ => None,
        };
        let Some(request) = request else {
            let error = json!({"code": -32601, "message": "nobody can be asked for this here"});
            return events.push(ProviderEvent::Send(line(&json!({"id": id, "error": error}))));
        };
        let id = id.to_string();
        self.open.insert(id.clone());
        events.push(ProviderEvent::Ask { id, request });
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

    fn notified(&mut self, method: &str, params: &Value, events: &mut Vec<ProviderEvent>) {
        let text = |pointer: &str| params.pointer(pointer).and_then(Value::as_str);
        match method {
            "serverRequest/resolved" => {
                let id = params.get("requestId").map(Value::to_string).unwrap_or_default();
                if self.open.remove(&id) {
                    events.push(ProviderEvent::Withdrawn(id));
                }
            }
            "item/started" | "item/completed" => {
                let completed = method == "item/completed";
                if let Some(item) = params.get("item") {
                    self.item(item, completed, text("/threadId"), events);
                }
            }
            "configWarning" => events.extend(text("/summary").map(|words| ProviderEvent::Notice(words.to_owned()))),
            "warning" => events.extend(text("/message").map(|words| ProviderEvent::Notice(words.to_owned()))),
            // What follows is said of sub-agents too, which have threads of their own.
            _ if text("/threadId") != self.id.as_deref() => {}
            "item/agentMessage/delta" => {
                events.extend(text("/delta").map(|part| ProviderEvent::Delta(part.to_owned())))
            }
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
                    events.push(ProviderEvent::Retry(words.clone()));
                }
                self.common.error = Some(words);
            }
            "turn/completed" => {
                self.common.finished = true;
                events.extend(self.usage.map(ProviderEvent::TotalUsage));
                events.push(match text("/turn/status") {
                    Some("completed") => ProviderEvent::Done,
                    Some("interrupted") => {
                        ProviderEvent::Failed(Failure::new(FailureKind::Other, "the turn was interrupted"))
                    }
                    _ => {
                        let words = text("/turn/error/message").map(str::to_owned).or(self.common.error.take());
                        ProviderEvent::Failed(failure(&words.unwrap_or_else(|| "an error without words".to_owned())))
                    }
                });
            }
            _ => {}
        }
    }

    fn item(&mut self, item: &Value, completed: bool, thread: Option<&str>, events: &mut Vec<ProviderEvent>) {
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
    fn line(&mut self, line: &str, events: &mut Vec<ProviderEvent>) {
        let Ok(line) = serde_json::from_str::<ServerLine>(line) else { return };
        match (line.method, line.id) {
            (Some(method), Some(id)) => self.asked(&id, &method, &line.params, events),
            (Some(method), None) => self.notified(&method, &line.params, events),
            (None, id) => self.answered(id.and_then(|id| id.as_u64()), &line.result, line.error, events),
        }
    }

    fn end(&mut self, end: &ProcessEnd<'_>, events: &mut Vec<ProviderEvent>) {
        self.common.end(end, events);
    }

    /// It has no words for the model: the tool is told that the user rejected it.
    fn answer(&mut self, id: &str, decision: &Decision, events: &mut Vec<ProviderEvent>) {
        if !self.open.remove(id) {
            return;
        }
        let word = match decision {
            Decision::Allow => "accept",
            Decision::Deny(_) => "decline",
        };
        events.push(decided(id, word));
    }
}

/// The answer to a request for permission; its id is what the server called it.
fn decided(id: &str, word: &str) -> ProviderEvent {
    ProviderEvent::Send(format!("{{\"id\":{id},\"result\":{{\"decision\":\"{word}\"}}}}\n").into_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::codex::Codex;
    use crate::provider::testing::{self, Fixture};
    use crate::provider::{Input, Provider};
    use crate::session::PermissionMode;

    const ID: &str = "01a21e2a-0702-7fe2-9cd5-ed2060466389";

    fn fixture() -> Fixture {
        Fixture { place: testing::place("codex"), ..Fixture::default() }
    }

    /// A turn of which somebody is asked.
    fn turn<'a>(fixture: &'a Fixture, continuation: &'a Continuation) -> Turn<'a> {
        Turn { asks: true, ..fixture.turn(continuation, "/hello") }
    }

    /// Plays lines to a parser: what it says, one JSON value each, and its
    /// other events.
    fn play(parser: &mut dyn Parser, lines: &[&str]) -> (Vec<Value>, Vec<ProviderEvent>) {
        let mut events = Vec::new();
        lines.iter().for_each(|line| parser.line(line, &mut events));
        said(events)
    }

    fn said(events: Vec<ProviderEvent>) -> (Vec<Value>, Vec<ProviderEvent>) {
        let (mut said, mut others) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                ProviderEvent::Send(bytes) => said.push(serde_json::from_slice(&bytes).expect("a line of JSON")),
                other => others.push(other),
            }
        }
        (said, others)
    }

    fn answer(parser: &mut dyn Parser, id: &str, decision: &Decision) -> Vec<Value> {
        let mut events = Vec::new();
        parser.answer(id, decision, &mut events);
        said(events).0
    }

    /// Up to the start of the turn.
    fn started(parser: &mut dyn Parser) {
        let thread = format!(r#"{{"id":2,"result":{{"thread":{{"id":"{ID}"}}}}}}"#);
        play(parser, &[r#"{"id":0,"result":{}}"#, &thread, r#"{"id":3,"result":{"turn":{}}}"#]);
    }

    #[test]
    fn the_server_is_started_with_what_it_is_not_told_later() {
        let mut fixture = fixture();
        fixture.place.working_dir = "/work".into();
        fixture.environment.set("CODEX_API_KEY", "secret");
        let invocation = Codex.invocation(&turn(&fixture, &Continuation::Fresh)).expect("an invocation");
        assert_eq!(
            testing::args(&invocation),
            [
                "app-server",
                "-c",
                "sandbox_workspace_write.exclude_slash_tmp=true",
                "-c",
                "sandbox_workspace_write.exclude_tmpdir_env_var=true",
                "-c",
                "project_doc_max_bytes=0",
                "-c",
                r#"cli_auth_credentials_store="ephemeral""#,
            ]
        );
        let Input::Conversation(first) = invocation.stdin else { panic!("{invocation:?}") };
        let first: Value = serde_json::from_slice(&first).expect("JSON");
        assert_eq!((&first["id"], &first["method"]), (&0.into(), &"initialize".into()));
    }

    #[test]
    fn a_turn_is_begun_step_by_step() {
        let mut fixture = fixture();
        let continuation = Continuation::Resume(ID.into());
        let mut turn = turn(&fixture, &continuation);
        turn.model = Some("m");
        turn.permission_mode = PermissionMode::Default;
        let mut parser = ServerParser::new(&turn);
        let (first, _) = play(&mut parser, &[r#"{"id":0,"result":{"userAgent":"x"}}"#]);
        let params = json!({
            "cwd": "/r/sessions/a", "sandbox": "read-only", "approvalPolicy": "on-request",
            "approvalsReviewer": "user", "model": "m", "threadId": ID, "excludeTurns": true,
        });
        assert_eq!(
            first,
            [json!({"method": "initialized"}), json!({"id": 2, "method": "thread/resume", "params": params}),]
        );
        let (then, events) = play(&mut parser, &[&format!(r#"{{"id":2,"result":{{"thread":{{"id":"{ID}"}}}}}}"#)]);
        let input = json!({"threadId": ID, "input": [{"type": "text", "text": "/hello"}]});
        assert_eq!(then, [json!({"id": 3, "method": "turn/start", "params": input})]);
        assert_eq!(events, [ProviderEvent::Conversation(ID.into())]);

        // With a key in the environment, the login comes before the thread.
        fixture.environment.set("CODEX_API_KEY", "secret");
        let mut parser = ServerParser::new(&self::turn(&fixture, &Continuation::Fresh));
        let (first, _) = play(&mut parser, &[r#"{"id":0,"result":{}}"#]);
        assert_eq!(first[1]["params"], json!({"type": "apiKey", "apiKey": "secret"}));
        let (then, _) = play(&mut parser, &[r#"{"id":1,"result":{"type":"apiKey"}}"#]);
        assert_eq!((&then[0]["method"], then.len()), (&"thread/start".into(), 1));
    }

    #[test]
    fn a_turn_is_read_as_that_of_exec() {
        let fixture = fixture();
        let mut parser = ServerParser::new(&turn(&fixture, &Continuation::Fresh));
        started(&mut parser);
        let of = |method: &str, rest: &str| format!(r#"{{"method":"{method}","params":{{"threadId":"{ID}",{rest}}}}}"#);
        let lines = [
            of("warning", r#""message":"no metadata""#),
            of("item/started", r#""item":{"type":"userMessage","id":"u","content":[]}"#),
            of("item/completed", r#""item":{"type":"agentMessage","id":"m","text":"I look."}"#),
            of("item/started", r#""item":{"type":"commandExecution","id":"c","command":"ls"}"#),
            of("item/completed", r#""item":{"type":"commandExecution","id":"c","command":"ls"}"#),
            of("item/agentMessage/delta", r#""delta":"Do""#),
            of("item/completed", r#""item":{"type":"agentMessage","id":"n","text":"Done."}"#),
            r#"{"method":"item/completed","params":{"threadId":"sub","item":{"type":"agentMessage","id":"s","text":"sub"}}}"#.to_owned(),
            of("error", r#""willRetry":true,"error":{"message":"Reconnecting... 2/5"}"#),
            of("thread/tokenUsage/updated", r#""tokenUsage":{"total":{"inputTokens":5,"cachedInputTokens":2,"outputTokens":3}}"#),
            r#"{"method":"turn/completed","params":{"threadId":"sub","turn":{"status":"completed"}}}"#.to_owned(),
            of("turn/completed", r#""turn":{"status":"completed","error":null}"#),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (said, mut events) = play(&mut parser, &lines);
        parser.end(&ProcessEnd { code: Some(0), stderr: "" }, &mut events);
        assert_eq!(said, Vec::<Value>::new());
        assert_eq!(
            events,
            [
                ProviderEvent::Notice("no metadata".into()),
                ProviderEvent::Text("I look.".into()),
                ProviderEvent::Activity("ls".into()),
                ProviderEvent::Delta("Do".into()),
                ProviderEvent::Text("Done.".into()),
                ProviderEvent::Retry("Reconnecting... 2/5".into()),
                ProviderEvent::TotalUsage(Usage {
                    input_tokens: 5,
                    cached_tokens: 2,
                    output_tokens: 3,
                    cost_usd: None
                }),
                ProviderEvent::Done,
            ]
        );
    }

    #[test]
    fn a_command_is_asked_for_and_decided_once() {
        let fixture = fixture();
        let mut parser = ServerParser::new(&turn(&fixture, &Continuation::Fresh));
        started(&mut parser);
        let ask = |id: &str, rest: &str| {
            format!(
                r#"{{"method":"item/commandExecution/requestApproval","id":{id},"params":{{"kind":"command","threadId":"{ID}","itemId":"c","reason":"harmless","command":"touch /x"{rest},"availableDecisions":["accept","cancel"]}}}}"#
            )
        };
        let lines = [ask("0", r#","cwd":"/r/sessions/a""#), ask("\"s\"", r#","cwd":"/else""#)];
        let (said, events) = play(&mut parser, &[&lines[0], &lines[1]]);
        let asked = |id: &str, detail: &str| ProviderEvent::Ask {
            id: id.into(),
            request: PermissionRequest::new("exec_command", detail.into()),
        };
        assert_eq!(
            (said, events),
            (vec![], vec![asked("0", "touch /x"), asked("\"s\"", "touch /x\nin the directory /else"),])
        );
        assert_eq!(answer(&mut parser, "0", &Decision::Allow), [json!({"id": 0, "result": {"decision": "accept"}})]);
        assert_eq!(answer(&mut parser, "0", &Decision::Allow), Vec::<Value>::new());
        assert_eq!(
            answer(&mut parser, "\"s\"", &Decision::Deny("no".into())),
            [json!({"id": "s", "result": {"decision": "decline"}})]
        );

        // One that was resolved by itself is not answered.
        play(&mut parser, &[&ask("7", "")]);
        let resolved = format!(r#"{{"method":"serverRequest/resolved","params":{{"threadId":"{ID}","requestId":7}}}}"#);
        assert_eq!(play(&mut parser, &[&resolved]).1, [ProviderEvent::Withdrawn("7".into())]);
        assert_eq!(answer(&mut parser, "7", &Decision::Allow), Vec::<Value>::new());
    }

    #[test]
    fn a_change_of_files_is_shown_and_what_cannot_be_shown_is_refused() {
        let fixture = fixture();
        let mut parser = ServerParser::new(&turn(&fixture, &Continuation::Fresh));
        started(&mut parser);
        let item = r#"{"type":"fileChange","id":"f","changes":[{"path":"/a","kind":{"type":"add"},"diff":"hello\ndelete /b\n"},{"path":"/c","kind":{"type":"update","move_path":"/d"},"diff":"@@\n-x\n"}]}"#;
        let begun = format!(r#"{{"method":"item/started","params":{{"threadId":"{ID}","item":{item}}}}}"#);
        let ask = |item: &str| {
            format!(
                r#"{{"method":"item/fileChange/requestApproval","id":1,"params":{{"threadId":"{ID}","itemId":"{item}"}}}}"#
            )
        };
        let (_, events) = play(&mut parser, &[&begun, &ask("f")]);
        let shown = "add /a\n    hello\n    delete /b\nupdate /c -> /d\n    @@\n    -x";
        let request = PermissionRequest::new("apply_patch", shown.into());
        assert_eq!(
            events,
            [ProviderEvent::Activity("edit: /a, /c".into()), ProviderEvent::Ask { id: "1".into(), request }]
        );

        let other = r#"{"method":"item/permissions/requestApproval","id":9,"params":{"permissions":{}}}"#;
        let (said, events) = play(&mut parser, &[&ask("unknown"), other]);
        assert_eq!(events, []);
        assert_eq!(said.iter().map(|line| &line["error"]["code"]).collect::<Vec<_>>(), [&json!(-32601); 2]);
    }

    #[test]
    fn failures_have_the_kinds_of_exec() {
        let failed = |continuation: &Continuation, line: &str| {
            let fixture = fixture();
            let mut parser = ServerParser::new(&turn(&fixture, continuation));
            if !line.contains("\"id\"") {
                started(&mut parser);
            }
            match play(&mut parser, &[line]).1.pop() {
                Some(ProviderEvent::Failed(failure)) => failure.kind,
                other => panic!("{other:?}"),
            }
        };
        let turn = |message: &str| {
            let turn = json!({"status": "failed", "error": {"message": message}});
            let line = json!({"method": "turn/completed", "params": {"threadId": ID, "turn": turn}});
            failed(&Continuation::Fresh, &line.to_string())
        };
        assert_eq!(turn("exceeded retry limit, last status: 429 Too Many Requests"), FailureKind::RateLimited);
        assert_eq!(turn("unexpected status 401 Unauthorized: bad key"), FailureKind::NotLoggedIn);
        assert_eq!(turn("something else"), FailureKind::Other);
        let resume = Continuation::Resume(ID.into());
        let error =
            |words: &str| failed(&resume, &json!({"id": 2, "error": {"code": -32600, "message": words}}).to_string());
        assert_eq!(error(&format!("no rollout found for thread id {ID}")), FailureKind::ConversationUnknown);
        assert_eq!(error("invalid session id: expected an optional prefix"), FailureKind::ConversationUnknown);
        let other = r#"{"id":2,"result":{"thread":{"id":"01a1fea2-866f-7b03-a603-7c5b10d1c4f4"}}}"#;
        assert_eq!(failed(&resume, other), FailureKind::ConversationOther);
        assert_eq!(failed(&resume, r#"{"id":2,"result":{}}"#), FailureKind::Other);
    }
}
