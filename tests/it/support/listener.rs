//! A chat network started without a daemon: the test takes what is reported,
//! and speaks through the network itself.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use denizen::channel::{
    Accepted, Answer, BoxFuture, CHANNELS, ChannelClient, ChannelEvent, ChannelMessage, Invoked, Leave, NetworkState,
    PlaceChange, Pressed, SectionContext, StartContext, Stranger, of,
};
use denizen::config::Secret;
use denizen::files::Durability;
use denizen::session::{Address, People, Store};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::discord::{Discord, TOKEN};

/// Longer than anything may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A network that runs in a thread of its own; it leaves with the value.
pub(crate) struct Listener {
    pub(crate) network: Arc<dyn ChannelClient>,
    handle: Handle,
    heard: mpsc::Receiver<ChannelEvent>,
    aside: VecDeque<ChannelEvent>,
    leave: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
    pub(crate) people: Arc<People>,
}

impl Listener {
    /// Starts Discord with more lines for its section. What it keeps is in `dir`.
    pub(crate) fn start(discord: &Discord, dir: &Path, section: &str) -> Self {
        Self::start_with(&discord.section(), dir, section, TOKEN)
    }

    /// Starts Discord with a section, more lines for it, and a token.
    pub(crate) fn start_with(section: &str, dir: &Path, more: &str, token: &str) -> Self {
        let text = format!("{section}{more}");
        let document: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
        let table = document["channels"]["discord"].as_table().expect("a section").clone();
        let dir: PathBuf = dir.to_owned();
        let people = Arc::new(People::of(Arc::new(Store::at(&dir, Durability::Process))));
        let (leave, left) = watch::channel(false);
        let (tell, heard) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let token = Secret::new(token);
        let thread = thread::spawn({
            let people = Arc::clone(&people);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let (events, mut received) = tokio::sync::mpsc::channel(4);
                    let state = dir.join("state/channels/discord");
                    fs_err::create_dir_all(&state).expect("its directory");
                    let agents = ["reviewer", "writer"];
                    let context = StartContext {
                        section: SectionContext { agents: &agents, root: &dir, home: None },
                        events,
                        state,
                        token,
                        durability: Durability::Process,
                        people,
                        leave: Leave::new(left),
                    };
                    let discord = of(CHANNELS, "discord").expect("the network");
                    let connection = discord.start(&table, context).unwrap_or_else(|error| panic!("{error}"));
                    ready.send((connection.network, Handle::current())).expect("the test waits");
                    while let Some(event) = received.recv().await {
                        // Nobody has to listen to the end.
                        let _heard = tell.send(event);
                    }
                    connection.task.await.expect("it ends");
                });
            }
        });
        let (network, handle) = started.recv().expect("a network");
        Self { network, handle, heard, aside: VecDeque::new(), leave, thread: Some(thread), people }
    }

    /// Runs a call of the network.
    pub(crate) fn run<T>(&self, call: BoxFuture<'_, T>) -> T {
        self.handle.block_on(call)
    }

    /// The next report that is wanted; others are kept for later.
    fn next<T>(&mut self, what: &str, mut wanted: impl FnMut(ChannelEvent) -> Result<T, Box<ChannelEvent>>) -> T {
        let mut others = VecDeque::new();
        while let Some(heard) = self.aside.pop_front() {
            match wanted(heard) {
                Ok(found) => {
                    others.append(&mut self.aside);
                    self.aside = others;
                    return found;
                }
                Err(other) => others.push_back(*other),
            }
        }
        self.aside = others;
        let end = Instant::now() + TIMEOUT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(heard) = self.heard.recv_timeout(left) else { panic!("not {what}, but {:#?}", self.aside) };
            match wanted(heard) {
                Ok(found) => return found,
                Err(other) => self.aside.push_back(*other),
            }
        }
    }

    /// The next message, not accepted yet.
    pub(crate) fn message(&mut self) -> ChannelMessage {
        self.next("a message", |heard| match heard {
            ChannelEvent::Message(incoming) => Ok(incoming),
            other => Err(Box::new(other)),
        })
    }

    /// The next message, which is kept.
    pub(crate) fn kept(&mut self) -> Taken {
        Taken::of(self.message())
    }

    pub(crate) fn command(&mut self) -> Invoked {
        self.next("a command", |heard| match heard {
            ChannelEvent::Command(invoked) => Ok(invoked),
            other => Err(Box::new(other)),
        })
    }

    pub(crate) fn button(&mut self) -> Pressed {
        self.next("a button", |heard| match heard {
            ChannelEvent::Button(pressed) => Ok(pressed),
            other => Err(Box::new(other)),
        })
    }

    pub(crate) fn stranger(&mut self) -> Stranger {
        self.next("a stranger", |heard| match heard {
            ChannelEvent::Stranger(stranger) => Ok(stranger),
            other => Err(Box::new(other)),
        })
    }

    /// Waits for a change of a place.
    pub(crate) fn place(&mut self, change: &PlaceChange) {
        self.next(&format!("{change:?}"), |heard| match heard {
            ChannelEvent::Place(found) if found == *change => Ok(()),
            other => Err(Box::new(other)),
        });
    }

    /// Waits until the connection stands.
    pub(crate) fn connected(&mut self) {
        self.next("a connection", |heard| match heard {
            ChannelEvent::State(NetworkState::Connected) => Ok(()),
            other => Err(Box::new(other)),
        });
    }

    /// The reason why the connection is made again.
    pub(crate) fn reconnecting(&mut self) -> String {
        self.next("a broken connection", |heard| match heard {
            ChannelEvent::State(NetworkState::Reconnecting { reason }) => Ok(reason),
            other => Err(Box::new(other)),
        })
    }

    /// Why the network gave up, and what to do.
    pub(crate) fn fatal(&mut self) -> (String, Option<String>) {
        self.next("the end", |heard| match heard {
            ChannelEvent::State(NetworkState::Fatal { reason, remedy }) => Ok((reason, remedy)),
            other => Err(Box::new(other)),
        })
    }

    /// Leaves. Gives what was reported and not taken.
    pub(crate) fn leave(mut self) -> Vec<ChannelEvent> {
        self.end();
        let mut left: Vec<ChannelEvent> = self.aside.drain(..).collect();
        left.extend(self.heard.try_iter());
        left
    }

    fn end(&mut self) {
        let _asked = self.leave.send(true);
        // Whoever waits for a message to be kept waits no longer.
        self.aside.extend(self.heard.try_iter());
        self.aside.retain(|heard| !matches!(heard, ChannelEvent::Message(_)));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the network panicked");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end();
    }
}

