//! Providers: one file per agent CLI, each pure.
//!
//! A provider answers questions and does nothing: which of its files hold a
//! conversation, what its home must look like, how a turn is invoked, what a
//! line of its output means. `provider_home` performs the steps, `process` starts the
//! invocation, `turn` acts on the events.
//!
//! To add one: a file here, a `mod` line, an entry in `PROVIDERS`;
//! `docs/adding-a-provider.md` walks through it.

mod claude;
mod codex;
mod command;
mod environment;
mod gemini;
mod login;
mod notes;
mod opencode;
mod options;
mod permission;
mod turn;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::keys::KeySpec;
use crate::session::{PermissionMode, Usage};

pub use environment::{BASIC_VARIABLES, child_environment};
pub use login::{CopyVerdict, Ends, Field, LoginFile, LoginRules};
pub use options::{COMMON_KEYS, Options, OptionsError};
pub use permission::{Decision, PermissionRequest};
pub use turn::{Continuation, Files, LoginUser, Turn, TurnPaths};

/// All built-in providers. A section `[providers.<other name>]` is a `command`.
pub const PROVIDERS: &[&dyn Provider] =
    &[&claude::Claude, &codex::Codex, &opencode::OpenCode, &gemini::Gemini, &command::CommandProvider, &notes::Notes];

/// The order in which `auto` looks for an installed provider.
pub const AUTO: &[&str] = &["claude", "codex", "opencode", "gemini"];

/// One agent CLI.
pub trait Provider: Sync {
    /// Its name in commands, configuration and records.
    fn name(&self) -> &'static str;

    /// Its program, looked for in PATH where the configuration names no other.
    /// `None` if there is no usual one.
    fn program(&self) -> Option<&'static str>;

    /// The keys of its section beside [`COMMON_KEYS`].
    fn keys(&self) -> &'static [KeySpec] {
        &[]
    }

    /// The environment variables of its login and network, which its child
    /// inherits beside the basic ones.
    fn variables(&self) -> &'static [&'static str] {
        &[]
    }

    /// Where a person logs in: a command, or what to set.
    fn login_hint(&self) -> &'static str;

    /// The arguments with which it logs a person in, at a terminal. `None` if
    /// it has no login of its own.
    fn login_command(&self) -> Option<&'static [&'static str]> {
        None
    }

    /// Files in the user's home that hold its login, for `doctor`, relative to
    /// the home directory.
    fn login_files(&self) -> &'static [&'static str] {
        &[]
    }

    /// The files of the user that its child needs for the login and the choice of
    /// a model server, and nothing else of him.
    fn login(&self, user: &LoginUser<'_>) -> Vec<LoginFile> {
        let _ = user;
        Vec::new()
    }

    /// How the login in those files is renewed that it gets a copy of.
    fn login_rules(&self) -> &'static LoginRules {
        &LoginRules::FIXED
    }

    /// The directories that it makes as locks while it renews the login in
    /// `directory`, in their order.
    fn login_locks(&self, directory: &Path) -> Vec<PathBuf> {
        let _ = directory;
        Vec::new()
    }

    /// Whether, inside walls, these have to keep the session's folder as it is:
    /// where a CLI's own sandbox does so outside, which cannot be put up inside.
    /// `asks`: whether a person decides about what the agent may not do unasked.
    fn walls_keep_folder(&self, mode: PermissionMode, asks: bool) -> bool {
        let _ = (mode, asks);
        false
    }

    /// Whether it keeps its conversations in files below `provider/<name>/`. One
    /// that does not is trusted to know the ids that it was given.
    fn keeps_files(&self) -> bool {
        true
    }

    /// Whether a file, by its path below `provider/<name>/`, is what makes the
    /// conversation `id` resumable. `id` is untrusted text.
    fn is_conversation_file(&self, id: &str, file: &Path) -> bool;

    /// How a file below `provider/<name>/` is built, so that damage to it shows.
    fn format(&self, file: &Path) -> Format {
        if file.extension().is_some_and(|ending| ending == "jsonl") { Format::JsonLines } else { Format::Opaque }
    }

    /// What its home must look like before it is started.
    fn prepare(&self, turn: &Turn<'_>) -> Vec<Step>;

    /// The program, arguments, environment and input of a turn.
    ///
    /// # Errors
    /// If something that the invocation needs is missing.
    fn invocation(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError>;

    /// What reads the output of that invocation.
    fn parser(&self, turn: &Turn<'_>) -> Box<dyn Parser>;

    /// The invocation of its own terminal UI on the same conversation, where it
    /// has one.
    ///
    /// # Errors
    /// If it has none, or something that it needs is missing.
    fn attach(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        let _ = turn;
        Err(ProviderError::NoTerminal(self.name()))
    }

    /// What its home needs beside [`Provider::prepare`] for the terminal UI.
    fn prepare_terminal(&self, turn: &Turn<'_>) -> Vec<Step> {
        let _ = turn;
        Vec::new()
    }

    /// The id of the conversation that a file below `provider/<name>/` holds,
    /// where its name tells.
    fn id_in(&self, file: &Path) -> Option<String> {
        let _ = file;
        None
    }

    /// Where it keeps the conversations of somebody who uses it without Denizen.
    /// `None` if they cannot be taken over file by file.
    fn external_conversations(&self, user: &LoginUser<'_>) -> Option<ExternalConversations> {
        let _ = user;
        None
    }

    /// The prompt that makes it compact the conversation, if it has one.
    fn compact_prompt(&self) -> Option<&'static str> {
        None
    }
}

/// How a file is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON value a line; a file that only grows.
    JsonLines,
    /// A database of SQLite, with its log beside it.
    Sqlite,
    /// Nothing that could be checked.
    Opaque,
}

