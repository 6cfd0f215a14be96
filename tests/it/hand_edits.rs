//! A session's files are edited by hand: it counts between turns, is kept
//! during one, and what cannot be read is left alone.

use serde_json::{Value, json};

use crate::support::fake::{Fake, Running};
use crate::support::root::Root;
use crate::support::tree::Tree;
use crate::support::words::words;

/// Changes a file of a session as an editor does: a new file in its place.
fn edit(root: &Root, key: &str, name: &str, change: impl FnOnce(&mut Value)) {
    let path = root.session(key).join(name);
    let mut value: Value = serde_json::from_slice(&fs_err::read(&path).expect("a file")).expect("JSON");
    change(&mut value);
    let edited = path.with_extension("edited");
    fs_err::write(&edited, serde_json::to_vec_pretty(&value).expect("JSON")).expect("written");
    fs_err::rename(edited, path).expect("renamed");
}

fn read(root: &Root, key: &str, name: &str) -> Value {
    serde_json::from_slice(&fs_err::read(root.session(key).join(name)).expect("a file")).expect("JSON")
}

/// The argument after this one.
fn after<'a>(argv: &'a [String], name: &str) -> Option<&'a str> {
    argv.iter().skip_while(|arg| *arg != name).nth(1).map(String::as_str)
}

