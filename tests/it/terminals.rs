//! The person's terminal: no agent gets it, and what runs by hand has one of its
//! own in front of which Denizen stands.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::fake::{Fake, lives, until};
use crate::support::pty::Pty;
use crate::support::root::{Root, write};

/// A root with a session, and nothing in the way of what runs there.
fn root(test: &str) -> Root {
    let root = Root::new(&format!("terminals::{test}"));
    root.ok(&["send", "alder", "first", "--provider", "notes"]);
    root
}

/// `denizen exec alder -- sh -c`.
fn exec(root: &Root, script: &str) -> Command {
    let mut command = root.denizen();
    command.args(["exec", "alder", "--", "sh", "-c", script]);
    command
}

/// `sh -c`, with `$D` for the program.
fn shell(root: &Root, script: &str) -> Command {
    let mut command = root.command("sh");
    command.args(["-c", script]).env("D", env!("CARGO_BIN_EXE_denizen"));
    command
}

/// A turn has neither the terminal of the person who sent the message nor a way to
/// it, whatever it tries.
#[test]
fn a_turn_has_no_terminal() {
    let root = Root::new("terminals::a_turn_has_no_terminal");
    let body = r#"
        (exec < /dev/tty) 2>/dev/null && say opened || say closed
        trap '' TTOU TTIN
        (stty -echo < /dev/tty) 2>/dev/null && say set || say kept
        for fd in 0 1 2 3 4 5 6 7 8 9; do (eval "[ -t $fd ]") && say "terminal $fd"; done
        set -- $(sed 's/.*) //' /proc/$$/stat); say "terminal of the session: $5"
        echo done"#;
    let fake = Fake::new(&root, body);
    let pty = Pty::new();
    let modes = pty.modes();
    // A descriptor of the terminal is inherited as well.
    let script = format!("exec \"$D\" send alder hello 7<>{} 8>&2", pty.path().display());
    let (code, seen) = pty.start(&root, &shell(&root, &script)).end();
    assert_eq!(
        (code, fake.said()),
        (Some(0), ["closed", "kept", "terminal of the session: 0"].map(str::to_owned).to_vec())
    );
    assert!(seen.contains("done") && pty.modes() == modes, "{seen}");
}

/// The key for interrupt ends the turn as what it is, also in its first moments.
#[test]
fn the_key_for_interrupt_stops_a_turn() {
    let root = Root::new("terminals::the_key_for_interrupt_stops_a_turn");
    let fake = Fake::new(&root, "say begun; sleep 1000 & wait");
    for round in 1..=3 {
        let pty = Pty::new();
        let mut send = root.denizen();
        send.args(["send", "alder", "hello"]);
        let job = pty.start(&root, &send);
        fake.wait_for(round);
        pty.keys("\x03");
        let (code, seen) = job.end();
        assert_eq!(code, Some(1), "{seen}");
        assert!(seen.contains("stopped") && !seen.contains("launcher"), "{seen}");
    }
}

#[test]
fn what_is_no_terminal_is_handed_through_to_the_byte() {
    let root = root("handed_through");
    let bytes: Vec<u8> = (0..10_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as u8).collect();
    let (input, output) = (root.dir().join("in"), root.dir().join("out"));
    fs_err::write(&input, &bytes).expect("written");
    let at = |path: &PathBuf| path.display().to_string();
    for script in [
        format!("\"$D\" exec alder -- cat < {} > {}", at(&input), at(&output)),
        format!("\"$D\" exec alder -- cat {} > {}", at(&input), at(&output)),
        format!("cat {} | \"$D\" exec alder -- cat | cat > {}", at(&input), at(&output)),
        format!("\"$D\" exec alder -- sh -c 'cat >&2' < {} 2> {}", at(&input), at(&output)),
    ] {
        let pty = Pty::new();
        let (code, seen) = pty.start(&root, &shell(&root, &script)).end();
        assert_eq!((code, seen.as_str()), (Some(0), ""), "{script}");
        assert!(fs_err::read(&output).expect("a file") == bytes, "{script}");
        fs_err::remove_file(&output).expect("removed");
    }
    // The end of the input is seen, and the output goes to the terminal.
    let pty = Pty::new();
    let (code, seen) = pty.start(&root, &shell(&root, "echo hello | \"$D\" exec alder -- cat")).end();
    assert_eq!((code, seen.as_str()), (Some(0), "hello\r\n"));
}

