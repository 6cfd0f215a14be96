//! With every real CLI: nothing that lies in a session's folder or above it is
//! run by itself, and nothing that lies above it is told. (What an agent leaves
//! in its own folder for later, it may be told: that is what memory is.)

use std::path::Path;

use serde_json::json;

use crate::support::clis::Cli;
use crate::support::root::write;
use crate::support::talk::{Talk, assert_has, assert_lacks};

#[test]
fn claude_is_not_configured_by_the_folder() {
    is_not_configured_by_the_folder(Cli::Claude, "claude_is_not_configured_by_the_folder");
}

#[test]
fn codex_is_not_configured_by_the_folder() {
    is_not_configured_by_the_folder(Cli::Codex, "codex_is_not_configured_by_the_folder");
}

#[test]
fn opencode_is_not_configured_by_the_folder() {
    is_not_configured_by_the_folder(Cli::OpenCode, "opencode_is_not_configured_by_the_folder");
}

#[test]
fn gemini_is_not_configured_by_the_folder() {
    is_not_configured_by_the_folder(Cli::Gemini, "gemini_is_not_configured_by_the_folder");
}

fn is_not_configured_by_the_folder(cli: Cli, test: &str) {
    let Some(talk) = Talk::new(cli, test, &["alder-one", "alder-two"]) else { return };
    talk.say("alder", "alder-one", &[]);
    let (session, ran) = (talk.root.session("alder"), talk.root.dir().join("ran"));
    for above in [talk.root.path().join("sessions"), talk.root.path()] {
        plant(&above, "from-above", &ran);
    }
    plant(&session, "from-itself", &ran);
    write(&session.join("AGENTS.md"), "own-instructions\n");
    talk.ok(&["new", "alder"]);

    let sent = talk.say("alder", "alder-two", &[]);
    assert_lacks(&sent, "from-above");
    assert_has(&sent, "own-instructions");
    let marks: Vec<_> = fs_err::read_dir(talk.root.dir()).expect("the directory").flatten().collect();
    let ran: Vec<_> = marks.iter().filter(|entry| entry.file_name().to_string_lossy().starts_with("ran-")).collect();
    assert!(ran.is_empty(), "{ran:?}");
}

/// Files that one of the CLIs takes for configuration of a project. What
/// is run leaves `<ran>-<what>`; what is told holds the word.
///
/// Not among them is `.opencode/plugin/`: whatever is set, OpenCode 1.18.33 runs
/// what is there, in its folder and above, in some of its starts. It can do what
/// the agent's own commands can, so only walls keep it in.
fn plant(dir: &Path, word: &str, ran: &Path) {
    let command = |what: &str| format!("touch {}-{what}", ran.display());
    let server = |what: &str| json!({ "command": "sh", "args": ["-c", command(what)] });
    let hook = json!([{ "hooks": [{ "type": "command", "command": command("hook") }] }]);
    let claude = json!({ "hooks": { "SessionStart": hook, "UserPromptSubmit": hook }, "env": { "ANTHROPIC_BASE_URL": "http://127.0.0.1:9" } });
    write(&dir.join(".claude/settings.json"), &claude.to_string());
    write(&dir.join(".mcp.json"), &json!({ "mcpServers": { "planted": server("mcp") } }).to_string());
    for skills in [".claude/skills", ".agents/skills", ".gemini/skills"] {
        write(&dir.join(skills).join(word).join("SKILL.md"), &format!("---\nname: {word}\ndescription: {word}\n---\n"));
    }
    let nowhere = "http://127.0.0.1:9/v1";
    let codex = format!(
        "[mcp_servers.planted]\ncommand = \"sh\"\nargs = [\"-c\", \"{}\"]\n\n\
         [model_providers.mock]\nname = \"mock\"\nbase_url = \"{nowhere}\"\n",
        command("codex")
    );
    write(&dir.join(".codex/config.toml"), &codex);
    let local = json!({ "type": "local", "command": ["sh", "-c", command("opencode")], "enabled": true });
    let provider = json!({ "mock": { "options": { "baseURL": nowhere } } });
    let opencode =
        json!({ "mcp": { "planted": local }, "instructions": ["planted.md"], "provider": provider }).to_string();
    for name in ["planted.md", "AGENTS.md", "CLAUDE.md", "GEMINI.md", ".claude/CLAUDE.md"] {
        write(&dir.join(name), word);
    }
    write(&dir.join("opencode.json"), &opencode);
    write(&dir.join(".opencode/opencode.json"), &opencode);
    let gemini = json!({ "mcpServers": { "planted": server("gemini") }, "advanced": { "excludedEnvVars": [] } });
    write(&dir.join(".gemini/settings.json"), &gemini.to_string());
    write(
        &dir.join(".env"),
        "GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:9\nGEMINI_API_KEY=planted\nANTHROPIC_BASE_URL=http://127.0.0.1:9\n",
    );
}
