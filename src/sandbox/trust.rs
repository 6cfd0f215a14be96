//! The rule for programs that run outside the walls: nobody but root and the
//! person may be able to put another in their place. Only looks; `process`
//! starts them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ground::Ground;
use super::path_walk::PathWalk;
use super::system;

/// Why a program is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It cannot be looked at.
    #[error("it cannot be read: {0}")]
    Nowhere(String),
    /// Nobody can run it.
    #[error("it is not an executable file")]
    NotProgram,
    /// Somebody else could replace it.
    #[error("`{}` belongs to another user ({owner})", at.display())]
    Foreign {
        /// What on its way is theirs.
        at: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// Anybody could replace it, or a whole group.
    #[error("others can write `{}` (mode {mode:o})", at.display())]
    Writable {
        /// What on its way they can write.
        at: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// An agent could replace it.
    #[error("agents can write `{}`", .0.display())]
    Ground(PathBuf),
}

/// Where a program really lies, if it may be run outside the walls.
///
/// Everything on its way, and on the way of each link that leads to it, has to
/// belong to root or the person and to be closed to other writers, and nothing
/// of it may lie where agents write. A sticky directory such as `/tmp` is open
/// to others like any other. A group may write where it is the person's own
/// (its number is that of the user), and where root lets it in a directory of
/// the system, which no agent can write.
///
/// # Errors
/// With what is wrong.
pub fn program(path: &Path, ground: &Ground<'_>) -> Result<PathBuf, Distrust> {
    let real = directory(path, ground)?;
    let found = std::fs::metadata(&real).map_err(|error| Distrust::Nowhere(error.to_string()))?;
    if found.is_file() && found.mode() & 0o111 != 0 { Ok(real) } else { Err(Distrust::NotProgram) }
}

/// The same for a directory in which programs are looked for.
///
/// # Errors
/// With what is wrong.
pub fn directory(path: &Path, ground: &Ground<'_>) -> Result<PathBuf, Distrust> {
    let nowhere = |error: std::io::Error| Distrust::Nowhere(error.to_string());
    let way = PathWalk::of(path).map_err(nowhere)?;
    for passed in &way.passed {
        check(passed, &std::fs::symlink_metadata(passed).map_err(nowhere)?)?;
    }
    let links = way.links.iter().map(|(link, _)| link.as_path());
    if let Some(dir) = links.chain([way.real.as_path()]).find_map(|at| ground.holding(at)) {
        return Err(Distrust::Ground(dir.to_owned()));
    }
    Ok(way.real)
}

/// Whether root and the person alone can write something.
///
/// # Errors
/// With who else can.
pub fn check(path: &Path, found: &Metadata) -> Result<(), Distrust> {
    let person = rustix::process::geteuid().as_raw();
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    // In a user namespace root's files may seem to be nobody's, as `/` then is.
    let is_root = owner == 0 || std::fs::metadata("/").is_ok_and(|root| root.uid() == owner);
    if !is_root && owner != person {
        return Err(Distrust::Foreign { at: path.to_owned(), owner });
    }
    let own_group = found.gid() == person && found.gid() == rustix::process::getegid().as_raw();
    let group_may = own_group || (is_root && system::holds(path));
    if mode & 0o002 != 0 || (mode & 0o020 != 0 && !group_may) {
        return Err(Distrust::Writable { at: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_others_could_replace_is_not_run() {
        // Below the build's directory, as `/tmp` is open to others.
        let dir = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).expect("a directory");
        let dir = std::fs::canonicalize(dir.path()).expect("its path");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        for name in ["bin", "open/bin", "granted/bin"] {
            std::fs::create_dir_all(dir.join(name)).expect("a directory");
            std::fs::write(dir.join(name).join("x"), "#!/bin/sh\n").expect("written");
            mode(&dir.join(name).join("x"), 0o755);
        }
        mode(&dir.join("open"), 0o1777);
        symlink("bin/x", dir.join("link")).expect("a link");
        symlink("../bin/x", dir.join("granted/link")).expect("a link");
        symlink("granted/bin/x", dir.join("into")).expect("a link");
        let shared = dir.join("granted");
        let ground = Ground::new(&dir.join("root"), std::iter::once(shared.as_path()), Vec::new);
        let found = |name: &str| program(&dir.join(name), &ground);
        assert_eq!(found("bin/x"), Ok(dir.join("bin/x")));
        assert_eq!(found("link"), Ok(dir.join("bin/x")));
        assert_eq!(found("open/bin/x"), Err(Distrust::Writable { at: dir.join("open"), mode: 0o1777 }));
        for name in ["granted/bin/x", "granted/link", "into"] {
            assert_eq!(found(name), Err(Distrust::Ground(dir.join("granted"))), "{name}");
        }
        assert_eq!(found("bin"), Err(Distrust::NotProgram));
        mode(&dir.join("bin/x"), 0o777);
        assert_eq!(found("link"), Err(Distrust::Writable { at: dir.join("bin/x"), mode: 0o777 }));
        mode(&dir.join("bin/x"), 0o644);
        assert_eq!(found("bin/x"), Err(Distrust::NotProgram));
        if rustix::process::geteuid().is_root() {
            mode(&dir.join("bin/x"), 0o755);
            std::os::unix::fs::chown(dir.join("bin"), Some(64_123), None).expect("given");
            assert_eq!(found("bin/x"), Err(Distrust::Foreign { at: dir.join("bin"), owner: 64_123 }));
        }
        assert!(program(Path::new("/bin/sh"), &ground).is_ok());
    }
}
