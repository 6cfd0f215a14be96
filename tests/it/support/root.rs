//! A fresh Denizen root and HOME for one test, and the program run in them.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything may take; a test that reaches it fails with what was
/// printed so far.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A directory of one test. It is removed at the end, unless the test fails; a
/// process that is then still running in it is a failure of its own.
pub(crate) struct Root {
    dir: PathBuf,
    home: PathBuf,
    path: Vec<PathBuf>,
    env: Vec<(String, String)>,
    user: Option<u32>,
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Root {
    /// A root named after the test. It lies neither below the checkout, which is
    /// a git repository, nor below the temp directory: some CLIs treat both
    /// specially.
    pub(crate) fn new(test: &str) -> Self {
        let base = match std::env::var_os("DENIZEN_TEST_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => format!("/var/tmp/denizen-test-{}", rustix::process::getuid().as_raw()).into(),
        };
        let dir = base.join(format!("{}-{}", test.replace("::", "-"), std::process::id()));
        fs_err::create_dir_all(&base).expect("a place for tests");
        fs_err::create_dir(&dir).expect("a fresh directory");
        let dir = fs_err::canonicalize(&dir).expect("its path");
        let root = Self { home: dir.join("home"), dir, path: Vec::new(), env: Vec::new(), user: None };
        fs_err::create_dir(root.home()).expect("a home");
        fs_err::create_dir(root.path()).expect("a root");
        root
    }

    /// The directory of everything.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The HOME of the programs that run in it.
    pub(crate) fn home(&self) -> PathBuf {
        self.home.clone()
    }

    /// Gives the programs that are run from now on another HOME, with everything
    /// that was in the old one, which is gone.
    pub(crate) fn move_home(&mut self, name: &str) {
        let home = self.dir.join(name);
        fs_err::rename(&self.home, &home).expect("moved");
        self.home = home;
    }

    /// Gives everything to another user, as whom all programs are run from now
    /// on. Only root can. Where the directories above are closed to others, they
    /// are opened for passing through.
    pub(crate) fn give_to(&mut self, uid: u32) {
        for above in self.dir.ancestors().skip(1) {
            let mut mode = above.metadata().expect("its mode").permissions();
            if mode.mode() & 0o001 == 0 {
                mode.set_mode(mode.mode() | 0o001);
                fs_err::set_permissions(above, mode).expect("opened");
            }
        }
        for entry in walkdir::WalkDir::new(&self.dir) {
            let entry = entry.expect("an entry");
            std::os::unix::fs::lchown(entry.path(), Some(uid), Some(uid)).expect("given");
        }
        self.user = Some(uid);
    }

    /// The user as whom programs are run, where that is another.
    pub(crate) fn user(&self) -> Option<u32> {
        self.user
    }

    /// Denizen's root.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The folder of a session whose key is a folder name.
    pub(crate) fn session(&self, key: &str) -> PathBuf {
        self.path().join("sessions").join(key)
    }

    /// Writes a file in HOME.
    pub(crate) fn write_home(&self, name: &str, content: &str) {
        write(&self.home().join(name), content);
    }

    /// Writes `denizen.toml`.
    pub(crate) fn write_config(&self, toml: &str) {
        write(&self.path().join("denizen.toml"), toml);
    }

    /// Sets a variable for every program that is run from now on.
    pub(crate) fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.env.push((name.to_owned(), value.into()));
    }

    /// Puts a directory first in the PATH of every program that is run from now on.
    pub(crate) fn add_path(&mut self, dir: &Path) {
        self.path.insert(0, dir.to_owned());
    }

    /// `denizen` with nothing in its environment but what the test set.
    pub(crate) fn denizen(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_denizen"))
    }

