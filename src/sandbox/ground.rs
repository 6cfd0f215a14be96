//! The ground of agents: every directory that an agent of some session can
//! write. Whatever lies there may be another thing at the next look, so nothing
//! that Denizen starts or allows is derived from it, and no link there is
//! followed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::mounts::Mounts;
use super::path_walk::PathWalk;
use super::system;

/// What agents can write.
pub struct Ground<'a> {
    mounts: Mounts,
    /// What is known without a look.
    certain: Vec<PathBuf>,
    /// Finds the rest.
    find: Box<dyn Fn() -> Vec<PathBuf> + Send + Sync + 'a>,
    /// The rest, once it had to be known.
    found: OnceLock<Vec<PathBuf>>,
}

impl fmt::Debug for Ground<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").field("certain", &self.certain).field("found", &self.found).finish_non_exhaustive()
    }
}

/// Why a path is not followed.
#[derive(Debug, thiserror::Error)]
pub enum Astray {
    /// It leads through a link that an agent could have made.
    #[error(
        "`{}` leads through the link `{}` in `{}`, where agents can write",
        path.display(), link.display(), ground.display()
    )]
    Link {
        /// The path.
        path: PathBuf,
        /// The link.
        link: PathBuf,
        /// The directory that agents can write.
        ground: PathBuf,
    },
    /// It leads nowhere.
    #[error("`{}` cannot be used: {source}", path.display())]
    Nowhere {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl<'a> Ground<'a> {
    /// A directory that agents can write, with what is `shared` for writing, each
    /// by a path that may lead through links, and with the directories that `find`
    /// finds, free of links. It is only asked for a path that does not lie in the
    /// system.
    #[must_use]
    pub fn new<'b>(
        own: &Path,
        shared: impl Iterator<Item = &'b Path>,
        find: impl Fn() -> Vec<PathBuf> + Send + Sync + 'a,
    ) -> Self {
        let mounts = Mounts::now();
        let mut certain = counted(&mounts, shared.filter_map(|path| PathWalk::of(path).ok()).collect());
        certain.push(own.to_owned());
        Self { mounts, certain, find: Box::new(find), found: OnceLock::new() }
    }

    /// The same with one more directory, free of links.
    #[must_use]
    pub fn with(mut self, directory: &Path) -> Self {
        self.certain.push(directory.to_owned());
        self
    }

    /// The mounts that it was worked out with.
    #[must_use]
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// The directory of the ground that a path lies in, if any. The path is free
    /// of links.
    #[must_use]
    pub fn holding(&self, path: &Path) -> Option<&Path> {
        let inside = |dir: &&PathBuf| self.mounts.is_inside(path, dir);
        let certain = self.certain.iter().find(inside);
        let found = certain.or_else(|| {
            let rest = || self.found.get_or_init(&self.find);
            (!is_never_granted(path)).then(rest)?.iter().find(inside)
        });
        found.map(PathBuf::as_path)
    }

    /// The directory of the ground that a path lies in or leads through, if there
    /// is anything at that path.
    #[must_use]
    pub fn reaching(&self, path: &Path) -> Option<PathBuf> {
        match self.follow(path) {
            Ok(way) => self.holding(&way.real).map(Path::to_owned),
            Err(Astray::Link { ground, .. }) => Some(ground),
            Err(Astray::Nowhere { .. }) => None,
        }
    }

    /// Follows a path, but no link that an agent could have made.
    ///
    /// # Errors
    /// If it leads through such a link, or nowhere.
    pub fn follow(&self, path: &Path) -> Result<PathWalk, Astray> {
        let way = PathWalk::of(path).map_err(|source| Astray::Nowhere { path: path.to_owned(), source })?;
        for (link, _) in &way.links {
            if let Some(ground) = self.holding(link) {
                return Err(Astray::Link { path: path.to_owned(), link: link.clone(), ground: ground.to_owned() });
            }
        }
        Ok(way)
    }
}

/// Whether a path lies if nothing is granted: it is a directory of the system,
/// or a file in one. Most of what is asked for is, and needs no look at grants.
fn is_never_granted(path: &Path) -> bool {
    system::is_part(path) || (path.parent().is_some_and(system::is_part) && !path.is_dir())
}