#[test]
fn edits_between_turns_count_in_the_next() {
    let mut root = Root::new("edits_between_turns_count_in_the_next");
    let fake = Fake::claude(&mut root, "answer heard");
    root.ok(&["send", "alder", "one"]);
    assert_eq!((after(&fake.argv(), "--model"), after(&fake.argv(), "--append-system-prompt-file")), (None, None));
    assert_eq!(after(&fake.argv(), "--permission-mode"), Some("acceptEdits"));
    edit(&root, "alder", "session.json", |record| record["title"] = "The tree".into());
    edit(&root, "alder", "settings.json", |settings| {
        settings["model"] = "opus".into();
        settings["permission_mode"] = "plan".into();
    });
    fs_err::write(root.session("alder").join("AGENTS.md"), "speak softly\n").expect("written");

    let output = root.run(&["send", "alder", "two"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert_eq!(after(&fake.argv(), "--model"), Some("opus"));
    assert_eq!(after(&fake.argv(), "--permission-mode"), Some("plan"));
    assert_eq!(after(&fake.argv(), "--append-system-prompt-file"), Some("speak softly"));
    assert_eq!(read(&root, "alder", "session.json")["title"], "The tree");
    let listed = root.json(&["ls"]);
    assert_eq!((&listed["key"], &listed["title"]), (&"alder".into(), &"The tree".into()));
    // The title is a name for it from now on.
    assert_eq!(root.json(&["status", "The tree"])["record"]["turns"], 2);
}

#[test]
fn edited_memory_and_instructions_are_told_in_the_next_turn() {
    let root = Root::new("edited_memory_and_instructions_are_told_in_the_next_turn");
    let fake = Fake::new(&root, "echo heard");
    root.ok(&["send", "alder", "one"]);
    fs_err::write(root.session("alder").join("memory/MEMORY.md"), "the gate is blue\n").expect("written");
    root.ok(&["send", "alder", "two"]);
    assert!(fake.prompt().contains("the gate is blue"), "{}", fake.prompt());
    root.ok(&["send", "alder", "three"]);
    assert_eq!(fake.prompt(), "three", "what was told already is not told again");
    fs_err::write(root.session("alder").join("AGENTS.md"), "speak softly\n").expect("written");
    root.ok(&["send", "alder", "four"]);
    assert!(fake.prompt().contains("speak softly"), "{}", fake.prompt());
}

#[test]
fn an_edit_during_a_turn_is_kept_and_told() {
    let root = Root::new("an_edit_during_a_turn_is_kept_and_told");
    let mut fake = Fake::new(&root, "say begin; gate; echo heard");
    let running = Running::denizen(&root, &["send", "alder", "one"]);
    fake.wait_for(1);
    edit(&root, "alder", "session.json", |record| record["title"] = "mine".into());
    edit(&root, "alder", "settings.json", |settings| settings["model"] = "opus".into());
    let edited = fs_err::read(root.session("alder").join("session.json")).expect("the edit");
    fake.release(1);
    let output = running.end();
    assert_eq!(
        words(&root, &output),
        "0\nnote: something else had changed a file of the session meanwhile: what it wrote is kept in `~test/root/state/conflicts/alder-<time>-session.json`"
    );
    let kept: Vec<_> = fs_err::read_dir(root.path().join("state/conflicts")).expect("conflicts").flatten().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(fs_err::read(kept[0].path()).expect("kept"), edited);
    let record = read(&root, "alder", "session.json");
    assert_eq!((&record["turns"], &record["title"]), (&json!(1), &Value::Null));
    // The settings are the owner's: they were not touched.
    assert_eq!(read(&root, "alder", "settings.json")["model"], "opus");
    fake.release(1);
    let next = root.run(&["send", "alder", "two"]);
    assert_eq!((next.code, next.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_conflict_is_told_where_the_turn_failed_too() {
    let root = Root::new("a_conflict_is_told_where_the_turn_failed_too");
    let _fake = Fake::new(&root, "echo '{}' > session.json; echo 'no luck' >&2; exit 1");
    let output = root.run(&["send", "alder", "one"]);
    assert_eq!(
        words(&root, &output),
        "3\nnote: something else had changed a file of the session meanwhile: what it wrote is kept in `~test/root/state/conflicts/alder-<time>-session.json`\n\
         error: fake: no luck\n\
         hint: `denizen retry <key>` sends the message again"
    );
}

#[test]
fn fields_of_others_survive() {
    let root = Root::new("fields_of_others_survive");
    let _fake = Fake::new(&root, "echo heard");
    root.ok(&["send", "alder", "one"]);
    let foreign = json!({"of": ["somebody", {"else": 1.5}]});
    edit(&root, "alder", "session.json", |record| {
        record["x_foreign"] = foreign.clone();
        record["conversation"]["x_foreign"] = foreign.clone();
    });
    edit(&root, "alder", "settings.json", |settings| settings["x_foreign"] = foreign.clone());
    root.ok(&["send", "alder", "two"]);
    root.ok(&["new", "alder"]);
    root.ok(&["send", "alder", "three"]);
    root.ok(&["rename", "alder", "a title"]);
    root.ok(&["set", "alder", "model", "opus"]);
    root.ok(&["archive", "alder"]);
    let record = read(&root, "alder", "session.json");
    assert_eq!((&record["x_foreign"], &record["earlier"][0]["x_foreign"]), (&foreign, &foreign), "{record:#}");
    let settings = read(&root, "alder", "settings.json");
    assert_eq!((&settings["x_foreign"], &settings["model"]), (&foreign, &"opus".into()));
    root.ok(&["resume", "alder", "1"]);
    assert_eq!(read(&root, "alder", "session.json")["conversation"]["x_foreign"], foreign);
}

/// What may stand in a file that cannot be read, and what is said of it.
const BROKEN_RECORDS: &[(&str, &str)] = &[
    ("", "1:0: EOF while parsing a value"),
    ("{", "1:1: EOF while parsing an object"),
    ("{\n  \"version\": 1,\n  oops\n}", "3:3: key must be a string"),
    ("null", "1:4: invalid type: null, expected struct Record"),
    ("{\"version\": 1}", "1:14: missing field `key`"),
];

#[test]
fn a_broken_record_stops_only_its_own_session() {
    let root = Root::new("a_broken_record_stops_only_its_own_session");
    let _fake = Fake::new(&root, "echo heard");
    root.ok(&["send", "alder", "one"]);
    root.ok(&["send", "birch", "one"]);
    let path = root.session("alder").join("session.json");
    for (text, reason) in BROKEN_RECORDS {
        fs_err::write(&path, text).expect("written");
        let alder = Tree::of(&[root.session("alder")]);
        let expected = format!(
            "1\nerror: ~test/root/sessions/alder/session.json:{reason}\n\
             hint: correct it by hand, or bring it back: `denizen restore BACKUP KEY`; it was left as it is"
        );
        for args in [
            &["send", "alder", "x"][..],
            &["new", "alder"],
            &["set", "alder", "model", "x"],
            &["rename", "alder", "x"],
            &["status", "alder"],
            &["archive", "alder"],
            &["fork", "alder", "copy"],
            &["retry", "alder"],
            &["rm", "alder"],
        ] {
            assert_eq!(words(&root, &root.run(args)), expected, "{text:?} {args:?}");
        }
        let listed = root.run(&["ls"]);
        assert_eq!(
            (listed.code, listed.stdout.contains("birch"), words(&root, &listed)),
            (Some(0), true, format!("0\nunreadable: `alder`: ~test/root/sessions/alder/session.json:{reason}"))
        );
        assert_eq!(root.ok(&["send", "birch", "still there?"]), "heard\n");
        alder.assert_same(&Tree::of(&[root.session("alder")]), &format!("{text:?}"));
    }
    assert!(!root.session("copy").exists());
}

#[test]
fn broken_settings_stop_only_their_own_session() {
    let root = Root::new("broken_settings_stop_only_their_own_session");
    let _fake = Fake::new(&root, "echo heard");
    root.ok(&["send", "alder", "one"]);
    root.ok(&["send", "birch", "one"]);
    let path = root.session("alder").join("settings.json");
    for (text, reason) in [
        ("{\"model\": }", ":1:11: expected value"),
        (
            "{\"permission_mode\": \"root\"}",
            ":1:26: unknown variant `root`, expected one of `plan`, `default`, `acceptEdits`, `bypassPermissions`",
        ),
        ("[]", ":1:0: invalid type: sequence, expected struct Settings"),
    ] {
        fs_err::write(&path, text).expect("written");
        let settings = Tree::of(std::slice::from_ref(&path));
        let expected = format!(
            "1\nerror: ~test/root/sessions/alder/settings.json{reason}\n\
             hint: correct it by hand, or bring it back: `denizen restore BACKUP KEY`; it was left as it is"
        );
        for args in [&["send", "alder", "x"][..], &["set", "alder", "model", "x"], &["fork", "alder", "copy"]] {
            assert_eq!(words(&root, &root.run(args)), expected, "{text:?} {args:?}");
        }
        // What does not need the settings goes on.
        root.ok(&["new", "alder"]);
        root.ok(&["rename", "alder", "x"]);
        assert!(root.ok(&["status", "alder"]).contains("unreadable"));
        assert!(root.ok(&["ls"]).contains("alder"));
        assert_eq!(root.ok(&["send", "birch", "still there?"]), "heard\n");
        settings.assert_same(&Tree::of(std::slice::from_ref(&path)), text);
    }
}

#[test]
fn numbers_at_their_limits_are_numbers() {
    let mut root = Root::new("numbers_at_their_limits_are_numbers");
    let _fake = Fake::claude(&mut root, "answer heard");
    root.ok(&["send", "alder", "one"]);
    edit(&root, "alder", "session.json", |record| {
        record["turns"] = u64::MAX.into();
        record["conversation"]["turns"] = u64::MAX.into();
        record["usage"]["input_tokens"] = u64::MAX.into();
        record["last_used_at"] = "9999-12-30T22:00:00Z".into();
        record["created_at"] = "-009999-01-02T01:59:59Z".into();
    });
    for args in [&["ls"][..], &["status", "alder"], &["usage"], &["send", "alder", "two"], &["history", "alder"]] {
        let output = root.run(args);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args:?}: {output:?}");
    }
    assert_eq!(read(&root, "alder", "session.json")["turns"], u64::MAX);
}
