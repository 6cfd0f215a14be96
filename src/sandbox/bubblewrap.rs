//! The arguments of bubblewrap: a file system that holds only what a child may
//! see, and namespaces of its own (bwrap(1), 0.8).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::opened::OpenedMounts;
use super::{EgressPolicy, Policy, Rule, Walls, system};

/// What is mounted somewhere, from the least to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mount {
    Cover,
    Read,
    Write,
    Keep,
}

/// The arguments, without the command.
#[must_use]
pub fn arguments(confinement: &Policy, walls: &Walls, opened: &OpenedMounts) -> Vec<OsString> {
    let mut arguments = Arguments(Vec::new());
    let has = |rule| confinement.has(rule);
    arguments.add(&["--unshare-user", "--die-with-parent"]);
    for (rule, option) in [(Rule::Pids, "--unshare-pid"), (Rule::Ipc, "--unshare-ipc"), (Rule::Uts, "--unshare-uts")] {
        if has(rule) {
            arguments.add(&[option]);
        }
    }
    if has(Rule::Uts) {
        arguments.add(&["--hostname", "denizen"]);
    }
    if walls.network == EgressPolicy::None && has(Rule::Net) {
        arguments.add(&["--unshare-net"]);
    }
    if has(Rule::Capabilities) {
        arguments.add(&["--cap-drop", "ALL"]);
    }
    if has(Rule::Mounts) {
        arguments.system(&walls.closed);
    } else {
        arguments.add(&["--bind", "/", "/"]);
    }
    if has(Rule::Pids) {
        arguments.add(&["--proc", "/proc"]);
    } else {
        arguments.add(&["--ro-bind", "/proc", "/proc"]);
    }
    if has(Rule::PrivateDev) {
        arguments.add(&["--dev", "/dev"]);
    } else {
        arguments.add(&["--dev-bind", "/dev", "/dev"]);
    }
    if has(Rule::PrivateTmp) {
        arguments.mount("--bind", &walls.temporary, Path::new("/tmp"));
        arguments.add(&["--tmpfs", "/var/tmp"]);
    } else {
        arguments.add(&["--bind", "/tmp", "/tmp", "--bind", "/var/tmp", "/var/tmp"]);
    }
    arguments.own(confinement, walls, opened);
    if has(Rule::Mounts) {
        arguments.add(&["--remount-ro", "/"]);
    }
    arguments.add(&["--chdir"]);
    arguments.0.push(walls.working_dir.clone().into());
    arguments.0
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn mount(&mut self, option: &str, from: &Path, at: &Path) {
        self.0.extend([OsString::from(option), from.into(), at.into()]);
    }

    /// Mounts what was opened, whatever its path leads to by now.
    fn mount_opened(&mut self, option: &str, path: &Path, opened: &OpenedMounts) {
        match opened.descriptor(path) {
            Some(descriptor) => {
                self.0.extend([format!("{option}-fd").into(), descriptor.to_string().into(), path.into()]);
            }
            None => self.mount(option, path, path),
        }
    }

    /// The system, read-only; links of it stay links.
    fn system(&mut self, closed: &[PathBuf]) {
        for directory in system::DIRECTORIES.iter().map(Path::new) {
            match std::fs::read_link(directory) {
                Ok(target) => self.mount("--symlink", &target, directory),
                Err(_) if directory.is_dir() => self.mount("--ro-bind", directory, directory),
                Err(_) => {}
            }
        }
        for closed in closed {
            if closed.is_dir() {
                self.0.extend([OsString::from("--tmpfs"), closed.into()]);
            } else {
                self.mount("--ro-bind", Path::new("/dev/null"), closed);
            }
        }
    }

    /// What this child sees beside the system, outer directories first, so that
    /// what lies deeper is mounted over them.
    fn own(&mut self, confinement: &Policy, walls: &Walls, opened: &OpenedMounts) {
        let mut mounts: Vec<(&PathBuf, Mount)> = Vec::new();
        for (paths, mount) in [
            (&walls.hide, Mount::Cover),
            (&walls.read, Mount::Read),
            (&walls.write, Mount::Write),
            (&walls.keep, Mount::Keep),
        ] {
            let left_out = match mount {
                Mount::Keep => !confinement.has(Rule::ControlFiles),
                Mount::Write => false,
                Mount::Cover => !confinement.has(Rule::Mounts) || !confinement.has(Rule::Private),
                Mount::Read => !confinement.has(Rule::Mounts),
            };
            if !left_out {
                mounts.extend(paths.iter().map(|path| (path, mount)));
            }
        }
        if confinement.has(Rule::Repositories) {
            let kind = |write| if write { Mount::Write } else { Mount::Keep };
            mounts.extend(walls.protect.iter().map(|over| (&over.path, kind(over.write))));
        }
        mounts.sort_by_key(|(path, mount)| (path.components().count(), *mount));
        for (path, mount) in mounts {
            match mount {
                Mount::Cover => self.0.extend([OsString::from("--tmpfs"), path.into()]),
                Mount::Read | Mount::Keep => self.mount_opened("--ro-bind", path, opened),
                Mount::Write => self.mount_opened("--bind", path, opened),
            }
        }
        if confinement.has(Rule::Mounts) {
            for (at, target) in &walls.links {
                self.mount("--symlink", target, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::walls;
    use super::*;

    fn own(confinement: &Policy) -> Vec<String> {
        let mut arguments = Arguments(Vec::new());
        arguments.own(confinement, &walls(), &OpenedMounts::default());
        arguments.0.into_iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn outer_directories_come_first() {
        let words = own(&Policy::default()).join(" ");
        let expected = "--tmpfs /r --bind /h /h --ro-bind /h/tool /h/tool --bind /r/sessions/a /r/sessions/a \
            --bind /r/state/homes/a /r/state/homes/a --ro-bind /r/sessions/a/session.json /r/sessions/a/session.json";
        assert_eq!(words, expected.split_whitespace().collect::<Vec<_>>().join(" "));
    }

    #[test]
    fn each_rule_that_is_left_out_changes_the_arguments() {
        let of = |rule| arguments(&Policy { without: rule, ..Policy::default() }, &walls(), &OpenedMounts::default());
        for rule in [
            Rule::Mounts,
            Rule::Private,
            Rule::ControlFiles,
            Rule::PrivateTmp,
            Rule::PrivateDev,
            Rule::Pids,
            Rule::Ipc,
            Rule::Uts,
            Rule::Capabilities,
        ] {
            assert_ne!(of(Some(rule)), of(None), "{rule:?}");
        }
    }
}
