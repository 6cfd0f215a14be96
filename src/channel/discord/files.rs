//! Files: those that come with messages, and those that are sent.
//!
//! What a stranger calls a file is text: it is never a path, and what is not
//! plain in it is replaced. Files are fetched only from hosts that Discord keeps
//! them on.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::HeaderValue;
use serde_json::Value;

use super::rest::Api;
use super::section::checked_url;
use super::wire::File;
use crate::channel::{Attachment, BoxFuture, Fetch, FetchError, SendError, Upload};
use crate::unseen::is_unseen;

/// Where Discord keeps files.
const HOSTS: [&str; 2] = ["cdn.discordapp.com", "media.discordapp.net"];

/// How many files of a message are taken, as many as Discord lets a person send.
const MOST_FILES: usize = 10;

/// The longest name, in bytes.
const MOST_NAME: usize = 100;

/// The files of a message.
pub(super) fn attachments(api: &Arc<Api>, files: &[File]) -> Vec<Attachment> {
    let files = files.iter().take(MOST_FILES);
    files
        .map(|file| Attachment {
            name: safe_name(&file.filename),
            size: file.size,
            fetch: Arc::new(Remote { api: Arc::clone(api), url: file.url.clone() }),
        })
        .collect()
}

/// A name that is one component of a path and nothing else.
fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |c: char| match c {
        c if is_unseen(c) => None,
        c if c.is_whitespace() || "<>:\"|?*".contains(c) => Some('_'),
        c => Some(c),
    };
    let name: String = last.chars().filter_map(plain).collect();
    let name = name.trim_start_matches(['.', '-', '_']).trim_end_matches('.');
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= 16 => (stem, format!(".{ending}")),
        _ => (name, String::new()),
    };
    let room = MOST_NAME - ending.len();
    let mut cut = stem.len().min(room);
    while !stem.is_char_boundary(cut) {
        cut -= 1;
    }
    if stem.is_empty() { "file".to_owned() } else { format!("{}{ending}", &stem[..cut]) }
}

/// A file in Discord.
struct Remote {
    api: Arc<Api>,
    url: String,
}

impl Remote {
    /// Whether the file lies where files of this server lie.
    fn is_trusted(&self) -> bool {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        let Some(uri) = checked_url(url, &["https", "http"]) else { return false };
        let host = uri.host().unwrap_or_default();
        let api = self.api.url();
        let of_discord = uri.scheme_str() == Some("https") && uri.port().is_none() && HOSTS.contains(&host);
        // Other servers keep them themselves.
        of_discord || (!api.is_discord && host.eq_ignore_ascii_case(&api.host))
    }
}

impl Fetch for Remote {
    fn fetch<'a>(&'a self, into: &'a mut (dyn Write + Send), most: u64) -> BoxFuture<'a, Result<(), FetchError>> {
        Box::pin(async move {
            if !self.is_trusted() {
                return Err(FetchError::Network("it does not lie on a host of the network".to_owned()));
            }
            self.api.http.download(&self.url, into, most).await
        })
    }
}

/// A form with a message and its files.
pub(super) async fn form(message: Value, files: &[Upload]) -> Result<(HeaderValue, Bytes), SendError> {
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let kind = format!("multipart/form-data; boundary={boundary}");
    let kind = HeaderValue::try_from(kind).map_err(|_| SendError::Failed("a form could not be made".to_owned()))?;
    let files = files.to_vec();
    let body = tokio::task::spawn_blocking(move || {
        let mut form = Vec::new();
        let head = "Content-Disposition: form-data; name=\"payload_json\"\r\nContent-Type: application/json";
        write!(form, "--{boundary}\r\n{head}\r\n\r\n{message}\r\n")?;
        for (number, upload) in files.iter().enumerate() {
            let name = safe_name(&upload.name);
            let head = format!("Content-Disposition: form-data; name=\"files[{number}]\"; filename=\"{name}\"");
            write!(form, "--{boundary}\r\n{head}\r\nContent-Type: application/octet-stream\r\n\r\n")?;
            let start = form.len();
            form.resize(start + usize::try_from(upload.size).unwrap_or(usize::MAX), 0);
            upload.file.read_exact_at(&mut form[start..], 0)?;
            form.extend_from_slice(b"\r\n");
        }
        write!(form, "--{boundary}--\r\n")?;
        Ok::<_, std::io::Error>(form)
    });
    match body.await {
        Ok(Ok(body)) => Ok((kind, body.into())),
        // A file that cannot be read, or got shorter, will not be whole again.
        Ok(Err(error)) => Err(SendError::Gone(format!("a file could not be read: {error}"))),
        Err(error) => Err(SendError::Failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::discord::section::ApiUrl;
    use crate::config::Secret;

    #[test]
    fn a_name_is_never_a_path() {
        for (name, safe) in [
            ("notes.txt", "notes.txt"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Windows\\system32\\evil.exe", "evil.exe"),
            ("..", "file"),
            ("", "file"),
            (".bashrc", "bashrc"),
            ("--rm.txt", "rm.txt"),
            ("a\u{202e}txt.exe", "atxt.exe"),
            ("a\r\nContent-Type: x\"; b.txt", "aContent-Type__x_;_b.txt"),
            ("nul\0byte", "nulbyte"),
            ("naïve 日本.pdf", "naïve_日本.pdf"),
            ("trailing...", "trailing"),
        ] {
            assert_eq!(safe_name(name), safe, "{name:?}");
        }
        let long = safe_name(&format!("{}.tar.gz", "日".repeat(4000)));
        assert!(long.len() <= MOST_NAME && long.ends_with(".gz"), "{long}");
    }

    #[test]
    fn only_the_hosts_of_the_network_are_asked() {
        let trusted = |base: &str, host: &str, is_discord: bool, url: &str| {
            let url_of = ApiUrl { base: base.to_owned(), host: host.to_owned(), is_discord };
            let api = Api::new(url_of, &Secret::new("x")).expect("an API");
            Remote { api: Arc::new(api), url: url.to_owned() }.is_trusted()
        };
        let discord = |url: &str| trusted("https://discord.com/api/v10", "discord.com", true, url);
        assert!(discord("https://cdn.discordapp.com/attachments/1/2/a.png?ex=1&hm=2"));
        assert!(discord("https://media.discordapp.net/attachments/1/2/a.png"));
        for url in [
            "http://cdn.discordapp.com/a",
            "https://cdn.discordapp.com.evil.example/a",
            "https://cdn.discordapp.com@127.0.0.1/a",
            "https://cdn.discordapp.com:8443/a",
            "https://127.0.0.1/a",
            "http://169.254.169.254/latest/meta-data",
            "https://discord.com/api/v10/users/@me",
            "file:///etc/passwd",
            "",
        ] {
            assert!(!discord(url), "{url}");
        }
        let own = |url: &str| trusted("http://127.0.0.1:9/api/v10", "127.0.0.1", false, url);
        assert!(own("http://127.0.0.1:9/attachments/1/2/a") && !own("http://127.0.0.2:9/a"));
    }
}
