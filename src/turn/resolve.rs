//! What holds at a place for a person: provider, model, agent and permission
//! mode, each with what decided it. A pure function: what the machine has is asked
//! of its caller. Not here: the program, which is looked for (`choose`).

use super::error::ChoiceError;
use crate::config::keys::nearest;
use crate::config::{Agent, Config};
use crate::provider::{AUTO, Options, PROVIDERS, Provider, built_in};
use crate::session::{MessageOptions, PermissionMode, Record, Settings};

/// A session, as far as it has a say in what is run there.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Its record: provider and agent.
    pub record: &'a Record,
    /// Its settings: model and permission mode.
    pub settings: &'a Settings,
}

/// What decided a value, the strongest first. Of permission modes the lowest
/// counts, not the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The person, for this message.
    Message,
    /// The session: `denizen set`, or what its conversation began with.
    Session,
    /// The agent that it belongs to.
    Agent,
    /// The configuration: `provider`, or the provider's section.
    Configuration,
    /// Nobody: it is what is installed.
    Installed,
}

/// A value, and what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// What decided it.
    pub by: Layer,
}

/// What holds at a place for a person.
#[derive(Clone)]
pub struct Effective {
    /// The agent that the session belongs to.
    pub agent: Option<String>,
    /// The provider's name: a built-in one, or a section of the configuration.
    pub name: Sourced<String>,
    /// The provider.
    pub provider: &'static dyn Provider,
    /// Its section of the configuration.
    pub options: Options,
    /// The model; `None` is the provider's own choice.
    pub model: Option<Sourced<String>>,
    /// What the agent may do unasked.
    pub permission_mode: Sourced<PermissionMode>,
    /// What the person should know about it.
    pub notices: Vec<String>,
}

/// Finds out what holds at a place for a person who asks for `asked`.
/// `installed` looks for a provider, and is only called if nobody names one.
///
/// # Errors
/// If something is named that does not exist, or a section is wrong.
pub fn resolve(
    config: &Config,
    place: Place<'_>,
    asked: &MessageOptions,
    installed: impl FnOnce() -> Result<Option<String>, ChoiceError>,
) -> Result<Effective, ChoiceError> {
    let Place { record, settings } = place;
    let default = Agent::default();
    let agent = match &record.agent {
        None => &default,
        Some(name) => agent_of(config, name)?,
    };
    let mut notices = Vec::new();
    let named = first([
        (Layer::Message, asked.provider.as_ref()),
        (Layer::Session, record.provider.as_ref().map(|choice| &choice.name)),
        (Layer::Agent, agent.provider.as_ref()),
        (Layer::Configuration, config.provider.as_ref()),
    ]);
    let name = match named {
        Some(named) => named,
        None => match installed()? {
            Some(value) => Sourced { value, by: Layer::Installed },
            // A person at a terminal gets something that works; a chat network
            // never gets it unasked.
            None if record.place == "terminal" => {
                notices.push(format!(
                    "none of {} is installed: `notes` answers, a built-in provider that needs no account",
                    AUTO.join(", ")
                ));
                Sourced { value: "notes".to_owned(), by: Layer::Installed }
            }
            None => return Err(ChoiceError::NoneInstalled),
        },
    };
    let (provider, options) = provider_of(config, &name.value)?;
    let model = first([
        (Layer::Message, asked.model.as_ref()),
        (Layer::Session, settings.model.as_ref()),
        (Layer::Agent, agent.model.as_ref()),
        (Layer::Configuration, options.model.as_ref()),
    ]);
    let ceiling = ceiling(record, agent, &options)?;
    let permission_mode = match settings.permission_mode {
        Some(wanted) if wanted <= ceiling.value => Sourced { value: wanted, by: Layer::Session },
        Some(wanted) => {
            let whose = if ceiling.by == Layer::Agent { "agent" } else { "configuration" };
            notices.push(format!(
                "permission mode `{}` is above the {whose}'s `{}`, which is used",
                wanted.name(),
                ceiling.value.name()
            ));
            ceiling
        }
        None => ceiling,
    };
    Ok(Effective { agent: record.agent.clone(), name, provider, options, model, permission_mode, notices })
}

