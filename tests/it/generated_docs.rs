//! `docs/cli.md`, `docs/configuration.md` and `docs/attempts.md` are made from the
//! program itself. `DENIZEN_TEST_UPDATE=1 cargo test generated_docs` updates them.

use std::fmt::Write;
use std::path::Path;

use denizen::config::keys::{AGENT_KEYS, KEYS, KeySpec, SHARE_KEYS, ValueKind, variable};
use denizen::prove::{ATTEMPTS, Expected};
use denizen::provider::{COMMON_KEYS, PROVIDERS};

fn check(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("DENIZEN_TEST_UPDATE").is_some() {
        std::fs::write(&path, expected).expect("written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/{name} is out of date: DENIZEN_TEST_UPDATE=1 cargo test generated_docs");
}

#[test]
fn the_command_line_is_documented() {
    let mut command = denizen::cli::command().term_width(100);
    command.build();
    let mut text = String::from(
        "# Command line\n\nMade from the program's own help by `tests/it/generated_docs.rs`; do not edit.\n\n",
    );
    text.push_str(
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the turn failed at the provider, 4 busy or timed out.\n\n",
    );
    text.push_str(
        "`--json` prints one object a line. Data goes to standard output, everything else to standard error.\n\n",
    );
    let whole = command.clone().render_help().to_string();
    writeln!(text, "## denizen\n\n```text\n{}\n```\n", trimmed(&whole)).expect("text");
    for sub in command.get_subcommands() {
        let help = sub.clone().render_long_help().to_string();
        let own = help.split("Global options:").next().unwrap_or_default();
        writeln!(text, "## denizen {}\n\n```text\n{}\n```\n", sub.get_name(), trimmed(own)).expect("text");
        for inner in sub.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let help = inner.clone().render_long_help().to_string();
            let own = help.split("Global options:").next().unwrap_or_default();
            let name = format!("{} {}", sub.get_name(), inner.get_name());
            writeln!(text, "### denizen {name}\n\n```text\n{}\n```\n", trimmed(own)).expect("text");
        }
    }
    check("cli.md", &format!("{}\n", text.trim_end()));
}

fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[test]
fn the_configuration_is_documented() {
    let mut text = String::from(
        "# Configuration\n\nMade from the table of keys by `tests/it/generated_docs.rs`; do not edit.\n\n\
         The file is `denizen.toml` in the root, or what `--config` names. It is refused where others can write it.\n\
         Every key is optional. A value is taken from the command line (`-c KEY=VALUE`), else from the environment,\n\
         else from the file, else from the default; `denizen config` shows each value in force and where it came from.\n\
         Paths may start with `~/`; a relative one is below the root. Time spans are written `90s`, `30m`, `24h`, `30d`,\n\
         sizes `512M`, `8G` (powers of 1024).\n\n",
    );
    text.push_str("## Keys\n\n| key | value | default | environment | meaning |\n|---|---|---|---|---|\n");
    for spec in KEYS {
        let default = if spec.default.is_empty() { String::new() } else { format!("`{}`", spec.default) };
        writeln!(
            text,
            "| `{}` | {} | {default} | `{}` | {} |",
            spec.name,
            kind(spec.kind),
            variable(spec.name),
            spec.help
        )
        .expect("text");
    }
    text.push_str("\n## `[agents.<name>]`\n\nA named bundle, used by `denizen send KEY --agent NAME`.\n\n");
    section(&mut text, AGENT_KEYS);
    text.push_str(
        "\n## `[providers.<name>]`\n\nThe built-in providers are `claude`, `codex`, `opencode`, `gemini` and `notes`. \
         A section of any other name is a `command`: a program that reads the prompt on standard input and prints the \
         reply on standard output.\n\n",
    );
    section(&mut text, COMMON_KEYS);
    for provider in PROVIDERS.iter().filter(|provider| !provider.keys().is_empty()) {
        writeln!(text, "\n### Only for `{}`\n", provider.name()).expect("text");
        section(&mut text, provider.keys());
    }
    text.push_str("\n## `[[share]]`\n\nWhat the owner shares with sessions on purpose. There may be several.\n\n");
    section(&mut text, SHARE_KEYS);
    text.push_str(
        "\n## `[channels.<name>]`\n\nThe chat networks that `denizen serve` listens to. Every section may have:\n\n",
    );
    section(&mut text, denizen::channel::COMMON_KEYS);
    for channel in denizen::channel::CHANNELS {
        writeln!(text, "\n### Only for `{}`\n", channel.name()).expect("text");
        section(&mut text, channel.keys());
    }
    text.push_str("\n## What a provider inherits of the environment\n\nFor every provider: ");
    text.push_str(&names(denizen::provider::BASIC_VARIABLES));
    text.push_str(".\n\n");
    for provider in PROVIDERS.iter().filter(|provider| !provider.variables().is_empty()) {
        writeln!(text, "- `{}`: {}.", provider.name(), names(provider.variables())).expect("text");
    }
    text.push_str("\nNothing else, unless `env` names it. `*` stands for any ending.\n");
    check("configuration.md", &text);
}

