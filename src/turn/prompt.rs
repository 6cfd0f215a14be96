//! The prompt: the message with its author, its attachments and, as a last
//! resort, the last turns of the transcript.

use std::path::{Path, PathBuf};

use crate::files;
use crate::session::{Author, Message, SessionError, Speaker, WorkspaceGuard};

/// How much of the transcript is replayed, in lines and in bytes.
const REPLAY_LINES: usize = 40;
const REPLAY_BYTES: usize = 32 * 1024;

/// Composes the prompt. Attachments are moved into the session's folder.
pub(super) fn compose(guard: &mut WorkspaceGuard, message: &Message) -> Result<String, SessionError> {
    let mut prompt = String::new();
    if let Some(author) = &message.author {
        prompt.push_str(&author_line(author));
    }
    prompt.push_str(&message.text);
    let received = receive(guard)?;
    if !received.is_empty() {
        prompt.push_str("\n\nAttached files:\n");
        for file in received {
            prompt.push_str(&format!("- {}\n", file.display()));
        }
    }
    Ok(prompt)
}

/// The author as one line of JSON, so that a name is never read as text.
fn author_line(author: &Author) -> String {
    format!("{}\n", serde_json::json!({"from": author.id, "name": author.name}))
}

/// Moves the attachments of the message in hand to `inbox/<entry>/`; returns
/// their paths.
fn receive(guard: &mut WorkspaceGuard) -> Result<Vec<PathBuf>, SessionError> {
    let Some((attached, source)) = guard.claim().attached() else { return Ok(Vec::new()) };
    let names = attached.names.clone();
    let durability = guard.store().durability();
    let entry = guard.claim().message_entry().unwrap_or_default().to_string();
    let inbox = files::Dir::open(&guard.own_dir(&["inbox", &entry])?)?;
    let mut received = Vec::new();
    for name in names {
        let target = inbox.path().join(&name);
        // What stands there is a part of an earlier attempt, or planted.
        inbox.remove_file(Path::new(&name))?;
        // Copied rather than moved: the entry stays whole until it is answered.
        files::copy_new(&source.join(&name), &target, durability)?;
        received.push(target);
    }
    if durability == files::Durability::Power {
        inbox.sync()?;
    }
    Ok(received)
}

/// The prompt, with the last turns before it as a marked block where the
/// conversation that had them is gone.
pub(super) fn with_replay(guard: &WorkspaceGuard, prompt: &str, replay: bool) -> Result<String, SessionError> {
    if !replay {
        return Ok(prompt.to_owned());
    }
    let lines = guard.workspace().last_lines(REPLAY_LINES)?;
    let mut block = Vec::new();
    let mut length = 0;
    for line in lines.iter().rev() {
        let who = match line.who {
            Speaker::User => "user",
            Speaker::Agent => "you",
            Speaker::Denizen => continue,
        };
        let said = format!("{who}: {}\n", line.text);
        length += said.len();
        if length > REPLAY_BYTES {
            break;
        }
        block.push(said);
    }
    if block.is_empty() {
        return Ok(prompt.to_owned());
    }
    let said: String = block.into_iter().rev().collect();
    Ok(format!(
        "<earlier-conversation note=\"the conversation that held these turns was lost; this is its end\">\n{said}</earlier-conversation>\n\n{prompt}"
    ))
}

/// The files that the agent left in `outbox/`; they are moved to
/// `outbox/sent/`, and their new paths returned. What is not a regular file stays.
/// With [`files::Durability::Power`] they survive a power cut, as the reply that
/// names them does; where the disk refuses, the reply itself will hardly be kept.
pub(super) fn outbox(guard: &mut WorkspaceGuard) -> Vec<PathBuf> {
    let Ok(dir) = guard.workspace().dir().open_dir(Path::new("outbox")) else { return Vec::new() };
    let Ok(names) = dir.names() else { return Vec::new() };
    let power = guard.store().durability() == files::Durability::Power;
    let is_own = |name: &&Path| {
        let opened = dir.open_file(name, u64::MAX);
        opened.is_ok_and(|file| {
            let _synced = power.then(|| file.sync_all());
            true
        })
    };
    let left: Vec<_> = names.iter().map(Path::new).filter(is_own).collect();
    if left.is_empty() {
        return Vec::new();
    }
    let Ok(sent) = dir.make_dirs(Path::new("sent")) else { return Vec::new() };
    let time = crate::session::now().strftime("%Y%m%dT%H%M%S%.3fZ").to_string();
    let mut files = Vec::new();
    for name in left {
        let target = if sent.stamp(name).is_ok_and(|found| found.is_none()) {
            name.to_owned()
        } else {
            PathBuf::from(format!("{time}-{}", name.display()))
        };
        if dir.move_entry(name, &sent, &target).is_ok() {
            files.push(sent.path().join(target));
        }
    }
    if power {
        // The last first: each holds the name of the one before.
        let _synced = [&sent, &dir, guard.workspace().dir()].map(files::Dir::sync);
    }
    files.sort();
    files
}