/// The first value that is there.
fn first(values: [(Layer, Option<&String>); 4]) -> Option<Sourced<String>> {
    let mut values = values.into_iter();
    values.find_map(|(by, value)| Some(Sourced { value: value?.clone(), by }))
}

/// The highest permission mode that the owner allows there.
fn ceiling(record: &Record, agent: &Agent, options: &Options) -> Result<Sourced<PermissionMode>, ChoiceError> {
    let own = agent.permission_mode.as_deref().map(str::parse::<PermissionMode>).transpose();
    let own =
        own.map_err(|reason| ChoiceError::AgentMode { agent: record.agent.clone().unwrap_or_default(), reason })?;
    Ok(match own {
        Some(value) if value <= options.permission_mode => Sourced { value, by: Layer::Agent },
        _ => Sourced { value: options.permission_mode, by: Layer::Configuration },
    })
}

/// The named agent of the configuration.
///
/// # Errors
/// If there is none of that name.
pub(crate) fn agent_of<'a>(config: &'a Config, name: &str) -> Result<&'a Agent, ChoiceError> {
    config.agents.get(name).ok_or_else(|| ChoiceError::UnknownAgent {
        name: name.to_owned(),
        nearest: nearest(name, config.agents.keys().map(String::as_str)).map(str::to_owned),
    })
}