    /// Any program, in the same environment.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.environment()).current_dir(self.home());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// The whole environment of the programs that are run.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let own = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(self.path.iter().cloned().chain(std::env::split_paths(&own))).expect("a PATH");
        let basic = [("PATH", path), ("HOME", self.home().into()), ("LANG", "C.UTF-8".into())];
        // The programs that stand in for agents speak with the test through files
        // outside their session; what is about walls says so.
        let basic = basic.into_iter().chain([("DENIZEN_ROOT", self.path().into()), ("DENIZEN_WALLS", "off".into())]);
        let all = basic.map(|(name, value)| (name.into(), value));
        all.chain(self.env.iter().map(|(name, value)| (name.into(), value.into()))).collect()
    }

    /// Runs `denizen` with these arguments.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = self.denizen();
        command.args(args);
        run(command, "")
    }

    /// Runs `denizen`, which has to succeed, and gives what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let Output { code, stdout, stderr } = self.run(args);
        assert_eq!(code, Some(0), "denizen {args:?}\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs `denizen --json`, which has to succeed and print one JSON value.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let printed = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("denizen {args:?}: {error}: {printed}"))
    }

    /// Every file below a directory whose content holds the text.
    pub(crate) fn files_with(&self, below: &Path, text: &str) -> Vec<PathBuf> {
        let files = walkdir::WalkDir::new(below).into_iter().map(|entry| entry.expect("an entry"));
        files
            .filter(|entry| entry.file_type().is_file())
            .filter(|entry| {
                let content = fs_err::read(entry.path()).expect("a readable file");
                content.windows(text.len()).any(|window| window == text.as_bytes())
            })
            .map(|entry| entry.path().strip_prefix(&self.dir).unwrap_or(entry.path()).to_owned())
            .collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let left = processes_below(&self.dir);
        for (pid, _) in &left {
            let _gone = Pid::from_raw(*pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        if thread::panicking() {
            eprintln!("see {}", self.dir.display());
            return;
        }
        fs_err::remove_dir_all(&self.dir).expect("removed");
        assert!(left.is_empty(), "processes were left behind: {left:?}");
    }
}

/// Runs a command with this input, for a limited time.
pub(crate) fn run(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a child");
    let mut stdin = child.stdin.take().expect("its input");
    // A program may end without reading.
    let _written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let stdout = read_all(child.stdout.take().expect("its output"));
    let stderr = read_all(child.stderr.take().expect("its errors"));
    let pid = Pid::from_child(&child);
    let (send, ended) = mpsc::channel();
    thread::spawn(move || send.send(child.wait().expect("an end")));
    let status: Option<ExitStatus> = ended.recv_timeout(TIMEOUT).ok();
    if status.is_none() {
        let _gone = kill_process(pid, Signal::KILL);
    }
    let text = |thread: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().expect("what was printed")).into_owned()
    };
    let output = Output { code: status.and_then(|status| status.code()), stdout: text(stdout), stderr: text(stderr) };
    assert!(status.is_some(), "{command:?} did not end in {TIMEOUT:?}: {output:#?}");
    output
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("readable output");
        bytes
    })
}

/// Whether the long version of a test is wanted, and not the one that fits into
/// a check.
pub(crate) fn full() -> bool {
    std::env::var_os("DENIZEN_TEST_FULL").is_some_and(|value| value == "1")
}

/// How much of something is done: in the quick loop, in the check, and in the
/// long version.
pub(crate) fn amount(quick: usize, check: usize, long: usize) -> usize {
    let is_check = std::env::var_os("DENIZEN_TEST_CHECK").is_some_and(|value| value == "1");
    match (full(), is_check) {
        (true, _) => long,
        (false, true) => check,
        (false, false) => quick,
    }
}

/// Writes a file that only its owner can read, with the directories above it.
pub(crate) fn write(path: &Path, content: &str) {
    use fs_err::os::unix::fs::OpenOptionsExt;
    fs_err::create_dir_all(path.parent().expect("a parent")).expect("its directory");
    let mut options = fs_err::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).expect("a file");
    file.write_all(content.as_bytes()).expect("written");
}

/// The processes whose working directory lies below a directory.
fn processes_below(dir: &Path) -> Vec<(i32, String)> {
    let entries = fs_err::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
        .map(|pid: i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .collect()
}
