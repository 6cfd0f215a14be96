//! What is private and may lie where agents look: Denizen's root and the
//! person's home, by every name that they have.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mounts::Mounts;
use super::system;

/// What is private cannot be told from the system.
#[derive(Debug, thiserror::Error)]
#[error("{what} `{}` is a directory of the system, or holds one, and every agent reads those", path.display())]
pub struct NotPrivate {
    /// What is private.
    pub what: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// Directories of which nothing is seen inside that was not allowed by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Private {
    /// Each with what it is, in words.
    names: Vec<(&'static str, PathBuf)>,
}

impl Private {
    /// Denizen's root, the person's home, and `more`.
    ///
    /// # Errors
    /// If one of them is a directory of the system, or the root holds one, so
    /// that it could not be kept apart from it.
    pub fn of(root: &Path, home: Option<&Path>, more: &[PathBuf], mounts: &Mounts) -> Result<Self, NotPrivate> {
        let refuse = |what, path: &Path| Err(NotPrivate { what, path: path.to_owned() });
        let mut private = Self::default();
        for name in mounts.names(root) {
            if system::is_part(&name) || system::DIRECTORIES.iter().any(|dir| Path::new(dir).starts_with(&name)) {
                return refuse("Denizen's root", &name);
            }
            private.names.push(("Denizen's root", name));
        }
        // One that does not exist holds nothing. What lies beside the system's
        // directories in `/` is seen by nobody.
        let home = home.and_then(|home| std::fs::canonicalize(home).ok()).filter(|home| home != Path::new("/"));
        for home in home.iter().chain(more) {
            for name in mounts.names(home) {
                if system::is_part(&name) || belongs_to_system(&name) {
                    return refuse("HOME", &name);
                }
                private.names.push(("HOME", name));
            }
        }
        Ok(private)
    }

    /// Whether a path is one of these, or lies in one.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        self.names.iter().any(|(_, name)| path.starts_with(name))
    }

    /// Whether a path holds one of these or is one: it is not allowed whole by
    /// the way.
    #[must_use]
    pub fn is_in(&self, path: &Path) -> bool {
        self.names.iter().any(|(_, name)| name.starts_with(path))
    }

    /// Whether a path is among what everybody may read: in the system, and not
    /// in one of these.
    #[must_use]
    pub fn leaves_to_system(&self, path: &Path) -> bool {
        system::holds(path) && !self.holds(path)
    }

    /// Those that lie below a directory, and are not it, each with what it is.
    pub fn below<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = (&'static str, &'a Path)> {
        let below = move |name: &Path| name != directory && name.starts_with(directory);
        self.names.iter().filter(move |(_, name)| below(name)).map(|(what, name)| (*what, name.as_path()))
    }

    /// Those that lie in a directory of the system.
    pub fn in_system(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let names = self.names.iter().filter(|(_, name)| system::holds(name));
        names.map(|(what, name)| (*what, name.as_path()))
    }
}

/// Whether a directory in the system is root's while root does not ask, as
/// `/usr/games` is for a service with that home.
fn belongs_to_system(path: &Path) -> bool {
    let person = rustix::process::geteuid();
    system::holds(path)
        && !person.is_root()
        && std::fs::metadata(path).is_ok_and(|found| found.uid() != person.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_is_kept_apart_from_the_system() {
        let of = |root: &str, home: &str| {
            Private::of(Path::new(root), Some(Path::new(home)), &[], &Mounts::default()).map_err(|e| e.to_string())
        };
        for root in ["/opt", "/usr", "/usr/local", "/usr/local/share", "/", "/nix", "/var/lib", "/etc"] {
            let error = of(root, "/nothing").expect_err(root);
            assert!(error.starts_with(&format!("Denizen's root `{root}`")), "{error}");
        }
        for home in ["/opt", "/usr", "/usr/sbin", "/etc"] {
            assert!(of("/opt/x", home).is_err_and(|error| error.contains("HOME")), "{home}");
        }
        let private = of("/opt/x/root", "/").expect("both are fine");
        assert_eq!(private.in_system().map(|(_, name)| name).collect::<Vec<_>>(), [Path::new("/opt/x/root")]);
        assert!(private.leaves_to_system(Path::new("/opt/x/rooted")) && private.holds(Path::new("/opt/x/root/a")));
        assert!(!private.leaves_to_system(Path::new("/opt/x/root/a")));
        assert_eq!(private.below(Path::new("/opt/x")).count(), 1);
        assert_eq!(private.below(Path::new("/opt/x/root")).count(), 0);
    }
}
