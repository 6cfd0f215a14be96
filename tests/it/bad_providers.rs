//! Providers that are not there, or do not behave: the turn ends in time, the
//! person is told why, the session goes on, and memory stays bounded.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::fake::Fake;
use crate::support::root::{Root, write};
use crate::support::tree::Tree;
use crate::support::words::words;

const AGAIN: &str = "hint: `denizen retry <key>` sends the message again";

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let root = Root::new("a_program_that_cannot_be_started_is_named");
    let plain = root.dir().join("plain");
    write(&plain, "#!/bin/sh\necho heard\n");
    let install = "hint: install it, or set `providers.mine.program` in denizen.toml to where it is";
    for program in ["/no/such/program", "no-such-program", "relative/program", &plain.display().to_string()] {
        root.write_config(&format!("provider = \"mine\"\n[providers.mine]\nprogram = \"{program}\"\n"));
        let before = Tree::of(&[root.path()]);
        let shown = program.replace(&root.dir().display().to_string(), "~test");
        assert_eq!(
            words(&root, &root.run(&["send", "alder", "x"])),
            format!(
                "2\nerror: the program `{shown}` of the provider `mine` is not there, or is not executable\n{install}"
            )
        );
        before.assert_same(&Tree::of(&[root.path()]), program);
    }
    // Executable, and no program all the same.
    write(&plain, "#!/no/such/interpreter\n");
    fs_err::set_permissions(&plain, PermissionsExt::from_mode(0o700)).expect("a mode");
    assert_eq!(
        words(&root, &root.run(&["send", "alder", "x"])),
        format!("3\nerror: mine: could not be started: ~test/plain: No such file or directory (os error 2)\n{AGAIN}")
    );
}

/// What a `claude` prints, and what is said of it.
const BAD: &[(&str, &str, &str)] = &[
    ("nothing", "exit 0", "it ended with exit code 0 and without a final event"),
    ("nothing, and fails", "exit 7", "it ended with exit code 7 and without a final event"),
    (
        "an error",
        "echo 'first line' >&2; echo 'it is \u{1b}[31mbroken\u{1b}[0m' >&2; exit 1",
        "first line · it is broken",
    ),
    (
        "garbage",
        "echo 'hello, I am no JSON'; echo '{\"type\": 7}'; echo '{'; echo '[]'; exit 0",
        "it ended with exit code 0 and without a final event",
    ),
    (
        "bytes that are not UTF-8",
        "head -c 100000 /dev/urandom; printf '\\n\\377\\376\\n'",
        "it ended with exit code 0 and without a final event",
    ),
    (
        "100 MB without a newline",
        "head -c 100000000 /dev/zero | tr '\\0' x; say 'printed all'",
        "it printed a line of more than 33554432 bytes",
    ),
    (
        "100 MB of lines",
        "yes 'no JSON in this line, and none in the next' | head -c 100000000",
        "it ended with exit code 0 and without a final event",
    ),
    (
        "100 MB of text",
        "yes '{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}]}}' | head -c 100000000",
        "its reply is longer than 10485760 bytes",
    ),
    ("a signal", "kill -9 $$", "a signal ended it"),
    (
        "another memory",
        "printf '{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"%s\",\"memory_paths\":{\"auto\":\"/else/where\"}}\\n' \"$id\"; sleep 1000",
        "it uses the memory directory `/else/where` instead of `~test/root/sessions/alder/memory`, so the turn was stopped",
    ),
];

#[test]
fn a_provider_that_prints_nonsense_fails_its_turn() {
    let mut root = Root::new("a_provider_that_prints_nonsense_fails_its_turn");
    let fake = Fake::claude(&mut root, "answer heard");
    root.ok(&["send", "alder", "x"]);
    let mut wrong = Vec::new();
    for (name, script, reason) in BAD {
        fake.claude_script(script);
        let start = Instant::now();
        let said = words(&root, &root.run(&["send", "alder", "x"]));
        if said != format!("3\nerror: claude: {reason}\n{AGAIN}") {
            wrong.push(format!("{name}: {said}"));
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{name}: {:?}", start.elapsed());
        println!("{name}: {:?}", start.elapsed());
        fake.claude_script("answer heard");
        assert_eq!(root.ok(&["send", "alder", "y"]), "heard\n", "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(fake.said().is_empty(), "whoever prints too much is ended: {:?}", fake.said());
    // Each failure is in the history, and in the record none but the turns.
    assert_eq!(root.json(&["status", "alder"])["record"]["turns"], 1 + 2 * BAD.len());
}

#[test]
fn any_command_has_the_same_limits() {
    let root = Root::new("any_command_has_the_same_limits");
    let fake = Fake::new(&root, "exit 0");
    for (name, script, reason) in [
        ("nothing", "exit 0", "it ended without printing a reply"),
        ("blanks", "echo; echo '   '", "it ended without printing a reply"),
        (
            "100 MB without a newline",
            "head -c 100000000 /dev/zero | tr '\\0' x",
            "it printed a line of more than 33554432 bytes",
        ),
        (
            "100 MB of lines",
            "yes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx | head -c 100000000",
            "its reply is longer than 10485760 bytes",
        ),
    ] {
        fake.script(script);
        let start = Instant::now();
        assert_eq!(
            words(&root, &root.run(&["send", "alder", "x"])),
            format!("3\nerror: fake: {reason}\n{AGAIN}"),
            "{name}"
        );
        println!("{name}: {:?}", start.elapsed());
    }
    // Bytes that are no text are shown as such, and nothing is lost around them.
    fake.script("printf 'a\\377b\\n'");
    assert_eq!(root.ok(&["send", "alder", "x"]), "a\u{fffd}b\n");
    let file = root.path().join("sessions/alder/transcript.jsonl");
    assert!(fs_err::read_to_string(file).is_ok_and(|text| text.contains("a\u{fffd}b")));
}

/// The reply is taken, although its program does not go away.
#[test]
fn a_provider_that_never_ends_is_ended_at_its_deadline() {
    let mut root = Root::new("a_provider_that_never_ends_is_ended_at_its_deadline");
    let fake = Fake::claude(&mut root, "answer heard; exec >&- 2>&-; sleep 1000");
    let output = root.run(&["send", "alder", "x", "--timeout", "1s"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "heard\n"), "{output:?}");
    fake.claude_script("while :; do sleep 1000; done");
    assert_eq!(
        words(&root, &root.run(&["send", "alder", "x", "--timeout", "1s"])),
        "4\nerror: the turn took longer than 1s, and everything it had started was ended\n\
         hint: `--timeout` or `limits.turn_timeout` allows more"
    );
    // What it prints is no sign of an end.
    fake.claude_script("while :; do echo; sleep 0.05; done");
    assert_eq!(root.run(&["send", "alder", "x", "--timeout", "1s"]).code, Some(4));
}
