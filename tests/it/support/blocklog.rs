//! A disk that remembers the order of its writes, so that it can be looked at
//! as a power cut at any moment would have left it.
//!
//! The disk is one file of a small FUSE file system that is served from this
//! process; a file system is mounted on it through a loop device. Each write and
//! each flush is logged. A *state* is a prefix of the log, perhaps without some
//! of the writes that no flush has followed: those are what a real disk may
//! still have had in its cache.
//!
//! Everything is mounted in a mount namespace of the calling thread's own, and
//! loop devices let go of themselves, so that also a kill leaves nothing behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use super::fake::until;

/// What is lost or kept as one: file systems count on a sector or a page of
/// theirs being written whole.
const BLOCK: usize = 4096;

/// A file system to put on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Ext4,
    Xfs,
    Btrfs,
}

impl Format {
    /// Its name, as `mount` knows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The program that makes one, and the Debian package that has it.
    fn maker(self) -> (&'static str, &'static str) {
        match self {
            Self::Ext4 => ("mkfs.ext4", "e2fsprogs"),
            Self::Xfs => ("mkfs.xfs", "xfsprogs"),
            Self::Btrfs => ("mkfs.btrfs", "btrfs-progs"),
        }
    }

    /// The smallest disk that its tools like, in MiB, and their options.
    fn shape(self) -> (u64, &'static [&'static str]) {
        match self {
            Self::Ext4 => (64, &["-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"]),
            Self::Xfs => (300, &["-q", "-K"]),
            Self::Btrfs => (112, &["-q", "-K"]),
        }
    }
}

/// What is on a disk: the blocks that are not all zero.
#[derive(Clone, Default)]
pub(crate) struct Image {
    size: u64,
    blocks: BTreeMap<u64, Arc<[u8; BLOCK]>>,
}

impl Image {
    /// An empty file system of this format.
    fn of(format: Format, scratch: &Path) -> Self {
        let (megabytes, options) = format.shape();
        let path = scratch.join("empty");
        let file = fs_err::File::create(&path).expect("a file");
        file.set_len(megabytes << 20).expect("its size");
        tool(Command::new(format.maker().0).args(options).arg(&path)).expect("an empty file system");
        let mut image = Self { size: megabytes << 20, blocks: BTreeMap::new() };
        for (number, block) in fs_err::read(&path).expect("the file system").chunks_exact(BLOCK).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                image.write((number * BLOCK) as u64, block);
            }
        }
        fs_err::remove_file(&path).expect("removed");
        image
    }

    fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for (place, offset, part) in parts(at, length) {
            if let Some(block) = self.blocks.get(&place) {
                bytes[part.clone()].copy_from_slice(&block[offset..offset + part.len()]);
            }
        }
        bytes
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        for (place, offset, part) in parts(at, bytes.len()) {
            let block = self.blocks.entry(place).or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(block)[offset..offset + part.len()].copy_from_slice(&bytes[part]);
        }
    }
}

/// The blocks that a range of bytes touches: which, from where in it, and which
/// part of the range.
fn parts(at: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = at + done as u64;
        let offset = (here % BLOCK as u64) as usize;
        let part = done..length.min(done + BLOCK - offset);
        done = part.end;
        (!part.is_empty()).then_some((here / BLOCK as u64, offset, part))
    })
}

/// One thing that was asked of a disk.
pub(crate) enum Entry {
    Write(u64, Vec<u8>),
    Flush,
}

struct Content {
    image: Image,
    /// What was done to the image, while it is recorded.
    log: Option<Vec<Entry>>,
}

/// A disk, and the place where its file system is mounted.
pub(crate) struct Disk {
    format: Format,
    content: Arc<Mutex<Content>>,
    file: PathBuf,
    mountpoint: PathBuf,
    // Its end unmounts the file that is the disk.
    _served: BackgroundSession,
}

impl Disk {
    /// A disk with an empty file system of this format, whose writes are
    /// recorded; it is mounted at `mountpoint`. The disk itself is served in a
    /// directory that is made below `scratch`.
    pub(crate) fn new(format: Format, scratch: &Path, mountpoint: &Path) -> Self {
        let image = Image::of(format, scratch);
        let content = Arc::new(Mutex::new(Content { image, log: Some(Vec::new()) }));
        let served = scratch.join("disk");
        fs_err::create_dir(&served).expect("a directory");
        let session = fuser::spawn_mount(Server(content.clone()), &served, &Config::default()).expect("FUSE");
        let file = served.join(DISK);
        Self { format, content, file, mountpoint: mountpoint.to_owned(), _served: session }
    }

