//! The modules stand in the order of `lib.rs`, and name only modules above
//! them. Providers and commands are files, and each file is in its list.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of `lib.rs`, from the bottom up.
fn layers() -> Vec<String> {
    let lib = std::fs::read_to_string(source().join("lib.rs")).expect("lib.rs");
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(dir).into_iter().flatten();
    entries.map(walkdir::DirEntry::into_path).filter(|path| path.extension().is_some_and(|e| e == "rs")).collect()
}

/// The modules that a file names by `crate::<module>`.
fn named(text: &str) -> BTreeSet<String> {
    text.split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

/// The violations of some files, each a sentence.
fn violations(layers: &[String], files: &[(String, String)]) -> Vec<String> {
    let place = |module: &str| layers.iter().position(|layer| layer == module);
    let mut found = Vec::new();
    for (file, text) in files {
        let own = file.split(['/', '.']).next().unwrap_or_default();
        let Some(own_place) = place(own) else { continue };
        for other in named(text) {
            if place(&other).is_some_and(|other_place| other_place > own_place) {
                found.push(format!("{file} names `{other}`, which stands above `{own}`"));
            }
        }
    }
    found
}

#[test]
fn modules_name_only_modules_below_them() {
    let layers = layers();
    assert!(layers.len() >= 12, "lib.rs was read: {layers:?}");
    let files: Vec<(String, String)> = rust_files(&source())
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(source()).expect("below src").display().to_string();
            (name, std::fs::read_to_string(&path).expect("readable"))
        })
        .collect();
    assert_eq!(violations(&layers, &files), Vec::<String>::new());
    let upward = vec![("key.rs".to_owned(), "use crate::files::Dir;".to_owned())];
    assert_eq!(violations(&layers, &upward), ["key.rs names `files`, which stands above `key`"]);
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
    let common = ["apply", "fields", "keys", "locate", "mod", "plan", "proposal", "read", "receipt", "take", "undo"];
    let files: BTreeSet<String> = std::fs::read_dir(source().join("legacy"))
        .expect("a directory")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(|name| name.replace('_', "-")))
        .filter(|name| !common.contains(&name.as_str()))
        .collect();
    let listed: BTreeSet<String> =
        denizen::legacy::IMPORTERS.iter().map(|importer| importer.name().to_owned()).collect();
    assert_eq!(files, listed);
}

#[test]
fn every_channel_file_is_in_the_list() {
    let common = ["examined", "heard", "http", "mod", "network", "section", "text", "tls"];
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
