//! What belongs to the system: what every child may read.

use std::fs::Metadata;
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

/// Devices that every program may use. `/dev/tty` is a program's own terminal, if it
/// has one; `/dev/pts` holds those of the person's other windows too, so that no
/// program makes new ones without a `/dev` of its own.
pub const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Files of `/etc` that are often links to somewhere else.
pub const LINKED: &[&str] = &["/etc/resolv.conf", "/etc/hosts", "/etc/localtime", "/etc/nsswitch.conf"];

/// How long what was found closed in `/etc` holds where no directory of it has
/// changed: a file that was open to all can be closed without that.
const FRESH: Duration = Duration::from_secs(60);

/// Whether a path lies in a directory of the system.
#[must_use]
pub fn holds(path: &Path) -> bool {
    DIRECTORIES.iter().any(|directory| path.starts_with(directory))
}

/// Parts of the system below its directories, which may be somebody's HOME by
/// custom, and cannot be covered or granted.
const PARTS: &[&str] =
    &["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "local", "share", "games", "include", "src", "etc"];

/// Whether a path is a directory of the system, or one of its usual parts.
#[must_use]
pub fn is_part(path: &Path) -> bool {
    let is_part = |part: std::path::Component<'_>| PARTS.iter().any(|name| part.as_os_str() == *name);
    let mut below = DIRECTORIES.iter().filter_map(|directory| path.strip_prefix(directory).ok());
    below.any(|rest| rest.components().all(is_part))
}

/// Everything of the system that may be read, where only whole directories can
/// be allowed: of `/etc`, what is `closed` is left out.
#[must_use]
pub fn directories(closed: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    if !closed.is_empty() {
        found.retain(|path| path != Path::new("/etc"));
        open_below(Path::new("/etc"), closed, &mut found);
    }
    found
}

/// What of `/etc` only its owner may read, where that is who runs this, root:
/// for everybody else the kernel sees to it. Looking takes some milliseconds, so
/// what was found is kept while no directory changes, and for at most a minute.
#[derive(Debug, Default)]
pub struct ClosedDirs(Mutex<Option<CachedLook>>);

/// What was found, and when.
#[derive(Debug)]
struct CachedLook {
    at: Instant,
    /// Every directory that was looked into, with the time of its last change.
    directories: Vec<(PathBuf, ChangeStamp)>,
    closed: Vec<PathBuf>,
}

/// When a file was changed, by its content or by its mode.
type ChangeStamp = (i64, i64);

fn changed(metadata: &Metadata) -> ChangeStamp {
    (metadata.ctime(), metadata.ctime_nsec())
}

impl ClosedDirs {
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
        if !kept.as_ref().is_some_and(CachedLook::holds) {
            *kept = Some(CachedLook::at(directory));
        }
        kept.as_ref().map(|looked| looked.closed.clone()).unwrap_or_default()
    }
}

impl CachedLook {
    fn holds(&self) -> bool {
        let same = |(path, then): &(PathBuf, ChangeStamp)| {
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]
mod tests {
    use super::*;

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
        let looks = ClosedDirs::default();
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
}
