//! What the tests of all providers share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{Continuation, Files, Invocation, LoginUser, Options, Parser, ProcessEnd, ProviderEvent, Turn, TurnPaths};
use crate::config::Environment;
use crate::session::{Brief, PermissionMode};

pub(crate) const NEW_ID: &str = "00000000-0000-4000-8000-000000000001";

/// Everything that a turn borrows.
pub(crate) struct Fixture {
    pub(crate) options: Options,
    pub(crate) place: TurnPaths,
    pub(crate) environment: Environment,
    pub(crate) brief: Brief,
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            options: Options::none("x"),
            place: place("claude"),
            environment: Environment::default(),
            brief: Brief::new(b"Be kind.", Path::new("memory"), b""),
            files: BTreeMap::new(),
        }
    }
}

/// The place of a provider's turn in session `a` below `/r`.
pub(crate) fn place(provider: &str) -> TurnPaths {
    TurnPaths {
        session: "/r/sessions/a".into(),
        folder: "a".into(),
        conversations: Path::new("/r/sessions/a/provider").join(provider),
        home: Path::new("/r/state/homes/a").join(provider),
        working_dir: "/r/sessions/a".into(),
        memory: "/r/sessions/a/memory".into(),
        new_home: false,
    }
}

/// Files that are nowhere else.
struct InMemory(BTreeMap<PathBuf, Vec<u8>>);

impl Files for InMemory {
    fn find(&self, path: &Path) -> Option<PathBuf> {
        self.0.contains_key(path).then(|| path.to_owned())
    }

    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.0.get(path).cloned()
    }
}

impl Fixture {
    /// A turn; the user is leaked, because it borrows the fixture's files.
    pub(crate) fn turn<'a>(&'a self, continuation: &'a Continuation, prompt: &'a str) -> Turn<'a> {
        let files: &'static InMemory = Box::leak(Box::new(InMemory(self.files.clone())));
        let user =
            Box::leak(Box::new(LoginUser { environment: &self.environment, home: Some(Path::new("/h")), files }));
        Turn {
            program: Path::new("/bin/program"),
            options: &self.options,
            place: &self.place,
            user,
            continuation,
            new_id: NEW_ID.parse::<Uuid>().expect("a uuid"),
            prompt,
            raw: false,
            brief: &self.brief,
            told: false,
            model: None,
            permission_mode: PermissionMode::AcceptEdits,
            stream: false,
            walled: false,
            asks: false,
        }
    }
}

pub(crate) fn args(invocation: &Invocation) -> Vec<String> {
    invocation.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
}

pub(crate) fn env<'a>(invocation: &'a Invocation, name: &str) -> Option<&'a str> {
    invocation.env.iter().find(|(found, _)| found == name).and_then(|(_, value)| value.to_str())
}

/// All events of some lines and an end.
pub(crate) fn events(parser: &mut dyn Parser, lines: &[&str], code: Option<i32>, stderr: &str) -> Vec<ProviderEvent> {
    let mut events = Vec::new();
    for line in lines {
        parser.line(line, &mut events);
    }
    parser.end(&ProcessEnd { code, stderr }, &mut events);
    events
}