/// Nothing of the last words is lost, however much it is.
#[test]
fn all_that_is_printed_arrives() {
    let root = root("all_that_is_printed_arrives");
    let pty = Pty::new();
    let (code, seen) = pty.start(&root, &exec(&root, "seq 1 200000")).end();
    let expected: String = (1..=200_000).map(|n| format!("{n}\r\n")).collect();
    assert!(code == Some(0) && seen == expected, "{} of {}", seen.len(), expected.len());
}

#[test]
fn the_size_follows() {
    let root = root("the_size_follows");
    let pty = Pty::new();
    let job = pty.start(
        &root,
        &exec(&root, "stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"),
    );
    assert!(pty.wait_for("ready").contains("24 80"));
    pty.resize(31, 101);
    let (code, seen) = job.end();
    assert!(code == Some(0) && seen.contains("31 101"), "{seen}");
}

/// The keys are the child's, and its alone.
#[test]
fn the_keys_for_interrupt_and_quit_reach_the_child() {
    let root = root("the_keys_reach_the_child");
    for (key, expected) in [("\x03", Some(130)), ("\x1c", Some(131))] {
        let pty = Pty::new();
        let modes = pty.modes();
        let job = pty.start(&root, &exec(&root, "echo ready; exec sleep 1000"));
        pty.wait_for("ready");
        pty.wait_for_raw(true);
        pty.keys(key);
        assert_eq!(job.end().0, expected);
        assert_eq!(pty.modes(), modes);
    }
    // One that hears it goes on.
    let pty = Pty::new();
    let job = pty.start(
        &root,
        &exec(&root, "trap 'echo heard' INT; echo ready; until read -r line; do :; done; echo \"got $line\""),
    );
    pty.wait_for("ready");
    pty.wait_for_raw(true);
    pty.keys("\x03");
    pty.wait_for("heard");
    pty.keys("word\r");
    pty.wait_for("got word");
    assert_eq!(job.end().0, Some(0));
}

