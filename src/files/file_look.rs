//! Looking at what has a name in an open directory. No link is followed, on the
//! way or at the end.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use super::{Dir, Error};

/// What stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLook {
    /// A file, a directory, a link …
    pub kind: FileType,
    /// The number of the device that it lies on.
    pub device: u64,
    /// Its inode number on that device.
    pub inode: u64,
    /// Its permission bits.
    pub mode: u32,
    /// The user and the group that it belongs to.
    pub owner: (u32, u32),
    /// How many names it has.
    pub names: u64,
}

/// The entries of a directory: the name of each and what it is.
pub type Kinds = Vec<(OsString, FileType)>;

impl Dir {
    /// What stands at a name below this directory, or `None` if nothing does.
    ///
    /// # Errors
    /// If the name leads through a link, or cannot be looked at.
    pub fn look(&self, name: &Path) -> Result<Option<FileLook>, Error> {
        let fd = match self.open_entry(name) {
            Err(error)
                if matches!(error.os_error().map(Errno::from_raw_os_error), Some(Errno::NOENT | Errno::NOTDIR)) =>
            {
                return Ok(None);
            }
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io("look at", &self.path().join(name), errno))?;
        Ok(Some(FileLook {
            kind: FileType::from_raw_mode(stat.st_mode),
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            names: stat.st_nlink,
        }))
    }

    /// Where the symbolic link at a name below this directory points.
    ///
    /// # Errors
    /// If it is not a link, or cannot be read.
    pub fn read_link(&self, name: &Path) -> Result<PathBuf, Error> {
        let fd = self.open_entry(name)?;
        let target = rustix::fs::readlinkat(&fd, "", Vec::new())
            .map_err(|errno| Error::io("read the link", &self.path().join(name), errno))?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// How many names the entry of a directory has.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn names_of(&self, name: &Path) -> Result<u64, Error> {
        let stat = rustix::fs::statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW);
        stat.map(|stat| stat.st_nlink).map_err(|errno| Error::io("look at", &self.path().join(name), errno))
    }

    /// The names of the entries with what each is, in no order, of very many the
    /// first ones. The second part is whether these are all.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn kinds(&self, most: usize) -> Result<(Kinds, bool), Error> {
        let io = |errno: Errno| Error::io("list", self.path(), errno);
        let mut kinds = Vec::new();
        // Where this descriptor stands in the list is shared by all who use it.
        rustix::fs::seek(self.fd(), SeekFrom::Start(0)).map_err(io)?;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(self.fd(), &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(io)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if kinds.len() == most {
                return Ok((kinds, false));
            }
            let kind = match entry.file_type() {
                // Some file systems do not say it here.
                FileType::Unknown => match self.look(Path::new(name))? {
                    Some(look) => look.kind,
                    None => continue,
                },
                kind => kind,
            };
            kinds.push((name.to_owned(), kind));
        }
        Ok((kinds, true))
    }

    fn open_entry(&self, name: &Path) -> Result<impl AsFd, Error> {
        self.open_beneath(name, OFlags::PATH, rustix::fs::Mode::empty(), "look at")
    }
}
