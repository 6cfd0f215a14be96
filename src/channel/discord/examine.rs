//! What can be wrong on the way to a bot that answers, each with what to do.

use serde_json::Value;

use super::rest::{Api, ApiError};
use super::section::{ApiUrl, Section};
use super::wire::{Id, WireUser};
use crate::channel::{Examined, Grade};
use crate::config::Secret;

/// What the bot needs to be allowed: the bit, and the name that Discord gives it.
const PERMISSIONS: &[(u32, &str)] = &[
    (10, "View Channels"),
    (11, "Send Messages"),
    (15, "Attach Files"),
    (16, "Read Message History"),
    (38, "Send Messages in Threads"),
];

/// Who has it may do everything.
const ADMINISTRATOR: u64 = 1 << 3;

/// The application may read what is written, of many guilds or of few.
const MAY_READ: u64 = 1 << 18 | 1 << 19;

/// How to find one's own id.
const OWN_ID: &str = "set `channels.discord.owners = [\"<your id>\"]`: in Discord, User Settings, Advanced, \
                      Developer Mode; then right-click your name, Copy User ID";

/// The link that invites the bot with all it needs.
pub(super) fn invitation(application: &str) -> String {
    let permissions: u64 = PERMISSIONS.iter().map(|(bit, _)| 1 << bit).sum();
    format!(
        "https://discord.com/oauth2/authorize?client_id={application}&scope=bot+applications.commands\
         &permissions={permissions}"
    )
}

/// Asks Discord about the bot, and looks at who may talk to it.
pub(super) async fn examine(section: &Section, token: &Secret) -> Vec<Examined> {
    let mut found = vec![people(section)];
    let asked = match Api::new(section.api.clone(), token) {
        Ok(api) => match api.get("/users/@me").await {
            Ok(bot) => Ok((api, bot)),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    let (api, bot) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            found.insert(0, refused(&section.api, &error));
            return found;
        }
    };
    let bot = serde_json::from_value::<WireUser>(bot).ok();
    let name = bot.as_ref().map_or("unknown", WireUser::display);
    found.insert(0, Examined::new(Grade::Good, format!("the token is valid, the bot is {name}")));
    let application = api.get("/applications/@me").await.unwrap_or_default();
    let id = serde_json::from_value::<Id>(application["id"].clone()).ok().or_else(|| bot.map(|bot| bot.id));
    let id = section.application.clone().or(id).unwrap_or_default();
    found.push(intent(&application, &id));
    found.extend(guilds(&api, &id).await);
    found
}

fn people(section: &Section) -> Examined {
    let scopes = section.guilds.values().chain(section.channels.values()).chain([&section.whole]);
    let talkers = scopes.into_iter().any(|scope| !scope.users.is_empty() || !scope.roles.is_empty());
    match (section.owners.len(), talkers || !section.open_channels.is_empty()) {
        (0, false) => {
            let found = "nobody may talk to the bot yet, but whom `denizen pairing approve` lets in";
            Examined::new(Grade::Note, found).remedy(OWN_ID)
        }
        (0, true) => {
            let found = "there are no owners: nobody may use the commands that reach other sessions";
            Examined::new(Grade::Note, found).remedy(OWN_ID)
        }
        (1, _) => Examined::new(Grade::Good, "there is 1 owner"),
        (owners, _) => Examined::new(Grade::Good, format!("there are {owners} owners")),
    }
}

fn refused(api: &ApiUrl, error: &ApiError) -> Examined {
    let remedy = match error {
        ApiError::Refused { status: 401, .. } | ApiError::Token => {
            "copy the bot's token, not the application's secret or key: \
             https://discord.com/developers/applications, your application, Bot, Reset Token"
                .to_owned()
        }
        ApiError::Http(_) => {
            format!("is {} reachable from here? `channels.discord.api_url` is another server", api.host)
        }
        ApiError::Refused { .. } | ApiError::Later(_) => "try again later".to_owned(),
    };
    Examined::new(Grade::Bad, error.to_string()).remedy(remedy)
}

fn intent(application: &Value, id: &Id) -> Examined {
    match application["flags"].as_u64() {
        Some(flags) if flags & MAY_READ != 0 => Examined::new(Grade::Good, "the Message Content intent is on"),
        Some(_) => {
            let page = format!("https://discord.com/developers/applications/{id}/bot");
            let found = "the Message Content intent is off, so Discord will not let the bot in";
            Examined::new(Grade::Bad, found).remedy(format!("enable the Message Content intent at {page}"))
        }
        None => Examined::new(Grade::Note, "the server does not say whether the Message Content intent is on"),
    }
}

async fn guilds(api: &Api, id: &Id) -> Vec<Examined> {
    // Not every server has this.
    let guilds = api.get("/users/@me/guilds").await.unwrap_or_default();
    let Some(guilds) = guilds.as_array() else { return Vec::new() };
    let link = invitation(&id.to_string());
    let mut found = vec![match guilds.len() {
        0 => Examined::new(Grade::Bad, "the bot is in no guild").remedy(format!("invite it: {link}")),
        1 => Examined::new(Grade::Good, "the bot is in 1 guild"),
        many => Examined::new(Grade::Good, format!("the bot is in {many} guilds")),
    }];
    for guild in guilds {
        let missing = missing(&guild["permissions"]);
        if !missing.is_empty() {
            let name = guild["name"].as_str().unwrap_or("?");
            let found_here = format!("in `{name}` the bot may not: {}", missing.join(", "));
            let remedy = format!("give its role that, or invite it again: {link}");
            found.push(Examined::new(Grade::Note, found_here).remedy(remedy));
        }
    }
    found
}

/// What is missing of what the bot needs, where the server says what it has: a
/// number in a text.
fn missing(permissions: &Value) -> Vec<&'static str> {
    let Some(has) = permissions.as_str().and_then(|text| text.parse::<u64>().ok()) else { return Vec::new() };
    let lacks = |bit: u32| has & ADMINISTRATOR == 0 && has & (1 << bit) == 0;
    PERMISSIONS.iter().filter(|(bit, _)| lacks(*bit)).map(|(_, name)| *name).collect()
}