/// The provider of a name, with its section of the configuration.
///
/// # Errors
/// If there is none, or its section is wrong.
pub fn provider_of(config: &Config, name: &str) -> Result<(&'static dyn Provider, Options), ChoiceError> {
    let table = config.providers.get(name);
    let provider = match (built_in(name), table) {
        (Some(provider), _) => provider,
        (None, Some(_)) => built_in("command").ok_or_else(|| ChoiceError::NoProgram(name.to_owned()))?,
        (None, None) => {
            let names =
                PROVIDERS.iter().map(|provider| provider.name()).chain(config.providers.keys().map(String::as_str));
            return Err(ChoiceError::Unknown {
                name: name.to_owned(),
                nearest: nearest(name, names).map(str::to_owned),
            });
        }
    };
    Ok((provider, Options::read(name, table, provider)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigInputs, Environment};
    use crate::session::ProviderChoice;
    use PermissionMode::{AcceptEdits, BypassPermissions, Plan};

    const CONFIG: &str = r#"
        [agents.plain]

        [agents.full]
        provider = "gemini"
        model = "of-agent"
        permission_mode = "plan"

        [agents.bold]
        permission_mode = "bypassPermissions"

        [agents.wrong]
        provider = "gemnii"

        [providers.codex]
        model = "of-section"
        permission_mode = "bypassPermissions"
    "#;

    /// What speaks at a place: each `None` is silent.
    #[derive(Debug, Clone, Copy, Default)]
    struct Spoken {
        message: Option<(&'static str, &'static str)>,
        record: Option<&'static str>,
        model: Option<&'static str>,
        mode: Option<PermissionMode>,
        agent: Option<&'static str>,
        config: Option<&'static str>,
        installed: Option<&'static str>,
        chat: bool,
    }

    impl Spoken {
        fn resolve(self) -> Result<Effective, ChoiceError> {
            let dir = tempfile::tempdir().expect("a directory");
            let file = dir.path().join("denizen.toml");
            let provider = self.config.map_or_else(String::new, |name| format!("provider = \"{name}\"\n"));
            #[expect(clippy::disallowed_methods, reason = "a test writes what it then reads")]
            std::fs::write(&file, format!("{provider}{CONFIG}")).expect("written");
            let environment = Environment::default();
            let inputs = ConfigInputs {
                file: &file,
                required: true,
                environment: &environment,
                overrides: &[],
                root: dir.path(),
                home: None,
            };
            let config = Config::load(inputs).expect("a configuration");
            let mut record =
                Record::new("alder".parse().expect("a key"), if self.chat { "discord" } else { "terminal" });
            record.agent = self.agent.map(str::to_owned);
            record.provider = self.record.map(|name| ProviderChoice { name: name.to_owned() });
            let settings =
                Settings { model: self.model.map(str::to_owned), permission_mode: self.mode, ..Settings::default() };
            let asked = MessageOptions {
                provider: self.message.map(|(name, _)| name.to_owned()),
                model: self.message.map(|(_, model)| model.to_owned()),
                ..MessageOptions::default()
            };
            let place = Place { record: &record, settings: &settings };
            resolve(&config, place, &asked, || Ok(self.installed.map(str::to_owned)))
        }
    }

    #[test]
    fn the_strongest_that_speaks_decides_and_of_modes_the_lowest() {
        use Layer::{Agent, Configuration, Installed, Message, Session};
        let all = Spoken {
            message: Some(("claude", "asked")),
            record: Some("opencode"),
            model: Some("set"),
            mode: Some(Plan),
            agent: Some("full"),
            config: Some("codex"),
            installed: Some("claude"),
            chat: true,
        };
        let silent = Spoken { installed: Some("claude"), ..Spoken::default() };
        for (spoken, name, model, mode) in [
            (all, ("claude", Message), Some(("asked", Message)), (Plan, Session)),
            (Spoken { message: None, ..all }, ("opencode", Session), Some(("set", Session)), (Plan, Session)),
            (
                Spoken { message: None, record: None, model: None, mode: None, ..all },
                ("gemini", Agent),
                Some(("of-agent", Agent)),
                (Plan, Agent),
            ),
            // An agent that says nothing leaves it to the configuration.
            (
                Spoken { agent: Some("plain"), config: Some("codex"), ..silent },
                ("codex", Configuration),
                Some(("of-section", Configuration)),
                (BypassPermissions, Configuration),
            ),
            (silent, ("claude", Installed), None, (AcceptEdits, Configuration)),
            (Spoken { installed: None, ..silent }, ("notes", Installed), None, (AcceptEdits, Configuration)),
            // A wish is lowered to the ceiling, whoever set that.
            (
                Spoken { mode: Some(BypassPermissions), ..silent },
                ("claude", Installed),
                None,
                (AcceptEdits, Configuration),
            ),
            (
                Spoken { mode: Some(AcceptEdits), agent: Some("full"), ..silent },
                ("gemini", Agent),
                Some(("of-agent", Agent)),
                (Plan, Agent),
            ),
            // An agent raises nothing.
            (Spoken { agent: Some("bold"), ..silent }, ("claude", Installed), None, (AcceptEdits, Configuration)),
            (
                Spoken { agent: Some("bold"), mode: Some(BypassPermissions), config: Some("codex"), ..silent },
                ("codex", Configuration),
                Some(("of-section", Configuration)),
                (BypassPermissions, Session),
            ),
        ] {
            let found = spoken.resolve().expect("resolved");
            let text = |(value, by): (&str, Layer)| Sourced { value: value.to_owned(), by };
            assert_eq!(found.name, text(name), "{spoken:?}");
            assert_eq!(found.model, model.map(text), "{spoken:?}");
            assert_eq!(found.permission_mode, Sourced { value: mode.0, by: mode.1 }, "{spoken:?}");
            assert_eq!((found.agent.as_deref(), found.options.name.as_str()), (spoken.agent, name.0), "{spoken:?}");
            let lowered = spoken.mode.is_some_and(|wanted| wanted > mode.0);
            let is_told = found.notices.iter().any(|notice| notice.contains("is above the"));
            assert_eq!(is_told, lowered, "{spoken:?}: {:?}", found.notices);
        }
    }

    #[test]
    fn what_leads_nowhere_is_said() {
        let fails = |spoken: Spoken| spoken.resolve().map(|found| found.name).expect_err("nothing").to_string();
        assert_eq!(
            fails(Spoken { agent: Some("fulll"), ..Spoken::default() }),
            "there is no agent `fulll`, did you mean `full`?"
        );
        assert_eq!(
            fails(Spoken { agent: Some("wrong"), ..Spoken::default() }),
            "there is no provider `gemnii`, did you mean `gemini`?"
        );
        // What answers at a terminal without an account is never a chat's unasked.
        assert_eq!(
            fails(Spoken { chat: true, ..Spoken::default() }),
            "none of claude, codex, opencode, gemini is installed"
        );
    }
}
