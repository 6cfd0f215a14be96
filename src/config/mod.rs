//! The configuration: default < file < environment < command line, with a note
//! of where each value came from.
//!
//! Takes all its inputs as arguments. The sections of providers and channels stay
//! raw here; their owners read them. Nothing in a session folder is configuration.

mod document;
mod environment;
pub mod keys;
mod parts;
mod secret;
mod share;
pub mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use environment::Environment;
pub use parts::{Busy, Legacy};
pub use secret::{Secret, SecretSource};
pub use share::{Access, Share};
pub use value::Value;

use crate::files::Durability;
use crate::repository::Protect;
use document::Document;
use keys::{KEYS, KeySpec, nearest, variable};

/// The largest configuration file that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// The provider of new sessions; `None` is `auto`.
    pub provider: Option<String>,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// What keeps an agent inside its session.
    pub walls: WallsMode,
    /// What agents may reach over the network.
    pub network: NetworkMode,
    /// The TCP ports that they may reach with [`NetworkMode::Providers`].
    pub ports: Vec<u16>,
    /// What the owner shares with sessions.
    pub shares: Vec<Share>,
    /// Where `cd` may point, absolute.
    pub working_dirs: Vec<PathBuf>,
    /// What is protected in them, and in what is shared.
    pub protect: Protect,
    /// The working directory of new sessions, absolute.
    pub working_dir: Option<PathBuf>,
    /// What becomes of a message that comes while a turn of its session runs.
    pub busy: Busy,
    /// The limits on turns and queues.
    pub limits: ConfiguredLimits,
    /// How long things are kept.
    pub retention: Retention,
    /// Where earlier systems kept their state.
    pub legacy: Legacy,
    /// The named agents.
    pub agents: BTreeMap<String, Agent>,
    /// The sections of providers, unread.
    pub providers: BTreeMap<String, toml::Table>,
    /// The sections of chat networks, unread.
    pub channels: BTreeMap<String, toml::Table>,
    /// Each value in force, and where it came from.
    pub settings: Vec<Setting>,
}

/// What keeps an agent inside its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WallsMode {
    /// Bubblewrap, Landlock and seccomp.
    Full,
    /// Landlock and seccomp.
    Kernel,
    /// Nothing.
    Off,
}

impl WallsMode {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Kernel => "kernel",
            Self::Off => "off",
        }
    }
}

/// What agents may reach over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode {
    /// Everything.
    Open,
    /// TCP to the configured ports.
    Providers,
    /// Nothing.
    None,
}

impl NetworkMode {
    /// Reads the mode of a key whose kind allows only these words.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "providers" => Self::Providers,
            "none" => Self::None,
            _ => Self::Open,
        }
    }
}

/// The limits on turns and queues, and on what a session's processes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfiguredLimits {
    /// How many turns run at once, all processes together.
    pub turns: u64,
    /// How many messages may wait in one session.
    pub queued: u64,
    /// How long one turn may take.
    pub turn_timeout: Duration,
    /// How many processes and threads a session may have; `None` is any number.
    pub processes: Option<u64>,
    /// How much memory they may use together, in bytes.
    pub memory: Option<u64>,
    /// How large a file may become that they write, in bytes.
    pub file_size: Option<u64>,
    /// How much a session's folder may hold, in bytes.
    pub disk: Option<u64>,
    /// How many files it may hold.
    pub files: Option<u64>,
    /// How long running turns may go on when the daemon is asked to leave.
    pub grace: Duration,
}

/// How long things are kept; `None` is forever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long a removed session stays in the trash.
    pub trash: Option<Duration>,
    /// After how long without a turn a session is archived.
    pub idle: Option<Duration>,
    /// How long an archived session stays before it goes to the trash.
    pub archived: Option<Duration>,
    /// How long the session of a deleted channel stays.
    pub deleted_channels: Option<Duration>,
}

/// A named bundle of provider, model, instructions and defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// The provider of its sessions.
    pub provider: Option<String>,
    /// The model of its sessions.
    pub model: Option<String>,
    /// The file that becomes `AGENTS.md` in its new sessions, absolute.
    pub instructions: Option<PathBuf>,
    /// What its sessions may do unasked, at most, as written.
    pub permission_mode: Option<String>,
}

