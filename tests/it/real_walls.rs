//! With every real CLI: an agent that may do anything unasked works with its
//! tools inside the walls, and reaches no other session.

use std::path::Path;

use crate::support::clis::{Cli, Clis, Login};
use crate::support::model::{Model, reply, tool_then_reply};
use crate::support::root::Root;

#[test]
fn claude_reaches_no_other_session() {
    reaches_no_other_session(Cli::Claude, "claude_reaches_no_other_session");
}

#[test]
fn codex_reaches_no_other_session() {
    reaches_no_other_session(Cli::Codex, "codex_reaches_no_other_session");
}

#[test]
fn opencode_reaches_no_other_session() {
    reaches_no_other_session(Cli::OpenCode, "opencode_reaches_no_other_session");
}

#[test]
fn gemini_reaches_no_other_session() {
    reaches_no_other_session(Cli::Gemini, "gemini_reaches_no_other_session");
}

fn reaches_no_other_session(cli: Cli, test: &str) {
    let Some(clis) = Clis::find(test) else { return };
    let mut root = Root::new(test);
    let (own, other) = (root.session("alder").join("own"), root.session("birch").join("memory/conquered"));
    let write_both = format!("printf mine > '{}'; printf theirs > '{}'; id", own.display(), other.display());
    let mut fixtures = tool_then_reply("reach-out", &cli.shell_call(&write_both), "tried").to_vec();
    fixtures.push(reply("hello", "heard"));
    let model = Model::start(&root, &clis, fixtures);
    cli.set_up(&mut root, &clis, &model, Login::File);
    let mode = format!("[providers.{}]\npermission_mode = \"bypassPermissions\"\n", cli.name());
    let config = fs_err::read_to_string(root.path().join("denizen.toml")).expect("the configuration");
    let section = format!("[providers.{}]\n", cli.name());
    let config = if config.contains(&section) { config.replace(&section, &mode) } else { format!("{config}{mode}") };
    root.write_config(&config);
    root.ok(&["send", "birch", "hello"]);

    for walls in ["full", "kernel"] {
        root.set_env("DENIZEN_WALLS", walls);
        assert_eq!(root.ok(&["send", "alder", "--new", "reach-out"]).trim(), "tried", "{walls}");
        assert_eq!(take(&own).as_deref(), Some("mine"), "{walls}: its tools work");
        assert_eq!(take(&other), None, "{walls}");
    }
    // Claude Code does nothing unasked as root without walls.
    if !(cli == Cli::Claude && rustix::process::getuid().is_root()) {
        root.set_env("DENIZEN_WALLS", "off");
        assert_eq!(root.ok(&["send", "alder", "--new", "reach-out"]).trim(), "tried");
        assert_eq!(take(&other).as_deref(), Some("theirs"), "without walls it gets there");
    }
}

/// Reads a file that may be there, and removes it.
fn take(path: &Path) -> Option<String> {
    let text = fs_err::read_to_string(path).ok()?;
    fs_err::remove_file(path).expect("removed");
    Some(text)
}
