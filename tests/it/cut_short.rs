//! What a kill or a power cut leaves half done is finished or begun again, and
//! what an agent wrote is synced with its reply. Power cuts themselves are in
//! `powercut.rs`.

use rustix::process::Signal;

use crate::support::fake::{Fake, Running};
use crate::support::root::{Root, write};

#[cfg(target_arch = "x86_64")]
#[test]
fn what_an_agent_wrote_is_synced_before_its_reply_is_given() {
    use std::path::Path;

    use crate::support::clis::did_not_run;
    use crate::support::killat::{self, Call, Calls, Scope, Strike};

    let test = "what_an_agent_wrote_is_synced_before_its_reply_is_given";
    let root = Root::new(test);
    if !killat::is_permitted(root.dir()) {
        did_not_run(test, "ptrace is not permitted", "run it where one's own processes may be traced");
        return;
    }
    let script = r#"echo noted > "$2/MEMORY.md"; mkdir -p "$1/outbox"; echo made > "$1/outbox/made"; echo heard"#;
    let _fake = Fake::new(&root, script);
    let mut command = root.denizen();
    command.args(["send", "alder", "one"]);
    let traced = killat::run(&command, root.dir(), Scope::Program, Calls::Changing, Strike::None).expect("traced");
    let session = root.session("alder");
    let of_the_agent = |call: &&Call| {
        let file = call.path.strip_prefix(&session).unwrap_or(&call.path);
        call.name == "fsync" && (file.starts_with("memory") || file.starts_with("outbox"))
    };
    let told = |call: &&Call| call.path.ends_with("transcript.jsonl") || call.path.ends_with("stdout");
    let calls = traced.calls.iter().filter(|call| of_the_agent(call) || told(call) && call.name != "open");
    let calls: Vec<String> = calls
        .map(|call| {
            format!("{} {}", call.name, call.path.strip_prefix(&session).unwrap_or(Path::new("stdout")).display())
        })
        .collect();
    assert_eq!(
        calls,
        [
            "fsync memory/MEMORY.md",
            "fsync memory",
            "fsync outbox/made",
            "fsync outbox/sent",
            "fsync outbox",
            "write transcript.jsonl",
            "fdatasync transcript.jsonl",
            "write stdout",
        ]
    );
}

#[test]
fn a_file_that_kept_the_name_of_its_temporary_is_read() {
    let root = Root::new("a_file_that_kept_the_name_of_its_temporary_is_read");
    root.ok(&["send", "alder", "one", "--provider", "notes"]);
    let tmp = root.path().join("state/tmp");
    for name in ["session.json", "settings.json"] {
        fs_err::hard_link(root.session("alder").join(name), tmp.join(name)).expect("a second name");
    }
    write(&tmp.join("being-written"), "{");
    assert_eq!(root.ok(&["history", "alder"]).lines().filter(|line| *line == "one").count(), 1);
    assert_eq!(root.json(&["status"])["unreadable"], 0);
    let left: Vec<_> =
        fs_err::read_dir(&tmp).expect("temporaries").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(left, ["being-written"]);
}

#[test]
fn a_turn_whose_message_is_torn_in_the_transcript_was_not_answered() {
    let root = Root::new("a_turn_whose_message_is_torn_in_the_transcript_was_not_answered");
    let _fake = Fake::new(&root, "echo \"heard $message\"");
    root.ok(&["send", "alder", "one"]);
    // As ext4 may leave an append that was not synced yet: a block of zeros in the middle.
    let entry = r#"{"at":"2026-01-01T00:00:00Z","text":"two","options":{}}"#;
    let queue = root.path().join("state/queue/alder");
    let started = "{\"started\":\"2026-01-01T00:00:00Z\"}\n";
    write(&queue.join("0000000000000007.entry"), &format!("{entry}\n{started}"));
    let path = root.session("alder").join("transcript.jsonl");
    let mut transcript = fs_err::read_to_string(&path).expect("the transcript");
    transcript.push_str("{\"at\":\"2026-01-01T00:00:00Z\",\"who\":\0\0\0\0\"}\n");
    transcript.push_str(
        r#"{"at":"2026-01-01T00:00:00Z","who":"agent","text":"heard two","turn":2,"provider":"fake","entry":7}"#,
    );
    write(&path, &format!("{transcript}\n"));
    assert_eq!(root.json(&["pending", "alder"])["text"], "two");
    root.ok(&["send", "alder", "three"]);
    assert_eq!(root.json(&["pending", "alder"])["text"], "two");
    assert_eq!(root.ok(&["retry", "alder"]), "heard two\n");
    assert_eq!(root.ok(&["pending", "alder"]), "");
    assert_eq!(record_of(&root, "alder")["turns"], 3);
}

#[test]
fn a_copy_whose_first_turn_was_cut_short_is_copied_again() {
    let mut root = Root::new("a_copy_whose_first_turn_was_cut_short_is_copied_again");
    let fake = Fake::claude(&mut root, "answer one");
    root.ok(&["send", "alder", "one"]);
    root.ok(&["fork", "alder", "copy"]);
    let original = record_of(&root, "alder")["conversation"]["id"].clone();
    // The copy has its id, and nothing is in its file yet.
    let half = r#"
        printf '{"type":"system","subtype":"init","session_id":"%s"}\n' "$id"
        : > "$kept/$id.jsonl"
        say began
        gate"#;
    fake.claude_script(half);
    let running = Running::denizen(&root, &["send", "copy", "two"]);
    fake.wait_for(1);
    crate::support::fake::until("record of the copy's id", || {
        let current = record_of(&root, "copy")["conversation"].clone();
        if current["id"] == original { Err(current.to_string()) } else { Ok(()) }
    });
    assert_eq!(record_of(&root, "copy")["conversation"]["copy_of"], original);
    running.signal(Signal::KILL);
    assert_eq!(running.end().code, None);

    fake.claude_script("answer three");
    root.ok(&["send", "copy", "three"]);
    let argv = fake.argv();
    let resumed = argv.iter().position(|arg| arg == "-r").map(|at| &argv[at + 1..at + 3]);
    assert_eq!(resumed, Some(&[original.as_str().expect("an id").to_owned(), "--fork-session".to_owned()][..]));
    let record = record_of(&root, "copy");
    let earlier: Vec<_> = record["earlier"].as_array().into_iter().flatten().map(|earlier| &earlier["id"]).collect();
    assert_eq!((earlier, record["conversation"].get("copy_of")), (vec![&original], None));
    // It is whole from here on.
    root.ok(&["send", "copy", "four"]);
    assert!(!fake.argv().contains(&"--fork-session".to_owned()), "{:?}", fake.argv());
}

fn record_of(root: &Root, key: &str) -> serde_json::Value {
    let bytes = fs_err::read(root.session(key).join("session.json")).expect("the record");
    serde_json::from_slice(&bytes).expect("JSON")
}
