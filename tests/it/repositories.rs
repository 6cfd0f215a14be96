//! A repository in a directory that an agent may write: the agent works in it
//! with git, and nothing of the agent's runs when the person does.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, geteuid};

use crate::support::fake::{Running, until};
use crate::support::net::{Net, end};
use crate::support::proof::USER;
use crate::support::root::{Output, Root, run};

/// A root with the session `alder`, which works in a repository of the person's.
pub(crate) struct Place {
    pub(crate) root: Root,
    pub(crate) work: PathBuf,
}

impl Place {
    /// As this process's user, or as an ordinary one. `None` if there are no
    /// such walls here.
    pub(crate) fn new(test: &str, walls: &str, user: Option<u32>) -> Option<Self> {
        let mut root = Root::new(&format!("repositories::{test}-{walls}-{}", user.is_some()));
        root.set_env("DENIZEN_WALLS", walls);
        root.set_env("GIT_CONFIG_NOSYSTEM", "1");
        root.write_home(
            ".gitconfig",
            "[user]\nname = Ann\nemail = ann@example.org\n[init]\ndefaultBranch = main\n[safe]\ndirectory = *\n[protocol \"file\"]\nallow = always\n[maintenance]\nauto = false\n",
        );
        let work = root.dir().join("work");
        root.write_config(&format!("working_dirs = [\"{}\"]\n", root.dir().display()));
        fs_err::create_dir(&work).expect("a directory");
        fs_err::create_dir(root.dir().join("all")).expect("a directory");
        if let Some(user) = user {
            root.give_to(user);
        }
        let place = Self { root, work };
        place.git(&["init", "-q"]);
        place.write("a", "one\n");
        place.git(&["add", "a"]);
        place.git(&["commit", "-qm", "one"]);
        let sent = place.root.run(&["send", "alder", "first", "--provider", "notes"]);
        if walls == "full" && sent.stderr.contains("bubblewrap") {
            println!("did not run: {}", sent.stderr);
            return None;
        }
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        place.root.ok(&["cd", "alder", place.work.to_str().expect("text")]);
        Some(place)
    }

    pub(crate) fn full(test: &str) -> Vec<Self> {
        let users = if geteuid().is_root() { vec![None, Some(USER)] } else { vec![None] };
        users.into_iter().filter_map(|user| Self::new(test, "full", user)).collect()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.work.join(name);
        let mut command = self.root.command("sh");
        command
            .args(["-c", "mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" > \"$1\"", "sh"])
            .arg(&path)
            .arg(content);
        let output = run(command, "");
        assert_eq!(output.code, Some(0), "{}", output.stderr);
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.work.join(name)).expect("a file")
    }

    pub(crate) fn is_there(&self, name: &str) -> bool {
        self.work.join(name).symlink_metadata().is_ok()
    }

    /// The person's git, outside.
    pub(crate) fn git(&self, args: &[&str]) -> Output {
        let mut command = self.root.command("git");
        command.args(args).current_dir(&self.work);
        let output = run(command, "");
        assert_eq!(output.code, Some(0), "git {args:?}: {}{}", output.stdout, output.stderr);
        output
    }

    /// What an agent does, inside: a script.
    pub(crate) fn agent(&self, script: &str) -> Output {
        let author = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'\n";
        self.root.run(&["exec", "alder", "--", "sh", "-c", &format!("{author}{script}")])
    }

    /// A program of the agent's that shows that it ran, as a word of a script.
    pub(crate) fn canary(&self) -> String {
        format!("touch '{}'", self.canary_path().display())
    }

    pub(crate) fn canary_path(&self) -> PathBuf {
        self.root.home().join("canary")
    }

    /// What a person does all day; nothing of the agent's runs.
    pub(crate) fn person_works(&self) {
        self.git(&["status"]);
        self.git(&["diff"]);
        self.git(&["log", "-1"]);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-qm", "the person's", "--allow-empty"]);
        self.git(&["checkout", "-q", "-b", "next"]);
        assert!(!self.canary_path().exists(), "a program of the agent's ran outside");
    }

    pub(crate) fn set_aside(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.path().join("state/conflicts")).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| Some(entry.file_name().to_str()?.splitn(3, '-').nth(2)?.to_owned())).collect();
        names.sort();
        names
    }
}

