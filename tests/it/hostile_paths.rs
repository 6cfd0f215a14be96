//! What is allowed by derivation, on places and paths that invite more: a root
//! and a HOME below a directory of the system, programs and links that an agent
//! plants in what it may write, scripts whose first line names what is private.
//! A turn reads and writes what is its own all the same.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::proof::{Stage, USER};
use crate::support::root::{Output, Root, run, write};

const SECRET: &str = "the-secret-word";

/// A directory outside the root of a test, gone at the end.
struct Elsewhere(PathBuf);

impl Elsewhere {
    /// `None`, and a word about it, where this user may not make it.
    fn new(base: &str, test: &str) -> Option<Self> {
        let dir = Path::new(base).join(format!("denizen-{test}-{}", std::process::id()));
        match std::fs::create_dir(&dir) {
            Ok(()) => Some(Self(dir)),
            Err(error) => {
                println!("{test} did not run in {base}: {error}");
                None
            }
        }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        fs_err::remove_dir_all(&self.0).expect("removed");
    }
}

fn users() -> Vec<Option<u32>> {
    if rustix::process::geteuid().is_root() { vec![None, Some(USER)] } else { vec![None] }
}

fn give(dir: &Path, user: Option<u32>) {
    for entry in walkdir::WalkDir::new(dir).into_iter().flatten().filter(|_| user.is_some()) {
        std::os::unix::fs::lchown(entry.path(), user, user).expect("given");
    }
}

/// A root with walls and the sessions `alder` and `birch`.
fn two_sessions(test: &str, config: &str, user: Option<u32>) -> Root {
    let mut root = Root::new(&format!("{test}-{}", user.is_some()));
    root.write_config(&format!("provider = \"notes\"\n{config}"));
    root.write_home(".ssh/id", SECRET);
    if let Some(user) = user {
        root.give_to(user);
    }
    root.set_env("DENIZEN_WALLS", "full");
    for key in ["alder", "birch"] {
        root.ok(&["send", key, "hello"]);
    }
    root
}

/// What a shell in a session says, errors among it.
fn shell(root: &Root, key: &str, script: &str) -> Output {
    root.run(&["exec", key, "--", "sh", "-c", &format!("exec 2>&1; {script}")])
}

fn in_place(root: &Root, denizen: &Path, home: &Path, args: &[&str]) -> Output {
    let mut command: Command = root.denizen();
    command.env("DENIZEN_ROOT", denizen).env("HOME", home).args(args);
    run(command, "")
}

