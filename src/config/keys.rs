//! The table of configuration keys: what there is, its default, its meaning.
//!
//! Everything that speaks of a key (parsing, `denizen config`, the generated
//! `docs/configuration.md`, the nearest match for a misspelt one) reads this
//! table. The sections of providers and channels are their owners' (`provider::options`, `channel`).

/// What a value may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text.
    Text,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A whole number, at least the given one.
    Number(u64),
    /// A time span such as `90s`, `30m`, `24h`, `30d`.
    Span,
    /// A time span, or `never`.
    SpanOrNever,
    /// A path; `~/` is the home directory, a relative one is below the root.
    Path,
    /// A list of paths.
    Paths,
    /// A list of texts.
    Texts,
    /// A list of TCP ports.
    Ports,
    /// A number of bytes such as `512M` or `8G`, or `never`.
    SizeOrNever,
    /// A whole number, at least the given one, or `never`.
    NumberOrNever(u64),
    /// A secret: text, or where to get it (`{ env = "NAME" }`, `{ file = "PATH" }`,
    /// `{ command = ["PROGRAM", ...] }`).
    Secret,
    /// A section of its own, whose owner says what it may hold.
    Section,
}

/// One configuration key.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// The dotted name.
    pub name: &'static str,
    /// What its value may look like.
    pub kind: ValueKind,
    /// The value in force when nothing sets it, as it would be written; empty
    /// if there is none.
    pub default: &'static str,
    /// What it does, in one or two sentences.
    pub help: &'static str,
}

/// Every key outside the sections `agents`, `providers` and `channels`.
pub const KEYS: &[KeySpec] = &[
    KeySpec {
        name: "provider",
        kind: ValueKind::Text,
        default: "auto",
        help: "The provider of new sessions. `auto` is the first of claude, codex, opencode, gemini that is installed; it is decided at a session's first turn and written into its record.",
    },
    KeySpec {
        name: "durability",
        kind: ValueKind::Choice(&["power", "process"]),
        default: "power",
        help: "What an acknowledged message survives: a power cut (`power`), or only the end of any process (`process`, which leaves every fsync out).",
    },
    KeySpec {
        name: "walls",
        kind: ValueKind::Choice(&["full", "kernel", "off"]),
        default: "full",
        help: "What keeps an agent inside its session: bubblewrap with Landlock and seccomp (`full`), Landlock and seccomp alone (`kernel`, which lets more through), or nothing (`off`). `docs/security.md` has what each holds.",
    },
    KeySpec {
        name: "network",
        kind: ValueKind::Choice(&["open", "providers", "none"]),
        default: "open",
        help: "What agents may reach: everything (`open`), TCP only to `ports` and to the ports that the addresses of model servers and proxies name (`providers`), or nothing (`none`, for programs that need no model server). A provider's section may have its own.",
    },
    KeySpec {
        name: "ports",
        kind: ValueKind::Ports,
        default: "[443]",
        help: "The TCP ports that agents may reach with `network = \"providers\"`.",
    },
    KeySpec {
        name: "working_dirs",
        kind: ValueKind::Paths,
        default: "[]",
        help: "Directories that `denizen cd` may point a session at, with everything below them.",
    },
    KeySpec {
        name: "protect",
        kind: ValueKind::Texts,
        default: "[\"git\", \"tools\"]",
        help: "What agents may not change in directories of yours that they may write, because your own programs run it: the configuration and hooks of git repositories (`git`), and what shells, editors and agents read from where you work, such as `.envrc`, `.vscode/` or `.husky/` (`tools`). `[]` protects nothing. A `[[share]]` may have its own.",
    },
    KeySpec {
        name: "defaults.working_dir",
        kind: ValueKind::Path,
        default: "",
        help: "The working directory of new sessions. Without it a session works in its own folder.",
    },
    KeySpec {
        name: "defaults.busy",
        kind: ValueKind::Choice(&["queue", "interrupt", "merge"]),
        default: "queue",
        help: "What becomes of a message from a chat that comes while a turn of its session runs: it waits (`queue`), it ends the running turn (`interrupt`), or what one author writes meanwhile becomes one message (`merge`). `[channels.<name>]` may say otherwise.",
    },
    KeySpec {
        name: "limits.turns",
        kind: ValueKind::Number(1),
        default: "3",
        help: "How many turns run at once, all processes together.",
    },
    KeySpec {
        name: "limits.queued",
        kind: ValueKind::Number(1),
        default: "10",
        help: "How many messages may wait in one session.",
    },
    KeySpec {
        name: "limits.turn_timeout",
        kind: ValueKind::Span,
        default: "30m",
        help: "How long one turn may take before everything it started is ended.",
    },
    KeySpec {
        name: "limits.processes",
        kind: ValueKind::NumberOrNever(16),
        default: "1024",
        help: "How many processes and threads one session may have at once.",
    },
    KeySpec {
        name: "limits.memory",
        kind: ValueKind::SizeOrNever,
        default: "8G",
        help: "How much memory the processes of one session may use together.",
    },
    KeySpec {
        name: "limits.file_size",
        kind: ValueKind::SizeOrNever,
        default: "4G",
        help: "How large a file may become that an agent writes.",
    },
    KeySpec {
        name: "limits.disk",
        kind: ValueKind::SizeOrNever,
        default: "8G",
        help: "How much a session's folder may hold, with its providers' homes. A session that holds more already may go on, and not grow.",
    },
    KeySpec {
        name: "limits.files",
        kind: ValueKind::NumberOrNever(1000),
        default: "100000",
        help: "How many files a session's folder may hold, with its providers' homes.",
    },
    KeySpec {
        name: "limits.grace",
        kind: ValueKind::Span,
        default: "20s",
        help: "How long running turns may go on when the daemon is asked to leave; then they are interrupted.",
    },
    KeySpec {
        name: "retention.trash",
        kind: ValueKind::SpanOrNever,
        default: "30d",
        help: "How long a removed session stays in the trash before `denizen cleanup` deletes it for good.",
    },
    KeySpec {
        name: "retention.idle",
        kind: ValueKind::SpanOrNever,
        default: "never",
        help: "After how long without a turn `denizen cleanup` archives a session.",
    },
    KeySpec {
        name: "retention.archived",
        kind: ValueKind::SpanOrNever,
        default: "never",
        help: "How long a session stays archived before `denizen cleanup` moves it to the trash. One with unanswered messages stays.",
    },
    KeySpec {
        name: "retention.deleted_channels",
        kind: ValueKind::SpanOrNever,
        default: "30d",
        help: "How long the session of a channel that was deleted in its chat network stays before the daemon moves it to the trash.",
    },
    KeySpec {
        name: "legacy.from",
        kind: ValueKind::Paths,
        default: "[]",
        help: "Directories in which an earlier bot (claudeclaw, claude-telegram-bot, tinyclaw) was started or kept its state: `denizen migrate` looks there too.",
    },
    KeySpec {
        name: "legacy.temp",
        kind: ValueKind::Path,
        default: "/tmp",
        help: "The directory where claude-telegram-bot kept its state.",
    },
];

