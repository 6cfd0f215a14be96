//! Discord against the project's own server: what a bot does there, and what it
//! does when the server is down, strict or sloppy.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use denizen::channel::{
    AccessRole, Button, ButtonStyle, ChannelClient, FetchError, PlaceChange, Post, SendError, Upload,
};
use denizen::key::Key;
use denizen::session::Address;
use serde_json::json;

use crate::support::discord::{Discord, Failure, Resume};
use crate::support::listener::{Listener, accept, answered};
use crate::support::root::Root;

/// A server with a guild, a channel and an owner.
struct Scene {
    root: Root,
    discord: Discord,
    guild: u64,
    channel: u64,
    owner: u64,
}

impl Scene {
    fn new(test: &str) -> Self {
        let discord = Discord::start();
        let guild = discord.guild("Guild");
        let channel = discord.channel(guild, "general");
        let owner = discord.user("Olga");
        Self { root: Root::new(test), discord, guild, channel, owner }
    }

    /// The bot, connected, with more lines for its section.
    fn bot(&self, more: &str) -> Listener {
        let mut bot = self.start(more);
        bot.connected();
        bot
    }

    fn start(&self, more: &str) -> Listener {
        let own = format!("owners = [\"{}\"]\n{more}", self.owner);
        Listener::start(&self.discord, self.root.dir(), &own)
    }

    /// The owner addresses the bot.
    fn ask(&self, text: &str) -> u64 {
        self.discord.say(self.channel, self.owner, &format!("{} {text}", self.discord.mention()))
    }

    fn key(&self, id: u64) -> Key {
        format!("discord-{id}").parse().unwrap_or_else(|error| panic!("{error} in {}", self.channel))
    }
}

fn address(channel: u64, message: u64) -> Address {
    Address { network: "discord".to_owned(), channel: channel.to_string(), message: Some(message.to_string()) }
}

fn text(text: &str) -> Post {
    Post { text: text.to_owned(), reply: true, ..Post::default() }
}

#[test]
fn a_message_comes_in_and_its_answer_goes_out() {
    let scene = Scene::new("discord::a_message_comes_in");
    let mut bot = scene.bot("");
    let asked = scene.ask("hello there");
    let taken = bot.kept();
    assert_eq!(taken.key, format!("discord-{}", scene.channel));
    assert_eq!((taken.title.as_deref(), taken.text.as_str(), taken.late), (Some("#general"), "hello there", false));
    assert_eq!((taken.author, taken.owner), ((scene.owner.to_string(), "Olga".to_owned()), true));
    assert_eq!(taken.address, address(scene.channel, asked));
    bot.run(bot.network.typing(&taken.address)).expect("shown");
    let posted = bot.run(bot.network.post(&taken.address, &text("one"))).expect("posted");
    bot.run(bot.network.edit(&taken.address, &posted, &text("two @everyone"))).expect("edited");
    let seen = scene.discord.posted(scene.channel);
    assert_eq!((seen.len(), seen[0].text.as_str(), seen[0].answers), (1, "two @everyone", Some(asked)));
    assert_eq!(scene.discord.typed(scene.channel), 1);
    let sent = scene.discord.journal().into_iter().filter(|call| call.path.contains("/messages"));
    for call in sent {
        assert_eq!(call.body["allowed_mentions"], json!({ "parse": [] }), "{call:?}");
    }
    let commands =
        scene.discord.wait_call("the commands", |call| call.path.contains("/guilds/") && call.method == "PUT");
    assert_eq!(commands.status, 200, "{commands:?}");
}

