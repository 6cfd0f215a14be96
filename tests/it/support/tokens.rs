//! The servers at which the CLIs renew the login of an account, in the process
//! of the test, and before them a proxy that speaks for their hosts with an
//! authority of its own. A refresh token counts once: whoever shows it again
//! ends the whole login, as the real services do. Only the newest access token
//! opens the model.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::model::Model;
use super::root::{Root, write};
use super::server::Server;
use super::tls::Tls;

/// What every token holds, so that a copy of one is found wherever it is.
pub(crate) const MARK: &str = "token-of-the-user-7d1e";

/// The hosts that the proxy speaks for; all others it refuses.
const HOSTS: &[&str] = &[
    "api.anthropic.com",
    "auth.openai.com",
    "chatgpt.com",
    "cloudcode-pa.googleapis.com",
    "oauth2.googleapis.com",
    "platform.claude.com",
    "www.googleapis.com",
];

/// Where Codex is told to renew.
const CODEX_PATH: &str = "/codex/oauth/token";

/// Longer than a CLI takes to get as far as that.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long an access token lasts.
const LASTS: Duration = Duration::from_secs(3600);

/// The running servers; they stop with the value.
pub(crate) struct Tokens {
    _server: Server,
    url: String,
    certificate: String,
    desk: Arc<Desk>,
}

/// What the servers know.
struct Desk {
    acceptor: TlsAcceptor,
    model: String,
    book: Mutex<Book>,
    changed: Condvar,
}

/// The state of the one login that there is.
#[derive(Debug, Default)]
struct Book {
    /// The number of the refresh token that counts.
    refresh: usize,
    /// The number of the newest access token.
    access: usize,
    /// Whether that opens the model.
    valid: bool,
    /// Whether nothing renews this login any more.
    revoked: bool,
    /// How long a request for a renewal is thought about, and how long its answer
    /// takes when the old token is spent.
    thinks: Duration,
    answers: Duration,
    /// Requests for a renewal so far.
    asked: usize,
    renewed: usize,
    /// Spent tokens that were shown again.
    reused: usize,
    /// Answers that came to nobody, because who asked was gone.
    unheard: usize,
    /// Whether the newest access token has come to the model.
    used: bool,
    /// The lines of all requests.
    requests: Vec<String>,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// Tokens that were renewed.
    pub(crate) renewed: usize,
    /// Spent tokens that were shown again.
    pub(crate) reused: usize,
    /// Answers that came to nobody.
    pub(crate) unheard: usize,
}

/// Whose login it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Anthropic,
    OpenAi,
    Google,
}

impl Tokens {
    /// Starts the servers before a model.
    pub(crate) fn start(root: &Root, model: &Model) -> Self {
        let tls = Tls::new();
        let certificate = root.dir().join("authority.pem");
        write(&certificate, &tls.certificate());
        // Whoever else runs in the test reads it too.
        fs_err::set_permissions(&certificate, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("open");
        let desk = Arc::new(Desk {
            acceptor: tls.acceptor(HOSTS),
            model: model.url().strip_prefix("http://").expect("its address").to_owned(),
            book: Mutex::default(),
            changed: Condvar::new(),
        });
        let served = Arc::clone(&desk);
        let (server, address) = Server::start(async move || {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("its address");
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, None, Arc::clone(&served)));
                }
            });
            address
        });
        let certificate = certificate.to_str().expect("a name").to_owned();
        Self { _server: server, url: format!("http://{address}"), certificate, desk }
    }

    /// Where the model is, and the proxy.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The variables by which the CLIs find the servers.
    pub(crate) fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("HTTPS_PROXY", self.url.clone()),
            ("NODE_EXTRA_CA_CERTS", self.certificate.clone()),
            ("CODEX_REFRESH_TOKEN_URL_OVERRIDE", format!("{}{CODEX_PATH}", self.url)),
        ]
    }

    /// How long a request for a renewal is thought about before the old token is
    /// spent, and how long the answer takes from then on.
    pub(crate) fn take(&self, thinks: Duration, answers: Duration) {
        let mut book = self.book();
        (book.thinks, book.answers) = (thinks, answers);
    }

    /// The access token runs out; gives both tokens, for a login as old as that.
    pub(crate) fn run_out(&self) -> (String, String) {
        let mut book = self.book();
        book.valid = false;
        (access(book.access), refresh(book.refresh))
    }

    /// A person logs in again: what came before counts no more.
    pub(crate) fn log_in(&self) -> (String, String) {
        let mut book = self.book();
        book.refresh += 1;
        book.revoked = false;
        drop(book);
        self.run_out()
    }

    /// The refresh token that counts.
    pub(crate) fn newest(&self) -> String {
        refresh(self.book().refresh)
    }

    /// What happened so far.
    pub(crate) fn count(&self) -> Count {
        let book = self.book();
        Count { renewed: book.renewed, reused: book.reused, unheard: book.unheard }
    }

    /// Whether the newest access token has come to the model: who asked has it.
    pub(crate) fn is_used(&self) -> bool {
        self.book().used
    }

    /// Waits until somebody has asked for a renewal once more than so often.
    pub(crate) fn until_asked(&self, before: usize) {
        let asked = self.desk.changed.wait_timeout_while(self.book(), PATIENCE, |book| book.asked <= before);
        let (book, late) = asked.expect("the book");
        assert!(!late.timed_out(), "nobody asked for a renewal: {book:#?}");
    }

    /// How often somebody asked for a renewal.
    pub(crate) fn asked(&self) -> usize {
        self.book().asked
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.desk.book()
    }
}

