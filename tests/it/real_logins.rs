//! With every real CLI: the user's login reaches the model from sessions that
//! run at the same time, is left as it is, and no copy of it is left anywhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use crate::support::clis::{Cli, Clis, Login, SECRET};
use crate::support::model::{Model, reply};
use crate::support::root::Root;

#[test]
fn claude_uses_the_login_where_it_is() {
    uses_the_login_where_it_is(Cli::Claude, "claude_uses_the_login_where_it_is");
}

#[test]
fn codex_uses_the_login_where_it_is() {
    uses_the_login_where_it_is(Cli::Codex, "codex_uses_the_login_where_it_is");
}

#[test]
fn opencode_uses_the_login_where_it_is() {
    uses_the_login_where_it_is(Cli::OpenCode, "opencode_uses_the_login_where_it_is");
}

#[test]
fn gemini_uses_the_login_where_it_is() {
    uses_the_login_where_it_is(Cli::Gemini, "gemini_uses_the_login_where_it_is");
}

fn uses_the_login_where_it_is(cli: Cli, test: &str) {
    let Some(clis) = Clis::find(test) else { return };
    for login in [Login::File, Login::Environment] {
        let mut root = Root::new(&format!("{test}-{login:?}"));
        let model = Model::start(&root, &clis, vec![reply("", "heard")]);
        cli.set_up(&mut root, &clis, &model, login);
        let before = files(&root.home());
        assert_eq!(before.contains_key(&root.home().join(cli.login_file())), login == Login::File);

        thread::scope(|scope| {
            for key in ["alder", "birch"] {
                let root = &root;
                scope.spawn(move || assert_eq!(root.ok(&["send", key, "hello"]).trim(), "heard"));
            }
        });

        let requests = model.requests();
        assert!(requests.len() >= 2, "{requests:#?}");
        for request in requests.iter().filter(|request| request.what.starts_with("POST")) {
            assert_eq!(request.credentials(), [cli.credential(login)], "{}", request.what);
        }
        let after = files(&root.home());
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "the files in HOME");
        assert!(after == before, "a file in HOME changed");
        let copies = root.files_with(&root.path(), SECRET);
        assert!(copies.is_empty(), "{copies:?}");
        drop(model);
    }
}

/// The files below a directory, with their content.
fn files(below: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = walkdir::WalkDir::new(below).into_iter().map(|entry| entry.expect("an entry").into_path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs_err::read(path).expect("a file"))).collect()
}
