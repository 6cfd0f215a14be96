//! `names/<where>/<title>`: links to the session folders, for people.
//!
//! Derived from the records and rebuilt at will; nothing here is ever read as
//! state. Failing to keep a name is never a reason to fail an operation.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Record, Store};
use crate::files::make_private_dir;

/// The directory of names.
#[derive(Debug)]
pub struct Names {
    dir: PathBuf,
}

impl Names {
    /// The names of a store.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self { dir: store.names_path() }
    }

    /// Gives a session its name, beside any other that has the same.
    pub fn add(&self, folder: &str, record: &Record) {
        self.add_as(folder, &record.place, record.display_name());
    }

    /// Gives a session this name, at the place where it was made.
    pub(super) fn add_as(&self, folder: &str, place: &str, name: &str) {
        // A session that nobody finds by its title is still there.
        let _linked = self.link(folder, place, name);
    }

    fn link(&self, folder: &str, place: &str, name: &str) -> Result<(), crate::files::Error> {
        let place = self.dir.join(file_name(place, "other"));
        let target = target(folder);
        let name = file_name(name, folder);
        for name in [name.clone(), format!("{name} ({folder})")] {
            let link = place.join(name);
            let linked = match symlink(&target, &link) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    make_private_dir(&place, crate::files::Durability::Process)?;
                    symlink(&target, &link)
                }
                linked => linked,
            };
            match linked {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    if std::fs::read_link(&link).is_ok_and(|found| found == target) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(crate::files::Error::io("link", &link, error)),
            }
        }
        Ok(())
    }

    /// Takes the name of a session away.
    pub fn remove(&self, folder: &str, record: &Record) {
        let place = self.dir.join(file_name(&record.place, "other"));
        let name = file_name(record.display_name(), folder);
        for name in [name.clone(), format!("{name} ({folder})")] {
            let link = place.join(name);
            if std::fs::read_link(&link).is_ok_and(|found| found == target(folder)) {
                // A link that stays points at nothing, which harms nobody.
                let _removed = std::fs::remove_file(&link);
            }
        }
    }
}

fn target(folder: &str) -> PathBuf {
    Path::new("../../sessions").join(folder)
}

/// A title as the name of a file: no slash, no control character, not hidden,
/// at most 200 bytes.
fn file_name(title: &str, fallback: &str) -> String {
    let plain: String = title.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
    let plain = plain.trim().trim_start_matches('.');
    let end = (0..=plain.len().min(200)).rev().find(|at| plain.is_char_boundary(*at)).unwrap_or(0);
    if end == 0 { fallback.to_owned() } else { plain[..end].to_owned() }
}