#[test]
fn what_is_posted_twice_with_a_nonce_is_there_once() {
    let scene = Scene::new("discord::nonces");
    let bot = scene.bot("");
    let to = address(scene.channel, 1);
    let post = Post { nonce: Some("abc123".to_owned()), buttons: buttons(), ..text("said once") };
    let first = bot.run(bot.network.post(&to, &post)).expect("posted");
    let lost = format!("POST /channels/{}/messages", scene.channel);
    scene.discord.fail(Failure { request: lost, status: 502, headers: vec![], body: String::new(), after: true });
    let other = Post { nonce: Some("abc124".to_owned()), ..text("lost on the way") };
    let failed = bot.run(bot.network.post(&to, &other)).expect_err("the answer was lost");
    assert!(matches!(failed, SendError::Unsure(_)), "{failed:?}");
    bot.run(bot.network.post(&to, &other)).expect("posted");
    assert_eq!(bot.run(bot.network.post(&to, &post)), Ok(first));
    let texts: Vec<String> = scene.discord.posted(scene.channel).into_iter().map(|posted| posted.text).collect();
    assert_eq!(texts, ["said once", "lost on the way"]);
    assert_eq!(scene.discord.posted(scene.channel)[0].buttons, [("Stop".to_owned(), "stop:1".to_owned())]);
}

fn buttons() -> Vec<Button> {
    vec![Button { id: "stop:1".to_owned(), label: "Stop".to_owned(), style: ButtonStyle::Danger }]
}

#[test]
fn files_go_out_and_come_in() {
    let scene = Scene::new("discord::files");
    let mut bot = scene.bot("");
    let path = scene.root.dir().join("plot.png");
    File::create(&path).and_then(|mut file| file.write_all(b"\x89PNG\r\n--x\r\n")).expect("a file");
    let file = Arc::new(File::open(&path).expect("the file"));
    let upload = Upload { name: "../plot\".png".to_owned(), size: 11, file };
    let post = Post { files: vec![upload], ..text("") };
    bot.run(bot.network.post(&address(scene.channel, 1), &post)).expect("posted");
    let call = scene.discord.wait_call("the upload", |call| !call.files.is_empty());
    assert_eq!(call.files, [("plot_.png".to_owned(), b"\x89PNG\r\n--x\r\n".to_vec())]);

    let mention = scene.discord.mention();
    let files: [(&str, &[u8]); 2] = [("../../a b.txt", b"inside"), ("big.bin", &[7; 5000])];
    scene.discord.say_files(scene.channel, scene.owner, &mention, &files);
    let incoming = bot.message();
    accept(incoming.accepted);
    let names: Vec<&str> = incoming.attachments.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a_b.txt", "big.bin"]);
    let mut bytes = Vec::new();
    bot.run(incoming.attachments[0].fetch.fetch(&mut bytes, 100)).expect("fetched");
    assert_eq!(bytes, b"inside");
    let refused = bot.run(incoming.attachments[1].fetch.fetch(&mut bytes, 4999)).expect_err("too large");
    assert!(matches!(refused, FetchError::TooLarge(4999)), "{refused:?}");
}

#[test]
fn a_cut_connection_is_resumed_and_nothing_comes_twice() {
    let scene = Scene::new("discord::resumed");
    scene.discord.behave(|it| it.twice = true);
    let mut bot = scene.bot("");
    scene.ask("one");
    assert_eq!(bot.kept().text, "one");
    scene.discord.cut();
    scene.discord.wait_gone();
    scene.ask("two");
    scene.discord.wait_resumed(1);
    assert_eq!((bot.kept().text.as_str(), scene.discord.counts().0), ("two", 1));
    scene.discord.send_raw(&json!({ "op": 7, "d": null, "s": null, "t": null }));
    scene.discord.wait_resumed(2);
    scene.ask("three");
    assert_eq!(bot.kept().text, "three");
    scene.discord.close(4008);
    scene.discord.wait_resumed(3);
    scene.ask("four");
    let taken = bot.kept();
    assert_eq!((taken.text.as_str(), taken.late), ("four", false));
    let left = bot.leave();
    assert!(!format!("{left:?}").contains("Message("), "{left:?}");
    assert_eq!(scene.discord.counts().0, 1, "it identified once");
}

