//! An agent that hides a repository, has git write through links, or lets git
//! find another one: nothing of it runs, and nothing of the person's is written,
//! when the person works there afterwards.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;

use crate::repositories::Place;
use crate::support::fake::{Running, until};
use crate::support::proof::USER;
use crate::support::root::run;

/// With every kind of walls, as an ordinary user if that can be: to root, nothing
/// is closed.
fn everywhere(test: &str) -> impl Iterator<Item = Place> {
    let user = geteuid().is_root().then_some(USER);
    ["full", "kernel"].into_iter().filter_map(move |walls| Place::new(test, walls, user))
}

/// A script of the person's, outside.
fn person(place: &Place, script: &str) -> String {
    let mut command = place.root.command("sh");
    command.args(["-ec", script]).current_dir(&place.work);
    let output = run(command, "");
    assert_eq!(output.code, Some(0), "{script}: {}{}", output.stdout, output.stderr);
    output.stdout
}

/// What has git run the canary in a repository, as a configuration.
fn evil(place: &Place) -> String {
    format!("[core]\\n\\tfsmonitor = \\\"{};false\\\"\\n", place.canary())
}

#[test]
fn git_writes_and_reads_through_no_link_of_the_agents() {
    for place in everywhere("through_no_link") {
        place.root.write_home(".bashrc", "# mine\n");
        place.root.write_home("secret", "the person's secret\n");
        person(&place, "mkdir -p sub; git init -q sub; git -C sub commit -q --allow-empty -m x; ln -s ../a .git/mine");
        let home = place.root.home().display().to_string();
        let output = place.agent(&format!(
            "set -e; cd .git; for name in COMMIT_EDITMSG logs/HEAD packed-refs TAG_EDITMSG; do
                rm -f $name; ln -s {home}/.bashrc $name; done
             echo 'touch {home}/canary' > ../message; ln -s {home}/secret MERGE_MSG; mkdir -p rebase-merge refs/x
             ln -s {home}/.bashrc refs/x/y; ln -s {home} objects/pack/z; ln -sf {home}/.bashrc ../sub/.git/COMMIT_EDITMSG
             mkfifo FETCH_HEAD rebase-merge/done; mv ../message SQUASH_MSG"
        ));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        for name in ["COMMIT_EDITMSG", "logs/HEAD", "MERGE_MSG", "refs/x/y", "objects/pack/z", "rebase-merge/done"] {
            let told = format!("/.git/{name}` is new, and your git would");
            assert!(output.stderr.contains(&told), "{told}: {}", output.stderr);
        }
        for name in [".git/COMMIT_EDITMSG", ".git/logs/HEAD", ".git/FETCH_HEAD", "sub/.git/COMMIT_EDITMSG"] {
            assert!(!place.is_there(name), "{name}");
        }
        assert_eq!(place.read(".git/mine"), "one\n", "a link that was there stays");
        place.person_works();
        person(
            &place,
            "rm -rf .git/rebase-merge; GIT_EDITOR=true git commit -q --allow-empty -m mine; git tag -am x y",
        );
        assert_eq!(fs_err::read_to_string(place.root.home().join(".bashrc")).expect("a file"), "# mine\n");
        assert!(!place.git(&["log", "--format=%B"]).stdout.contains("secret"));
        let again = place.agent("git checkout -q -b other; git -c core.preferSymlinkRefs=true checkout -q -b third");
        assert!(!again.stderr.contains("is new"), "{}", again.stderr);
    }
}

#[test]
fn a_file_of_a_repository_has_no_other_name() {
    let Some(place) = Place::new("no_other_name", "kernel", None) else { return };
    person(&place, "mkdir backup; cp -al .git/description backup/");
    let config = place.read(".git/config");
    let output = place.agent("ln .git/config x; ln .git/index y; ln -f a .git/COMMIT_EDITMSG");
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(place.read(".git/config"), config);
    let names = |name: &str| fs_err::metadata(place.work.join(name)).expect("a file").nlink();
    for (name, expected) in [(".git/config", 1), (".git/index", 1), (".git/COMMIT_EDITMSG", 1), (".git/description", 2)]
    {
        assert_eq!(names(name), expected, "{name}: {}", output.stderr);
    }
}