/// A message that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) key: String,
    pub(crate) title: Option<String>,
    pub(crate) author: (String, String),
    pub(crate) owner: bool,
    pub(crate) text: String,
    pub(crate) agent: Option<String>,
    pub(crate) address: Address,
    pub(crate) id: String,
    pub(crate) late: bool,
    pub(crate) files: Vec<String>,
}

impl Taken {
    fn of(incoming: ChannelMessage) -> Self {
        let taken = Self {
            key: incoming.key.to_string(),
            title: incoming.title,
            author: (incoming.author.id, incoming.author.name),
            owner: incoming.standing == denizen::channel::AccessRole::Owner,
            text: incoming.text,
            agent: incoming.agent,
            address: incoming.address,
            id: incoming.id,
            late: incoming.late,
            files: incoming.attachments.into_iter().map(|file| file.name).collect(),
        };
        accept(incoming.accepted);
        taken
    }
}

/// Says that a message is kept.
pub(crate) fn accept(accepted: oneshot::Sender<Accepted>) {
    accepted.send(Accepted::Kept).expect("the network waits");
}

/// Runs a call of an answer.
pub(crate) fn answered(listener: &Listener, answer: &Arc<dyn Answer>, text: &str, ephemeral: bool) {
    listener.run(answer.reply(text, ephemeral)).expect("answered");
}
