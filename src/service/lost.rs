//! What a person's shell has and a service has not: environment variables that
//! the configuration or the providers count on. Only names are handed on.

use crate::config::Environment;
use crate::config::keys::{KEYS, variable};
use crate::provider::{BASIC_VARIABLES, PROVIDERS};

/// A secret that the configuration takes from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentSecret {
    /// The key of the configuration, dotted.
    pub key: String,
    /// The name of the variable.
    pub variable: String,
}

/// The secrets that a configuration takes from variables: every `{ env = "NAME" }`.
pub(super) fn sources(configuration: &toml::Table) -> Vec<EnvironmentSecret> {
    let mut found = Vec::new();
    collect(configuration, "", &mut found);
    found
}

fn collect(table: &toml::Table, above: &str, found: &mut Vec<EnvironmentSecret>) {
    for (name, value) in table {
        let Some(inner) = value.as_table() else { continue };
        let key = format!("{above}{name}");
        match (inner.len(), inner.get("env").and_then(toml::Value::as_str)) {
            (1, Some(variable)) => found.push(EnvironmentSecret { key, variable: variable.to_owned() }),
            _ => collect(inner, &format!("{key}."), found),
        }
    }
}

/// The variables that are set here, that Denizen or a provider would read, and
/// that the service does not have.
pub(super) fn variables(here: &Environment, service: &Environment) -> Vec<String> {
    let is_known = |name: &str| {
        let keys = KEYS.iter().any(|spec| variable(spec.name) == name);
        // What belongs to a terminal is not missed.
        let network = BASIC_VARIABLES.contains(&name) && is_network(name);
        let provider = PROVIDERS
            .iter()
            .flat_map(|provider| provider.variables())
            .any(|known| known.strip_suffix('*').map_or(*known == name, |prefix| name.starts_with(prefix)));
        keys || network || provider
    };
    let names = here.iter().filter_map(|(name, _)| name.to_str());
    names.filter(|name| is_known(name) && service.get(name).is_none()).map(str::to_owned).collect()
}

fn is_network(name: &str) -> bool {
    name.to_ascii_uppercase().ends_with("_PROXY") || name.contains("CERT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_from_the_environment_are_found_wherever_they_stand() {
        let text = "[channels.discord]\ntoken = { env = \"DISCORD_TOKEN\" }\n[http]\ntoken = { file = \"x\" }\n\
                    [providers.claude]\nenv = [\"A\"]\n[channels.b.c.token]\nenv = \"B\"\n";
        let source = |key: &str, variable: &str| EnvironmentSecret { key: key.into(), variable: variable.into() };
        assert_eq!(
            sources(&toml::from_str(text).expect("TOML")),
            [source("channels.discord.token", "DISCORD_TOKEN"), source("channels.b.c.token", "B")]
        );
    }

    #[test]
    fn what_only_the_shell_has_is_named() {
        let here: Environment = [
            ("ANTHROPIC_API_KEY", "k"),
            ("ANTHROPIC_DEFAULT_OPUS_MODEL", "m"),
            ("DENIZEN_LIMITS_TURNS", "4"),
            ("HTTPS_PROXY", "p"),
            ("LANG", "C"),
            ("OPENAI_API_KEY", "k"),
            ("OTHER", "x"),
            ("TERM", "dumb"),
        ]
        .into_iter()
        .collect();
        let service: Environment = [("OPENAI_API_KEY", "k")].into_iter().collect();
        assert_eq!(
            variables(&here, &service),
            ["ANTHROPIC_API_KEY", "ANTHROPIC_DEFAULT_OPUS_MODEL", "DENIZEN_LIMITS_TURNS", "HTTPS_PROXY"]
        );
    }
}