    /// Mounts its file system until the result is dropped.
    ///
    /// # Errors
    /// With what `mount` says.
    pub(crate) fn mount(&self) -> Result<Mounted<'_>, String> {
        let mut mount = Command::new("mount");
        tool(mount.args(["-t", self.format.name(), "-o", "loop"]).arg(&self.file).arg(&self.mountpoint))?;
        let mounts = fs_err::read_to_string("/proc/thread-self/mounts").expect("the mounts");
        let mine = mounts.lines().filter_map(|line| line.split_once(' ')).find(|(_, rest)| {
            rest.split(' ').next().is_some_and(|mountpoint| Path::new(mountpoint) == self.mountpoint)
        });
        let device = mine.map(|(device, _)| device.to_owned()).filter(|_| self.format == Format::Btrfs);
        Ok(Mounted { mountpoint: &self.mountpoint, forgotten: device })
    }

    /// How many things were asked of the disk so far.
    pub(crate) fn position(&self) -> usize {
        self.content().log.as_ref().map_or(0, Vec::len)
    }

    /// Ends the recording, and gives the content at a position before with all
    /// that was done since.
    pub(crate) fn recorded(&self, from: Image) -> Log {
        Log { entries: self.content().log.take().unwrap_or_default(), image: from, flushed: 0 }
    }

    /// What is on it.
    pub(crate) fn image(&self) -> Image {
        self.content().image.clone()
    }

    /// Puts something else on it; it may not be mounted.
    pub(crate) fn set_image(&self, image: Image) {
        self.content().image = image;
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mounted file system.
pub(crate) struct Mounted<'a> {
    mountpoint: &'a Path,
    /// The loop device that btrfs is told to forget afterwards.
    forgotten: Option<String>,
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        if std::thread::panicking() {
            // Out of the way at once, whatever still uses it.
            let _unmounted = tool(unmount.arg("--lazy").arg(self.mountpoint));
            return;
        }
        // A child that another test is about to start holds copies of our open
        // files for a moment.
        unmount.arg(self.mountpoint);
        until("unmounting", || tool(&mut unmount));
        if let Some(device) = &self.forgotten {
            // The kernel may remember the generation that it saw there, and then
            // refuses an earlier one of the same file system on another device.
            // One that remembers nothing says so.
            let _forgotten = tool(Command::new("btrfs").args(["device", "scan", "--forget", device]));
        }
    }
}

/// All that was done to a disk, and its content in the beginning.
pub(crate) struct Log {
    entries: Vec<Entry>,
    /// The content after the last flush that was passed, of which nothing can
    /// be lost any more.
    image: Image,
    flushed: usize,
}

impl Log {
    /// How many things were done.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is on the disk where the power fails after `point` things were done.
    /// Blocks that were written since the last flush are on it where `keeps`
    /// says so. Points are asked for in ascending order.
    pub(crate) fn state(&mut self, point: usize, mut keeps: impl FnMut() -> bool) -> Image {
        let passed = &self.entries[self.flushed..point];
        let flush = passed.iter().rposition(|entry| matches!(entry, Entry::Flush)).map_or(0, |at| at + 1);
        for entry in &passed[..flush] {
            if let Entry::Write(at, bytes) = entry {
                self.image.write(*at, bytes);
            }
        }
        self.flushed += flush;
        let mut image = self.image.clone();
        for entry in &passed[flush..] {
            let Entry::Write(at, bytes) = entry else { continue };
            for (place, offset, part) in parts(*at, bytes.len()) {
                if keeps() {
                    image.write(place * BLOCK as u64 + offset as u64, &bytes[part]);
                }
            }
        }
        image
    }
}

/// The file system of one file.
struct Server(Arc<Mutex<Content>>);

/// The name and the number of the file.
const DISK: &str = "disk";
const DISK_NUMBER: INodeNo = INodeNo(2);

/// How long the kernel may remember what it was told of a name.
const TTL: Duration = Duration::from_secs(3600);

impl Server {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attributes(&self, number: INodeNo) -> FileAttr {
        let (kind, perm, size) = match number {
            INodeNo::ROOT => (FileType::Directory, 0o700, 0),
            _ => (FileType::RegularFile, 0o600, self.content().image.size),
        };
        FileAttr {
            ino: number,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        }
    }
}

impl Filesystem for Server {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == DISK {
            reply.entry(&TTL, &self.attributes(DISK_NUMBER), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(number));
    }

    fn open(&self, _request: &Request, _number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // No cache in between: what the loop device writes is seen in its order.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let content = self.content();
        let rest = content.image.size.saturating_sub(offset);
        reply.data(
            &content.image.read(offset, usize::try_from(rest).map_or(size as usize, |rest| rest.min(size as usize))),
        );
    }

    fn write(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut content = self.content();
        content.image.write(offset, data);
        if let Some(log) = &mut content.log {
            log.push(Entry::Write(offset, data.to_vec()));
        }
        reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
    }

    fn fsync(&self, _request: &Request, _number: INodeNo, _handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        if let Some(log) = &mut self.content().log {
            log.push(Entry::Flush);
        }
        reply.ok();
    }
}

/// Does something on a thread whose mounts nobody else sees.
pub(crate) fn in_own_mounts<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            tool(Command::new("mount").args(["--make-rprivate", "/"])).expect("mounts of one's own");
            act()
        });
        thread.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    })
}

/// What this machine lacks for such disks, and how to get it.
pub(crate) fn missing(format: Format) -> Option<(String, String)> {
    if !rustix::process::getuid().is_root() {
        return Some(("only root may mount file systems".to_owned(), "run `scripts/powercut.sh` as root".to_owned()));
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            let how = "load the kernel modules `fuse` and `loop`, and let the container have both devices";
            return Some((format!("there is no {device}"), how.to_owned()));
        }
    }
    let (maker, package) = format.maker();
    let mut programs = vec![("mount", "mount"), (maker, package)];
    if format == Format::Btrfs {
        programs.push(("btrfs", package));
    }
    let absent = programs.into_iter().find(|(program, _)| Command::new(program).arg("--version").output().is_err());
    absent.map(|(program, package)| (format!("no {program}"), format!("apt-get install {package}")))
}

/// Runs a program, which has to succeed.
fn tool(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}
