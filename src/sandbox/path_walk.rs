//! The way that a path leads: every directory that it passes and every link
//! that it follows, so that each can be judged. Not here: the judging.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

/// How many links the kernel follows in one path (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Where a path leads, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathWalk {
    /// Where it leads: absolute, and free of links.
    pub real: PathBuf,
    /// The links that were followed, in order: where each lies, itself free of
    /// links, and what stands in it.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Every file or directory that was passed, free of links, `real` last.
    pub passed: Vec<PathBuf>,
}

impl PathWalk {
    /// Follows a path.
    ///
    /// # Errors
    /// If it is not absolute, leads to nothing, or leads through too many links.
    pub fn of(path: &Path) -> io::Result<Self> {
        if !path.is_absolute() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let root = PathBuf::from("/");
        let mut way = Self { real: root.clone(), links: Vec::new(), passed: vec![root] };
        let mut left: VecDeque<OsString> = names(path).collect();
        while let Some(name) = left.pop_front() {
            if name == "/" {
                way.real = PathBuf::from("/");
            } else if name == ".." {
                way.real.pop();
            } else {
                let next = way.real.join(name);
                match std::fs::read_link(&next) {
                    Ok(target) => {
                        if way.links.len() == MOST_LINKS {
                            return Err(Errno::LOOP.into());
                        }
                        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                            left.push_front(name);
                        }
                        way.links.push((next, target));
                    }
                    // It exists, and is not a link.
                    Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                        way.real = next;
                        way.passed.push(way.real.clone());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        // `..` may have led back to one that was passed before.
        if way.passed.last() != Some(&way.real) {
            way.passed.push(way.real.clone());
        }
        Ok(way)
    }
}

/// The names of a path, one after the other; `/` for its beginning.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter(|component| *component != Component::CurDir).map(|component| component.as_os_str().into())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]
mod tests {
    use super::*;

    #[test]
    fn every_link_on_the_way_is_known() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a directory");
        let dir = std::fs::canonicalize(dir.path()).expect("its path");
        std::fs::create_dir_all(dir.join("a/real/bin")).expect("a directory");
        std::fs::write(dir.join("a/real/bin/x"), "").expect("written");
        symlink("real/bin", dir.join("a/current")).expect("a link");
        symlink(dir.join("a"), dir.join("b")).expect("a link");
        let way = PathWalk::of(&dir.join("b/./current/../bin/x")).expect("a way");
        assert_eq!(way.real, dir.join("a/real/bin/x"));
        let links = [(dir.join("b"), dir.join("a")), (dir.join("a/current"), "real/bin".into())];
        assert_eq!(way.links, links);
        assert!([dir.join("a"), dir.join("a/real/bin"), dir.clone()].iter().all(|path| way.passed.contains(path)));
        assert_eq!(std::fs::canonicalize(dir.join("b/current/x")).expect("a path"), way.real);
        symlink("loop", dir.join("loop")).expect("a link");
        for wrong in [dir.join("loop"), dir.join("nothing/x"), "a/b".into(), dir.join("a/real/bin/x/y")] {
            assert!(PathWalk::of(&wrong).is_err(), "{}", wrong.display());
        }
    }
}
