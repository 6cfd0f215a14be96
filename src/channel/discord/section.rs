//! `[channels.discord]`: who may talk, where, and what is answered. Read
//! strictly: a key or a value that does not fit is an error that says why.

use std::collections::{HashMap, HashSet};

use hyper::Uri;

use super::wire::Id;
use crate::channel::{COMMON_KEYS, ChannelError, SectionContext, unknown_key};
use crate::config::keys::{KeySpec, ValueKind, nearest};
use crate::key::Key;

/// What `api_url` is by default.
const API: &str = "https://discord.com/api/v10";

/// The keys of the section beside the common ones.
pub(super) const KEYS: &[KeySpec] = &[
    KeySpec {
        name: "owners",
        kind: ValueKind::Texts,
        default: "[]",
        help: "Ids of the users who may do everything. Without one, nobody can use the commands that reach other sessions.",
    },
    KeySpec {
        name: "approvers",
        kind: ValueKind::Texts,
        default: "",
        help: "Ids of the users who may answer an agent's questions for permission; without it, the owners.",
    },
    KeySpec {
        name: "allowed_users",
        kind: ValueKind::Texts,
        default: "[]",
        help: "Ids of the users who may talk. Empty means nobody but the owners.",
    },
    KeySpec {
        name: "allowed_roles",
        kind: ValueKind::Texts,
        default: "[]",
        help: "Ids of the roles whose members may talk in their guild.",
    },
    KeySpec {
        name: "open_channels",
        kind: ValueKind::Texts,
        default: "[]",
        help: "Ids of the channels in which everybody may talk, in their threads too.",
    },
    KeySpec {
        name: "respond",
        kind: ValueKind::Choice(&["mention", "all"]),
        default: "mention",
        help: "What is answered in a guild: messages that mention the bot or answer it, or all.",
    },
    KeySpec {
        name: "listen",
        kind: ValueKind::Choice(&["true", "false"]),
        default: "true",
        help: "Whether anything is answered in guilds. With `false`, only where a guild's or channel's own section says `true`.",
    },
    KeySpec {
        name: "join",
        kind: ValueKind::Section,
        default: "",
        help: "Channels that deliberately are one session: `{ KEY = [\"CHANNEL ID\", ...] }`. Their threads stay sessions of their own.",
    },
    KeySpec {
        name: "dms",
        kind: ValueKind::Choice(&["own", "shared", "off"]),
        default: "own",
        help: "Direct messages: a session for each user (`own`), the session `default` for all (`shared`), or not answered (`off`).",
    },
    KeySpec {
        name: "agents",
        kind: ValueKind::Texts,
        default: "[]",
        help: "Names of agents that a message may begin with, as `@name`: it then goes to that agent's session of the channel.",
    },
    KeySpec {
        name: "guilds",
        kind: ValueKind::Section,
        default: "",
        help: "`[channels.discord.guilds.<id>]`: `listen`, `respond` and `agents` of one guild instead of the above; `allowed_users` and `allowed_roles` beside them.",
    },
    KeySpec {
        name: "channels",
        kind: ValueKind::Section,
        default: "",
        help: "`[channels.discord.channels.<id>]`: the same for one channel and its threads, or for one thread.",
    },
    KeySpec {
        name: "application_id",
        kind: ValueKind::Text,
        default: "",
        help: "The id of the application, where the server does not say it.",
    },
    KeySpec {
        name: "api_url",
        kind: ValueKind::Text,
        default: API,
        help: "The HTTP API, for another server that speaks Discord's protocol.",
    },
    KeySpec {
        name: "gateway_url",
        kind: ValueKind::Text,
        default: "",
        help: "The gateway, `ws://` or `wss://`; without it, what the API says.",
    },
];

/// The keys of a guild's or a channel's own section.
const SCOPE_KEYS: &[&str] = &["listen", "respond", "agents", "allowed_users", "allowed_roles"];

/// What is answered in a guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Respond {
    Mention,
    All,
}

/// What direct messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Directs {
    Own,
    Shared,
    Off,
}

/// What a guild or a channel has of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PlaceRules {
    pub(super) listen: Option<bool>,
    pub(super) respond: Option<Respond>,
    pub(super) agents: Option<Vec<String>>,
    pub(super) users: HashSet<Id>,
    pub(super) roles: HashSet<Id>,
}

