//! A daemon in a process of its own, on a network that is in its memory: many
//! channels talk at once, and it is measured how long all replies take.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use denizen::channel::{
    Accepted, AccessRole, BoxFuture, Channel, ChannelClient, ChannelError, ChannelEvent, ChannelLimits, ChannelMessage,
    Connection, Examined, NetworkState, Post, PostedId, SectionContext, SendError, StartContext,
};
use denizen::config::keys::KeySpec;
use denizen::config::{Config, ConfigInputs, Environment, Secret};
use denizen::daemon::{self, ConfigSource, Serve, ShutdownStage};
use denizen::ops::Control;
use denizen::session::{Address, Author, Store};
use denizen::turn::Setup;
use tokio::sync::{oneshot, watch};

use super::{measure, product};

/// What a daemon needed for everything.
pub(crate) struct Needed {
    /// The time until every reply was there, in seconds.
    pub(crate) seconds: f64,
    /// The most memory that it had, in MiB.
    pub(crate) peak: f64,
    /// Whether each channel got its replies in order.
    pub(crate) ordered: bool,
}

/// Lets so many channels write so many messages each to a daemon of this root.
pub(crate) fn talk(root: &Path, channels: usize, messages: usize) -> Needed {
    let me = std::env::current_exe().expect("this program");
    let mut command = Command::new(me);
    command.arg("__serve").arg(root).args([channels.to_string(), messages.to_string()]);
    let output = command.stderr(Stdio::null()).output().expect("started");
    let text = String::from_utf8(output.stdout).expect("text");
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [seconds, peak, ordered] = numbers.as_slice() else { panic!("the daemon said `{text}`") };
    Needed { seconds: *seconds, peak: *peak, ordered: *ordered > 0.0 }
}

