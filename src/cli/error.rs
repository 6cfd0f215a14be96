//! What a person is told when something fails, and the exit code. The one
//! place where kinds of error become words, hints and numbers.

use std::error::Error;
use std::path::Path;

use crate::backup::ArchiveError;
use crate::causes::with_causes;
use crate::channel::ChannelError;
use crate::config::ConfigError;
use crate::daemon::DaemonError;
use crate::files::{self, quoted};
use crate::key::KeyError;
use crate::migrate::LegacyError;
use crate::ops::ControlError;
use crate::process::{SpawnError, WorkingDirError};
use crate::provider::{FailureKind, ProviderError, built_in};
use crate::provider_home::RehomeError;
use crate::service::{EnvironmentSecret, ServiceError};
use crate::session::{ClaimError, SessionError, Waiting};
use crate::turn::{ChoiceError, PolicyError, TurnError};

/// Exit code: it failed.
pub(super) const FAILED: u8 = 1;
/// Exit code: the command line or the configuration is wrong.
pub(super) const USAGE: u8 = 2;
/// Exit code: the turn failed at the provider.
pub(super) const PROVIDER: u8 = 3;
/// Exit code: the session stayed busy, or the turn ran out of time.
pub(super) const BUSY: u8 = 4;

/// An error as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CliError {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) code: u8,
}

impl CliError {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: USAGE }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: FAILED }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn of(error: &dyn Error, code: u8, hint: Option<String>) -> Self {
        Self { message: with_causes(error), hint, code }
    }
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        let (code, hint) = match &error {
            DaemonError::File(file) => return file_error(file),
            DaemonError::Session(session) => return session_error(session),
            DaemonError::Choice(choice) => return choice_error(choice),
            DaemonError::Config(_) => (USAGE, None),
            DaemonError::Running { .. } => (FAILED, Some("one daemon serves a root: stop that one first".to_owned())),
            DaemonError::NothingToServe => {
                (USAGE, Some("add a section such as `[channels.discord]` to denizen.toml".to_owned()))
            }
            DaemonError::Channel(ChannelError::NoToken(name)) => {
                (USAGE, Some(format!("set it in denizen.toml: [channels.{name}] token = {{ env = \"NAME\" }}")))
            }
            DaemonError::Channel(ChannelError::Token { .. }) => (FAILED, None),
            DaemonError::Channel(_) => (USAGE, Some("docs/configuration.md lists every key".to_owned())),
            DaemonError::Bypass(name) => {
                (USAGE, Some(format!("set `permission_mode` of `[providers.{name}]` to `acceptEdits`")))
            }
            DaemonError::Walls { obstacle, .. } => (FAILED, Some(obstacle.remedy().to_owned())),
            DaemonError::Holes(_) | DaemonError::Proof(_) => (
                FAILED,
                Some(
                    "`denizen doctor --prove` shows every attempt, and `denizen doctor` what stands in the way"
                        .to_owned(),
                ),
            ),
            DaemonError::Ended(_) => (FAILED, None),
        };
        Self::of(&error, code, hint)
    }
}

impl From<ControlError> for CliError {
    fn from(error: ControlError) -> Self {
        let hint = match &error {
            ControlError::Claim(claim) => return claim_error(claim),
            ControlError::Session(session) => return session_error(session),
            ControlError::Turn(turn) => return turn_error(turn),
            ControlError::Choice(choice) => return choice_error(choice),
            ControlError::File(file) => return file_error(file),
            ControlError::QueueFull { key, .. } => {
                let hint = format!("`denizen pending {key}` lists them, `limits.queued` raises the limit");
                return Self::of(&error, BUSY, Some(hint));
            }
            ControlError::Gone(_) => Some("`denizen ls` shows where it is now".to_owned()),
            ControlError::DirectoryNotAllowed(path) => {
                Some(format!("add it to `working_dirs` in denizen.toml: working_dirs = [\"{}\"]", path.display()))
            }
            ControlError::CannotCompact(_) => {
                Some("`denizen new <key>` starts a fresh conversation; memory stays".to_owned())
            }
            ControlError::Archive(archive) => return archive_error(archive),
            ControlError::DamagedBackup { .. } | ControlError::UnreadableBackup { .. } => {
                Some("look for an older backup, or take what there is with `--force`".to_owned())
            }
            ControlError::CleanupRunning => {
                return Self::of(&error, BUSY, Some("try again when it is done".to_owned()));
            }
            ControlError::Message(_) => return Self::of(&error, USAGE, None),
            ControlError::NoSuchConversation { key, .. } => Some(format!("`denizen resume {key}` lists them")),
            ControlError::Nothing(_) | ControlError::MayNotDecide(_) => None,
        };
        Self::of(&error, FAILED, hint)
    }
}

