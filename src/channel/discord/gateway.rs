//! One connection to the gateway after the other: greet, identify or resume,
//! heartbeat, hand the events on. What an event means is not known here.
//!
//! Between two connections there is always a pause, and identifying is counted:
//! Discord resets the token of a bot that does it 1000 times a day.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, CloseCode, Connector, MaybeTlsStream, Message, WebSocketStream};

use super::section::checked_url;
use super::wire::{Hello, Payload, Ready};
use crate::causes::with_causes;
use crate::channel::{Leave, tls};
use crate::config::Secret;

/// What is asked for: guilds, messages in them and in direct channels, and what
/// is written in them.
const INTENTS: u64 = 1 | 1 << 9 | 1 << 12 | 1 << 15;

/// How long the server may take to be reached, and to take the next step.
const CONNECT: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_secs(10);

/// How often is identified in a day at most, of the 1000 that Discord allows.
const MOST_IDENTIFIES: usize = 900;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The heartbeat of a server that names none, and what is believed of others.
const HEARTBEAT: f64 = 41_250.0;
const HEARTBEATS: (f64, f64) = (50.0, 600_000.0);

/// What it means when nothing follows a RESUME.
const NOT_RESUMED: &str = "the server did not resume the session";

/// Closes so that the session can be resumed.
const RESUMABLE: u16 = 4000;

/// A session that can be resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) sequence: u64,
    /// Where the server wants it to be resumed.
    pub(super) url: Option<String>,
}

/// An event of the gateway.
#[derive(Debug)]
pub(super) struct GatewayEvent {
    pub(super) name: String,
    pub(super) sequence: Option<u64>,
    pub(super) data: String,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was time to leave.
    Left,
    /// It broke, and can be made again.
    Lost(String),
    /// The server closed it with a code that forbids to come back.
    Forbidden(u16),
}

/// Connects.
pub(super) struct Gateway {
    token: Secret,
    /// The session to resume, if there is one.
    pub(super) session: Option<Session>,
    identified: VecDeque<Instant>,
    /// Whether the last connection got as far as a session.
    pub(super) was_ready: bool,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Gateway {
    pub(super) fn new(token: Secret, session: Option<Session>) -> Self {
        Self { token, session, identified: VecDeque::new(), was_ready: false }
    }

    /// How long to wait before identifying is allowed again.
    pub(super) fn identify_pause(&mut self) -> Duration {
        let now = Instant::now();
        while self.identified.front().is_some_and(|first| now.duration_since(*first) >= DAY) {
            self.identified.pop_front();
        }
        if self.session.is_some() || self.identified.len() < MOST_IDENTIFIES {
            return Duration::ZERO;
        }
        self.identified.front().map_or(Duration::ZERO, |first| (*first + DAY).duration_since(now))
    }

    /// Makes one connection, and hands its events on until it ends.
    pub(super) async fn connect(&mut self, url: &str, events: &mpsc::Sender<GatewayEvent>, leave: &Leave) -> Ended {
        self.was_ready = false;
        let url = with_version(url);
        // The token goes over it in plain text only if that was written down.
        let connector = match url.starts_with("ws:") {
            true => Connector::Plain,
            false => Connector::Rustls(TlsConnector::from(tls::config())),
        };
        let builder = match ClientBuilder::new().uri(&url) {
            Ok(builder) => builder.connector(&connector),
            Err(_) => return Ended::Lost("the gateway's address is none".to_owned()),
        };
        let connecting = tokio::time::timeout(CONNECT, builder.connect());
        let connected = tokio::select! {
            () = leave.asked() => return Ended::Left,
            connected = connecting => connected,
        };
        let socket = match connected {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(error)) => return Ended::Lost(format!("the gateway was not reached: {}", with_causes(&error))),
            Err(_) => return Ended::Lost("the gateway was not reached in time".to_owned()),
        };
        let mut connection = GatewayConnection {
            gateway: self,
            socket,
            heartbeat: None,
            beaten: false,
            heard: true,
            deadline: Some((Instant::now() + STEP, "the gateway did not greet")),
        };
        connection.run(events, leave).await
    }
}

/// A connection that stands.
struct GatewayConnection<'a> {
    gateway: &'a mut Gateway,
    socket: Socket,
    heartbeat: Option<Interval>,
    /// Whether a heartbeat was sent that nothing has followed.
    beaten: bool,
    /// Whether anything was read since the last heartbeat.
    heard: bool,
    /// By when the next step has to be done, and what it means if it is not.
    deadline: Option<(Instant, &'static str)>,
}

