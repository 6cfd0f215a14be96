//! `verify`: could this tree be restored? Every session on its own, then what
//! lies around them. Nothing is written, and memory does not grow with the tree.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use serde::Serialize;

use super::check::{Check, Checked};
use super::finding::{Finding, FindingKind, Severity, finding};
use super::permissions::{accessible, private};
use super::{ArchiveError, Extent, Tree};
use crate::causes::with_causes;
use crate::config::{Config, ConfigInputs, Environment};
use crate::files::{self, Dir, quoted};
use crate::session::{Grant, Queue, Store, Workspace};

/// How often a session is looked at again that changes meanwhile.
const LOOKS: usize = 3;

/// What was found in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// How many sessions there are.
    pub sessions: u64,
    /// How many of them have nothing wrong.
    pub sound: u64,
    /// How many things are damaged.
    pub damaged: u64,
    /// How many things have to be put right.
    pub wrong: u64,
    /// How many things are only worth knowing.
    pub notes: u64,
    /// How many turns all sessions have taken.
    pub turns: u64,
    /// The size of all their files, in bytes.
    pub bytes: u64,
}

impl VerifyReport {
    fn count(&mut self, findings: &[Finding]) {
        for finding in findings {
            match finding.severity {
                Severity::Damaged => self.damaged += 1,
                Severity::Wrong => self.wrong += 1,
                Severity::Note => self.notes += 1,
            }
        }
    }

    /// Whether everything can be restored as it was.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged == 0 && self.wrong == 0
    }
}

/// Looks at everything in a tree; `in_use` where it is the one that this program
/// works in, not a copy. `step` hears of each session, `tell` of each finding, as
/// they come.
///
/// # Errors
/// If the tree cannot be listed.
pub fn verify(
    tree: &Tree,
    in_use: bool,
    step: &mut dyn FnMut(),
    tell: &mut dyn FnMut(&Finding),
) -> Result<VerifyReport, ArchiveError> {
    let mut verdict = VerifyReport::default();
    let state = tree.with_state();
    // Names that a power cut left to files are removed by whatever changes the
    // root next; until then no file is blamed for them.
    let in_use = in_use && !state.as_ref().is_some_and(|store| files::has_unfinished_renames(&store.state_path("tmp")));
    let owner = tree.sessions_path().metadata().ok().map(|metadata| metadata.uid());
    let around = RootContext { tree, owner, in_use };
    let mut found = around.root();
    found.extend(around.trash());
    found.extend(around.grants());
    verdict.count(&found);
    found.iter().for_each(&mut *tell);
    let names = Mutex::new(tree.names()?);
    let next = || names.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(64);
        for _ in 0..threads {
            let send = send.clone();
            let (next, state) = (&next, state.as_ref());
            scope.spawn(move || {
                while let Some(name) = next() {
                    let checked = name.map(|name| look(tree, &name, state, in_use, owner));
                    if send.send(checked).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        for checked in receive {
            match checked? {
                FolderLook::Session(checked) => {
                    verdict.sessions += 1;
                    verdict.turns = verdict.turns.saturating_add(checked.turns);
                    verdict.bytes = verdict.bytes.saturating_add(checked.bytes);
                    let sound = checked.findings.iter().all(|finding| finding.severity == Severity::Note);
                    verdict.sound += u64::from(sound);
                    verdict.count(&checked.findings);
                    checked.findings.iter().for_each(&mut *tell);
                }
                FolderLook::Stray(finding) => {
                    verdict.count(std::slice::from_ref(&finding));
                    tell(&finding);
                }
            }
            step();
        }
        Ok::<_, ArchiveError>(())
    })?;
    Ok(verdict)
}

/// Looks at one session's folder, wherever it is.
#[must_use]
pub fn check_folder(workspace: &Workspace) -> Checked {
    Check::of(workspace, None, None, false).run()
}

/// What stands under a name among the sessions.
enum FolderLook {
    Session(Checked),
    Stray(Finding),
}

fn look(tree: &Tree, name: &str, state: Option<&Store>, in_use: bool, owner: Option<u32>) -> FolderLook {
    let path = tree.sessions_path().join(name);
    let stray = |problem: String| {
        let remedy = format!("look at it, and move it away: ls -ld {}", quoted(&path));
        FolderLook::Stray(finding(FindingKind::Stray, None, &path, problem).remedy(remedy))
    };
    let unreadable = |problem: String| {
        let found = finding(FindingKind::Unreadable, Some(name), &path, problem);
        let found = found.lost("the whole session").remedy(format!("look at it: ls -ld {}", quoted(&path)));
        FolderLook::Session(Checked { folder: name.to_owned(), findings: vec![found], turns: 0, bytes: 0 })
    };
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) => return unreadable(error.to_string()),
    };
    if !metadata.is_dir() {
        let what = if metadata.is_symlink() { "a link" } else { "a file" };
        return stray(format!("it is {what}, not a session's folder"));
    }
    // What rsync and some editors make while they work.
    if name.starts_with('.') {
        return stray("its name is hidden, so it is no session's folder".to_owned());
    }
    let opened = if in_use { tree.own_workspace(name) } else { tree.workspace(name) };
    let workspace = match opened {
        Ok(workspace) => workspace,
        Err(error) => return unreadable(with_causes(&error)),
    };
    let looked = || Check::of(&workspace, Some(tree), owner, in_use).run();
    let stamp = || workspace.dir().stamp(Path::new("session.json")).ok().flatten();
    let mut checked = looked();
    for _ in 1..LOOKS {
        // A turn that ends between two reads shows a session that never was.
        let before = stamp();
        if (state.is_none() && !in_use) || checked.findings.is_empty() {
            break;
        }
        let again = looked();
        let settled = again == checked && stamp() == before;
        checked = again;
        if settled {
            break;
        }
    }
    if let Some(store) = state {
        checked.findings.extend(queue(store, name));
    }
    FolderLook::Session(checked)
}

