//! Where the configuration comes from, and hearing when it changed.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::event::Event;
use crate::config::{Config, ConfigError, Environment, Inputs};

/// How long a file has to be left alone before it is read: editors write in
/// several steps.
const SETTLED: Duration = Duration::from_millis(100);

/// Everything that the configuration is made from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The root, against which relative paths are read.
    pub root: PathBuf,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// The configuration file.
    pub file: PathBuf,
    /// Whether it is an error that the file does not exist.
    pub required: bool,
    /// The environment.
    pub environment: Environment,
    /// Keys and values from the command line.
    pub overrides: Vec<(String, String)>,
    /// The directory that the daemon was started in.
    pub here: PathBuf,
}

impl Source {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Where it is unreadable, untrusted or wrong.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(Inputs {
            root: &self.root,
            home: self.home.as_deref(),
            file: &self.file,
            required: self.required,
            environment: &self.environment,
            overrides: &self.overrides,
        })
    }

    /// Reports each change of the configuration file, until nobody listens. The
    /// directory is watched, because a file that is replaced is another file.
    pub(super) async fn watch(self, events: mpsc::Sender<Event>) {
        if let Err(error) = self.report(&events).await {
            tracing::warn!("changes of `{}` are not seen before a restart: {error}", self.file.display());
        }
    }

    async fn report(&self, events: &mpsc::Sender<Event>) -> std::io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        let name = self.file.file_name().unwrap_or_default();
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let what = inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
        inotify::add_watch(&watch, directory, what)?;
        #[expect(deprecated, reason = "its successor is unsafe to call; an owned descriptor is what both ask for")]
        let watch = AsyncFd::with_interest(watch, Interest::READABLE)?;
        loop {
            wait_for(&watch, name).await?;
            while tokio::time::timeout(SETTLED, wait_for(&watch, name)).await.is_ok() {}
            if events.send(Event::Config(Box::new(self.load()))).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Waits until something happened to the file of a name, or to so many files
/// that nobody knows.
async fn wait_for(watch: &AsyncFd<impl AsFd + std::os::fd::AsRawFd>, name: &std::ffi::OsStr) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    loop {
        let mut ready = watch.readable().await?;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch.get_ref(), &mut buffer);
        let mut seen = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let is_it = event.file_name().is_some_and(|found| found.to_bytes() == name.as_bytes());
                    seen |= is_it || event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        if seen {
            return Ok(());
        }
    }
}