#[test]
fn an_agent_works_with_git_as_before() {
    for place in Place::full("an_agent_works") {
        place.git(&["init", "-q", "--bare", "inner.git"]);
        place.git(&["remote", "add", "inner", "./inner.git"]);
        let script = "set -e
            echo two > b; git add b; git commit -qm two
            git checkout -q -b side; echo three > c; git add c; git commit -qm three
            git checkout -q main; echo four > d; git add d; git commit -qm four
            git merge -q --no-edit side
            git checkout -q -b other HEAD~1; echo five > e; git add e; git commit -qm five
            git rebase -q main
            echo six >> a; git stash -q; git stash pop -q; git commit -qam six
            git tag v1; git gc -q; git repack -adq; git fsck
            git push -q inner main other; git fetch -q inner
            git worktree add -q tree; cd tree; echo seven > f; git add f; git commit -qm seven; cd ..
            git worktree remove tree
            git cherry-pick main~1 || git cherry-pick --abort
            git clone -q . copy; rm -rf copy; git -C inner.git log --oneline main | wc -l";
        let output = place.agent(script);
        assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
        place.person_works();
        assert_eq!(place.set_aside(), Vec::<String>::new(), "{}", output.stderr);
    }
}

#[test]
fn what_the_persons_git_runs_is_closed() {
    for place in Place::full("what_the_persons_git_runs") {
        place.write("lib/keep", "x");
        let mut submodule = place.root.command("git");
        submodule.args(["clone", "-q", "--bare", "."]).arg(place.root.dir().join("other.git")).current_dir(&place.work);
        assert_eq!(run(submodule, "").code, Some(0));
        place.git(&["submodule", "--quiet", "add", "../other.git", "module"]);
        place.git(&["worktree", "add", "-q", "tree"]);
        place.git(&["config", "core.hooksPath", "scripts/hooks"]);
        place.write("scripts/hooks/pre-commit", "#!/bin/sh\n");
        place.write("shared.gitconfig", "[alias]\ns = status\n");
        place.git(&["config", "include.path", "../shared.gitconfig"]);
        place.write(".envrc", "export A=1\n");
        place.write(".husky/pre-commit", "#!/bin/sh\n");
        let mut linked = place.root.command("ln");
        linked.args(["-s", "real-idea"]).arg(place.work.join(".idea"));
        place.write("real-idea/x.xml", "<x/>");
        assert_eq!(run(linked, "").code, Some(0));
        let canary = place.canary();
        let hook = format!("#!/bin/sh\n{canary}\n");
        let attempts = [
            format!("printf '[core]\\nfsmonitor = \"{canary};\"\\n' >> .git/config"),
            "git config core.fsmonitor x".to_owned(),
            "mv .git x".to_owned(),
            "mv .git/config .git/c".to_owned(),
            "rm -f .git && echo 'gitdir: made' > .git".to_owned(),
            format!("printf '{hook}' > .git/hooks/post-checkout"),
            "mv .git/hooks .git/y".to_owned(),
            "rmdir .git/hooks".to_owned(),
            "echo '* filter=x' > .git/info/attributes".to_owned(),
            "mv .git/info .git/y".to_owned(),
            format!("printf '[core]\\nfsmonitor = \"{canary};\"\\n' >> .git/modules/module/config"),
            "mv .git/modules .git/y".to_owned(),
            "mv .git/modules/module .git/modules/y".to_owned(),
            format!("printf '{hook}' > .git/modules/module/hooks/pre-commit"),
            "echo gitdir: /x > module/.git".to_owned(),
            "rm module/.git".to_owned(),
            "mv module x".to_owned(),
            "echo gitdir: /x > tree/.git".to_owned(),
            "mv tree/.git tree/y".to_owned(),
            "mv tree x".to_owned(),
            "echo .. > .git/worktrees/tree/commondir".to_owned(),
            "echo x > .git/worktrees/tree/gitdir".to_owned(),
            format!("printf '{hook}' > scripts/hooks/pre-commit"),
            format!("printf '{hook}' > scripts/hooks/post-checkout"),
            "mv scripts x".to_owned(),
            format!("printf '[core]\\nfsmonitor = \"{canary};\"\\n' >> shared.gitconfig"),
            "rm shared.gitconfig".to_owned(),
            format!("echo '{canary}' >> .envrc"),
            "mv .envrc x".to_owned(),
            format!("echo '{canary}' > .husky/post-checkout"),
            "mv .husky x".to_owned(),
            "echo x > .idea/x.xml".to_owned(),
            "echo x > real-idea/y.xml".to_owned(),
        ];
        for attempt in &attempts {
            // `mv` would copy what it cannot rename, and remove what it can of the rest.
            let rename = "mv() { perl -e 'exit !rename($ARGV[0], $ARGV[1])' \"$1\" \"$2\"; }";
            let output = place.agent(&format!("{rename}; set -e; {attempt}"));
            assert_ne!(output.code, Some(0), "{attempt}: {}", output.stderr);
        }
        place.person_works();
    }
}

