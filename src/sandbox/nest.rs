//! How what is allowed lies in one another: what has to be covered in it, what
//! adds nothing, and what must not be moved away from where it is mounted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::private::Private;
use super::system;

/// What a child may see and write, while it is put in order.
#[derive(Debug, Default)]
pub struct Nest {
    /// What may be read.
    pub read: BTreeSet<PathBuf>,
    /// What may be written too.
    pub write: BTreeSet<PathBuf>,
    /// What is covered by an empty directory.
    pub hide: BTreeSet<PathBuf>,
}

/// Something private that lies in something that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// What it is.
    pub what: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// What it lies in.
    pub within: PathBuf,
}

/// What lies around a path.
#[derive(PartialEq, Eq)]
enum Surroundings {
    Nothing,
    Read,
    Write,
    Hidden,
}

impl Nest {
    /// What is private and would be seen, as it lies in something allowed.
    #[must_use]
    pub fn exposed(&self, private: &Private) -> Vec<Exposed> {
        let system = system::DIRECTORIES.iter().map(Path::new);
        let allowed = system.chain(self.read.iter().chain(&self.write).map(PathBuf::as_path));
        let exposed = allowed.flat_map(|within| {
            let below = private.below(within);
            below.map(|(what, path)| Exposed { what, path: path.to_owned(), within: within.to_owned() })
        });
        exposed.collect()
    }

    /// Leaves out what is allowed by what lies around it, just as much.
    pub fn thin_out(&mut self) {
        let plain = |path: &&PathBuf| !self.hide.contains(*path);
        let write: Vec<_> =
            self.write.iter().filter(plain).filter(|path| self.around(path) == Surroundings::Write).collect();
        let read: Vec<_> =
            self.read.iter().filter(plain).filter(|path| self.around(path) == Surroundings::Read).collect();
        let (write, read): (BTreeSet<_>, BTreeSet<_>) =
            (write.into_iter().cloned().collect(), read.into_iter().cloned().collect());
        self.write.retain(|path| !write.contains(path));
        self.read.retain(|path| !self.write.contains(path) && !read.contains(path));
    }

    /// Pins what lies deep in something that may be written: each directory
    /// between is mounted over itself, as a mount cannot be renamed. Otherwise an
    /// agent could move what is covered or only read out of its cover.
    pub fn pin(&mut self) {
        let mut pins = Vec::new();
        for path in self.read.iter().chain(&self.hide) {
            let between: Vec<&Path> = path.ancestors().skip(1).take_while(|above| !self.names(above)).collect();
            if self.around(path) == Surroundings::Write {
                pins.extend(between.into_iter().map(Path::to_owned));
            }
        }
        self.write.extend(pins);
    }

    fn names(&self, path: &Path) -> bool {
        self.read.contains(path) || self.write.contains(path) || self.hide.contains(path)
    }

    /// What lies next around a path.
    fn around(&self, path: &Path) -> Surroundings {
        for above in path.ancestors().skip(1) {
            if self.write.contains(above) {
                return Surroundings::Write;
            } else if self.read.contains(above) {
                return Surroundings::Read;
            } else if self.hide.contains(above) {
                return Surroundings::Hidden;
            } else if system::DIRECTORIES.iter().any(|directory| above == Path::new(directory)) {
                return Surroundings::Read;
            }
        }
        Surroundings::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&str]) -> BTreeSet<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn what_adds_nothing_is_left_out_and_what_is_deep_is_pinned() {
        let mut nest = Nest {
            read: set(&["/w/a/b/only-read", "/r", "/r/in", "/opt/u/bin", "/opt/u", "/usr/lib/x", "/home"]),
            write: set(&["/w", "/w/in/deep", "/r/write", "/home/u/d/sessions/s"]),
            hide: set(&["/opt/u", "/home/u", "/w/x/y/private"]),
        };
        nest.thin_out();
        assert_eq!(nest.read, set(&["/w/a/b/only-read", "/r", "/opt/u", "/home"]));
        assert_eq!(nest.write, set(&["/w", "/r/write", "/home/u/d/sessions/s"]));
        nest.pin();
        let pins = ["/w", "/r/write", "/home/u/d/sessions/s", "/w/a", "/w/a/b", "/w/x", "/w/x/y"];
        assert_eq!(nest.write, set(&pins));
    }

    #[test]
    fn what_is_private_is_seen_in_what_is_allowed_around_it() {
        let mounts = super::super::mounts::Mounts::default();
        let private = Private::of(Path::new("/opt/d/root"), None, &["/home/u".into()], &mounts).expect("private");
        let nest = Nest { read: set(&["/home"]), write: set(&["/home/u"]), hide: set(&[]) };
        let exposed: Vec<_> = nest.exposed(&private).into_iter().map(|one| (one.path, one.within)).collect();
        assert_eq!(
            exposed,
            [("/opt/d/root".into(), "/opt".into()), (PathBuf::from("/home/u"), PathBuf::from("/home"))]
        );
    }
}
