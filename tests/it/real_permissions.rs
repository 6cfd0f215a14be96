//! With the real CLIs that can ask: what was allowed is done, what was not is
//! not, the model is told, and the conversation is the same one as without.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use denizen::session::AnswerOutcome;
use denizen::turn::approval::Decision;
use serde_json::{Value, json};

use crate::support::asked::{Ask, Sent, send, send_within};
use crate::support::clis::{Cli, Clis, Login};
use crate::support::model::{Model, Request, reply, tool_then_reply};
use crate::support::root::Root;
use crate::support::talk::{all, assert_has, assert_lacks};

#[test]
fn claude_asks_and_does_what_was_decided() {
    asks_and_does_what_was_decided(Cli::Claude, Bounds::Walls, "claude_asks_and_does_what_was_decided");
}

#[test]
fn codex_asks_and_does_what_was_decided() {
    asks_and_does_what_was_decided(Cli::Codex, Bounds::Walls, "codex_asks_and_does_what_was_decided");
}

#[test]
fn claude_asks_without_walls() {
    asks_and_does_what_was_decided(Cli::Claude, Bounds::Own, "claude_asks_without_walls");
}

#[test]
fn codex_asks_without_walls() {
    asks_and_does_what_was_decided(Cli::Codex, Bounds::Own, "codex_asks_without_walls");
}

#[test]
fn claude_asks_in_the_same_conversation() {
    asks_in_the_same_conversation(Cli::Claude, Bounds::Walls, "claude_asks_in_the_same_conversation");
}

#[test]
fn codex_asks_in_the_same_conversation() {
    asks_in_the_same_conversation(Cli::Codex, Bounds::Walls, "codex_asks_in_the_same_conversation");
}

#[test]
fn codex_asks_in_the_same_conversation_without_walls() {
    asks_in_the_same_conversation(Cli::Codex, Bounds::Own, "codex_asks_in_the_same_conversation_without_walls");
}

#[test]
fn claude_asks_inside_its_walls() {
    asks_inside_its_walls(Cli::Claude, "claude_asks_inside_its_walls");
}

#[test]
fn codex_asks_inside_its_walls() {
    asks_inside_its_walls(Cli::Codex, "codex_asks_inside_its_walls");
}

/// A person's yes does not open the walls, and a no holds inside them.
fn asks_inside_its_walls(cli: Cli, test: &str) {
    let Some(clis) = Clis::find(test) else { return };
    let mut root = Root::new(test);
    let outside = root.dir().join("outside");
    let both = |word: &str| cli.run_call(&format!("touch {word}; touch {}", outside.display()));
    let mut fixtures = tool_then_reply(&please("alder"), &both("alder"), &did("alder")).to_vec();
    fixtures.extend(tool_then_reply(&please("birch"), &both("birch"), &did("birch")));
    fixtures.push(reply(&please("larch"), &did("larch")));
    let model = Model::start(&root, &clis, fixtures);
    cli.set_up(&mut root, &clis, &model, Login::Environment);
    for mode in ["acceptEdits", "default"] {
        let key = mode.to_lowercase();
        root.set_env("DENIZEN_WALLS", "full");
        root.ok(&["send", &key, &please("larch")]);
        root.ok(&["set", &key, "permission_mode", mode]);
        let sent = send(&root, &key, &please("alder"), |ask, _| allow(ask));
        assert_eq!((sent.text(), sent.asked.len()), (did("alder").as_str(), 1), "{mode}");
        assert!(root.session(&key).join("alder").exists(), "{mode}: a yes lets it work");
        let sent = send(&root, &key, &please("birch"), |ask, _| deny(ask));
        assert_eq!((sent.text(), sent.asked.len()), (did("birch").as_str(), 1), "{mode}");
        assert!(!root.session(&key).join("birch").exists(), "{mode}: a no holds");
        assert!(!outside.exists(), "{mode}: the walls hold");
    }
}

/// What keeps the agent from things.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bounds {
    /// Walls. It is to change nothing unasked, also in its own folder.
    Walls,
    /// Its own sandbox and rules, by which it may work in its folder.
    Own,
}

/// A root where each `Please <word>` makes the model call a tool, that makes a
/// file named like the word where the agent may not unasked, and then say
/// `did-<word>`.
struct Asking {
    bounds: Bounds,
    // Dropped in this order: the model runs in the root.
    model: Model,
    root: Root,
}

/// Words that are answered without a tool.
const PLAIN: [&str; 2] = ["larch", "maple"];

