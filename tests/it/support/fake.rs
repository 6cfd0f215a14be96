//! Programs that stand in for an agent CLI and do what a test says: a shell
//! script as `[providers.fake]`, or one named `claude` that is first in PATH.
//! What happens in which order is forced by a FIFO that the scripts read, and
//! seen in a file that they write; nothing here sleeps to let others catch up.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::root::{Output, Root, write};

/// Longer than anything that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What every script starts with. `say` notes that something happened, `gate`
/// waits until the test lets one script through, `message` is the message.
const PRELUDE: &str = r#"#!/bin/sh
say() { printf '%s\n' "$*" >> "$T/events"; }
gate() { read -r _ < "$T/gate"; }
"#;

/// What a fake `claude` starts with: the arguments are kept in `argv`, one a
/// line, with what the files of ours hold in their place; `id` is the conversation; `message` is the message, or the line of JSON
/// that carries it where somebody can be asked; `answer` ends the turn as the
/// CLI does, with the conversation in its file.
const CLAUDE: &str = r#"
for word in "$@"; do
    case "$word" in */denizen.*) cat "$word"; echo ;; *) printf '%s\n' "$word" ;; esac
done > "$T/argv"
while [ $# -gt 0 ]; do
    case "$1" in --session-id) id=$2 ;; -r) id=$2 ;; --input-format) talks=yes ;; esac
    shift
done
if [ "$talks" ]; then read -r message; else message=$(cat); fi
kept=$(echo "$CLAUDE_CONFIG_DIR"/projects/*)
answer() {
    printf '%s\n' "$message" >> "$kept/$id.jsonl"
    printf '{"type":"system","subtype":"init","session_id":"%s"}\n' "$id"
    printf '{"type":"assistant","message":{"content":[{"type":"text","text":"%s"}]}}\n' "$1"
    printf '{"type":"result","subtype":"success","is_error":false,"result":"%s","session_id":"%s","usage":{"input_tokens":3,"output_tokens":2}}\n' "$1" "$id"
}
"#;

/// The scripts of one root.
pub(crate) struct Fake {
    dir: PathBuf,
    /// Held open for both, so that no script waits for a writer to come.
    gate: File,
}

impl Fake {
    /// Makes a script the provider `fake` of the root, and its default.
    pub(crate) fn new(root: &Root, body: &str) -> Self {
        Self::with_config(root, body, "")
    }

    /// The same, with more configuration.
    pub(crate) fn with_config(root: &Root, body: &str, config: &str) -> Self {
        let fake = Self::empty(root);
        let program = root.dir().join("fake.sh");
        root.write_config(&format!(
            "provider = \"fake\"\n{config}\n[providers.fake]\nprogram = \"/bin/sh\"\nargs = [\"{}\", \"{{session}}\", \"{{memory}}\"]\n",
            program.display()
        ));
        fake.script(body);
        fake
    }

    /// Puts a script named `claude` first in PATH, and makes it the default.
    pub(crate) fn claude(root: &mut Root, body: &str) -> Self {
        let fake = Self::empty(root);
        root.add_path(&root.dir().join("bin"));
        root.write_config("provider = \"claude\"\n");
        fake.claude_script(body);
        fake
    }

    fn empty(root: &Root) -> Self {
        let dir = root.dir().to_owned();
        let path = dir.join("gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("a FIFO");
        let gate = File::options().read(true).write(true).open(path).expect("the gate");
        Self { dir, gate }
    }

    /// Replaces the script of `fake` for the turns that come.
    pub(crate) fn script(&self, body: &str) {
        let prelude = "prompt=$(cat)\nprintf '%s' \"$prompt\" > \"$T/prompt\"\nmessage=$(printf '%s\\n' \"$prompt\" | tail -n 1)\n";
        self.program(&self.dir.join("fake.sh"), &format!("{prelude}{body}\n"));
    }

    /// Replaces the script of `claude` for the turns that come.
    pub(crate) fn claude_script(&self, body: &str) {
        self.program(&self.dir.join("bin/claude"), &format!("{CLAUDE}{body}\n"));
    }

    fn program(&self, path: &Path, body: &str) {
        let (shebang, rest) = PRELUDE.split_once('\n').expect("two lines");
        write(path, &format!("{shebang}\nT='{}'\n{rest}{body}", self.dir.display()));
        fs_err::set_permissions(path, PermissionsExt::from_mode(0o700)).expect("a program");
    }

    /// What the scripts have said so far.
    pub(crate) fn said(&self) -> Vec<String> {
        let text = fs_err::read_to_string(self.dir.join("events")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until the scripts have said so many things; gives them.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<String> {
        until(&format!("{count} events"), || {
            let said = self.said();
            if said.len() >= count { Ok(said) } else { Err(format!("{said:?}")) }
        })
    }

    /// Lets so many scripts through the gate, now or when they come to it.
    pub(crate) fn release(&mut self, count: usize) {
        self.gate.write_all("\n".repeat(count).as_bytes()).expect("an open gate");
    }

    /// All that the last `fake` was told.
    pub(crate) fn prompt(&self) -> String {
        fs_err::read_to_string(self.dir.join("prompt")).expect("a prompt")
    }

    /// The arguments of the last `claude`.
    pub(crate) fn argv(&self) -> Vec<String> {
        let text = fs_err::read_to_string(self.dir.join("argv")).expect("arguments");
        text.lines().map(str::to_owned).collect()
    }
}

/// Looks again and again until it is so; the error says how it was instead.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) => assert!(start.elapsed() < PATIENCE, "no {what}: {instead}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program that runs beside the test. It is killed where it is left.
pub(crate) struct Running {
    child: Child,
    stdout: Option<thread::JoinHandle<String>>,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Running {
    /// Starts it, without input.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a child");
        let stdout = child.stdout.take().map(read_all);
        let stderr = child.stderr.take().map(read_all);
        Self { child, stdout, stderr }
    }

    /// Starts `denizen` with these arguments.
    pub(crate) fn denizen(root: &Root, args: &[&str]) -> Self {
        let mut command = root.denizen();
        command.args(args);
        Self::start(command)
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Whether it runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a look at it").is_none()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Output {
        let status = until("end of a program", || match self.child.try_wait().expect("a look at it") {
            Some(status) => Ok(status),
            None => Err("it runs".to_owned()),
        });
        let text = |thread: &mut Option<thread::JoinHandle<String>>| {
            thread.take().expect("read once").join().expect("what was printed")
        };
        Output { code: status.code(), stdout: text(&mut self.stdout), stderr: text(&mut self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _gone = self.child.kill();
            let _collected = self.child.wait();
        }
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("readable output");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Whether a process lives; one that ended and was not collected does not.
pub(crate) fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