/// Everything that happened, to be read where a test failed.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.book().fmt(f)
    }
}

impl Desk {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("the book")
    }
}

fn refresh(number: usize) -> String {
    format!("{MARK}-refresh-{number}")
}

fn access(number: usize) -> String {
    format!("{MARK}-access-{number}")
}

/// Seconds since 1970, as of now and so much later.
pub(crate) fn seconds(later: Duration) -> u64 {
    (SystemTime::now().duration_since(UNIX_EPOCH).expect("a time") + later).as_secs()
}

/// A token as OpenAI makes it: it says itself until when it holds, and whose it is.
/// Its signature is the text that makes it one of ours.
pub(crate) fn jwt(expires: u64, signature: &str) -> String {
    let claims = json!({
        "exp": expires,
        "iat": expires.saturating_sub(LASTS.as_secs()),
        "sub": "user-1",
        "email": "me@example.org",
        "https://api.openai.com/auth": {
            "chatgpt_account_id": "account-1",
            "chatgpt_plan_type": "plus",
            "chatgpt_user_id": "user-1",
        },
    });
    let header = json!({ "alg": "RS256", "typ": "JWT" });
    format!("{}.{}.{signature}", base64url(&header.to_string()), base64url(&claims.to_string()))
}

fn base64url(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - three.len()));
        (0..=three.len()).map(move |at| char::from(DIGITS[bits >> (18 - 6 * at) & 63])).collect::<String>()
    };
    text.as_bytes().chunks(3).map(digits).collect()
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Serves one connection: to the plain server, or to a host that the proxy
/// speaks for.
fn serve(
    stream: impl Stream + 'static,
    host: Option<String>,
    desk: Arc<Desk>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let service = service_fn(move |request| answer(request, host.clone(), Arc::clone(&desk)));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A client that goes away in the middle is no concern of the server's.
        let _ended = connection.with_upgrades().await;
    })
}

type Answer = Response<Full<Bytes>>;

async fn answer(mut request: Request<Incoming>, host: Option<String>, desk: Arc<Desk>) -> Result<Answer, Infallible> {
    if request.method() == Method::CONNECT {
        let name = request.uri().host().unwrap_or_default().to_owned();
        if !HOSTS.contains(&name.as_str()) {
            return Ok(json_answer(403, &json!({ "error": "not a host of this test" })));
        }
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            // Who does not trust the certificate goes away.
            let Ok(upgraded) = upgrade.await else { return };
            let Ok(secure) = desk.acceptor.accept(TokioIo::new(upgraded)).await else { return };
            serve(secure, Some(name), desk).await;
        });
        return Ok(Response::new(Full::default()));
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let host = host.unwrap_or_default();
    let bearer = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = bearer.rsplit('.').next().unwrap_or_default();
    desk.book().requests.push(format!("{} {host}{path} {token}", head.method));
    let service = match (host.as_str(), path.as_str()) {
        ("platform.claude.com", "/v1/oauth/token") => Some(Service::Anthropic),
        ("auth.openai.com", "/oauth/token") | ("", CODEX_PATH) => Some(Service::OpenAi),
        ("oauth2.googleapis.com", "/token") => Some(Service::Google),
        _ => None,
    };
    if let Some(service) = service {
        return Ok(renew(service, &shown(&body), &desk).await);
    }
    let model = ["/messages", "/responses", "GenerateContent"].iter().any(|end| path.ends_with(end));
    if !model {
        return Ok(account(&path));
    }
    let open = {
        let mut book = desk.book();
        let open = book.valid && bearer.starts_with("Bearer ") && bearer.ends_with(&access(book.access));
        book.used |= open;
        open
    };
    if !open {
        let error =
            json!({ "type": "authentication_error", "code": "token_expired", "message": "OAuth token has expired" });
        return Ok(json_answer(401, &json!({ "type": "error", "error": error })));
    }
    if host == "cloudcode-pa.googleapis.com" {
        return Ok(code_assist());
    }
    let path = path.replace("/backend-api/codex/responses", "/v1/responses");
    let kind = head.headers.get(CONTENT_TYPE).cloned();
    let mut asked = Request::post(path).header("host", &desk.model).header(AUTHORIZATION, bearer);
    for (name, value) in head.headers.iter().filter(|(name, _)| name.as_str().starts_with("anthropic-")) {
        asked = asked.header(name, value);
    }
    if let Some(kind) = kind {
        asked = asked.header(CONTENT_TYPE, kind);
    }
    let asked = asked.body(Full::new(body)).expect("a request");
    Ok(forward(&desk.model, asked).await.unwrap_or_else(|| json_answer(502, &json!({ "error": "no model" }))))
}

