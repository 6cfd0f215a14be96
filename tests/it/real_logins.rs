//! With every real CLI: the user's login reaches the model from sessions that
//! run at the same time, is left as it is, and is copied nowhere.

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
        let file = root.home().join(cli.login_file());
        let planted = std::fs::read(&file).ok();

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
        assert_eq!(std::fs::read(&file).ok(), planted, "the planted login");
        let copies = root.files_with(&root.path(), SECRET);
        assert!(copies.is_empty(), "{copies:?}");
        drop(model);
    }
}
