//! Bad input: a line that names the thing and the reason, a hint with the
//! remedy, the documented exit code, and nothing changed.

use std::os::unix::fs::PermissionsExt;

use crate::support::fake::Fake;
use crate::support::root::{Root, run};
use crate::support::tree::Tree;
use crate::support::words::words;

const KEY_HINT: &str = "a key is 1 to 256 bytes of text, such as `default` or `discord-1484`";
const PROVIDERS_HINT: &str =
    "there are claude, codex, opencode, gemini, notes, and each `[providers.<name>]` of denizen.toml";
const CONFIG: &str = "[agents.reviewer]\nprovider = \"fake\"";

/// Fails unless the command says exactly this and changes nothing.
#[track_caller]
fn assert_refused(root: &Root, args: &[&str], said: &str) {
    let before = Tree::of(&[root.path()]);
    let output = root.run(args);
    assert_eq!(words(root, &output), said, "denizen {args:?}");
    assert_eq!(output.stdout, "", "denizen {args:?}");
    before.assert_same(&Tree::of(&[root.path()]), &format!("denizen {args:?}"));
}

#[test]
fn bad_keys() {
    let root = Root::new("bad_keys");
    let _fake = Fake::new(&root, "echo heard");
    let long = "x".repeat(257);
    for (key, said) in [
        ("", "a session key may not be empty"),
        (long.as_str(), "a session key has at most 256 bytes, this one has 257"),
        ("a\nb", "a session key may not hold control characters, this one has U+000A"),
        ("a\u{85}b", "a session key may not hold control characters, this one has U+0085"),
        (".", "a session key may not be `.`"),
        ("..", "a session key may not be `..`"),
    ] {
        let said = format!("2\nerror: {said}\nhint: {KEY_HINT}");
        for args in [
            &["send", key, "x"][..],
            &["new", key],
            &["rm", key],
            &["status", key],
            &["path", key],
            &["export", key, "-o", "x"],
        ] {
            assert_refused(&root, args, &said);
        }
    }
    assert!(!root.path().join("sessions").exists());
    // What only looks bad is a key like any other.
    for key in ["-x", "../../etc/passwd", "a/b", "con", "~", "🙂", " "] {
        root.ok(&["send", "--", key, "x"]);
        let shown = root.ok(&["--json", "status", "--", key]);
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown["record"]["key"], key);
    }
    assert_eq!(fs_err::read_dir(root.path().join("sessions")).expect("sessions").count(), 7);
}

