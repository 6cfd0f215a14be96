//! What this machine can hold walls with, found out by trying.
//!
//! That bubblewrap works is noted in `state/walls` until the machine is started
//! again or another bubblewrap is installed, because trying takes as long as a
//! small turn. That it does not is tried again each time: somebody may have
//! mended it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::outside::{OutsideProgram, Unusable};
use crate::config::{Config, Environment, WallsMode};
use crate::sandbox::support::Cause;
use crate::sandbox::{Ground, Support, Unsupported, landlock};
use crate::session::Store;

/// The directories in which bubblewrap is looked for first: nothing there can be
/// an agent's, and a service may have a short PATH.
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
    "--ro-bind-fd",
    "0",
    "/tmp",
    "--",
    "/proc/self/exe",
    "--version",
];

/// Finds out what this machine can do.
#[must_use]
pub fn means(store: &Store, config: &Config, environment: &Environment) -> Support {
    found(bubblewrap(store, &store.ground(&config.shares), environment, true))
}

/// The same, trusting no note.
#[must_use]
pub fn means_now(store: &Store, config: &Config, environment: &Environment) -> Support {
    found(bubblewrap(store, &store.ground(&config.shares), environment, false))
}

/// What stands in the way of the walls that a configuration asks for. Nothing
/// does if it asks for none.
#[must_use]
pub fn against(means: &Support, walls: WallsMode) -> Option<Unsupported> {
    match walls {
        WallsMode::Full => means.against_full(),
        WallsMode::Kernel => means.against_kernel(),
        WallsMode::Off => None,
    }
}

/// What the kernel says of itself, beside what bubblewrap can do.
fn found(bubblewrap: Result<PathBuf, Unsupported>) -> Support {
    Support { bubblewrap, landlock: landlock::version(), seccomp: Path::new("/proc/sys/kernel/seccomp").exists() }
}

/// Bubblewrap, if it works. The note only spares the trial: whether it may be run
/// is found out each time.
fn bubblewrap(
    store: &Store,
    ground: &Ground<'_>,
    environment: &Environment,
    trusts_note: bool,
) -> Result<PathBuf, Unsupported> {
    let path = environment.get_os("PATH").unwrap_or_default();
    let directories = USUAL.iter().map(PathBuf::from).chain(std::env::split_paths(path));
    let program = OutsideProgram::among(directories, "bwrap", ground).map_err(|unusable| match unusable {
        Unusable::Missing => Unsupported::NoBubblewrap,
        Unusable::Distrusted { program, reason } => Unsupported::Distrusted { program, reason: reason.to_string() },
    })?;
    let note = note(program.real()).filter(|_| trusts_note);
    if let Some(note) = &note
        && std::fs::read_to_string(store.state_path("walls")).is_ok_and(|found| found == *note)
    {
        return Ok(program.real().to_owned());
    }
    attempt(&program)?;
    if let Some(note) = note {
        // Without it the next turn tries again.
        let _noted = leave_note(store, &note);
    }
    Ok(program.real().to_owned())
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

fn attempt(program: &OutsideProgram) -> Result<(), Unsupported> {
    // Standard input is a directory, which stands for what is mounted open.
    let root = std::fs::File::open("/").map_or_else(|_| Stdio::null(), Stdio::from);
    let output = program.command().args(TRIAL).env_clear().stdin(root).output();
    let reason = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => {
            String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it failed without a word").to_owned()
        }
        Err(error) => error.to_string(),
    };
    let reason = reason.trim_start_matches("bwrap: ").to_owned();
    let cause = if reason.contains("bind-fd") { Cause::OldBubblewrap } else { cause() };
    Err(Unsupported::Namespaces { reason, cause })
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
