//! Sessions that take all that they can: each meets its limits, is told which,
//! and leaves no process; meanwhile another session is answered.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::support::fake::{Running, until};
use crate::support::proof::USER;
use crate::support::root::{Root, full, run};

/// What a session does once it may, with `limits` as below.
struct Excess {
    name: &'static str,
    script: &'static str,
    /// The exit code of the turn, and what the person is told.
    ends: (i32, &'static str),
}

/// Several of these sessions at once would take the machine from each other's
/// launchers, and from all other tests.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What doubles at every step. Only where the kernel holds the number of an
/// ordinary user's processes is it tried on a machine that does something else
/// too; elsewhere `DENIZEN_TEST_FULL=1` tries it.
const FORK_BOMB: &str = "bomb() { bomb & bomb & exec sleep 1000; }; bomb";

const LIMITS: &str = "[limits]\nprocesses = 64\nmemory = \"100M\"\nfile_size = \"8M\"\ndisk = \"60M\"\nfiles = 2000\n";

const HINT: &str = "\nhint: look at what it did, or raise the limit in denizen.toml\n";

const EXCESSES: &[Excess] = &[
    Excess {
        name: "a fork bomb",
        script: FORK_BOMB,
        ends: (
            1,
            "error: the turn was ended: it had more than 64 processes and threads at once, as many as `limits.processes` allows",
        ),
    },
    Excess {
        name: "processes that leave its tree",
        script: "while :; do (setsid sleep 1000 &); done",
        ends: (
            1,
            "error: the turn was ended: it had more than 64 processes and threads at once, as many as `limits.processes` allows",
        ),
    },
    Excess {
        name: "a hunger for memory",
        script: "head -c 1000M /dev/zero | tail",
        ends: (1, "error: the turn was ended: it used more than 100M of memory (`limits.memory`)"),
    },
    Excess {
        name: "many large files",
        script: "i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > large-$i; done",
        ends: (1, "error: the turn was ended: the session's folder grew to more than 60M (`limits.disk`)"),
    },
    Excess {
        name: "a hundred thousand files",
        script: "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); : > small-$i; done; sleep 1000",
        ends: (1, "error: the turn was ended: the session's folder came to hold more than 2000 files (`limits.files`)"),
    },
];

/// The same, where walls make no difference.
const OUTPUT: &[Excess] = &[
    Excess {
        name: "endless output",
        script: "yes 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ends: (3, "error: greedy: it printed more than 268435456 bytes"),
    },
    Excess {
        name: "a line without an end",
        script: "cat /dev/zero",
        ends: (3, "error: greedy: it printed a line of more than 33554432 bytes"),
    },
];

/// A root with a session that waits for `go` in its folder, working hard, before
/// it does what its message says.
fn greedy(test: &str, user: Option<u32>) -> Root {
    let mut root = Root::new(test);
    let busy = "script=$(tail -n 1); touch started; for i in 1 2 3 4; do (while [ ! -e go ]; do :; done) & done; \
        while [ ! -e go ]; do head -c 1000000 /dev/zero > busy; done; wait; eval \"$script\"";
    root.write_config(&format!(
        "provider = \"greedy\"\ndurability = \"process\"\n{LIMITS}\n[providers.greedy]\nprogram = \"/bin/sh\"\nargs = [\"-c\", {busy:?}]\n"
    ));
    if let Some(user) = user {
        root.give_to(user);
    }
    root
}

/// Whether the walls can be had here.
fn can_have(root: &Root, walls: &str) -> bool {
    let output = root.run(&["-c", &format!("walls={walls}"), "doctor", "--prove", "-q"]);
    if output.stderr.contains("cannot be had here") {
        println!("did not run with `walls = \"{walls}\"`: {}", output.stderr.trim());
        return false;
    }
    true
}

fn meets_its_limits(test: &str, excesses: &[Excess], walls: &str, user: Option<u32>) {
    let root = greedy(test, user);
    if !can_have(&root, walls) {
        return;
    }
    let set = format!("walls={walls}");
    let folder = root.session("alder");
    let mut wrong = Vec::new();
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let is_held = walls == "full" && user.is_some();
    for Excess { name, script, ends } in
        excesses.iter().filter(|excess| excess.script != FORK_BOMB || is_held || full())
    {
        let mut running = Running::denizen(&root, &["-c", &set, "send", "alder", script]);
        until("the start of the greedy session", || {
            if folder.join("started").exists() { Ok(()) } else { Err(String::new()) }
        });
        let answer = root.ok(&["-c", &set, "send", "birch", "--provider", "notes", "hello"]);
        assert!(answer.contains("no note"), "{name}: {answer}");
        assert!(running.runs(), "{name}: the other was answered meanwhile");
        put(&folder.join("go"), user);
        let output = running.end();
        let said = output.stderr.replace(HINT, "");
        if output.code != Some(ends.0) || !said.contains(ends.1) {
            wrong.push(format!("{name}: {:?} {}", output.code, output.stderr));
        }
        let left = processes_with(&folder);
        assert!(left.is_empty(), "{name} left {left:?}");
        fs_err::remove_dir_all(&folder).expect("removed");
    }
    assert!(wrong.is_empty(), "{walls}, {user:?}:\n{}", wrong.join("\n"));
}

/// An empty file of the session's user.
fn put(path: &Path, user: Option<u32>) {
    fs_err::write(path, "").expect("written");
    std::os::unix::fs::chown(path, user, user).expect("given");
}

/// The processes whose working directory is a folder, also in another namespace.
fn processes_with(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir("/proc").expect("/proc").flatten();
    let here = entries.filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder));
    here.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn with_full_walls_it_meets_its_limits() {
    meets_its_limits("with_full_walls_it_meets_its_limits", EXCESSES, "full", None);
}