/// The keys of an `[agents.<name>]` section.
pub const AGENT_KEYS: &[KeySpec] = &[
    KeySpec {
        name: "provider",
        kind: ValueKind::Text,
        default: "",
        help: "The provider of sessions made for this agent.",
    },
    KeySpec { name: "model", kind: ValueKind::Text, default: "", help: "The model that its sessions use." },
    KeySpec {
        name: "instructions",
        kind: ValueKind::Path,
        default: "",
        help: "A file that is copied to `AGENTS.md` in each new session of this agent.",
    },
    KeySpec {
        name: "permission_mode",
        kind: ValueKind::Text,
        default: "",
        help: "What its sessions may do unasked, at most; never above the provider's.",
    },
];

/// The keys of a `[[share]]`.
pub const SHARE_KEYS: &[KeySpec] = &[
    KeySpec {
        name: "sessions",
        kind: ValueKind::Texts,
        default: "",
        help: "The keys of the sessions that it is shared with; `*` stands for any text, so `discord-*` is all of Discord.",
    },
    KeySpec {
        name: "path",
        kind: ValueKind::Path,
        default: "",
        help: "The file or directory. One that does not exist shares nothing.",
    },
    KeySpec {
        name: "mode",
        kind: ValueKind::Choice(&["read", "write"]),
        default: "read",
        help: "Whether it may only be read, or written too.",
    },
    KeySpec {
        name: "protect",
        kind: ValueKind::Texts,
        default: "",
        help: "What agents may not change in it, if not what `protect` says for all: `[]` protects nothing.",
    },
];

/// The name of the environment variable that sets a key.
#[must_use]
pub fn variable(name: &str) -> String {
    format!("DENIZEN_{}", name.replace('.', "_").to_ascii_uppercase())
}

/// The candidate that is spelt most like `wrong`, where one is close.
#[must_use]
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(wrong, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
