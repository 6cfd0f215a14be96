//! The walls, held against an adversary that tries to get through: the attempts
//! of `denizen::prove::ATTEMPTS`, in every mode, as root and as an ordinary user.

use std::collections::BTreeSet;

use denizen::prove::ATTEMPTS;
use denizen::sandbox::Rule;

use crate::support::proof::{Stage, USER};

/// Attempts that no plain process gets through on the machines that this is
/// tried on, and what they would need.
const NOWHERE: &[(u64, &str)] = &[
    (119, "cron"),
    (120, "at"),
    (164, "device files of disks, which containers are not allowed"),
    (166, "a kernel that takes modules"),
    (184, "a first process with no more rights than root of this container"),
    (185, "the same"),
    (186, "the same"),
];

/// The users to try as: root can try as both.
fn users() -> Vec<Option<u32>> {
    if rustix::process::geteuid().is_root() {
        vec![None, Some(USER)]
    } else {
        println!("did not run as root: that takes root");
        vec![None]
    }
}

fn named(test: &str, user: Option<u32>) -> String {
    format!("{test}-{}", if user.is_some() { "user" } else { "self" })
}

#[test]
fn every_attempt_gets_through_where_nothing_is_in_its_way() {
    let mut through = BTreeSet::new();
    for user in users() {
        let stage = Stage::new(&named("every_attempt_gets_through", user), user);
        let control = stage.prove(&["--control"]);
        control.assert_as_expected("the control");
        // Only there is a launcher to try.
        let off = stage.prove(&["-c", "walls=off"]);
        off.assert_as_expected("no walls");
        through.extend(control.through().chain(off.through()));
    }
    let known: BTreeSet<u64> = NOWHERE.iter().map(|(number, _)| *number).collect();
    let wrong: Vec<String> = ATTEMPTS
        .iter()
        .filter(|attempt| !through.contains(&attempt.number.into()) && !known.contains(&attempt.number.into()))
        .map(|attempt| format!("{attempt:?}"))
        .collect();
    if !rustix::process::geteuid().is_root() {
        println!("only root can: {wrong:?}");
        return;
    }
    assert!(wrong.is_empty(), "these prove nothing, because nothing gets through by them anyway: {wrong:#?}");
}

/// The modes, with every kind of network that each can have.
const MODES: &[(&str, &str)] = &[
    ("full", "open"),
    ("full", "providers"),
    ("full", "none"),
    ("kernel", "open"),
    ("kernel", "providers"),
    ("kernel", "none"),
    ("off", "open"),
];

#[test]
fn what_gets_through_is_what_the_table_says() {
    for user in users() {
        let stage = Stage::new(&named("what_gets_through", user), user);
        for (walls, network) in MODES {
            let what = format!("{walls}, {network}, {user:?}");
            let Some(seen) = stage.prove_with(walls, &["-c", &format!("network={network}")]) else { continue };
            seen.assert_as_expected(&what);
            if *walls != "off" {
                assert_eq!(seen.with("not here"), Vec::<String>::new(), "{what}: nothing is left to chance");
            }
        }
    }
}

/// For each rule, the walls in which nothing else stands in the place of it.
const RULES: &[(Rule, &str, &str)] = &[
    (Rule::Mounts, "full", "open"),
    (Rule::Private, "full", "open"),
    (Rule::ControlFiles, "full", "open"),
    (Rule::Repositories, "full", "open"),
    (Rule::PrivateTmp, "full", "open"),
    (Rule::PrivateDev, "full", "open"),
    (Rule::Pids, "full", "open"),
    (Rule::Ipc, "full", "open"),
    (Rule::Uts, "full", "open"),
    (Rule::Net, "full", "none"),
    (Rule::Capabilities, "full", "open"),
    (Rule::Descriptors, "full", "open"),
    (Rule::Session, "full", "open"),
    (Rule::Read, "kernel", "open"),
    (Rule::Write, "kernel", "open"),
    (Rule::Signals, "kernel", "open"),
    (Rule::AbstractSockets, "full", "open"),
    (Rule::Ports, "full", "providers"),
    (Rule::Trace, "full", "open"),
    (Rule::Namespaces, "full", "open"),
    (Rule::Mounting, "full", "open"),
    (Rule::Keyrings, "full", "open"),
    (Rule::IoUring, "full", "open"),
    (Rule::Kernel, "full", "open"),
    (Rule::Handles, "full", "open"),
    (Rule::Others, "kernel", "open"),
    (Rule::Families, "full", "open"),
    (Rule::Netlink, "full", "open"),
    (Rule::Protocols, "full", "providers"),
    (Rule::FastOpen, "full", "providers"),
    (Rule::LocalSockets, "kernel", "open"),
    (Rule::SystemV, "kernel", "open"),
    (Rule::Terminal, "full", "open"),
    (Rule::ForeignCalls, "full", "open"),
];