#[test]
fn after_a_lost_session_what_was_missed_is_caught_up() {
    let scene = Scene::new("discord::caught_up");
    let stranger = scene.discord.user("Sam");
    let mut bot = scene.bot("");
    scene.ask("before");
    let direct = scene.discord.dm(scene.owner);
    scene.discord.say(direct, scene.owner, "before, apart");
    assert_eq!([bot.kept().text, bot.kept().text], ["before", "before, apart"]);
    scene.discord.forget_sessions();
    scene.discord.wait_gone();
    let quiet = scene.discord.channel(scene.guild, "quiet");
    scene.ask("meanwhile");
    scene.discord.say(scene.channel, stranger, &format!("{} not I", scene.discord.mention()));
    scene.discord.say(scene.channel, scene.owner, "not to the bot");
    scene.discord.say(direct, scene.owner, "meanwhile, apart");
    scene.discord.say(quiet, scene.owner, &format!("{} first word", scene.discord.mention()));
    scene.discord.wait_identified(2);
    let mut caught: Vec<(String, bool)> = (0..3).map(|_| bot.kept()).map(|taken| (taken.text, taken.late)).collect();
    caught.sort();
    let expected = ["first word", "meanwhile", "meanwhile, apart"].map(|text| (text.to_owned(), true));
    assert_eq!(caught, expected);
    scene.ask("after");
    let taken = bot.kept();
    assert_eq!((taken.text.as_str(), taken.late), ("after", false));
    let left = bot.leave();
    assert!(!format!("{left:?}").contains("Message("), "{left:?}");
}

#[test]
fn a_restart_goes_on_behind_the_last_message_that_was_kept() {
    let scene = Scene::new("discord::restart");
    let mut bot = scene.bot("");
    // The session counts once what was before it is caught up.
    let kept = scene.root.dir().join("state/channels/discord/position.json");
    let saved = |text: &str| fs_err::read_to_string(&kept).is_ok_and(|position| position.contains(text));
    scene.ask("one");
    assert_eq!(bot.kept().text, "one");
    while !saved("\"session-") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let two = scene.ask("two");
    let unkept = bot.message();
    scene.ask("three");
    let later = bot.message();
    assert_eq!((unkept.text.as_str(), later.text.as_str()), ("two", "three"));
    accept(later.accepted);
    // The daemon dies before `two` is durable.
    drop(unkept.accepted);
    bot.leave();
    scene.ask("four");
    let mut bot = scene.bot("");
    let texts: Vec<String> = (0..3).map(|_| bot.kept().text).collect();
    assert_eq!(texts, ["two", "three", "four"]);
    assert_eq!((scene.discord.counts().0, scene.discord.counts().1), (1, 1), "it resumed");
    drop(bot);
    assert!(saved(&two.to_string()), "what was kept is known");
    scene.ask("five");
    let mut bot = scene.bot("");
    assert_eq!(bot.kept().text, "five");
}

#[test]
fn a_session_that_is_invalid_is_begun_anew_or_resumed_as_told() {
    let scene = Scene::new("discord::invalid");
    let mut bot = scene.bot("");
    scene.discord.send_raw(&json!({ "op": 9, "d": true }));
    scene.discord.wait_resumed(1);
    bot.connected();
    scene.discord.send_raw(&json!({ "op": 9, "d": false }));
    scene.discord.wait_identified(2);
    bot.connected();
    scene.discord.behave(|it| it.resume = Resume::Refused);
    scene.discord.cut();
    scene.discord.wait_identified(3);
    bot.connected();
    scene.ask("still here");
    assert_eq!(bot.kept().text, "still here");
}

#[test]
fn a_server_that_ignores_resume_is_asked_anew() {
    let scene = Scene::new("discord::ignored_resume");
    scene.discord.behave(|it| it.resume = Resume::Ignored);
    let mut bot = scene.bot("");
    scene.discord.cut();
    scene.discord.wait_gone();
    scene.discord.wait_identified(2);
    bot.connected();
    scene.ask("hello");
    assert_eq!(bot.kept().text, "hello");
}

