//! The network's channel: polls the file of what happens, appends to the file
//! of what is done. Who is called `owner` is one, whoever else is a talker.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use denizen::channel::{
    Accepted, AccessRole, Answer, Attachment, BoxFuture, Channel, ChannelClient, ChannelError, ChannelEvent,
    ChannelLimits, ChannelMessage, Connection, DOUBT, Examined, Fetch, FetchError, Invoked, NetworkState, PlaceChange,
    Post, PostedId, Pressed, SectionContext, SendError, StartContext, Stranger, unknown_key,
};
use denizen::config::Secret;
use denizen::config::keys::KeySpec;
use denizen::key::Key;
use denizen::session::{Address, Author};
use tokio::sync::oneshot;

use super::{Act, Done, read_lines};

/// The keys of its section.
const KEYS: &[&str] = &["token", "busy", "approval_timeout", "server"];

/// How many characters fit one message.
const PIECE: usize = 200;

pub(super) struct Files;

impl Channel for Files {
    fn name(&self) -> &'static str {
        "net"
    }

    fn keys(&self) -> &'static [KeySpec] {
        &[]
    }

    fn check(&self, section: &toml::Table, _context: SectionContext<'_>) -> Result<(), ChannelError> {
        match section.keys().find(|key| !KEYS.contains(&key.as_str())) {
            Some(key) => Err(unknown_key("net", key, KEYS.iter().copied())),
            None => Ok(()),
        }
    }

    fn start(&self, section: &toml::Table, context: StartContext<'_>) -> Result<Connection, ChannelError> {
        let server = PathBuf::from(section["server"].as_str().expect("a path"));
        assert_eq!(context.token.expose(), "sesame");
        append(&server.join("starts"), b"started\n");
        let network = Arc::new(Server { dir: server.clone() });
        let task = tokio::spawn(listen(server, context.state.join("position"), context.events, context.leave));
        Ok(Connection { network, task })
    }

    fn examine<'a>(
        &'a self,
        _section: &'a toml::Table,
        _context: SectionContext<'a>,
        _token: &'a Secret,
    ) -> BoxFuture<'a, Result<Vec<Examined>, ChannelError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Reports what happens, each thing once its predecessors were accepted.