/// The unanswered messages of a session that cannot be read.
fn queue(store: &Store, folder: &str) -> Vec<Finding> {
    let path = store.queue_path(folder);
    if !path.is_dir() {
        return Vec::new();
    }
    let pending = match Queue::open(store, folder).and_then(|queue| queue.pending()) {
        Ok(pending) => pending,
        Err(error) => {
            let found = finding(FindingKind::Queue, Some(folder), &path, with_causes(&error));
            let remedy = format!("look at it: ls -ld {}", quoted(&path));
            return vec![found.lost("the messages that were not answered").remedy(remedy)];
        }
    };
    let broken = pending.into_iter().filter_map(|pending| Some((pending.number, pending.message.err()?)));
    broken
        .map(|(number, error)| {
            let entry = path.join(format!("{number:016}.entry"));
            finding(FindingKind::Queue, Some(folder), &entry, with_causes(&error))
                .lost("one message that was not answered")
                .remedy(format!("look at it, send its message again, and delete it: {}", quoted(&entry)))
        })
        .collect()
}

/// What lies around the sessions of a whole root.
struct RootContext<'a> {
    tree: &'a Tree,
    owner: Option<u32>,
    in_use: bool,
}

impl RootContext<'_> {
    fn root(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if !matches!(self.tree.extent(), Extent::Session(_)) {
            found.extend(private(self.tree.sessions_path(), 0o700, None, self.owner));
        }
        let Some(root) = self.tree.root() else { return found };
        // Its owner may have made it for more than this; what is in it is private.
        found.extend(accessible(root, 0o022, 0o700, None, self.owner));
        let file = root.join("denizen.toml");
        if file.symlink_metadata().is_ok() {
            let loaded = Config::load(ConfigInputs {
                root,
                // Whose home `~/` will be is not known here, and any will do.
                home: Some(Path::new("/")),
                file: &file,
                required: true,
                environment: &Environment::default(),
                overrides: &[],
            });
            if let Err(error) = loaded {
                found.push(
                    finding(FindingKind::Configuration, None, &file, with_causes(&error))
                        .remedy("correct it by hand, or take the file from an older backup"),
                );
            }
        }
        found
    }

    fn trash(&self) -> Vec<Finding> {
        let Some(root) = self.tree.root() else { return Vec::new() };
        let trash = root.join("trash");
        let entries = std::fs::read_dir(&trash).into_iter().flatten().flatten();
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let record = Dir::open(&path).map(|dir| Workspace::of_copy(&name, dir).record());
            let error = match record {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => with_causes(&error),
                Err(error) => with_causes(&error),
            };
            found.push(finding(
                FindingKind::Trash,
                None,
                &path,
                format!("a removed session that cannot be read: {error}"),
            ));
        }
        found
    }

    fn grants(&self) -> Vec<Finding> {
        let Some(root) = self.tree.root() else { return Vec::new() };
        let path = root.join("access/sessions");
        let mut found = Vec::new();
        for dir in [root.join("access"), path.clone()] {
            if dir.is_dir() {
                found.extend(private(&dir, 0o700, None, self.owner));
            }
        }
        let Ok(dir) = Dir::open(&path) else { return found };
        let dir = if self.in_use { dir } else { dir.with_hard_links() };
        for name in dir.names().unwrap_or_default() {
            let file = path.join(&name);
            let Some(folder) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
                found.push(finding(FindingKind::LeftBehind, None, &file, "it is no grant"));
                continue;
            };
            found.extend(private(&file, 0o600, Some(folder), self.owner));
            let grant = match Grant::read_in(&dir, folder) {
                Ok(grant) => grant,
                Err(error) => {
                    found.push(
                        finding(FindingKind::Grant, Some(folder), &file, with_causes(&error))
                            .lost("what the owner granted to this session")
                            .remedy(format!(
                                "grant it again: `denizen cd {folder} DIR`, or take the file from an older backup"
                            )),
                    );
                    continue;
                }
            };
            let unused = match self.tree.workspace(folder).map(|workspace| workspace.record()) {
                Ok(Ok(record)) => record.uuid != grant.uuid,
                // It may be the same one.
                Ok(Err(_)) => false,
                Err(error) => error.is_not_found(),
            };
            if unused {
                let problem = "no session here has its uuid, so it counts for nobody";
                found.push(finding(FindingKind::GrantUnused, Some(folder), &file, problem));
            }
        }
        found
    }
}
