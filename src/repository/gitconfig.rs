//! Git's configuration files, as far as one has to know what they run
//! (git-config(1), "Syntax").

/// The entries of a configuration file: the key, section and name in lower case
/// as `section.Sub Section.name`, and its value.
pub(super) fn entries(text: &str) -> Vec<(String, String)> {
    let mut reader = Reader { rest: text.trim_start_matches('\u{feff}') };
    let mut section = String::new();
    let mut found = Vec::new();
    loop {
        reader.rest = reader.rest.trim_start();
        match reader.rest.chars().next() {
            None => return found,
            Some('#' | ';') => reader.skip_line(),
            Some('[') => section = reader.section(),
            Some(first) if first.is_ascii_alphabetic() => {
                let name = reader.take(|c| c.is_ascii_alphanumeric() || c == '-').to_ascii_lowercase();
                reader.take(|c| c == ' ' || c == '\t');
                let value = match reader.rest.strip_prefix('=') {
                    Some(rest) => {
                        reader.rest = rest;
                        reader.value()
                    }
                    None => {
                        reader.skip_line();
                        "true".to_owned()
                    }
                };
                found.push((format!("{section}.{name}"), value));
            }
            // Git refuses such a file; what else it holds is looked at all the same.
            Some(_) => reader.skip_line(),
        }
    }
}

/// Whether git takes the value of a key for a program, or for a file or
/// directory that names programs.
pub(super) fn runs(key: &str, value: &str) -> bool {
    let section = key.split('.').next().unwrap_or_default();
    let name = key.rsplit('.').next().unwrap_or_default();
    match (section, name) {
        ("alias", _) | ("submodule", "update") => value.starts_with('!'),
        ("core", "fsmonitor") => !matches!(
            value.to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "1" | "0" | ""
        ),
        ("core", "gitproxy" | "askpass" | "hookspath") | ("diff", "external") | ("interactive", "difffilter") => true,
        ("include" | "includeif" | "difftool" | "mergetool", "path")
        | ("remote", "uploadpack" | "receivepack" | "vcs") => true,
        ("pager", _) => !matches!(value, "true" | "false"),
        _ => [
            "command", "cmd", "program", "helper", "driver", "textconv", "clean", "smudge", "process", "editor",
            "pager", "hook", "browser",
        ]
        .iter()
        .any(|end| name.ends_with(end)),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip_line(&mut self) {
        self.take(|c| c != '\n');
    }

    /// `[section]`, `[section.sub]` or `[section "Sub Section"]`.
    fn section(&mut self) -> String {
        let mut name = String::new();
        let (mut quoted, mut escaped) = (false, false);
        let mut chars = self.rest.char_indices().skip(1);
        for (at, c) in chars.by_ref() {
            match c {
                _ if escaped => {
                    escaped = false;
                    name.push(c);
                }
                '\\' if quoted => escaped = true,
                '"' => {
                    if !quoted {
                        name.push('.');
                    }
                    quoted = !quoted;
                }
                ']' if !quoted => {
                    self.rest = &self.rest[at + 1..];
                    return name;
                }
                '\n' => break,
                _ if quoted => name.push(c),
                _ if c.is_whitespace() => {}
                _ => name.push(c.to_ascii_lowercase()),
            }
        }
        self.skip_line();
        name
    }

    /// A value up to the end of its line, or of the line that it goes on in.
    fn value(&mut self) -> String {
        let mut value = String::new();
        // How much of it stays, whatever blanks end it.
        let mut kept = 0;
        let mut quoted = false;
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\n' => {
                    end = at;
                    break;
                }
                '\\' => {
                    match chars.next().map(|(_, c)| c) {
                        Some('n') => value.push('\n'),
                        Some('t') => value.push('\t'),
                        Some('\n') | None => continue,
                        Some('\r') => {
                            chars.next();
                            continue;
                        }
                        Some(c) => value.push(c),
                    }
                    kept = value.len();
                }
                '"' => {
                    quoted = !quoted;
                    kept = value.len();
                }
                '#' | ';' if !quoted => {
                    end = at;
                    break;
                }
                _ if c.is_whitespace() && !quoted => {
                    if !value.is_empty() {
                        value.push(c);
                    }
                }
                _ => {
                    value.push(c);
                    kept = value.len();
                }
            }
        }
        self.rest = &self.rest[end..];
        self.skip_line();
        value.truncate(kept);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_git_reads_it() {
        let text = "; one\n[core] bare = false\n\tHooksPath = \"a b\"/c # where\n\tfsmonitor\n\
            [filter \"X.y\"]\r\n  clean = one \\\n  two ; not this\r\n[alias]\n s = \"!sh -c \\\"x\\\"\"\n e =\n";
        let read = entries(text);
        let expected = [
            ("core.bare", "false"),
            ("core.hookspath", "a b/c"),
            ("core.fsmonitor", "true"),
            ("filter.X.y.clean", "one   two"),
            ("alias.s", "!sh -c \"x\""),
            ("alias.e", ""),
        ];
        assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_names_programs_is_told_from_what_does_not() {
        for (key, value) in [
            ("core.fsmonitor", "./x"),
            ("core.hookspath", ".githooks"),
            ("core.sshcommand", "ssh -i x"),
            ("filter.a.smudge", "x"),
            ("diff.a.textconv", "x"),
            ("merge.a.driver", "x"),
            ("credential.https://a.helper", "x"),
            ("gpg.program", "x"),
            ("alias.st", "!x"),
            ("include.path", "x"),
        ] {
            assert!(runs(key, value), "{key}");
        }
        for (key, value) in [
            ("core.fsmonitor", "true"),
            ("core.bare", "false"),
            ("alias.st", "status"),
            ("remote.origin.url", "https://a"),
            ("branch.main.merge", "refs/heads/main"),
            ("user.name", "x"),
        ] {
            assert!(!runs(key, value), "{key}");
        }
    }
}