async fn listen(
    server: PathBuf,
    position: PathBuf,
    events: tokio::sync::mpsc::Sender<ChannelEvent>,
    leave: denizen::channel::Leave,
) {
    let mut at: usize = fs_err::read_to_string(&position).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut down = None;
    let mut accepted: Vec<(usize, String, oneshot::Receiver<Accepted>)> = Vec::new();
    let mut reported = at;
    while !leave.is_asked() {
        let is_down = server.join("down").exists();
        if down != Some(is_down) {
            down = Some(is_down);
            let reason = "it is switched off".to_owned();
            let state = if is_down { NetworkState::Reconnecting { reason } } else { NetworkState::Connected };
            let _gone = events.send(ChannelEvent::State(state)).await;
        }
        let acts: Vec<Act> = read_lines(&server.join("in"));
        for (number, act) in acts.into_iter().enumerate().skip(reported) {
            if is_down {
                break;
            }
            reported = number + 1;
            let (tell, told) = oneshot::channel();
            let id = match &act {
                Act::Message { id, .. } => id.clone(),
                _ => String::new(),
            };
            accepted.push((number, id, told));
            let fatal = matches!(act, Act::Fatal);
            if events.send(heard(&server, act, tell)).await.is_err() {
                return;
            }
            if fatal {
                return;
            }
        }
        // The position moves only over what was accepted.
        accepted.retain_mut(|(number, id, told)| match told.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) if id.is_empty() => false,
            Err(oneshot::error::TryRecvError::Closed) => true,
            Ok(became) => {
                let what = if became == Accepted::Kept { "accepted" } else { "refused" };
                note(
                    &server,
                    &Done { what: what.to_owned(), id: id.clone(), text: number.to_string(), ..Done::default() },
                );
                false
            }
        });
        let next = accepted.first().map_or(reported, |(number, ..)| *number);
        if next != at {
            at = next;
            fs_err::write(position.with_extension("new"), at.to_string()).expect("written");
            fs_err::rename(position.with_extension("new"), &position).expect("renamed");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn heard(server: &Path, act: Act, accepted: oneshot::Sender<Accepted>) -> ChannelEvent {
    let key = |channel: &str| -> Key { format!("net-{channel}").parse().expect("a key") };
    let author = |from: &str| Author { id: from.to_owned(), name: format!("The {from}") };
    let standing = |from: &str| if from == "owner" { AccessRole::Owner } else { AccessRole::Talker };
    let address = |channel: &str, message: Option<String>| Address {
        network: "net".to_owned(),
        channel: channel.to_owned(),
        message,
    };
    let answer = |id: &str, channel: &str| -> Arc<dyn Answer> {
        Arc::new(Said { server: server.to_owned(), id: id.to_owned(), channel: channel.to_owned() })
    };
    match act {
        Act::Message { id, channel, from, text, files, late } => ChannelEvent::Message(ChannelMessage {
            key: key(&channel),
            title: Some(format!("#{channel}")),
            author: author(&from),
            standing: standing(&from),
            text,
            attachments: files
                .into_iter()
                .map(|(name, content)| Attachment {
                    name,
                    size: content.len() as u64,
                    fetch: Arc::new(Content(content)),
                })
                .collect(),
            agent: None,
            address: address(&channel, Some(id.clone())),
            id,
            late,
            accepted,
        }),
        Act::Command { id, channel, from, name, args } => ChannelEvent::Command(Invoked {
            key: key(&channel),
            title: None,
            by: author(&from),
            standing: standing(&from),
            name,
            args,
            address: address(&channel, None),
            answer: answer(&id, &channel),
        }),
        Act::Press { id, channel, from, button, message } => ChannelEvent::Button(Pressed {
            id: button,
            key: key(&channel),
            by: author(&from),
            standing: standing(&from),
            approver: from == "owner",
            address: address(&channel, Some(message)),
            answer: answer(&id, &channel),
        }),
        Act::Stranger { channel, from, .. } => {
            ChannelEvent::Stranger(Stranger { author: author(&from), address: address(&channel, None) })
        }
        Act::Renamed { channel, title } => ChannelEvent::Place(PlaceChange::Renamed { key: key(&channel), title }),
        Act::Archived { channel } => ChannelEvent::Place(PlaceChange::Archived(key(&channel))),
        Act::Revived { channel } => ChannelEvent::Place(PlaceChange::Revived(key(&channel))),
        Act::Deleted { channel } => ChannelEvent::Place(PlaceChange::Deleted(key(&channel))),
        Act::Fatal => ChannelEvent::State(NetworkState::Fatal {
            reason: "the token is wrong".to_owned(),
            remedy: Some("get another".to_owned()),
        }),
    }
}

struct Content(String);

impl Fetch for Content {
    fn fetch<'a>(&'a self, into: &'a mut (dyn Write + Send), most: u64) -> BoxFuture<'a, Result<(), FetchError>> {
        Box::pin(async move {
            if self.0 == "broken" {
                return Err(FetchError::Network("the server has lost it".to_owned()));
            }
            if self.0.len() as u64 > most {
                return Err(FetchError::TooLarge(most));
            }
            Ok(into.write_all(self.0.as_bytes())?)
        })
    }
}

/// The server, as the daemon speaks to it.
struct Server {
    dir: PathBuf,
}

impl Server {
    fn refuse(&self, to: &Address) -> Result<(), SendError> {
        if self.dir.join("down").exists() {
            return Err(SendError::Failed("the network is down".to_owned()));
        }
        if self.dir.join(format!("gone-{}", to.channel)).exists() {
            return Err(SendError::Gone("the channel was deleted".to_owned()));
        }
        Ok(())
    }

    fn done(&self, what: &str, to: &Address, post: &Post) -> Done {
        let files = post.files.iter().map(|upload| {
            let mut bytes = vec![0; usize::try_from(upload.size).expect("a size")];
            upload.file.read_exact_at(&mut bytes, 0).expect("read");
            (upload.name.clone(), String::from_utf8_lossy(&bytes).into_owned())
        });
        Done {
            what: what.to_owned(),
            channel: to.channel.clone(),
            text: post.text.clone(),
            buttons: post.buttons.iter().map(|button| (button.id.clone(), button.label.clone())).collect(),
            files: files.collect(),
            nonce: post.nonce.clone(),
            reply: to.message.clone().filter(|_| post.reply),
            ..Done::default()
        }
    }
}

impl ChannelClient for Server {
    fn limits(&self) -> ChannelLimits {
        ChannelLimits {
            file_bytes: 10_000,
            files: 2,
            pace: Duration::from_millis(30),
            typing: Duration::from_secs(8),
            nonces: (!self.dir.join("forgetful").exists()).then_some(Duration::from_secs(3600)),
        }
    }

    fn split(&self, text: &str) -> Vec<String> {
        let characters: Vec<char> = text.chars().collect();
        characters.chunks(PIECE - DOUBT.len()).map(|piece| piece.iter().collect()).collect()
    }

    fn verbatim(&self, text: &str) -> String {
        format!("```\n{}\n```", text.replace("```", "` ` `"))
    }

    fn post<'a>(&'a self, to: &'a Address, post: &'a Post) -> BoxFuture<'a, Result<PostedId, SendError>> {
        Box::pin(async move {
            self.refuse(to)?;
            assert!(post.text.chars().count() <= PIECE && post.files.len() <= 2, "{post:?}");
            assert!(post.nonce.as_ref().is_none_or(|nonce| nonce.len() <= 25), "{post:?}");
            let _alone = lock(&self.dir);
            let known: Vec<Done> = read_lines(&self.dir.join("out"));
            if let Some(nonce) = &post.nonce
                && self.limits().nonces.is_some()
                && let Some(found) = known.iter().find(|done| done.what == "post" && done.nonce.as_ref() == Some(nonce))
            {
                note(&self.dir, &Done { id: found.id.clone(), ..self.done("repeat", to, post) });
                return Ok(PostedId(found.id.clone()));
            }
            let id = (500_000 + known.len()).to_string();
            note(&self.dir, &Done { id: id.clone(), ..self.done("post", to, post) });
            let deaf = if post.buttons.is_empty() { "deaf-reply" } else { "deaf-progress" };
            if std::fs::remove_file(self.dir.join(deaf)).is_ok() {
                return Err(SendError::Unsure("the answer was lost".to_owned()));
            }
            let names_it = !self.dir.join("nameless").exists();
            Ok(PostedId(if names_it { id } else { String::new() }))
        })
    }

    fn edit<'a>(
        &'a self,
        to: &'a Address,
        posted: &'a PostedId,
        post: &'a Post,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            self.refuse(to)?;
            assert!(post.text.chars().count() <= PIECE, "{post:?}");
            if posted.0.is_empty() {
                return Err(SendError::Gone("nobody knows which message it is".to_owned()));
            }
            let _alone = lock(&self.dir);
            note(&self.dir, &Done { id: posted.0.clone(), ..self.done("edit", to, post) });
            Ok(())
        })
    }

    fn typing<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move { self.refuse(to) })
    }

    fn tell_owners<'a>(&'a self, text: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            note(&self.dir, &Done { what: "owners".to_owned(), text: text.to_owned(), ..Done::default() });
        })
    }
}

