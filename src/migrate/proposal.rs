//! What an earlier system's settings would be in `denizen.toml`: comments, for
//! the owner to look through. Secrets stay where they are; only their place is
//! written.

use std::path::Path;

use super::plan::MigrationPlan;
use crate::files::{self, Dir, Staging};

/// Lines of configuration as comments, under a line that says where they come from.
#[must_use]
pub(super) fn commented(file: &Path, what: &str, lines: &[String]) -> Vec<String> {
    let first = format!("From `{}`: {what}", file.display());
    let line = |line: &str| {
        // Whatever a name holds, it stays on its line, in its comment.
        let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("# {plain}")
    };
    std::iter::once(line(&first)).chain(lines.iter().map(|text| line(text))).collect()
}

/// A value that is read from where it is now: a field of a JSON file.
#[must_use]
pub(super) fn from_file(file: &Path, fields: &[&str]) -> String {
    let filter: String = fields.iter().map(|field| format!(".{field}")).collect();
    let command: Vec<String> =
        ["jq".to_owned(), "-r".to_owned(), filter, file.display().to_string()].into_iter().collect();
    format!("{{ command = {} }}", toml::Value::from(command))
}

/// Puts the proposals at the end of the configuration file, once each. Returns
/// whether anything was added.
///
/// # Errors
/// If the file cannot be read or replaced; it is then as it was.
pub(super) fn append(plan: &MigrationPlan, config_file: &Path, staging: &Staging) -> Result<bool, files::Error> {
    /// The largest configuration that is read, in bytes.
    const MAX_BYTES: u64 = 1 << 20;
    if plan.proposals.is_empty() {
        return Ok(false);
    }
    let (Some(parent), Some(name)) = (config_file.parent(), config_file.file_name()) else { return Ok(false) };
    let dir = Dir::open(
        &std::fs::canonicalize(parent).map_err(|source| files::Error::io("open the directory", parent, source))?,
    )?;
    let before = match dir.read(Path::new(name), MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    let Ok(mut text) = String::from_utf8(before) else { return Ok(false) };
    let length = text.len();
    for (_, lines) in &plan.proposals {
        let block = lines.join("\n");
        if text.contains(&block) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
        }
        text.push_str("# Proposed by `denizen migrate`: nothing below counts as long as it is a comment.\n");
        text.push_str(&block);
        text.push('\n');
    }
    if text.len() == length {
        return Ok(false);
    }
    dir.replace(Path::new(name), text.as_bytes(), staging)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_comment() {
        let lines = commented(Path::new("/a\nb"), "x\ny = 1", &["owners = [\"\"\"\nprovider = 1".to_owned()]);
        assert_eq!(lines, ["# From `/a b`: x y = 1", "# owners = [\"\"\" provider = 1"]);
    }

    #[test]
    fn a_secret_is_named_by_its_place() {
        assert_eq!(
            from_file(Path::new("/bot/settings.json"), &["discord", "token"]),
            r#"{ command = ["jq", "-r", ".discord.token", "/bot/settings.json"] }"#
        );
    }
}