#[test]
fn a_repository_that_was_hidden_is_protected_all_the_same() {
    let hidden = [
        ("mkdir objects refs; echo 'ref: refs/heads/main' > HEAD", "true"),
        ("echo 'ref: refs/heads/main' > HEAD; echo x > commondir", "true"),
        ("chmod 000 proj", "chmod 755 proj"),
        ("chmod 000 proj/.git", "chmod 755 proj/.git"),
        ("seq 1 20001 | xargs touch", "true"),
        ("for i in $(seq 1000 2100); do mkdir $i; done", "true"),
        ("for i in $(seq 10 90); do git init -q 0$i; done; cd 010/.git/hooks; seq 1 600 | xargs touch", "true"),
        (
            "mv proj/.git/modules/lib/HEAD proj/.git/modules/lib/H",
            "mv proj/.git/modules/lib/H proj/.git/modules/lib/HEAD",
        ),
        ("mv bare.git/refs bare.git/r", "mv bare.git/r bare.git/refs"),
    ];
    for (number, (hide, show)) in hidden.into_iter().enumerate() {
        // Without mounts it is compared by the same rules: some of these are enough.
        let test = format!("hidden-{number}");
        for place in everywhere(&test).take(if number % 4 == 0 { 2 } else { 1 }) {
            let all = place.root.dir().join("all").display().to_string();
            place.root.ok(&["cd", "alder", &all]);
            person(
                &place,
                &format!(
                    "git clone -q --bare . {all}/bare.git; git clone -q . {all}/proj; cd {all}/proj; git submodule --quiet add {all}/bare.git lib; git commit -qm lib"
                ),
            );
            let first = place.agent(hide);
            assert_eq!(first.code, Some(0), "{hide}: {}", first.stderr);
            let (evil, canary) = (evil(&place), place.canary());
            let second = place.agent(&format!(
                "{show}; cd {all}; for dir in proj/.git proj/.git/modules/lib bare.git; do
                    printf \"{evil}\" >> $dir/config; mkdir -p $dir/hooks
                    printf '#!/bin/sh\\n{canary}\\n' | tee $dir/hooks/post-commit > $dir/hooks/post-receive
                    chmod +x $dir/hooks/*; done; echo {canary} > proj/.envrc"
            ));
            person(
                &place,
                &format!(
                    "cd {all}/proj; git status; git commit -q --allow-empty -m x; cd lib; git status; git push -q origin HEAD:next; test ! -e ../.envrc"
                ),
            );
            assert!(!place.canary_path().exists(), "{hide}: {}", second.stderr);
        }
    }
}

#[test]
fn git_finds_no_repository_of_the_agents_in_a_working_tree() {
    let mut made = Vec::new();
    for (make, add) in [
        ("git init -q sub", "git add sub"),
        (
            "mkdir node_modules; git init -q node_modules/sub; mv node_modules/sub sub; mv sub node_modules/",
            "git add -f node_modules/sub",
        ),
        ("git init -q sub", "git update-index --index-version 4; git add sub"),
        (
            "mkdir -p target; git init -q target/sub; ln -s target/sub sub",
            "git update-index --split-index; git add -f target/sub",
        ),
        ("git init -q x; mv x/.git y; mkdir sub; echo gitdir: ../y > sub/.git", "git add sub"),
        ("mkdir sub; git init -q --separate-git-dir ~/z sub", "git add sub"),
    ] {
        let enter = if make.contains("node_modules") {
            "node_modules/sub"
        } else if make.contains("target") {
            "target/sub"
        } else {
            "sub"
        };
        made.push(format!("{make}; (cd {enter}; git commit -q --allow-empty -m x; printf \"EVIL\" >> $(git rev-parse --git-dir)/config); {add}"));
    }
    // Without an index: the person only has to go there.
    made.push("git init -q --bare sub; printf \"EVIL\" >> sub/config; git -C sub config core.bare false; git -C sub config core.worktree ..".to_owned());
    made.push(
        "cp -r .git .x; mkdir sub; printf \"EVIL\" >> .x/config; mv .x/HEAD sub/; echo ../.x > sub/commondir"
            .to_owned(),
    );
    for (number, script) in made.iter().enumerate() {
        for place in everywhere(&format!("finds-{number}")) {
            let output = place.agent(&format!("set -e; {}", script.replace("EVIL", &evil(&place))));
            assert_eq!(output.code, Some(0), "{script}: {}", output.stderr);
            person(&place, "git status || true; git diff || true; if [ -d sub ]; then cd sub; git status || true; fi");
            assert!(!place.canary_path().exists(), "{script}: {}", output.stderr);
            assert!(output.stderr.contains("in a working tree of yours"), "{script}: {}", output.stderr);
        }
    }
}

#[test]
fn a_repository_in_a_working_tree_from_which_nothing_runs_stays() {
    for place in everywhere("nothing_runs") {
        let output = place.agent("git init -q node_modules/s; git -C node_modules/s commit -q --allow-empty -m x; git add -f node_modules/s; git clone -q . copy; git clone -q --bare . .git/modules/new; git worktree add -q ../work/tree");
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        for name in ["node_modules/s/.git", "copy/.git", "tree/.git"] {
            assert!(place.is_there(name), "{name}: {}", output.stderr);
        }
        assert_eq!(place.set_aside(), Vec::<String>::new(), "{}", output.stderr);
        // From then on it is protected, wherever it lies.
        let evil = evil(&place);
        place.agent(&format!("printf \"{evil}\" >> node_modules/s/.git/config; printf \"{evil}\" >> copy/.git/config"));
        person(&place, "git status; cd copy; git status");
        assert!(!place.canary_path().exists());
    }
}

#[test]
fn what_configuration_outside_names_is_closed() {
    for place in Place::full("configuration_outside") {
        let dir = place.root.dir().display().to_string();
        let home = place.root.home().display().to_string();
        person(
            &place,
            &format!(
                "for name in a1 a2 a3 a4 a5 a6; do mkdir $name; printf '#!/bin/sh\\n' > $name/hook; done; touch x.inc y.inc
                 git config core.hooksPath a1; git config filter.x.clean '$HOME/../work/a2/hook'
                 git config include.path '~/../work/x.inc'
                 git config --global alias.x '!{dir}/work/a3/hook'; git config --global diff.external ./a4/hook
                 printf '[include]\\npath = ../work/y.inc\\n' > {home}/more; mkdir -p {home}/.config/git
                 printf '[include]\\npath = ~/more\\n' > {home}/.config/git/config
                 git add .; git commit -qm hooks; git worktree add -q tree
                 mkdir {dir}/outer; git clone -q . {dir}/outer/main; cd {dir}/outer/main; git config core.hooksPath a5
                 git worktree add -q {dir}/all/linked; mkdir inner; cp -r a6 inner/; git config core.fsmonitor inner/a6/hook"
            ),
        );
        let closed = |at: &str, names: &[&str]| {
            place.root.ok(&["cd", "alder", &format!("{dir}/{at}")]);
            for name in names {
                let output = place.agent(&format!("echo '{}' >> {name}", place.canary()));
                assert_ne!(output.code, Some(0), "{at} {name}: {}", output.stderr);
            }
            let output = place.agent("touch free");
            assert_eq!(output.code, Some(0), "{}", output.stderr);
        };
        closed("work", &["a1/hook", "a2/hook", "a3/hook", "a4/hook", "x.inc", "y.inc", "tree/a1/hook", "tree/a4/hook"]);
        closed("all/linked", &["a5/hook", "a4/hook"]);
        closed("all", &["linked/a5/hook", "linked/a4/hook"]);
        closed("outer/main/inner", &["a6/hook"]);
    }
}

#[test]
fn what_was_closed_or_cannot_be_moved_is_set_aside_all_the_same() {
    for place in everywhere("closed") {
        let output = place.agent(
            "mkdir .claude .gemini .cursor sub; echo x > .claude/settings.json; echo x > .gemini/.env; echo x > .cursor/x
             ln -s sub .codex; echo x > sub/config.toml; echo x > .envrc; chmod 000 .claude .gemini .cursor; chmod 555 .",
        );
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        assert_eq!(place.set_aside(), [".codex", ".cursor", ".env", ".envrc", "settings.json"], "{}", output.stderr);
        assert_eq!(fs_err::metadata(&place.work).expect("a directory").mode() & 0o777, 0o555);
        assert!(place.root.user().is_none() || output.stderr.contains("was closed to its owner"), "{}", output.stderr);
        person(&place, "chmod 755 .");
        // The directory itself.
        let output = place.agent("chmod 000 .");
        let again = place.agent("echo alive");
        assert_eq!((again.code, again.stdout.as_str()), (Some(0), "alive\n"), "{}{}", output.stderr, again.stderr);
    }
}

#[test]
fn a_working_tree_behind_a_link_is_put_back_where_it_is() {
    let Some(place) = Place::new("behind_a_link", "kernel", None) else { return };
    let all = place.root.dir().join("all").display().to_string();
    place.root.ok(&["cd", "alder", &all]);
    person(&place, &format!("git clone -q . {all}/proj; git clone -q . {all}/other"));
    let (evil, canary) = (evil(&place), place.canary());
    let output = place.agent(&format!(
        "printf \"{evil}\" >> proj/.git/config; printf '#!/bin/sh\\n{canary}\\n' > proj/.git/hooks/pre-commit
         chmod +x proj/.git/hooks/pre-commit; echo '{canary}' > proj/.envrc; mv proj .p; ln -s .p proj; mv other/.git other/g; ln -s g other/.git
         printf \"{evil}\" >> other/g/config"
    ));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    person(
        &place,
        &format!(
            "cd {all}/.p; git status; git commit -q --allow-empty -m x; test ! -e .envrc; test ! -e ../proj; test ! -e ../other/.git"
        ),
    );
    person(
        &place,
        &format!("cd {all}; mv .p proj; mv other/g other/.git; cd proj; git status; cd ../other; git status"),
    );
    assert!(!place.canary_path().exists(), "{}", output.stderr);
}

#[test]
fn what_another_session_changed_meanwhile_is_not_put_back() {
    for place in everywhere("another_session") {
        let all = place.root.dir().join("all");
        place.root.ok(&["send", "birch", "first", "--provider", "notes"]);
        place.root.ok(&["cd", "birch", all.to_str().expect("text")]);
        person(&place, "git clone -q . ../all/proj; cd ../all/proj; mkdir good; ln -s good .idea; ln -s good .husky");
        place.root.ok(&["cd", "alder", all.join("proj").to_str().expect("text")]);
        let is_there = |name: &str| place.is_there(&format!("../all/proj/{name}"));
        let canary = place.canary();
        let wait = |name: &str| format!("echo > {name}; while [ ! -e {name}-go ]; do sleep 0.05; done");
        let script = format!(
            "rm .idea; ln -s evil .idea; echo '{canary}' > .envrc; mkdir .vscode; ln -s ~ .git/x; {}",
            wait("one")
        );
        let first = Running::denizen(&place.root, &["exec", "alder", "--", "sh", "-c", &script]);
        until("the first", || if is_there("one") { Ok(()) } else { Err("not".to_owned()) });
        let second =
            Running::denizen(&place.root, &["exec", "birch", "--", "sh", "-c", &format!("cd proj; {}", wait("two"))]);
        until("the second", || if is_there("two") { Ok(()) } else { Err("not".to_owned()) });
        // Also if the first is killed and the second ends before it is settled.
        first.signal(rustix::process::Signal::KILL);
        drop(first);
        place.write("../all/proj/two-go", "");
        let said = second.end().stderr;
        assert_eq!(fs_err::read_link(all.join("proj/.idea")).expect("a link"), Path::new("good"), "{said}");
        for name in [".envrc", ".vscode", ".git/x"] {
            assert!(!is_there(name), "{name}: {said}");
        }
    }
}

#[test]
fn what_a_killed_session_left_is_settled_when_the_next_begins() {
    let Some(place) = Place::new("killed_session", "full", None) else { return };
    place.root.ok(&["send", "birch", "first", "--provider", "notes"]);
    place.root.ok(&["cd", "birch", place.work.to_str().expect("text")]);
    let first = Running::denizen(&place.root, &["exec", "alder", "--", "sh", "-c", "echo x > .envrc; sleep 60"]);
    until("the plant", || if place.is_there(".envrc") { Ok(()) } else { Err("not".to_owned()) });
    first.signal(rustix::process::Signal::KILL);
    drop(first);
    // Its launcher goes on for a moment. Who ends first sets it aside, and tells.
    let mut said = String::new();
    until("that it is set aside", || {
        let output = place.root.run(&["exec", "birch", "--", "sh", "-c", "ls -A"]);
        said.push_str(&output.stderr);
        if output.stdout.contains(".envrc") { Err(output.stdout) } else { Ok(()) }
    });
    said.push_str(&place.agent("true").stderr);
    assert!(said.contains(".envrc` is new"), "{said}");
}

#[test]
fn what_cannot_be_protected_is_told_once() {
    for place in Place::full("told_once") {
        person(&place, "mkdir -p \"$(printf 'caf\\351')/x\"; for i in $(seq 10 40); do git init -q r$i; done");
        let said = place.agent("true").stderr;
        for word in ["a name that is not text", "more to protect in"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!(place.agent("true").stderr, "");
        let walls = place.root.ok(&["config", "walls", "alder"]);
        assert!(walls.contains("not held      there is more to protect in"), "{walls}");
        // What was not hidden is protected, whole: an agent's comes last.
        let open = place.agent("for i in $(seq 10 40); do (: >> r$i/.git/config) 2>/dev/null && echo r$i; done").stdout;
        assert!(!open.contains("r10\n") && !open.contains("r25\n") && open.contains("r40\n"), "{open}");
    }
}
