//! The commands that can be given in a chat, in one table.
//!
//! The help text, the registration of slash commands, the dispatcher and the
//! documentation read it, so none can list what another does not know.

/// One command.
#[derive(Debug, Clone, Copy)]
pub struct CommandSpec {
    /// Its name, without the slash.
    pub name: &'static str,
    /// What it does, in at most 100 characters, as networks allow no more.
    pub help: &'static str,
    /// What may be said with it, in order.
    pub args: &'static [ArgSpec],
    /// Who may give it.
    pub who: MayGive,
    /// Whether only the person who gave it sees the answer, where the network
    /// can do that.
    pub ephemeral: bool,
}

/// One argument of a command; always text.
#[derive(Debug, Clone, Copy)]
pub struct ArgSpec {
    /// Its name.
    pub name: &'static str,
    /// What it means, in at most 100 characters.
    pub help: &'static str,
    /// Whether it has to be given.
    pub required: bool,
    /// The words it may be; empty where it may be any.
    pub choices: &'static [&'static str],
}

/// Who may give a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayGive {
    /// Everybody who may talk to the session.
    Talkers,
    /// Owners only: it looks at or reaches other sessions, directories, modes or models.
    Owners,
}

const fn arg(name: &'static str, help: &'static str, required: bool) -> ArgSpec {
    ArgSpec { name, help, required, choices: &[] }
}

const fn for_all(name: &'static str, help: &'static str) -> CommandSpec {
    CommandSpec { name, help, args: &[], who: MayGive::Talkers, ephemeral: false }
}

const fn for_owners(name: &'static str, help: &'static str, args: &'static [ArgSpec]) -> CommandSpec {
    CommandSpec { name, help, args, who: MayGive::Owners, ephemeral: true }
}

/// Every command. Each acts on the session of the channel it is given in.
pub const COMMANDS: &[CommandSpec] = &[
    for_all("new", "Start a fresh conversation; the old one stays in the list"),
    for_all("stop", "Stop what is running in this channel"),
    for_all("retry", "Send again what was interrupted or failed"),
    CommandSpec { ephemeral: true, ..for_all("status", "Show what this channel's session is doing") },
    CommandSpec {
        ephemeral: true,
        args: &[ArgSpec {
            name: "do",
            help: "`dismiss` lets go of what was interrupted; absent: show the list",
            required: false,
            choices: &["dismiss"],
        }],
        ..for_all("pending", "Show messages of this channel that were not answered")
    },
    CommandSpec { ephemeral: true, ..for_all("cost", "Show what this channel's session has used") },
    for_all("compact", "Ask the agent to compact the conversation"),
    CommandSpec { ephemeral: true, ..for_all("help", "Show the commands") },
    for_owners(
        "resume",
        "Go on with an earlier conversation of this channel",
        &[arg("conversation", "Its number in the list, or the start of its id; absent: show the list", false)],
    ),
    for_owners("fork", "Copy this channel's session to a new key", &[arg("key", "The key that the copy gets", true)]),
    for_owners(
        "sessions",
        "List the sessions, the one used last first",
        &[arg("pattern", "Only those whose key or title matches", false)],
    ),
    for_owners(
        "cd",
        "Show or change the directory that this channel's session works in",
        &[arg("directory", "A directory below the configured ones, or `home`; absent: show it", false)],
    ),
    for_owners(
        "name",
        "Give this channel's session a title",
        &[arg("title", "The title; absent: take it away", false)],
    ),
    for_owners(
        "model",
        "Show or set the model of this channel's session",
        &[arg("model", "The model, or `default`; absent: show it", false)],
    ),
    for_owners(
        "mode",
        "Show or set what the agent may do unasked in this channel",
        &[ArgSpec {
            name: "mode",
            help: "The permission mode, up to the configured ceiling; absent: show it",
            required: false,
            choices: &["default", "plan", "acceptEdits", "bypassPermissions"],
        }],
    ),
    for_owners(
        "provider",
        "Show or set the provider of this channel's session",
        &[arg("provider", "Its name, or `default`; absent: show it", false)],
    ),
];

/// The command of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static CommandSpec> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// The help text: the commands that `owner` may give, one per line.
#[must_use]
pub fn help(owner: bool) -> String {
    let allowed = COMMANDS.iter().filter(|command| owner || command.who == MayGive::Talkers);
    let lines = allowed.map(|command| {
        let args = command
            .args
            .iter()
            .map(|arg| if arg.required { format!(" <{}>", arg.name) } else { format!(" [{}]", arg.name) });
        format!("`/{}{}` {}", command.name, args.collect::<String>(), command.help)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lengths_fit_every_network() {
        for command in COMMANDS {
            assert!(command.name.len() <= 32 && command.name.bytes().all(|b| b.is_ascii_lowercase()), "{command:?}");
            assert!(command.help.chars().count() <= 100, "{command:?}");
            for arg in command.args {
                assert!(arg.help.chars().count() <= 100, "{arg:?}");
            }
            assert_eq!(COMMANDS.iter().filter(|other| other.name == command.name).count(), 1);
        }
    }

    #[test]
    fn help_lists_what_one_may_give() {
        assert!(help(true).contains("`/fork <key>` "));
        assert!(help(true).contains("`/cd [directory]` "));
        assert!(!help(false).contains("/fork"));
        assert!(help(false).contains("`/new` "));
    }
}