impl Asking {
    fn new(cli: Cli, bounds: Bounds, test: &str, login: Login) -> Option<Self> {
        let clis = Clis::find(test)?;
        let mut root = Root::new(test);
        let outside = |word: &str| match bounds {
            Bounds::Walls => cli.run_call(&format!("touch {word}")),
            Bounds::Own => cli.run_call(&format!("touch {}", root.dir().join(word).display())),
        };
        let mut fixtures: Vec<Value> = PLAIN.iter().map(|word| reply(&please(word), &did(word))).collect();
        for word in ["alder", "birch", "cedar", "elder", "hazel"] {
            fixtures.extend(tool_then_reply(&please(word), &outside(word), &did(word)));
        }
        let two = json!({ "toolCalls": [outside("first"), outside("second")] });
        fixtures.push(json!({ "match": { "userMessage": please("two"), "hasToolResult": true }, "response": { "content": did("two") } }));
        fixtures.push(json!({ "match": { "userMessage": please("two"), "hasToolResult": false }, "response": two }));
        // Here it may, also when the folder has another name.
        let inside = match cli {
            Cli::Codex => json!({ "name": "exec_command", "arguments": { "cmd": "touch inside" } }),
            _ => cli.run_call("touch inside"),
        };
        fixtures.extend(tool_then_reply(&please("inside"), &inside, &did("inside")));
        let model = Model::start(&root, &clis, fixtures);
        cli.set_up(&mut root, &clis, &model, login);
        let (walls, mode) = match bounds {
            Bounds::Walls => ("full", "default"),
            Bounds::Own => ("off", "acceptEdits"),
        };
        root.set_env("DENIZEN_WALLS", walls);
        let name = cli.name();
        root.write_config(&format!("provider = \"{name}\"\n[providers.{name}]\npermission_mode = \"{mode}\"\n"));
        Some(Self { bounds, model, root })
    }

    /// Asks for a word in a session; gives what became of it, and everything
    /// that the model was sent.
    fn send(&self, key: &str, word: &str, decide: impl FnMut(Ask, &tokio::sync::Notify)) -> (Sent, Vec<Request>) {
        self.model.during(|| send(&self.root, key, &please(word), decide))
    }

    /// The same without anybody who could be asked.
    fn send_alone(&self, key: &str, word: &str) -> (String, Vec<Request>) {
        self.model.during(|| self.root.ok(&["send", key, &please(word)]))
    }

    /// Whether a session's agent has made a file.
    fn has_made(&self, key: &str, word: &str) -> bool {
        self.file(key, word).exists()
    }

    fn file(&self, key: &str, word: &str) -> PathBuf {
        match self.bounds {
            Bounds::Walls => self.root.session(key).join(word),
            Bounds::Own => self.root.dir().join(word),
        }
    }

    fn conversation(&self, key: &str) -> String {
        self.root.json(&["status", key])["record"]["conversation"]["id"].as_str().expect("an id").to_owned()
    }
}

fn please(word: &str) -> String {
    format!("Please {word}.")
}

fn did(word: &str) -> String {
    format!("did-{word}")
}

fn allow(ask: Ask) {
    assert_eq!(ask.decide(Decision::Allow), AnswerOutcome::Counts);
}

fn deny(ask: Ask) {
    assert_eq!(ask.decide(Decision::Deny("rather not".to_owned())), AnswerOutcome::Counts);
}

fn asks_and_does_what_was_decided(cli: Cli, bounds: Bounds, test: &str) {
    let Some(asking) = Asking::new(cli, bounds, test, Login::Environment) else { return };
    // How the model hears of a no.
    let (told, unheard) = match cli {
        Cli::Claude => ("rather not", "nobody decided within 1s"),
        _ => ("rejected by user", "rejected by user"),
    };

    let (sent, _) = asking.send("oak", "alder", |ask, _| allow(ask));
    assert_eq!((sent.text(), sent.asked.len()), (did("alder").as_str(), 1));
    let shown = match bounds {
        Bounds::Walls => "touch alder".to_owned(),
        Bounds::Own => format!("touch {}", asking.file("oak", "alder").display()),
    };
    assert_has(&sent.asked[0].detail, &shown);
    assert!(asking.has_made("oak", "alder"));

    let (sent, requests) = asking.send("oak", "birch", |ask, _| deny(ask));
    assert_eq!((sent.text(), sent.asked.len()), (did("birch").as_str(), 1));
    assert!(!asking.has_made("oak", "birch"));
    assert_has(&requests.last().expect("the result of the tool").body, told);
    assert_lacks(&requests[0].body, told);
    // Nobody has to be told of what they decided themselves.
    assert_eq!(notices(&sent), Vec::<String>::new());

    let patience = Duration::from_secs(1);
    let (sent, requests) =
        asking.model.during(|| send_within(&asking.root, "ash", &please("cedar"), patience, |_, _| {}));
    assert_eq!((sent.text(), sent.asked.len()), (did("cedar").as_str(), 1));
    assert!(!asking.has_made("ash", "cedar"));
    assert_has(&requests.last().expect("the result of the tool").body, unheard);

    // Two at once, in one turn: each has its own answer.
    let (sent, _) = asking.send("oak", "two", |ask, _| match ask.detail().contains("first") {
        true => deny(ask),
        false => allow(ask),
    });
    assert_eq!((sent.text(), sent.asked.len()), (did("two").as_str(), 2));
    assert_eq!([asking.has_made("oak", "first"), asking.has_made("oak", "second")], [false, true]);

    // A turn that waits for a decision is stopped at once, and the next one goes on.
    let start = Instant::now();
    let mut waiting = None;
    let (sent, _) = asking.send("oak", "elder", |ask, interrupt| {
        waiting = Some(ask);
        interrupt.notify_one();
    });
    assert_eq!(sent.result.expect_err("stopped"), "the turn was stopped");
    assert!(waiting.is_some_and(|ask| ask.is_over()));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(!asking.has_made("oak", "elder"));
    let (sent, requests) = asking.send("oak", "larch", |ask, _| allow(ask));
    assert_eq!(sent.text(), did("larch"));
    let known = all(&requests);
    ["alder", "birch", "two"].iter().for_each(|word| assert_has(&known, &did(word)));
    assert_lacks(&known, &did("cedar"));
}