/// Signals that come another way do the same, with a terminal and without.
#[test]
fn a_signal_to_denizen_reaches_the_child() {
    let root = root("a_signal_reaches_the_child");
    let script = "echo $PPID; trap 'echo heard; exit 7' INT; echo ready; while :; do sleep 0.05; done";
    let pty = Pty::new();
    let job = pty.start(&root, &exec(&root, script));
    pty.wait_for("ready");
    let denizen = denizen_of(&root);
    kill_process(denizen, Signal::INT).expect("it runs");
    let (code, seen) = job.end();
    assert!(code == Some(7) && seen.contains("heard"), "{seen}");
    let mut plain = exec(&root, script);
    let child = plain.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a child");
    let denizen = Pid::from_child(&child);
    until("a child of it", || launched(denizen).ok_or_else(|| "none".to_owned()));
    std::thread::sleep(std::time::Duration::from_millis(300));
    kill_process(denizen, Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

/// The shell of the person stops and continues it as any other job.
#[test]
fn the_key_for_stop_stops_the_job() {
    let root = root("the_key_for_stop");
    for (what, script, key) in [
        ("cooked", "sleep 1000 & echo is r$((1))y; wait", "\x1a"),
        (
            "by itself",
            "stty raw -echo; echo is r$((1))y; head -c 1 > /dev/null; kill -STOP $$; echo again; sleep 1000",
            "\r",
        ),
        (
            "its group",
            "stty raw -echo; echo is r$((1))y; head -c 1 > /dev/null; kill -TSTP 0; echo again; sleep 1000",
            "x",
        ),
    ] {
        let pty = Pty::new();
        let mut shell = root.command("sh");
        shell.arg("-i").env("PS1", "prompt> ").env("ENV", "").env("D", env!("CARGO_BIN_EXE_denizen"));
        let job = pty.start(&root, &shell);
        pty.wait_for("prompt> ");
        let modes = pty.modes();
        pty.keys(&format!("\"$D\" exec alder -- sh -c '{script}'\r"));
        pty.wait_for("is r1y");
        pty.wait_for_raw(true);
        pty.keys(key);
        pty.wait_for_raw(false);
        pty.keys("echo in the $((1+1))nd\r");
        pty.wait_for("in the 2nd");
        // What is typed now is the shell's.
        assert_eq!(pty.modes(), modes, "{what}");
        pty.resize(40, 90);
        pty.keys("fg\r");
        pty.wait_for_raw(true);
        if what != "cooked" {
            pty.wait_for("again");
        }
        let child = launched(denizen_of(&root)).expect("a child");
        until("continued", || if state(child) == "T" { Err("T".to_owned()) } else { Ok(()) });
        kill_process(denizen_of(&root), Signal::TERM).expect("it runs");
        pty.wait_for_raw(false);
        pty.keys("echo the $((1+2))rd; exit\r");
        pty.wait_for("the 3rd");
        job.end();
    }
}

/// In a pipeline, the terminal is taken when the child asks for it, and not from
/// others that read it.
#[test]
fn in_a_pipeline_the_keys_are_whose_who_asks() {
    let root = root("in_a_pipeline");
    let pty = Pty::new();
    let reader = "sh -c 'head -n 1; read -r line < /dev/tty; echo \"other: $line\"; cat > /dev/null'";
    let script = format!("\"$D\" exec alder -- sh -c 'echo ready; sleep 1' | {reader}");
    let job = pty.start(&root, &shell(&root, &script));
    pty.wait_for("ready");
    pty.keys("word\r");
    pty.wait_for("other: word");
    assert_eq!(job.end().0, Some(0));
    let pty = Pty::new();
    let modes = pty.modes();
    let script = "\"$D\" exec alder -- sh -c 'read -r line; echo \"child: $line\"' | tr a-z A-Z";
    let job = pty.start(&root, &shell(&root, script));
    pty.wait_for_raw(true);
    pty.keys("word\r");
    pty.wait_for("CHILD: WORD");
    assert_eq!((job.end().0, pty.modes()), (Some(0), modes));
}

/// A child that is killed leaves the terminal to be put in order.
#[test]
fn the_terminal_is_as_before_after_a_kill() {
    let root = root("as_before_after_a_kill");
    let pty = Pty::new();
    let modes = pty.modes();
    let script = "stty raw -echo; printf '\\033[?1049h\\033[?1000h\\033[?25lready'; sleep 0.3; kill -KILL $$";
    let (code, seen) = pty.start(&root, &exec(&root, script)).end();
    assert_eq!((code, pty.modes()), (Some(137), modes));
    let after = seen.split_once("ready").expect("it began").1;
    for undone in ["\x1b[?1049l", "\x1b[?1000l", "\x1b[?25h"] {
        assert!(after.contains(undone), "{after:?}");
    }
}

#[test]
fn the_terminal_is_as_before_when_denizen_is_ended() {
    let root = root("as_before_when_denizen_is_ended");
    for signal in [Signal::TERM, Signal::HUP] {
        let pty = Pty::new();
        let modes = pty.modes();
        let job = pty.start(&root, &exec(&root, "printf '\\033[?1000hready'; exec sleep 1000"));
        pty.wait_for("ready");
        pty.wait_for_raw(true);
        let denizen = denizen_of(&root);
        let child = launched(denizen).expect("a child");
        kill_process(denizen, signal).expect("it runs");
        pty.wait_for_modes(&modes);
        pty.wait_for("\x1b[?1000l");
        // By that signal.
        assert_eq!(job.end().0, Some(128 + signal.as_raw()));
        until("end of the child", || if lives(&child.to_string()) { Err("it runs".to_owned()) } else { Ok(()) });
    }
}

#[test]
fn what_the_agent_prints_is_filtered_on_the_terminal_only() {
    let root = root("filtered");
    let script = "printf 'a\\033]52;c;eA==\\007\\033[21tb\\005c\\n'";
    let pty = Pty::new();
    assert_eq!(pty.start(&root, &exec(&root, script)).end(), (Some(0), "abc\r\n".to_owned()));
    let output = root.run(&["exec", "alder", "--", "sh", "-c", script]);
    assert_eq!(output.stdout, "a\x1b]52;c;eA==\x07\x1b[21tb\x05c\n");
}

/// A child has a terminal like any other: streams that lead to it can be opened,
/// and it can ask its person.
#[test]
fn a_child_can_use_its_terminal() {
    for walls in ["full", "kernel", "off"] {
        let root = root(&format!("can_use_its_terminal-{walls}"));
        let pty = Pty::new();
        let script = "[ -t 0 ] && [ -t 1 ] && echo out > /dev/stdout && echo err > /dev/stderr && \
            printf 'word? ' > /dev/tty && read -r word < /dev/tty && echo \"got $word\" && stty -echo && stty echo && \
            tty >/dev/null && echo in order";
        let mut command = exec(&root, script);
        command.env("DENIZEN_WALLS", walls);
        let job = pty.start(&root, &command);
        let asked = until("the question", || {
            let seen = pty.seen();
            if seen.contains("word? ") || seen.contains("error:") { Ok(seen) } else { Err(seen) }
        });
        if asked.contains("error:") {
            println!("did not run with `walls = \"{walls}\"`: {asked}");
            continue;
        }
        pty.keys("yes\r");
        let (code, seen) = job.end();
        assert!(code == Some(0) && seen.contains("got yes") && seen.contains("in order"), "{walls}: {seen}");
    }
}

/// The question for permission is asked and answered at the person's own terminal,
/// which the agent of that turn does not have.
#[test]
fn a_pasted_script_is_not_read_by_the_agent() {
    let root = root("not_read_by_the_agent");
    write(&root.home().join("script"), "read -r line < /dev/tty; echo \"mine: $line\"\n");
    let fake = Fake::new(&root, "(exec cat < /dev/tty > \"$T/stolen\") 2>/dev/null; say tried; gate");
    let pty = Pty::new();
    let job = pty.start(&root, &shell(&root, "\"$D\" send birch hello & sh script; wait"));
    fake.wait_for(1);
    pty.keys("secret\r");
    pty.wait_for("mine: secret");
    let mut fake = fake;
    fake.release(1);
    job.end();
    assert_eq!(fs_err::read_to_string(root.dir().join("stolen")).unwrap_or_default(), "");
}

/// The `denizen` that runs in a root by hand.
fn denizen_of(root: &Root) -> Pid {
    let program = fs_err::canonicalize(env!("CARGO_BIN_EXE_denizen")).expect("the program");
    let marker = format!("DENIZEN_ROOT={}", root.path().display());
    let found = fs_err::read_dir("/proc").expect("/proc").flatten().find_map(|entry| {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let line = read("cmdline");
        let is_it = std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program)
            && line.split(|byte| *byte == 0).nth(1) == Some(b"exec")
            && String::from_utf8_lossy(&read("environ")).contains(&marker);
        if is_it { entry.file_name().to_str()?.parse().ok() } else { None }
    });
    Pid::from_raw(found.expect("a running denizen")).expect("a number")
}

/// The program that a `denizen` has started, by its launcher; without walls.
fn launched(denizen: Pid) -> Option<Pid> {
    let child = |pid: Pid| {
        let path = format!("/proc/{0}/task/{0}/children", pid.as_raw_nonzero());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Pid::from_raw(text.split_whitespace().next()?.parse().ok()?)
    };
    child(child(denizen)?)
}

/// The state of a process, as `/proc` has it.
fn state(pid: Pid) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").map(|(_, rest)| rest[..1].to_owned()).unwrap_or_default()
}
