//! What in the directory of a repository leads somewhere else: git writes its
//! messages and logs, and reads them, through a link that it finds in their place,
//! and into a file that has another name too. Git itself makes no such things.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;

use super::view::View;
use crate::files::Error;

/// How many directories of one repository are looked at.
const MAX_DIRECTORIES: usize = 10_000;

/// Below the directory of a repository, where very many files lie that have
/// several names for good reasons: of those, only the directory itself is looked
/// at, and what of it is listed here.
const OBJECTS: &[&str] = &["objects", "lfs/objects", "annex/objects"];
const OF_OBJECTS: &[&str] = &["info", "pack"];

/// Where the monitor of the file system listens that git starts by itself.
const MONITOR: &str = "fsmonitor--daemon.ipc";

/// Finds them, each with what it is. The second part is whether everything was
/// looked at.
///
/// # Errors
/// If something was closed by its owner and cannot be opened again.
pub(super) fn strays(
    view: &View,
    git_dir: &Path,
    git_dirs: &BTreeSet<PathBuf>,
) -> Result<(BTreeMap<PathBuf, FileType>, bool), Error> {
    let mut found = BTreeMap::new();
    let mut next = VecDeque::from([git_dir.to_owned()]);
    let mut seen = 0;
    while let Some(path) = next.pop_front() {
        if seen == MAX_DIRECTORIES {
            return Ok((found, false));
        }
        seen += 1;
        let inner = path.strip_prefix(git_dir).unwrap_or(&path);
        let is_objects = OBJECTS.iter().any(|objects| inner == Path::new(objects));
        let in_objects = is_objects || inner.parent().is_some_and(|above| above == Path::new("objects"));
        // Those of a submodule too, which is not known yet.
        let in_submodule = inner.starts_with("modules") && inner.iter().any(|part| part == "objects");
        let listing = view.list(&path)?;
        let dir = if in_objects || in_submodule { None } else { view.open_dir(&path)? };
        for (name, kind) in &listing.entries {
            let below = path.join(name);
            match kind {
                FileType::Directory => {
                    let enters = !in_objects || is_objects && OF_OBJECTS.iter().any(|known| name == known);
                    if enters && !git_dirs.contains(&below) {
                        next.push_back(below);
                    }
                }
                FileType::RegularFile => {
                    let names = dir.as_ref().and_then(|dir| dir.names_of(Path::new(name)).ok());
                    if names.is_some_and(|names| names > 1) {
                        found.insert(below, *kind);
                    }
                }
                _ if !is_gits(view, inner, name, *kind, &below) => {
                    found.insert(below, *kind);
                }
                _ => {}
            }
        }
    }
    Ok((found, true))
}

/// Whether git itself makes such a thing: a `HEAD` that is a link to a branch
/// (`core.preferSymlinkRefs`), and the socket of its monitor.
fn is_gits(view: &View, inner: &Path, name: &OsString, kind: FileType, path: &Path) -> bool {
    if !inner.as_os_str().is_empty() {
        return false;
    }
    let leads_to_branch = |target: PathBuf| {
        target.starts_with("refs/heads") && target.components().all(|part| matches!(part, Component::Normal(_)))
    };
    match kind {
        FileType::Symlink => name == "HEAD" && view.link(path).is_some_and(leads_to_branch),
        FileType::Socket => name == OsStr::new(MONITOR),
        _ => false,
    }
}
