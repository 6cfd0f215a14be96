//! `denizen serve` on Discord, from outside: what people write, and what they
//! get back.

use rustix::process::Signal;

use super::support::discord::{Discord, TOKEN};
use super::support::fake::{Fake, Running, until};
use super::support::net::end;
use super::support::root::{Root, write};
use super::support::tls::Tls;

/// Two channels and a thread of a guild, and three users: an owner, a talker and
/// a stranger.
struct Scene {
    discord: Discord,
    one: u64,
    two: u64,
    thread: u64,
    ann: u64,
    bob: u64,
    sam: u64,
}

impl Scene {
    fn new() -> Self {
        let discord = Discord::start();
        let guild = discord.guild("Guild");
        let one = discord.channel(guild, "one");
        let two = discord.channel(guild, "two");
        let thread = discord.thread(one, "side");
        let [ann, bob, sam] = ["Ann", "Bob", "Sam"].map(|name| discord.user(name));
        Self { discord, one, two, thread, ann, bob, sam }
    }

    fn config(&self, provider: &str) -> String {
        let people = format!("owners = [\"{}\"]\nallowed_users = [\"{}\"]\n", self.ann, self.bob);
        format!("{provider}{}{people}", self.discord.section())
    }

    /// Starts the daemon, and waits until it is connected.
    fn serve(&self, root: &Root) -> Running {
        let daemon = Running::denizen(root, &["serve"]);
        self.discord.wait_identified(1);
        daemon
    }

    fn ask(&self, channel: u64, user: u64, text: &str) -> u64 {
        self.discord.say(channel, user, &format!("{} {text}", self.discord.mention()))
    }
}

#[test]
fn two_channels_and_a_thread_are_three_sessions() {
    let root = Root::new("serve_discord::three_sessions");
    let scene = Scene::new();
    root.write_config(&scene.config("provider = \"notes\"\n"));
    let daemon = scene.serve(&root);
    let places = [(scene.one, "apricot"), (scene.two, "banana"), (scene.thread, "cherry")];
    for (number, (channel, word)) in places.iter().enumerate() {
        let user = if number % 2 == 0 { scene.ann } else { scene.bob };
        scene.ask(*channel, user, &format!("remember the fruit is {word}"));
    }
    for (channel, word) in places {
        scene.discord.wait_text(channel, &format!("Noted: the fruit is {word}"));
        let user = if word == "banana" { scene.ann } else { scene.bob };
        scene.ask(channel, user, "which fruit is it?");
    }
    for (channel, word) in places {
        scene.discord.wait_text(channel, &format!("- the fruit is {word}"));
    }
    end(daemon);
    for (channel, word) in places {
        let folder = root.session(&format!("discord-{channel}"));
        let memory = fs_err::read_to_string(folder.join("memory/MEMORY.md")).expect("its memory");
        assert_eq!(memory, format!("- the fruit is {word}\n"));
        for (_, other) in places.iter().filter(|(_, other)| *other != word) {
            assert_eq!(root.files_with(&folder, other), Vec::<std::path::PathBuf>::new(), "{other} in {channel}");
            let posted = scene.discord.posted(channel);
            assert!(posted.iter().all(|posted| !posted.text.contains(other)), "{posted:#?}");
        }
    }
    let status = root.json(&["status", &format!("discord-{}", scene.thread)]);
    assert_eq!(status["record"]["title"], "side");
}

#[test]
fn commands_act_on_the_channel_they_are_given_in() {
    let root = Root::new("serve_discord::commands");
    let scene = Scene::new();
    root.write_config(&scene.config("provider = \"notes\"\n"));
    let daemon = scene.serve(&root);
    for channel in [scene.one, scene.two] {
        scene.ask(channel, scene.bob, "hello");
        scene.discord.wait_text(channel, "(turn 1)");
    }
    let given = scene.discord.run_command(scene.one, scene.bob, "new", &[]);
    scene.discord.answer(&given);
    for (channel, turn) in [(scene.one, "(turn 1)"), (scene.two, "(turn 2)")] {
        let asked = scene.ask(channel, scene.bob, "hello again");
        until("answer", || {
            let posted = scene.discord.posted(channel);
            let found = posted.iter().any(|it| it.answers == Some(asked) && it.text.contains(turn));
            if found { Ok(()) } else { Err(format!("{posted:#?}")) }
        });
    }
    // What reaches other sessions is the owner's.
    let given = scene.discord.run_command(scene.one, scene.bob, "sessions", &[]);
    let (said, hidden) = scene.discord.answer(&given);
    assert!(hidden && !said.contains("discord-"), "{said}");
    let given = scene.discord.run_command(scene.one, scene.ann, "sessions", &[]);
    let (said, hidden) = scene.discord.answer(&given);
    assert!(hidden && said.contains(&format!("discord-{}", scene.two)), "{said}");
    let given = scene.discord.run_command(scene.one, scene.sam, "new", &[]);
    assert_eq!(scene.discord.answer(&given).0, "You may not do that here.");
    end(daemon);
}

