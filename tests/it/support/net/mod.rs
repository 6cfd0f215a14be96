//! A chat network that is a directory: what the test does there is appended to
//! one file, what the daemon posts to another. Its server outlives the daemon,
//! honours nonces or not, and can be down.
//!
//! The daemon itself runs in a process of its own, which can be killed: the
//! test program again, started with the one test that is only ever run so.

mod channel;
mod serve;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::fake::{Running, until};
use super::root::{Output, Root, write};

/// What is said or done in the network, one line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Act {
    Message {
        id: String,
        channel: String,
        from: String,
        text: String,
        #[serde(default)]
        files: Vec<(String, String)>,
        #[serde(default)]
        late: bool,
    },
    Command {
        id: String,
        channel: String,
        from: String,
        name: String,
        args: Vec<(String, String)>,
    },
    Press {
        id: String,
        channel: String,
        from: String,
        button: String,
        message: String,
    },
    Stranger {
        id: String,
        channel: String,
        from: String,
    },
    Renamed {
        channel: String,
        title: String,
    },
    Archived {
        channel: String,
    },
    Revived {
        channel: String,
    },
    Deleted {
        channel: String,
    },
    Fatal,
}

/// What the daemon did there, one line each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Done {
    /// `post`, `repeat`, `edit`, `answer`, `owners`, `accepted`, `refused`.
    pub(crate) what: String,
    pub(crate) channel: String,
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) buttons: Vec<(String, String)>,
    pub(crate) files: Vec<(String, String)>,
    pub(crate) nonce: Option<String>,
    pub(crate) ephemeral: bool,
    pub(crate) reply: Option<String>,
}

/// A message as it stands in a channel now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) buttons: Vec<(String, String)>,
    pub(crate) files: Vec<(String, String)>,
    /// The message that it answers.
    pub(crate) reply: Option<String>,
}

/// The network, as the test sees it.
pub(crate) struct Net {
    dir: PathBuf,
    next: std::cell::Cell<u64>,
}

impl Net {
    /// A network beside a root.
    pub(crate) fn new(root: &Root) -> Self {
        let dir = root.dir().join("net");
        fs_err::create_dir_all(&dir).expect("a directory");
        Self { dir, next: std::cell::Cell::new(1) }
    }

    /// The section that connects a daemon to it.
    pub(crate) fn section(&self) -> String {
        format!("[channels.net]\ntoken = \"sesame\"\nserver = \"{}\"\n", self.dir.display())
    }

    /// Starts a daemon, and waits until it is ready.
    pub(crate) fn serve(&self, root: &Root) -> Running {
        let daemon = self.start(root);
        self.until_ready(1);
        daemon
    }

    /// Starts a daemon.
    pub(crate) fn start(&self, root: &Root) -> Running {
        let _removed = fs_err::remove_file(self.dir.join("starts"));
        Running::start(serve::command(root))
    }

    /// Waits until the network was started so often since the daemon was.
    pub(crate) fn until_ready(&self, starts: usize) {
        until("start of the network", || {
            let text = fs_err::read_to_string(self.dir.join("starts")).unwrap_or_default();
            if text.lines().count() >= starts { Ok(()) } else { Err(text) }
        });
    }

    fn act(&self, act: &Act) {
        let mut file = fs_err::OpenOptions::new().append(true).create(true).open(self.dir.join("in")).expect("a file");
        let mut line = serde_json::to_vec(act).expect("JSON");
        line.push(b'\n');
        file.write_all(&line).expect("written");
    }

    fn id(&self) -> String {
        let id = self.next.get();
        self.next.set(id + 1);
        format!("{}", 1000 + id)
    }

    /// Somebody writes a message; gives its id.
    pub(crate) fn say(&self, channel: &str, from: &str, text: &str) -> String {
        self.send(channel, from, text, &[], false)
    }

    pub(crate) fn send(&self, channel: &str, from: &str, text: &str, files: &[(&str, &str)], late: bool) -> String {
        let id = self.id();
        let files = files.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect();
        let (channel, from, text) = (channel.to_owned(), from.to_owned(), text.to_owned());
        self.act(&Act::Message { id: id.clone(), channel, from, text, files, late });
        id
    }

    /// A message that the network repeats.
    pub(crate) fn repeat(&self, id: &str, channel: &str, from: &str, text: &str) {
        let (id, channel, from, text) = (id.to_owned(), channel.to_owned(), from.to_owned(), text.to_owned());
        self.act(&Act::Message { id, channel, from, text, files: Vec::new(), late: false });
    }

    /// Somebody gives a command; gives the answer.
    pub(crate) fn command(&self, channel: &str, from: &str, line: &str) -> Done {
        let id = self.give(channel, from, line);
        self.answer(&id)
    }

    /// Somebody gives a command.
    pub(crate) fn give(&self, channel: &str, from: &str, line: &str) -> String {
        let id = self.id();
        let mut words = line.splitn(2, ' ');
        let name = words.next().expect("a name").trim_start_matches('/').to_owned();
        let spec = denizen::ops::commands::find(&name);
        let arg = spec.and_then(|spec| spec.args.first()).map_or("unknown", |arg| arg.name);
        let args = words.next().map(|value| (arg.to_owned(), value.to_owned())).into_iter().collect();
        self.act(&Act::Command { id: id.clone(), channel: channel.to_owned(), from: from.to_owned(), name, args });
        id
    }

