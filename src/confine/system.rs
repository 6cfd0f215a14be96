//! What belongs to the system, and where a program is installed: what every
//! child may read.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The directories of the system, as far as they are directories of their own:
/// where `/bin` is a link to `usr/bin`, the link is remade.
pub const DIRECTORIES: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/run/current-system",
    "/var/lib/ca-certificates",
];

/// Devices that every program may use.
pub const DEVICES: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"];

/// Files of `/etc` that are often links to somewhere else.
const LINKED: &[&str] = &["/etc/resolv.conf", "/etc/hosts", "/etc/localtime", "/etc/nsswitch.conf"];

/// How long what was found closed in `/etc` holds where no directory of it has
/// changed: a file that was open to all can be closed without that.
const FRESH: Duration = Duration::from_secs(60);

/// Whether a path lies in a directory of the system.
#[must_use]
pub fn holds(path: &Path) -> bool {
    DIRECTORIES.iter().any(|directory| path.starts_with(directory))
}

/// Everything of the system that may be read, where only whole directories can
/// be allowed: of `/etc`, what is `closed` is left out.
#[must_use]
pub fn directories(closed: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    found.extend(elsewhere());
    if !closed.is_empty() {
        found.retain(|path| path != Path::new("/etc"));
        open_below(Path::new("/etc"), closed, &mut found);
    }
    found
}

/// The files that links in `/etc` lead to, outside the system's directories.
#[must_use]
pub fn elsewhere() -> Vec<PathBuf> {
    LINKED.iter().filter_map(|path| std::fs::canonicalize(path).ok()).filter(|path| !holds(path)).collect()
}

/// What of `/etc` only its owner may read, where that is who runs this, root:
/// for everybody else the kernel sees to it. Looking takes some milliseconds, so
/// what was found is kept while no directory changes, and for at most a minute.
#[derive(Debug, Default)]
pub struct Closed(Mutex<Option<Looked>>);

/// What was found, and when.
#[derive(Debug)]
struct Looked {
    at: Instant,
    /// Every directory that was looked into, with the time of its last change.
    directories: Vec<(PathBuf, Changed)>,
    closed: Vec<PathBuf>,
}

/// When a file was changed, by its content or by its mode.
type Changed = (i64, i64);

fn changed(metadata: &Metadata) -> Changed {
    (metadata.ctime(), metadata.ctime_nsec())
}

impl Closed {
    /// What is closed now.
    #[must_use]
    pub fn now(&self) -> Vec<PathBuf> {
        if !rustix::process::geteuid().is_root() {
            return Vec::new();
        }
        self.below(Path::new("/etc"))
    }

    fn below(&self, directory: &Path) -> Vec<PathBuf> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.as_ref().is_some_and(Looked::holds) {
            *kept = Some(Looked::at(directory));
        }
        kept.as_ref().map(|looked| looked.closed.clone()).unwrap_or_default()
    }
}

impl Looked {
    fn holds(&self) -> bool {
        let same = |(path, then): &(PathBuf, Changed)| {
            std::fs::symlink_metadata(path).is_ok_and(|metadata| changed(&metadata) == *then)
        };
        self.at.elapsed() < FRESH && self.directories.iter().all(same)
    }

    fn at(directory: &Path) -> Self {
        let mut looked = Self { at: Instant::now(), directories: Vec::new(), closed: Vec::new() };
        let mut look_at: Vec<PathBuf> = vec![directory.to_owned()];
        while let Some(directory) = look_at.pop() {
            // Before it is read, so that a change while it is read is seen next time.
            let Ok(metadata) = std::fs::symlink_metadata(&directory) else { continue };
            let entries = std::fs::read_dir(&directory);
            looked.directories.push((directory, changed(&metadata)));
            for entry in entries.into_iter().flatten().flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                // What a link leads to has a place of its own.
                if metadata.is_symlink() {
                    continue;
                }
                let wanted = if metadata.is_dir() { 0o005 } else { 0o004 };
                if metadata.mode() & wanted != wanted {
                    looked.closed.push(entry.path());
                } else if metadata.is_dir() {
                    look_at.push(entry.path());
                }
            }
        }
        looked
    }
}

/// Adds what lies in a directory and is not closed: whole where that holds for
/// everything in it.
fn open_below(directory: &Path, closed: &[PathBuf], open: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) || closed.contains(&path) {
            continue;
        }
        if closed.iter().any(|closed| closed.starts_with(&path)) {
            open_below(&path, closed, open);
        } else {
            open.push(path);
        }
    }
}

/// Where a program lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installation {
    /// What has to be read, outside the system's directories.
    pub read: BTreeSet<PathBuf>,
    /// The symbolic links that lead to it, each with where it points.
    pub links: BTreeSet<(PathBuf, PathBuf)>,
}

impl Installation {
    /// Adds a program: the links that lead to it, its package, and what its
    /// first line says runs it. Nothing of `private` directories is added whole.
    pub fn add(&mut self, program: &Path, path: &OsStr, private: &[&Path]) {
        let mut hop = program.to_owned();
        // As many as the kernel follows (path_resolution(7)).
        for _ in 0..40 {
            let Ok(target) = std::fs::read_link(&hop) else { break };
            let next = hop.parent().unwrap_or(Path::new("/")).join(&target);
            if !holds(&hop) && !hop.starts_with("/proc") {
                self.links.insert((hop, target));
            }
            hop = next;
        }
        let Ok(real) = std::fs::canonicalize(program) else { return };
        if !holds(&real) {
            self.read.extend(package(&real, private));
        }
        for interpreter in interpreters(&real, path) {
            if interpreter != program {
                self.add(&interpreter, path, private);
            }
        }
    }

