//! `denizen doctor --prove`, run in a root of its own, with the services that a
//! desktop has.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::pty::Pty;
use super::root::Root;

/// An ordinary user that this machine does not have.
pub(crate) const USER: u32 = 64_123;

/// A root on which proofs are made.
pub(crate) struct Stage {
    pub(crate) root: Root,
    _listening: Vec<UnixListener>,
    display: PathBuf,
}

/// What came of the attempts of one proof.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// By number.
    pub(crate) rows: BTreeMap<u64, Row>,
    /// What was said beside.
    pub(crate) stderr: String,
}

/// What came of one attempt.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) through: bool,
    pub(crate) verdict: String,
    pub(crate) expected: String,
    pub(crate) how: String,
}

impl Stage {
    /// A root, as this process's user or as an ordinary one.
    pub(crate) fn new(test: &str, user: Option<u32>) -> Self {
        let mut root = Root::new(test);
        let runtime = root.dir().join("run");
        let mut listening = Vec::new();
        for name in ["bus", "systemd/private", "wayland-0", "gnupg/S.gpg-agent", "agent", "docker", "system-bus"] {
            listening.push(listen(&runtime.join(name)));
        }
        let uid = user.unwrap_or(rustix::process::getuid().as_raw());
        listening.push(listen(&runtime.join(format!("tmux-{uid}/default"))));
        // No screen has such a number.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = 100_000 + std::process::id() * 100 + NEXT.fetch_add(1, Ordering::Relaxed);
        let display = Path::new("/tmp/.X11-unix").join(format!("X{number}"));
        listening.push(listen(&display));
        fs_err::set_permissions(&display, PermissionsExt::from_mode(0o777)).expect("open to all");
        for (name, value) in [
            ("XDG_RUNTIME_DIR", runtime.clone()),
            ("SSH_AUTH_SOCK", runtime.join("agent")),
            ("TMUX_TMPDIR", runtime.clone()),
            ("DOCKER_HOST", PathBuf::from(format!("unix://{}", runtime.join("docker").display()))),
            ("DBUS_SYSTEM_BUS_ADDRESS", PathBuf::from(format!("unix:path={}", runtime.join("system-bus").display()))),
            ("DISPLAY", PathBuf::from(format!(":{number}"))),
        ] {
            root.set_env(name, value.display().to_string());
        }
        if let Some(user) = user {
            root.give_to(user);
        }
        Self { root, _listening: listening, display }
    }

    /// Makes a proof.
    pub(crate) fn prove(&self, args: &[&str]) -> Seen {
        let mut command = self.root.denizen();
        command.args(["doctor", "--prove", "--json"]).args(args);
        // The person who proves it sits at a terminal.
        let output = Pty::new().session(&self.root, &command).output().expect("a child");
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
        let values = stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let rows = values.map(|value| {
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            let row = Row {
                name: text("attempt"),
                through: value["through"].as_bool().expect("a word"),
                verdict: text("verdict"),
                expected: text("expected"),
                how: text("how"),
            };
            (value["number"].as_u64().expect("a number"), row)
        });
        Seen { code: output.status.code(), rows: rows.collect(), stderr }
    }
}

impl Stage {
    /// Makes a proof with these walls; `None`, and a word about it, where this
    /// machine has no means for them.
    pub(crate) fn prove_with(&self, walls: &str, args: &[&str]) -> Option<Seen> {
        let seen = self.prove(&[args, &["-c", &format!("walls={walls}")]].concat());
        if seen.code == Some(1) && seen.stderr.contains("cannot be had here") {
            println!("did not run with `walls = \"{walls}\"`: {}", seen.stderr.trim());
            return None;
        }
        Some(seen)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _removed = fs_err::remove_file(&self.display);
    }
}

impl Seen {
    /// Those whose verdict is this, in words.
    pub(crate) fn with(&self, verdict: &str) -> Vec<String> {
        let rows = self.rows.iter().filter(|(_, row)| row.verdict == verdict);
        let said = |through| if through { "through" } else { "stopped" };
        rows.map(|(number, row)| {
            format!("{number} {}: {}, expected {}: {}", row.name, said(row.through), row.expected, row.how)
        })
        .collect()
    }

    /// The numbers of those that got through.
    pub(crate) fn through(&self) -> impl Iterator<Item = u64> {
        self.rows.iter().filter(|(_, row)| row.through).map(|(number, _)| *number)
    }

    /// Everything came out as the table says.
    #[track_caller]
    pub(crate) fn assert_as_expected(&self, what: &str) {
        let otherwise = self.with("OTHERWISE");
        assert!(otherwise.is_empty(), "{what}:\n{}", otherwise.join("\n"));
        assert_eq!((self.code, self.rows.len()), (Some(0), denizen::prove::ATTEMPTS.len()), "{what}: {}", self.stderr);
    }
}

/// A socket that listens, however long its path is.
fn listen(path: &Path) -> UnixListener {
    let (dir, name) = (path.parent().expect("a directory"), path.file_name().expect("a name"));
    fs_err::create_dir_all(dir).expect("a directory");
    let open = std::fs::File::open(dir).expect("the directory");
    UnixListener::bind(Path::new("/proc/self/fd").join(open.as_raw_fd().to_string()).join(name)).expect("a socket")
}
