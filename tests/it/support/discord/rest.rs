//! The HTTP side of the fake. Strict: what Discord refuses is refused here.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Shared;
use super::world::{Call, TOKEN, World, merge};

/// What a route answers: a status and a body.
type Answer = (u16, Value);

/// Takes connections until the runtime ends.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&shared)));
            // A client that goes away in the middle is no concern of the server's.
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
    let full = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    if let Some(id) = full.strip_prefix("/attachments/").and_then(|rest| rest.split('/').nth(1)) {
        let bytes = shared.with(|world| id.parse().ok().and_then(|id: u64| world.files.get(&id).cloned()));
        let status = if bytes.is_some() { 200 } else { 404 };
        return Ok(response(status, &[], Bytes::from(bytes.unwrap_or_default())));
    }
    let Some(path) = full.strip_prefix("/api/v10") else {
        return Ok(response(404, &[], Bytes::from_static(b"{\"message\":\"404: Not Found\",\"code\":0}")));
    };
    let kind = head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (json, files) = match kind.split_once("boundary=") {
        Some((_, boundary)) if kind.starts_with("multipart/form-data") => multipart(&body, boundary.trim_matches('"')),
        _ => (serde_json::from_slice(&body).unwrap_or(Value::Null), Vec::new()),
    };
    let authorized = head.headers.get("authorization").is_some_and(|value| value == &format!("Bot {TOKEN}"));
    let method = head.method.as_str().to_owned();
    let (status, headers, text) = shared.with(|world| {
        let line = format!("{method} {path}");
        let ordered = world.failures.iter().position(|failure| line.starts_with(&failure.request));
        let ordered = ordered.and_then(|at| world.failures.remove(at));
        let carried_out = ordered.as_ref().is_none_or(|failure| failure.after);
        let open = ["/interactions/", "/webhooks/", "/gateway"].iter().any(|start| path.starts_with(start));
        let (status, value) = match carried_out {
            false => (0, Value::Null),
            true if !authorized && !open => (401, json!({ "message": "401: Unauthorized", "code": 0 })),
            true => route(world, &method, path, &json, &files),
        };
        let (status, mut headers, text) = match ordered {
            Some(failure) => (failure.status, failure.headers, failure.body),
            None if value.is_null() => (status, Vec::new(), String::new()),
            None => (status, Vec::new(), world.dressed(value).to_string()),
        };
        if world.behaviour.limit_headers {
            for (name, value) in
                [("x-ratelimit-limit", "5"), ("x-ratelimit-remaining", "4"), ("x-ratelimit-reset-after", "0.5")]
            {
                if !headers.iter().any(|(known, _): &(String, String)| known == name) {
                    headers.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        world.journal.push(Call {
            method: method.clone(),
            path: path.to_owned(),
            body: json.clone(),
            files: files.clone(),
            status,
        });
        (status, headers, text)
    });
    Ok(response(status, &headers, Bytes::from(text)))
}

fn response(status: u16, headers: &[(String, String)], body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Full::new(body)).expect("a response")
}

fn error(status: u16, code: u64, message: &str) -> Answer {
    (status, json!({ "message": message, "code": code }))
}

fn route(world: &mut World, method: &str, path: &str, body: &Value, files: &[(String, Vec<u8>)]) -> Answer {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let number = |at: usize| parts.get(at).and_then(|part| part.parse::<u64>().ok()).unwrap_or(0);
    match (method, parts.as_slice()) {
        ("GET", ["gateway", "bot"]) if world.behaviour.gateway_bot => (
            200,
            json!({ "url": world.gateway, "shards": 1, "session_start_limit":
                { "total": 1000, "remaining": 999, "reset_after": 86_400_000, "max_concurrency": 1 } }),
        ),
        ("GET", ["users", "@me"]) => (200, world.user(world.bot)),
        ("GET", ["users", "@me", "guilds"]) => {
            let guilds = world.guilds.iter().map(|(id, name)| json!({ "id": id.to_string(), "name": name }));
            (200, guilds.collect())
        }
        ("GET", ["applications" | "oauth2", "@me", ..] | ["oauth2", "applications", "@me"]) => {
            let flags = if world.behaviour.message_content { 1 << 19 } else { 0 };
            (200, json!({ "id": world.application.to_string(), "name": "Denizen", "flags": flags, "bot_public": true }))
        }
        ("POST", ["users", "@me", "channels"]) => {
            let user = body["recipient_id"].as_str().and_then(|id| id.parse().ok()).unwrap_or(0);
            let channel = world.dm(user);
            (200, world.channel(channel))
        }
        ("GET", ["guilds", _, "threads", "active"]) => {
            let guild = number(1);
            let threads =
                world.channels.iter().filter(|(_, it)| it.guild == Some(guild) && it.parent.is_some() && !it.archived);
            let threads: Vec<u64> = threads.map(|(id, _)| *id).collect();
            (200, json!({ "threads": threads.iter().map(|id| world.channel(*id)).collect::<Vec<_>>(), "members": [] }))
        }
        ("GET", ["guilds", _, "channels"]) => (200, world.guild(number(1))["channels"].clone()),
        ("GET", ["guilds", _, "members", _]) => {
            let mut member = world.member(number(1), number(3));
            member["user"] = world.user(number(3));
            (200, member)
        }
        (_, ["channels", _, ..]) => {
            let id = number(1);
            match world.channels.get(&id) {
                None => error(404, 10003, "Unknown Channel"),
                Some(channel) if channel.closed_to_bot => error(403, 50001, "Missing Access"),
                Some(_) => channel(world, method, id, &parts[2..], query, body, files),
            }
        }
        ("PUT", ["applications", _, "commands"]) => commands(world, "global", body),
        ("PUT", ["applications", _, "guilds", guild, "commands"]) => commands(world, guild, body),
        ("POST", ["interactions", _, token, "callback"]) => callback(world, token, body),
        ("PATCH", ["webhooks", _, token, "messages", "@original"]) => original(world, token, body),
        ("POST", ["webhooks", _, token]) => match world.interactions.get_mut(*token) {
            Some(interaction) => {
                let hidden = body["flags"].as_u64().unwrap_or(0) & 64 != 0;
                interaction.answers.push((body["content"].as_str().unwrap_or_default().to_owned(), hidden));
                (200, json!({ "id": "1" }))
            }
            None => error(404, 10015, "Unknown Webhook"),
        },
        _ => (404, json!({ "message": "404: Not Found", "code": 0 })),
    }
}

fn channel(
    world: &mut World,
    method: &str,
    id: u64,
    rest: &[&str],
    query: &str,
    body: &Value,
    files: &[(String, Vec<u8>)],
) -> Answer {
    match (method, rest) {
        ("GET", []) => (200, world.channel(id)),
        ("GET", ["messages"]) => {
            let parameter = |name: &str| {
                let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<u64>().ok())
            };
            let limit = usize::try_from(parameter("limit").unwrap_or(50)).expect("a limit");
            if limit == 0 || limit > 100 {
                return error(400, 50035, "Invalid Form Body");
            }
            let after = parameter("after");
            let of = |message: &&Value| message["id"].as_str().and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
            let messages = &world.channels[&id].messages;
            let mut found: Vec<Value> = match after {
                Some(after) => messages.iter().filter(|message| of(message) > after).take(limit).cloned().collect(),
                None => messages.iter().rev().take(limit).rev().cloned().collect(),
            };
            found.reverse();
            (200, Value::Array(found))
        }
        ("GET", ["messages", message]) => {
            let found = world.channels[&id].messages.iter().find(|it| it["id"] == json!(message));
            found.map_or_else(|| error(404, 10008, "Unknown Message"), |message| (200, message.clone()))
        }
        ("POST", ["messages"]) => create(world, id, body, files),
        ("PATCH", ["messages", message]) => {
            if let Some(refused) = refused(body, false) {
                return refused;
            }
            let bot = json!(world.bot.to_string());
            let messages = &mut world.channels.get_mut(&id).expect("the channel").messages;
            match messages.iter_mut().find(|it| it["id"] == json!(message)) {
                None => error(404, 10008, "Unknown Message"),
                Some(found) if found["author"]["id"] != bot => {
                    error(403, 50005, "Cannot edit a message of another user")
                }
                Some(found) => {
                    merge(found, json!({ "edited_timestamp": "2026-11-27T12:00:01.000000+00:00" }));
                    merge(found, body.clone());
                    (200, found.clone())
                }
            }
        }
        ("POST", ["typing"]) => {
            world.typing.push(id);
            (204, Value::Null)
        }
        ("PUT", ["thread-members", "@me"]) => {
            world.joined.insert(id);
            (204, Value::Null)
        }
        _ => (404, json!({ "message": "404: Not Found", "code": 0 })),
    }
}

