//! What is in force now: the configuration, and the networks that are connected.
//! Lanes look at it at each use, because both may change while they work.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::event::LoopEvent;
use super::log;
use super::questions::OpenQuestions;
use super::seen::SeenMessages;
use super::stage::ShutdownStage;
use crate::channel::ChannelClient;
use crate::config::Busy;
use crate::ops::Control;

/// What is in force now.
#[derive(Clone)]
pub(super) struct DaemonContext {
    /// The operations on sessions, with the configuration in force.
    pub(super) control: Arc<Control>,
    /// The networks that were started.
    pub(super) networks: BTreeMap<&'static str, ChannelHandle>,
}

/// A network that was started.
#[derive(Clone)]
pub(super) struct ChannelHandle {
    pub(super) network: Arc<dyn ChannelClient>,
    /// The messages of it that were taken.
    pub(super) handled: Arc<SeenMessages>,
    /// What becomes of a message for a busy session.
    pub(super) busy: Busy,
    /// How long a question for permission waits.
    pub(super) approval_timeout: Duration,
    /// Whether the connection stands.
    pub(super) connected: bool,
}

/// What all tasks of the daemon share.
#[derive(Clone)]
pub(super) struct Shared {
    now: watch::Receiver<DaemonContext>,
    /// How far the daemon is on its way out.
    pub(super) stage: watch::Receiver<ShutdownStage>,
    /// Takes what happens.
    pub(super) events: mpsc::Sender<LoopEvent>,
    /// The questions of agents that wait for an answer.
    pub(super) questions: Arc<OpenQuestions>,
    logs: PathBuf,
}

impl Shared {
    pub(super) fn new(
        now: watch::Receiver<DaemonContext>,
        stage: watch::Receiver<ShutdownStage>,
        events: mpsc::Sender<LoopEvent>,
    ) -> Self {
        let logs = now.borrow().control.store.root().join("logs/sessions");
        Self { now, stage, events, questions: Arc::default(), logs }
    }

    /// The operations on sessions, with the configuration in force.
    pub(super) fn control(&self) -> Arc<Control> {
        self.now.borrow().control.clone()
    }

    /// A network that was started.
    pub(super) fn network(&self, name: &str) -> Option<ChannelHandle> {
        self.now.borrow().networks.get(name).cloned()
    }

    /// Whether the daemon is on its way out.
    pub(super) fn leaves(&self) -> bool {
        *self.stage.borrow() >= ShutdownStage::Leave
    }

    /// Waits until the daemon is on its way out.
    pub(super) async fn leaving(&self) {
        let mut stage = self.stage.clone();
        // An error means that nobody is left who could say it.
        let _said = stage.wait_for(|stage| *stage >= ShutdownStage::Leave).await.is_ok();
    }

    /// Waits for a while; `false` if the daemon leaves meanwhile.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.leaving() => false,
        }
    }

    /// Notes in the log of a session, and in the daemon's, what happened to it.
    pub(super) fn note(&self, folder: &str, what: &str) {
        tracing::info!(session = folder, "{what}");
        log::session(&self.logs, folder, what);
    }
}

/// Runs something that blocks, such as a sync, off the loop.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