#[test]
fn a_root_and_a_home_in_the_system_are_covered_or_refused() {
    const TEST: &str = "a_root_and_a_home_in_the_system";
    for (base, user) in
        ["/opt", "/usr/local", "/etc"].iter().flat_map(|base| users().into_iter().map(move |u| (*base, u)))
    {
        let Some(elsewhere) = Elsewhere::new(base, TEST) else { continue };
        let root = two_sessions(TEST, "", user);
        let (their_root, their_home) = (elsewhere.0.join("a/root"), elsewhere.0.join("a/home"));
        fs_err::create_dir_all(&their_root).expect("a directory");
        write(&their_home.join(".ssh/id"), SECRET);
        give(&elsewhere.0, user);
        for (denizen, home) in [(&their_root, &their_home), (&root.path(), &their_home), (&their_root, &root.home())] {
            let what = format!("{} {} {user:?}", denizen.display(), home.display());
            let go = |args: &[&str]| in_place(&root, denizen, home, args);
            for key in ["alder", "birch"] {
                let sent = go(&["send", key, "hello", "--provider", "notes"]);
                assert_eq!(sent.code, Some(0), "{what}: {}", sent.stderr);
            }
            write(&denizen.join("sessions/birch/memory/secret"), SECRET);
            give(&denizen.join("sessions/birch/memory/secret"), user);
            let look = format!(
                "exec 2>&1; cat '{0}/.ssh/id' '{1}/sessions/birch/memory/secret' ../birch/memory/secret; \
                 ls -a '{0}' '{1}' '{1}/sessions'; echo mine > memory/own && cat memory/own && ls /usr/bin/env && pwd",
                home.display(),
                denizen.display()
            );
            let seen = go(&["exec", "alder", "--", "sh", "-c", &look]).stdout;
            assert!(!seen.contains(SECRET) && !seen.contains(".ssh\n") && !seen.contains("birch\n"), "{what}: {seen}");
            let own = denizen.join("sessions/alder");
            assert!(seen.contains(&format!("mine\n/usr/bin/env\n{}\n", own.display())), "{what}: {seen}");
            let refused = go(&["-c", "walls=kernel", "exec", "alder", "--", "true"]);
            assert_eq!(refused.code, Some(1), "{what}: {}", refused.stderr);
            assert!(
                refused.stderr.contains("`walls = \"kernel\"` cannot leave out a part of it"),
                "{}",
                refused.stderr
            );
            for (walls, word) in [("full", "it is covered for them"), ("kernel", "bad  places")] {
                let told = go(&["-c", &format!("walls={walls}"), "doctor"]).stdout;
                assert!(told.contains(word), "{what}: {told}");
            }
        }
        let proved = in_place(&root, &their_root, &their_home, &["doctor", "--prove", "-q"]);
        assert_eq!((proved.code, proved.stdout.as_str()), (Some(0), ""), "{}", proved.stderr);
        let proved = in_place(&root, &their_root, &their_home, &["doctor", "--prove", "-q", "--without", "private"]);
        let got_through = |row: &str| proved.stdout.contains(&format!("{row}: through"));
        // What of `/etc` only root may read is covered for root in any case.
        if base != "/etc" || user.is_some() {
            assert!(got_through("194 read a file in the person's real home"), "{base}: {proved:?}");
            assert!(got_through("191 read a file in the real root"), "{base}: {proved:?}");
        }
        assert!(got_through("196 read what is private in a shared directory"), "{base}: {proved:?}");
        assert_eq!(names_of(&their_home), [".ssh"], "nothing is left of the proof");
    }
}