    /// The answer to a command or a button.
    pub(crate) fn answer(&self, id: &str) -> Done {
        until(&format!("answer to {id}"), || {
            let done = self.done();
            done.iter().find(|done| done.what == "answer" && done.id == id).cloned().ok_or_else(|| format!("{done:#?}"))
        })
    }

    /// Somebody presses a button of a message; gives the answer.
    pub(crate) fn press(&self, channel: &str, from: &str, message: &Shown, label: &str) -> Done {
        let button = message.buttons.iter().find(|(_, found)| found == label).expect("the button").0.clone();
        self.press_id(channel, from, &message.id, &button)
    }

    pub(crate) fn press_id(&self, channel: &str, from: &str, message: &str, button: &str) -> Done {
        let id = self.id();
        let (channel, from) = (channel.to_owned(), from.to_owned());
        let (button, message) = (button.to_owned(), message.to_owned());
        self.act(&Act::Press { id: id.clone(), channel, from, button, message });
        self.answer(&id)
    }

    pub(crate) fn stranger(&self, from: &str) {
        self.act(&Act::Stranger { id: self.id(), channel: format!("dm-{from}"), from: from.to_owned() });
    }

    pub(crate) fn happens(&self, act: &Act) {
        self.act(act);
    }

    /// Switches the network off, or on again.
    pub(crate) fn down(&self, down: bool) {
        self.switch("down", down);
    }

    /// Makes the network honour no nonces.
    pub(crate) fn without_nonces(&self) {
        self.switch("forgetful", true);
    }

    /// Lets posts be answered without the id of the message.
    pub(crate) fn without_ids(&self) {
        self.switch("nameless", true);
    }

    /// Loses the answer to the next post that is a `reply`, or shows `progress`.
    pub(crate) fn lose_the_answer_to(&self, post: &str) {
        self.switch(&format!("deaf-{post}"), true);
    }

    /// Deletes a channel, as far as posts are concerned.
    pub(crate) fn gone(&self, channel: &str) {
        self.switch(&format!("gone-{channel}"), true);
    }

    fn switch(&self, name: &str, on: bool) {
        let path = self.dir.join(name);
        if on { write(&path, "") } else { fs_err::remove_file(path).expect("removed") }
    }

    /// Everything that the daemon did.
    pub(crate) fn done(&self) -> Vec<Done> {
        read_lines(&self.dir.join("out"))
    }

    /// The messages in a channel, as they stand now.
    pub(crate) fn shown(&self, channel: &str) -> Vec<Shown> {
        let mut shown: BTreeMap<u64, Shown> = BTreeMap::new();
        for done in self.done().into_iter().filter(|done| done.channel == channel) {
            if done.what == "post" || done.what == "edit" {
                let number = done.id.parse().expect("a number");
                let files = if done.what == "edit" {
                    shown.get(&number).map(|known| known.files.clone()).unwrap_or_default()
                } else {
                    done.files
                };
                shown.insert(
                    number,
                    Shown { id: done.id, text: done.text, buttons: done.buttons, files, reply: done.reply },
                );
            }
        }
        shown.into_values().collect()
    }

    /// The texts in a channel.
    pub(crate) fn texts(&self, channel: &str) -> Vec<String> {
        self.shown(channel).into_iter().map(|shown| shown.text).collect()
    }

    /// Waits until a message of a channel says exactly this.
    pub(crate) fn until_says(&self, channel: &str, text: &str) -> Shown {
        self.until_shown(channel, |shown| shown.text == text)
    }

    /// Waits until a message of a channel is so.
    pub(crate) fn until_shown(&self, channel: &str, is_it: impl Fn(&Shown) -> bool) -> Shown {
        until(&format!("message in {channel}"), || {
            let shown = self.shown(channel);
            shown.iter().find(|shown| is_it(shown)).cloned().ok_or_else(|| format!("{shown:#?}"))
        })
    }

    /// Waits until the message of an id was accepted.
    pub(crate) fn until_accepted(&self, id: &str) {
        until(&format!("acceptance of {id}"), || {
            let done = self.done();
            let accepted = done.iter().any(|done| done.what == "accepted" && done.id == id);
            if accepted { Ok(()) } else { Err(format!("{done:?}")) }
        });
    }
}

/// Ends a daemon as a supervisor does.
pub(crate) fn end(daemon: Running) -> Output {
    daemon.signal(Signal::TERM);
    let output = daemon.end();
    assert_eq!(output.code, Some(0), "{output:#?}");
    output
}

/// Waits until every message of a session is answered: its queue is empty.
pub(crate) fn until_answered(root: &Root, key: &str) {
    until("an empty queue", || {
        let pending = root.ok(&["pending", key]);
        if pending.is_empty() { Ok(()) } else { Err(pending) }
    });
}

/// The lines of a file that are whole. One that a kill tore is none: nobody was
/// told that it was written.
fn read_lines<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = fs_err::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let whole = whole.lines().filter(|line| line.ends_with('}'));
    whole.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