#[test]
fn what_is_new_is_set_aside_and_told() {
    for place in Place::full("what_is_new") {
        place.write(".config/other", "x");
        let canary = place.canary();
        let output = place.agent(&format!(
            "echo '[core]' > .git/config.worktree; echo ../evil > .git/commondir; echo '{canary}' > .envrc
             mkdir .vscode .husky; echo x > .vscode/tasks.json; echo x > .husky/pre-commit; echo x > .mise.toml
             mkdir .claude; echo '{{}}' > .claude/settings.json; ln -s /etc .devcontainer; mkdir .config/mise"
        ));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let new = [
            ".devcontainer",
            ".envrc",
            ".husky",
            ".mise.toml",
            ".vscode",
            "commondir",
            "config.worktree",
            "mise",
            "settings.json",
        ];
        assert_eq!(place.set_aside(), new);
        for name in ["`{}/.envrc` is new", "`{}/.git/commondir` is new", "`{}/.claude/settings.json` is new"] {
            let name = name.replace("{}", &place.work.display().to_string());
            assert!(output.stderr.contains(&name), "{name}: {}", output.stderr);
        }
        place.person_works();
        let again = place.agent("true");
        assert!(!again.stderr.contains("is new"), "it is told once: {}", again.stderr);
        // A link that the person made stays what it was.
        place.write("real/tasks.json", "{}");
        assert_eq!(place.agent("ln -s real .vscode").code, Some(0));
        assert!(!place.is_there(".vscode"));
        let mut linked = place.root.command("ln");
        linked.args(["-s", "real"]).arg(place.work.join(".vscode"));
        assert_eq!(run(linked, "").code, Some(0));
        let output = place.agent("rm .vscode; mkdir .vscode evil; echo x > .vscode/tasks.json");
        assert!(output.stderr.contains("it is as it was before"), "{}", output.stderr);
        assert_eq!(fs_err::read_link(place.work.join(".vscode")).expect("a link"), Path::new("real"));
    }
}

