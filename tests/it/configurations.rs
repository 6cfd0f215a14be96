//! What an agent sees and may change, on configurations that the machine of a
//! developer does not have: by enumeration, not by attempts. Inside the walls,
//! every file that can be reached is read and every directory written to;
//! nothing of another session, of Denizen or of the person may be among them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::support::proof::USER;
use crate::support::root::{Root, amount, run, write};

/// Reads what is newer than the file `$1`, and tries to make a file named `$2`
/// in every directory.
const LOOK_EVERYWHERE: &str = r#"
systems='-path /proc -o -path /sys -o -path /usr/lib -o -path /usr/share -o -path /usr/include -o -path /usr/src'
find / \( $systems \) -prune -o -type f -newer "$1" -exec grep -a -o -s -H 'SECRET-[a-z][a-z]*' {} + 2>/dev/null
find / \( $systems -o -path /dev \) -prune -o -type d -print 2>/dev/null |
    while IFS= read -r dir; do true > "$dir/$2"; done 2>/dev/null
echo looked
"#;

/// Where the root or the home of a configuration lies.
#[derive(Debug, Clone, Copy)]
enum At {
    /// Where tests are.
    Usual,
    /// In a fresh directory of this one.
    Below(&'static str),
    /// In the directory of the root.
    InRoot,
}

/// A configuration.
struct Configuration {
    name: &'static str,
    root: At,
    home: At,
    /// What else is arranged before the agent looks.
    arrange: fn(&mut Scene),
    /// Whether `walls = "kernel"` can hold it; if not, it has to refuse.
    kernel: bool,
}

const fn at(name: &'static str, root: At, home: At, kernel: bool) -> Configuration {
    Configuration { name, root, home, arrange: |_| {}, kernel }
}

const CONFIGURATIONS: &[Configuration] = &[
    at("everything where it usually is", At::Usual, At::Usual, true),
    at("the root in /opt", At::Below("/opt"), At::Usual, false),
    at("the root in /usr/local", At::Below("/usr/local"), At::Usual, false),
    at("the root in /usr/local/lib", At::Below("/usr/local/lib"), At::Usual, false),
    at("the root in /etc", At::Below("/etc"), At::Usual, false),
    at("the home in /opt", At::Usual, At::Below("/opt"), false),
    at("the home in /usr/local", At::Usual, At::Below("/usr/local"), false),
    at("the home in /etc", At::Usual, At::Below("/etc"), false),
    at("both in /opt", At::Below("/opt"), At::Below("/opt"), false),
    at("the home in the root, in /opt", At::Below("/opt"), At::InRoot, false),
    at("the home in the root", At::Usual, At::InRoot, true),
    Configuration { arrange: path_in_home, ..at("programs of the person", At::Usual, At::Usual, true) },
    Configuration {
        arrange: path_in_home,
        ..at("programs of the person, in /opt", At::Usual, At::Below("/opt"), false)
    },
    Configuration {
        arrange: linked_home,
        ..at("a home that is a link into /opt", At::Usual, At::Below("/opt"), false)
    },
    Configuration {
        arrange: linked_root,
        ..at("a root that is a link into /opt", At::Below("/opt"), At::Usual, false)
    },
    Configuration { arrange: share_of_home, ..at("a share of a part of the home", At::Usual, At::Usual, true) },
    Configuration { arrange: share_around_root, ..at("a share that holds the root", At::Usual, At::Usual, false) },
    Configuration { arrange: nested_shares, ..at("nested shares, one turned into a link", At::Usual, At::Usual, true) },
    Configuration { arrange: linked_grant, ..at("a grant turned into a link", At::Usual, At::Usual, true) },
    Configuration { arrange: path_in_share, ..at("PATH inside a share", At::Usual, At::Usual, true) },
    Configuration { arrange: interpreter, ..at("a program with a forged first line", At::Usual, At::Usual, true) },
];

/// A configuration as it was set up.
struct Scene {
    root: Root,
    denizen_root: PathBuf,
    home: PathBuf,
    /// Directories outside the test's own, removed at the end.
    fresh: Vec<PathBuf>,
    /// Directories that the agent may write by the owner's wish.
    granted: Vec<PathBuf>,
    /// What is said to the program that looks, before the script.
    command: Vec<String>,
    /// Whether a refusal is right as well.
    may_refuse: bool,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for dir in &self.fresh {
            let _removed = fs_err::remove_dir_all(dir);
        }
    }
}

