//! From a token to a bot that answers: what `denizen doctor` says of each thing
//! that can be wrong on the way.

use serde_json::Value;

use super::support::discord::{Discord, Failure, TOKEN};
use super::support::root::Root;

/// What `doctor` finds about Discord: verdict, what was found, what to do.
fn findings(root: &Root) -> Vec<(String, String, String)> {
    let printed = root.run(&["doctor", "--json"]).stdout;
    let findings = printed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    findings
        .filter(|finding| finding["about"] == "channel discord")
        .map(|finding| {
            let text = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
            (text("verdict"), text("found"), text("remedy"))
        })
        .collect()
}

fn has(findings: &[(String, String, String)], verdict: &str, found: &str, remedy: &str) {
    let fits = |it: &(String, String, String)| it.0 == verdict && it.1.contains(found) && it.2.contains(remedy);
    assert!(findings.iter().any(fits), "{verdict}: {found}; {remedy}: {findings:#?}");
}

#[test]
fn each_thing_that_can_be_wrong_is_said_with_the_remedy() {
    let root = Root::new("discord_doctor::each_thing");
    let discord = Discord::start();
    let (api, gateway) = (discord.api_url(), discord.gateway_url());
    let section = |token: &str, api: &str| {
        format!("provider = \"notes\"\n[channels.discord]\n{token}\napi_url = \"{api}\"\ngateway_url = \"{gateway}\"\n")
    };

    root.write_config(&section("", &api));
    has(&findings(&root), "bad", "token is not set", "");
    root.write_config(&section("token = { env = \"DISCORD_TOKEN\" }", &api));
    has(&findings(&root), "bad", "DISCORD_TOKEN is not set", "a service has to get it from a file or a command");
    root.write_config(&section("token = { file = \"access/t\" }", &api));
    has(&findings(&root), "bad", "cannot be got", "(umask 077; cat > ");
    root.write_config(&section("token = { command = [\"false\"] }", &api));
    has(&findings(&root), "bad", "cannot be got", "run it by hand, and see what it says: false");
    root.write_config(&section("tokne = \"x\"", &api));
    has(&findings(&root), "bad", "did you mean `token`?", "");
    root.write_config(&section("token = \"wrong\"", &api));
    has(&findings(&root), "bad", "Discord refuses the token", "Reset Token");
    root.write_config(&section("token = \"x\"", "http://127.0.0.1:9"));
    has(&findings(&root), "bad", "was not reached", "is 127.0.0.1 reachable from here?");

    let token = format!("token = \"{TOKEN}\"");
    root.write_config(&section(&token, &api));
    discord.behave(|it| it.message_content = false);
    let found = findings(&root);
    has(&found, "ok", "the token is valid, the bot is Denizen", "");
    let page = format!("https://discord.com/developers/applications/{}/bot", discord.application());
    has(&found, "bad", "the Message Content intent is off", &page);
    has(&found, "bad", "the bot is in no guild", &format!("client_id={}&scope=bot+", discord.application()));
    has(&found, "note", "nobody may talk to the bot yet", "Copy User ID");

    discord.behave(|it| it.message_content = true);
    discord.guild("Guild");
    root.write_config(&section(&format!("{token}\nowners = [\"1\"]"), &api));
    let found = findings(&root);
    assert!(found.iter().all(|(verdict, ..)| verdict == "ok"), "{found:#?}");
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(!format!("{found:?}").contains(TOKEN));

    // A server that says what the bot may do there: all but sending.
    discord.fail(Failure {
        request: "GET /users/@me/guilds".to_owned(),
        status: 200,
        headers: Vec::new(),
        body: "[{\"id\": \"1\", \"name\": \"G\", \"permissions\": \"274878006272\"}]".to_owned(),
        after: false,
    });
    has(&findings(&root), "note", "in `G` the bot may not: Send Messages", "&permissions=274878008320");
}
