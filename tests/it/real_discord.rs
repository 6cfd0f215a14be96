//! `denizen serve` against a Discord-compatible server that nobody here wrote:
//! `discord-digital-twin` from npm, on 127.0.0.1.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::support::clis::Clis;
use super::support::fake::{Running, until};
use super::support::net::end;
use super::support::root::Root;

/// A running twin, and how to act as its users.
struct Twin {
    node: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    told: Value,
}

impl Twin {
    fn start(root: &Root, packages: &Path) -> Self {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm");
        let mut command = root.command("node");
        command.arg("--require").arg(own.join("loopback.cjs")).arg(own.join("twin.mjs")).arg(packages);
        let mut node = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node");
        let input = node.stdin.take();
        let mut lines = BufReader::new(node.stdout.take().expect("its output")).lines();
        let told = lines.next().expect("a line").expect("text");
        Self { node, input, lines, told: serde_json::from_str(&told).expect("JSON") }
    }

    fn text(&self, name: &str) -> String {
        self.told[name].as_str().unwrap_or_else(|| panic!("{name} in {}", self.told)).to_owned()
    }

    fn act(&mut self, request: &Value) -> Value {
        let input = self.input.as_mut().expect("its input");
        writeln!(input, "{request}").expect("written");
        let line = self.lines.next().expect("an answer").expect("text");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        assert!(answer.get("failed").is_none(), "{request}: {answer}");
        answer
    }

    /// Somebody addresses the bot.
    fn ask(&mut self, channel: &str, user: &str, text: &str) -> String {
        let text = format!("<@{}> {text}", self.text("bot"));
        let said = self.act(&json!({ "do": "say", "channel": channel, "user": user, "text": text }));
        said["id"].as_str().expect("an id").to_owned()
    }

    fn messages(&mut self, channel: &str) -> Vec<String> {
        let answer = self.act(&json!({ "do": "messages", "channel": channel }));
        serde_json::from_value(answer["messages"].clone()).expect("texts")
    }

    fn until_says(&mut self, channel: &str, text: &str) {
        until(text, || {
            let messages = self.messages(channel);
            if messages.iter().any(|message| message.contains(text)) { Ok(()) } else { Err(format!("{messages:#?}")) }
        });
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        drop(self.input.take());
        let _killed = self.node.kill();
        let _ended = self.node.wait();
    }
}

#[test]
fn channels_and_threads_of_another_server_stay_apart() {
    let Some(clis) = Clis::find("real_discord::channels_and_threads_of_another_server_stay_apart") else { return };
    let packages = clis.program("..");
    let root = Root::new("real_discord::stay_apart");
    let mut twin = Twin::start(&root, &packages);
    let [one, two, ann, bob] = ["one", "two", "ann", "bob"].map(|name| twin.text(name));
    root.write_config(&format!(
        "provider = \"notes\"\n[channels.discord]\ntoken = \"{}\"\napi_url = \"{}\"\nowners = [\"{ann}\"]\nallowed_users = [\"{bob}\"]\n",
        twin.text("token"),
        twin.text("api")
    ));
    let daemon = Running::denizen(&root, &["serve"]);
    until("the commands", || {
        let names = twin.act(&json!({ "do": "commands" }))["names"].clone();
        if names.to_string().contains("\"compact\"") { Ok(()) } else { Err(names.to_string()) }
    });
    twin.ask(&one, &ann, "remember the fruit is apricot");
    twin.ask(&two, &bob, "remember the fruit is banana");
    twin.until_says(&one, "Noted: the fruit is apricot");
    twin.until_says(&two, "Noted: the fruit is banana");
    let begun = twin.ask(&one, &bob, "a thread begins here");
    let thread = twin.act(&json!({ "do": "thread", "channel": one, "message": begun, "name": "side" }));
    let thread = thread["id"].as_str().unwrap_or_else(|| panic!("a thread: {thread}")).to_owned();
    twin.ask(&thread, &bob, "remember the fruit is cherry");
    twin.until_says(&thread, "Noted: the fruit is cherry");
    for (channel, word, user) in [(&one, "apricot", &bob), (&two, "banana", &ann), (&thread, "cherry", &ann)] {
        twin.ask(channel, user, "which fruit is it?");
        twin.until_says(channel, &format!("- the fruit is {word}"));
    }
    // A command acts on its channel, and on no other.
    twin.act(&json!({ "do": "command", "channel": one, "user": bob, "name": "new" }));
    twin.ask(&one, &ann, "what did I say");
    twin.until_says(&one, "Nothing yet (turn 1)");
    twin.ask(&two, &ann, "what did I say");
    twin.until_says(&two, "remember the fruit is banana");
    assert!(twin.act(&json!({ "do": "typed", "channel": one }))["times"].as_u64() > Some(0));
    end(daemon);
    for (channel, word) in [(&one, "apricot"), (&two, "banana"), (&thread, "cherry")] {
        let folder = root.session(&format!("discord-{channel}"));
        for other in ["apricot", "banana", "cherry"].iter().filter(|other| **other != word) {
            assert_eq!(root.files_with(&folder, other), Vec::<std::path::PathBuf>::new(), "{other} in {word}");
            let messages = twin.messages(channel);
            assert!(messages.iter().all(|message| !message.contains(other)), "{messages:#?}");
        }
    }
}
