//! The one HTTP client of the chat networks: HTTP/1.1 over TCP or TLS, bounded
//! in time and size. No redirect is followed, so a host that was checked is the
//! host that is asked.
//!
//! Not here: what a status means, retries and rate limits, which are a
//! network's own.

use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::{FetchError, tls};
use crate::causes::with_causes;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a request may take, its answer included.
const REQUEST: Duration = Duration::from_secs(30);

/// How long a file may take.
const DOWNLOAD: Duration = Duration::from_secs(120);

/// The longest answer that is read, in bytes.
const MOST_ANSWER: usize = 16 << 20;

/// What is told about this program, in the form that Discord asks for.
const AGENT: &str = concat!("DiscordBot (https://crates.io/crates/denizen, ", env!("CARGO_PKG_VERSION"), ")");

/// A client, which keeps its connections.
#[derive(Debug, Clone)]
pub(super) struct Http {
    plain: Client<HttpConnector, Full<Bytes>>,
    /// Made when it is needed first, as `tls::config` is.
    secure: Arc<OnceLock<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>>,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct HttpRequest {
    pub(super) method: Method,
    pub(super) url: String,
    /// The value of `Authorization`, which is never printed.
    pub(super) authorization: Option<HeaderValue>,
    /// The kind of the body, and the body.
    pub(super) body: Option<(HeaderValue, Bytes)>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The request cannot be made.
    #[error("`{0}` cannot be asked")]
    Request(String),
    /// The server was not reached, so it was asked nothing.
    #[error("{host} was not reached: {reason}")]
    Unreachable { host: String, reason: String },
    /// The server went away before its answer was there.
    #[error("{host} did not answer: {reason}")]
    Lost { host: String, reason: String },
    /// It took too long.
    #[error("{0} did not answer in time")]
    Slow(String),
    /// The answer is too long.
    #[error("{0} answered more than is read")]
    TooLong(String),
}

impl Http {
    /// A client without connections.
    pub(super) fn new() -> Self {
        Self { plain: Client::builder(TokioExecutor::new()).build(connector()), secure: Arc::default() }
    }

    fn secure(&self) -> &Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
        self.secure.get_or_init(|| {
            let secure = HttpsConnectorBuilder::new()
                .with_tls_config(Arc::unwrap_or_clone(tls::config()))
                .https_only()
                .enable_http1();
            Client::builder(TokioExecutor::new()).build(secure.wrap_connector(connector()))
        })
    }

    /// Asks, and reads the answer whole.
    pub(super) async fn ask(&self, ask: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = host_of(&ask.url);
        let answered = async {
            let response = self.send(ask).await?;
            let (head, body) = response.into_parts();
            let body = read(body, &host, MOST_ANSWER).await?;
            Ok(HttpResponse { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(REQUEST, answered).await.map_err(|_| HttpError::Slow(host.clone()))?
    }

    /// Writes a file's bytes to `into`, of which at most `most` are taken.
    pub(super) async fn download(&self, url: &str, into: &mut (dyn Write + Send), most: u64) -> Result<(), FetchError> {
        let ask = HttpRequest { method: Method::GET, url: url.to_owned(), authorization: None, body: None };
        let got = async {
            let response = self.send(ask).await.map_err(|error| FetchError::Network(error.to_string()))?;
            let status = response.status();
            if !status.is_success() {
                return Err(FetchError::Network(format!("{} answered {status}", host_of(url))));
            }
            let mut body = response.into_body();
            let mut taken = 0_u64;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| FetchError::Network(with_causes(&error)))?;
                let Ok(bytes) = frame.into_data() else { continue };
                taken += bytes.len() as u64;
                if taken > most {
                    return Err(FetchError::TooLarge(most));
                }
                into.write_all(&bytes)?;
            }
            Ok(())
        };
        let late = |_| FetchError::Network(format!("{} took too long", host_of(url)));
        tokio::time::timeout(DOWNLOAD, got).await.map_err(late)?
    }

    async fn send(&self, ask: HttpRequest) -> Result<Response<Incoming>, HttpError> {
        let host = host_of(&ask.url);
        let mut request = Request::builder().method(ask.method).uri(&ask.url).header("user-agent", AGENT);
        if let Some(authorization) = ask.authorization {
            request = request.header("authorization", authorization);
        }
        let body = match ask.body {
            Some((kind, body)) => {
                request = request.header(CONTENT_TYPE, kind);
                Full::new(body)
            }
            None => Full::default(),
        };
        let request = request.body(body).map_err(|_| HttpError::Request(host.clone()))?;
        let sent = match request.uri().scheme_str() {
            Some("http") => self.plain.request(request).await,
            _ => self.secure().request(request).await,
        };
        sent.map_err(|error| match error.is_connect() {
            true => HttpError::Unreachable { host, reason: with_causes(&error) },
            false => HttpError::Lost { host, reason: with_causes(&error) },
        })
    }
}

/// Connects over TCP, on which TLS may follow.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT));
    connector
}

async fn read(mut body: Incoming, host: &str, most: usize) -> Result<Bytes, HttpError> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| HttpError::Lost { host: host.to_owned(), reason: with_causes(&error) })?;
        let Ok(bytes) = frame.into_data() else { continue };
        if whole.len() + bytes.len() > most {
            return Err(HttpError::TooLong(host.to_owned()));
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(whole.into())
}

/// The host of an address, for words: the rest may hold a token.
fn host_of(url: &str) -> String {
    let uri = url.parse::<Uri>().ok();
    uri.and_then(|uri| uri.authority().map(ToString::to_string)).unwrap_or_else(|| "the server".to_owned())
}
