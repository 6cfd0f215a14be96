//! Sending a message in this process, as somebody who is asked for permission.
//! Everything else of the tests goes through the program.

use std::sync::Arc;
use std::time::Duration;

use denizen::config::{Config, ConfigInputs, Environment};
use denizen::message::Inbound;
use denizen::ops::{Approver, Control, ControlError, SendOptions, Wait};
use denizen::session::{AnswerOutcome, Question, Store};
use denizen::turn::approval::{Decision, PermissionRequest};
use denizen::turn::events::TurnUpdate;
use denizen::turn::{Setup, TurnEvent, TurnEvents, TurnReply};
use tokio::sync::Notify;

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

/// One question that waits, to be answered as any process does it.
#[derive(Clone)]
pub(crate) struct Ask {
    control: Control,
    question: Arc<Question>,
    events: Arc<TurnEvents>,
}

impl Ask {
    /// What is asked for.
    pub(crate) fn detail(&self) -> &str {
        &self.question.detail
    }

    /// Answers it.
    pub(crate) fn decide(&self, decision: Decision) -> AnswerOutcome {
        self.control.decide(&self.question, decision, &Approver::Terminal).expect("written down")
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_over(&self) -> bool {
        !self.events.look(|so_far| so_far.questions.contains_key(&self.question.number))
    }
}

/// Sends a message, and decides about each request as `decide` does, which may
/// also stop the turn.
pub(crate) fn send(root: &Root, key: &str, text: &str, decide: impl FnMut(Ask, &Notify)) -> Sent {
    send_within(root, key, text, Duration::MAX, decide)
}

/// The same, where nobody has longer than this to decide.
pub(crate) fn send_within(
    root: &Root,
    key: &str,
    text: &str,
    patience: Duration,
    mut decide: impl FnMut(Ask, &Notify),
) -> Sent {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let control = control(root);
    let interrupt = Notify::new();
    let events = Arc::new(TurnEvents::default());
    let mut heard = events.subscribe();
    let mut asked = Vec::new();
    let inbound = Inbound::from_terminal(key.parse().expect("a key"), text.to_owned());
    let result = runtime.block_on(async {
        let options = SendOptions { stream: false, interrupt: &interrupt, approvals: Some(patience) };
        let mut wait = Wait { limit: None, events: &events };
        let mut sending = std::pin::pin!(control.send(&inbound, options, &mut wait));
        loop {
            let update = tokio::select! {
                sent = &mut sending => break sent.and_then(|delivery| delivery.delivered().map_err(ControlError::from)),
                Some(update) = heard.next(|so_far| so_far.questions.clone()) => update,
            };
            let questions = match update {
                TurnUpdate::Event(TurnEvent::Asked(question)) => vec![question],
                TurnUpdate::Event(_) => continue,
                TurnUpdate::Missed(questions) => questions.into_values().collect(),
            };
            for question in questions {
                asked.push(PermissionRequest { tool: question.tool.clone(), detail: question.detail.clone() });
                decide(Ask { control: control.clone(), question, events: events.clone() }, &interrupt);
            }
        }
    });
    Sent { result: result.map_err(|error| error.to_string()), asked }
}

/// The operations on a root, as the program would do them.
pub(crate) fn control(root: &Root) -> Control {
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
