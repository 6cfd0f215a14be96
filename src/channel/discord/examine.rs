//! Whether the bot could do its work: the token, the intent, where it was
//! invited, and who may talk to it. Everything is asked, nothing is changed.

use serde_json::Value;

use super::rest::{Api, ApiError};
use super::section::Section;
use super::wire::Id;
use crate::channel::{Finding, Verdict};

/// What the bot has to be allowed where it is invited: the bit and the name that
/// Discord gives it (Permissions, Bitwise Permission Flags).
const PERMISSIONS: &[(u32, &str)] = &[
    (10, "View Channels"),
    (11, "Send Messages"),
    (15, "Attach Files"),
    (16, "Read Message History"),
    (38, "Send Messages in Threads"),
];

/// Who has it may do everything.
const ADMINISTRATOR: u64 = 1 << 3;

/// The application may see what is written (flags of an application); the second
/// is for those in fewer than 100 servers.
const MESSAGE_CONTENT: u64 = 1 << 18 | 1 << 19;

/// How many servers are looked at.
const MOST_GUILDS: usize = 200;

/// The link that invites the bot with all it needs.
pub(super) fn invitation(application: &str) -> String {
    let permissions: u64 = PERMISSIONS.iter().map(|(bit, _)| 1 << bit).sum();
    format!(
        "https://discord.com/oauth2/authorize?client_id={application}&scope=bot+applications.commands\
         &permissions={permissions}"
    )
}

/// Looks at everything; at the rest only with a token that is accepted.
pub(super) async fn examine(api: &Api, section: &Section) -> Vec<Finding> {
    let me = match api.get("/users/@me").await {
        Ok(me) => me,
        Err(error) => return vec![refused(&error)],
    };
    let name = me["username"].as_str().unwrap_or("a bot without a name");
    let mut findings = vec![Finding::new(Verdict::Good, format!("the token is that of `{name}`"), None)];
    let application = api.get("/applications/@me").await.unwrap_or_default();
    let id = section.application.clone().or_else(|| id_in(&application)).or_else(|| id_in(&me));
    let id = id.map_or_else(|| "APPLICATION_ID".to_owned(), |id| id.to_string());
    findings.extend(intent(&application, &id));
    match api.get(&format!("/users/@me/guilds?limit={MOST_GUILDS}")).await {
        Ok(guilds) => findings.extend(invited(&guilds, &id)),
        Err(error) => {
            findings.push(Finding::new(Verdict::Note, format!("its servers cannot be listed: {error}"), None));
        }
    }
    findings.push(people(section));
    findings
}

fn refused(error: &ApiError) -> Finding {
    let remedy = match error {
        ApiError::Refused { status: 401, .. } => {
            "make a new one with `Reset Token` at https://discord.com/developers/applications (your application, then \
             `Bot`), and put it where `channels.discord.token` says"
        }
        ApiError::Refused { .. } | ApiError::Later(_) => "try again later",
        ApiError::Http(_) => "see whether this machine reaches it: `curl -sI https://discord.com`",
        ApiError::Token => "copy the token again, on one line",
    };
    Finding::new(Verdict::Bad, error.to_string(), Some(remedy.to_owned()))
}

fn id_in(value: &Value) -> Option<Id> {
    serde_json::from_value(value["id"].clone()).ok()
}

/// Whether it may see what is written; nothing where the server does not say.
fn intent(application: &Value, id: &str) -> Option<Finding> {
    let flags = application["flags"].as_u64()?;
    Some(if flags & MESSAGE_CONTENT == 0 {
        let remedy = format!(
            "switch `Message Content Intent` on at https://discord.com/developers/applications/{id}/bot, and save"
        );
        Finding::new(Verdict::Bad, "the bot may not read what is written", Some(remedy))
    } else {
        Finding::new(Verdict::Good, "the Message Content intent is on", None)
    })
}

/// Where it was invited, and what it may not do there.
fn invited(guilds: &Value, id: &str) -> Vec<Finding> {
    let guilds = guilds.as_array().map(Vec::as_slice).unwrap_or_default();
    let invite = |what: &str| Some(format!("{what}: {}", invitation(id)));
    if guilds.is_empty() {
        return vec![Finding::new(Verdict::Bad, "the bot is in no server", invite("invite it"))];
    }
    let name = |guild: &Value| guild["name"].as_str().unwrap_or("?").chars().take(100).collect::<String>();
    let names: Vec<String> = guilds.iter().take(5).map(|guild| format!("`{}`", name(guild))).collect();
    let more = if guilds.len() > names.len() { " and others" } else { "" };
    let found = format!("the bot is in {}{more}", names.join(", "));
    let mut findings = vec![Finding::new(Verdict::Good, found, None)];
    for guild in guilds {
        let missing = missing(&guild["permissions"]);
        if !missing.is_empty() {
            let found = format!("in `{}` it may not: {}", name(guild), missing.join(", "));
            findings.push(Finding::new(Verdict::Note, found, invite("give its role that, or invite it again")));
        }
    }
    findings
}

/// What is missing of what the bot needs, where the server says what it has.
fn missing(permissions: &Value) -> Vec<&'static str> {
    // A text, because it does not fit a number of JavaScript.
    let Some(has) = permissions.as_str().and_then(|text| text.parse::<u64>().ok()).or_else(|| permissions.as_u64())
    else {
        return Vec::new();
    };
    if has & ADMINISTRATOR != 0 {
        return Vec::new();
    }
    PERMISSIONS.iter().filter(|(bit, _)| has & (1 << bit) == 0).map(|(_, name)| *name).collect()
}

/// Whether anybody may talk to it.
fn people(section: &Section) -> Finding {
    let scopes = section.guilds.values().chain(section.channels.values()).chain([&section.whole]);
    let others = !section.open_channels.is_empty()
        || scopes.into_iter().any(|scope| !scope.users.is_empty() || !scope.roles.is_empty());
    let how = "right-click your name in Discord, with `Developer Mode` on, `Copy User ID`; then \
               `owners = [\"ID\"]` in `[channels.discord]`";
    match (section.owners.len(), others) {
        (0, false) => Finding::new(Verdict::Bad, "nobody may talk to the bot: it has no owner", Some(how.to_owned())),
        (0, true) => {
            Finding::new(Verdict::Note, "it has no owner, so nobody may use all commands", Some(how.to_owned()))
        }
        (1, _) => Finding::new(Verdict::Good, "it has an owner", None),
        (owners, _) => Finding::new(Verdict::Good, format!("it has {owners} owners"), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_bot_may_not_do_is_named() {
        let all: u64 = PERMISSIONS.iter().map(|(bit, _)| 1 << bit).sum();
        assert_eq!(missing(&json!(all.to_string())), [""; 0]);
        assert_eq!(
            missing(&json!((all & !(1 << 11) & !(1 << 38)).to_string())),
            ["Send Messages", "Send Messages in Threads"]
        );
        assert_eq!(missing(&json!("8")), [""; 0], "an administrator");
        assert_eq!(missing(&Value::Null), [""; 0], "a server that does not say");
        assert_eq!(
            invitation("7"),
            "https://discord.com/oauth2/authorize?client_id=7&scope=bot+applications.commands&permissions=274878008320"
        );
    }
}