struct Said {
    server: PathBuf,
    id: String,
    channel: String,
}

impl Said {
    fn note(&self, what: &str, text: &str, ephemeral: bool) {
        let (what, text) = (what.to_owned(), text.to_owned());
        let (id, channel) = (self.id.clone(), self.channel.clone());
        note(&self.server, &Done { what, text, id, channel, ephemeral, ..Done::default() });
    }
}

impl Answer for Said {
    fn defer(&self, ephemeral: bool) -> BoxFuture<'_, Result<(), SendError>> {
        Box::pin(async move {
            self.note("defer", "", ephemeral);
            Ok(())
        })
    }

    fn acknowledge(&self) -> BoxFuture<'_, Result<(), SendError>> {
        Box::pin(async move {
            self.note("answer", "", true);
            Ok(())
        })
    }

    fn reply<'a>(&'a self, text: &'a str, ephemeral: bool) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            self.note("answer", text, ephemeral);
            Ok(())
        })
    }
}

fn note(server: &Path, done: &Done) {
    let mut line = serde_json::to_vec(done).expect("JSON");
    line.push(b'\n');
    append(&server.join("out"), &line);
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = fs_err::OpenOptions::new().read(true).append(true).create(true).open(path).expect("a file");
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(-1)).is_ok() {
        file.read_exact(&mut last).expect("read");
    }
    // What was being written when the daemon was killed ends where a page ended.
    let torn: &[u8] = if last == *b"\n" { b"" } else { b"\n" };
    file.write_all(&[torn, bytes].concat()).expect("written");
}

/// A server does one thing after another.
fn lock(server: &Path) -> std::fs::File {
    let file = std::fs::File::options().write(true).create(true).truncate(false).open(server.join("lock"));
    let file = file.expect("a file");
    file.lock().expect("locked");
    file
}
