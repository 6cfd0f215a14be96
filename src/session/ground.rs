//! The ground of a store's agents: its root, what is shared for writing, and what
//! was granted to any session.

use super::{Grant, Store};
use crate::config::{Access, Share};
use crate::sandbox::Ground;

impl Store {
    /// What the agents of all sessions can write.
    #[must_use]
    pub fn ground(&self, shares: &[Share]) -> Ground<'_> {
        let written = shares.iter().filter(|share| share.mode == Access::Write);
        Ground::new(self.root(), written.map(|share| share.path.as_path()), || Grant::directories(self))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make the files that are looked at")]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::files::Durability;

    #[test]
    fn grants_of_any_session_and_write_shares_are_ground() {
        let temporary = tempfile::tempdir().expect("a directory");
        let dir = std::fs::canonicalize(temporary.path()).expect("its path");
        for name in ["root/access/sessions", "projects/a", "projects/b", "written", "read"] {
            std::fs::create_dir_all(dir.join(name)).expect("a directory");
        }
        let store = Store::at(&dir.join("root"), Durability::Process);
        let share =
            |path: &str, mode| Share { sessions: vec!["*".to_owned()], path: dir.join(path), mode, protect: None };
        let shares = [share("written", Access::Write), share("read", Access::Read)];
        let grant = Grant { working_dir: Some(dir.join("projects/a")), ..Grant::none(uuid::Uuid::nil()) };
        let text = serde_json::to_string(&grant).expect("JSON");
        std::fs::write(store.access_path().join("some.json"), text).expect("written");
        let held =
            |path: &str| -> Option<PathBuf> { store.ground(&shares).holding(&dir.join(path)).map(Path::to_owned) };
        assert_eq!(held("projects/a/bin"), Some(dir.join("projects/a")));
        assert_eq!(held("written/x"), Some(dir.join("written")));
        assert_eq!(held("root/sessions/x"), Some(dir.join("root")));
        assert_eq!((held("projects/b"), held("read")), (None, None));
    }
}