/// One value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The dotted name of the key.
    pub name: String,
    /// The value, as it would be written in the file; empty if there is none.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was built in.
    Default,
    /// It stands in the configuration file, at this line.
    File(usize),
    /// An environment variable gave it.
    Environment(String),
    /// It was given on the command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(line) => write!(f, "line {line} of the configuration file"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] crate::files::Error),
    /// Others than its owner can write the file, and so decide what agents may do.
    #[error("others can write `{}` (mode {mode:o}), so it is not trusted", path.display())]
    Writable {
        /// The configuration file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to another user.
    #[error("`{}` belongs to user {owner}, so it is not trusted", path.display())]
    Foreign {
        /// The configuration file.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
    },
    /// The file is no TOML, or a value does not fit its key.
    #[error("{place}: {reason}")]
    Value {
        /// File, line and column, or the variable or option.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such key.
    #[error("{place}: there is no key `{key}`{}", suggestion(nearest.as_deref()))]
    UnknownKey {
        /// File, line and column, or the variable or option.
        place: String,
        /// The key as written.
        key: String,
        /// The key that is spelt most like it.
        nearest: Option<String>,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(", did you mean `{nearest}`?"))
}

/// Everything that the configuration is made from.
#[derive(Debug, Clone, Copy)]
pub struct ConfigInputs<'a> {
    /// The root, against which relative paths are read.
    pub root: &'a Path,
    /// The home directory, for `~/`.
    pub home: Option<&'a Path>,
    /// The configuration file.
    pub file: &'a Path,
    /// Whether it is an error that the file does not exist (it was named).
    pub required: bool,
    /// The environment.
    pub environment: &'a Environment,
    /// Keys and values from the command line.
    pub overrides: &'a [(String, String)],
}

impl Config {
    /// Merges all sources.
    ///
    /// # Errors
    /// If the file is unreadable, untrusted or wrong, or a value or key is.
    pub fn load(inputs: ConfigInputs<'_>) -> Result<Self, ConfigError> {
        let text = read(inputs.file, inputs.required)?;
        let document = Document { path: inputs.file, text: &text };
        let mut values: BTreeMap<&str, (Value, Origin)> = BTreeMap::new();
        for spec in KEYS.iter().filter(|spec| !spec.default.is_empty()) {
            let value = Value::from_text(spec.default, spec.kind)
                .map_err(|reason| ConfigError::Value { place: format!("default of {}", spec.name), reason })?;
            values.insert(spec.name, (value, Origin::Default));
        }
        let mut agents = BTreeMap::new();
        let mut providers = BTreeMap::new();
        let mut channels = BTreeMap::new();
        let mut settings = Vec::new();
        let mut shares = Vec::new();
        for entry in document.entries()? {
            if entry.name == "share" {
                shares = document.shares(&entry, inputs, &mut settings)?;
                continue;
            }
            match entry.name.split_once('.') {
                Some(("agents", name)) => {
                    agents.insert(name.to_owned(), document.agent(&entry, name, inputs, &mut settings)?);
                }
                Some((kind @ ("providers" | "channels"), name)) => {
                    let Some(table) = entry.value.as_table() else {
                        let what = kind.trim_end_matches('s');
                        return Err(document.wrong(&entry, &format!("a {what} is a section, `[{kind}.<name>]`")));
                    };
                    settings.extend(table.iter().map(|(key, value)| Setting {
                        name: format!("{kind}.{name}.{key}"),
                        value: secret::shown(key, value),
                        origin: Origin::File(document.line(&entry.span)),
                    }));
                    let sections = if kind == "channels" { &mut channels } else { &mut providers };
                    sections.insert(name.to_owned(), table.clone());
                }
                _ => {
                    let spec = find(KEYS, &entry.name).ok_or_else(|| document.unknown(&entry))?;
                    let value =
                        Value::from_toml(&entry.value, spec.kind).map_err(|reason| document.wrong(&entry, &reason))?;
                    values.insert(spec.name, (value, Origin::File(document.line(&entry.span))));
                }
            }
        }
        for spec in KEYS {
            let name = variable(spec.name);
            if let Some(text) = inputs.environment.get(&name) {
                let value = Value::from_text(text, spec.kind)
                    .map_err(|reason| ConfigError::Value { place: format!("environment variable {name}"), reason })?;
                values.insert(spec.name, (value, Origin::Environment(name)));
            }
        }
        for (name, text) in inputs.overrides {
            let spec = find(KEYS, name).ok_or_else(|| ConfigError::UnknownKey {
                place: "command line".to_owned(),
                key: name.clone(),
                nearest: nearest(name, KEYS.iter().map(|spec| spec.name)).map(str::to_owned),
            })?;
            let value = Value::from_text(text, spec.kind)
                .map_err(|reason| ConfigError::Value { place: format!("command line, {name}"), reason })?;
            values.insert(spec.name, (value, Origin::CommandLine));
        }
        let sections = Sections { agents, providers, channels, shares };
        Self::assemble(&values, inputs, sections, settings)
    }

