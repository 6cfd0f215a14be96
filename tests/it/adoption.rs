//! The file system is the admin interface: folders that people copy, move, rename,
//! drop in and delete, by the rules of docs/disk-format.md.

use super::support::fake::{Fake, Running};
use super::support::root::{Root, run};
use super::support::tree::Tree;
use super::support::words::plain;

/// A root in which `notes` answers.
fn root(test: &str) -> Root {
    let root = Root::new(test);
    root.write_config("provider = \"notes\"\n");
    root
}

/// Runs a command line as a person would.
fn shell(root: &Root, line: &str) {
    let mut bash = root.command("bash");
    bash.args(["-euc", line]).current_dir(root.path());
    let output = run(bash, "");
    assert_eq!(output.code, Some(0), "{line}: {output:?}");
}

fn said(root: &Root, key: &str) -> Vec<String> {
    let said = root.ok(&["send", key, "what did I say"]);
    said.lines().map(|line| line.split_once(". ").map_or(line, |(_, text)| text).to_owned()).collect()
}

fn uuid(root: &Root, key: &str) -> String {
    root.json(&["status", key])["record"]["uuid"].as_str().expect("a uuid").to_owned()
}

/// What `ls` and `doctor` say of what they cannot take, with their exit codes.
fn complaints(root: &Root) -> (String, String) {
    let listed = root.run(&["ls"]);
    let doctor = root.run(&["doctor"]);
    let about: Vec<&str> = doctor.stdout.split_inclusive('\n').skip_while(|line| !line.contains("session ")).collect();
    let about: String = about.iter().take(2).copied().collect();
    (plain(root, &listed.stderr), plain(root, &about))
}

#[test]
fn a_copied_folder_shares_the_past_and_not_the_future() {
    let root = root("a_copied_folder_shares_the_past_and_not_the_future");
    root.ok(&["send", "alder", "remember the gate is blue"]);
    shell(&root, "cp -a sessions/alder sessions/birch");
    let source = Tree::of(&[root.session("alder")]);
    root.ok(&["send", "birch", "remember the fence is red"]);
    source.assert_same(&Tree::of(&[root.session("alder")]), "a turn in the copy");
    assert_eq!(said(&root, "birch"), ["remember the gate is blue", "remember the fence is red"]);
    assert_eq!(said(&root, "alder"), ["remember the gate is blue"]);
    assert_ne!(uuid(&root, "alder"), uuid(&root, "birch"));
    assert_eq!(root.json(&["status", "birch"])["record"]["forked_from"]["key"], "alder");
}

#[test]
fn a_moved_folder_goes_on_and_comes_back() {
    let root = root("a_moved_folder_goes_on_and_comes_back");
    root.ok(&["send", "alder", "remember the gate is blue"]);
    let before = uuid(&root, "alder");
    shell(&root, "mv sessions/alder sessions/birch");
    assert_eq!(said(&root, "birch"), ["remember the gate is blue"]);
    assert_eq!(uuid(&root, "birch"), before);
    assert_eq!(root.run(&["status", "alder"]).code, Some(1), "the old key is free");
    // Out of the way, and back under a third name.
    shell(&root, "mkdir ../archive && mv sessions/birch ../archive/ && mv ../archive/birch sessions/cedar");
    assert_eq!(said(&root, "cedar"), ["remember the gate is blue", "what did I say"]);
    assert_eq!(uuid(&root, "cedar"), before);
}

#[test]
fn a_removed_folder_is_a_session_that_ended() {
    let root = root("a_removed_folder_is_a_session_that_ended");
    root.ok(&["send", "alder", "remember the gate is blue"]);
    let before = uuid(&root, "alder");
    shell(&root, "rm -r sessions/alder");
    assert_eq!(root.run(&["status", "alder"]).code, Some(1));
    assert_eq!(said(&root, "alder"), ["Nothing yet (turn 1)"]);
    assert_ne!(uuid(&root, "alder"), before);
}

#[test]
fn a_folder_from_elsewhere_is_adopted() {
    let root = root("a_folder_from_elsewhere_is_adopted");
    let elsewhere = root.dir().join("elsewhere");
    let elsewhere = elsewhere.to_str().expect("text");
    root.ok(&["--root", elsewhere, "send", "alder", "remember the gate is blue", "--provider", "notes"]);
    shell(&root, "mkdir sessions && cp -a ../elsewhere/sessions/alder sessions/");
    assert_eq!(said(&root, "alder"), ["remember the gate is blue"]);
    // A session of that name is here already, so the other one gets a name of its own.
    shell(&root, "cp -a ../elsewhere/sessions/alder sessions/alder-of-elsewhere");
    assert_eq!(said(&root, "alder-of-elsewhere"), ["remember the gate is blue"]);
}

