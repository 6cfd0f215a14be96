//! Where a program is installed: what every child that runs it may read.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ground::Ground;
use super::path_walk::PathWalk;
use super::private::Private;
use super::trust;

/// Where a program lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installation {
    /// What has to be read, outside the system's directories.
    pub read: BTreeSet<PathBuf>,
    /// The symbolic links that lead to it, each with where it points.
    pub links: BTreeSet<(PathBuf, PathBuf)>,
}

/// What decides about what belongs to a program.
#[derive(Clone, Copy)]
pub struct SystemLook<'a> {
    /// The PATH in which `env` looks.
    pub path: &'a OsStr,
    /// Of this nothing is added whole.
    pub private: &'a Private,
    /// From what lies here nothing is derived.
    pub ground: &'a Ground<'a>,
}

impl SystemLook<'_> {
    /// Whether a file may run a script: a program of the system, one next to the
    /// script, or one that could run outside the walls too.
    fn may_run(&self, interpreter: &Path, script: &PathWalk) -> bool {
        let Ok(way) = PathWalk::of(interpreter) else { return false };
        let is_program = std::fs::metadata(&way.real).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0);
        let beside = || script.dirs().any(|dir| interpreter.parent() == Some(dir) && way.real.parent() == Some(dir));
        is_program
            && (self.private.leaves_to_system(&way.real)
                || beside()
                || trust::program(interpreter, self.ground).is_ok())
    }
}

impl Installation {
    /// Adds a program: the links that lead to it, its package, and what its
    /// first line says runs it. Of a program that an agent could have written,
    /// nothing is added.
    pub fn add(&mut self, program: &Path, look: SystemLook<'_>) {
        let Ok(way) = look.ground.follow(program) else { return };
        if look.ground.holding(&way.real).is_some() {
            return;
        }
        self.add_links(&way, look.private);
        if !look.private.leaves_to_system(&way.real) {
            self.read.extend(package(&way.real, look.private));
        }
        for interpreter in interpreters(&way, look) {
            if interpreter != program {
                self.add(&interpreter, look);
            }
        }
    }

    /// Adds the links of a way, so that it leads to the same place inside.
    pub fn add_links(&mut self, way: &PathWalk, private: &Private) {
        let links = way.links.iter().filter(|(link, _)| !private.leaves_to_system(link) && !link.starts_with("/proc"));
        self.links.extend(links.cloned());
    }

    /// Leaves out the links that are seen anyway.
    pub fn settle(&mut self, also: &[PathBuf]) {
        let Self { read, links } = self;
        links.retain(|(at, _)| !read.iter().chain(also).any(|path| at.starts_with(path)));
    }
}

impl PathWalk {
    /// The directories that a program lies in: its own, and those of the links
    /// that lead to it.
    fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.links.iter().map(|(link, _)| link.as_path()).chain([self.real.as_path()]).filter_map(Path::parent)
    }
}

/// The directories of the package that a program belongs to, else the program.
fn package(real: &Path, private: &Private) -> Vec<PathBuf> {
    let mut above = PathBuf::new();
    for component in real.components() {
        above.push(component);
        if component.as_os_str() == "node_modules" && !private.is_in(&above) {
            return vec![above];
        }
    }
    // `bin` beside `lib` is how programs with files of their own are installed.
    let bin = real.parent().filter(|bin| bin.file_name().is_some_and(|name| name == "bin"));
    let Some(prefix) = bin.and_then(Path::parent) else { return vec![real.to_owned()] };
    let lib = prefix.join("lib");
    if lib.is_dir() && !private.is_in(&lib) { vec![real.to_owned(), lib] } else { vec![real.to_owned()] }
}

/// The programs that the first line of a script names, as far as they may run
/// it: the interpreter, and what `env` looks for.
fn interpreters(script: &PathWalk, look: SystemLook<'_>) -> Vec<PathBuf> {
    let mut start = [0; 256];
    let read = std::fs::File::open(&script.real).and_then(|mut file| file.read(&mut start));
    let Some(line) = start[..read.unwrap_or_default()].strip_prefix(b"#!") else { return Vec::new() };
    let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
    let (interpreter, rest) = line.trim().split_once([' ', '\t']).unwrap_or((line.trim(), ""));
    let interpreter = PathBuf::from(interpreter);
    if !look.may_run(&interpreter, script) {
        return Vec::new();
    }
    let is_env = interpreter.file_name().is_some_and(|name| name == "env");
    let mut found = vec![interpreter];
    if let Some(name) = wanted_of_env(rest.trim()).filter(|_| is_env) {
        let mut candidates: Vec<PathBuf> = vec![PathBuf::from(name)];
        if !name.contains('/') {
            candidates = std::env::split_paths(look.path).map(|dir| dir.join(name)).collect();
        }
        found.extend(
            candidates.into_iter().find(|candidate| candidate.is_absolute() && look.may_run(candidate, script)),
        );
    }
    found
}