/// That process: `__serve ROOT CHANNELS MESSAGES`.
pub(crate) fn serve(args: &[String]) -> ExitCode {
    let [root, channels, messages] = args else { return ExitCode::FAILURE };
    let root = Path::new(root);
    let (channels, messages) = (channels.parse().expect("a number"), messages.parse().expect("a number"));
    let environment = Environment::default();
    let file = root.join("denizen.toml");
    let inputs =
        ConfigInputs { root, home: None, file: &file, required: true, environment: &environment, overrides: &[] };
    let config = Config::load(inputs).expect("a configuration");
    let store = Arc::new(Store::at(root, config.durability));
    let setup = Setup::attended(config, environment.clone(), None, product::program());
    let source = ConfigSource {
        root: root.to_owned(),
        home: None,
        file,
        required: true,
        environment,
        overrides: Vec::new(),
        here: root.to_owned(),
    };
    let (say, stage) = watch::channel(ShutdownStage::Serve);
    let heard = Arc::new(Replies { missing: Mutex::new(channels * messages), done: say, order: Mutex::default() });
    let load: &'static Load = Box::leak(Box::new(Load { channels, messages, heard: heard.clone() }));
    let networks: &'static [&'static dyn Channel] = Box::leak(Box::new([load as &'static dyn Channel]));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime");
    let started = Instant::now();
    let serve = Serve { control: Control { setup: Arc::new(setup), store }, source, channels: networks };
    let result = runtime.block_on(daemon::run(serve, stage));
    let seconds = started.elapsed().as_secs_f64();
    result.expect("served");
    let replies = heard.order.lock().expect("unharmed");
    let expected: Vec<usize> = (0..messages).collect();
    let ordered = replies.len() == channels && replies.values().all(|order| *order == expected);
    println!("{seconds} {} {}", measure::memory().1, u8::from(ordered));
    ExitCode::SUCCESS
}

/// A network in memory.
struct Load {
    channels: usize,
    messages: usize,
    heard: Arc<Replies>,
}

/// What was said there.
struct Replies {
    /// How many replies are missing.
    missing: Mutex<usize>,
    done: watch::Sender<ShutdownStage>,
    /// Which messages were answered in each channel, in order.
    order: Mutex<BTreeMap<String, Vec<usize>>>,
}

impl Channel for Load {
    fn name(&self) -> &'static str {
        "load"
    }

    fn keys(&self) -> &'static [KeySpec] {
        &[]
    }

    fn check(&self, _section: &toml::Table, _context: SectionContext<'_>) -> Result<(), ChannelError> {
        Ok(())
    }

    fn start(&self, _section: &toml::Table, context: StartContext<'_>) -> Result<Connection, ChannelError> {
        let (channels, messages) = (self.channels, self.messages);
        let (events, leave) = (context.events, context.leave);
        let task = tokio::spawn(async move {
            let _gone = events.send(ChannelEvent::State(NetworkState::Connected)).await;
            let mut waiting = Vec::new();
            for message in 0..messages {
                for channel in 0..channels {
                    let (accepted, told) = oneshot::channel();
                    waiting.push(told);
                    if events.send(ChannelEvent::Message(incoming(channel, message, accepted))).await.is_err() {
                        return;
                    }
                }
            }
            for told in waiting {
                assert_eq!(told.await, Ok(Accepted::Kept));
            }
            leave.asked().await;
        });
        Ok(Connection { network: Arc::new(Spoken(self.heard.clone())), task })
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

fn incoming(channel: usize, message: usize, accepted: oneshot::Sender<Accepted>) -> ChannelMessage {
    let id = format!("{channel}-{message}");
    let address = Address { network: "load".to_owned(), channel: channel.to_string(), message: Some(id.clone()) };
    ChannelMessage {
        key: format!("load-{channel}").parse().expect("a key"),
        title: None,
        author: Author { id: "1".to_owned(), name: "Ann".to_owned() },
        standing: AccessRole::Talker,
        text: format!("message {message}"),
        attachments: Vec::new(),
        agent: None,
        address,
        id,
        late: false,
        accepted,
    }
}

/// What the provider of the benchmark says, whole.
const REPLY: &str = r#"{"reply":"ok"}"#;

struct Spoken(Arc<Replies>);

impl ChannelClient for Spoken {
    fn limits(&self) -> ChannelLimits {
        ChannelLimits {
            file_bytes: 1 << 20,
            files: 10,
            pace: Duration::from_millis(1200),
            typing: Duration::from_secs(8),
            nonces: Some(Duration::from_secs(60)),
        }
    }

    fn split(&self, text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    fn verbatim(&self, text: &str) -> String {
        text.to_owned()
    }

    fn post<'a>(&'a self, to: &'a Address, post: &'a Post) -> BoxFuture<'a, Result<PostedId, SendError>> {
        Box::pin(async move {
            if post.text.trim() == REPLY {
                let number = to.message.as_ref().and_then(|id| id.split('-').nth(1)?.parse().ok()).expect("a number");
                self.0.order.lock().expect("unharmed").entry(to.channel.clone()).or_default().push(number);
                let mut missing = self.0.missing.lock().expect("unharmed");
                *missing -= 1;
                if *missing == 0 {
                    let _gone = self.0.done.send(ShutdownStage::Leave);
                }
            }
            Ok(PostedId("1".to_owned()))
        })
    }

    fn edit<'a>(
        &'a self,
        to: &'a Address,
        _posted: &'a PostedId,
        post: &'a Post,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move { self.post(to, post).await.map(|_| ()) })
    }

    fn typing<'a>(&'a self, _to: &'a Address) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async { Ok(()) })
    }

    fn tell_owners<'a>(&'a self, _text: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

/// The real program from its start until it says that it is ready, in
/// milliseconds, and its memory a moment later, in MiB. Its network cannot be
/// reached.
pub(crate) fn ready(root: &Path) -> (f64, f64) {
    let path = root.join("ready.socket");
    let _old = std::fs::remove_file(&path);
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let started = Instant::now();
    let mut daemon = Command::new(product::program())
        .arg("serve")
        .env_clear()
        .env("DENIZEN_ROOT", root)
        .env("NOTIFY_SOCKET", &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let mut heard = [0; 16];
    socket.recv(&mut heard).expect("word that it is ready");
    let took = started.elapsed().as_secs_f64() * 1e3;
    std::thread::sleep(Duration::from_millis(300));
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("its state");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kilobytes: f64 = line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number");
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    daemon.wait().expect("its end");
    (took, kilobytes / 1024.0)
}
