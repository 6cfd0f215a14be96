//! A model server: `llmock` of the npm package aimock, which nobody here wrote,
//! behind a relay that keeps every request as it came.
//!
//! aimock keeps a journal of its own, but that leaves out bodies above 64 KiB
//! (each of Claude's) and the credentials, which are what the tests look at.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::clis::Clis;
use super::root::{Root, write};

/// A running model server; it stops with the value.
pub(crate) struct Model {
    llmock: Child,
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    slow: Arc<Mutex<Option<(String, Duration)>>>,
    stopping: Arc<AtomicBool>,
}

/// One request to the model server.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Method and path.
    pub(crate) what: String,
    /// Its headers, names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    /// Its whole body.
    pub(crate) body: String,
}

impl Request {
    /// The login that it carries: `x-api-key: …`, `authorization: Bearer …` ...
    pub(crate) fn credentials(&self) -> Vec<String> {
        let credential = |name: &str| ["authorization", "x-api-key", "x-goog-api-key"].contains(&name);
        let headers = self.headers.iter().filter(|(name, _)| credential(name));
        headers.map(|(name, value)| format!("{name}: {value}")).collect()
    }
}

/// The model answers a message that holds this text with that text.
pub(crate) fn reply(to: &str, text: &str) -> Value {
    json!({ "match": { "userMessage": to }, "response": { "content": text } })
}

/// The model answers a message that holds this text with the call of a tool,
/// and what the tool gives with that text.
pub(crate) fn tool_then_reply(to: &str, tool: &Value, text: &str) -> [Value; 2] {
    [
        json!({ "match": { "userMessage": to, "hasToolResult": true }, "response": { "content": text } }),
        json!({ "match": { "userMessage": to, "hasToolResult": false }, "response": { "toolCalls": [tool] } }),
    ]
}

impl Model {
    /// Starts a model server that answers as the fixtures say; the first that
    /// matches counts.
    pub(crate) fn start(root: &Root, clis: &Clis, fixtures: Vec<Value>) -> Self {
        let file = root.dir().join("fixtures.json");
        write(&file, &json!({ "fixtures": fixtures }).to_string());
        let mut command = root.command(clis.program("llmock"));
        command.args(["--port", "0", "--fixtures"]).arg(file).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut llmock = command.spawn().expect("llmock");
        let mut lines = BufReader::new(llmock.stdout.take().expect("its output")).lines();
        let server = lines
            .by_ref()
            .find_map(|line| Some(line.expect("a line").split_once("listening on http://")?.1.trim().to_owned()))
            .expect("an address");
        thread::spawn(move || lines.for_each(drop));

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let slow = Arc::new(Mutex::new(None));
        let (kept, slowed, stop) = (Arc::clone(&requests), Arc::clone(&slow), Arc::clone(&stopping));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (kept, slowed, server) = (Arc::clone(&kept), Arc::clone(&slowed), server.clone());
                // A client that goes away in the middle is no failure of the relay.
                thread::spawn(move || relay(client, &server, &kept, &slowed).unwrap_or(()));
            }
        });
        Self { llmock, address, requests, slow, stopping }
    }

    /// From now on it thinks for so long about a request that holds this text,
    /// so that a turn lasts at least that long.
    pub(crate) fn think(&self, about: &str, time: Duration) {
        *self.slow.lock().expect("what is slow") = Some((about.to_owned(), time));
    }

    /// Where it listens, as a URL without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that it was sent so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("the requests").clone()
    }

    /// Does something, and gives what the model was sent meanwhile.
    pub(crate) fn during<T>(&self, act: impl FnOnce() -> T) -> (T, Vec<Request>) {
        let before = self.requests().len();
        let done = act();
        (done, self.requests().split_off(before))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        let _gone = self.llmock.kill();
        let _status = self.llmock.wait();
    }
}

/// Reads one request, keeps it, hands it on, and hands the answer back. Each
/// connection carries one request, so that neither side has to be parsed further.
fn relay(
    client: TcpStream,
    server: &str,
    kept: &Mutex<Vec<Request>>,
    slow: &Mutex<Option<(String, Duration)>>,
) -> std::io::Result<()> {
    let mut from = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if from.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.trim_end().lines();
    let what = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    assert_eq!(header("content-encoding"), None, "a compressed request cannot be looked into");
    let body = match (header("content-length"), header("transfer-encoding")) {
        (Some(length), _) => {
            let mut body = vec![0; length.parse().expect("a length")];
            from.read_exact(&mut body)?;
            body
        }
        (None, Some(_)) => read_chunks(&mut from)?,
        (None, None) => Vec::new(),
    };
    let body_text = String::from_utf8_lossy(&body).into_owned();
    let slow = slow.lock().expect("what is slow").clone().filter(|(about, _)| body_text.contains(about));
    kept.lock().expect("the requests").push(Request { what: what.clone(), headers: headers.clone(), body: body_text });
    if let Some((_, time)) = slow {
        thread::sleep(time);
    }

    let mut upstream = TcpStream::connect(server)?;
    write!(upstream, "{what}\r\n")?;
    let own = ["connection", "content-length", "transfer-encoding", "expect"];
    for (name, value) in headers.iter().filter(|(name, _)| !own.contains(&name.as_str())) {
        write!(upstream, "{name}: {value}\r\n")?;
    }
    write!(upstream, "connection: close\r\ncontent-length: {}\r\n\r\n", body.len())?;
    upstream.write_all(&body)?;
    let mut to = client;
    std::io::copy(&mut upstream, &mut to)?;
    to.shutdown(std::net::Shutdown::Write)
}

fn read_chunks(from: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        from.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        from.read_exact(&mut chunk)?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
