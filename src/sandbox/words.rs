//! The walls in words: what is held here, and what is not.

use std::path::Path;

use super::{EgressPolicy, Level, Policy, Rule, Walls};
use crate::repository;
use crate::sizes::written_size;

/// Said to an agent, which sees only that git fails.
const GIT_IS_CLOSED: &str = "Git's configuration and hooks are read-only in the repositories here: `git config`, \
    `git remote add`, `git push -u` and the like fail to write `.git/config` (\"Device or resource busy\"), everything \
    else works. Do without it (`git -c name=value`, `git push` without `-u`, `git branch --no-track`), or ask the person \
    to change it.";

impl Policy {
    /// In one line, for `status`.
    #[must_use]
    pub fn summary(&self) -> String {
        let Some(walls) = &self.walls else {
            return "off: the agent can read and write whatever you can, other sessions too".to_owned();
        };
        let network = match &walls.network {
            EgressPolicy::Open => "the network is open".to_owned(),
            EgressPolicy::Ports(ports) => format!("of the network, TCP {}", list(ports)),
            EgressPolicy::None => "no network".to_owned(),
        };
        match walls.level {
            Level::Full { .. } => format!("full: the agent sees its own session and the system; {network}"),
            Level::Kernel => {
                format!("kernel: the agent reads its own session and the system; {network}; some of others shows")
            }
        }
    }

    /// What an agent has to know of a directory that it works in.
    #[must_use]
    pub fn told_of(&self, working_dir: &Path) -> Option<&'static str> {
        let is_full = self.walls.as_ref().is_some_and(|walls| matches!(walls.level, Level::Full { .. }));
        let granted = self.granted.iter().find(|granted| granted.path == working_dir);
        let is_closed = granted.is_some_and(|granted| granted.protect.git && repository::is_in(working_dir));
        (is_full && is_closed && self.has(Rule::Repositories)).then_some(GIT_IS_CLOSED)
    }

    /// What is not held, a sentence each.
    #[must_use]
    pub fn gaps(&self) -> Vec<&'static str> {
        let Some(walls) = &self.walls else {
            return vec!["nothing keeps the agent from other sessions, from Denizen's own files, or from yours"];
        };
        let mut gaps = Vec::new();
        if walls.level == Level::Kernel {
            gaps.extend([
                "it can see that files exist whose path it knows, with their size and times, and change the times, the mode and the attributes of those that are yours",
                "it can see the command lines of all processes",
            ]);
        }
        match &walls.network {
            EgressPolicy::Open => {
                gaps.push("it can reach the network, and with it servers on this machine's loopback address")
            }
            EgressPolicy::Ports(_) => gaps.push("it can reach any address at those TCP ports, and everything by UDP"),
            EgressPolicy::None => {}
        }
        gaps
    }

    /// Everything, a name and a value each, for `denizen config walls`.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("walls", self.to_string())];
        if let Some(walls) = &self.walls {
            walls.add_lines(&mut lines);
        }
        let limits = &self.limits;
        let count = |count: Option<u64>| count.map_or_else(|| "never".to_owned(), |count| count.to_string());
        let size = |size: Option<u64>| size.map_or_else(|| "never".to_owned(), written_size);
        lines.extend([
            ("limit", format!("processes: {}", count(limits.processes))),
            ("limit", format!("memory: {}", size(limits.memory))),
            ("limit", format!("one file: {}", size(limits.file_size))),
            ("limit", format!("disk: {}", size(limits.disk))),
            ("limit", format!("files: {}", count(limits.files))),
        ]);
        for granted in self.granted.iter().filter(|granted| !granted.protect.is_none()) {
            let words = [(granted.protect.git, "git"), (granted.protect.tools, "tools")];
            let words: Vec<&str> = words.into_iter().filter_map(|(has, word)| has.then_some(word)).collect();
            lines.push(("protects", format!("{} in {}", words.join(" and "), granted.path.display())));
        }
        lines.extend(self.gaps().into_iter().map(|gap| ("not held", gap.to_owned())));
        lines
    }
}

impl Walls {
    fn add_lines(&self, lines: &mut Vec<(&'static str, String)>) {
        match &self.level {
            Level::Full { bubblewrap } => {
                lines.push(("held by", format!("{}, Landlock {}, seccomp", bubblewrap.display(), self.landlock)));
            }
            Level::Kernel => lines.push(("held by", format!("Landlock {}, seccomp", self.landlock))),
        }
        let network = match &self.network {
            EgressPolicy::Open => "open".to_owned(),
            EgressPolicy::Ports(ports) => format!("TCP {}", list(ports)),
            EgressPolicy::None => "none".to_owned(),
        };
        lines.push(("network", network));
        lines.push(("starts in", self.working_dir.display().to_string()));
        lines.push(("home", self.home.display().to_string()));
        for (name, paths) in [
            ("writes", &self.write),
            ("only reads", &self.keep),
            ("reads", &self.read),
            ("hidden", &self.hide),
            ("hidden", &self.closed),
        ] {
            lines.extend(paths.iter().map(|path| (name, path.display().to_string())));
        }
        lines.push(("reads", super::system::DIRECTORIES.join(" ")));
    }
}

fn list(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    if ports.is_empty() { "to no port".to_owned() } else { format!("to port {}", ports.join(", ")) }
}