#[test]
fn a_silent_server_is_left() {
    let scene = Scene::new("discord::silent");
    scene.discord.behave(|it| (it.acknowledges, it.heartbeat_ms) = (false, 200));
    let mut bot = scene.bot("");
    assert_eq!(bot.reconnecting(), "the gateway did not answer the heartbeat");
    scene.discord.behave(|it| it.acknowledges = true);
    bot.connected();
    scene.discord.behave(|it| it.heartbeat_ms = 60_000);
    scene.discord.cut();
    bot.connected();
    let asked_for = json!({ "op": 1, "d": null });
    scene.discord.send_raw(&asked_for);
    scene.discord.wait_heartbeats(2);
    scene.ask("hello");
    assert_eq!(bot.kept().text, "hello");
}

#[test]
fn what_makes_no_sense_is_passed_over() {
    let scene = Scene::new("discord::nonsense");
    let mut bot = scene.bot("");
    for payload in [
        json!({}),
        json!([1, 2]),
        json!({ "op": 77, "d": {} }),
        json!({ "op": "x" }),
        json!({ "op": 0, "t": "NEW_THING", "s": 900, "d": { "id": 1 } }),
        json!({ "op": 0, "t": "MESSAGE_CREATE", "d": { "content": "no id" } }),
        json!({ "op": 0, "t": "MESSAGE_CREATE", "s": null, "d": null }),
        json!({ "op": 0, "t": "INTERACTION_CREATE", "d": { "id": "1" } }),
        json!({ "op": 0, "t": "GUILD_CREATE", "d": 5 }),
        json!({ "op": 0, "t": "THREAD_DELETE", "d": {} }),
        json!({ "op": 0 }),
    ] {
        scene.discord.send_raw(&payload);
    }
    scene.ask("hello");
    assert_eq!(bot.kept().text, "hello");
    assert_eq!(scene.discord.counts().0, 1);
}

#[test]
fn a_sloppy_server_will_do() {
    let scene = Scene::new("discord::sloppy");
    scene.discord.behave(|it| {
        (it.sparse, it.numeric_ids, it.twice, it.gateway_bot, it.limit_headers) = (true, true, true, false, false);
    });
    let mut bot = scene.bot("");
    let asked = scene.ask("hello");
    let taken = bot.kept();
    assert_eq!((taken.text.as_str(), taken.address.clone()), ("hello", address(scene.channel, asked)));
    let posted = bot.run(bot.network.post(&taken.address, &text("one"))).expect("posted");
    bot.run(bot.network.edit(&taken.address, &posted, &text("two"))).expect("edited");
    assert_eq!(scene.discord.posted(scene.channel)[0].text, "two");
    let thread = scene.discord.thread(scene.channel, "side");
    scene.discord.say(thread, scene.owner, &format!("{} in the thread", scene.discord.mention()));
    let taken = bot.kept();
    assert_eq!((taken.key, taken.text.as_str()), (format!("discord-{thread}"), "in the thread"));
    let left = bot.leave();
    assert!(!format!("{left:?}").contains("Message("), "{left:?}");
}

#[test]
fn a_strict_server_gets_plainer_messages() {
    let scene = Scene::new("discord::strict");
    let bot = scene.bot("");
    let to = address(scene.channel, 1);
    let say = |said: &str| {
        let post = Post { nonce: Some(said.to_owned()), reply: true, buttons: buttons(), ..text(said) };
        bot.run(bot.network.post(&to, &post)).expect("posted")
    };
    let posts = || scene.discord.journal().iter().filter(|call| call.method == "POST").count();
    scene.discord.behave(|it| it.unknown_fields = vec!["enforce_nonce"]);
    say("without a nonce");
    let before = posts();
    say("at once");
    assert_eq!(posts(), before + 1, "what it refuses is tried once");
    scene.discord.behave(|it| it.unknown_fields = vec!["enforce_nonce", "components", "message_reference"]);
    let id = say("nothing but text");
    bot.run(bot.network.edit(&to, &id, &text("edited"))).expect("edited");
    let posted = scene.discord.posted(scene.channel);
    let texts: Vec<&str> = posted.iter().map(|posted| posted.text.as_str()).collect();
    assert_eq!(texts, ["without a nonce", "at once", "edited"]);
    assert_eq!(posted.iter().map(|posted| posted.buttons.len()).collect::<Vec<_>>(), [1, 1, 0]);
    // What is wrong with the text itself stays refused.
    let long = bot.run(bot.network.post(&to, &text(&"x".repeat(2001)))).expect_err("too long");
    assert!(matches!(long, SendError::Gone(_)), "{long:?}");
}

