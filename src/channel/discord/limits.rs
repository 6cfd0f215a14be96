//! When the next request may be sent: what the server said in headers and in
//! refusals, per kind of request and for all together. A server that says
//! nothing is asked freely, and one that refuses without a time is given some.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::super::http::HttpResponse;

/// How many kinds of requests are remembered before old ones are forgotten.
const MOST_BUCKETS: usize = 512;

/// The longest time that a server is believed.
const LONGEST: Duration = Duration::from_secs(3600);

/// What is known of the limits.
#[derive(Debug, Default)]
pub(super) struct RateLimits {
    buckets: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Bucket>>>>,
    everything: Mutex<Option<Instant>>,
}

/// One kind of request: who has it is the only one to send.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    free: Option<Instant>,
    refusals: u32,
}

impl RateLimits {
    /// The bucket of a request.
    pub(super) fn bucket(&self, method: &str, path: &str) -> Arc<tokio::sync::Mutex<Bucket>> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > MOST_BUCKETS {
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1);
        }
        Arc::clone(buckets.entry(bucket_name(method, path)).or_default())
    }

    /// How long a request has to wait yet.
    pub(super) fn wait(&self, bucket: &Bucket, path: &str) -> Duration {
        let everything = *self.everything.lock().unwrap_or_else(PoisonError::into_inner);
        // Answers to interactions do not count with the others.
        let everything = everything.filter(|_| !path.starts_with("/interactions/"));
        let free = bucket.free.into_iter().chain(everything).max();
        free.map_or(Duration::ZERO, |free| free.saturating_duration_since(Instant::now()))
    }

    /// Notes what an answer says. Gives how long it asks to wait, where it is a
    /// refusal.
    pub(super) fn note(&self, bucket: &mut Bucket, reply: &HttpResponse) -> Option<Duration> {
        let number = |name: &str| {
            let value = reply.headers.get(name)?.to_str().ok()?;
            value.trim().parse::<f64>().ok()
        };
        if reply.status != 429 {
            bucket.refusals = 0;
            if number("x-ratelimit-remaining").is_some_and(|left| left < 1.0) {
                let after = || number("x-ratelimit-reset").map(|at| at - now());
                let span = number("x-ratelimit-reset-after").or_else(after).and_then(span);
                bucket.free = span.map(|span| Instant::now() + span);
            }
            return None;
        }
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let said = body["retry_after"].as_f64().or_else(|| body["retry_after"].as_str()?.parse().ok());
        let said = said.or_else(|| number("retry-after")).or_else(|| number("x-ratelimit-reset-after"));
        bucket.refusals = (bucket.refusals + 1).min(6);
        let own = Duration::from_secs(1 << (bucket.refusals - 1));
        let span = said.and_then(span).unwrap_or(own).max(Duration::from_millis(50));
        let free = Instant::now() + span;
        let global = body["global"].as_bool().unwrap_or(false) || reply.headers.contains_key("x-ratelimit-global");
        if global {
            *self.everything.lock().unwrap_or_else(PoisonError::into_inner) = Some(free);
        } else {
            bucket.free = Some(free);
        }
        Some(span)
    }
}

/// Seconds of Unix time.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn span(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().map(|span| span.min(LONGEST))
}

/// Method and path, with the ids that do not count replaced: what is left is
/// limited together.
fn bucket_name(method: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or(path);
    let mut name = method.to_owned();
    // Each interaction is limited by itself, and must not wait for another.
    if path.starts_with("/interactions/") || path.starts_with("/webhooks/") {
        name.push_str(path);
        return name;
    }
    let mut before = "";
    for part in path.split('/').skip(1) {
        let major = matches!(before, "channels" | "guilds" | "applications");
        let id = part.bytes().any(|byte| byte.is_ascii_digit());
        name.push('/');
        name.push_str(if id && !major { ":id" } else { part });
        before = part;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> HttpResponse {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        HttpResponse { status, headers: headers.collect(), body: body.into() }
    }

    #[test]
    fn requests_are_limited_by_channel_and_kind() {
        assert_eq!(bucket_name("POST", "/channels/1/messages"), "POST/channels/1/messages");
        assert_eq!(bucket_name("PATCH", "/channels/1/messages/2"), "PATCH/channels/1/messages/:id");
        assert_eq!(bucket_name("GET", "/channels/1/messages?after=3"), "GET/channels/1/messages");
        assert_eq!(bucket_name("POST", "/interactions/1/tok-2/callback"), "POST/interactions/1/tok-2/callback");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_says_is_kept_to() {
        let limits = RateLimits::default();
        let mut bucket = Bucket::default();
        assert_eq!(limits.note(&mut bucket, &reply(200, &[], "")), None);
        assert_eq!(limits.wait(&bucket, "/channels/1"), Duration::ZERO);
        let last = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "1.5")];
        assert_eq!(limits.note(&mut bucket, &reply(200, &last, "")), None);
        assert_eq!(limits.wait(&bucket, "/channels/1"), Duration::from_millis(1500));
        for (headers, body, waited) in [
            (&[][..], "{\"retry_after\": 0.25}", 250),
            (&[("retry-after", "2")][..], "<html>", 2000),
            (&[("x-ratelimit-reset-after", "3.0")][..], "", 3000),
            (&[][..], "{\"retry_after\": -1}", 8000),
            (&[][..], "{\"retry_after\": 1e300}", 16_000),
        ] {
            let asked = limits.note(&mut bucket, &reply(429, headers, body));
            assert_eq!(asked, Some(Duration::from_millis(waited)), "{body}");
        }
        assert_eq!(limits.wait(&Bucket::default(), "/channels/1"), Duration::ZERO);
        assert!(limits.note(&mut bucket, &reply(429, &[], "{\"retry_after\": 4, \"global\": true}")).is_some());
        assert_eq!(limits.wait(&Bucket::default(), "/channels/2"), Duration::from_secs(4));
        assert_eq!(limits.wait(&Bucket::default(), "/interactions/1/t/callback"), Duration::ZERO);
    }
}