/// The section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) owners: Vec<Id>,
    pub(super) approvers: HashSet<Id>,
    pub(super) whole: PlaceRules,
    pub(super) open_channels: HashSet<Id>,
    pub(super) join: HashMap<Id, Key>,
    pub(super) directs: Directs,
    pub(super) guilds: HashMap<Id, PlaceRules>,
    pub(super) channels: HashMap<Id, PlaceRules>,
    pub(super) application: Option<Id>,
    pub(super) api: ApiUrl,
    pub(super) gateway: Option<String>,
}

/// Where the HTTP API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiUrl {
    /// Without a slash at the end.
    pub(super) base: String,
    /// The host, without the port.
    pub(super) host: String,
    /// Whether it is Discord's own.
    pub(super) is_discord: bool,
}

impl Section {
    /// Reads the section.
    ///
    /// # Errors
    /// If a key is unknown or a value does not fit.
    pub(super) fn read(table: &toml::Table, context: SectionContext<'_>) -> Result<Self, ChannelError> {
        let own = KEYS.iter().map(|spec| spec.name);
        let known: Vec<&str> = COMMON_KEYS.iter().map(|spec| spec.name).chain(own).collect();
        let here = At { path: "discord".to_owned(), table };
        here.check_keys(&known)?;
        let owners = here.ids("owners")?;
        let approvers = match table.contains_key("approvers") {
            true => here.ids("approvers")?.into_iter().collect(),
            false => owners.iter().cloned().collect(),
        };
        Ok(Self {
            approvers,
            owners,
            whole: here.scope(context)?,
            open_channels: here.ids("open_channels")?.into_iter().collect(),
            join: here.join()?,
            directs: match here.word("dms", &["own", "shared", "off"])? {
                Some("shared") => Directs::Shared,
                Some("off") => Directs::Off,
                _ => Directs::Own,
            },
            guilds: here.scopes("guilds", context)?,
            channels: here.scopes("channels", context)?,
            application: here.text("application_id")?.map(|text| here.id("application_id", text)).transpose()?,
            api: here.api()?,
            gateway: here.gateway()?,
        })
    }
}

impl Section {
    /// Whether it matters anywhere which roles somebody has.
    pub(super) fn names_roles(&self) -> bool {
        let scopes = self.guilds.values().chain(self.channels.values()).chain([&self.whole]);
        scopes.into_iter().any(|scope| !scope.roles.is_empty())
    }
}

/// A table, and where it stands.
struct At<'a> {
    path: String,
    table: &'a toml::Table,
}

impl<'a> At<'a> {
    fn wrong(&self, key: &str, reason: impl Into<String>) -> ChannelError {
        ChannelError::Value { key: format!("{}.{key}", self.path), reason: reason.into() }
    }

