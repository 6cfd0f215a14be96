//! A server in a thread of its own, which stops with the test.

use std::thread;

use tokio::sync::oneshot;

/// A running server.
pub(crate) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Starts one: `begin` opens its ports and spawns what serves them. What it
    /// returns says where they are.
    pub(crate) fn start<T: Send + 'static>(begin: impl AsyncFnOnce() -> T + Send + 'static) -> (Self, T) {
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                assert!(ready.send(begin().await).is_ok(), "the test waits");
                let _dropped = stopped.await;
            });
        });
        (Self { stop: Some(stop), thread: Some(thread) }, started.recv().expect("a server"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
