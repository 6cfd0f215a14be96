//! Usage of providers that report totals: a turn is charged for what it added,
//! also the first turn of a copy, whose total starts with its original's.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::root::{Root, write};

/// A `codex exec` that has used ten tokens more at each turn of a conversation;
/// a fork starts from its original's total.
const CODEX: &str = r#"#!/bin/sh
cat > /dev/null
kept="$CODEX_HOME/sessions/2026/01/01"
mkdir -p "$kept"
id=$(cat /proc/sys/kernel/random/uuid)
used=0
while [ $# -gt 0 ]; do
    case "$1" in
        resume) id=$2; used=$(cat "$kept"/rollout-x-"$id".jsonl) ;;
        fork) used=$(cat "$kept"/rollout-x-"$2".jsonl) ;;
    esac
    shift
done
used=$((used + 10))
echo "$used" > "$kept/rollout-x-$id.jsonl"
printf '{"type":"thread.started","thread_id":"%s"}\n' "$id"
printf '{"type":"item.completed","item":{"id":"1","type":"agent_message","text":"hello"}}\n'
printf '{"type":"turn.completed","usage":{"input_tokens":%s,"cached_input_tokens":0,"output_tokens":1}}\n' "$used"
"#;

#[test]
fn totals_become_what_each_turn_added() {
    let mut root = Root::new("usage::totals_become_what_each_turn_added");
    let program = root.dir().join("bin/codex");
    write(&program, CODEX);
    fs_err::set_permissions(&program, PermissionsExt::from_mode(0o700)).expect("a program");
    root.add_path(&root.dir().join("bin"));
    let tokens = |args: &[&str]| root.json(&[&["send"], args].concat())["usage"]["input_tokens"].clone();

    assert_eq!(tokens(&["alder", "one", "--provider", "codex"]), json!(10));
    assert_eq!(tokens(&["alder", "two"]), json!(10));
    root.ok(&["fork", "alder", "birch"]);
    assert_eq!(tokens(&["birch", "three"]), json!(10));
    assert_eq!(tokens(&["birch", "four"]), json!(10));
    assert_eq!(tokens(&["birch", "five", "--new"]), json!(10));
    assert_eq!(tokens(&["alder", "six"]), json!(10));
    assert_eq!(root.json(&["status", "alder"])["record"]["usage"]["input_tokens"], json!(30));
}
