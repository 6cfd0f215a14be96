//! The ground of agents: every directory that an agent of some session can
//! write. Whatever lies there may be another thing at the next look, so nothing
//! that Denizen starts or allows is derived from it, and no link there is
//! followed.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::mounts::Mounts;
use super::path_walk::PathWalk;
use super::system;
use crate::config::{Access, Share};
use crate::files;
use crate::provider::Files;
use crate::session::{Grant, Store};

/// What agents can write.
#[derive(Debug)]
pub struct Ground<'a> {
    mounts: Mounts,
    /// Denizen's root and what is shared for writing, with what was granted to
    /// the session at hand.
    certain: Vec<PathBuf>,
    store: &'a Store,
    /// What was granted to any session, once that had to be known.
    granted: OnceLock<Vec<PathBuf>>,
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
    /// What the sessions of a store can write. Grants are only read for a path
    /// that does not lie in the system.
    #[must_use]
    pub fn of(shares: &[Share], store: &'a Store) -> Self {
        let mounts = Mounts::now();
        let shares = shares.iter().filter(|share| share.mode == Access::Write);
        let mut certain = counted(&mounts, shares.filter_map(|share| PathWalk::of(&share.path).ok()).collect());
        certain.push(store.root().to_owned());
        Self { mounts, certain, store, granted: OnceLock::new() }
    }

    /// The same with what was granted to the session at hand.
    #[must_use]
    pub fn with(mut self, granted: &Path) -> Self {
        self.certain.push(granted.to_owned());
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
            let granted = || self.granted.get_or_init(|| Grant::directories(self.store));
            (!is_never_granted(path)).then(granted)?.iter().find(inside)
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

impl Files for Ground<'_> {
    fn find(&self, path: &Path) -> Option<PathBuf> {
        self.follow(path).ok().map(|way| way.real)
    }

    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = files::open_linkless(&self.find(path)?).ok()?;
        file.read_to_end(&mut bytes).ok()?;
        Some(bytes)
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
#[expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::Durability;

    struct GroundPlace {
        _temporary: tempfile::TempDir,
        dir: PathBuf,
        shares: Vec<Share>,
        store: Store,
    }

    impl GroundPlace {
        fn new() -> Self {
            let temporary = tempfile::tempdir().expect("a directory");
            let dir = std::fs::canonicalize(temporary.path()).expect("its path");
            let store = Store::at(&dir.join("root"), Durability::Process);
            for name in ["w/in", "secret/sub", "root/access/sessions", "projects/a", "projects/b"] {
                std::fs::create_dir_all(dir.join(name)).expect("a directory");
            }
            Self { _temporary: temporary, dir, shares: Vec::new(), store }
        }

        fn share(&mut self, path: &str) {
            let path = self.dir.join(path);
            self.shares.push(Share { sessions: vec!["*".to_owned()], path, mode: Access::Write, protect: None });
        }

        fn follow(&self, path: &str) -> Result<PathBuf, Astray> {
            Ground::of(&self.shares, &self.store).follow(&self.dir.join(path)).map(|way| way.real)
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
    fn grants_of_any_session_are_ground() {
        let place = GroundPlace::new();
        let held = |place: &GroundPlace, path: &str| {
            Ground::of(&place.shares, &place.store).holding(&place.dir.join(path)).map(Path::to_owned)
        };
        let grant = Grant { working_dir: Some(place.dir.join("projects/a")), ..Grant::none(uuid::Uuid::nil()) };
        let text = serde_json::to_string(&grant).expect("JSON");
        std::fs::write(place.store.access_path().join("some.json"), text).expect("written");
        assert_eq!(held(&place, "projects/a/bin"), Some(place.dir.join("projects/a")));
        assert_eq!(held(&place, "projects/b"), None);
        assert_eq!(held(&place, "root/sessions/x"), Some(place.dir.join("root")));
    }
}