/// What a person was told, but for what the model server is the reason of.
fn notices(sent: &Sent) -> Vec<String> {
    let all = sent.result.as_ref().map(|reply| reply.notices.clone()).unwrap_or_default();
    all.into_iter().filter(|notice| !notice.starts_with("Model metadata for")).collect()
}

fn asks_in_the_same_conversation(cli: Cli, bounds: Bounds, test: &str) {
    let Some(asking) = Asking::new(cli, bounds, test, Login::Environment) else { return };
    let config = asking.root.home().join(".codex/config.toml");
    let config_before = std::fs::read(&config).ok();

    // Begun without anybody to ask, gone on with somebody, and back.
    let (printed, _) = asking.send_alone("oak", "alder");
    assert_eq!(printed.trim(), did("alder"));
    assert!(!asking.has_made("oak", "alder"));
    let id = asking.conversation("oak");
    let (sent, requests) = asking.send("oak", "birch", |ask, _| allow(ask));
    assert_eq!((sent.text(), sent.asked.len()), (did("birch").as_str(), 1));
    assert!(asking.has_made("oak", "birch"));
    assert_has(&all(&requests), &did("alder"));
    let (printed, requests) = asking.send_alone("oak", "larch");
    assert_eq!(printed.trim(), did("larch"));
    assert_has(&all(&requests), &did("birch"));
    assert_eq!(asking.conversation("oak"), id);
    for credential in requests.iter().flat_map(Request::credentials) {
        assert_eq!(credential, cli.credential(Login::Environment));
    }

    // A fork knows the past, and has an id of its own.
    asking.root.ok(&["fork", "oak", "ash"]);
    let (sent, requests) = asking.send("ash", "hazel", |ask, _| allow(ask));
    assert_eq!((sent.text(), sent.asked.len()), (did("hazel").as_str(), 1));
    assert_has(&all(&requests), &did("larch"));
    assert_lacks(&all(&requests), "<earlier-conversation");
    assert_ne!(asking.conversation("ash"), id);
    for credential in requests.iter().flat_map(Request::credentials) {
        assert_eq!(credential, cli.credential(Login::Environment));
    }

    // A folder that was moved goes on, and works where it is now.
    fs_err::rename(asking.root.session("oak"), asking.root.session("yew")).expect("moved");
    let (sent, requests) = asking.send("yew", "inside", |ask, _| allow(ask));
    let unasked = bounds == Bounds::Own;
    assert_eq!((sent.text(), sent.asked.is_empty()), (did("inside").as_str(), unasked));
    assert!(asking.root.session("yew").join("inside").exists());
    assert_has(&all(&requests), &did("larch"));
    assert_lacks(&all(&requests), "<earlier-conversation");
    assert_eq!(asking.conversation("yew"), id);

    // What starts with a slash is a message, too.
    let (sent, requests) =
        asking.model.during(|| send(&asking.root, "yew", "/compact Please maple.", |ask, _| allow(ask)));
    assert_eq!(sent.text(), did("maple"));
    assert_has(&all(&requests), "/compact Please maple.");
    // Nothing that the user has was changed.
    assert_eq!(std::fs::read(&config).ok(), config_before);
    assert!(!asking.root.home().join(".codex/auth.json").exists());
}

#[test]
fn codex_uses_the_login_of_its_file_where_it_asks() {
    let test = "codex_uses_the_login_of_its_file_where_it_asks";
    let Some(asking) = Asking::new(Cli::Codex, Bounds::Walls, test, Login::File) else { return };
    let login = asking.root.home().join(Cli::Codex.login_file());
    let before = fs_err::read(&login).expect("the login");
    let (sent, requests) = asking.send("oak", "alder", |ask, _| allow(ask));
    assert_eq!((sent.text(), sent.asked.len()), (did("alder").as_str(), 1));
    let credentials: Vec<String> = requests.iter().flat_map(Request::credentials).collect();
    assert_eq!(credentials, vec![Cli::Codex.credential(Login::File); requests.len()]);
    assert_eq!(fs_err::read(&login).expect("the login"), before);
}
