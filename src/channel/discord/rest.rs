//! Discord's HTTP API: one way to ask, which keeps to the rate limits, and what
//! a refusal means in words.
//!
//! From an answer only what is needed is read, so that servers that leave out
//! the rest will do.

use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use serde_json::Value;

use super::limits::RateLimits;
use super::section::ApiUrl;
use super::wire::Id;
use crate::channel::SendError;
use crate::channel::http::{Http, HttpError, HttpRequest, HttpResponse};
use crate::config::Secret;

/// How long a request waits for its turn before its sender is told to come back.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often something that can be asked again is, when the server is not reached.
const TRIES: u32 = 3;

/// Asks the API.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) http: Http,
    url: ApiUrl,
    authorization: HeaderValue,
    limits: RateLimits,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The server refused.
    #[error("{}", words(*status, *code, message))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Discord's own code, where it gave one.
        code: u64,
        /// What the server says.
        message: String,
    },
    /// It has to wait longer than is waited here.
    #[error("the rate limit asks to wait {}s", .0.as_secs())]
    Later(Duration),
    /// The server was not reached.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The token holds what no token holds.
    #[error("the token is not one: it has characters that cannot be sent")]
    Token,
}

/// What a request carries.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Nothing,
    Json(Value),
    /// A form, with its content type.
    Form(HeaderValue, Bytes),
}

impl Api {
    /// # Errors
    /// If the token cannot be sent.
    pub(super) fn new(url: ApiUrl, token: &Secret) -> Result<Self, ApiError> {
        let token = token.expose().trim().trim_start_matches("Bot ");
        let mut authorization = HeaderValue::try_from(format!("Bot {token}")).map_err(|_| ApiError::Token)?;
        authorization.set_sensitive(true);
        Ok(Self { http: Http::new(), url, authorization, limits: RateLimits::default() })
    }

    pub(super) fn url(&self) -> &ApiUrl {
        &self.url
    }

    /// Asks, waiting for the rate limit.
    ///
    /// # Errors
    /// If the server refuses, is not reached, or asks to wait for long.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Body) -> Result<HttpResponse, ApiError> {
        let bucket = self.limits.bucket(method.as_str(), path);
        // Whoever has it sends; the others wait behind it, in order.
        let mut bucket = bucket.lock().await;
        let mut patience = PATIENCE;
        let mut tries = 1;
        loop {
            let wait = self.limits.wait(&bucket, path);
            let Some(left) = patience.checked_sub(wait) else { return Err(ApiError::Later(wait)) };
            patience = left;
            tokio::time::sleep(wait).await;
            match self.http.ask(self.request(&method, path, &body)).await {
                Ok(reply) => {
                    if self.limits.note(&mut bucket, &reply).is_some() {
                        continue;
                    }
                    if (200..300).contains(&reply.status) {
                        return Ok(reply);
                    }
                    if reply.status < 500 || !is_repeatable(&method) || tries == TRIES {
                        return Err(refusal(&reply));
                    }
                }
                Err(error) if !is_repeatable(&method) || tries == TRIES => return Err(error.into()),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_secs(u64::from(tries))).await;
            tries += 1;
        }
    }

    /// Asks for a value.
    ///
    /// # Errors
    /// As [`Api::ask`]. What cannot be read is null.
    pub(super) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        let reply = self.ask(Method::GET, path, Body::Nothing).await?;
        Ok(serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    fn request(&self, method: &Method, path: &str, body: &Body) -> HttpRequest {
        // Their tokens are in the path, and the bot's is not theirs to see.
        let open = path.starts_with("/interactions/") || path.starts_with("/webhooks/");
        HttpRequest {
            method: method.clone(),
            url: format!("{}{path}", self.url.base),
            authorization: (!open).then(|| self.authorization.clone()),
            body: match body {
                Body::Nothing => None,
                Body::Json(value) => {
                    Some((HeaderValue::from_static("application/json"), Bytes::from(value.to_string())))
                }
                Body::Form(kind, bytes) => Some((kind.clone(), bytes.clone())),
            },
        }
    }
}

/// Whether asking twice does no more than asking once.
fn is_repeatable(method: &Method) -> bool {
    *method == Method::GET || *method == Method::PUT
}

fn refusal(reply: &HttpResponse) -> ApiError {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let message: String = body["message"].as_str().unwrap_or_default().chars().take(200).collect();
    ApiError::Refused { status: reply.status, code: body["code"].as_u64().unwrap_or(0), message }
}

/// What a refusal means.
fn words(status: u16, code: u64, message: &str) -> String {
    let known = match (status, code) {
        (401, _) => "Discord refuses the token",
        (_, 10003) => "the channel is gone",
        (_, 10008) => "the message is gone",
        (_, 10015 | 10062) => "the interaction is over",
        (_, 30046) => "the message is too old to be edited this often",
        (_, 50001) => "the bot may not see the channel",
        (_, 50007) => "this person takes no direct messages",
        (_, 50013) => "the bot may not do that in the channel",
        (413, _) | (_, 40005) => "it is too large for Discord",
        _ => "",
    };
    match (known.is_empty(), message.is_empty()) {
        (false, _) => known.to_owned(),
        (true, false) => format!("the server refused: {message} ({status})"),
        (true, true) => format!("the server refused ({status})"),
    }
}

impl From<ApiError> for SendError {
    fn from(error: ApiError) -> Self {
        let words = error.to_string();
        match error {
            ApiError::Later(wait) => Self::Later(wait),
            // It is refused for what it is, so it always will be.
            ApiError::Refused { status: 400 | 403 | 404 | 405 | 410 | 413, .. } => Self::Gone(words),
            ApiError::Refused { status: 500.., .. }
            | ApiError::Http(HttpError::Lost { .. } | HttpError::Slow(_) | HttpError::TooLong(_)) => {
                Self::Unsure(words)
            }
            ApiError::Refused { .. } | ApiError::Http(_) | ApiError::Token => Self::Failed(words),
        }
    }
}

/// The id that an answer names, if it names one.
pub(super) fn id_of(reply: &HttpResponse) -> Option<Id> {
    let value: Value = serde_json::from_slice(&reply.body).ok()?;
    serde_json::from_value(value.get("id")?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_it_means_and_whether_to_try_again() {
        let refused = |status, code, message: &str| {
            SendError::from(ApiError::Refused { status, code, message: message.to_owned() })
        };
        assert_eq!(refused(404, 10003, "Unknown Channel"), SendError::Gone("the channel is gone".to_owned()));
        assert_eq!(refused(403, 0, ""), SendError::Gone("the server refused (403)".to_owned()));
        assert_eq!(refused(500, 0, ""), SendError::Unsure("the server refused (500)".to_owned()));
        assert_eq!(refused(401, 0, "x"), SendError::Failed("Discord refuses the token".to_owned()));
    }

    #[test]
    fn an_id_is_read_from_a_number_too() {
        let reply =
            |body: &'static str| HttpResponse { status: 200, headers: hyper::HeaderMap::new(), body: body.into() };
        assert_eq!(
            id_of(&reply("{\"id\": 1573601509734655098}")).map(|id| id.to_string()).as_deref(),
            Some("1573601509734655098")
        );
        assert_eq!(id_of(&reply("{}")), None);
    }
}