#[test]
fn each_rule_is_missed() {
    let tried: Vec<Rule> = RULES.iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(tried, Rule::ALL, "every rule is left out once");
    let user = None;
    let stage = Stage::new("each_rule_is_missed", user);
    let mut not_missed = Vec::new();
    for (rule, walls, network) in RULES {
        if *rule == Rule::Capabilities && !rustix::process::geteuid().is_root() {
            println!("{rule:?} was not left out: only root has capabilities");
            continue;
        }
        let name = serde_json::to_value(rule).expect("a name");
        let args = ["--without", name.as_str().expect("a text"), "-c", &format!("network={network}")];
        let Some(seen) = stage.prove_with(walls, &args) else { continue };
        let through: Vec<u64> =
            seen.rows.iter().filter(|(_, row)| row.verdict == "OTHERWISE").map(|(n, _)| *n).collect();
        println!("without {rule:?} ({walls}, {network}): {through:?}");
        if through.is_empty() || seen.code != Some(1) {
            not_missed.push(format!("{rule:?}: {:?} {}", seen.code, seen.stderr));
        }
    }
    assert!(not_missed.is_empty(), "nothing gets through without these: {not_missed:#?}");
}

/// Fit for cron: a good proof says nothing with `-q`, a bad one only what is bad.
#[test]
fn a_proof_leaves_nothing_and_is_quiet() {
    let stage = Stage::new("a_proof_leaves_nothing", None);
    let quiet = |args: &[&str]| {
        let output = stage.root.run(&[&["-q", "doctor", "--prove"], args].concat());
        (output.code, output.stdout, output.stderr)
    };
    assert_eq!(quiet(&["-c", "walls=off"]), (Some(0), String::new(), String::new()));
    let (code, stdout, stderr) = quiet(&["-c", "walls=full", "--without", "uts"]);
    if !stderr.contains("bubblewrap") {
        assert_eq!(code, Some(1), "{stdout}{stderr}");
        assert!(stdout.contains("OTHERWISE") && stdout.contains("183 see the machine's name"), "{stdout}");
        assert!(!stdout.contains('\x1b'), "no colours where nobody sees them: {stdout:?}");
    }
    let left: Vec<_> = walkdir::WalkDir::new(stage.root.path().join("state/prove"))
        .into_iter()
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(left, ["prove", "lock"]);
    let seen = stage.prove(&["-c", "walls=off"]);
    let how = &seen.rows[&58].how;
    let token = how.split('/').next_back().and_then(|name| name.split('-').next()).expect("a name");
    assert_eq!(token.len(), 32, "{how}");
    for dir in ["/tmp", "/dev/shm", "/dev/mqueue", "/etc"] {
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains(token)).collect();
        assert!(left.is_empty(), "{dir}: {left:?}");
    }
    let keys = fs_err::read_to_string("/proc/keys").unwrap_or_default();
    assert!(!keys.contains(token), "{keys}");
}

#[test]
fn only_one_proof_is_made_at_once() {
    let stage = Stage::new("only_one_proof_at_once", None);
    let lock = stage.root.path().join("state/prove/lock");
    stage.prove(&["-c", "walls=off"]).assert_as_expected("the first");
    let held = fs_err::File::open(&lock).expect("the lock");
    held.lock().expect("held");
    let output = stage.root.run(&["doctor", "--prove"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(1), "error: another proof is running in this root\n"));
}

#[test]
fn the_table_is_in_order() {
    let numbers: Vec<u16> = ATTEMPTS.iter().map(|attempt| attempt.number).collect();
    let different: BTreeSet<u16> = numbers.iter().copied().collect();
    assert_eq!(different.len(), numbers.len(), "no number is given twice");
    assert!((1..=76).all(|number| different.contains(&number)), "the battery is whole");
    let names: BTreeSet<&str> = ATTEMPTS.iter().map(|attempt| attempt.name).collect();
    assert_eq!(names.len(), ATTEMPTS.len(), "no two have one name");
}