impl From<ArchiveError> for CliError {
    fn from(error: ArchiveError) -> Self {
        archive_error(&error)
    }
}

impl From<SessionError> for CliError {
    fn from(error: SessionError) -> Self {
        session_error(&error)
    }
}

impl From<files::Error> for CliError {
    fn from(error: files::Error) -> Self {
        file_error(&error)
    }
}

impl From<ChoiceError> for CliError {
    fn from(error: ChoiceError) -> Self {
        choice_error(&error)
    }
}

impl From<LegacyError> for CliError {
    fn from(error: LegacyError) -> Self {
        let hint = match &error {
            LegacyError::File(file) => return file_error(file),
            LegacyError::Session(session) => return session_error(session),
            LegacyError::Busy => return Self::of(&error, BUSY, Some("wait until it is done".to_owned())),
            LegacyError::NoReceipt(_) => "the receipts are the directories below `legacy/` in the root",
            LegacyError::Broken { .. } => "it was left as it is; `denizen rm <key>` removes single sessions",
        };
        Self::of(&error, FAILED, Some(hint.to_owned()))
    }
}

impl From<ServiceError> for CliError {
    fn from(error: ServiceError) -> Self {
        let hint = match &error {
            ServiceError::NoManager | ServiceError::NotBooted => {
                "in a container, make `denizen serve` its program; anywhere else, have it started at boot by what starts the rest"
            }
            ServiceError::NoUserManager => {
                "log in as that user, rather than with `su`, or install it for the machine: `sudo denizen service install --system`"
            }
            ServiceError::NotRoot => "sudo denizen --root DIR service install --system --as \"$USER\"",
            ServiceError::Missing("loginctl") => {
                "nothing else keeps services of a user running after logout: `sudo denizen service install --system`"
            }
            ServiceError::Missing(_) => "install it, or add its directory to PATH",
            ServiceError::NoUnitDirectory => "`systemctl show --property=UnitPath` should name `/etc/systemd/system`",
            ServiceError::NoSuchUser(_) => "`getent passwd` lists the users; `--as USER` names one",
            ServiceError::NotAs(_) => "leave `--as` out, or say `--system`",
            ServiceError::Passing { .. } => {
                "`cargo install --path .` puts it into `~/.cargo/bin`; or take it all the same with `--force`"
            }
            ServiceError::Unwritable(_) => "choose another path, without line breaks, in UTF-8",
            ServiceError::Foreign(path) => {
                return Self::of(&error, FAILED, Some(format!("look at it: ls -l {}", quoted(path))));
            }
            ServiceError::OtherRoot { .. } => "`denizen service uninstall` removes it, `--force` replaces it",
            ServiceError::Two => "say which: `--user` or `--system`",
            ServiceError::Secrets { sources, root } => {
                return Self::of(&error, FAILED, sources.first().map(|source| another_source(source, root)));
            }
            ServiceError::Unusable { .. } => "nothing was installed; `denizen doctor` says more",
            ServiceError::Configuration { .. } => "nothing was installed; `denizen config` says where in the file",
            ServiceError::Start { .. } => "nothing more was done",
            ServiceError::Step { call, undone: true, .. } if call.starts_with("loginctl ") => {
                "let root do it: `sudo loginctl enable-linger \"$USER\"`; then install again"
            }
            ServiceError::Step { undone: true, .. } => "once that is mended, install again",
            ServiceError::Step { undone: false, .. } => "`denizen service status` shows what is there now",
            ServiceError::File(file) => return file_error(file),
        };
        Self::of(&error, FAILED, Some(hint.to_owned()))
    }
}