/// Where a CLI keeps the conversations of somebody who uses it without Denizen.
#[derive(Debug, Clone)]
pub struct ExternalConversations {
    /// The directory of all of them.
    pub dir: PathBuf,
    /// How they lie in it.
    pub layout: Layout,
    /// Directories that hold more of a conversation below its id, each with the
    /// directory below `provider/<name>/` where that belongs.
    pub more: Vec<(PathBuf, &'static str)>,
}

/// How conversations lie in a directory.
#[derive(Debug, Clone, Copy)]
pub enum Layout {
    /// `<name of the working directory>/<id>.jsonl`, beside it perhaps `<id>/`.
    ByWorkingDirectory(fn(&str) -> String),
    /// Files that [`Provider::id_in`] knows, in directories as Denizen keeps them.
    AsKept,
}

/// Reads what a provider prints, line by line.
pub trait Parser: Send {
    /// What a line of its standard output means. The line has no newline.
    fn line(&mut self, line: &str, events: &mut Vec<ProviderEvent>);

    /// What the end of the process means, after all lines. A turn is answered
    /// if there was an [`ProviderEvent::Done`] and no [`ProviderEvent::Failed`].
    fn end(&mut self, end: &ProcessEnd<'_>, events: &mut Vec<ProviderEvent>);

    /// How the provider is told what was decided about an [`ProviderEvent::Ask`]:
    /// usually an [`ProviderEvent::Send`].
    fn answer(&mut self, id: &str, decision: &Decision, events: &mut Vec<ProviderEvent>) {
        let _ = (id, decision, events);
    }
}

/// One thing that a provider's home needs. Paths in the home are relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A directory, with its parents.
    MakeDir(PathBuf),
    /// A symbolic link; whatever else stands there is replaced.
    Link {
        /// Where the link is, in the home.
        at: PathBuf,
        /// What it points to, absolute.
        to: PathBuf,
    },
    /// A file with this content.
    Write {
        /// Where the file is, in the home.
        at: PathBuf,
        /// Its content.
        content: Vec<u8>,
    },
    /// A directory below `provider/<name>/` in the session's folder.
    MakeConversationDir(&'static str),
    /// A directory below `provider/<name>/` whose files the CLI deletes by their
    /// age: none of them is older than a day when it starts.
    KeepRecent(&'static str),
    /// A program that has to run first, if the file below `provider/<name>/` exists.
    Run {
        /// The program.
        invocation: Invocation,
        /// The file.
        if_exists: &'static str,
    },
}

/// A child process to be: all but the directory it runs in, which only
/// `process::spawn` decides.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Invocation {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, beside what every provider inherits.
    pub env: Vec<(String, OsString)>,
    /// What it reads on standard input.
    pub stdin: Input,
}

/// What a child reads on standard input.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// All of it, known before the child is started.
    Whole(Vec<u8>),
    /// The first part of a conversation. Each [`ProviderEvent::Send`] adds to it, and
    /// the child reads its end once the turn is done. The child must not act on
    /// a part of it: what is written into a pipe can be cut short.
    Conversation(Vec<u8>),
}

impl Input {
    /// What is known of it before the child is started.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::Conversation(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Input {
    /// Without the input itself, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if matches!(self, Self::Conversation(_)) { ", and more" } else { "" };
        write!(f, "{} bytes{more}", self.bytes().len())
    }
}

impl Default for Input {
    fn default() -> Self {
        Self::Whole(Vec::new())
    }
}

impl fmt::Debug for Invocation {
    /// Without the values of the environment and the input: both may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("stdin", &self.stdin)
            .finish()
    }
}

