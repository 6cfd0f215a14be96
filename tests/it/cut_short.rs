//! What an agent wrote is synced with its reply.

use crate::support::fake::Fake;
use crate::support::root::Root;

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