#[test]
fn what_forbids_to_come_back_is_said_with_the_remedy() {
    let scene = Scene::new("discord::forbidden");
    scene.discord.behave(|it| it.message_content = false);
    let mut bot = scene.start("");
    let page = format!("https://discord.com/developers/applications/{}/bot", scene.discord.application());
    let (reason, remedy) = bot.fatal();
    assert_eq!(reason, "the bot may not read what is written (close code 4014)");
    assert_eq!(remedy, Some(format!("enable the Message Content intent at {page}")));
    drop(bot);
    let mut bot = Listener::start_with(&scene.discord.section(), scene.root.dir(), "", "wrong.token");
    let (reason, remedy) = bot.fatal();
    assert_eq!(reason, "Discord refuses the token (close code 4004)");
    assert!(remedy.is_some_and(|remedy| remedy.contains("Reset Token")));
    drop(bot);
    assert_eq!(scene.discord.counts().2, 2, "it did not come back");
}

#[test]
fn rate_limits_are_waited_for_with_and_without_headers() {
    let scene = Scene::new("discord::rate_limits");
    let bot = scene.bot("");
    let to = address(scene.channel, 1);
    let path = format!("POST /channels/{}/messages", scene.channel);
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for (headers, body) in [
        (
            vec![header("retry-after", "1"), header("x-ratelimit-remaining", "0")],
            "{\"retry_after\": 0.3, \"global\": false}",
        ),
        (vec![], "{\"retry_after\": 0.2}"),
        (vec![header("retry-after", "1")], "<html>slow down</html>"),
        (vec![header("x-ratelimit-global", "true")], "{\"retry_after\": 0.2, \"global\": true}"),
    ] {
        let failure = Failure { request: path.clone(), status: 429, headers, body: body.to_owned(), after: false };
        scene.discord.fail(failure);
        bot.run(bot.network.post(&to, &text("after a while"))).expect("posted");
    }
    let calls: Vec<u16> = scene
        .discord
        .journal()
        .iter()
        .filter(|call| call.path.ends_with("/messages"))
        .map(|call| call.status)
        .collect();
    assert_eq!(calls, [429, 200, 429, 200, 429, 200, 429, 200]);
    let long = "{\"retry_after\": 600}".to_owned();
    scene.discord.fail(Failure { request: path, status: 429, headers: vec![], body: long, after: false });
    let later = bot.run(bot.network.post(&to, &text("much later"))).expect_err("it has to wait");
    assert!(matches!(later, SendError::Later(wait) if wait.as_secs() > 500), "{later:?}");
}

#[test]
fn what_can_never_be_said_is_known() {
    let scene = Scene::new("discord::gone");
    let bot = scene.bot("");
    let post = |channel: u64| bot.run(bot.network.post(&address(channel, 7), &text("hello"))).expect_err("refused");
    assert_eq!(post(12345), SendError::Gone("the channel is gone".to_owned()));
    scene.discord.close_to_bot(scene.channel);
    assert_eq!(post(scene.channel), SendError::Gone("the bot may not see the channel".to_owned()));
    let planted = Address { network: "discord".to_owned(), channel: "../users/@me".to_owned(), message: None };
    let refused = bot.run(bot.network.post(&planted, &text("hello"))).expect_err("refused");
    assert_eq!(refused, SendError::Gone("it names no channel of Discord".to_owned()));
}

