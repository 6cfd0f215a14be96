//! What a person reads, with the parts that differ from run to run replaced.

use uuid::Uuid;

use super::root::{Output, Root};

/// Exit code and standard error; paths of the test are `~test`.
pub(crate) fn words(root: &Root, output: &Output) -> String {
    let code = output.code.map_or_else(|| "signal".to_owned(), |code| code.to_string());
    plain(root, &format!("{code}\n{}", output.stderr))
}

/// A text with the directory of the test, times and numbers in names, and ids replaced.
pub(crate) fn plain(root: &Root, text: &str) -> String {
    let name = root.dir().file_name().expect("a name");
    let built = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = text.replace(&root.dir().display().to_string(), "~test");
    let text = text.replace(&built.display().to_string(), "~test");
    let mut plain = String::new();
    let mut rest = text.trim_end();
    while let Some(first) = rest.chars().next() {
        if rest.get(..20).is_some_and(is_time) {
            plain.push_str("<time>");
            rest = &rest[20..];
        } else if rest.get(..36).is_some_and(|start| start.parse::<Uuid>().is_ok()) {
            plain.push_str("<id>");
            rest = &rest[36..];
        } else if rest.get(..16).is_some_and(|start| start.bytes().all(|byte| byte.is_ascii_digit())) {
            plain.push_str("<number>");
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            plain.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    plain
}

/// Whether a text is a time as it is put into names: `20260102T030405.678Z`.
fn is_time(text: &str) -> bool {
    let shape = "00000000T000000.000Z";
    text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, like)| if like == b'0' { byte.is_ascii_digit() } else { byte == like })
}