    fn check_keys(&self, known: &[&str]) -> Result<(), ChannelError> {
        match self.table.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(unknown_key(&self.path, key, known.iter().copied())),
            None => Ok(()),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, ChannelError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, format!("{value} is not text")))
    }

    fn word(&self, key: &str, words: &[&str]) -> Result<Option<&'a str>, ChannelError> {
        match self.text(key)? {
            Some(word) if !words.contains(&word) => {
                Err(self.wrong(key, format!("`{word}` is not one of `{}`", words.join("`, `"))))
            }
            word => Ok(word),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, ChannelError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(key, format!("{value} is neither `true` nor `false`")))
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, ChannelError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| self.wrong(key, format!("{value} is not a list of texts")))?;
        let text = |item: &'a toml::Value| {
            let hint = if item.is_integer() { ": an id is written in quotes" } else { "" };
            item.as_str().ok_or_else(|| self.wrong(key, format!("{item} is not text{hint}")))
        };
        list.iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    fn id(&self, key: &str, text: &str) -> Result<Id, ChannelError> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        Id::new(text).filter(|_| digits).ok_or_else(|| {
            let how = "an id is digits only: turn on Developer Mode in Discord, then `Copy ID`";
            self.wrong(key, format!("`{text}` is not an id; {how}"))
        })
    }

    fn ids(&self, key: &str) -> Result<Vec<Id>, ChannelError> {
        self.texts(key)?.unwrap_or_default().into_iter().map(|text| self.id(key, text)).collect()
    }

    fn scope(&self, context: SectionContext<'_>) -> Result<PlaceRules, ChannelError> {
        let agents = self.texts("agents")?;
        for agent in agents.iter().flatten() {
            if !context.agents.contains(agent) {
                let like = nearest(agent, context.agents.iter().copied());
                let like = like.map_or_else(String::new, |like| format!(", did you mean `{like}`?"));
                return Err(self.wrong("agents", format!("there is no section `[agents.{agent}]`{like}")));
            }
        }
        Ok(PlaceRules {
            listen: self.flag("listen")?,
            respond: self.word("respond", &["mention", "all"])?.map(|word| match word {
                "all" => Respond::All,
                _ => Respond::Mention,
            }),
            agents: agents.map(|names| names.into_iter().map(str::to_owned).collect()),
            users: self.ids("allowed_users")?.into_iter().collect(),
            roles: self.ids("allowed_roles")?.into_iter().collect(),
        })
    }

    /// The tables of a table of tables.
    fn tables(&self, key: &str) -> Result<Vec<(&'a str, &'a toml::Value)>, ChannelError> {
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let table = value.as_table().ok_or_else(|| self.wrong(key, "it is not a section"))?;
        Ok(table.iter().map(|(name, value)| (name.as_str(), value)).collect())
    }

    fn scopes(&self, key: &str, context: SectionContext<'_>) -> Result<HashMap<Id, PlaceRules>, ChannelError> {
        let mut scopes = HashMap::new();
        for (name, value) in self.tables(key)? {
            let id = self.id(key, name)?;
            let table = value.as_table().ok_or_else(|| self.wrong(key, format!("`{name}` is not a section")))?;
            let at = At { path: format!("{}.{key}.{name}", self.path), table };
            at.check_keys(SCOPE_KEYS)?;
            scopes.insert(id, at.scope(context)?);
        }
        Ok(scopes)
    }

    fn join(&self) -> Result<HashMap<Id, Key>, ChannelError> {
        let mut join = HashMap::new();
        for (name, _) in self.tables("join")? {
            let key: Key = name.parse().map_err(|error| self.wrong("join", format!("{error}")))?;
            let table = self.table.get("join").and_then(toml::Value::as_table).unwrap_or(self.table);
            let at = At { path: format!("{}.join", self.path), table };
            for id in at.ids(name)? {
                if let Some(other) = join.insert(id.clone(), key.clone()) {
                    return Err(self.wrong("join", format!("channel {id} is in `{other}` and in `{key}`")));
                }
            }
        }
        Ok(join)
    }

    fn api(&self) -> Result<ApiUrl, ChannelError> {
        let text = self.text("api_url")?.unwrap_or(API).trim_end_matches('/');
        let uri = self.url("api_url", text, &["http", "https"])?;
        // Libraries differ in how much of the path they want to be told.
        let last = uri.path().rsplit('/').next().unwrap_or_default();
        let is_version = last.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
        let base = match last {
            _ if is_version => text.to_owned(),
            "api" => format!("{text}/v10"),
            _ => format!("{text}/api/v10"),
        };
        Ok(ApiUrl { is_discord: base == API, base, host: uri.host().unwrap_or_default().to_owned() })
    }

    fn gateway(&self) -> Result<Option<String>, ChannelError> {
        let Some(text) = self.text("gateway_url")? else { return Ok(None) };
        self.url("gateway_url", text, &["ws", "wss"])?;
        Ok(Some(text.to_owned()))
    }

    fn url(&self, key: &str, text: &str, schemes: &[&str]) -> Result<Uri, ChannelError> {
        checked_url(text, schemes).ok_or_else(|| {
            let scheme = schemes.join("://` or `");
            self.wrong(key, format!("`{text}` is not an address that starts with `{scheme}://`"))
        })
    }
}

