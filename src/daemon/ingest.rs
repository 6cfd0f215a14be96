//! Taking a message in: it is durable in the session's queue before its network
//! is told that it was accepted.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::context::{ChannelHandle, Shared, blocking};
use super::session_state::{Work, WorkerState};
use super::{deliver, phrases};
use crate::channel::{Accepted, Attachment, ChannelMessage};
use crate::config::Busy;
use crate::files::{Dir, Durability};
use crate::message::{Inbound, ReplyTo};
use crate::ops::{Control, ControlError, Held};
use crate::session::{Attached, MessageOptions, More, Queue};

/// The largest attachment that is received, in bytes.
const MAX_ATTACHMENT_BYTES: u64 = 25 * 1024 * 1024;

/// How many attachments of one message are received.
const MAX_ATTACHMENTS: usize = 10;

/// The longest name of a received file, in bytes.
const MAX_NAME_BYTES: usize = 80;

/// Takes a message in, or tells its author why not.
pub(super) async fn message(
    shared: Shared,
    state: Arc<WorkerState>,
    network: &'static str,
    incoming: Box<ChannelMessage>,
) {
    let Some(spoken) = shared.network(network) else { return };
    let control = shared.control();
    let id = incoming.id.clone();
    if !spoken.handled.begin(&id) {
        let _told = incoming.accepted.send(Accepted::Kept);
        return;
    }
    let ChannelMessage { accepted, address, .. } = *incoming;
    let incoming =
        ChannelMessage { accepted: tokio::sync::oneshot::channel().0, address: address.clone(), ..*incoming };
    match take(&control, &state, &spoken, incoming).await {
        Ok(()) => {
            let _told = accepted.send(Accepted::Kept);
        }
        Err(error) => {
            let text = phrases::refused(&error);
            shared.note(&state.folder, "a message was refused");
            let nonce = deliver::nonce(&[network, &id, "refused"]);
            deliver::say(&shared, &address, text.clone(), Some(nonce));
            let _told = accepted.send(Accepted::Refused(text));
        }
    }
}

async fn take(
    control: &Arc<Control>,
    state: &WorkerState,
    spoken: &ChannelHandle,
    incoming: ChannelMessage,
) -> Result<(), ControlError> {
    let ChannelMessage { key, title, author, text, attachments, agent, address, id, late, .. } = incoming;
    if spoken.busy == Busy::Merge && attachments.is_empty() {
        let more = More { text: text.clone(), reply: Some(address.clone()), id: Some(id.clone()) };
        if let Some(merged) = state.merge(&author.id, agent.as_deref(), more) {
            let number = merged?;
            let (control, spoken, folder) = (control.clone(), spoken.clone(), state.folder.clone());
            return blocking(move || {
                Queue::open(&control.store, &folder)?.sync(number)?;
                Ok(spoken.handled.keep(&id, control.store.staging()?)?)
            })
            .await;
        }
    }
    let (received, missing) = receive(control, &state.folder, &attachments).await?;
    let inbound = Inbound {
        author: Some(author),
        received,
        options: MessageOptions { agent, ..MessageOptions::default() },
        reply: ReplyTo::Channel(address),
        id: Some(id),
        title,
        late,
        ..Inbound::from_terminal(key, text + &missing)
    };
    let (control, handled) = (control.clone(), spoken.handled.clone());
    let held = blocking(move || accept(&control, &inbound, &handled)).await?;
    if spoken.busy == Busy::Interrupt {
        state.interrupt(None);
    }
    state.push(Work::Turn(Box::new(held)));
    Ok(())
}

