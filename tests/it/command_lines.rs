//! Argument lists can be read by every user of the machine: nothing of what
//! people wrote stands in them, and none of the directories that a session was
//! given. Looked at in `/proc`, for everything that a turn starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::clis::{Cli, Clis, Login};
use crate::support::fake::Running;
use crate::support::model::{Model, reply};
use crate::support::root::{Root, write};

/// Words that are planted where people write: in `AGENTS.md`, in memory, in the
/// message, in the names of a directory that is shared and of one that is granted.
const WORDS: &[&str] = &["bittern", "curlew", "dunlin", "egret", "fulmar"];

/// Collects the argument lists of everything below a process until it is told to
/// stop.
fn collect(root: u32, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut seen = std::collections::BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            let mut below = vec![root];
            while let Some(pid) = below.pop() {
                let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
                let children = read(&format!("task/{pid}/children"));
                below.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
                if pid != root {
                    seen.insert(read("cmdline").replace('\0', " "));
                }
            }
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        seen.into_iter().collect()
    })
}

/// What is planted beside the configuration of the provider: a share. Gives the
/// directory that is granted later.
fn plant_directories(root: &Root) -> PathBuf {
    let (shared, granted) = (root.home().join("egret"), root.home().join("fulmar"));
    for dir in [&shared, &granted] {
        write(&dir.join("file"), "");
    }
    let config = fs_err::read_to_string(root.path().join("denizen.toml")).expect("the configuration");
    let share = format!("[[share]]\nsessions = [\"alder\"]\npath = \"{}\"\n", shared.display());
    let may = format!("working_dirs = [\"{}\"]\n", root.home().display());
    root.write_config(&format!("{may}{config}\n{share}"));
    granted
}

/// Takes a turn, and gives the argument lists of all that it started. The message
/// comes on standard input, as it does from a chat.
fn turn(root: &Root) -> Vec<String> {
    let message = root.dir().join("message");
    write(&message, "hello dunlin");
    let mut command = root.command("/bin/sh");
    command.args(["-c", "exec \"$0\" send alder - < \"$1\"", env!("CARGO_BIN_EXE_denizen")]).arg(message);
    let running = Running::start(command);
    let stop = Arc::new(AtomicBool::new(false));
    let collected = collect(running.pid().as_raw_nonzero().get().unsigned_abs(), stop.clone());
    let output = running.end();
    stop.store(true, Ordering::Relaxed);
    assert_eq!((output.code, output.stdout.trim()), (Some(0), "heard"), "{output:?}");
    collected.join().expect("collected")
}

/// Turns in the own folder and in a granted directory, in every mode.
fn nothing_is_told_in_arguments(root: &mut Root, program: &str) {
    let granted = plant_directories(root);
    root.ok(&["send", "alder", "hello"]);
    write(&root.session("alder").join("AGENTS.md"), "never scare the bittern\n");
    write(&root.session("alder").join("memory/MEMORY.md"), "the curlew is shy\n");
    for walls in ["full", "kernel", "off"] {
        root.set_env("DENIZEN_WALLS", walls);
        for dir in ["--home", granted.to_str().expect("a text")] {
            root.ok(&["cd", "alder", dir]);
            let lines = turn(root);
            assert!(lines.iter().any(|line| line.contains(program)), "{walls}: it was not seen: {lines:#?}");
            // What the CLI itself starts is its own affair, as Claude's `git` and `rg`
            // are. OpenCode is told a granted directory, once after it was given.
            let own = |line: &str| !line.starts_with("git ") && !line.starts_with("rg ");
            let once = |line: &str| line.contains(" db update session set directory='");
            let lines = lines.iter().filter(|line| own(line) && !once(line));
            let told: Vec<_> = lines.filter(|line| WORDS.iter().any(|word| line.contains(word))).collect();
            assert!(told.is_empty(), "{walls}, {dir}: {told:#?}");
        }
    }
}

#[test]
fn of_any_program_nothing_is_told_in_arguments() {
    let mut root = Root::new("of_any_program_nothing_is_told_in_arguments");
    root.write_config(
        "provider = \"fake\"\n[providers.fake]\nprogram = \"/bin/sh\"\nargs = [\"-c\", \"sleep 0.1; echo heard\"]\n",
    );
    nothing_is_told_in_arguments(&mut root, "echo heard");
}

fn of_a_cli(cli: Cli, test: &str) {
    let Some(clis) = Clis::find(test) else { return };
    let mut root = Root::new(test);
    let model = Model::start(&root, &clis, vec![reply("", "heard")]);
    cli.set_up(&mut root, &clis, &model, Login::File);
    nothing_is_told_in_arguments(&mut root, cli.name());
    let told = model.requests().iter().any(|request| request.body.contains("bittern"));
    assert!(told, "the model was told the instructions all the same");
}

#[test]
fn of_claude_nothing_is_told_in_arguments() {
    of_a_cli(Cli::Claude, "of_claude_nothing_is_told_in_arguments");
}

#[test]
fn of_codex_nothing_is_told_in_arguments() {
    of_a_cli(Cli::Codex, "of_codex_nothing_is_told_in_arguments");
}

#[test]
fn of_opencode_nothing_is_told_in_arguments() {
    of_a_cli(Cli::OpenCode, "of_opencode_nothing_is_told_in_arguments");
}

#[test]
fn of_gemini_nothing_is_told_in_arguments() {
    of_a_cli(Cli::Gemini, "of_gemini_nothing_is_told_in_arguments");
}