#[test]
fn unknown_names() {
    let root = Root::new("unknown_names");
    let _fake = Fake::with_config(&root, "echo heard", CONFIG);
    root.ok(&["send", "alder", "x"]);
    root.ok(&["send", "alder-2", "x"]);
    let no_session = "1\nerror: there is no session `birch`\nhint: `denizen ls` lists the sessions";
    let unknown = |name: &str, nearest: &str| {
        format!("2\nerror: there is no provider `{name}`, did you mean `{nearest}`?\nhint: {PROVIDERS_HINT}")
    };
    for (args, said) in [
        (&["send", "alder", "x", "--provider", "claud"][..], unknown("claud", "claude")),
        (&["send", "birch", "x", "--provider", "fakke"], unknown("fakke", "fake")),
        (&["set", "alder", "provider", "codexx"], unknown("codexx", "codex")),
        (
            &["send", "alder", "x", "--agent", "reviever"],
            "2\nerror: there is no agent `reviever`, did you mean `reviewer`?\nhint: agents are the sections `[agents.<name>]` of denizen.toml".to_owned(),
        ),
        (
            &["set", "alder", "modell", "x"],
            "2\nerror: modell: there is no such setting, did you mean `model`?\nhint: `denizen set <key>` lists the settings, with what they mean".to_owned(),
        ),
        (&["set", "alder", "modell"], "2\nerror: there is no setting `modell`\nhint: did you mean `model`?".to_owned()),
        (
            &["set", "alder", "permission_mode", "root"],
            "2\nerror: permission_mode: `root` is no permission mode, there are `plan`, `default`, `acceptEdits`, `bypassPermissions`\nhint: `denizen set <key>` lists the settings, with what they mean".to_owned(),
        ),
        (
            &["set", "alder", "memory_directory", "../alder-2/memory"],
            "2\nerror: memory_directory: `../alder-2/memory` is not a relative path inside the session's folder\nhint: `denizen set <key>` lists the settings, with what they mean".to_owned(),
        ),
        (
            &["send", "alder", "x", "--model=--dangerously"],
            "2\nerror: model: `--dangerously` is no model name: letters, digits and `-._:/@[]`, at most 128\nhint: `denizen set <key>` lists the settings, with what they mean".to_owned(),
        ),
        (&["config", "limits.turn"], String::new()),
        (
            &["config", "limit.turns"],
            "2\nerror: there is no key `limit.turns`\nhint: did you mean `limits.turns`?".to_owned(),
        ),
        (
            &["-c", "limits.turn=3", "ls"],
            "2\nerror: command line: there is no key `limits.turn`, did you mean `limits.turns`?\nhint: `denizen config` lists every key".to_owned(),
        ),
        (&["new", "birch"], no_session.to_owned()),
        (&["status", "birch"], no_session.to_owned()),
        (&["stop", "birch"], no_session.to_owned()),
        (&["retry", "birch"], no_session.to_owned()),
        (&["fork", "birch", "c"], no_session.to_owned()),
        (&["rm", "birch"], no_session.to_owned()),
        (
            &["status", "ald"],
            "1\nerror: `ald` fits several sessions: `alder`, `alder-2`\nhint: give the whole key".to_owned(),
        ),
        (
            &["fork", "alder", "alder-2"],
            "1\nerror: there is a session `alder-2` already\nhint: choose another key, or remove it with `denizen rm alder-2`".to_owned(),
        ),
        (
            &["resume", "alder", "7"],
            "1\nerror: `alder` has no earlier conversation `7`, there are 0\nhint: `denizen resume alder` lists them".to_owned(),
        ),
        (
            &["cd", "alder", "/etc"],
            "1\nerror: `/etc` is not below any of the configured `working_dirs`\nhint: add it to `working_dirs` in denizen.toml: working_dirs = [\"/etc\"]".to_owned(),
        ),
        (
            &["trash", "restore", "birch"],
            "1\nerror: there is no `birch` in the trash\nhint: `denizen trash list` lists it".to_owned(),
        ),
        (&["send", "alder", ""], "2\nerror: the message is empty".to_owned()),
        (
            &["send", "alder", "x", "--attach", "none.txt"],
            "1\nerror: could not attach `~test/home/none.txt`: No such file or directory (os error 2)".to_owned(),
        ),
        (
            &["send", "alder", "x", "--attach", "."],
            "2\nerror: `~test/home/.` is no regular file, so it is not attached".to_owned(),
        ),
        (
            &["send", "alder", "x", "--timeout", "soon"],
            "2\nerror: invalid value 'soon' for '--timeout <TIME>': `soon` is not a time span such as `90s`, `30m`, `24h` or `30d`\n\nFor more information, try '--help'.".to_owned(),
        ),
    ] {
        if said.is_empty() {
            root.ok(args);
        } else {
            let before = Tree::of_root(&root.path());
            let output = root.run(args);
            assert_eq!(words(&root, &output), said, "denizen {args:?}");
            before.assert_same(&Tree::of_root(&root.path()), &format!("denizen {args:?}"));
        }
    }
}