impl Invocation {
    /// An invocation of a program without arguments.
    #[must_use]
    pub fn of(program: &Path) -> Self {
        Self { program: program.to_owned(), ..Self::default() }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl Into<OsString>) -> &mut Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item: Into<OsString>>>(&mut self, args: I) -> &mut Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

/// What a line of output means.
#[derive(Debug, Clone, PartialEq)]
pub enum ProviderEvent {
    /// The conversation's id, as soon as it is known.
    Conversation(String),
    /// A part of a text while it is produced; the whole follows as `Text`.
    Delta(String),
    /// A whole text of the reply. A reply may have several, around tools.
    Text(String),
    /// What the agent is doing, in a few words.
    Activity(String),
    /// The model server did not answer and is asked again, in a few words.
    Retry(String),
    /// Something the person should know.
    Notice(String),
    /// Which memory directory the provider says is in force.
    MemoryDirectory(PathBuf),
    /// What this turn used.
    Usage(Usage),
    /// What the conversation used so far, all turns together.
    TotalUsage(Usage),
    /// The provider is to be told this, on its standard input.
    Send(Vec<u8>),
    /// The agent asks for permission. [`Parser::answer`] gets the decision.
    Ask {
        /// What the provider calls the request.
        id: String,
        /// The request.
        request: PermissionRequest,
    },
    /// The provider no longer waits for the decision about that request.
    Withdrawn(String),
    /// The provider's own word that the turn is complete.
    Done,
    /// The turn failed.
    Failed(Failure),
}

impl ProviderEvent {
    /// Whether the model has said something, which it does to nobody who is not
    /// logged in.
    #[must_use]
    pub fn is_the_models(&self) -> bool {
        matches!(self, Self::Delta(_) | Self::Text(_) | Self::Activity(_) | Self::Ask { .. } | Self::Done)
    }
}

/// Why a turn failed at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What sort of failure.
    pub kind: FailureKind,
    /// The provider's own words, or ours.
    pub message: String,
}

/// The sorts of failure that are handled differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// There is no conversation of that id.
    ConversationUnknown,
    /// The id that was to be new is taken.
    ConversationInUse,
    /// The provider continued another conversation than the one asked for.
    ConversationOther,
    /// The account has to wait.
    RateLimited,
    /// Nobody is logged in, or the login is not accepted.
    NotLoggedIn,
    /// Anything else.
    Other,
}

impl Failure {
    /// A failure of a kind, with a message.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// How a provider's process ended.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnd<'a> {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The end of what it printed on standard error.
    pub stderr: &'a str,
}

impl ProcessEnd<'_> {
    /// The last few lines of what it printed on standard error, on one.
    #[must_use]
    pub fn last_words(&self) -> String {
        last_words(self.stderr)
    }

    /// The failure of a process that ended without a final word: its last lines
    /// on standard error, else how it ended.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let said = self.last_words();
        let message = match (said.is_empty(), self.code) {
            (false, _) => said,
            (true, Some(code)) => format!("it ended with exit code {code} and without a final event"),
            (true, None) => "a signal ended it".to_owned(),
        };
        Failure::new(FailureKind::Other, message)
    }
}

/// The last few lines of a text, on one, without colours.
fn last_words(text: &str) -> String {
    let plain = without_escapes(text);
    let lines: Vec<&str> = plain.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let words = lines[lines.len().saturating_sub(3)..].join(" · ");
    match words.char_indices().nth(500) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// The text without terminal escape sequences.
fn without_escapes(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// Why there is no invocation.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProviderError {
    /// The provider has no terminal UI of its own.
    #[error("the provider `{0}` has no terminal of its own")]
    NoTerminal(&'static str),
    /// The configuration lacks something.
    #[error("{0}")]
    Missing(String),
}

/// The built-in provider of that name.
#[must_use]
pub fn built_in(name: &str) -> Option<&'static dyn Provider> {
    PROVIDERS.iter().find(|provider| provider.name() == name).copied()
}

/// A prompt that starts with a slash, made ordinary text by a leading newline:
/// the CLIs take a message that starts with `/` for a command of their own
/// (Claude Code 2.1.197, Gemini CLI 0.61.0).
fn plain_prompt(turn: &Turn<'_>) -> Vec<u8> {
    if turn.raw || !turn.prompt.starts_with('/') {
        turn.prompt.as_bytes().to_vec()
    } else {
        format!("\n{}", turn.prompt).into_bytes()
    }
}

/// The prompt with the brief before it as a marked block, for providers that
/// have no place for instructions; left out where the conversation was told it.
fn briefed_prompt(turn: &Turn<'_>) -> Vec<u8> {
    if turn.told {
        return turn.prompt.as_bytes().to_vec();
    }
    format!("<brief>\n{}</brief>\n\n{}", turn.brief.whole(), turn.prompt).into_bytes()
}

#[cfg(test)]
pub(crate) mod testing;
