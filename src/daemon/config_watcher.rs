//! Where the configuration comes from, and hearing when it changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};

use super::event::LoopEvent;
use crate::config::{Config, ConfigError, ConfigInputs, Environment};

/// How long a file has to be left alone before it is read: editors write in
/// several steps.
const SETTLED: Duration = Duration::from_millis(100);

/// Everything that the configuration is made from.
#[derive(Debug, Clone)]
pub struct ConfigSource {
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

impl ConfigSource {
    /// Reads the configuration.
    ///
    /// # Errors
    /// If it is unreadable, untrusted or wrong.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(ConfigInputs {
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
    pub(super) async fn watch(self, events: mpsc::Sender<LoopEvent>) {
        if let Err(error) = self.report(&events).await {
            tracing::warn!("changes of `{}` are not seen before a restart: {error}", self.file.display());
        }
    }

    async fn report(&self, events: &mpsc::Sender<LoopEvent>) -> notify::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        let name = self.file.file_name().unwrap_or_default().to_owned();
        let changed = FileWatch::new(directory, move |path| path.file_name() == Some(&name))?;
        loop {
            changed.changed().await;
            while tokio::time::timeout(SETTLED, changed.changed()).await.is_ok() {}
            if events.send(LoopEvent::Config(Box::new(self.load()))).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Hears of changes of some files of a directory, and of nothing below it.
pub(super) struct FileWatch {
    changed: Arc<Notify>,
    // It watches as long as it lives.
    _watcher: RecommendedWatcher,
}

impl FileWatch {
    /// Begins to watch the files of a directory whose path `fits`.
    pub(super) fn new(directory: &Path, fits: impl Fn(&Path) -> bool + Send + 'static) -> notify::Result<Self> {
        let changed = Arc::new(Notify::new());
        let tell = changed.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // After an error or a flood nobody knows what happened.
            if event.map_or(true, |event| event.need_rescan() || has_changed(&event, &fits)) {
                tell.notify_one();
            }
        })?;
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(Self { changed, _watcher: watcher })
    }

    /// Waits until something has changed since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Whether an event says that a file is another now. That somebody reads it, as
/// is done here, says nothing.
fn has_changed(event: &notify::Event, fits: impl Fn(&Path) -> bool) -> bool {
    let read = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    !read && event.paths.iter().any(|path| fits(path))
}