    fn assemble(
        values: &BTreeMap<&str, (Value, Origin)>,
        inputs: ConfigInputs<'_>,
        sections: Sections,
        mut settings: Vec<Setting>,
    ) -> Result<Self, ConfigError> {
        let place = |name: &str| match values.get(name) {
            Some((_, origin)) => format!("{name} ({origin})"),
            None => name.to_owned(),
        };
        let path = |name: &str, text: &str| {
            value::absolute(text, inputs.root, inputs.home)
                .map_err(|reason| ConfigError::Value { place: place(name), reason })
        };
        let text = |name: &str| match values.get(name) {
            Some((Value::Text(text), _)) => Some(text.as_str()),
            _ => None,
        };
        let number = |name: &str| match values.get(name) {
            Some((Value::Number(n), _)) => *n,
            _ => 0,
        };
        let span = |name: &str| match values.get(name) {
            Some((Value::Span(span), _)) => *span,
            _ => None,
        };
        let size = |name: &str| match values.get(name) {
            Some((Value::Size(size) | Value::Count(size), _)) => *size,
            _ => None,
        };
        let paths = |name: &str| match values.get(name) {
            Some((Value::Texts(items), _)) => items.iter().map(|item| path(name, item)).collect(),
            _ => Ok(Vec::new()),
        };
        let listed = KEYS.iter().map(|spec| match values.get(spec.name) {
            Some((value, origin)) => {
                Setting { name: spec.name.to_owned(), value: value.written(), origin: origin.clone() }
            }
            None => Setting { name: spec.name.to_owned(), value: String::new(), origin: Origin::Default },
        });
        let known: Vec<_> = listed.collect();
        settings.splice(0..0, known);
        Ok(Self {
            provider: text("provider").filter(|name| *name != "auto").map(str::to_owned),
            durability: if text("durability") == Some("process") { Durability::Process } else { Durability::Power },
            walls: match text("walls") {
                Some("off") => WallsMode::Off,
                Some("kernel") => WallsMode::Kernel,
                _ => WallsMode::Full,
            },
            network: text("network").map_or(NetworkMode::Open, NetworkMode::of),
            ports: match values.get("ports") {
                Some((Value::Ports(ports), _)) => ports.clone(),
                _ => Vec::new(),
            },
            shares: sections.shares,
            working_dirs: paths("working_dirs")?,
            protect: match values.get("protect") {
                Some((Value::Texts(words), _)) => {
                    Protect::of(words).map_err(|reason| ConfigError::Value { place: place("protect"), reason })?
                }
                _ => Protect::default(),
            },
            working_dir: text("defaults.working_dir").map(|text| path("defaults.working_dir", text)).transpose()?,
            busy: text("defaults.busy").and_then(Busy::from_word).unwrap_or_default(),
            limits: ConfiguredLimits {
                turns: number("limits.turns"),
                queued: number("limits.queued"),
                turn_timeout: span("limits.turn_timeout").unwrap_or(Duration::from_secs(1800)),
                processes: size("limits.processes"),
                memory: size("limits.memory"),
                file_size: size("limits.file_size"),
                disk: size("limits.disk"),
                files: size("limits.files"),
                grace: span("limits.grace").unwrap_or(Duration::from_secs(20)),
            },
            legacy: Legacy {
                from: paths("legacy.from")?,
                temp: path("legacy.temp", text("legacy.temp").unwrap_or("/tmp"))?,
            },
            retention: Retention {
                trash: span("retention.trash"),
                idle: span("retention.idle"),
                archived: span("retention.archived"),
                deleted_channels: span("retention.deleted_channels"),
            },
            agents: sections.agents,
            providers: sections.providers,
            channels: sections.channels,
            settings,
        })
    }
}

/// The sections that have names of their own.
struct Sections {
    shares: Vec<Share>,
    agents: BTreeMap<String, Agent>,
    providers: BTreeMap<String, toml::Table>,
    channels: BTreeMap<String, toml::Table>,
}

