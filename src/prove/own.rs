//! Attempts in the session's own folder, and what has to work there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, Mode};

use super::attempt::{Got, Scene, Tried, stopped, through};
use super::files::read;

/// Writes what is already there, so that the session stays as it is.
pub(super) fn change_record(scene: &Scene) -> Tried {
    let path = scene.own.join("session.json");
    let content = std::fs::read(&path)?;
    OpenOptions::new().write(true).open(&path)?.write_all(&content)?;
    through("it can be changed; Denizen compares after the turn")
}

/// Adds an empty line, which is harmless, to a file that Denizen believes.
pub(super) fn add_line(scene: &Scene, name: &str) -> Tried {
    OpenOptions::new().append(true).open(scene.own.join(name))?.write_all(b"\n")?;
    through("it was written to")
}

pub(super) fn replace_record(scene: &Scene) -> Tried {
    let (path, new) = (scene.own.join("session.json"), scene.own.join("new-record"));
    File::create_new(&new)?.write_all(&std::fs::read(&path)?)?;
    let renamed = rustix::fs::renameat(CWD, &new, CWD, &path);
    if renamed.is_err() {
        std::fs::remove_file(&new)?;
    }
    renamed?;
    through("it can be replaced; Denizen compares after the turn")
}

/// The smallest repository that runs a command when somebody asks it for its status.
fn plant_repository(scene: &Scene, command: &str) -> io::Result<()> {
    let git = scene.own.join(".git");
    for dir in ["objects", "refs", "hooks"] {
        std::fs::create_dir_all(git.join(dir))?;
    }
    put(&git.join("HEAD"), "ref: refs/heads/main\n")?;
    put(&git.join("config"), &format!("[core]\n\trepositoryformatversion = 0\n\tfsmonitor = {command}\n"))
}

fn put(path: &Path, content: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    OpenOptions::new().write(true).create(true).truncate(true).open(path)?.write_all(content.as_bytes())
}

pub(super) fn plant_git(scene: &Scene) -> Tried {
    plant_repository(scene, "false")?;
    through("it is the agent's folder; Denizen runs no git there")
}

pub(super) fn plant_hooks(scene: &Scene) -> Tried {
    let hook = r#"{"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "true"}]}]}}"#;
    put(&scene.own.join(".claude/settings.json"), hook)?;
    through("it is the agent's folder; no provider is told to trust it")
}

pub(super) fn plant_server(scene: &Scene) -> Tried {
    put(&scene.own.join(".mcp.json"), r#"{"mcpServers": {"planted": {"command": "true"}}}"#)?;
    through("it is the agent's folder; no provider is told to trust it")
}

pub(super) fn plant_direnv(scene: &Scene) -> Tried {
    put(&scene.own.join(".envrc"), "true\n")?;
    through("it is the agent's folder; Denizen reads no such file")
}

/// Runs where somebody who is not confined asks git about the folder.
pub(super) fn have_git_run(scene: &Scene) -> Tried {
    let mark = scene.outside.join("ran-by-git");
    plant_repository(scene, &format!("\"touch '{}'\"", mark.display()))?;
    Ok(Got::Left(mark))
}

/// Puts something in the place of a file or directory of its own, and the old
/// one back.
fn swap(path: &Path, put: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".aside");
    let aside = PathBuf::from(aside);
    rustix::fs::renameat(CWD, path, CWD, &aside)?;
    let done = put();
    if done.is_ok() {
        std::fs::remove_file(path)?;
    }
    rustix::fs::renameat(CWD, &aside, CWD, path)?;
    done
}

pub(super) fn swap_memory(scene: &Scene) -> Tried {
    let memory = scene.own.join("memory");
    swap(&memory, || std::os::unix::fs::symlink(scene.beside.join("memory"), &memory))?;
    through("it can be swapped; the next turn refuses a link")
}

pub(super) fn swap_settings(scene: &Scene) -> Tried {
    let settings = scene.own.join("settings.json");
    swap(&settings, || Ok(rustix::fs::mkfifoat(CWD, &settings, Mode::RUSR | Mode::WUSR)?))?;
    through("it can be swapped; the next turn refuses a FIFO")
}

/// A variable of its own environment.
fn variable(name: &str) -> io::Result<String> {
    let all = std::fs::read("/proc/self/environ")?;
    let found = all.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok()?.split_once('='));
    let found = found.filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned()).next();
    found.ok_or_else(|| stopped(format!("{name} is not set")))
}

/// The name of the variable that holds a token of Denizen's.
pub(super) const TOKEN: &str = "DENIZEN_CANARY_TOKEN";

pub(super) fn token(_scene: &Scene) -> Tried {
    variable(TOKEN)?;
    through("it was inherited")
}

pub(super) fn keep_memory(scene: &Scene) -> Tried {
    let path = scene.own.join("memory/note.md");
    put(&path, "a note\n")?;
    read(&path, "a note")
}

/// Makes and reads a file in a directory that a variable names.
pub(super) fn use_dir(name: &str) -> Tried {
    let path = Path::new(&variable(name)?).join("denizen-note");
    put(&path, "a note\n")?;
    let tried = read(&path, "a note");
    std::fs::remove_file(&path)?;
    tried
}

pub(super) fn use_devices(_scene: &Scene) -> Tried {
    OpenOptions::new().write(true).open("/dev/null")?.write_all(b"nothing")?;
    File::open("/dev/urandom")?.read_exact(&mut [0; 8])?;
    through("they work")
}

pub(super) fn read_system(_scene: &Scene) -> Tried {
    let size = File::open("/etc/passwd")?.metadata()?.len();
    through(format!("{size} bytes of `/etc/passwd`"))
}

pub(super) fn know_itself(_scene: &Scene) -> Tried {
    let path = std::fs::read_link("/proc/self/exe")?;
    File::open(&path)?;
    through("`/proc/self` is its own")
}

/// Starts a process and ends it.
#[expect(clippy::disallowed_methods, reason = "what the adversary starts is no child of a session")]
pub(super) fn signal_own(_scene: &Scene) -> Tried {
    let mut child = Command::new("/bin/sh").args(["-c", "read x"]).stdin(Stdio::piped()).spawn()?;
    child.kill()?;
    child.wait()?;
    through("its own processes take its signals")
}

/// Where the environment says, else where everybody does.
pub(super) fn use_temporaries(_scene: &Scene) -> Tried {
    match use_dir("TMPDIR") {
        Err(_) if variable("TMPDIR").is_err() => {
            let path = Path::new("/tmp").join(format!("denizen-note-{}", std::process::id()));
            put(&path, "a note\n")?;
            std::fs::remove_file(path)?;
            through("in `/tmp`")
        }
        tried => tried,
    }
}

pub(super) fn use_outbox(scene: &Scene) -> Tried {
    let path = scene.own.join("outbox/note.md");
    put(&path, "a note\n")?;
    std::fs::remove_file(&path)?;
    through("a file was left")
}