/// How a service gets a secret that so far comes from a variable of the shell.
pub(super) fn another_source(source: &EnvironmentSecret, root: &Path) -> String {
    let EnvironmentSecret { key, variable } = source;
    // `channels.discord.token` is kept in `access/discord-token`.
    let name = key.rsplit('.').nth(1).unwrap_or("a").replace('/', "-");
    let (dir, file) = (root.join("access"), format!("access/{name}-token"));
    format!(
        "put it into a file that only you can read, `(umask 077; mkdir -p {}; printenv {variable} > {})`, and write \
         `token = {{ file = \"{file}\" }}`; or have a program print it: `token = {{ command = [\"pass\", \"show\", \
         \"denizen\"] }}`",
        quoted(&dir),
        quoted(&root.join(&file)),
    )
}

impl From<TurnError> for CliError {
    fn from(error: TurnError) -> Self {
        turn_error(&error)
    }
}

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> Self {
        Self::of(&error, USAGE, Some("a key is 1 to 256 bytes of text, such as `default` or `discord-1484`".to_owned()))
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let hint = match &error {
            ConfigError::Writable { path, .. } => Some(format!("chmod go-w {}", quoted(path))),
            ConfigError::Foreign { path, .. } => Some(format!("chown \"$USER\" {}", quoted(path))),
            ConfigError::UnknownKey { .. } => Some("`denizen config` lists every key".to_owned()),
            ConfigError::Read(file) => file_error(file).hint,
            ConfigError::Value { .. } => None,
        };
        Self::of(&error, USAGE, hint)
    }
}

fn claim_error(error: &ClaimError) -> CliError {
    match error {
        ClaimError::Busy(waiting) => {
            let hint = match waiting {
                Waiting::Ending => "try again in a few seconds",
                Waiting::Line | Waiting::Lock => {
                    "`--wait 10m` waits longer, `denizen stop <key>` ends the running turn"
                }
            };
            CliError::of(error, BUSY, Some(hint.to_owned()))
        }
        ClaimError::Session(session) => session_error(session),
    }
}

fn session_error(error: &SessionError) -> CliError {
    let hint = match error {
        SessionError::File(file) => return file_error(file),
        SessionError::Json { .. } => {
            Some("correct it by hand, or bring it back: `denizen restore BACKUP KEY`; it was left as it is".to_owned())
        }
        SessionError::Newer { .. } => Some("update denizen; the file was left as it is".to_owned()),
        SessionError::NoSuchSession(_) => Some("`denizen ls` lists the sessions".to_owned()),
        SessionError::Ambiguous { .. } => Some("give the whole key".to_owned()),
        SessionError::Exists(key) => Some(format!("choose another key, or remove it with `denizen rm {key}`")),
        SessionError::Taken(path) => {
            let folder = path.file_name().unwrap_or_default().to_string_lossy();
            Some(format!("remove it first: `denizen rm {folder}`, or move it away: mv {} ELSEWHERE", quoted(path)))
        }
        SessionError::Stray { remedy, .. } => remedy.clone(),
        SessionError::MemoryOutside { .. } => {
            Some("remove what stands there, or point `memory_directory` in settings.json elsewhere".to_owned())
        }
        SessionError::Setting { file: Some(_), .. } => {
            Some("correct it by hand; the file was left as it is".to_owned())
        }
        SessionError::Setting { file: None, .. } => {
            let hint = "`denizen set <key>` lists the settings, with what they mean";
            return CliError::of(error, USAGE, Some(hint.to_owned()));
        }
        SessionError::Vanished(_) => Some("a new message makes the session anew".to_owned()),
    };
    CliError::of(error, FAILED, hint)
}