/// Where shares lie that agents write. One that is reached through a link in
/// another does not count: an agent may have made that link. Where two lead
/// through each other, both count, and so neither is followed.
fn counted(mounts: &Mounts, ways: Vec<PathWalk>) -> Vec<PathBuf> {
    let steered = |way: &PathWalk, by: &[PathBuf]| {
        way.links.iter().any(|(link, _)| by.iter().any(|dir| mounts.is_inside(link, dir)))
    };
    let (direct, mut open): (Vec<PathWalk>, Vec<PathWalk>) = ways.into_iter().partition(|way| way.links.is_empty());
    let mut counted: Vec<PathBuf> = direct.into_iter().map(|way| way.real).collect();
    loop {
        open.retain(|way| !steered(way, &counted));
        let others: Vec<PathBuf> = open.iter().map(|way| way.real.clone()).collect();
        let (clear, rest): (Vec<PathWalk>, Vec<PathWalk>) = open.into_iter().partition(|way| !steered(way, &others));
        let more = !clear.is_empty();
        counted.extend(clear.into_iter().map(|way| way.real));
        open = rest;
        if !more {
            counted.extend(open.into_iter().map(|way| way.real));
            return counted;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct GroundPlace {
        _temporary: tempfile::TempDir,
        dir: PathBuf,
        shares: Vec<PathBuf>,
    }

    impl GroundPlace {
        fn new() -> Self {
            let temporary = tempfile::tempdir().expect("a directory");
            let dir = std::fs::canonicalize(temporary.path()).expect("its path");
            for name in ["w/in", "secret/sub", "root", "projects/a", "projects/b"] {
                std::fs::create_dir_all(dir.join(name)).expect("a directory");
            }
            Self { _temporary: temporary, dir, shares: Vec::new() }
        }

        fn share(&mut self, path: &str) {
            self.shares.push(self.dir.join(path));
        }

        fn ground(&self) -> Ground<'_> {
            let found = || vec![self.dir.join("projects/a")];
            Ground::new(&self.dir.join("root"), self.shares.iter().map(PathBuf::as_path), found)
        }

        fn follow(&self, path: &str) -> Result<PathBuf, Astray> {
            self.ground().follow(&self.dir.join(path)).map(|way| way.real)
        }
    }

    #[test]
    fn links_are_followed_outside_the_ground_and_nowhere_in_it() {
        let mut place = GroundPlace::new();
        place.share("w");
        symlink("w", place.dir.join("to-w")).expect("a link");
        symlink("../secret", place.dir.join("w/sub")).expect("a link");
        assert_eq!(place.follow("to-w/in").expect("followed"), place.dir.join("w/in"));
        for steered in ["w/sub", "to-w/sub", "w/sub/sub"] {
            assert!(matches!(place.follow(steered), Err(Astray::Link { .. })), "{steered}");
        }
        // Also what is configured through a link is ground.
        place.shares.clear();
        place.share("to-w");
        assert!(matches!(place.follow("w/sub"), Err(Astray::Link { .. })));
    }

    #[test]
    fn a_link_that_an_agent_made_makes_nothing_else_its_ground() {
        let mut place = GroundPlace::new();
        place.share("w");
        place.share("w/sub");
        symlink("..", place.dir.join("w/sub")).expect("a link");
        symlink("secret", place.dir.join("to-secret")).expect("a link");
        assert_eq!(place.follow("to-secret").expect("followed"), place.dir.join("secret"));
        assert!(place.follow("w/sub").is_err());
        // Two that lead through each other are both refused.
        symlink("w/sub/w", place.dir.join("again")).expect("a link");
        place.shares.clear();
        place.share("again");
        place.share("again/sub");
        assert!(place.follow("again/sub").is_err());
    }

    #[test]
    fn what_is_found_later_is_ground_and_is_not_looked_for_in_the_system() {
        let place = GroundPlace::new();
        let held = |path: &str| place.ground().holding(&place.dir.join(path)).map(Path::to_owned);
        assert_eq!(held("projects/a/bin"), Some(place.dir.join("projects/a")));
        assert_eq!(held("projects/b"), None);
        assert_eq!(held("root/sessions/x"), Some(place.dir.join("root")));
        let unasked = Ground::new(&place.dir.join("root"), std::iter::empty(), || panic!("nobody needed to know"));
        assert_eq!(unasked.holding(Path::new("/usr/bin/env")), None);
    }
}
