//! Slash commands, made from the table of chat commands: registered per guild,
//! where they show at once, and for direct messages. Only what changed is sent:
//! Discord allows 200 new commands a day.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::position::StateDir;
use super::rest::{Api, Body};
use super::wire::Id;
use crate::key::hex;
use crate::ops::commands::{ArgSpec, COMMANDS, CommandSpec};

const NAME: &str = "commands.json";

/// Registers the commands.
pub(super) struct Registrar {
    api: Arc<Api>,
    place: StateDir,
    application: Option<Id>,
    /// What each scope was given: a hash of the application and the commands.
    given: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Registrar {
    pub(super) fn new(api: Arc<Api>, place: StateDir) -> Self {
        let given = Arc::new(Mutex::new(place.read(NAME)));
        Self { api, place, application: None, given }
    }

    /// Registers for this application from now on.
    pub(super) fn begin(&mut self, application: &Id) {
        self.application = Some(application.clone());
    }

    /// Registers the commands of a guild, or of direct messages, in a task of
    /// its own.
    pub(super) fn register(&self, guild: Option<&Id>) {
        let Some(application) = &self.application else { return };
        let body = table(guild.is_none());
        let scope = guild.map_or("global", Id::as_str).to_owned();
        let seed = format!("{} {application} {body}", self.api.url().base);
        let hash = hex(&Sha256::digest(seed.as_bytes())[..16]);
        if self.lock().get(&scope) == Some(&hash) {
            return;
        }
        let path = match guild {
            Some(guild) => format!("/applications/{application}/guilds/{guild}/commands"),
            None => format!("/applications/{application}/commands"),
        };
        let (api, place, given) = (Arc::clone(&self.api), self.place.clone(), Arc::clone(&self.given));
        tokio::spawn(async move {
            if let Err(error) = api.ask(Method::PUT, &path, Body::Json(body)).await {
                tracing::warn!(scope, %error, "the slash commands were not registered");
                return;
            }
            let kept = tokio::task::spawn_blocking(move || {
                let mut given = given.lock().unwrap_or_else(PoisonError::into_inner);
                given.insert(scope, hash);
                place.write(NAME, &*given)
            });
            if let Ok(Err(error)) = kept.await {
                tracing::warn!(%error, "what was registered was not kept");
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The commands as Discord is told them.
fn table(directs: bool) -> Value {
    let command = |command: &CommandSpec| {
        let options: Vec<Value> = command.args.iter().map(option).collect();
        let mut value = json!({ "name": command.name, "description": command.help, "type": 1, "options": options });
        if directs {
            // In guilds they are registered apart, and would show twice.
            value["contexts"] = json!([1]);
            value["integration_types"] = json!([0]);
        }
        value
    };
    COMMANDS.iter().map(command).collect()
}

fn option(arg: &ArgSpec) -> Value {
    let mut option = json!({ "type": 3, "name": arg.name, "description": arg.help, "required": arg.required });
    if !arg.choices.is_empty() {
        option["choices"] = arg.choices.iter().map(|choice| json!({ "name": choice, "value": choice })).collect();
    }
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_told_as_discord_wants_it() {
        for command in table(false).as_array().expect("a list") {
            let options = command["options"].as_array().expect("a list");
            let required: Vec<bool> = options.iter().map(|option| option["required"] == json!(true)).collect();
            assert!(required.windows(2).all(|pair| pair[0] || !pair[1]), "required ones come first: {command}");
            assert!(options.len() <= 25);
        }
        assert_eq!(table(false).as_array().map(Vec::len), Some(COMMANDS.len()));
        assert_eq!(table(true)[0]["contexts"], json!([1]));
    }
}
