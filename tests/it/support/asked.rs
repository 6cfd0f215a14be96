//! Sending a message in this process, as somebody who is asked for permission.
//! Everything else of the tests goes through the program.

use std::sync::Arc;

use denizen::config::{Config, ConfigInputs, Environment};
use denizen::message::Inbound;
use denizen::ops::{Control, ControlError, SendOptions, Wait};
use denizen::session::Store;
use denizen::turn::approval::{PermissionAsk, PermissionRequest};
use denizen::turn::{Setup, TurnReply};
use tokio::sync::{Notify, mpsc};

use super::root::Root;

/// What became of a message, and what was asked for meanwhile.
pub(crate) struct Sent {
    /// The reply, or why there was none.
    pub(crate) result: Result<TurnReply, String>,
    /// Everything that was asked for, as it was shown.
    pub(crate) asked: Vec<PermissionRequest>,
}

impl Sent {
    /// The text of the reply.
    pub(crate) fn text(&self) -> &str {
        self.result.as_ref().map_or_else(|error| panic!("{error}: {:?}", self.asked), |reply| reply.text.as_str())
    }

    /// What was asked for, in one line each.
    pub(crate) fn details(&self) -> Vec<&str> {
        self.asked.iter().map(|request| request.detail.as_str()).collect()
    }
}

/// Sends a message, and decides about each request as `decide` does, which may
/// also stop the turn.
pub(crate) fn send(root: &Root, key: &str, text: &str, mut decide: impl FnMut(PermissionAsk, &Notify)) -> Sent {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let control = control(root);
    let interrupt = Notify::new();
    let (asking, mut asks) = mpsc::channel(1);
    let mut asked = Vec::new();
    let inbound = Inbound::from_terminal(key.parse().expect("a key"), text.to_owned());
    let result = runtime.block_on(async {
        let options = SendOptions { stream: false, interrupt: &interrupt, approvals: Some(&asking) };
        let mut wait = Wait { limit: None, tell: &mut |_| {} };
        let mut sending = std::pin::pin!(control.send(&inbound, options, &mut wait));
        loop {
            tokio::select! {
                sent = &mut sending => break sent.and_then(|delivery| delivery.delivered().map_err(ControlError::from)),
                Some(ask) = asks.recv() => {
                    asked.push(ask.request.clone());
                    decide(ask, &interrupt);
                }
            }
        }
    });
    Sent { result: result.map_err(|error| error.to_string()), asked }
}

/// The operations on a root, as the program would do them.
fn control(root: &Root) -> Control {
    let environment: Environment = root.environment().into_iter().collect();
    let (path, home) = (root.path(), root.home());
    let config = Config::load(ConfigInputs {
        root: &path,
        home: Some(&home),
        file: &path.join("denizen.toml"),
        required: false,
        environment: &environment,
        overrides: &[],
    });
    let config = config.expect("a configuration");
    let store = Arc::new(Store::at(&path, config.durability));
    let launcher = env!("CARGO_BIN_EXE_denizen").into();
    Control { setup: Arc::new(Setup::attended(config, environment, Some(home), launcher)), store }
}