fn archive_error(error: &ArchiveError) -> CliError {
    let hint = match error {
        ArchiveError::File(file) => return file_error(file),
        ArchiveError::Session(session) => return session_error(session),
        ArchiveError::NoTree(_) => "give a root (with `sessions/` in it), its `sessions`, or one session's folder",
        ArchiveError::NotAnExport { .. } => "exports are made by `denizen export`; take another copy of the file",
        ArchiveError::Refused { reason, .. } if reason.contains("only in case from another") => {
            "`--case-twins` takes such names, where the file system tells them apart"
        }
        ArchiveError::Refused { .. } => "nothing was changed; ask whoever made the file",
        ArchiveError::NoRoom { .. } => "free some space; nothing was changed",
    };
    CliError::of(error, FAILED, Some(hint.to_owned()))
}

fn turn_error(error: &TurnError) -> CliError {
    match error {
        TurnError::Provider { provider, failure } => {
            let hint = match failure.kind {
                FailureKind::NotLoggedIn => built_in(provider).map(|provider| provider.login_hint().to_owned()),
                FailureKind::RateLimited => Some("`denizen retry <key>` sends the message again later".to_owned()),
                _ => again(),
            };
            CliError::of(error, PROVIDER, hint)
        }
        TurnError::Choice(choice) => choice_error(choice),
        TurnError::Timeout(_) => {
            CliError::of(error, BUSY, Some("`--timeout` or `limits.turn_timeout` allows more".to_owned()))
        }
        TurnError::Session(session) => session_error(session),
        TurnError::Rehome(RehomeError::Session(session)) => session_error(session),
        TurnError::File(file) | TurnError::Rehome(RehomeError::File(file)) => file_error(file),
        TurnError::Spawn(spawn) | TurnError::Rehome(RehomeError::Spawn(spawn)) => spawn_error(spawn),
        TurnError::NotRecorded { source, .. } => CliError::of(error, FAILED, session_error(source).hint),
        TurnError::FailureNotRecorded { failure, source } => {
            let code = turn_error(failure).code;
            CliError::of(error, code, session_error(source).hint)
        }
        TurnError::Invocation(ProviderError::NoTerminal(_)) => {
            CliError::of(error, FAILED, Some("`denizen send` talks to it".to_owned()))
        }
        TurnError::Excess(_) => {
            CliError::of(error, FAILED, Some("look at what it did, or raise the limit in denizen.toml".to_owned()))
        }
        TurnError::Walls(walls) => walls_error(walls),
        TurnError::Stopped => CliError::of(error, FAILED, again()),
        TurnError::Rehome(RehomeError::Program { .. }) | TurnError::Invocation(_) => CliError::of(error, FAILED, None),
    }
}

/// Walls that cannot be had, with what has to be mended.
fn walls_error(error: &PolicyError) -> CliError {
    let hint = match error {
        PolicyError::Means { obstacle, .. } => obstacle.remedy(),
        PolicyError::Open { .. } => {
            "grant or share another directory, move Denizen's root elsewhere, or use `walls = \"full\"`"
        }
        PolicyError::System { .. } => "give it a directory of its own: `--root DIR`, DENIZEN_ROOT or HOME",
        PolicyError::Exposed(_) => "move it elsewhere, or choose `walls = \"full\"`, which covers it",
        PolicyError::Astray(_) => {
            "put the directory itself in the place of the link, or name where it leads; an agent may have made it"
        }
        PolicyError::Bubblewrap { .. } => "install the package `bubblewrap`, or take its directory out of PATH",
        PolicyError::Path(_) => "write an absolute path",
    };
    CliError::of(error, FAILED, Some(hint.to_owned()))
}

/// The remedy where a turn failed and nothing else is known to help.
fn again() -> Option<String> {
    Some("`denizen retry <key>` sends the message again".to_owned())
}