impl GatewayConnection<'_> {
    async fn run(&mut self, events: &mpsc::Sender<GatewayEvent>, leave: &Leave) -> Ended {
        let mut permit = None;
        loop {
            let deadline = self.deadline.map_or_else(|| Instant::now() + DAY, |(at, _)| at);
            tokio::select! {
                () = leave.asked() => {
                    self.close().await;
                    return Ended::Left;
                }
                () = beat(&mut self.heartbeat) => {
                    // Where nothing could be read, silence says nothing.
                    if self.beaten && !self.heard && permit.is_some() {
                        self.close().await;
                        return Ended::Lost("the gateway did not answer the heartbeat".to_owned());
                    }
                    (self.beaten, self.heard) = (true, false);
                    if let Err(ended) = self.send_heartbeat().await {
                        return ended;
                    }
                }
                () = sleep_until(deadline), if self.deadline.is_some() => {
                    let reason = self.deadline.map_or("", |(_, reason)| reason);
                    if reason == NOT_RESUMED {
                        // Some servers ignore what they cannot resume.
                        self.gateway.session = None;
                    }
                    self.close().await;
                    return Ended::Lost(reason.to_owned());
                }
                // Nothing is read that could not be handed on; heartbeats go on.
                free = events.reserve(), if permit.is_none() => match free {
                    Ok(free) => permit = Some(free),
                    Err(_) => return Ended::Left,
                },
                received = self.socket.next(), if permit.is_some() => {
                    let message = match received {
                        Some(Ok(message)) => message,
                        Some(Err(error)) => return Ended::Lost(format!("the connection broke: {}", with_causes(&error))),
                        None => return Ended::Lost("the connection was cut".to_owned()),
                    };
                    self.heard = true;
                    if let Some((code, reason)) = message.as_close() {
                        return self.closed(code.into(), reason);
                    }
                    let Some(text) = std::str::from_utf8(message.as_payload()).ok().filter(|_| is_data(&message)) else {
                        continue;
                    };
                    match self.receive(text).await {
                        Ok(Some(event)) => {
                            if let Some(permit) = permit.take() {
                                permit.send(event);
                            }
                        }
                        Ok(None) => {}
                        Err(ended) => return ended,
                    }
                }
            }
        }
    }

    /// Takes one payload. Gives the event that it is, if it is one.
    async fn receive(&mut self, text: &str) -> Result<Option<GatewayEvent>, Ended> {
        // What cannot be read is nothing that is needed.
        let Ok(payload) = serde_json::from_str::<Payload<'_>>(text) else { return Ok(None) };
        match payload.op {
            0 => Ok(self.dispatched(&payload)),
            1 => self.send_heartbeat().await.map(|()| None),
            7 => {
                self.close().await;
                Err(Ended::Lost("the server asks to connect anew".to_owned()))
            }
            9 => {
                if !data::<bool>(&payload).unwrap_or(false) {
                    self.gateway.session = None;
                }
                self.close().await;
                Err(Ended::Lost("the session is no longer valid".to_owned()))
            }
            10 => {
                self.greeted(data::<Hello>(&payload).unwrap_or_default().heartbeat_interval);
                self.introduce().await.map(|()| None)
            }
            // 11 acknowledges a heartbeat, as anything else that is heard does.
            _ => Ok(None),
        }
    }

    fn dispatched(&mut self, payload: &Payload<'_>) -> Option<GatewayEvent> {
        let name = payload.t.clone()?;
        match name.as_str() {
            "READY" => {
                let ready = data::<Ready>(payload).unwrap_or_default();
                let sequence = payload.s.unwrap_or(0);
                let url = ready.resume_gateway_url;
                self.gateway.session = ready.session_id.map(|id| Session { id, sequence, url });
                (self.deadline, self.gateway.was_ready) = (None, true);
            }
            "RESUMED" => (self.deadline, self.gateway.was_ready) = (None, true),
            // What was missed comes before RESUMED, and may take a while.
            _ => {
                if let Some((at, _)) = &mut self.deadline {
                    *at = Instant::now() + STEP;
                }
            }
        }
        if let (Some(session), Some(sequence)) = (&mut self.gateway.session, payload.s) {
            session.sequence = session.sequence.max(sequence);
        }
        let data = payload.d.map_or("null", RawValue::get).to_owned();
        Some(GatewayEvent { name, sequence: payload.s, data })
    }

    fn greeted(&mut self, interval: Option<f64>) {
        let interval = interval.filter(|ms| ms.is_finite() && *ms > 0.0).unwrap_or(HEARTBEAT);
        let interval = Duration::from_secs_f64(interval.clamp(HEARTBEATS.0, HEARTBEATS.1) / 1000.0);
        let first = Instant::now() + interval.mul_f64(fraction());
        let mut heartbeat = interval_at(first, interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.heartbeat = Some(heartbeat);
    }

    /// Resumes the session, or identifies if there is none.
    async fn introduce(&mut self) -> Result<(), Ended> {
        let token = self.gateway.token.expose().trim().trim_start_matches("Bot ").to_owned();
        if let Some(session) = &self.gateway.session {
            let resume = json!({ "op": 6, "d": { "token": token, "session_id": session.id, "seq": session.sequence } });
            self.deadline = Some((Instant::now() + STEP, NOT_RESUMED));
            return self.send(resume.to_string()).await;
        }
        self.gateway.identified.push_back(Instant::now());
        let properties = json!({ "os": std::env::consts::OS, "browser": "denizen", "device": "denizen" });
        let identify = json!({ "op": 2, "d": { "token": token, "intents": INTENTS, "properties": properties, "compress": false } });
        self.deadline = Some((Instant::now() + 3 * STEP, "the server did not let the bot in"));
        self.send(identify.to_string()).await
    }

    async fn send_heartbeat(&mut self) -> Result<(), Ended> {
        let sequence = self.gateway.session.as_ref().map(|session| session.sequence);
        self.send(json!({ "op": 1, "d": sequence }).to_string()).await
    }

    async fn send(&mut self, text: String) -> Result<(), Ended> {
        let sent = tokio::time::timeout(STEP, self.socket.send(Message::text(text))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ended::Lost(format!("the connection broke: {}", with_causes(&error)))),
            Err(_) => Err(Ended::Lost("the connection is stuck".to_owned())),
        }
    }

    /// Says goodbye; whether the server hears it does not matter.
    async fn close(&mut self) {
        let frame = Message::close(CloseCode::try_from(RESUMABLE).ok(), "");
        let _said = tokio::time::timeout(Duration::from_secs(2), self.socket.send(frame)).await;
    }

    fn closed(&mut self, code: u16, reason: &str) -> Ended {
        if FORBIDDEN.contains(&code) {
            return Ended::Forbidden(code);
        }
        // These say that the session or its sequence is unknown; the others leave it as it was.
        if matches!(code, 4003 | 4007 | 4009) {
            self.gateway.session = None;
        }
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(100).collect();
        Ended::Lost(format!(
            "the server closed the connection ({code}{}{reason})",
            if reason.is_empty() { "" } else { ": " }
        ))
    }
}