/// Why a message is not a message, if it is none.
fn refused(body: &Value, with_files: bool) -> Option<Answer> {
    let invalid = |what: &str| Some(error(400, 50035, &format!("Invalid Form Body: {what}")));
    let content = body["content"].as_str().unwrap_or_default();
    if content.encode_utf16().count() > 2000 {
        return invalid("content has more than 2000 characters");
    }
    let rows = body["components"].as_array().map_or(0, Vec::len);
    if content.trim().is_empty() && !with_files && rows == 0 && body.get("content").is_some() {
        return Some(error(400, 50006, "Cannot send an empty message"));
    }
    if body["nonce"].as_str().is_some_and(|nonce| nonce.len() > 25) {
        return invalid("nonce has more than 25 characters");
    }
    if rows > 5 {
        return invalid("more than five rows");
    }
    for row in body["components"].as_array().into_iter().flatten() {
        for button in row["components"].as_array().into_iter().flatten() {
            let length = |field: &str| button[field].as_str().map_or(0, |text| text.chars().count());
            if length("custom_id") == 0 || length("custom_id") > 100 || length("label") == 0 || length("label") > 80 {
                return invalid("a button's custom_id or label");
            }
        }
    }
    None
}

fn create(world: &mut World, channel: u64, body: &Value, files: &[(String, Vec<u8>)]) -> Answer {
    if let Some(refused) = refused(body, !files.is_empty()) {
        return refused;
    }
    if let Some(unknown) = world.behaviour.unknown_fields.iter().find(|field| body.get(**field).is_some()) {
        return error(400, 50035, &format!("Invalid Form Body: {unknown}"));
    }
    if world.channels[&channel].archived {
        world.channels.get_mut(&channel).expect("the channel").archived = false;
        let thread = world.channel(channel);
        world.dispatch("THREAD_UPDATE", thread);
    }
    let answered = body["message_reference"]["message_id"].as_str().map(str::to_owned);
    if let Some(answered) = &answered {
        let known = world.channels[&channel].messages.iter().any(|message| message["id"] == json!(answered));
        if !known && body["message_reference"]["fail_if_not_exists"] != json!(false) {
            return error(400, 50035, "Invalid Form Body: unknown message");
        }
    }
    let nonce = body["nonce"].as_str().map(|nonce| (channel, nonce.to_owned()));
    let enforced = nonce.as_ref().filter(|_| world.behaviour.nonces && body["enforce_nonce"] == json!(true));
    if let Some(known) = enforced.and_then(|nonce| world.nonces.get(nonce)) {
        let known = json!(known.to_string());
        let message = world.channels[&channel].messages.iter().find(|message| message["id"] == known);
        return (200, message.cloned().expect("what was posted"));
    }
    let mut attachments = Vec::new();
    for (name, bytes) in files {
        attachments.push(world.keep_file(channel, name, bytes.clone()));
    }
    let mut fields = json!({ "content": body["content"].as_str().unwrap_or_default(), "attachments": attachments });
    for name in ["nonce", "components", "message_reference", "embeds"] {
        if let Some(value) = body.get(name) {
            fields[name] = value.clone();
        }
    }
    let author = world.user(world.bot);
    let message = world.post(channel, author, fields);
    if let Some(nonce) = nonce {
        let id = message["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        world.nonces.insert(nonce, id);
    }
    (200, message)
}

fn commands(world: &mut World, scope: &str, body: &Value) -> Answer {
    let Some(list) = body.as_array() else { return error(400, 50035, "Invalid Form Body: not a list") };
    let small = |text: &str| {
        !text.is_empty()
            && text.len() <= 32
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
    };
    for command in list {
        let options = command["options"].as_array().cloned().unwrap_or_default();
        let fits = |of: &Value| {
            let help = of["description"].as_str().map_or(0, |text| text.chars().count());
            of["name"].as_str().is_some_and(small) && (1..=100).contains(&help)
        };
        if !fits(command) || !options.iter().all(fits) {
            return error(400, 50035, &format!("Invalid Form Body: {command}"));
        }
        let required: Vec<bool> = options.iter().map(|option| option["required"] == json!(true)).collect();
        if required.windows(2).any(|pair| !pair[0] && pair[1]) {
            return error(400, 50035, "Invalid Form Body: required options come first");
        }
    }
    world.commands.insert(scope.to_owned(), body.clone());
    (200, body.clone())
}

fn callback(world: &mut World, token: &str, body: &Value) -> Answer {
    let bot = json!(world.bot.to_string());
    let Some(interaction) = world.interactions.get_mut(token) else { return error(404, 10062, "Unknown interaction") };
    if interaction.callback.is_some() {
        return error(400, 40060, "Interaction has already been acknowledged");
    }
    let kind = body["type"].as_u64().unwrap_or(0);
    if ![4, 5, 6, 7].contains(&kind) {
        return error(400, 50035, "Invalid Form Body: type");
    }
    interaction.callback = Some(kind);
    let hidden = body["data"]["flags"].as_u64().unwrap_or(0) & 64 != 0;
    interaction.hidden = hidden;
    if matches!(kind, 4 | 7) {
        interaction.answers.push((body["data"]["content"].as_str().unwrap_or_default().to_owned(), hidden));
    }
    if kind == 7 {
        let (channel, on) = (interaction.channel, interaction.id);
        let messages = &mut world.channels.get_mut(&channel).expect("the channel").messages;
        if let Some(message) =
            messages.iter_mut().find(|message| message["id"] == json!(on.to_string()) && message["author"]["id"] == bot)
        {
            merge(message, body["data"].clone());
        }
    }
    (204, Value::Null)
}

fn original(world: &mut World, token: &str, body: &Value) -> Answer {
    if let Some(refused) = refused(body, false) {
        return refused;
    }
    match world.interactions.get_mut(token) {
        Some(interaction) if interaction.callback.is_some() => {
            interaction.answers.push((body["content"].as_str().unwrap_or_default().to_owned(), interaction.hidden));
            (200, json!({ "id": "1" }))
        }
        _ => error(404, 10015, "Unknown Webhook"),
    }
}

/// The JSON and the files of a form.
fn multipart(body: &[u8], boundary: &str) -> (Value, Vec<(String, Vec<u8>)>) {
    let mut json = Value::Null;
    let mut files = Vec::new();
    let mark = format!("--{boundary}").into_bytes();
    let mut rest = body;
    while let Some(start) = find(rest, &mark) {
        rest = &rest[start + mark.len()..];
        let Some(part) = rest.strip_prefix(b"\r\n") else { break };
        let end = find(part, &mark).expect("the end of a part");
        let (part, after) = part.split_at(end);
        rest = after;
        let head = find(part, b"\r\n\r\n").expect("the head of a part");
        let text = String::from_utf8_lossy(&part[..head]).into_owned();
        let content = part[head + 4..].strip_suffix(b"\r\n").expect("a line break").to_vec();
        match text.split_once("filename=\"") {
            Some((_, name)) => files.push((name.split('"').next().unwrap_or_default().to_owned(), content)),
            None if text.contains("payload_json") => json = serde_json::from_slice(&content).expect("JSON"),
            None => {}
        }
    }
    (json, files)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
