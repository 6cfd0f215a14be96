//! The README's commands are commands: the first is run as it is written, and
//! every other is read by the program's own parser.

use std::path::Path;

use crate::support::root::Root;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md")
}

/// The lines of all shell blocks.
fn shell_lines() -> Vec<String> {
    let text = readme();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// The words of a line, without its comment. Enough of a shell for the README.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut begun = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                begun = true;
            }
            '#' if !quoted && !begun => break,
            ' ' if !quoted => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

#[test]
fn the_first_command_does_the_main_job() {
    let line = shell_lines().into_iter().find(|line| line.starts_with("cargo run")).expect("the first command");
    let words = words(&line);
    assert_eq!(words[..4], ["cargo", "run", "--release", "--"]);
    let root = Root::new("readme");
    let args: Vec<&str> = words[4..].iter().map(String::as_str).collect();
    let output = root.run(&args);
    assert_eq!(output.stderr, "");
    assert_eq!(output.stdout, "Noted: the garden gate is blue (turn 1)\n");
}

#[test]
fn every_command_is_one() {
    let mut seen = 0;
    for line in shell_lines() {
        let Some(at) = line.find("denizen ").filter(|at| *at == 0 || line[..*at].ends_with("| ")) else { continue };
        let words = words(&line[at..]);
        let parsed = denizen::cli::command().try_get_matches_from(&words);
        assert!(parsed.is_ok(), "{line}\n{}", parsed.expect_err("an error"));
        seen += 1;
    }
    assert!(seen > 15, "the README was read: {seen}");
}

#[test]
fn every_page_exists() {
    let text = readme();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.contains("://")) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
}