/// The program that env(1) starts with what stands after it in a first line,
/// which it gets as one word. If that cannot be said for sure, none.
fn wanted_of_env(rest: &str) -> Option<&str> {
    let Some(split) = rest.strip_prefix("-S").or_else(|| rest.strip_prefix("--split-string=")) else {
        return Some(rest)
            .filter(|word| !word.is_empty() && !word.starts_with('-') && !word.contains([' ', '\t', '=']));
    };
    // Quotes, escapes and variables are left to it.
    let mut words = Some(split).filter(|split| !split.contains(['"', '\'', '\\', '$', '#']))?.split_whitespace();
    loop {
        match words.next()? {
            "-i" | "-" | "--ignore-environment" | "-v" | "--debug" => {}
            // The name of a variable, or a directory.
            "-u" | "--unset" | "-C" | "--chdir" => words.next().map(drop)?,
            word if word.starts_with("--unset=") || word.starts_with("--chdir=") => {}
            word if word.starts_with('-') => return None,
            word if word.contains('=') => {}
            word => return Some(word),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]
mod tests {
    use super::*;

    /// Below the build's directory, as `/tmp` is open to others.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).expect("a directory");
        let path = std::fs::canonicalize(dir.path()).expect("its path");
        (dir, path)
    }

    /// Writes a file that can be run.
    fn make(path: &Path, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, content).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        path.to_owned()
    }

    /// What a program brings, with a PATH, a private directory and a write share.
    fn brought(program: &Path, path: &[&Path], private: &Path, shared: &Path) -> Installation {
        let ground = Ground::new(&private.join("root"), std::iter::once(shared), Vec::new);
        let private = Private::of(&private.join("root"), Some(private), &[], ground.mounts()).expect("private");
        let path = std::env::join_paths(path).expect("a PATH");
        let mut found = Installation::default();
        found.add(program, SystemLook { path: &path, private: &private, ground: &ground });
        found
    }

    #[test]
    fn a_script_brings_its_package_its_links_and_its_interpreter() {
        let (_dir, dir) = place();
        make(&dir.join("n/node_modules/cli/cli.js"), "#!/usr/bin/env -S node --x\n");
        std::fs::create_dir_all(dir.join("bin")).expect("a directory");
        std::os::unix::fs::symlink("../n/node_modules/cli/cli.js", dir.join("bin/cli")).expect("a link");
        std::os::unix::fs::symlink("bin", dir.join("current")).expect("a link");
        let node = make(&dir.join("v/bin/node"), "ELF");
        make(&dir.join("v/lib/x"), "");
        let bin = dir.join("v/bin");
        let mut found = brought(&dir.join("current/cli"), &[&bin], &dir, &dir.join("none"));
        assert_eq!(found.read, [dir.join("n/node_modules"), node, dir.join("v/lib")].into_iter().collect());
        let links = [
            (dir.join("bin/cli"), PathBuf::from("../n/node_modules/cli/cli.js")),
            (dir.join("current"), PathBuf::from("bin")),
        ];
        assert_eq!(found.links, links.into_iter().collect());
        found.settle(&[dir.join("bin")]);
        assert_eq!(found.links.len(), 1);
        // Of what an agent could have written, nothing is taken: no program, no
        // interpreter, no link.
        assert_eq!(brought(&dir.join("bin/cli"), &[&bin], &dir, &dir), Installation::default());
        let found = brought(&dir.join("bin/cli"), &[&bin], &dir, &dir.join("v"));
        assert_eq!(found.read, [dir.join("n/node_modules")].into_iter().collect());
    }

    #[test]
    fn a_first_line_opens_no_file_that_is_no_interpreter() {
        let (_dir, dir) = place();
        let key = make(&dir.join("key"), "secret");
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
        let open = make(&dir.join("open/sh"), "ELF");
        std::fs::set_permissions(dir.join("open"), std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .expect("a mode");
        for named in [&key, &open, &dir.join("nothing")] {
            let named = named.display();
            for line in [
                format!("#!{named}"),
                format!("#!{named} /bin/sh"),
                format!("#!/usr/bin/env -S -u {named} /bin/sh"),
                format!("#!/usr/bin/env {named}"),
                format!("#!/usr/bin/env -S {named}"),
            ] {
                let script = make(&dir.join("bin/report"), &format!("{line}\n"));
                let found =
                    brought(&script, &[&dir.join("open"), Path::new("/bin")], &dir.join("p"), &dir.join("none"));
                assert_eq!(found.read, [script].into_iter().collect(), "{line}");
            }
        }
    }

    #[test]
    fn env_is_read_as_it_reads_itself() {
        for (rest, wanted) in [
            ("node", Some("node")),
            ("node --x", None),
            ("", None),
            ("-S node --x", Some("node")),
            ("-Snode", Some("node")),
            ("-S -i A=b -u HOME -C /tmp --unset=X node x", Some("node")),
            ("-S -u /home/u/.ssh/id /bin/sh", Some("/bin/sh")),
            ("-S --argv0 x node", None),
            ("-S \"a b\" node", None),
            ("-S ${HOME}/x", None),
            ("-i", None),
        ] {
            assert_eq!(wanted_of_env(rest), wanted, "{rest}");
        }
    }

    #[test]
    fn a_private_directory_is_not_brought_along() {
        let (_dir, dir) = place();
        let program = make(&dir.join("bin/x"), "ELF");
        std::fs::create_dir_all(dir.join("lib/denizen")).expect("a directory");
        let found = brought(&program, &[], &dir.join("lib/denizen"), &dir.join("none"));
        assert_eq!(found.read, [program].into_iter().collect());
    }
}