#[test]
fn with_full_walls_a_user_meets_the_limits() {
    if !rustix::process::geteuid().is_root() {
        println!("did not run: it takes root to try as another user");
        return;
    }
    meets_its_limits("with_full_walls_a_user_meets_the_limits", EXCESSES, "full", Some(USER));
}

#[test]
fn with_kernel_walls_it_meets_its_limits() {
    meets_its_limits("with_kernel_walls_it_meets_its_limits", EXCESSES, "kernel", None);
}

#[test]
fn without_walls_it_meets_its_limits() {
    meets_its_limits("without_walls_it_meets_its_limits", EXCESSES, "off", None);
}

#[test]
fn endless_output_is_ended() {
    meets_its_limits("endless_output_is_ended", OUTPUT, "full", None);
}

/// The kernel holds the size of a file: the program that writes it gets an error,
/// and the turn goes on.
#[test]
fn ten_gigabytes_are_not_written() {
    let root = greedy("ten_gigabytes_are_not_written", None);
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for walls in ["full", "kernel", "off"].into_iter().filter(|walls| can_have(&root, walls)) {
        let set = format!("walls={walls}");
        let script = "dd if=/dev/zero of=large bs=1M count=10240 2>&1 | tail -n 1; stat -c %s large";
        let running = Running::denizen(&root, &["-c", &set, "send", "alder", script]);
        let folder = root.session("alder");
        until("the start", || if folder.join("started").exists() { Ok(()) } else { Err(String::new()) });
        put(&folder.join("go"), None);
        let output = running.end();
        assert_eq!(output.code, Some(0), "{walls}: {output:?}");
        assert!(output.stdout.trim().ends_with("8388608"), "{walls}: {output:?}");
        fs_err::remove_dir_all(&folder).expect("removed");
    }
}

/// A command that is run in the session's place has its limits.
#[test]
fn exec_meets_the_limits_too() {
    let root = greedy("exec_meets_the_limits_too", None);
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    root.ok(&["send", "alder", "--provider", "notes", "hello"]);
    let mut command = root.denizen();
    command.args(["exec", "alder", "--", "/bin/sh", "-c", "while :; do sleep 1000 & done"]);
    let output = run(command, "");
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("`limits.processes` allows"), "{output:?}");
    assert!(processes_with(&root.session("alder")).is_empty());
}