#[test]
fn a_repository_that_the_agent_made_is_told_once_and_stays() {
    for place in Place::full("a_repository_that_the_agent_made") {
        // Not in a working tree: the session works in the directory around it.
        place.root.ok(&["cd", "alder", place.root.dir().join("all").to_str().expect("text")]);
        let output = place.agent(
            "git init -q made; cd made; git config core.fsmonitor ./x; git config alias.q '!ls'
             printf '#!/bin/sh\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; ln -s /etc .git/y; cd ..
             git init -q --bare bare; git init -q 'plain'; rm -rf plain/.git/hooks
             mkdir away; echo 'gitdir: /elsewhere' > away/.git",
        );
        let at = |name: &str| place.root.dir().join("all").join(name).display().to_string();
        for word in [
            format!(
                "a repository was made in `{}`: git would run what is in it when you use it there: `alias.q`, `core.fsmonitor`, `hooks/pre-commit`, `y`",
                at("made")
            ),
            format!("a repository was made in `{}`: git runs nothing from it", at("bare")),
            format!("a repository was made in `{}`: git runs nothing from it", at("plain")),
            format!("`{}` was made the working tree of a repository that lies elsewhere", at("away")),
        ] {
            assert!(output.stderr.contains(&word), "{word}\n{}", output.stderr);
        }
        assert!(place.is_there("../all/made/.git/hooks/pre-commit"));
        let again = place.agent("true");
        assert!(!again.stderr.contains("was made"), "{}", again.stderr);
    }
}

#[test]
fn a_rebase_that_would_run_something_is_told() {
    for place in Place::full("a_rebase") {
        let output = place.agent(
            "mkdir .git/rebase-merge; printf 'pick 1\\nexec touch /tmp/x\\n' > .git/rebase-merge/git-rebase-todo",
        );
        assert!(output.stderr.contains("`git rebase --continue` would run `touch /tmp/x`"), "{}", output.stderr);
        let again = place.agent("true");
        assert!(!again.stderr.contains("rebase"), "{}", again.stderr);
    }
}

#[test]
fn without_mounts_it_is_as_before_afterwards() {
    for walls in ["kernel", "off"] {
        let Some(place) = Place::new("without_mounts", walls, None) else { continue };
        place.write(".git/hooks/post-commit", "#!/bin/sh\n");
        place.write(".envrc", "export A=1\n");
        let config = place.read(".git/config");
        let canary = place.canary();
        let output = place.agent(&format!(
            "git config core.fsmonitor \"{canary};\"; printf '#!/bin/sh\\n{canary}\\n' > .git/hooks/post-commit
             printf '#!/bin/sh\\n{canary}\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/*; rm .envrc; echo '{canary}' > .envrc
             echo '* filter=x' > .git/info/attributes"
        ));
        assert_eq!(output.code, Some(0), "{walls}: {}", output.stderr);
        assert_eq!(place.read(".git/config"), config, "{walls}");
        assert_eq!(place.read(".git/hooks/post-commit"), "#!/bin/sh\n", "{walls}");
        assert_eq!(place.read(".envrc"), "export A=1\n", "{walls}");
        assert!(!place.is_there(".git/hooks/pre-commit") && !place.is_there(".git/info/attributes"), "{walls}");
        assert!(output.stderr.contains(".git/config` was changed"), "{walls}: {}", output.stderr);
        assert_eq!(place.set_aside(), [".envrc", "attributes", "config", "post-commit", "pre-commit"], "{walls}");
        place.person_works();
    }
}

#[test]
fn after_a_kill_the_next_sets_aside() {
    let Some(place) = Place::new("after_a_kill", "full", None) else { return };
    let net = Net::new(&place.root);
    let dir = place.root.dir().display().to_string();
    place.root.write_config(&format!("working_dirs = [\"{dir}\"]\n{}", net.section()));
    for daemon in [false, true] {
        let running =
            Running::denizen(&place.root, &["exec", "alder", "--", "sh", "-c", "echo x > .envrc; exec sleep 60"]);
        until("the plant", || if place.is_there(".envrc") { Ok(()) } else { Err("nothing".to_owned()) });
        running.signal(Signal::KILL);
        drop(running);
        if daemon {
            let daemon = net.serve(&place.root);
            let log = || fs_err::read_to_string(place.root.dir().join("log")).unwrap_or_default();
            until("that it is set aside", || if log().contains(".envrc` is new") { Ok(()) } else { Err(log()) });
            assert!(!place.is_there(".envrc"));
            end(daemon);
        }
        // It is told to whoever has the session next.
        let said = place.agent("true").stderr;
        assert!(!place.is_there(".envrc"), "{said}");
        assert!(said.contains(".envrc` is new"), "{said}");
    }
    assert_eq!(place.set_aside(), [".envrc", ".envrc"]);
}