fn spawn_error(error: &SpawnError) -> CliError {
    let hint = match error {
        SpawnError::WorkingDir(WorkingDirError::Missing { .. }) => {
            "make it again, or let the session work in its own folder: `denizen cd <key> --home`"
        }
        SpawnError::WorkingDir(WorkingDirError::LeadsElsewhere { .. }) => {
            "an agent may have put a link there; if it is to work there, grant it: `denizen cd <key> DIR`"
        }
        SpawnError::Input(_) | SpawnError::Orders(_) => "memory may be short: free some, then send the message again",
        SpawnError::Launcher { .. } => "`denizen doctor` looks at the installation",
        SpawnError::File(file) => return file_error(file),
        SpawnError::Terminal(_) => "without a terminal on its standard streams, `denizen exec` needs none",
    };
    CliError::of(error, FAILED, Some(hint.to_owned()))
}

fn choice_error(error: &ChoiceError) -> CliError {
    let hint = match error {
        ChoiceError::NotInstalled { name, .. } => {
            format!("install it, or set `providers.{name}.program` in denizen.toml to where it is")
        }
        ChoiceError::PassedOver { name, .. } => {
            format!("set `providers.{name}.program` in denizen.toml, if it is to be that one")
        }
        ChoiceError::NoneInstalled => "install one, or use `--provider notes`, which needs no account".to_owned(),
        ChoiceError::Unknown { .. } | ChoiceError::NoProgram(_) => {
            "there are claude, codex, opencode, gemini, notes, and each `[providers.<name>]` of denizen.toml".to_owned()
        }
        ChoiceError::Distrusted { name, .. } => {
            format!("install it where only you and root can write, and name it in `providers.{name}.program`")
        }
        ChoiceError::NoLogin(_) => "claude, codex, opencode and gemini have one".to_owned(),
        ChoiceError::NoCommand(_) => "give a program of PATH, or a path".to_owned(),
        ChoiceError::UnknownAgent { .. } => "agents are the sections `[agents.<name>]` of denizen.toml".to_owned(),
        ChoiceError::BypassWithoutWalls(name) => {
            format!("set `permission_mode` of `[providers.{name}]`, or of the session, to `acceptEdits`")
        }
        ChoiceError::Options(_) | ChoiceError::AgentMode { .. } => "`denizen config` lists every key".to_owned(),
    };
    CliError::of(error, USAGE, Some(hint))
}

fn file_error(error: &files::Error) -> CliError {
    let hint = match error {
        files::Error::Io { source, path, .. } => match source.kind() {
            std::io::ErrorKind::StorageFull => Some("free some space; what was there before is still there".to_owned()),
            std::io::ErrorKind::ReadOnlyFilesystem => Some("the file system is mounted read-only".to_owned()),
            std::io::ErrorKind::PermissionDenied => Some(format!("check who owns it: ls -ld {}", quoted(path))),
            std::io::ErrorKind::CrossesDevices => Some("sessions/ and state/ have to be on one file system".to_owned()),
            std::io::ErrorKind::NotFound if path.ends_with("session.json") => {
                let folder = path.parent().unwrap_or(path);
                Some(format!(
                    "bring it back from a backup: `denizen restore BACKUP {}`, or move the folder away",
                    folder.file_name().unwrap_or_default().to_string_lossy()
                ))
            }
            std::io::ErrorKind::NotADirectory => Some(format!("move what stands there away: ls -ld {}", quoted(path))),
            _ if error.os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                Some("the disk reports a failure: `dmesg` says more; what was there before is still there".to_owned())
            }
            _ => None,
        },
        files::Error::Link { path } => Some(format!("put a real file or directory there: ls -l {}", quoted(path))),
        files::Error::NotRegular { path, .. } => Some(format!("move it away: ls -ld {}", quoted(path))),
        files::Error::HardLinks { path, .. } => Some(format!(
            "make it a file of its own: cp --remove-destination {0} {0}.new && mv {0}.new {0}",
            quoted(path)
        )),
        files::Error::Foreign { path, .. } => Some(format!("check who owns it: ls -ld {}", quoted(path))),
        files::Error::TooLarge { path, .. } => Some(format!("look at it, and move it away: ls -l {}", quoted(path))),
    };
    CliError::of(error, FAILED, hint)
}