/// Writes the message down, then its id. Blocks.
fn accept(control: &Control, inbound: &Inbound, handled: &super::seen::SeenMessages) -> Result<Held, ControlError> {
    let held = match control.accept(inbound) {
        Ok(held) => held,
        Err(error) => {
            if let Some(received) = &inbound.received {
                let queue = control.store.queue_path(&inbound.key.folder_name());
                // Nobody waits for them.
                let _removed = crate::files::remove_whole(&queue.join(&received.directory));
            }
            return Err(error);
        }
    };
    if let Some(id) = &inbound.id
        && let Err(error) =
            control.store.staging().map_err(ControlError::from).and_then(|staging| Ok(handled.keep(id, staging)?))
    {
        // It is accepted all the same: its entry names it until it is answered.
        tracing::warn!("that a message was taken could not be noted: {error}");
    }
    Ok(held)
}

/// Receives the files of a message beside its session's queue. The second part
/// is what the agent is told of those that are missing.
async fn receive(
    control: &Control,
    folder: &str,
    attachments: &[Attachment],
) -> Result<(Option<Attached>, String), ControlError> {
    let mut missing = String::new();
    if attachments.is_empty() {
        return Ok((None, missing));
    }
    let durability = control.store.durability();
    let queue = Queue::open(&control.store, folder)?;
    let (directory, dir) = queue.attachment_dir()?;
    let mut names = BTreeSet::new();
    for (at, attachment) in attachments.iter().enumerate() {
        let name = free_name(&attachment.name, at + 1, &names);
        let received = if at >= MAX_ATTACHMENTS {
            Err(format!("more than {MAX_ATTACHMENTS} files"))
        } else if attachment.size > MAX_ATTACHMENT_BYTES {
            Err(format!("it is larger than {MAX_ATTACHMENT_BYTES} bytes"))
        } else {
            fetch(&dir, &name, attachment, durability).await
        };
        match received {
            Ok(()) => drop(names.insert(name)),
            Err(reason) => {
                let _removed = dir.remove_file(Path::new(&name));
                // The name is free text of somebody: quoted, so that it stays one.
                let shown: String = attachment.name.chars().take(100).collect();
                missing.push_str(&format!("\n\n[the file {shown:?} was not received: {reason}]"));
            }
        }
    }
    if names.is_empty() {
        let _removed = crate::files::remove_whole(dir.path());
        return Ok((None, missing));
    }
    if durability == Durability::Power {
        blocking(move || dir.sync()).await?;
    }
    Ok((Some(Attached { directory, names: names.into_iter().collect() }), missing))
}

async fn fetch(dir: &Dir, name: &str, attachment: &Attachment, durability: Durability) -> Result<(), String> {
    let mut file = dir.create_new(Path::new(name)).map_err(|error| error.to_string())?;
    attachment.fetch.fetch(&mut file, MAX_ATTACHMENT_BYTES).await.map_err(|error| error.to_string())?;
    if durability == Durability::Power {
        blocking(move || file.sync_all()).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A name for a received file: of the one that its author chose, what can only
/// be a part of a name.
fn free_name(chosen: &str, number: usize, taken: &BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let mut name = String::new();
    for c in chosen.trim().trim_start_matches(['.', '-']).chars().map(plain) {
        if name.len() + c.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        name.push(c);
    }
    if name.chars().all(|c| !c.is_alphanumeric()) {
        name = format!("file-{number}");
    }
    if taken.contains(&name) { format!("{number}-{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_file_name_is_never_a_path() {
        let name = |chosen: &str| free_name(chosen, 2, &BTreeSet::from(["taken.txt".to_owned()]));
        for (chosen, expected) in [
            ("report.pdf", "report.pdf"),
            ("../../session.json", "_.._session.json"),
            ("/etc/passwd", "_etc_passwd"),
            ("..", "file-2"),
            ("", "file-2"),
            (".bashrc", "bashrc"),
            ("-rf", "rf"),
            ("a\u{202e}b\nc", "a_b_c"),
            ("naïve 文.txt", "naïve_文.txt"),
            ("taken.txt", "2-taken.txt"),
        ] {
            assert_eq!(name(chosen), expected, "{chosen:?}");
        }
        assert!(name(&"文".repeat(400)).len() <= MAX_NAME_BYTES);
    }
}
