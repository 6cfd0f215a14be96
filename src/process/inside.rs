//! Starting a program inside its walls: what the launcher does, and the small
//! program `denizen __inside` that runs within bubblewrap, puts up the rest of
//! the walls around itself and becomes the program.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;

use rustix::pipe::PipeFlags;
use rustix::thread::CapabilitySet;

use super::handed::{self, Handed};
use super::outside::OutsideProgram;
use super::terminal::foreground;
use crate::causes::with_causes;
use crate::repository;
use crate::sandbox::opened::{self, OpenedMounts};
use crate::sandbox::{Level, Policy, Rule, Walls, bubblewrap, landlock, seccomp};

/// The exit code of `__inside` where it did not become the program.
const NOT_INSIDE: u8 = 126;

/// A program that was started.
pub(super) struct StartedProgram {
    /// The process: the program, or the bubblewrap that it runs in.
    pub(super) pid: u32,
    /// Says whether the walls were put up, if that is not known already.
    report: Option<OwnedFd>,
}

impl StartedProgram {
    /// Whether the walls stood when the program began. Asked after its end.
    pub(super) fn is_inside(&mut self) -> bool {
        let Some(report) = self.report.take() else { return true };
        let mut word = [0];
        std::fs::File::from(report).read(&mut word).is_ok_and(|count| count == 1)
    }
}

/// Starts a program inside its walls.
///
/// # Errors
/// With the reason in words.
pub(super) fn start(confinement: &Policy, command: &[OsString]) -> Result<StartedProgram, String> {
    let (program, args) = command.split_first().ok_or("no program was named")?;
    match &confinement.walls {
        None => {
            confinement.limits.apply(false).map_err(|error| format!("its limits could not be set: {error}"))?;
            run(program, args, None)
        }
        Some(walls) => match &walls.level {
            Level::Full { bubblewrap } => in_bubblewrap(confinement, walls, bubblewrap, command),
            Level::Kernel => restricted(confinement, walls, program, args),
        },
    }
}

#[expect(clippy::disallowed_methods, reason = "the launcher is what `process::spawn` starts")]
fn run(program: &OsString, args: &[OsString], report: Option<OwnedFd>) -> Result<StartedProgram, String> {
    start_command(std::process::Command::new(program), program, args, report)
}

fn start_command(
    mut command: std::process::Command,
    program: &OsStr,
    args: &[OsString],
    report: Option<OwnedFd>,
) -> Result<StartedProgram, String> {
    command.args(args);
    if report.is_none() {
        // Else `become_program` does that, and bubblewrap stays with the launcher.
        command.process_group(0);
    }
    let child = command.spawn();
    let child = child.map_err(|error| format!("{}: {error}", Path::new(program).display()))?;
    Ok(StartedProgram { pid: child.id(), report })
}

/// Rules of Landlock and seccomp are a thread's, and what it starts inherits
/// them; the launcher's own thread stays free.
fn restricted(
    confinement: &Policy,
    walls: &Walls,
    program: &OsString,
    args: &[OsString],
) -> Result<StartedProgram, String> {
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            confinement.limits.apply(false).map_err(|error| format!("its limits could not be set: {error}"))?;
            put_up(confinement, walls)?;
            run(program, args, None)
        });
        started.join().unwrap_or_else(|_| Err("its walls could not be put up".to_owned()))
    })
}

/// Bubblewrap mounts, which Landlock forbids; so the rest of the walls is put up
/// inside, by this very program, which is not among what can be seen there: it
/// is started through a descriptor.
fn in_bubblewrap(
    confinement: &Policy,
    walls: &Walls,
    bubblewrap: &Path,
    command: &[OsString],
) -> Result<StartedProgram, String> {
    let own = inherited_self().map_err(|error| format!("the launcher cannot be started again: {error}"))?;
    let (report, word) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .and_then(|(report, word)| Ok((report, rustix::io::dup(word)?)))
        .map_err(|error| format!("its walls cannot be watched: {error}"))?;
    let mut opened = OpenedMounts::of(walls).map_err(|error| error.to_string())?;
    let walls = &Walls { seen: std::mem::take(&mut opened.seen), ..walls.clone() };
    let confinement = &Policy { walls: Some(walls.clone()), ..confinement.clone() };
    let told = Handed::new(std::iter::once(&confinement.to_word().into()).chain(command));
    let mounts = Handed::new(bubblewrap::arguments(confinement, walls, &opened));
    let (told, mounts) = told
        .and_then(|told| Ok((told, mounts?)))
        .map_err(|error| format!("bubblewrap cannot be told what to do: {error}"))?;
    let args = [
        "--args".to_owned(),
        mounts.name(),
        "--".to_owned(),
        format!("/proc/self/fd/{}", own.as_raw_fd()),
        "__inside".to_owned(),
        word.as_raw_fd().to_string(),
        told.name(),
    ]
    .map(OsString::from);
    let program =
        OutsideProgram::taken(bubblewrap).map_err(|reason| format!("`{}`: {reason}", bubblewrap.display()))?;
    start_command(program.command(), bubblewrap.as_os_str(), &args, Some(report))
}

