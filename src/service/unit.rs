//! What systemd is given: a unit. Pure: text in, text out. Not here: where it is
//! written, and who is told (`service::install`).

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The unit of systemd.
const UNIT: &str = include_str!("../../templates/denizen.service");

/// What stands in the head of every file that was written here.
const MARK: &str = "Written by `denizen service install`";

/// Who starts it, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The user's own systemd, for this user.
    UserUnit,
    /// The machine's systemd, as the user of this name.
    SystemUnit {
        /// The user's name.
        user: String,
    },
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeCommand {
    /// The installed program, absolute.
    pub program: PathBuf,
    /// The root, absolute.
    pub root: PathBuf,
    /// The configuration file, absolute, where another than the root's was named.
    pub config: Option<PathBuf>,
    /// Where its programs are looked for.
    pub path: String,
    /// How long its turns may take to end once it is told to stop.
    pub grace: Duration,
}

/// What no unit can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be written into a unit: {reason}", .text.escape_debug())]
pub struct Unwritable {
    /// The path or name.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl ServeCommand {
    /// Its command line, without quotes.
    ///
    /// # Errors
    /// If a path is not text on one line.
    pub fn command(&self) -> Result<Vec<String>, Unwritable> {
        let mut words = vec![written(&self.program)?, "--root".to_owned(), written(&self.root)?];
        if let Some(config) = &self.config {
            words.extend(["--config".to_owned(), written(config)?]);
        }
        Ok(words)
    }

    /// The file for whoever starts it.
    ///
    /// # Errors
    /// If a path or name is not text on one line.
    pub fn file(&self, start: &Start) -> Result<String, Unwritable> {
        let mut command = self.command()?;
        command.push("serve".to_owned());
        let root = written(&self.root)?;
        let path = line(self.path.clone())?;
        // The launcher needs seconds of its own to end what does not end itself.
        let stop = (self.grace.as_secs() + 40).to_string();
        let (scope, network, user, target) = match start {
            Start::SystemUnit { user } => {
                let user = format!("User={}\n", line(user.clone())?.replace('%', "%%"));
                let network = "Wants=network-online.target\nAfter=network-online.target\n";
                ("", network, user, "multi-user.target")
            }
            // Units of a user cannot wait for those of the machine.
            Start::UserUnit => (" --user", "", String::new(), "default.target"),
        };
        let (program, rest) = command.split_at(1);
        // systemd looks for variables in all words but the program.
        let words = program.iter().map(|word| quoted(word));
        let words = words.chain(rest.iter().map(|word| quoted(word).replace('$', "$$")));
        let command = words.collect::<Vec<_>>().join(" ");
        Ok(fill(
            UNIT,
            &[
                ("scope", scope),
                ("root", &root),
                ("network", network),
                ("command", &command),
                ("user", &user),
                ("path", &quoted_always(&format!("PATH={path}"))),
                ("stop", &stop),
                ("target", target),
            ],
        ))
    }
}

/// Whether a file was written here, and not by a person or a package.
#[must_use]
pub(super) fn is_ours(text: &str) -> bool {
    text.lines().take(4).any(|line| line.contains(MARK))
}

/// The root for which a file was written here.
#[must_use]
pub(super) fn root_of(text: &str) -> Option<String> {
    text.lines().take(6).find_map(|line| line.strip_prefix("# root: ")).map(str::to_owned)
}

/// A template with its places filled in; what is filled in is not looked at again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let filled = after.split_once('}').and_then(|(name, after)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, after))
        });
        match filled {
            Some((value, after)) => {
                text.push_str(value);
                rest = after;
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

fn written(path: &Path) -> Result<String, Unwritable> {
    match path.to_str() {
        Some(text) => line(text.to_owned()),
        None => Err(Unwritable { text: path.display().to_string(), reason: "it is no UTF-8" }),
    }
}

fn line(text: String) -> Result<String, Unwritable> {
    if text.chars().any(char::is_control) {
        return Err(Unwritable { text, reason: "it holds a control character" });
    }
    Ok(text)
}

/// A word of a unit, in quotes where it needs them: systemd.syntax(7), and `%`
/// begins a specifier (systemd.unit(5)).
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.-_+:@,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { quoted_always(word) }
}

fn quoted_always(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(program: &str, root: &str) -> ServeCommand {
        ServeCommand {
            program: program.into(),
            root: root.into(),
            config: None,
            path: "/home/a/.cargo/bin:/usr/bin".to_owned(),
            grace: Duration::from_secs(20),
        }
    }

    fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
        text.lines().filter(|line| line.starts_with(start)).collect()
    }

    #[test]
    fn a_unit_of_a_user_and_one_of_the_machine_differ_in_who_and_when() {
        let daemon = daemon("/home/a/.cargo/bin/denizen", "/home/a/.local/share/denizen");
        let user = daemon.file(&Start::UserUnit).expect("a unit");
        let system = daemon.file(&Start::SystemUnit { user: "a".to_owned() }).expect("a unit");
        let only_in = |text: &str, other: &str| {
            let lines = text.lines().filter(|line| !other.lines().any(|known| known == *line));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            only_in(&user, &system),
            [
                "# Changes of your own belong into a drop-in: `systemctl --user edit denizen`.",
                "WantedBy=default.target",
            ]
        );
        assert_eq!(
            only_in(&system, &user),
            [
                "# Changes of your own belong into a drop-in: `systemctl edit denizen`.",
                "Wants=network-online.target",
                "After=network-online.target",
                "User=a",
                "WantedBy=multi-user.target",
            ]
        );
        for text in [&user, &system] {
            assert!(is_ours(text) && !text.contains(['{', '}']), "{text}");
            assert_eq!(root_of(text).as_deref(), Some("/home/a/.local/share/denizen"));
            assert_eq!(
                lines(text, "ExecStart="),
                ["ExecStart=/home/a/.cargo/bin/denizen --root /home/a/.local/share/denizen serve"]
            );
            assert_eq!(lines(text, "TimeoutStopSec="), ["TimeoutStopSec=60"]);
        }
    }

    #[test]
    fn what_systemd_reads_specially_is_quoted() {
        let mut daemon = daemon("/opt/a b%n/$HOME/denizen", "/srv/{path} $X \\ \"q\" %h");
        daemon.config = Some("/etc/den izen.toml".into());
        daemon.path = "/a %t b:/\"c\"".to_owned();
        let text = daemon.file(&Start::UserUnit).expect("a unit");
        assert_eq!(
            lines(&text, "ExecStart="),
            [concat!(
                r#"ExecStart="/opt/a b%%n/$HOME/denizen" --root "/srv/{path} $$X \\ \"q\" %%h" "#,
                r#"--config "/etc/den izen.toml" serve"#
            )]
        );
        assert_eq!(lines(&text, "Environment="), [r#"Environment="PATH=/a %%t b:/\"c\"""#]);
        daemon.root = "/srv/a\nExecStartPre=/bin/x".into();
        let refused = daemon.file(&Start::UserUnit).expect_err("a new line would be a new setting");
        assert_eq!(
            refused.to_string(),
            r"`/srv/a\nExecStartPre=/bin/x` cannot be written into a unit: it holds a control character"
        );
    }

    #[test]
    fn a_file_of_somebody_else_is_not_ours() {
        assert!(!is_ours("[Unit]\nDescription=Denizen\n"));
        assert_eq!(root_of("[Unit]\nDescription=Denizen\n"), None);
    }
}