impl Scene {
    fn new(number: usize, configuration: &Configuration) -> Self {
        let mut root = Root::new(&format!("configurations-{number}"));
        let mut fresh = Vec::new();
        let usual = root.path();
        let mut place = |at: At, usual: PathBuf, inner: &Path| match at {
            At::Usual => usual,
            At::InRoot => inner.join("person"),
            At::Below(dir) => {
                let dir = Path::new(dir).join(format!("denizen-test-{}", Uuid::new_v4().simple()));
                fs_err::create_dir(&dir).expect("a directory of the system");
                fs_err::set_permissions(&dir, PermissionsExt::from_mode(0o755)).expect("open");
                fresh.push(dir.clone());
                dir.join("own")
            }
        };
        let denizen_root = place(configuration.root, usual, Path::new(""));
        let home = place(configuration.home, root.home(), &denizen_root);
        for dir in [&denizen_root, &home] {
            fs_err::create_dir_all(dir).expect("a directory");
            fs_err::set_permissions(dir, PermissionsExt::from_mode(0o700)).expect("closed");
        }
        root.set_env("DENIZEN_ROOT", denizen_root.display().to_string());
        root.set_env("HOME", home.display().to_string());
        let command = ["/bin/sh", "-c", LOOK_EVERYWHERE, "look"].map(str::to_owned).to_vec();
        Self { root, denizen_root, home, fresh, granted: Vec::new(), command, may_refuse: false }
    }

    fn config(&self, toml: &str) {
        write(&self.denizen_root.join("denizen.toml"), toml);
    }

    /// A directory of the person's, beside the home.
    fn outside(&self, name: &str) -> PathBuf {
        let dir = self.root.dir().join("outside").join(name);
        fs_err::create_dir_all(&dir).expect("a directory");
        dir
    }

    fn secrets(&self) {
        for (path, what) in [
            (self.denizen_root.join("sessions/victim/memory/MEMORY.md"), "memory"),
            (self.denizen_root.join("access/discord-token"), "token"),
            (self.denizen_root.join("state/queue/victim/waiting"), "queue"),
            (self.denizen_root.join("logs/denizen.log"), "log"),
            (self.home.join(".ssh/id_ed25519"), "key"),
            (self.home.join("notes/diary"), "diary"),
            (self.home.join(".claude/.credentials.json"), "login"),
            (self.outside("private").join("letter"), "letter"),
        ] {
            write(&path, &format!("SECRET-{what}\n"));
        }
    }

    fn give_to(&mut self, user: u32) {
        self.root.give_to(user);
        for entry in self.fresh.iter().flat_map(walkdir::WalkDir::new) {
            let entry = entry.expect("an entry");
            std::os::unix::fs::lchown(entry.path(), Some(user), Some(user)).expect("given");
        }
    }

    fn session(&self, key: &str) -> PathBuf {
        self.denizen_root.join("sessions").join(key)
    }

    /// Everything that there is and the agent must not have changed.
    fn planted(&self, name: &str) -> Vec<PathBuf> {
        let allowed = [self.session("adversary"), self.denizen_root.join("state/homes/adversary")];
        let all =
            self.fresh.iter().map(PathBuf::as_path).chain([self.root.dir(), Path::new("/tmp"), Path::new("/etc")]);
        all.flat_map(walkdir::WalkDir::new)
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name() == name)
            .map(walkdir::DirEntry::into_path)
            .filter(|path| !allowed.iter().chain(&self.granted).any(|allowed| path.starts_with(allowed)))
            .collect()
    }
}

/// A directory of programs in the home, and one with its package beside it.
fn path_in_home(scene: &mut Scene) {
    for name in ["bin/tool", ".volta/bin/node"] {
        program(&scene.home.join(name), "#!/bin/sh\n");
        scene.root.add_path(scene.home.join(name).parent().expect("a directory"));
    }
}

fn linked_home(scene: &mut Scene) {
    let link = scene.root.dir().join("link");
    std::os::unix::fs::symlink(&scene.home, &link).expect("a link");
    scene.root.set_env("HOME", link.display().to_string());
}

fn linked_root(scene: &mut Scene) {
    let link = scene.root.dir().join("link");
    std::os::unix::fs::symlink(&scene.denizen_root, &link).expect("a link");
    scene.root.set_env("DENIZEN_ROOT", link.display().to_string());
}

fn share_of_home(scene: &mut Scene) {
    let shared = scene.home.join("shared");
    fs_err::create_dir(&shared).expect("a directory");
    scene.config(&format!("[[share]]\nsessions = [\"*\"]\npath = \"{}\"\nmode = \"write\"\n", shared.display()));
    scene.granted.push(shared);
}

fn share_around_root(scene: &mut Scene) {
    let shared = scene.outside("around");
    let moved = shared.join("root");
    fs_err::rename(&scene.denizen_root, &moved).expect("moved");
    scene.denizen_root = moved;
    scene.root.set_env("DENIZEN_ROOT", scene.denizen_root.display().to_string());
    scene.config(&format!("[[share]]\nsessions = [\"*\"]\npath = \"{}\"\nmode = \"read\"\n", shared.display()));
}

/// Another session has put a link to the person's keys in the place of what is
/// shared below its own share.
fn nested_shares(scene: &mut Scene) {
    let outer = scene.outside("outer");
    std::os::unix::fs::symlink(scene.home.join(".ssh"), outer.join("sub")).expect("a link");
    scene.config(&format!(
        "[[share]]\nsessions = [\"other\"]\npath = \"{outer}\"\nmode = \"write\"\n\
         [[share]]\nsessions = [\"adversary\"]\npath = \"{outer}/sub\"\nmode = \"write\"\n",
        outer = outer.display()
    ));
    scene.may_refuse = true;
}

