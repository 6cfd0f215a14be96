//! `denizen doctor` on the way to a bot: each thing that can be wrong is named,
//! with what to do, until nothing is.

use std::os::unix::fs::PermissionsExt;

use crate::support::discord::{Discord, Failure};
use crate::support::root::{Root, write};

/// What `doctor` says of Discord; paths of the test are `~test`.
fn said(root: &Root) -> (Option<i32>, String) {
    let output = root.run(&["doctor"]);
    let mut is_about = false;
    let lines = output.stdout.lines().filter(|line| {
        is_about = line.contains(" channel discord ") || (is_about && line.starts_with("     hint: "));
        is_about
    });
    let text = lines.collect::<Vec<_>>().join("\n").replace(&root.dir().display().to_string(), "~test");
    (output.code, text)
}

fn bad(found: &str, remedy: &str) -> (Option<i32>, String) {
    (Some(1), format!("bad  channel discord  {found}\n     hint: {remedy}"))
}

const GOOD_TOKEN: &str = "ok   channel discord  the token is that of `Denizen`";
const GOOD_INTENT: &str = "ok   channel discord  the Message Content intent is on";

#[test]
fn each_thing_that_can_be_wrong_on_the_way_to_a_bot_is_explained() {
    let discord = Discord::start();
    discord.behave(|behaviour| behaviour.message_content = false);
    let mut root = Root::new("doctor-discord");
    root.ok(&["init", "--try", "--discord"]);
    let token = root.path().join("access/discord-token");
    let config = fs_err::read_to_string(root.path().join("denizen.toml")).expect("a configuration");
    let server = format!("api_url = \"{}\"\ngateway_url = \"{}\"\n", discord.api_url(), discord.gateway_url());
    let config = format!("{config}{server}");
    root.write_config(&config);

    // The token: not there, open to others, refused, not one.
    let keep = "run this, paste the token, press Enter and Ctrl-D: (umask 077; cat > ~test/root/access/discord-token)";
    let (code, text) = said(&root);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("bad  channel discord  the token of `channels.discord` cannot be got: "), "{text}");
    assert!(text.ends_with(&format!("\n     hint: {keep}")), "{text}");
    write(&token, "wrong\n");
    fs_err::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).expect("open");
    assert!(said(&root).1.contains("others can read `~test/root/access/discord-token` (mode 644)"));
    fs_err::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).expect("private");
    let again = "make a new one with `Reset Token` at https://discord.com/developers/applications (your application, \
                 then `Bot`), and put it where `channels.discord.token` says";
    assert_eq!(said(&root), bad("Discord refuses the token", again));
    write(&token, "two\nlines\n");
    assert_eq!(
        said(&root),
        bad(
            "the token of `channels.discord` cannot be got: the token is not one: it has characters that cannot be sent",
            "copy the token again, on one line"
        )
    );

    // The intent, the invitation, and who may talk, all at once.
    let good = discord.section();
    let good = good.split('"').nth(1).expect("the token of the section");
    write(&token, &format!("{good}\n"));
    let application = discord.application();
    let (code, text) = said(&root);
    assert_eq!(code, Some(1));
    let invite = format!(
        "https://discord.com/oauth2/authorize?client_id={application}&scope=bot+applications.commands\
         &permissions=274878008320"
    );
    assert_eq!(
        text,
        format!(
            "{GOOD_TOKEN}\n\
             bad  channel discord  the bot may not read what is written\n     \
             hint: switch `Message Content Intent` on at \
             https://discord.com/developers/applications/{application}/bot, and save\n\
             bad  channel discord  the bot is in no server\n     hint: invite it: {invite}\n\
             bad  channel discord  nobody may talk to the bot: it has no owner\n     \
             hint: right-click your name in Discord, with `Developer Mode` on, `Copy User ID`; then \
             `owners = [\"ID\"]` in `[channels.discord]`"
        )
    );

    // Everything is done.
    discord.behave(|behaviour| behaviour.message_content = true);
    discord.guild("Gärten\u{1b}[31m");
    let owner = discord.user("Olga");
    root.write_config(&config.replace("owners = []", &format!("owners = [\"{owner}\"]")));
    let all = format!(
        "{GOOD_TOKEN}\n{GOOD_INTENT}\n\
         ok   channel discord  the bot is in `Gärten\\u{{1b}}[31m`\nok   channel discord  it has an owner"
    );
    assert_eq!(said(&root), (Some(0), all));
    let json = root.ok(&["doctor", "--json"]);
    assert!(json.contains("\"about\":\"channel discord\"") && !json.contains(good), "{json}");

    // A server that says what the bot may do: without bit 11, sending.
    discord.fail(Failure {
        request: "GET /users/@me/guilds".to_owned(),
        status: 200,
        headers: Vec::new(),
        body: "[{\"id\": \"1\", \"name\": \"G\", \"permissions\": \"274878006272\"}]".to_owned(),
        after: false,
    });
    let (code, text) = said(&root);
    assert_eq!(code, Some(0));
    let note = format!(
        "note channel discord  in `G` it may not: Send Messages\n     \
         hint: give its role that, or invite it again: {invite}"
    );
    assert!(text.contains(&note), "{text}");

    // Other places for the token.
    root.write_config(&config.replace("{ file = \"access/discord-token\" }", "{ env = \"BOT_TOKEN\" }"));
    let missing = bad(
        "the token of `channels.discord` cannot be got: the environment variable BOT_TOKEN is not set",
        "export BOT_TOKEN=… before `denizen serve`; a service has to get it from a file or a command",
    );
    assert_eq!(said(&root), missing);
    root.set_env("BOT_TOKEN", good);
    assert!(said(&root).1.starts_with(GOOD_TOKEN));
    root.write_config(&config.replace("{ file = \"access/discord-token\" }", "{ command = [\"false\"] }"));
    assert!(said(&root).1.ends_with("hint: run it by hand, and see what it says: false"));
}

#[test]
fn a_section_that_is_wrong_and_a_server_out_of_reach_are_named_too() {
    let root = Root::new("doctor-section");
    for (section, found) in [
        ("[channels.discrod]\ntoken = \"x\"\n", "there is no channel `discrod`, did you mean `discord`?"),
        ("[channels.discord]\nowners = [\"1\"]\n", "channels.discord.token is not set"),
        (
            "[channels.discord]\ntoken = \"x\"\nowner = \"1\"\n",
            "there is no key `channels.discord.owner`, did you mean `owners`?",
        ),
    ] {
        root.write_config(&format!("provider = \"notes\"\n{section}"));
        let output = root.run(&["doctor"]);
        assert_eq!(output.code, Some(1), "{section}");
        assert!(output.stdout.contains(&format!("{found}\n     hint: ")), "{}", output.stdout);
    }
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    root.write_config(&format!(
        "provider = \"notes\"\n[channels.discord]\ntoken = \"x\"\napi_url = \"http://127.0.0.1:{port}/api/v10\"\n"
    ));
    let (code, text) = said(&root);
    assert_eq!(code, Some(1));
    assert!(text.contains("did not answer") && text.contains("hint: see whether this machine reaches it"), "{text}");
}
