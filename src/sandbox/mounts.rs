//! What is mounted where: one directory can be seen at several places, and what
//! is private at one of them is so at all (proc_pid_mountinfo(5)).

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A file system, as the kernel numbers it, and a directory of it.
type MountedDir = (OsString, PathBuf);

/// The mounts of this process.
#[derive(Debug, Clone, Default)]
pub struct Mounts(HashMap<PathBuf, MountedDir>);

impl Mounts {
    /// What is mounted now.
    #[must_use]
    pub fn now() -> Self {
        Self::read(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    fn read(text: &[u8]) -> Self {
        let line = |line: &[u8]| {
            let mut fields = line.split(|byte| *byte == b' ').skip(2);
            let device = OsString::from_vec(fields.next()?.to_vec());
            let (root, at) = (unescaped(fields.next()?), unescaped(fields.next()?));
            Some((at, (device, root)))
        };
        // A later one at the same place lies over the earlier.
        Self(text.split(|byte| *byte == b'\n').filter_map(line).collect())
    }

    /// Where a path that is free of links lies, whatever it is called here.
    fn place(&self, path: &Path) -> MountedDir {
        for at in path.ancestors() {
            if let (Some((device, root)), Ok(rest)) = (self.0.get(at), path.strip_prefix(at)) {
                return (device.clone(), root.join(rest));
            }
        }
        (OsString::new(), path.to_owned())
    }

    /// Whether a path is a directory or lies in it, by whichever name. Both are
    /// free of links.
    #[must_use]
    pub fn is_inside(&self, path: &Path, directory: &Path) -> bool {
        if path.starts_with(directory) {
            return true;
        }
        let ((device, path), (of, directory)) = (self.place(path), self.place(directory));
        device == of && path.starts_with(directory)
    }

    /// The paths at which a directory, or a directory in it, can be seen, its own
    /// first.
    #[must_use]
    pub fn names(&self, directory: &Path) -> Vec<PathBuf> {
        let mut names = Vec::new();
        let (device, place) = self.place(directory);
        for (at, (of, root)) in &self.0 {
            if *of != device {
                continue;
            }
            if let Ok(rest) = place.strip_prefix(root) {
                let name = if rest.as_os_str().is_empty() { at.clone() } else { at.join(rest) };
                // Another mount may lie over it.
                if self.place(&name) == (device.clone(), place.clone()) {
                    names.push(name);
                }
            } else if root.starts_with(&place) && !at.starts_with(directory) && at.is_dir() {
                names.push(at.clone());
            }
        }
        names.sort();
        names.dedup();
        names.retain(|name| name != directory);
        names.insert(0, directory.to_owned());
        names
    }
}

/// A field, in which spaces and the like are written as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match digits {
            Some(digits) => {
                bytes.push(digits.iter().fold(0_u8, |byte, digit| byte.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &more[3..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &[u8] = b"22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 254:0 /opt/home /home rw - ext4 /dev/vda rw
31 22 0:22 / /proc rw - proc proc rw
32 22 254:16 /@data /mnt/a\\040b rw - btrfs /dev/vdb rw
33 22 254:16 /@data/w /srv/w rw - btrfs /dev/vdb rw
34 22 254:16 / /srv/covered rw - btrfs /dev/vdb rw
35 22 0:50 / /srv/covered/@data rw - tmpfs tmpfs rw
";

    #[test]
    fn a_directory_is_known_by_all_its_names() {
        let mounts = Mounts::read(INFO);
        let names = |path: &str| -> Vec<String> {
            mounts.names(Path::new(path)).iter().map(|name| name.display().to_string()).collect()
        };
        assert_eq!(names("/home/u"), ["/home/u", "/opt/home/u"]);
        assert_eq!(names("/opt/home"), ["/opt/home", "/home"]);
        // What is covered is not a name, and a part of it that is mounted elsewhere is one.
        assert_eq!(names("/srv/w"), ["/srv/w", "/mnt/a b/w"]);
        assert_eq!(names("/usr"), ["/usr"]);
        let inside = |path: &str, directory: &str| mounts.is_inside(Path::new(path), Path::new(directory));
        assert!(inside("/opt/home/u/x", "/home/u") && inside("/home/u", "/home/u"));
        assert!(inside("/srv/w/bin", "/mnt/a b") && inside("/mnt/a b/w/bin", "/srv/w"));
        assert!(!inside("/home/v", "/home/u") && !inside("/mnt/a b/x", "/srv/w") && !inside("/proc", "/opt"));
    }

    #[test]
    fn what_is_mounted_here_is_read() {
        assert!(!Mounts::now().0.is_empty());
    }
}