/// What was granted lies in a directory that another session may write, and is a
/// link by now.
fn linked_grant(scene: &mut Scene) {
    let project = scene.outside("project");
    fs_err::create_dir(project.join("part")).expect("a directory");
    scene.config(&format!(
        "working_dirs = [\"{project}\"]\n[[share]]\nsessions = [\"other\"]\npath = \"{project}\"\nmode = \"write\"\n",
        project = project.display()
    ));
    if let Some(user) = scene.root.user() {
        scene.give_to(user);
    }
    scene.root.ok(&["send", "adversary", "hello", "--provider", "notes"]);
    scene.root.ok(&["cd", "adversary", &project.join("part").display().to_string()]);
    fs_err::rename(project.join("part"), project.join("was")).expect("moved");
    std::os::unix::fs::symlink(&scene.home, project.join("part")).expect("a link");
    scene.may_refuse = true;
}

/// The person's PATH leads through a directory that an agent may write: there, a
/// link leads to the home, and a program stands in for bubblewrap.
fn path_in_share(scene: &mut Scene) {
    let shared = scene.outside("tools");
    fs_err::create_dir_all(shared.join("bin")).expect("a directory");
    std::os::unix::fs::symlink(&scene.home, shared.join("more")).expect("a link");
    let ran = scene.outside("ran").join("it-ran");
    program(&shared.join("bin/bwrap"), &format!("#!/bin/sh\n: > {}\nexec /usr/bin/bwrap \"$@\"\n", ran.display()));
    scene.root.add_path(&shared.join("more"));
    scene.root.add_path(&shared.join("bin"));
    scene.config(&format!("[[share]]\nsessions = [\"*\"]\npath = \"{}\"\nmode = \"write\"\n", shared.display()));
    scene.granted.push(shared);
}

/// The agent's own program names the person's key in its first line.
fn interpreter(scene: &mut Scene) {
    scene.root.ok(&["send", "adversary", "hello", "--provider", "notes"]);
    let key = scene.home.join(".ssh/id_ed25519");
    let report = scene.session("adversary").join("report");
    program(&report, &format!("#!/usr/bin/env -S -u {} /bin/sh\n{LOOK_EVERYWHERE}", key.display()));
    scene.command = vec!["./report".to_owned()];
}

fn program(path: &Path, text: &str) {
    write(path, text);
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("a program");
}

fn look(number: usize, configuration: &Configuration, walls: &str, user: Option<u32>) -> Result<(), String> {
    let mut scene = Scene::new(number, configuration);
    scene.root.set_env("DENIZEN_WALLS", walls);
    scene.secrets();
    if let Some(user) = user {
        scene.give_to(user);
    }
    (configuration.arrange)(&mut scene);
    if let Some(user) = user {
        scene.give_to(user);
    }
    let refused = |stderr: &str| stderr.contains("cannot be had here") && stderr.contains("bubblewrap");
    let made = scene.root.run(&["send", "adversary", "hello", "--provider", "notes"]);
    let folder = scene.session("adversary");
    let marker = folder.join("marker");
    if folder.is_dir() {
        write(&marker, "");
        let file = fs_err::OpenOptions::new().write(true).open(&marker).expect("the marker");
        file.file().set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("aged");
        if let Some(user) = user {
            std::os::unix::fs::chown(&marker, Some(user), Some(user)).expect("given");
        }
    }
    let name = format!("planted-{}", Uuid::new_v4().simple());
    let mut command = scene.root.denizen();
    command.args(["exec", "adversary", "--"]).args(&scene.command).arg(&marker).arg(&name);
    let seen = run(command, "");
    if refused(&made.stderr) || refused(&seen.stderr) {
        println!("did not run with `walls = \"{walls}\"`: {}", seen.stderr.trim());
        return Ok(());
    }
    let looked = seen.stdout.lines().any(|line| line == "looked");
    let holds = walls == "full" || configuration.kernel;
    let found: Vec<&str> = seen.stdout.lines().filter(|line| line.contains("SECRET-")).collect();
    let planted = scene.planted(&name);
    let ran = scene.outside("ran").join("it-ran").exists();
    if found.is_empty() && planted.is_empty() && !ran && looked == holds {
        return Ok(());
    }
    if found.is_empty() && planted.is_empty() && !ran && !looked && scene.may_refuse {
        return Ok(());
    }
    Err(format!(
        "{}, {walls}, {user:?}: looked: {looked}, expected to: {holds}; read: {found:?}; wrote: {planted:?}; \
         ran outside: {ran}; {}{}",
        configuration.name, made.stderr, seen.stderr
    ))
}

#[test]
fn nothing_of_others_is_let_in_by_any_configuration() {
    if !rustix::process::geteuid().is_root() {
        println!("did not run: only root makes directories in /opt and /etc");
        return;
    }
    let ways = [("full", Some(USER)), ("kernel", None), ("full", None), ("kernel", Some(USER))];
    let mut wrong = Vec::new();
    for (number, configuration) in CONFIGURATIONS.iter().enumerate() {
        for (walls, user) in ways.iter().take(amount(1, ways.len(), ways.len())) {
            wrong.extend(look(number, configuration, walls, *user).err());
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}
