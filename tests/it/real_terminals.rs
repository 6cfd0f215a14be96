//! With every real CLI: `attach` has its own terminal UI on a terminal, which
//! follows the size and the keys, and leaves the terminal as it was.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::clis::{Cli, Clis, Login};
use crate::support::fake::until;
use crate::support::model::{Model, reply};
use crate::support::pty::Pty;
use crate::support::root::Root;

#[test]
fn claude_has_its_terminal() {
    has_its_terminal(Cli::Claude, "claude_has_its_terminal", "Claude");
}

#[test]
fn codex_has_its_terminal() {
    has_its_terminal(Cli::Codex, "codex_has_its_terminal", "continue");
}

#[test]
fn opencode_has_its_terminal() {
    has_its_terminal(Cli::OpenCode, "opencode_has_its_terminal", "OC | hello");
}

#[test]
fn gemini_has_its_terminal() {
    has_its_terminal(Cli::Gemini, "gemini_has_its_terminal", "workspace");
}

fn has_its_terminal(cli: Cli, test: &str, drawn: &str) {
    let Some(clis) = Clis::find(test) else { return };
    let mut root = Root::new(test);
    let model = Model::start(&root, &clis, vec![reply("", "heard")]);
    cli.set_up(&mut root, &clis, &model, Login::File);
    root.ok(&["send", "alder", "hello"]);
    let mut attach = root.denizen();
    attach.args(["attach", "alder"]);
    for by_key in [true, false] {
        let pty = Pty::new();
        let modes = pty.modes();
        let mut job = pty.start(&root, &attach);
        pty.wait_for(drawn);
        pty.wait_for_raw(true);
        // All of it is drawn again for another size.
        let before = pty.quiet();
        pty.resize(30, 70);
        until("another drawing", || if pty.seen().len() > before { Ok(()) } else { Err(String::new()) });
        if by_key {
            while job.runs() {
                pty.keys("\x03");
                std::thread::sleep(Duration::from_millis(300));
            }
        } else {
            for pid in below(&root.session("alder")) {
                let _killed = kill_process(pid, Signal::KILL);
            }
        }
        let (code, seen) = job.end();
        assert_eq!(pty.modes(), modes, "{cli:?} {by_key}: {code:?}");
        for (mode, on) in
            [(1000, false), (1002, false), (1003, false), (1004, false), (1049, false), (2004, false), (25, true)]
        {
            let last = |last| seen.rfind(&format!("\x1b[?{mode}{last}"));
            let (set, reset) = if on { (last('l'), last('h')) } else { (last('h'), last('l')) };
            assert!(set <= reset, "{cli:?} {by_key}: {mode} was left: {}", seen.escape_debug());
        }
    }
}

/// The processes inside a session's walls, by the program that was started: not
/// Denizen's own.
fn below(session: &std::path::Path) -> Vec<Pid> {
    let own = fs_err::canonicalize(env!("CARGO_BIN_EXE_denizen")).expect("the program");
    let entries = fs_err::read_dir("/proc").expect("/proc").flatten();
    let inside = entries.filter(|entry| {
        let link = |name: &str| std::fs::read_link(entry.path().join(name)).unwrap_or_default();
        link("cwd") == session && link("exe") != own && !link("exe").ends_with("bwrap")
    });
    inside.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}
