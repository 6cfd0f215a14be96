//! The gateway side of the fake: HELLO, IDENTIFY, READY, RESUME, heartbeats.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_websockets::{CloseCode, Message, ServerBuilder, WebSocketStream};

use super::Shared;
use super::world::{MESSAGE_CONTENT, Order, Resume, Session, TOKEN};

/// Takes connections until the runtime ends.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Ok((_, socket)) = ServerBuilder::new().accept(stream).await {
                connection(socket, &shared).await;
            }
        });
    }
}

async fn connection(mut socket: WebSocketStream<TcpStream>, shared: &Shared) {
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let heartbeat = shared.with(|world| {
        world.connections += 1;
        world.behaviour.heartbeat_ms
    });
    let hello = json!({ "op": 10, "s": null, "t": null, "d": { "heartbeat_interval": heartbeat, "_trace": ["fake"] } });
    if socket.send(Message::text(hello.to_string())).await.is_err() {
        return;
    }
    let mut own = None;
    loop {
        tokio::select! {
            order = ordered.recv() => match order {
                Some(Order::Send(text)) => {
                    if socket.send(Message::text(text)).await.is_err() {
                        break;
                    }
                }
                Some(Order::Close(code)) => {
                    let code = CloseCode::try_from(code).expect("a close code");
                    let _gone = socket.send(Message::close(Some(code), "as ordered")).await;
                    break;
                }
                Some(Order::Cut) | None => break,
            },
            received = socket.next() => match received {
                Some(Ok(message)) if message.is_text() => {
                    let text = message.as_text().unwrap_or_default();
                    let Ok(payload) = serde_json::from_str::<Value>(text) else {
                        let _gone = orders.send(Order::Close(4002));
                        continue;
                    };
                    receive(&payload, &mut own, &orders, shared);
                }
                Some(Ok(message)) if message.is_close() => break,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
        }
    }
    shared.with(|world| {
        let session = own.and_then(|name: String| world.sessions.get_mut(&name));
        // A session that was resumed elsewhere has another connection by now.
        if let Some(session) =
            session.filter(|session| session.connection.as_ref().is_some_and(|its| its.same_channel(&orders)))
        {
            session.connection = None;
        }
    });
}

fn receive(payload: &Value, own: &mut Option<String>, orders: &mpsc::UnboundedSender<Order>, shared: &Shared) {
    let data = &payload["d"];
    let close = |code| {
        let _gone = orders.send(Order::Close(code));
    };
    match payload["op"].as_u64() {
        Some(1) => {
            let acknowledges = shared.with(|world| {
                world.acknowledged += 1;
                world.behaviour.acknowledges
            });
            if acknowledges {
                let _gone = orders.send(Order::Send(json!({ "op": 11, "s": null, "t": null, "d": null }).to_string()));
            }
        }
        Some(2) if own.is_some() => close(4005),
        Some(2) => {
            let Some(intents) = data["intents"].as_u64() else { return close(4013) };
            if !data["properties"].is_object() {
                return close(4002);
            }
            shared.with(|world| {
                world.identifies += 1;
                if data["token"] != json!(TOKEN) {
                    return close(4004);
                }
                if intents & MESSAGE_CONTENT != 0 && !world.behaviour.message_content {
                    return close(4014);
                }
                let name = format!("session-{}", world.id());
                let session =
                    Session { intents, sequence: 0, history: Vec::new(), connection: Some(orders.clone()) };
                world.sessions.insert(name.clone(), session);
                *own = Some(name.clone());
                let guilds: Vec<u64> = world.guilds.keys().copied().collect();
                let mut ready = json!({
                    "v": 10, "user": world.user(world.bot), "session_id": name,
                    "guilds": guilds.iter().map(|id| json!({ "id": id.to_string(), "unavailable": true })).collect::<Vec<_>>(),
                    "application": { "id": world.application.to_string(), "flags": 0 },
                });
                if !world.behaviour.sparse {
                    ready["resume_gateway_url"] = json!(world.gateway);
                }
                world.send_to(&name, "READY", &ready);
                for guild in guilds {
                    let guild = world.guild(guild);
                    world.send_to(&name, "GUILD_CREATE", &guild);
                }
            });
        }
        Some(6) => {
            let name = data["session_id"].as_str().unwrap_or_default().to_owned();
            let after = data["seq"].as_u64();
            shared.with(|world| {
                world.resumes += 1;
                if data["token"] != json!(TOKEN) {
                    return close(4004);
                }
                if world.behaviour.resume == Resume::Ignored {
                    return;
                }
                let refused = world.behaviour.resume == Resume::Refused;
                let session = world.sessions.get_mut(&name).filter(|_| !refused);
                let (Some(session), Some(after)) = (session, after) else {
                    let _gone =
                        orders.send(Order::Send(json!({ "op": 9, "s": null, "t": null, "d": false }).to_string()));
                    return;
                };
                session.connection = Some(orders.clone());
                for (_, text) in session.history.iter().filter(|(sequence, _)| *sequence > after) {
                    let _gone = orders.send(Order::Send(text.clone()));
                }
                *own = Some(name.clone());
                world.send_to(&name, "RESUMED", &json!({ "_trace": ["fake"] }));
            });
        }
        Some(3 | 4 | 8) => {}
        _ => close(4001),
    }
}