/// Reads the file, or nothing if it does not exist and need not.
fn read(path: &Path, required: bool) -> Result<String, ConfigError> {
    use std::os::unix::fs::MetadataExt;
    let io = |source| crate::files::Error::io("read the configuration", path, source);
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(String::new()),
        Err(error) => return Err(io(error).into()),
    };
    if !metadata.is_file() {
        return Err(
            crate::files::Error::NotRegular { path: path.to_owned(), found: "a directory or a special file" }.into()
        );
    }
    if metadata.len() > MAX_CONFIG_BYTES {
        return Err(crate::files::Error::TooLarge {
            path: path.to_owned(),
            size: metadata.len(),
            cap: MAX_CONFIG_BYTES,
        }
        .into());
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(ConfigError::Foreign { path: path.to_owned(), owner });
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(ConfigError::Writable { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    std::fs::read_to_string(path).map_err(|source| io(source).into())
}

fn find<'a>(specs: &'a [KeySpec], name: &str) -> Option<&'a KeySpec> {
    specs.iter().find(|spec| spec.name == name)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that are read")]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)], overrides: &[(&str, &str)]) -> Result<Config, String> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("denizen.toml");
        std::fs::write(&file, text).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("mode");
        let environment: Environment = environment.iter().copied().collect();
        let overrides: Vec<_> = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::load(ConfigInputs {
            root: Path::new("/r"),
            home: Some(Path::new("/h")),
            file: &file,
            required: true,
            environment: &environment,
            overrides: &overrides,
        })
        .map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn later_sources_win_and_are_named() {
        let config = load(
            "provider = \"claude\"\n[limits]\nturns = 5\nqueued = 7\n",
            &[("DENIZEN_LIMITS_TURNS", "6")],
            &[("durability", "process")],
        )
        .expect("a configuration");
        assert_eq!(config.provider.as_deref(), Some("claude"));
        assert_eq!((config.limits.turns, config.limits.queued), (6, 7));
        assert_eq!(config.durability, Durability::Process);
        let origin = |name: &str| config.settings.iter().find(|s| s.name == name).map(|s| s.origin.clone());
        assert_eq!(origin("provider"), Some(Origin::File(1)));
        assert_eq!(origin("limits.queued"), Some(Origin::File(4)));
        assert_eq!(origin("limits.turns"), Some(Origin::Environment("DENIZEN_LIMITS_TURNS".into())));
        assert_eq!(origin("durability"), Some(Origin::CommandLine));
        assert_eq!(origin("limits.turn_timeout"), Some(Origin::Default));
    }

    #[test]
    fn wrong_keys_and_values_are_named_with_their_place() {
        let error = |text: &str| load(text, &[], &[]).expect_err("an error");
        assert_eq!(
            error("[limits]\nturn = 1\n"),
            "denizen.toml:2:1: there is no key `limits.turn`, did you mean `limits.turns`?"
        );
        assert_eq!(
            error("durability = \"strong\"\n"),
            "denizen.toml:1:1: durability: `strong` is not one of `power`, `process`"
        );
        assert_eq!(error("[limits]\nturns = 0\n"), "denizen.toml:2:1: limits.turns: 0 is less than 1");
        assert_eq!(
            error("walls = \"none\"\n"),
            "denizen.toml:1:1: walls: `none` is not one of `full`, `kernel`, `off`"
        );
        assert_eq!(
            error("[[share]]\nsessions = [\"a\"]\npaht = \"/x\"\n"),
            "denizen.toml:1:3: there is no key `share.paht`, did you mean `path`?"
        );
        assert_eq!(error("[[share]]\npath = \"/x\"\n"), "denizen.toml:1:3: share: it names no `sessions`");
        assert_eq!(
            error("[agents.a]\nmodell = \"x\"\n"),
            "denizen.toml:1:9: there is no key `agents.a.modell`, did you mean `model`?"
        );
        assert!(error("a = = 1").starts_with("denizen.toml:1:5: "), "{}", error("a = = 1"));
    }

    #[test]
    fn what_is_shared_is_for_the_sessions_that_it_names() {
        let config = load("[[share]]\nsessions = [\"discord-*\"]\npath = \"~/book\"\n", &[], &[]).expect("one");
        let [share] = &config.shares[..] else { panic!("{:?}", config.shares) };
        assert_eq!((share.path.as_path(), share.mode), (Path::new("/h/book"), Access::Read));
        let is_for = |key: &str| share.is_for(&key.parse().expect("a key"));
        assert!(is_for("discord-1") && !is_for("telegram-dm-1") && !is_for("x-discord-1"));
    }

    #[test]
    fn sections_of_providers_stay_raw() {
        let config =
            load("[providers.mine]\nprogram = \"/bin/x\"\nargs = [\"a\"]\n", &[], &[]).expect("a configuration");
        assert_eq!(config.providers["mine"].get("program").and_then(toml::Value::as_str), Some("/bin/x"));
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("denizen.toml");
        std::fs::write(&file, "").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("mode");
        let environment = Environment::default();
        let inputs = ConfigInputs {
            root: dir.path(),
            home: None,
            file: &file,
            required: false,
            environment: &environment,
            overrides: &[],
        };
        assert!(matches!(Config::load(inputs), Err(ConfigError::Writable { mode: 0o666, .. })));
    }
}