fn names_of(dir: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(dir).expect("a directory").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_root_or_a_home_that_is_the_system_is_refused() {
    let root = two_sessions("a_root_or_a_home_that_is_the_system", "", None);
    let go =
        |home: &str| in_place(&root, &root.path(), Path::new(home), &["exec", "alder", "--", "cat", "/etc/passwd"]);
    for home in ["/opt", "/usr", "/usr/sbin", "/etc"] {
        let refused = go(home);
        assert_eq!(refused.code, Some(1), "{home}: {}", refused.stderr);
        assert!(refused.stderr.contains(&format!("HOME `{home}` is a directory of the system")), "{}", refused.stderr);
    }
    assert!(go("/").stdout.contains("root:"), "a home of many services");
}

/// A program that prints something, in a directory that is closed to others.
fn program(path: &Path, script: &str) {
    write(path, &format!("#!/bin/sh\n{script}\n"));
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("a program");
}

#[test]
fn what_an_agent_plants_in_path_is_run_by_nobody_outside() {
    let mut root = Root::new("what_an_agent_plants_in_path");
    // Where nobody else can write: only that it was granted is in the way.
    let Some(elsewhere) = Elsewhere::new(env!("CARGO_TARGET_TMPDIR"), "planted") else { return };
    let (project, mark) = (elsewhere.0.join("project"), elsewhere.0.join("mark"));
    let config = format!(
        "provider = \"notes\"\nworking_dirs = [{project:?}]\n[channels.discord]\ntoken = {{ command = [\"show-token\"] }}\n"
    );
    fs_err::create_dir_all(project.join("bin")).expect("a directory");
    root.write_config(&config);
    root.add_path(&project.join("bin"));
    root.set_env("DENIZEN_WALLS", "full");
    root.ok(&["send", "alder", "hello"]);
    root.ok(&["cd", "alder", &project.display().to_string()]);
    for name in ["bwrap", "show-token", "claude", "sh", "env"] {
        program(&project.join("bin").join(name), &format!("touch '{}'", mark.display()));
    }
    let told = root.run(&["doctor"]).stdout;
    let (planted, project_is) = (project.join("bin/show-token"), project.display());
    let why = format!("`{}` is not used: agents can write `{project_is}`", planted.display());
    assert!(told.contains(&why), "{told}");
    assert_eq!(
        root.ok(&["exec", "alder", "--", "sh", "-c", "command -v bwrap"]).trim(),
        project.join("bin/bwrap").display().to_string()
    );
    root.ok(&["send", "alder", "again"]);
    let refused = root.run(&["send", "alder", "hello", "--provider", "claude"]);
    assert!(refused.stderr.contains("is not used: it lies in"), "{}", refused.stderr);
    assert!(!mark.exists(), "something that was planted ran");
}

#[test]
fn a_link_in_what_is_shared_leads_nobody_elsewhere() {
    for user in users() {
        let mut root = Root::new(&format!("a_link_in_what_is_shared-{}", user.is_some()));
        let shared = root.dir().join("shared");
        fs_err::create_dir_all(shared.join("sub/deep")).expect("a directory");
        fs_err::create_dir_all(root.dir().join("project/sub")).expect("a directory");
        let project = root.dir().join("project");
        root.write_config(&format!(
            "provider = \"notes\"\nworking_dirs = [{project:?}]\n\
             [[share]]\nsessions = [\"alder\"]\npath = {shared:?}\nmode = \"write\"\n\
             [[share]]\nsessions = [\"birch\"]\npath = {:?}\nmode = \"write\"\n",
            shared.join("sub")
        ));
        root.write_home(".ssh/id", SECRET);
        if let Some(user) = user {
            root.give_to(user);
        }
        let ssh = root.home().join(".ssh");
        for walls in ["full", "kernel"] {
            root.set_env("DENIZEN_WALLS", walls);
            root.ok(&["send", "alder", "hello"]);
            root.ok(&["send", "birch", "hello"]);
            root.ok(&["cd", "birch", &project.join("sub").display().to_string()]);
            let work = format!("echo x > '{}/sub/deep/x' && echo written", shared.display());
            assert_eq!(shell(&root, "birch", &work).stdout, "written\n", "{walls}");
            root.ok(&["cd", "birch", "--home"]);
            let swap = |dir: &Path| {
                format!("mv '{0}/sub' '{0}/was' && ln -s '{1}' '{0}/sub' && echo swapped", dir.display(), ssh.display())
            };
            assert_eq!(shell(&root, "alder", &swap(&shared)).stdout, "swapped\n", "{walls}");
            let tried = shell(&root, "birch", &format!("cat '{0}/id'; echo x > '{0}/planted'", ssh.display()));
            assert!(!tried.stdout.contains(SECRET) && !ssh.join("planted").exists(), "{walls}: {tried:?}");
            let link = shared.join("sub");
            assert!(tried.stderr.contains(&format!("leads through the link `{}`", link.display())), "{tried:?}");
            fs_err::remove_file(&link).expect("removed");
            fs_err::rename(shared.join("was"), &link).expect("moved back");
            // The same with a grant.
            root.ok(&["cd", "birch", &project.join("sub").display().to_string()]);
            root.ok(&["cd", "alder", &project.display().to_string()]);
            assert_eq!(shell(&root, "alder", &swap(&project)).stdout, "swapped\n", "{walls}");
            let tried = shell(&root, "birch", "cat id; echo x > planted");
            assert!(!tried.stdout.contains(SECRET) && !ssh.join("planted").exists(), "{walls}: {tried:?}");
            assert!(tried.stderr.contains("which was not granted"), "{tried:?}");
            fs_err::remove_file(project.join("sub")).expect("removed");
            fs_err::rename(project.join("was"), project.join("sub")).expect("moved back");
            for key in ["alder", "birch"] {
                root.ok(&["cd", key, "--home"]);
            }
        }
    }
}

/// Ends a thread, also where the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// While a turn begins, another session exchanges the shared directory for a link
/// to what is private, again and again.
/// Landlock only adds rights: what lies in something that may be written may be
/// written.
#[test]
fn what_is_shared_for_reading_in_what_may_be_written_stays_as_it_is() {
    for user in users() {
        let mut root = two_sessions("read_in_write", "", None);
        let outer = root.dir().join("outer");
        let file = outer.join("inner/file");
        write(&file, "before");
        root.write_config(&format!(
            "provider = \"notes\"\n[[share]]\nsessions = [\"*\"]\npath = {outer:?}\nmode = \"write\"\n\
             [[share]]\nsessions = [\"*\"]\npath = {:?}\n",
            outer.join("inner")
        ));
        if let Some(user) = user {
            root.give_to(user);
        }
        let script = format!("echo after > {}; touch {}; echo tried", file.display(), outer.join("new").display());
        for (walls, tries) in [("full", true), ("kernel", false)] {
            root.set_env("DENIZEN_WALLS", walls);
            let seen = shell(&root, "alder", &script);
            if seen.stderr.contains("cannot be had here") {
                continue;
            }
            assert_eq!(seen.stdout.contains("tried"), tries, "{walls}: {seen:?}");
            assert_eq!(fs_err::read_to_string(&file).expect("the file"), "before", "{walls}");
            assert!(outer.join("new").exists(), "{walls}: {seen:?}");
        }
    }
}

#[test]
fn a_race_of_links_is_not_won() {
    let mut root = Root::new("a_race_of_links");
    let shared = root.dir().join("shared");
    fs_err::create_dir_all(shared.join("sub")).expect("a directory");
    root.write_config(&format!(
        "provider = \"notes\"\n[[share]]\nsessions = [\"birch\"]\npath = {0:?}\nmode = \"write\"\n\
         [[share]]\nsessions = [\"alder\"]\npath = {1:?}\nmode = \"write\"\n",
        shared.join("sub"),
        shared
    ));
    root.write_home(".ssh/id", SECRET);
    root.set_env("DENIZEN_WALLS", "full");
    root.ok(&["send", "birch", "hello"]);
    let ssh = root.home().join(".ssh");
    let (sub, link) = (shared.join("sub"), shared.join("link"));
    symlink(&ssh, &link).expect("a link");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = Stop(&done);
        let flipping = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &sub, rustix::fs::CWD, &link, flags).expect("exchanged");
            }
        });
        let mut codes = [0; 2];
        for _ in 0..40 {
            let script = format!("cat '{0}/id' '{1}/id'; echo x > '{1}/mark'; ls '{0}'", ssh.display(), sub.display());
            let tried = shell(&root, "birch", &script);
            assert!(!tried.stdout.contains(SECRET), "{tried:?}");
            codes[usize::from(tried.stderr.is_empty())] += 1;
        }
        drop(stop);
        flipping.join().expect("flipped");
        println!("refused and run: {codes:?}");
    });
    assert_eq!(names_of(&ssh), ["id"]);
}