#[test]
fn bad_configuration() {
    let root = Root::new("bad_configuration");
    let file = root.path().join("denizen.toml");
    let hint = "hint: `denizen config` lists every key";
    for (toml, said) in [
        ("a = = 1", "2\nerror: ~test/root/denizen.toml:1:5: extra `=`, expected nothing".to_owned()),
        (
            "[limits]\nturn = 3\n",
            format!(
                "2\nerror: ~test/root/denizen.toml:2:1: there is no key `limits.turn`, did you mean `limits.turns`?\n{hint}"
            ),
        ),
        ("[limits]\nturns = 0\n", "2\nerror: ~test/root/denizen.toml:2:1: limits.turns: 0 is less than 1".to_owned()),
        (
            "durability = \"strong\"",
            "2\nerror: ~test/root/denizen.toml:1:1: durability: `strong` is not one of `power`, `process`".to_owned(),
        ),
        (
            "[providers.claude]\nmodle = \"x\"",
            format!("2\nerror: there is no key `providers.claude.modle`, did you mean `model`?\n{hint}"),
        ),
        (
            "[agents.a]\nmodell = \"x\"",
            format!(
                "2\nerror: ~test/root/denizen.toml:1:9: there is no key `agents.a.modell`, did you mean `model`?\n{hint}"
            ),
        ),
        ("provider = \"mine\"", format!("2\nerror: there is no provider `mine`\nhint: {PROVIDERS_HINT}")),
        (
            "provider = \"mine\"\n[providers.mine]",
            format!(
                "2\nerror: the provider `mine` has no program: set `providers.mine.program`\nhint: {PROVIDERS_HINT}"
            ),
        ),
    ] {
        root.write_config(toml);
        assert_refused(&root, &["send", "alder", "x"], &said);
    }
    root.write_config("provider = \"notes\"\n");
    for mode in [0o666, 0o620, 0o602] {
        fs_err::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("a mode");
        let said = format!(
            "2\nerror: others can write `~test/root/denizen.toml` (mode {mode:o}), so it is not trusted\nhint: chmod go-w ~test/root/denizen.toml"
        );
        assert_refused(&root, &["send", "alder", "x"], &said);
    }
    fs_err::remove_file(&file).expect("removed");
    fs_err::create_dir(&file).expect("a directory");
    assert_refused(
        &root,
        &["ls"],
        "2\nerror: `~test/root/denizen.toml` is a directory or a special file, not a regular file\nhint: move it away: ls -ld ~test/root/denizen.toml",
    );
    fs_err::remove_dir(&file).expect("removed");
    assert_refused(
        &root,
        &["--config", "none.toml", "ls"],
        "2\nerror: could not read the configuration `~test/home/none.toml`: No such file or directory (os error 2)",
    );
}

#[test]
fn no_home_and_no_root() {
    let root = Root::new("no_home_and_no_root");
    let mut command = root.denizen();
    command.env_remove("HOME").env_remove("DENIZEN_ROOT").args(["send", "alder", "x"]);
    assert_eq!(
        words(&root, &run(command, "")),
        "2\nerror: there is no home directory to keep sessions in: HOME is not set\nhint: say where with `--root DIR` or DENIZEN_ROOT"
    );
    // A root is all that is needed.
    let mut command = root.denizen();
    command.env_remove("HOME").args(["send", "alder", "hello", "--provider", "notes"]);
    let output = run(command, "");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    fs_err::write(root.dir().join("file"), "").expect("written");
    let mut command = root.denizen();
    command.args(["--root", "../file", "ls"]);
    assert_eq!(
        words(&root, &run(command, "")),
        "2\nerror: the root `~test/file` is no directory\nhint: choose another with `--root DIR` or DENIZEN_ROOT"
    );
}

#[test]
fn a_root_in_a_bad_place_is_named() {
    let root = Root::new("a_root_in_a_bad_place_is_named");
    let repository = root.dir().join("repository");
    fs_err::create_dir_all(repository.join(".git")).expect("a repository");
    let temporary = std::path::PathBuf::from(format!("/tmp/denizen-test-{}", std::process::id()));
    let hidden = root.dir().join(".claude");
    for (place, reason) in [
        (
            repository.join("root"),
            "is inside the git repository ~test/repository, whose instructions and settings the CLIs would read",
        ),
        (
            temporary.clone(),
            "is below a temporary directory: it is cleaned up by the system, and Codex's sandbox breaks there",
        ),
        (hidden.join("root"), "is below a directory `.claude`, where Claude Code refuses to edit files"),
    ] {
        let place = place.display().to_string();
        let shown = place.replace(&root.dir().display().to_string(), "~test");
        let init = root.run(&["--root", &place, "init", "--try"]);
        assert_eq!((init.code, words(&root, &init)), (Some(0), format!("0\nwarning: {shown} {reason}")));
        let doctor = root.run(&["--root", &place, "doctor"]);
        assert_eq!(doctor.code, Some(1), "{doctor:?}");
        let said = doctor.stdout.replace(&root.dir().display().to_string(), "~test");
        assert!(
            said.contains(&format!("{shown} {reason}\n     hint: move it, or choose another with `--root`")),
            "{said}"
        );
    }
    fs_err::remove_dir_all(temporary).expect("removed");
}

#[test]
fn an_error_is_data_where_data_is_asked_for() {
    let root = Root::new("an_error_is_data_where_data_is_asked_for");
    let output = root.run(&["--json", "status", "birch"]);
    let said: serde_json::Value = serde_json::from_str(&output.stderr).expect("JSON");
    let expected = serde_json::json!({
        "error": "there is no session `birch`", "hint": "`denizen ls` lists the sessions", "code": 1,
    });
    assert_eq!((output.code, output.stdout.as_str(), said), (Some(1), "", expected));
}