/// This program as an open file that children inherit, also after the file was
/// replaced.
fn inherited_self() -> std::io::Result<OwnedFd> {
    let own = std::fs::File::open("/proc/self/exe")?;
    // A duplicate is not closed when another program is started.
    Ok(rustix::io::dup(own)?)
}

/// The program `denizen __inside`: its arguments name a descriptor to report to,
/// and one that holds the confinement and the command. Returns only where it did
/// not become that.
#[must_use]
pub fn run_inside(args: impl IntoIterator<Item = OsString>) -> u8 {
    let mut args = args.into_iter();
    let report = args.next().and_then(|text| text.to_str()?.parse::<u32>().ok());
    let told = args.next().and_then(|name| handed::take(&name)).unwrap_or_default();
    let reason = match (report, told.as_slice()) {
        (Some(report), [confinement, program, args @ ..]) => become_program(report, confinement, program, args),
        _ => "it was started in another way than the launcher does".to_owned(),
    };
    // Standard error is the program's, whose last words are shown.
    let _printed = writeln!(std::io::stderr(), "denizen: {reason}");
    NOT_INSIDE
}

#[expect(clippy::disallowed_methods, reason = "it becomes what `process::spawn` was asked to start")]
fn become_program(report: u32, confinement: &OsString, program: &OsString, args: &[OsString]) -> String {
    let Some(confinement) = confinement.to_str().and_then(Policy::from_word) else {
        return "what it was told cannot be read".to_owned();
    };
    let confinement = &confinement;
    let Some(walls) = &confinement.walls else { return "no walls were named".to_owned() };
    let report = match std::fs::File::options().write(true).open(format!("/proc/self/fd/{report}")) {
        Ok(report) => report,
        Err(error) => return format!("the launcher does not listen: {error}"),
    };
    if let Err(error) = confinement.limits.apply(confinement.has(Rule::Pids)) {
        return format!("its limits could not be set: {error}");
    }
    if confinement.has(Rule::Descriptors) {
        close_fds::set_fds_cloexec(3, &[]);
    }
    let covers = confinement.has(Rule::Private);
    if confinement.has(Rule::Mounts)
        && let Err(error) = opened::check(walls.seen.iter().filter(|seen| covers || !seen.is_covered))
    {
        return error.to_string();
    }
    if confinement.has(Rule::Repositories)
        && let Err(path) = repository::check(&walls.protect)
    {
        let path = path.display();
        return format!("`{path}` was exchanged while the walls were put up: it is safe to send the message again");
    }
    if let Err(error) = foreground::lead() {
        return format!("it could not be put into a group of its own: {error}");
    }
    if let Err(reason) = put_up(confinement, walls) {
        return reason;
    }
    let mut command = std::process::Command::new(program);
    command.args(args);
    if let Err(error) = (&report).write_all(b"i") {
        return format!("the launcher does not listen: {error}");
    }
    let error = command.exec();
    format!("{}: {error}", Path::new(program).display())
}

/// Puts up what this thread can put up around itself.
fn put_up(confinement: &Policy, walls: &Walls) -> Result<(), String> {
    if confinement.has(Rule::Capabilities) {
        drop_capabilities().map_err(|error| format!("its capabilities could not be dropped: {error}"))?;
    }
    landlock::apply(confinement, walls).map_err(|error| with_causes(&error))?;
    seccomp::apply(confinement, walls).map_err(|error| with_causes(&error))
}

/// Drops every capability for good: root has them, and what root starts would
/// get them back from the bounding set.
fn drop_capabilities() -> std::io::Result<()> {
    use rustix::thread::{CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities};
    let now = capabilities(None)?;
    if now.permitted.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            // One that this kernel does not know is not there either.
            let _dropped = remove_capability_from_bounding_set(capability);
        }
    }
    if !(now.permitted | now.effective | now.inheritable).is_empty() {
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    }
    Ok(())
}
