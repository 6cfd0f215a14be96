//! `denizen __notes`: the program behind the built-in provider `notes`.
//!
//! `remember <text>` is kept in `MEMORY.md`, `what did I say` lists this
//! conversation's messages, anything else is answered with the notes that share
//! a word with it and the number of the turn. Its protocol is in
//! `provider/notes.rs`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Serialize, Deserialize)]
struct NotedExchange {
    said: String,
    replied: String,
}

pub(super) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    match answer(&args) {
        Ok((id, reply)) => {
            for line in [json!({"conversation": id}), json!({"text": reply}), json!({"done": true})] {
                print(&line);
            }
            ExitCode::SUCCESS
        }
        Err(reason) => {
            print(&json!({"failed": reason}));
            ExitCode::FAILURE
        }
    }
}

fn print(line: &serde_json::Value) {
    // Where nobody listens, there is nobody to tell.
    let _written = writeln!(std::io::stdout(), "{line}");
}

fn answer(args: &[OsString]) -> Result<(String, String), String> {
    let [conversations, memory, mode, id, rest @ ..] = args else { return Err("it was started wrongly".to_owned()) };
    let (conversations, memory) = (PathBuf::from(conversations), PathBuf::from(memory).join("MEMORY.md"));
    let id = id.to_string_lossy().into_owned();
    let file_of = |id: &str| conversations.join(format!("{id}.jsonl"));
    let mut said = String::new();
    std::io::stdin().read_to_string(&mut said).map_err(|error| format!("the message cannot be read: {error}"))?;
    let said = without_author(&said).trim().to_owned();
    if said.is_empty() {
        // Nobody sends that: whoever was about to write the message is gone.
        return Err("the message is empty".to_owned());
    }
    let (mut past, mut file) = match mode.to_str() {
        Some("resume") => (read(&file_of(&id))?, open(&file_of(&id), false)?),
        Some("fresh") => (Vec::new(), open(&file_of(&id), true)?),
        Some("fork") => {
            let source = rest.first().map(|id| id.to_string_lossy().into_owned()).unwrap_or_default();
            let past = read(&file_of(&source))?;
            let mut file = open(&file_of(&id), true)?;
            for exchange in &past {
                write(&mut file, exchange)?;
            }
            (past, file)
        }
        _ => return Err("it was started wrongly".to_owned()),
    };
    let replied = reply(&said, &past, &memory)?;
    let exchange = NotedExchange { said, replied };
    write(&mut file, &exchange)?;
    past.push(exchange);
    Ok((id, past.pop().map(|exchange| exchange.replied).unwrap_or_default()))
}

/// What was said, without the line that says who did in a chat.
fn without_author(said: &str) -> &str {
    let Some((line, rest)) = said.split_once('\n') else { return said };
    let author: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(line).ok();
    if author.is_some_and(|author| author.contains_key("from")) { rest } else { said }
}

fn reply(said: &str, past: &[NotedExchange], memory: &Path) -> Result<String, String> {
    let turn = past.len() + 1;
    if let Some(note) = said.strip_prefix("remember ") {
        let mut file = append(memory, false).map_err(|error| format!("{}: {error}", memory.display()))?;
        writeln!(file, "- {}", note.replace('\n', " ")).map_err(|error| format!("{}: {error}", memory.display()))?;
        return Ok(format!("Noted: {note} (turn {turn})"));
    }
    if said.to_lowercase().starts_with("what did i say") {
        let list: Vec<String> =
            past.iter().enumerate().map(|(at, past)| format!("{}. {}", at + 1, past.said)).collect();
        return Ok(if list.is_empty() { format!("Nothing yet (turn {turn})") } else { list.join("\n") });
    }
    let words = words_of(said);
    let notes = std::fs::read_to_string(memory).unwrap_or_default();
    let fitting: Vec<&str> =
        notes.lines().filter(|line| words_of(line).iter().any(|word| words.contains(word))).collect();
    Ok(if fitting.is_empty() {
        format!("I have no note about that (turn {turn}). `remember <text>` makes one.")
    } else {
        format!("{}\n(turn {turn})", fitting.join("\n"))
    })
}

/// The words of a text that say something: three letters or more.
fn words_of(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= 3);
    words.map(str::to_lowercase).filter(|word| !["the", "and", "what", "are", "you"].contains(&word.as_str())).collect()
}

fn read(file: &Path) -> Result<Vec<NotedExchange>, String> {
    let text = std::fs::read_to_string(file).map_err(|_| "no such conversation".to_owned())?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn open(file: &Path, new: bool) -> Result<File, String> {
    append(file, new).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => "that conversation exists".to_owned(),
        _ => format!("{}: {error}", file.display()),
    })
}

fn append(file: &Path, new: bool) -> std::io::Result<File> {
    OpenOptions::new().read(true).append(true).create(!new).create_new(new).mode(0o600).open(file)
}

fn write(file: &mut File, exchange: &NotedExchange) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the conversation cannot be written: {error}");
    let size = file.metadata().map_err(failed)?.len();
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1).map_err(failed)?;
    }
    // A copy that was made in the middle of a turn may end within a line.
    let start = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{start}{}\n", json!(exchange)).as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_swallows_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("c.jsonl");
        let exchange = |said: &str| NotedExchange { said: said.to_owned(), replied: String::new() };
        let mut file = open(&path, true).expect("a file");
        write(&mut file, &exchange("one")).expect("written");
        file.write_all(b"{\"said\": \"cut sh").expect("written");
        write(&mut file, &exchange("two")).expect("written");
        let said: Vec<String> = read(&path).expect("read").into_iter().map(|exchange| exchange.said).collect();
        assert_eq!(said, ["one", "two"]);
    }

    #[test]
    fn who_said_it_is_not_what_was_said() {
        assert_eq!(without_author("{\"from\":\"7\",\"name\":\"Ann\"}\nremember it"), "remember it");
        for text in ["remember it", "{\"a\": 1}\nremember it", "{\nremember it"] {
            assert_eq!(without_author(text), text);
        }
    }

    #[test]
    fn notes_are_found_by_their_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let memory = dir.path().join("MEMORY.md");
        let said = |text: &str| reply(text, &[], &memory).expect("a reply");
        assert_eq!(said("remember the garden gate is blue"), "Noted: the garden gate is blue (turn 1)");
        assert_eq!(said("which colour has the gate?"), "- the garden gate is blue\n(turn 1)");
        assert_eq!(said("hello"), "I have no note about that (turn 1). `remember <text>` makes one.");
    }
}