    /// Leaves out the links that are seen anyway.
    pub fn settle(&mut self, also: &[PathBuf]) {
        let Self { read, links } = self;
        links.retain(|(at, _)| !read.iter().chain(also).any(|path| at.starts_with(path)));
    }
}

/// The directories of the package that a program belongs to, else the program.
fn package(real: &Path, private: &[&Path]) -> Vec<PathBuf> {
    let mut above = PathBuf::new();
    for component in real.components() {
        above.push(component);
        if component.as_os_str() == "node_modules" {
            return vec![above];
        }
    }
    // `bin` beside `lib` is how programs with files of their own are installed.
    let bin = real.parent().filter(|bin| bin.file_name().is_some_and(|name| name == "bin"));
    let Some(prefix) = bin.and_then(Path::parent) else { return vec![real.to_owned()] };
    let lib = prefix.join("lib");
    if lib.is_dir() && !private.iter().any(|private| private.starts_with(&lib)) {
        vec![real.to_owned(), lib]
    } else {
        vec![real.to_owned()]
    }
}

/// The programs that the first line of a script names: the interpreter, and
/// what `env` looks for.
fn interpreters(real: &Path, path: &OsStr) -> Vec<PathBuf> {
    let mut start = [0; 256];
    let Ok(count) = std::fs::File::open(real).and_then(|mut file| file.read(&mut start)) else { return Vec::new() };
    let Some(line) = start[..count].strip_prefix(b"#!") else { return Vec::new() };
    let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
    let mut words = line.split_whitespace();
    let Some(interpreter) = words.next().map(PathBuf::from) else { return Vec::new() };
    let mut found = vec![interpreter.clone()];
    if interpreter.file_name().is_some_and(|name| name == "env")
        && let Some(name) = words.find(|word| !word.starts_with('-') && !word.contains('='))
    {
        found.extend(std::env::split_paths(path).map(|dir| dir.join(name)).find(|candidate| candidate.is_file()));
    }
    found
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]
mod tests {
    use super::*;

    #[test]
    fn a_script_brings_its_package_its_links_and_its_interpreter() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = std::fs::canonicalize(dir.path()).expect("its path");
        let make = |name: &str, content: &str| {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(&path, content).expect("written");
            path
        };
        make("n/node_modules/cli/cli.js", "#!/usr/bin/env -S node --x\n");
        std::fs::create_dir_all(dir.join("bin")).expect("a directory");
        std::os::unix::fs::symlink("../n/node_modules/cli/cli.js", dir.join("bin/cli")).expect("a link");
        let node = make("v/bin/node", "ELF");
        make("v/lib/x", "");
        let path = std::env::join_paths([node.parent().expect("bin")]).expect("a PATH");
        let mut found = Installation::default();
        found.add(&dir.join("bin/cli"), &path, &[&dir]);
        let expected = [dir.join("n/node_modules"), node, dir.join("v/lib")];
        assert_eq!(found.read, expected.into_iter().collect());
        let link = (dir.join("bin/cli"), PathBuf::from("../n/node_modules/cli/cli.js"));
        assert_eq!(found.links, [link].into_iter().collect());
        found.settle(&[dir.join("bin")]);
        assert_eq!(found.links, BTreeSet::new());
    }

    #[test]
    fn what_only_root_may_read_is_left_out_however_deep_it_lies() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let dir = std::fs::canonicalize(dir.path()).expect("its path");
        let make = |name: &str, mode: u32| {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(&path, "").expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
            path
        };
        let secret = make("a/b/c/d/secret", 0o600);
        let open = [make("a/b/c/open", 0o644), make("plain/open", 0o644)];
        std::os::unix::fs::symlink(&secret, dir.join("link")).expect("a link");
        let looks = Closed::default();
        let closed = looks.below(&dir);
        assert_eq!(closed, std::slice::from_ref(&secret));
        let mut found = Vec::new();
        open_below(&dir, &closed, &mut found);
        found.sort();
        assert_eq!(found, [open[0].clone(), dir.join("plain")]);
        // What comes later, in however deep a directory, is seen too.
        let later = make("a/b/later", 0o600);
        let mut closed = looks.below(&dir);
        closed.sort();
        assert_eq!(closed, [secret, later]);
    }

    #[test]
    fn a_private_directory_is_not_brought_along() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = std::fs::canonicalize(dir.path()).expect("its path");
        std::fs::create_dir_all(dir.join("bin")).expect("a directory");
        std::fs::create_dir_all(dir.join("lib/denizen")).expect("a directory");
        std::fs::write(dir.join("bin/x"), "ELF").expect("written");
        let mut found = Installation::default();
        found.add(&dir.join("bin/x"), OsStr::new(""), &[&dir.join("lib/denizen")]);
        assert_eq!(found.read, [dir.join("bin/x")].into_iter().collect());
    }
}