#[test]
fn the_attempts_are_documented() {
    let mut text = String::from(
        "# What is tried against the walls\n\n\
         Made from the program's own table by `tests/it/generated_docs.rs`; do not edit. What is promised, and what is\n\
         not, is in [security.md](security.md).\n\n\
         `denizen doctor --prove` makes each of these attempts for real: a child inside the walls aims it at another\n\
         session that runs next to it, at a process that stands in for Denizen, and at your own files. A number is never\n\
         reused. **through** means that the attempt succeeds; everything else is what stops it.\n",
    );
    let mut attempts: Vec<_> = ATTEMPTS.iter().collect();
    attempts.sort_by_key(|attempt| (attempt.group, attempt.number));
    for same in attempts.chunk_by(|one, other| one.group == other.group) {
        let reaches = same[0].group.reaches();
        writeln!(text, "\n## Aimed at {reaches}\n").expect("text");
        writeln!(text, "| | attempt | `full` | `kernel` | `off` |\n|---|---|---|---|---|").expect("text");
        for attempt in same {
            let [full, kernel, off] = [attempt.full, attempt.kernel, attempt.off].map(|expected| match expected {
                Expected::Through => "**through**".to_owned(),
                Expected::Stopped(by) => by.words().to_owned(),
            });
            let (number, name) = (attempt.number, attempt.name);
            let unless = attempt.unless.map(|reason| format!(" (or not: {reason})")).unwrap_or_default();
            writeln!(text, "| {number} | {name} | {full} | {kernel} | {off}{unless} |").expect("text");
        }
    }
    check("attempts.md", &text);
}

fn section(text: &mut String, specs: &[KeySpec]) {
    text.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    for spec in specs {
        let default = if spec.default.is_empty() { String::new() } else { format!("`{}`", spec.default) };
        writeln!(text, "| `{}` | {} | {default} | {} |", spec.name, kind(spec.kind), spec.help).expect("text");
    }
}

fn names(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn kind(kind: ValueKind) -> String {
    match kind {
        ValueKind::Text => "text".to_owned(),
        ValueKind::Choice(choices) => {
            choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(" or ")
        }
        ValueKind::Number(least) => format!("number, at least {least}"),
        ValueKind::Span => "time span".to_owned(),
        ValueKind::SpanOrNever => "time span, or `never`".to_owned(),
        ValueKind::Path => "path".to_owned(),
        ValueKind::Paths => "list of paths".to_owned(),
        ValueKind::Texts => "list of texts".to_owned(),
        ValueKind::Ports => "list of TCP ports".to_owned(),
        ValueKind::SizeOrNever => "size, or `never`".to_owned(),
        ValueKind::NumberOrNever(least) => format!("number, at least {least}, or `never`"),
        ValueKind::Secret => "text, `{ env = \"NAME\" }`, `{ file = \"PATH\" }` or `{ command = [..] }`".to_owned(),
        ValueKind::Section => "section".to_owned(),
    }
}
