//! The walls, held against an adversary that tries to get through: the attempts
//! of `denizen::prove::ATTEMPTS`, in every mode, as root and as an ordinary user.

use std::collections::BTreeSet;

use denizen::prove::ATTEMPTS;

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
        let off = stage.prove(&[]);
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

#[test]
fn the_table_is_in_order() {
    let numbers: Vec<u16> = ATTEMPTS.iter().map(|attempt| attempt.number).collect();
    let different: BTreeSet<u16> = numbers.iter().copied().collect();
    assert_eq!(different.len(), numbers.len(), "no number is given twice");
    assert!((1..=76).all(|number| different.contains(&number)), "the battery is whole");
    let names: BTreeSet<&str> = ATTEMPTS.iter().map(|attempt| attempt.name).collect();
    assert_eq!(names.len(), ATTEMPTS.len(), "no two have one name");
}