#[test]
fn what_holds_the_root_cannot_move_it_away() {
    for user in users() {
        let root = two_sessions("what_holds_the_root", "", user);
        let share = format!(
            "provider = \"notes\"\n[[share]]\nsessions = [\"alder\"]\npath = {:?}\nmode = \"write\"\n",
            root.dir()
        );
        root.write_config(&share);
        give(&root.path().join("denizen.toml"), user);
        fs_err::create_dir_all(root.dir().join("deep/below")).expect("a directory");
        give(root.dir(), user);
        let script = format!(
            "cd '{}'; mv root other; mv home other; mv home/.ssh x; cat home/.ssh/id root/denizen.toml; \
             ls root/sessions; echo x > note && echo written",
            root.dir().display()
        );
        let seen = shell(&root, "alder", &script).stdout;
        assert!(seen.contains("\nwritten\n") && seen.contains("alder\n"), "{seen}");
        assert!(!seen.contains(SECRET) && !seen.contains("birch") && !seen.contains("provider ="), "{seen}");
        assert!(root.path().join("denizen.toml").exists() && root.home().join(".ssh/id").exists(), "{seen}");
        // Deep in what is shared, each directory on the way is pinned.
        let deep = root.dir().join("deep/below/root");
        let place = |args: &[&str]| in_place(&root, &deep, &root.home(), args);
        assert_eq!(place(&["send", "alder", "hello", "--provider", "notes"]).code, Some(0));
        write(&deep.join("denizen.toml"), &share);
        give(&deep.join("denizen.toml"), user);
        let script = format!("cd '{}'; mv deep x; mv deep/below y; ls", root.dir().display());
        let seen = place(&["exec", "alder", "--", "sh", "-c", &script]);
        assert!(deep.join("denizen.toml").exists() && seen.stdout.contains("deep\n"), "{seen:?}");
    }
}

