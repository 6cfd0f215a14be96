//! What this machine can hold walls with, found out by trying.
//!
//! That bubblewrap works is noted in `state/walls` until the machine is started
//! again or another bubblewrap is installed, because trying takes as long as a
//! small turn. That it does not is tried anew each time: somebody may have
//! mended it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Environment;
use crate::confine::means::Cause;
use crate::confine::{Means, Obstacle, landlock};
use crate::session::Store;

/// The directories in which bubblewrap is looked for where PATH has none: a
/// service may have a short one.
const USUAL: &[&str] = &["/usr/bin", "/usr/local/bin", "/bin"];

/// What bubblewrap is tried with: every kind of namespace that the walls use.
const TRIAL: &[&str] = &[
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--die-with-parent",
    "--cap-drop",
    "ALL",
    "--ro-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--",
    "/proc/self/exe",
    "--version",
];

/// Finds out what this machine can do.
#[must_use]
pub fn means(store: &Store, environment: &Environment) -> Means {
    found(bubblewrap(Some(store), environment))
}

/// The same, trusting no note.
#[must_use]
pub fn means_now(environment: &Environment) -> Means {
    found(bubblewrap(None, environment))
}

/// What the kernel says of itself, beside what bubblewrap can do.
fn found(bubblewrap: Result<PathBuf, Obstacle>) -> Means {
    Means { bubblewrap, landlock: landlock::version(), seccomp: Path::new("/proc/sys/kernel/seccomp").exists() }
}

fn bubblewrap(store: Option<&Store>, environment: &Environment) -> Result<PathBuf, Obstacle> {
    let path = environment.get_os("PATH").unwrap_or_default();
    let directories =
        std::env::split_paths(path).filter(|dir| dir.is_absolute()).chain(USUAL.iter().map(PathBuf::from));
    let mut candidates = directories.map(|dir| dir.join("bwrap"));
    let program = candidates.find(|candidate| candidate.is_file()).ok_or(Obstacle::NoBubblewrap)?;
    let note = note(&program);
    let noted = store.map(|store| store.state_path("walls"));
    if let (Some(noted), Some(note)) = (&noted, &note)
        && std::fs::read_to_string(noted).is_ok_and(|found| found == *note)
    {
        return Ok(program);
    }
    attempt(&program)?;
    if let (Some(store), Some(note)) = (store, note) {
        // Without it the next turn tries again.
        let _noted = leave_note(store, &note);
    }
    Ok(program)
}

fn leave_note(store: &Store, note: &str) -> Result<(), crate::session::SessionError> {
    let staging = store.staging()?;
    let state = crate::files::Dir::open(&store.state_path(""))?;
    state.replace(Path::new("walls"), note.as_bytes(), staging)?;
    Ok(())
}

/// What the trial's outcome depends on: this start of the machine, this file,
/// this user.
fn note(program: &Path) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let file = std::fs::metadata(program).ok()?;
    let user = rustix::process::geteuid().as_raw();
    Some(format!("{}\n{}\n{} {} {}\n{user}\n", boot.trim(), program.display(), file.ino(), file.mtime(), file.size()))
}

#[expect(clippy::disallowed_methods, reason = "bubblewrap is tried on itself, in no session")]
fn attempt(program: &Path) -> Result<(), Obstacle> {
    let output =
        std::process::Command::new(program).args(TRIAL).env_clear().stdin(std::process::Stdio::null()).output();
    let reason = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => {
            String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it failed without a word").to_owned()
        }
        Err(error) => error.to_string(),
    };
    let reason = reason.trim_start_matches("bwrap: ").to_owned();
    Err(Obstacle::Namespaces { reason, cause: cause() })
}

/// What is known to keep bubblewrap from working, from what the kernel says of
/// itself (Ubuntu 23.10 and later, Debian's kernels, containers).
fn cause() -> Cause {
    let says = |path: &str, word: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == word);
    if says("/proc/sys/user/max_user_namespaces", "0") {
        Cause::ZeroNamespaces
    } else if says("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        Cause::Switch
    } else if says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        Cause::AppArmor
    } else if ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists()) {
        Cause::Container
    } else {
        Cause::Unknown
    }
}