#[test]
fn what_cannot_be_adopted_is_named_with_the_command_that_helps() {
    let root = root("what_cannot_be_adopted_is_named_with_the_command_that_helps");
    for (make, folder, reason, remedy, then) in [
        (
            "mv sessions/alder 'sessions/Al der'",
            "Al der",
            "its name can belong to no key: only `a-z`, `0-9` and single hyphens",
            "mv '~test/root/sessions/Al der' ~test/root/sessions/alder",
            "alder",
        ),
        (
            "cp -a sessions/alder sessions/Al_Der",
            "Al_Der",
            "its name can belong to no key: only `a-z`, `0-9` and single hyphens",
            "mv ~test/root/sessions/Al_Der ~test/root/sessions/al-der",
            "al-der",
        ),
        (
            "cp -a sessions/alder sessions/x--0123456789abcdef0123",
            "x--0123456789abcdef0123",
            "its name belongs to another key than `alder`, which its record states",
            "mv ~test/root/sessions/x--0123456789abcdef0123 ~test/root/sessions/x-0123456789abcdef0123",
            "x-0123456789abcdef0123",
        ),
    ] {
        root.ok(&["send", "alder", "remember the gate is blue"]);
        shell(&root, make);
        let stray = Tree::of(&[root.path().join("sessions").join(folder)]);
        let (ls, doctor) = complaints(&root);
        let found = format!("`~test/root/sessions/{folder}` cannot be adopted: {reason}");
        assert_eq!(ls, format!("unreadable: `{folder}`: {found}\nhint: {remedy}"));
        assert!(doctor.contains(&found) && doctor.contains(remedy), "{doctor}");
        stray.assert_same(&Tree::of(&[root.path().join("sessions").join(folder)]), "looking at it");
        shell(&root, &remedy.replace("~test", &root.dir().display().to_string()));
        assert_eq!(said(&root, then)[0], "remember the gate is blue", "{folder}");
        assert_eq!(root.run(&["ls"]).stderr, "");
        shell(&root, "rm -r sessions/*");
    }
}

#[test]
fn a_copy_of_what_cannot_be_read_waits() {
    let root = root("a_copy_of_what_cannot_be_read_waits");
    root.ok(&["send", "alder", "remember the gate is blue"]);
    shell(
        &root,
        "cp -a sessions/alder sessions/birch && cp sessions/alder/session.json kept && echo oops > sessions/alder/session.json",
    );
    let refused = root.run(&["send", "birch", "hello"]);
    assert_eq!(
        plain(&root, &refused.stderr),
        "error: `~test/root/sessions/birch` cannot be adopted: the session `alder`, which its record states, cannot be read\n\
         hint: mend that one first: denizen verify ~test/root/sessions/alder"
    );
    shell(&root, "cat kept > sessions/alder/session.json");
    assert_eq!(said(&root, "birch"), ["remember the gate is blue"]);
    assert_ne!(uuid(&root, "alder"), uuid(&root, "birch"));
}

#[test]
fn a_folder_that_was_moved_in_mid_turn_waits_for_its_end() {
    let root = Root::new("a_folder_that_was_moved_in_mid_turn_waits_for_its_end");
    let mut fake = Fake::new(&root, "say started; gate; echo heard");
    let sending = Running::denizen(&root, &["send", "alder", "one"]);
    fake.wait_for(1);
    shell(&root, "mv sessions/alder sessions/birch");
    let refused = root.run(&["send", "birch", "two"]);
    assert_eq!(
        plain(&root, &refused.stderr),
        "error: `~test/root/sessions/birch` cannot be adopted: the session `alder` that it was moved from is in use\n\
         hint: wait for that turn, or end it: denizen stop alder"
    );
    fake.release(2);
    let sent = sending.end();
    assert_eq!((sent.code, sent.stdout.as_str()), (Some(0), "heard\n"), "{sent:?}");
    assert_eq!(root.ok(&["send", "birch", "two"]), "heard\n");
    assert_eq!(root.json(&["status", "birch"])["record"]["turns"], 2);
}