#[test]
fn the_first_line_of_an_own_program_opens_nothing() {
    for user in users() {
        let root = two_sessions("the_first_line_of_an_own_program", "", user);
        let key = root.home().join(".ssh/id").display().to_string();
        for line in [
            format!("#!/usr/bin/env -S -u {key} /bin/sh"),
            format!("#!/usr/bin/env -S --unset={key} /bin/sh"),
            format!("#!{key}"),
            format!("#!/usr/bin/env {key}"),
        ] {
            let report = root.session("alder").join("report");
            write(&report, &format!("{line}\ncat {key}; echo ran\n"));
            fs_err::set_permissions(&report, PermissionsExt::from_mode(0o755)).expect("a program");
            give(&report, user);
            for walls in ["full", "kernel"] {
                let out = root.run(&["-c", &format!("walls={walls}"), "exec", "alder", "--", "./report"]);
                assert!(!out.stdout.contains(SECRET), "{line} {walls}: {out:?}");
                let shown = root.ok(&["-c", &format!("walls={walls}"), "config", "walls", "alder"]);
                assert!(!shown.contains(".ssh"), "{shown}");
            }
        }
        let report = root.session("alder").join("report");
        write(&report, "#!/usr/bin/env -S sh\necho ran\n");
        fs_err::set_permissions(&report, PermissionsExt::from_mode(0o755)).expect("a program");
        give(&report, user);
        assert_eq!(root.ok(&["exec", "alder", "--", "./report"]), "ran\n");
    }
}

#[test]
fn programs_behind_linked_directories_are_found() {
    let mut root = two_sessions("programs_behind_linked_directories", "", None);
    let tools = root.home().join("tools");
    program(&tools.join("v1/bin/linked"), "echo linked");
    program(&tools.join("v1/bin2/dotted"), "echo dotted");
    symlink("v1", tools.join("current")).expect("a link");
    root.add_path(&tools.join("current/bin"));
    root.add_path(&tools.join("v1/bin/../bin2"));
    for walls in ["full", "kernel"] {
        root.set_env("DENIZEN_WALLS", walls);
        assert_eq!(root.ok(&["exec", "alder", "--", "sh", "-c", "linked; dotted"]), "linked\ndotted\n", "{walls}");
        for named in ["linked", "dotted"] {
            assert_eq!(root.ok(&["exec", "alder", "--", named]), format!("{named}\n"), "{walls}");
        }
    }
}

/// What is private is also covered where it is mounted once more.
#[test]
fn another_name_of_what_is_private_is_covered() {
    const TEST: &str = "another_name_of_what_is_private";
    if !rustix::process::geteuid().is_root() {
        println!("{TEST} did not run: it takes root to mount");
        return;
    }
    let Some(elsewhere) = Elsewhere::new("/opt", TEST) else { return };
    let root = two_sessions(TEST, "", None);
    let mut command = root.command("unshare");
    let (home, at) = (root.home().display().to_string(), elsewhere.0.display().to_string());
    let script = format!(
        "mount --bind '{home}' '{at}' && \"$0\" exec alder -- sh -c 'cat {at}/.ssh/id; ls -a {at}; echo looked'; \
         \"$0\" -c walls=kernel exec alder -- true"
    );
    command.args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_denizen")]);
    let seen = run(command, "");
    assert!(seen.stdout.ends_with("looked\n") && !seen.stdout.contains("ssh"), "{seen:?}");
    assert!(seen.stderr.contains(&format!("HOME `{at}` lies in `/opt`")), "{seen:?}");
}

/// In a directory of the system the proof sees what is real, and says so.
#[test]
fn the_proof_looks_at_the_real_home() {
    let stage = Stage::new("the_proof_looks_at_the_real_home", None);
    let off = stage.prove(&["-c", "walls=off"]);
    for number in 190..=196 {
        assert!(off.rows[&number].through, "{number}: {:?}", off.rows[&number]);
    }
    assert!(names_of(&stage.root.home()).is_empty());
}