/// Has a request answered by the model.
async fn forward(model: &str, asked: Request<Full<Bytes>>) -> Option<Answer> {
    let stream = TcpStream::connect(model).await.ok()?;
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let answer = send.send_request(asked).await.ok()?;
    let (head, body) = answer.into_parts();
    let mut whole = Response::builder().status(head.status);
    if let Some(kind) = head.headers.get(CONTENT_TYPE) {
        whole = whole.header(CONTENT_TYPE, kind);
    }
    whole.body(Full::new(body.collect().await.ok()?.to_bytes())).ok()
}

/// The refresh token of a request, which comes as JSON or as a form.
fn shown(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(token) = json["refresh_token"].as_str() {
        return token.to_owned();
    }
    let text = String::from_utf8_lossy(body);
    let token = text.split('&').find_map(|pair| pair.strip_prefix("refresh_token="));
    token.unwrap_or_default().to_owned()
}

/// Notes an answer that nobody takes: the future that makes it is then dropped.
struct Pending<'a>(Option<&'a Desk>);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(desk) = self.0 {
            desk.book().unheard += 1;
        }
    }
}

async fn renew(service: Service, token: &str, desk: &Desk) -> Answer {
    let (thinks, answers) = {
        let mut book = desk.book();
        book.asked += 1;
        desk.changed.notify_all();
        (book.thinks, book.answers)
    };
    tokio::time::sleep(thinks).await;
    let (access, refresh) = {
        let mut book = desk.book();
        if book.revoked || token != refresh(book.refresh) {
            book.reused += 1;
            book.revoked = true;
            return refused(service);
        }
        book.renewed += 1;
        book.access += 1;
        // Google's refresh tokens count more than once.
        book.refresh += usize::from(service != Service::Google);
        book.valid = true;
        book.used = false;
        (access(book.access), refresh(book.refresh))
    };
    let mut pending = Pending(Some(desk));
    tokio::time::sleep(answers).await;
    pending.0 = None;
    json_answer(200, &renewed(service, &access, &refresh))
}

/// The answer to a renewal, as each service gives it.
fn renewed(service: Service, access: &str, refresh: &str) -> Value {
    let lasts = LASTS.as_secs();
    match service {
        Service::Anthropic => json!({
            "token_type": "Bearer",
            "access_token": access,
            "refresh_token": refresh,
            "expires_in": lasts,
            "scope": "user:inference user:profile user:sessions:claude_code",
            "account": { "uuid": "account-1", "email_address": "me@example.org" },
            "organization": { "uuid": "organization-1", "name": "mine" },
        }),
        Service::OpenAi => json!({
            "token_type": "Bearer",
            "id_token": jwt(seconds(LASTS), access),
            "access_token": jwt(seconds(LASTS), access),
            "refresh_token": refresh,
            "expires_in": lasts,
        }),
        Service::Google => json!({
            "token_type": "Bearer",
            "access_token": access,
            "id_token": jwt(seconds(LASTS), access),
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "expires_in": lasts,
        }),
    }
}

/// What each service says of a token that does not count.
fn refused(service: Service) -> Answer {
    match service {
        Service::Anthropic | Service::Google => json_answer(
            400,
            &json!({ "error": "invalid_grant", "error_description": "Refresh token not found or invalid" }),
        ),
        Service::OpenAi => {
            let message = "Your refresh token has already been used to generate a new access token.";
            json_answer(401, &json!({ "error": { "code": "refresh_token_reused", "message": message } }))
        }
    }
}

/// What the CLIs ask about the account.
fn account(path: &str) -> Answer {
    let project = "cloudaicompanionProject";
    let value = match path.rsplit(['/', ':']).next().unwrap_or_default() {
        "profile" => json!({
            "account": { "uuid": "account-1", "email": "me@example.org", "display_name": "Me" },
            "organization": {
                "uuid": "organization-1",
                "organization_type": "claude_max",
                "rate_limit_tier": "default_claude_max_5x",
                "billing_type": "stripe_subscription",
            },
        }),
        "tokeninfo" => json!({ "expires_in": 3000, "scope": "https://www.googleapis.com/auth/cloud-platform" }),
        "userinfo" => json!({ "id": "1", "email": "me@example.org" }),
        "loadCodeAssist" => json!({ "currentTier": { "id": "free-tier", "name": "Free" }, project: "project-1" }),
        _ => return json_answer(404, &json!({ "error": "not found" })),
    };
    json_answer(200, &value)
}

/// The model as Gemini asks it for an account.
fn code_assist() -> Answer {
    let candidate = json!({ "content": { "role": "model", "parts": [{ "text": "heard" }] }, "finishReason": "STOP" });
    let event = json!({ "response": { "candidates": [candidate] } });
    let body = Full::from(format!("data: {event}\n\n"));
    Response::builder().header(CONTENT_TYPE, "text/event-stream").body(body).expect("an answer")
}

fn json_answer(status: u16, value: &Value) -> Answer {
    let builder = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    builder.body(Full::from(value.to_string())).expect("an answer")
}