#[test]
fn threads_and_channels_are_followed() {
    let scene = Scene::new("discord::places");
    let mut bot = scene.bot("agents = [\"reviewer\"]");
    let thread = scene.discord.thread(scene.channel, "side");
    let key = scene.key(thread);
    bot.place(&PlaceChange::Created { key: key.clone(), title: "side".to_owned() });
    let agent = key.for_agent("reviewer").expect("a key");
    bot.place(&PlaceChange::Created { key: agent.clone(), title: "side @reviewer".to_owned() });
    scene.discord.wait_call("a join", |call| call.path == format!("/channels/{thread}/thread-members/@me"));
    scene.discord.rename(thread, "the side");
    bot.place(&PlaceChange::Renamed { key: key.clone(), title: "the side".to_owned() });
    scene.discord.archive(thread, true);
    bot.place(&PlaceChange::Archived(key.clone()));
    scene.discord.say(thread, scene.owner, &format!("{} again", scene.discord.mention()));
    bot.place(&PlaceChange::Revived(key.clone()));
    let taken = bot.kept();
    assert_eq!((taken.key.as_str(), taken.title.as_deref()), (key.as_str(), Some("the side")));
    scene.discord.delete(thread);
    bot.place(&PlaceChange::Deleted(key));
    bot.place(&PlaceChange::Deleted(agent));
    let other = scene.discord.thread(scene.channel, "other");
    scene.discord.delete(scene.channel);
    bot.place(&PlaceChange::Deleted(scene.key(scene.channel)));
    bot.place(&PlaceChange::Deleted(scene.key(other)));
}

#[test]
fn commands_are_checked_by_who_gave_them_and_answered() {
    let scene = Scene::new("discord::commands");
    let talker = scene.discord.user("Tom");
    let stranger = scene.discord.user("Sam");
    let mut bot = scene.bot(&format!("allowed_users = [\"{talker}\"]"));
    let given = scene.discord.run_command(scene.channel, scene.owner, "model", &[("model", "opus")]);
    let command = bot.command();
    assert_eq!((command.key.clone(), command.standing), (scene.key(scene.channel), AccessRole::Owner));
    assert_eq!((command.name.as_str(), command.args), ("model", vec![("model".to_owned(), "opus".to_owned())]));
    answered(&bot, &command.answer, "the model is opus", true);
    assert_eq!(scene.discord.answer(&given), ("the model is opus".to_owned(), true));

    let given = scene.discord.run_command(scene.channel, talker, "compact", &[]);
    let command = bot.command();
    assert_eq!(command.standing, AccessRole::Talker);
    bot.run(command.answer.defer(false)).expect("promised");
    assert_eq!(scene.discord.callback(&given), Some(5));
    answered(&bot, &command.answer, &"long ".repeat(900), false);
    assert!(scene.discord.answer(&given).0.starts_with("long"));

    let given = scene.discord.run_command(scene.channel, stranger, "status", &[]);
    assert_eq!(scene.discord.answer(&given), ("You may not do that here.".to_owned(), true));
    let given = scene.discord.run_command(scene.discord.dm(stranger), stranger, "status", &[]);
    assert_eq!(scene.discord.answer(&given), ("You may not do that here.".to_owned(), true));
    let left = bot.leave();
    assert!(!format!("{left:?}").contains("Command("), "{left:?}");
}

