//! The modules stand in the order of `lib.rs` and name only modules above them
//! in that list, and no files name each other in a circle. Providers and commands
//! are files, and each file is in its list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::support::imports::{Imports, Module, circles, rust_files};

/// What each file of `src` names, read once.
static EDGES: LazyLock<BTreeMap<Module, BTreeSet<Module>>> = LazyLock::new(|| Imports::read(&source()).edges());

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of `lib.rs`, from the bottom up.
fn layers() -> Vec<String> {
    let lib = std::fs::read_to_string(source().join("lib.rs")).expect("lib.rs");
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

/// The violations of some files, each a sentence.
fn violations(layers: &[String], edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let place = |module: &Module| layers.iter().position(|layer| Some(layer) == module.first());
    let mut found = Vec::new();
    for (module, others) in edges {
        for other in others.iter().filter(|other| place(other) > place(module)) {
            found.push(format!("`{}` names `{}`, which stands above it", module.join("::"), other.join("::")));
        }
    }
    found
}

#[test]
fn modules_name_only_modules_below_them() {
    let layers = layers();
    assert!(layers.len() >= 12, "lib.rs was read: {layers:?}");
    assert!(EDGES.len() > 100, "the files were read");
    assert_eq!(violations(&layers, &EDGES), Vec::<String>::new());
}

/// Circles that are left, each by the first of its files. The list only gets
/// shorter.
const CIRCLES: &[&str] =
    &["config", "files::dir", "process", "provider", "repository::after", "repository::find", "session::claim"];

#[test]
fn no_files_name_each_other_in_a_circle() {
    let found = circles(&EDGES);
    let first: Vec<String> = found.iter().map(|circle| circle[0].join("::")).collect();
    let words: Vec<String> = found
        .iter()
        .map(|circle| circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(", "))
        .collect();
    assert_eq!(first, CIRCLES, "{} circles:\n{}", words.len(), words.join("\n"));
}

#[test]
fn what_breaks_the_order_is_seen_however_it_is_written() {
    let module = |path: &str| path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect::<Module>();
    let layers = ["low", "high"].map(str::to_owned);
    let low = "pub mod inner; pub struct Low;";
    for upward in [
        "use crate::high::High;",
        "use crate::{high::High, low};",
        "use crate::{high as other};",
        "fn f() { let _ = crate::high::High; }",
        "fn f() { println!(\"{:?}\", crate::high::High); }",
        "use super::super::high::Again;",
    ] {
        let files = [
            ("", ""),
            ("low", low),
            ("low::inner", upward),
            ("high", "pub struct High; pub use crate::low::Low as Again2;"),
        ];
        let files = files.map(|(path, text)| (module(path), text.to_owned()));
        let expected = ["`low::inner` names `high`, which stands above it"];
        assert_eq!(violations(&layers, &Imports::of(files).edges()), expected, "{upward}");
    }
    for fine in ["use super::Low;", "use crate::low::Low;", "#[cfg(test)] mod tests { use crate::high::High; }"] {
        let files = [("", ""), ("low", low), ("low::inner", fine), ("high", "use crate::low::inner;")];
        let edges = Imports::of(files.map(|(path, text)| (module(path), text.to_owned()))).edges();
        assert_eq!((violations(&layers, &edges), circles(&edges)), (Vec::new(), Vec::new()), "{fine}");
    }
    // Through a re-export, and back.
    let files = [
        ("", ""),
        ("low", "mod one; mod two; pub use one::One; pub use two::Two;"),
        ("low::one", "use super::Two; pub struct One;"),
        ("low::two", "use crate::low::{One}; pub struct Two;"),
    ];
    let edges = Imports::of(files.map(|(path, text)| (module(path), text.to_owned()))).edges();
    assert_eq!(circles(&edges), [[module("low::one"), module("low::two")]]);
}

/// Type names that stand in several places on purpose, with the reason.
const TWINS: &[(&str, &str)] = &[];

#[test]
fn no_type_name_stands_twice() {
    let twins = Imports::read(&source()).twins();
    let excepted: BTreeSet<&str> = TWINS.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = twins.keys().map(String::as_str).collect();
    assert_eq!(found, excepted, "{twins:#?}");

    let module = |name: &str| vec![name.to_owned()];
    let files = [
        (vec![], String::new()),
        (module("a"), "struct One; mod inner { enum Two {} } #[cfg(test)] mod tests { struct Three; }".to_owned()),
        (module("b"), "trait One {} fn f() { type Two = u8; } struct Three;".to_owned()),
    ];
    let twins = Imports::of(files).twins();
    assert_eq!(twins.keys().collect::<Vec<_>>(), ["One", "Two"], "those of tests do not count");
}

#[test]
fn every_file_says_what_it_is_and_stays_small() {
    for path in rust_files(&source()) {
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.starts_with("//! "), "{} opens with what it is", path.display());
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().count();
        assert!(lines <= 500, "{} has {lines} lines without its tests, at most 500", path.display());
    }
}

#[test]
fn every_provider_file_is_in_the_list() {
    let files: BTreeSet<String> = std::fs::read_dir(source().join("provider"))
        .expect("a directory")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| {
            !["mod", "login", "options", "permission", "testing", "turn", "environment"].contains(&name.as_str())
        })
        .collect();
    let listed: BTreeSet<String> = denizen::cli::provider_names().into_iter().map(str::to_owned).collect();
    assert_eq!(files, listed);
}

#[test]
fn every_importer_file_is_in_the_list() {
    let common =
        ["apply", "fields", "importer", "keys", "locate", "mod", "plan", "proposal", "read", "receipt", "take", "undo"];
    let files: BTreeSet<String> = std::fs::read_dir(source().join("migrate"))
        .expect("a directory")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(|name| name.replace('_', "-")))
        .filter(|name| !common.contains(&name.as_str()))
        .collect();
    let listed: BTreeSet<String> =
        denizen::migrate::IMPORTERS.iter().map(|importer| importer.name().to_owned()).collect();
    assert_eq!(files, listed);
}

#[test]
fn every_channel_file_is_in_the_list() {
    let common = ["client", "connection", "event", "examined", "http", "mod", "section", "text", "tls"];
    let files: BTreeSet<String> = std::fs::read_dir(source().join("channel"))
        .expect("a directory")
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.trim_end_matches(".rs").to_owned()))
        .filter(|name| !common.contains(&name.as_str()))
        .collect();
    let listed: BTreeSet<String> = denizen::channel::CHANNELS.iter().map(|channel| channel.name().to_owned()).collect();
    assert_eq!(files, listed);
}

#[test]
fn every_command_has_a_file() {
    for command in denizen::cli::command().get_subcommands() {
        let name = if command.get_name() == "unarchive" { "archive" } else { command.get_name() };
        let file = source().join("cli").join(format!("{name}.rs"));
        assert!(file.exists(), "{} is missing", file.display());
    }
}
