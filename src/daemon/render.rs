//! What is posted for a turn: computed from what is recorded and nothing else,
//! so that a delivery that is taken up again posts the same pieces.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use crate::channel::{Button, ButtonStyle, ChannelClient, Post, Upload};
use crate::files;
use crate::session::{Message, Recorded, Workspace};

/// How many messages a reply may take. A longer one is sent as a file.
const MOST_PIECES: usize = 5;

/// How much of a long reply is shown above its file, in characters.
const HEAD_CHARACTERS: usize = 600;

/// What is posted for a turn, in order. `entry` is that of its message.
pub(super) fn reply(
    network: &dyn ChannelClient,
    workspace: &Workspace,
    message: &Message,
    recorded: &Recorded,
    entry: u64,
) -> Vec<Post> {
    let limits = network.limits();
    let mut text = recorded.text.trim().to_owned();
    if let Some(reason) = &recorded.failed {
        append(&mut text, &failed(reason));
    }
    let mut notices = recorded.notices.clone();
    let mut uploads = Vec::new();
    for file in &recorded.files {
        match upload(workspace, file, limits.file_bytes) {
            Ok(upload) => uploads.push(upload),
            Err(reason) => notices.push(format!("the file {:?} is not sent: {reason}", name_of(file))),
        }
    }
    for notice in notices {
        append(&mut text, &format!("Note: {notice}"));
    }
    if text.is_empty() && uploads.is_empty() {
        text = "(The agent said nothing.)".to_owned();
    }
    if message.late {
        text.insert_str(0, "(To a message that came while I was not connected)\n\n");
    }
    let mut pieces = network.split(&text);
    if pieces.len() > MOST_PIECES
        && let Ok(whole) = in_memory("reply.md", text.as_bytes())
        && whole.size <= limits.file_bytes
    {
        let head: String = text.chars().take(HEAD_CHARACTERS).collect();
        let head = format!("{head}…\n\n(The whole reply is in the file, {} characters.)", text.chars().count());
        pieces = network.split(&head);
        uploads.insert(0, whole);
    }
    let mut posts: Vec<Post> = pieces.into_iter().map(|text| Post { text, ..Post::default() }).collect();
    for files in uploads.chunks(limits.files.max(1)) {
        posts.push(Post { files: files.to_vec(), ..Post::default() });
    }
    if let Some(first) = posts.first_mut() {
        first.reply = true;
    }
    if recorded.failed.is_some()
        && let Some(last) = posts.last_mut()
    {
        last.buttons = vec![retry_button(entry)];
    }
    posts
}

/// What is said of a turn that failed.
pub(super) fn failed(reason: &str) -> String {
    format!("⚠ {reason}")
}

/// The button that sends a message again.
pub(super) fn retry_button(entry: u64) -> Button {
    Button { id: format!("retry:{entry}"), label: "Retry".to_owned(), style: ButtonStyle::Primary }
}

/// The button that lets go of a message that was interrupted.
pub(super) fn dismiss_button(entry: u64) -> Button {
    Button { id: format!("dismiss:{entry}"), label: "Dismiss".to_owned(), style: ButtonStyle::Secondary }
}

/// The button that stops a turn.
pub(super) fn stop_button(entry: u64) -> Button {
    Button { id: format!("stop:{entry}"), label: "Stop".to_owned(), style: ButtonStyle::Danger }
}

fn append(text: &mut String, paragraph: &str) {
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(paragraph);
}

/// A file of the session's own, opened through no link.
fn upload(workspace: &Workspace, file: &Path, most: u64) -> Result<Upload, String> {
    let opened = workspace.dir().open_file(file, most).map_err(|error| match error {
        files::Error::TooLarge { size, .. } => format!("it has {size} bytes, at most {most} can be sent here"),
        error => error.to_string(),
    })?;
    let size = opened.metadata().map_err(|error| error.to_string())?.len();
    Ok(Upload { name: name_of(file), file: Arc::new(opened), size })
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file that exists in memory only.
fn in_memory(name: &str, bytes: &[u8]) -> std::io::Result<Upload> {
    let mut file = File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(Upload { name: name.to_owned(), file: Arc::new(file), size: bytes.len() as u64 })
}
