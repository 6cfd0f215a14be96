//! Attempts on a directory of the person's that the session may write: that what
//! the person's own programs run there is the agent's.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::attempt::{Got, Scene, Tried, through};
use super::files::append;

/// The name of the directory on the stage; it holds a repository.
pub(super) const NAME: &str = "granted";

/// The files of the repository, each with its content.
pub(super) const FILES: &[(&str, &str)] = &[
    ("project/.git/HEAD", "ref: refs/heads/main\n"),
    ("project/.git/config", "[core]\n\trepositoryformatversion = 0\n"),
    ("project/.git/objects/info/packs", ""),
    ("project/.git/refs/heads/.keep", ""),
    ("project/.envrc", "# the person's\n"),
];

/// The working tree of the repository.
pub(super) fn project(scene: &Scene) -> PathBuf {
    scene.outside.with_file_name(NAME).join("project")
}

/// Makes a new file, which the stage looks for when the session goes on.
pub(super) fn leave(scene: &Scene, name: &str) -> Tried {
    let path = project(scene).join(name);
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above)?;
    }
    File::create_new(&path)?.write_all(b"planted by the adversary\n")?;
    Ok(Got::Left(path))
}

/// Writes to a file that is there.
pub(super) fn change(scene: &Scene, name: &str) -> Tried {
    append(&project(scene).join(name))
}

/// Moves the repository or its working tree away, so that another could take its
/// place, and back.
pub(super) fn move_away(path: &Path) -> Tried {
    let other = path.with_file_name("moved");
    rustix::fs::renameat(CWD, path, CWD, &other)?;
    rustix::fs::renameat(CWD, &other, CWD, path)?;
    through("it was moved, and back")
}