/// The address that a text is, if it has one of these schemes, a host, and
/// nothing that does not belong there.
pub(super) fn checked_url(text: &str, schemes: &[&str]) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let scheme = uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme));
    let authority = uri.authority().is_some_and(|it| !it.as_str().contains('@') && !it.host().is_empty());
    (scheme && authority && !text.contains(['#', '?'])).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(text: &str) -> Result<Section, String> {
        let context = SectionContext { agents: &["reviewer"], root: Path::new("/root-dir"), home: None };
        Section::read(&text.parse().expect("TOML"), context).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_lets_nobody_in_and_listens_to_mentions() {
        let section = read("").expect("a section");
        assert!(section.owners.is_empty() && section.approvers.is_empty() && section.open_channels.is_empty());
        assert_eq!((section.whole, section.directs), (PlaceRules::default(), Directs::Own));
        assert_eq!((section.api.base.as_str(), section.api.is_discord), (API, true));
    }

    #[test]
    fn a_whole_section_is_read() {
        let section = read(
            r#"
            token = "x"
            busy = "queue"
            owners = ["1"]
            allowed_users = ["2"]
            allowed_roles = ["3"]
            open_channels = ["4"]
            respond = "all"
            dms = "shared"
            agents = ["reviewer"]
            api_url = "http://127.0.0.1:9/"
            gateway_url = "ws://127.0.0.1:10/gateway"
            application_id = "12"
            join = { default = ["5", "6"] }
            [guilds.7]
            listen = false
            [channels.8]
            respond = "mention"
            allowed_users = ["9"]
            "#,
        )
        .expect("a section");
        let id = |text: &str| Id::new(text).expect("an id");
        assert!(section.approvers.contains(&id("1")) && section.owners == [id("1")]);
        assert_eq!(section.whole.respond, Some(Respond::All));
        assert_eq!(section.join.get(&id("6")).map(Key::as_str), Some("default"));
        assert_eq!(section.guilds[&id("7")].listen, Some(false));
        assert!(section.channels[&id("8")].users.contains(&id("9")));
        assert_eq!((section.api.base.as_str(), section.api.is_discord), ("http://127.0.0.1:9/api/v10", false));
    }

    #[test]
    fn the_api_may_be_told_with_as_much_of_its_path_as_one_likes() {
        for (told, base) in [
            ("http://h:9", "http://h:9/api/v10"),
            ("http://h:9/", "http://h:9/api/v10"),
            ("http://h:9/api", "http://h:9/api/v10"),
            ("http://h:9/api/v9/", "http://h:9/api/v9"),
            ("https://h/proxy", "https://h/proxy/api/v10"),
            ("https://discord.com/api", "https://discord.com/api/v10"),
        ] {
            assert_eq!(read(&format!("api_url = \"{told}\"")).expect("a section").api.base, base);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_the_remedy() {
        for (text, said) in [
            ("ownrs = [\"1\"]", "there is no key `channels.discord.ownrs`, did you mean `owners`?"),
            ("owners = [1]", "channels.discord.owners: 1 is not text: an id is written in quotes"),
            (
                "owners = [\"ann\"]",
                "channels.discord.owners: `ann` is not an id; an id is digits only: turn on Developer Mode in Discord, then `Copy ID`",
            ),
            ("owners = \"1\"", "channels.discord.owners: \"1\" is not a list of texts"),
            ("respond = \"always\"", "channels.discord.respond: `always` is not one of `mention`, `all`"),
            ("listen = \"yes\"", "channels.discord.listen: \"yes\" is neither `true` nor `false`"),
            (
                "agents = [\"reviewr\"]",
                "channels.discord.agents: there is no section `[agents.reviewr]`, did you mean `reviewer`?",
            ),
            (
                "[guilds.1]\nrespnd = \"all\"",
                "there is no key `channels.discord.guilds.1.respnd`, did you mean `respond`?",
            ),
            (
                "[guilds.mine]\nlisten = true",
                "channels.discord.guilds: `mine` is not an id; an id is digits only: turn on Developer Mode in Discord, then `Copy ID`",
            ),
            ("join = { a = [\"1\"], b = [\"1\"] }", "channels.discord.join: channel 1 is in `a` and in `b`"),
            (
                "api_url = \"127.0.0.1:9\"",
                "channels.discord.api_url: `127.0.0.1:9` is not an address that starts with `http://` or `https://`",
            ),
            (
                "gateway_url = \"http://h\"",
                "channels.discord.gateway_url: `http://h` is not an address that starts with `ws://` or `wss://`",
            ),
            (
                "api_url = \"https://user:pw@h\"",
                "channels.discord.api_url: `https://user:pw@h` is not an address that starts with `http://` or `https://`",
            ),
        ] {
            assert_eq!(read(text).expect_err(text), said);
        }
    }
}