#[test]
fn protect_lifts_it() {
    let Some(place) = Place::new("protect_lifts_it", "full", None) else { return };
    let lifted = |protect: &str, script: &str| {
        let protect = format!("protect={protect}");
        place.root.run(&["-c", &protect, "exec", "alder", "--", "sh", "-c", script])
    };
    let output = lifted("[]", "git config a.b c && echo x > .envrc");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(place.read(".git/config").contains("b = c") && place.is_there(".envrc"));
    assert_ne!(lifted("[tools]", "echo y > .envrc").code, Some(0));
    assert_eq!(lifted("[tools]", "echo y > .git/hooks/x").code, Some(0));
    assert_eq!(lifted("[git]", "echo y > .envrc").code, Some(0));
    assert_ne!(lifted("[git]", "echo y > .git/config").code, Some(0));
    let wrong = lifted("[hooks]", "true");
    assert!(wrong.stderr.contains("`hooks` is not one of `git`, `tools`"), "{}", wrong.stderr);
    // A share has its own.
    let config = |protect: &str| {
        place.root.write_config(&format!(
            "[[share]]\nsessions = [\"alder\"]\npath = \"{}\"\nmode = \"write\"\n{protect}\n",
            place.work.display()
        ));
        place.root.run(&["exec", "alder", "--", "sh", "-c", &format!("echo >> {}/.git/config", place.work.display())])
    };
    place.root.ok(&["cd", "alder", "--home"]);
    assert_ne!(config("").code, Some(0));
    assert_eq!(config("protect = []").code, Some(0));
}

#[test]
fn two_sessions_in_one_repository_and_the_person_beside() {
    let Some(place) = Place::new("two_sessions", "full", None) else { return };
    place.root.ok(&["send", "birch", "first", "--provider", "notes"]);
    place.root.ok(&["cd", "birch", place.work.to_str().expect("text")]);
    let wait = "echo > started; while [ ! -e go ]; do sleep 0.05; done; echo x > .git/config";
    let first = Running::denizen(&place.root, &["exec", "alder", "--", "sh", "-c", wait]);
    until("the first", || if place.is_there("started") { Ok(()) } else { Err("not".to_owned()) });
    let second = place.root.run(&[
        "exec",
        "birch",
        "--",
        "sh",
        "-c",
        "git -c safe.directory='*' status -s && ! echo x > .git/config",
    ]);
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    // The person commits and moves branches meanwhile.
    place.git(&["commit", "-qm", "meanwhile", "--allow-empty"]);
    place.git(&["branch", "-m", "main", "trunk"]);
    assert_ne!(place.read(".git/config"), "x\n");
    place.write("go", "");
    let said = first.end().stderr;
    assert!(said.contains(".git/config` was replaced from outside"), "{said}");
}

#[test]
fn a_repository_with_strange_names_does_not_stop_the_session() {
    let Some(place) = Place::new("strange_names", "full", None) else { return };
    let output = place.agent(
        "git init -q \"$(printf 'a\\377b')\"; git init -q \"$(printf 'new\\nline')\"; mkdir -p d/.git/HEAD e; mkfifo e/.git f; ln -s .. g; ln -s g/g h
         mkdir i; ln -s ../../../../../../etc i/.git; mkdir j; ln -s loop j/.git; ln -s loop j/loop; mkfifo .git/config.worktree
         mkdir -p k/objects k/refs; ln -s /etc/passwd k/HEAD; mkfifo k/config; chmod 000 e",
    );
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let again = place.agent("git status > /dev/null && echo fine");
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "fine\n"), "{}", again.stderr);
    let mut mode = fs_err::metadata(place.work.join("e")).expect("a directory").permissions();
    mode.set_mode(0o700);
    fs_err::set_permissions(place.work.join("e"), mode).expect("opened");
}
