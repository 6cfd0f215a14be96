//! `denizen init`: what a newcomer gets, and that following it to the letter
//! works.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::discord::Discord;
use crate::support::fake::Running;
use crate::support::root::{Root, run, write};
use crate::support::words::{plain, words};

fn config(root: &Root) -> String {
    fs_err::read_to_string(root.path().join("denizen.toml")).expect("a configuration")
}

/// The keys of Discord's section in force, with their values.
fn discord(root: &Root) -> String {
    let lines = root.ok(&["config", "channels"]);
    lines.lines().map(|line| line.split("  #").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_newcomer_is_led_from_nothing_to_a_bot() {
    let root = Root::new("init-discord");
    let printed = plain(&root, &root.ok(&["init", "--try", "--discord"]));
    assert_eq!(
        printed,
        "root      ~test/root
config    ~test/root/denizen.toml
provider  notes

Say something: denizen send hello \"remember the gate is blue\"

Next, for the bot on Discord:
1. Make an application at https://discord.com/developers/applications: `New Application`
2. There, under `Bot`: switch `Message Content Intent` on and save, then `Reset Token` shows the token
3. Keep the token where only you can read it: run this, paste it, press Enter and Ctrl-D
   (umask 077; cat > ~test/root/access/discord-token)
4. Invite the bot to your server: open this, with the `Application ID` of `General Information` in it
   https://discord.com/oauth2/authorize?client_id=APPLICATION_ID&scope=bot+applications.commands&permissions=274878008320
5. Get your user id: in Discord, `User Settings`, `Advanced`, `Developer Mode`; then right-click your name,
   `Copy User ID`; and write it into ~test/root/denizen.toml: owners = [\"<number>\"]
6. See whether all is right, and what to do where it is not: denizen doctor
7. Start it: denizen serve. Mention the bot in a channel, or write to it directly
8. Have it started at boot: denizen service install"
    );
    // The commands do what they say.
    let keep = printed.lines().find_map(|line| line.trim().strip_prefix("(umask")).expect("a command");
    let mut shell = root.command("sh");
    shell.args(["-c", &format!("(umask{}", keep.replace("~test", &root.dir().display().to_string()))]);
    assert_eq!(run(shell, "token-1\n").code, Some(0));
    let token = root.path().join("access/discord-token");
    assert_eq!(fs_err::read_to_string(&token).expect("a token"), "token-1\n");
    let mode = |path| fs_err::metadata(path).expect("there").mode() & 0o777;
    assert_eq!((mode(token), mode(root.path().join("access"))), (0o600, 0o700));
    // The one edit.
    root.write_config(&config(&root).replace("owners = []", "owners = [\"123456789012345678\"]"));
    assert_eq!(
        discord(&root),
        "channels.discord.token = { file = \"access/discord-token\" }\n\
         channels.discord.owners = [\"123456789012345678\"]"
    );
}

#[test]
fn an_owner_who_is_known_is_written_down() {
    let root = Root::new("init-owner");
    let args = ["init", "--try", "--discord", "--owner", "123456789012345678", "--owner", "223456789012345678"];
    let next = root.json(&args)["next"].as_array().expect("steps").len();
    assert_eq!(next, 7, "nothing is to be edited");
    assert!(discord(&root).contains("owners = [\"123456789012345678\", \"223456789012345678\"]"));
    let wrong = words(&root, &root.run(&["init", "--discord", "--owner", "<@123456789012345678>"]));
    assert!(wrong.starts_with("2\n") && wrong.contains("a user's id is 15 to 20 digits"), "{wrong}");
}

#[test]
fn what_is_switched_off_in_the_example_can_be_switched_on() {
    let root = Root::new("init-example");
    root.ok(&["init", "--try"]);
    let written = config(&root);
    assert!(!written.contains("\n[channels"), "{written}");
    let (before, section) = written.split_once("# [channels.discord]\n").expect("a section");
    let on: String = section.lines().map(|line| format!("{}\n", line.strip_prefix("# ").expect("a comment"))).collect();
    root.write_config(&format!("{before}[channels.discord]\n{on}"));
    let other = Root::new("init-example-on");
    other.ok(&["init", "--try", "--discord"]);
    assert_eq!(config(&root), config(&other));
}

#[test]
fn what_exists_is_not_changed() {
    let root = Root::new("init-exists");
    write(&root.path().join("denizen.toml"), "provider = \"notes\"\n");
    let printed = plain(&root, &root.ok(&["init", "--discord"]));
    assert_eq!(config(&root), "provider = \"notes\"\n");
    let (_, section) = printed.split_once("\n\n[channels.discord]\n").expect("a section to add");
    assert!(printed.contains("\n5. Add the section below to ~test/root/denizen.toml\n"), "{printed}");
    root.write_config(&format!("provider = \"notes\"\n\n[channels.discord]\n{section}"));
    assert!(discord(&root).contains("channels.discord.owners = []"));
    let printed = root.ok(&["init", "--discord"]);
    assert!(!printed.contains("Add the section"), "{printed}");
}

/// What a newcomer does: `init`, the token, one edit, `doctor`, `serve`.
#[test]
fn a_newcomer_with_a_token_has_a_bot_that_replies() {
    let discord = Discord::start();
    let guild = discord.guild("Home");
    let channel = discord.channel(guild, "general");
    let (owner, stranger) = (discord.user("Olga"), discord.user("Sven"));
    let root = Root::new("init-newcomer");
    let printed = root.ok(&["init", "--try", "--discord"]);
    let section = discord.section();
    let good = section.split('"').nth(1).expect("the token of the section");
    let keep = printed.lines().map(str::trim).find(|line| line.starts_with("(umask")).expect("a command");
    let mut shell = root.command("sh");
    shell.args(["-c", keep]);
    assert_eq!(run(shell, &format!("{good}\n")).code, Some(0));
    let server = format!("api_url = \"{}\"\ngateway_url = \"{}\"\n", discord.api_url(), discord.gateway_url());
    root.write_config(&format!("{}{server}", config(&root)).replace("owners = []", &format!("owners = [\"{owner}\"]")));
    root.ok(&["doctor"]);

    // Started as a service manager starts it.
    let told = root.dir().join("notify");
    let socket = UnixDatagram::bind(&told).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    let mut command = root.denizen();
    command.arg("serve").env("NOTIFY_SOCKET", &told);
    let daemon = Running::start(command);
    let mut heard = [0; 64];
    let length = socket.recv(&mut heard).expect("a datagram");
    assert!(heard[..length].starts_with(b"READY=1"), "{:?}", String::from_utf8_lossy(&heard[..length]));
    discord.wait_identified(1);

    discord.say(channel, stranger, &format!("{} remember the gate is open", discord.mention()));
    discord.say(channel, owner, &format!("{} remember the gate is blue", discord.mention()));
    discord.wait_text(channel, "Noted: the gate is blue (turn 1)");
    discord.say(channel, owner, &format!("{} gate?", discord.mention()));
    discord.wait_text(channel, "the gate is blue");
    assert_eq!(discord.posted(channel).iter().filter(|posted| posted.text.contains("open")).count(), 0);
    let sessions = root.ok(&["ls", "--json"]);
    assert!(sessions.contains(&format!("\"key\":\"discord-{channel}\"")), "{sessions}");
    daemon.signal(Signal::TERM);
    let output = daemon.end();
    assert_eq!(output.code, Some(0), "{output:#?}");
    let everything = format!("{}{}", output.stdout, output.stderr);
    assert!(!everything.contains(good), "the token is not logged");
    assert_eq!(root.files_with(&root.path().join("logs"), good).len(), 0);
}
