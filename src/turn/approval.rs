//! Permission requests of an agent, on their way to a person and back. Who the
//! person is, and how it is asked, is the affair of whoever sends the message.

use std::collections::HashMap;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

pub use crate::provider::{Decision, PermissionRequest};

/// How many requests of one turn may wait for a decision. An agent works on
/// few things at a time; a person who is flooded decides nothing well.
const MAX_OPEN: usize = 16;

/// One request that waits for a decision. It counts for this one use.
#[derive(Debug)]
pub struct PermissionAsk {
    /// What the agent wants to do.
    pub request: PermissionRequest,
    /// Where the decision goes. Dropped, the request is denied. It is closed
    /// where nobody waits for the decision any more: the turn has ended, or the
    /// agent has taken its request back.
    pub decide: oneshot::Sender<Decision>,
}

/// The requests of one attempt that wait for a decision. When it is dropped,
/// so are they.
#[derive(Debug)]
pub(super) struct PendingApprovals<'a> {
    approvals: Option<&'a mpsc::Sender<PermissionAsk>>,
    open: JoinSet<(String, Decision)>,
    handles: HashMap<String, AbortHandle>,
    closed: bool,
}

impl<'a> PendingApprovals<'a> {
    pub(super) fn new(approvals: Option<&'a mpsc::Sender<PermissionAsk>>) -> Self {
        Self { approvals, open: JoinSet::new(), handles: HashMap::new(), closed: false }
    }

    /// Asks. What cannot be asked is answered at once; once the turn is ending,
    /// nothing is.
    pub(super) fn ask(&mut self, id: String, request: PermissionRequest) -> Option<Decision> {
        if self.closed {
            return None;
        }
        let Some(approvals) = self.approvals else { return Some(no_answer()) };
        if self.handles.len() >= MAX_OPEN {
            return Some(Decision::Deny(format!("{MAX_OPEN} other requests wait for a decision already")));
        }
        if self.handles.contains_key(&id) {
            return Some(Decision::Deny("another request of that number waits already".to_owned()));
        }
        let (decide, decided) = oneshot::channel();
        let approvals = approvals.clone();
        let number = id.clone();
        let handle = self.open.spawn(async move {
            let asked = approvals.send(PermissionAsk { request, decide }).await;
            let decision = if asked.is_ok() { decided.await.ok() } else { None };
            (number, decision.unwrap_or_else(no_answer))
        });
        self.handles.insert(id, handle);
        None
    }

    /// The agent no longer wants to know.
    pub(super) fn withdraw(&mut self, id: &str) {
        if let Some(handle) = self.handles.remove(id) {
            handle.abort();
        }
    }

    /// The turn is ending: nobody wants to know any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.handles.clear();
        self.open.abort_all();
    }

    /// Waits for the next decision; forever if nothing was asked.
    pub(super) async fn decided(&mut self) -> (String, Decision) {
        loop {
            match self.open.join_next().await {
                Some(Ok((id, decision))) => {
                    // One that was decided and withdrawn in the same moment is withdrawn.
                    if self.handles.remove(&id).is_some() {
                        return (id, decision);
                    }
                }
                Some(Err(_withdrawn)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

fn no_answer() -> Decision {
    Decision::Deny("nobody decided about it in time".to_owned())
}
