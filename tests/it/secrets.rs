//! No secret is printed or written down: not in an error, not with `--json` or
//! `--verbose`, not in a session, not in the state, not on a command line.

use std::collections::BTreeMap;

use crate::support::fake::Fake;
use crate::support::root::Root;

/// Notes what it was given and what others can see of it: its own arguments
/// and its launcher's.
const CLAUDE: &str = r#"
say "key ${ANTHROPIC_API_KEY:+was given}, named ${NAMED_TOKEN:+was given}, unnamed ${UNNAMED_TOKEN:+was given}"
{ tr '\0' ' ' < /proc/$$/cmdline; tr '\0' ' ' < /proc/$PPID/cmdline; } >> "$T/command-lines"
case "$message" in
fail*) echo "Invalid API key" >&2; exit 1 ;;
login*) printf '{"type":"result","subtype":"success","is_error":true,"result":"Not logged in"}\n'; exit 1 ;;
silent*) exit 0 ;;
esac
answer "heard"
"#;

/// Where secrets are, and what they are.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("ANTHROPIC_API_KEY", "sk-ant-secret-1"),
    ("CLAUDE_CODE_OAUTH_TOKEN", "oauth-secret-2"),
    ("ANTHROPIC_CUSTOM_HEADERS", "X-Key: header-secret-3"),
    ("NAMED_TOKEN", "named-secret-4"),
    ("UNNAMED_TOKEN", "unnamed-secret-5"),
    ("OPENAI_API_KEY", "openai-secret-6"),
    ("CODEX_API_KEY", "codex-secret-6"),
    ("GEMINI_API_KEY", "gemini-secret-7"),
    ("HTTPS_PROXY", "http://me:proxy-secret-8@localhost:1"),
    ("DISCORD_TOKEN", "discord-secret-9"),
];
const LOGINS: &[(&str, &str)] = &[
    (
        ".claude/.credentials.json",
        r#"{"claudeAiOauth": {"accessToken": "file-secret-10", "refreshToken": "file-secret-11"}}"#,
    ),
    (".claude.json", r#"{"primaryApiKey": "file-secret-12"}"#),
    (".codex/auth.json", r#"{"OPENAI_API_KEY": "file-secret-13"}"#),
    (".local/share/opencode/auth.json", r#"{"x": {"type": "api", "key": "file-secret-14"}}"#),
    (".gemini/.env", "GEMINI_API_KEY=file-secret-15"),
];

const COMMANDS: &[&[&str]] = &[
    &["send", "alder", "hello"],
    &["send", "alder", "fail"],
    &["retry", "alder"],
    &["send", "alder", "login"],
    &["send", "alder", "silent"],
    &["send", "alder", "hello", "--provider", "codexx"],
    &["send", "alder", "hello", "--provider", "mine"],
    &["send", "alder", "hello", "--stream"],
    &["new", "alder"],
    &["resume", "alder"],
    &["resume", "alder", "1"],
    &["rename", "alder", "a title"],
    &["compact", "alder"],
    &["set", "alder"],
    &["set", "alder", "model", "opus"],
    &["set", "alder", "colour", "blue"],
    &["cd", "alder"],
    &["cd", "alder", "/etc"],
    &["exec", "alder", "--", "true"],
    &["exec", "alder", "--", "no-such-program"],
    &["attach", "alder"],
    &["stop", "alder"],
    &["archive", "alder"],
    &["unarchive", "alder"],
    &["ls"],
    &["status"],
    &["status", "alder"],
    &["history", "alder"],
    &["path", "alder"],
    &["usage"],
    &["usage", "alder"],
    &["pending", "alder"],
    &["doctor"],
    &["config"],
    &["init"],
    &["cleanup"],
    &["fork", "alder", "copy"],
    &["rm", "copy"],
    &["trash", "list"],
    &["trash", "restore", "copy"],
    &["verify"],
    &["verify", "nowhere"],
    &["export", "alder", "-o", "exported"],
    &["import", "exported"],
    &["import", "exported", "--as", "imported"],
    &["import", ".claude.json"],
    &["restore", "nowhere"],
    &["completions", "bash"],
    &["man"],
    &["no-such-command"],
];

#[test]
fn secrets_are_neither_printed_nor_written_down() {
    let mut root = Root::new("secrets_are_neither_printed_nor_written_down");
    let fake = Fake::claude(&mut root, CLAUDE);
    root.write_config(
        "provider = \"claude\"\n[providers.claude]\nenv = [\"NAMED_TOKEN\"]\n[providers.mine]\nprogram = \"/no/such/program\"\n",
    );
    let mut secrets = Vec::new();
    for (name, value) in ENVIRONMENT {
        root.set_env(name, *value);
    }
    for (name, content) in LOGINS {
        root.write_home(name, content);
    }
    let planted = ENVIRONMENT.iter().chain(LOGINS).flat_map(|(_, text)| text.split(['"', '@', ':', ' ', '=', '/']));
    secrets.extend(planted.filter(|word| word.contains("-secret-")));
    assert_eq!(secrets.len(), 16);

    let mut leaks = Vec::new();
    let mut codes = BTreeMap::new();
    for args in COMMANDS {
        for more in [&[][..], &["--json"], &["--verbose"], &["--quiet"]] {
            let all = [more, args].concat();
            let output = root.run(&all);
            *codes.entry(output.code).or_insert(0) += 1;
            for secret in &secrets {
                if output.stdout.contains(secret) || output.stderr.contains(secret) {
                    leaks.push(format!("denizen {all:?} printed {secret}: {output:?}"));
                }
            }
        }
    }
    for secret in &secrets {
        leaks.extend(
            root.files_with(&root.path(), secret).iter().map(|file| format!("{secret} is in {}", file.display())),
        );
        let lines = root.files_with(&root.dir().join("command-lines"), secret);
        assert!(lines.is_empty(), "{secret} is on a command line");
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    // The child had what it may have, and the commands came to different ends.
    assert!(fake.said().iter().all(|said| said == "key was given, named was given, unnamed "), "{:?}", fake.said());
    assert!([Some(0), Some(1), Some(2), Some(3)].iter().all(|code| codes.contains_key(code)), "{codes:?}");
}

/// A value in the place of a name is a secret in the configuration.
#[test]
fn a_secret_in_the_list_of_names_is_refused_and_not_repeated() {
    let root = Root::new("a_secret_in_the_list_of_names_is_refused_and_not_repeated");
    root.write_config("provider = \"notes\"\n[providers.notes]\nenv = [\"TOKEN=named-secret\"]\n");
    for args in [&["send", "alder", "x"][..], &["config"], &["ls"], &["doctor"], &["config", "--json"]] {
        let output = root.run(args);
        assert!(
            !output.stdout.contains("named-secret") && !output.stderr.contains("named-secret"),
            "{args:?}: {output:?}"
        );
        assert_ne!(output.code, Some(0), "{args:?}");
    }
}