/// The codes after which a client may not come back as it is.
const FORBIDDEN: [u16; 6] = [4004, 4010, 4011, 4012, 4013, 4014];

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

fn data<'a, T: serde::Deserialize<'a>>(payload: &Payload<'a>) -> Option<T> {
    serde_json::from_str(payload.d?.get()).ok()
}

async fn beat(heartbeat: &mut Option<Interval>) {
    match heartbeat {
        Some(heartbeat) => {
            heartbeat.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// A random number from 0 to 1, so that not all clients of a server that was
/// down beat at once.
pub(super) fn fraction() -> f64 {
    f64::from(u32::from_le_bytes(uuid::Uuid::new_v4().as_bytes()[..4].try_into().unwrap_or_default()))
        / f64::from(u32::MAX)
}

/// The address with what has to be asked for.
fn with_version(url: &str) -> String {
    let slash = if checked_url(url, &["ws", "wss"]).is_some_and(|uri| uri.path().len() > 1) { "" } else { "/" };
    format!("{}{slash}?v=10&encoding=json", url.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_asked_for_at_any_address() {
        assert_eq!(with_version("wss://gateway.discord.gg"), "wss://gateway.discord.gg/?v=10&encoding=json");
        assert_eq!(with_version("ws://127.0.0.1:9/"), "ws://127.0.0.1:9/?v=10&encoding=json");
        assert_eq!(with_version("ws://127.0.0.1:9/gateway"), "ws://127.0.0.1:9/gateway?v=10&encoding=json");
    }

    #[tokio::test(start_paused = true)]
    async fn identifying_stops_before_the_token_is_reset() {
        let mut gateway = Gateway::new(Secret::new("x"), None);
        for _ in 0..MOST_IDENTIFIES {
            assert_eq!(gateway.identify_pause(), Duration::ZERO);
            gateway.identified.push_back(Instant::now());
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(gateway.identify_pause(), DAY - Duration::from_secs(60));
        gateway.session = Some(Session { id: "s".to_owned(), sequence: 1, url: None });
        assert_eq!(gateway.identify_pause(), Duration::ZERO, "resuming is free");
    }
}