#[test]
fn buttons_are_checked_by_who_pressed_them() {
    let scene = Scene::new("discord::buttons");
    let talker = scene.discord.user("Tom");
    let stranger = scene.discord.user("Sam");
    let approver = scene.discord.user("Ann");
    let mut bot = scene.bot(&format!("allowed_users = [\"{talker}\"]\napprovers = [\"{approver}\"]"));
    let post = Post { buttons: buttons(), ..text("may it?") };
    let posted = bot.run(bot.network.post(&address(scene.channel, 1), &post)).expect("posted");
    let message: u64 = posted.0.parse().expect("an id");
    let refused = scene.discord.click(scene.channel, message, "stop:1", stranger);
    assert_eq!(scene.discord.answer(&refused), ("You may not do that here.".to_owned(), true));
    for (user, standing, approves) in [
        (scene.owner, AccessRole::Owner, false),
        (talker, AccessRole::Talker, false),
        (approver, AccessRole::Talker, true),
    ] {
        let pressed_by = scene.discord.click(scene.channel, message, "stop:1", user);
        let pressed = bot.button();
        assert_eq!((pressed.id.as_str(), pressed.standing, pressed.approver), ("stop:1", standing, approves));
        assert_eq!((pressed.by.id, pressed.address), (user.to_string(), address(scene.channel, message)));
        bot.run(pressed.answer.acknowledge()).expect("heard");
        assert_eq!(scene.discord.callback(&pressed_by), Some(6));
        answered(&bot, &pressed.answer, "noted", true);
        assert_eq!(scene.discord.answer(&pressed_by), ("noted".to_owned(), true));
    }
}

#[test]
fn interactions_that_are_replayed_or_forged_do_nothing() {
    let scene = Scene::new("discord::replayed");
    let stranger = scene.discord.user("Sam");
    let mut bot = scene.bot("");
    let given = scene.discord.run_command(scene.channel, scene.owner, "new", &[]);
    let command = bot.command();
    assert_eq!(command.name, "new");
    scene.discord.replay(&given, json!({}));
    scene.discord.replay(&given, json!({ "data": { "name": "fork", "type": 1, "options": [] } }));
    // An owner who is only named beside the one who did it is not the one who did it.
    let member = json!({ "roles": [], "user": { "id": stranger.to_string(), "username": "Sam" } });
    let user = json!({ "id": scene.owner.to_string(), "username": "Olga" });
    scene.discord.replay(&given, json!({ "id": "77", "member": member, "user": user }));
    assert_eq!(scene.discord.answer(&given).0, "You may not do that here.");
    scene.discord.replay(&given, json!({ "id": "78", "token": "../../users/@me", "member": { "roles": [] } }));
    scene.discord.replay(&given, json!({ "id": "79", "member": null, "user": null }));
    scene.discord.replay(&given, json!({ "id": "80", "type": 9 }));
    scene.discord.replay(&given, json!({ "id": "81", "channel_id": "../1", "channel": null }));
    scene.ask("still there?");
    assert_eq!(bot.kept().text, "still there?");
    let left = bot.leave();
    assert!(!format!("{left:?}").contains("Command("), "{left:?}");
}

#[test]
fn direct_messages_of_strangers_lead_to_pairing() {
    let scene = Scene::new("discord::pairing");
    let stranger = scene.discord.user("Sam");
    let mut bot = scene.bot("");
    let direct = scene.discord.dm(stranger);
    scene.discord.say(direct, stranger, "hello");
    let heard = bot.stranger();
    assert_eq!((heard.author.id, heard.address.channel), (stranger.to_string(), direct.to_string()));
    let denizen::session::PairingAnswer::Code(code) =
        bot.people.ask("discord", &stranger.to_string(), "Sam").expect("kept")
    else {
        panic!("a code")
    };
    bot.people.approve(&code).expect("kept").expect("a person");
    scene.discord.say(direct, stranger, "hello again");
    let taken = bot.kept();
    assert_eq!((taken.key, taken.owner), (format!("discord-dm-{stranger}"), false));
}

#[test]
fn an_owner_is_told_in_a_direct_message() {
    let scene = Scene::new("discord::tell_owners");
    let bot = scene.bot("");
    bot.run(bot.network.tell_owners("the disk is full"));
    assert_eq!(scene.discord.posted(scene.discord.dm(scene.owner))[0].text, "the disk is full");
    let _same: &Arc<dyn ChannelClient> = &bot.network;
}