#[test]
fn strangers_are_not_heard_and_hostile_files_stay_in_their_place() {
    let root = Root::new("serve_discord::hostile");
    let scene = Scene::new();
    let said = "echo \"@everyone <@1> said $message\"; ls -R inbox 2>/dev/null";
    let _fake = Fake::with_config(&root, said, &scene.config(""));
    let daemon = scene.serve(&root);
    scene.ask(scene.one, scene.sam, "do it");
    scene.discord.say_files(scene.one, scene.sam, &scene.discord.mention(), &[("a.txt", b"x")]);
    let files: Vec<(String, Vec<u8>)> =
        (0..100).map(|n| (format!("../../../escape-{n}\u{202e}.sh"), vec![b'x'; 10])).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let asked = scene.discord.say_files(scene.one, scene.bob, &format!("{} look", scene.discord.mention()), &files);
    let answer = until("answer", || {
        let posted = scene.discord.posted(scene.one);
        let found = posted.iter().find(|it| it.text.contains("@everyone")).cloned();
        found.ok_or_else(|| format!("{posted:#?}"))
    });
    assert_eq!(answer.answers, Some(asked));
    let dm = scene.discord.dm(scene.sam);
    scene.discord.say(dm, scene.sam, "let me in");
    scene.discord.wait_text(dm, "pairing approve");
    end(daemon);
    let sent =
        scene.discord.journal().into_iter().filter(|call| call.path.ends_with("/messages") && call.method == "POST");
    for call in sent {
        assert_eq!(call.body["allowed_mentions"], serde_json::json!({ "parse": [] }), "{call:?}");
    }
    let folders: Vec<String> = fs_err::read_dir(root.path().join("sessions"))
        .expect("sessions")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(folders, [format!("discord-{}", scene.one)]);
    let named: Vec<String> = walkdir::WalkDir::new(root.dir())
        .into_iter()
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .filter(|path| path.contains("escape-"))
        .collect();
    assert!(!named.is_empty() && named.len() <= 20, "{named:#?}");
    assert!(named.iter().all(|path| path.contains("/inbox/") || path.contains("/queue/")), "{named:#?}");
    assert!(named.iter().all(|path| !path.contains('\u{202e}')), "{named:#?}");
}

#[test]
fn a_killed_daemon_answers_each_message_once() {
    let root = Root::new("serve_discord::killed");
    let scene = Scene::new();
    root.write_config(&scene.config("provider = \"notes\"\n"));
    let mut asked = Vec::new();
    for round in 0..4 {
        let daemon = Running::denizen(&root, &["serve"]);
        scene.discord.wait_connected();
        for (channel, user) in [(scene.one, scene.ann), (scene.two, scene.bob), (scene.thread, scene.ann)] {
            asked.push((channel, scene.ask(channel, user, &format!("word {round}"))));
        }
        let (channel, last) = asked[asked.len() - 1 - round % 3];
        until("answer", || {
            let posted = scene.discord.posted(channel);
            let found = posted.iter().any(|it| it.answers == Some(last));
            if found || round == 2 { Ok(()) } else { Err(format!("{posted:#?}")) }
        });
        daemon.signal(Signal::KILL);
        daemon.end();
        scene.discord.wait_gone();
    }
    let daemon = Running::denizen(&root, &["serve"]);
    scene.discord.wait_connected();
    for (channel, message) in &asked {
        until("answer", || {
            let posted = scene.discord.posted(*channel);
            let answers: Vec<_> = posted.iter().filter(|it| it.answers == Some(*message)).collect();
            if answers.is_empty() { Err(format!("{posted:#?}")) } else { Ok(()) }
        });
    }
    end(daemon);
    for (channel, message) in asked {
        let posted = scene.discord.posted(channel);
        let answers: Vec<_> = posted.into_iter().filter(|it| it.answers == Some(message)).collect();
        assert_eq!(answers.len(), 1, "{answers:#?}");
        assert!(answers[0].text.contains("(turn") || answers[0].text.contains("interrupted"), "{answers:#?}");
    }
}

#[test]
fn a_server_is_believed_that_the_machine_trusts_and_no_other() {
    let mut root = Root::new("serve_discord::tls");
    let scene = Scene::new();
    let mut tls = Tls::new();
    let port = |url: &str| -> u16 {
        url.split(':').nth(2).and_then(|rest| rest.split('/').next()).expect("a port").parse().expect("a number")
    };
    let api = tls.before(port(&scene.discord.api_url()));
    let gateway = tls.before(port(&scene.discord.gateway_url()));
    let section = format!(
        "provider = \"notes\"\n[channels.discord]\ntoken = \"{TOKEN}\"\nowners = [\"{}\"]\n\
         api_url = \"https://127.0.0.1:{api}/api/v10\"\ngateway_url = \"wss://127.0.0.1:{gateway}\"\n",
        scene.ann
    );
    root.write_config(&section);
    // Nobody here knows who vouches for it, so it does not even hear the token.
    let doctor = root.run(&["doctor"]);
    assert!(doctor.stdout.contains("certificate") && doctor.stdout.contains("127.0.0.1"), "{doctor:#?}");
    let daemon = Running::denizen(&root, &["serve"]);
    until("a refusal", || {
        let log = fs_err::read_to_string(root.path().join("logs/denizen.log")).unwrap_or_default();
        if log.contains("certificate") { Ok(()) } else { Err(log) }
    });
    end(daemon);
    assert!(scene.discord.journal().is_empty(), "{:?}", scene.discord.journal());
    let file = root.dir().join("authority.pem");
    write(&file, &tls.certificate());
    root.set_env("SSL_CERT_FILE", file.display().to_string());
    let daemon = scene.serve(&root);
    scene.ask(scene.one, scene.ann, "remember the gate is blue");
    scene.discord.wait_text(scene.one, "Noted: the gate is blue");
    end(daemon);
}
