//! Logins that are renewed with a token that counts once: a `claude` of our own
//! renews as the CLI does, against a server that is a directory. In every mode
//! the login is renewed once, comes home whatever dies, and is what it was but
//! for its tokens and times.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use denizen::files::Durability;
use denizen::login::settle_all;
use denizen::session::Store;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::fake::{Running, until};
use crate::support::proof::USER;
use crate::support::root::{Output, Root, amount, write};

/// `valid/` holds the tokens that count, `spent/` those that did; `events` what
/// happened. `$1` is what a test adds.
const CLAUDE: &str = r#"
say() { printf '%s\n' "$*" >> "$S/events"; }
while [ $# -gt 0 ]; do
    case "$1" in --session-id) id=$2 ;; -r) id=$2 ;; esac
    shift
done
message=$(cat)
login=$CLAUDE_CONFIG_DIR/.credentials.json
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" "$login"; }
line() {
    printf '{"claudeAiOauth":{"accessToken":"a-%s","refreshToken":"%s","expiresAt":%s000,"scopes":["user:inference"],"subscriptionType":"max"}}' "$1" "$1" "$2"
}
renew() {
    old=$(field refreshToken)
    if ! mv "$S/valid/$old" "$S/spent/$old"; then
        say "reused $old"
        printf '{"type":"result","subtype":"success","is_error":true,"result":"Not logged in","session_id":"%s"}\n' "$id"
        exit 1
    fi
    say "spent $old"
    sleep "${1:-0.2}"
    new=r-$$-$(date +%N)
    : > "$S/valid/$new"
    line "$new" $(($(date +%s) + 28800)) > "$login.tmp.1"
    mv "$login.tmp.1" "$login"
    say "renewed $new"
}
renew_if_due() { [ $(($(date +%s) + 300)) -lt $(($(field expiresAt) / 1000)) ] || renew "$@"; }
begin() {
    printf '{"type":"system","subtype":"init","session_id":"%s"}\n' "$id"
    printf '{"type":"assistant","message":{"content":[{"type":"text","text":"%s"}]}}\n' "$1"
}
answer() {
    printf '%s\n' "$message" >> "$(echo "$CLAUDE_CONFIG_DIR"/projects/*)/$id.jsonl"
    begin "$1"
    printf '{"type":"result","subtype":"success","is_error":false,"result":"%s","session_id":"%s","usage":{"input_tokens":3,"output_tokens":2}}\n' "$1" "$id"
}
"#;

const LOGIN: &str = ".claude/.credentials.json";

const MODES: [&str; 3] = ["off", "kernel", "full"];

/// A root with a `claude`, a server and a login.
struct Stage {
    root: Root,
    server: PathBuf,
}

impl Stage {
    fn new(test: &str, walls: &str, body: &str) -> Self {
        let mut root = Root::new(test);
        let server = root.dir().join("server");
        for name in ["valid", "spent"] {
            fs_err::create_dir_all(server.join(name)).expect("a directory");
        }
        let program = root.dir().join("bin/claude");
        write(&program, &format!("#!/bin/sh\nS='{}'\n{CLAUDE}\n{body}\n", server.display()));
        fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("a program");
        root.add_path(&root.dir().join("bin"));
        root.set_env("DENIZEN_WALLS", walls);
        root.write_config(&format!(
            "provider = \"claude\"\nlimits.turns = 8\n[[share]]\nsessions = [\"*\"]\npath = \"{}\"\nmode = \"write\"\n",
            server.display()
        ));
        let stage = Self { root, server };
        stage.log_in(-60);
        stage
    }

    /// Puts a login there that ends in so many seconds.
    fn log_in(&self, ends_in: i64) {
        write(&self.server.join("valid/r0"), "");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_millis();
        let ends = i64::try_from(now).expect("a time") + ends_in * 1000;
        let login = json!({"claudeAiOauth": {"accessToken": "a-r0", "refreshToken": "r0", "expiresAt": ends,
            "scopes": ["user:inference"], "subscriptionType": "max"}});
        self.root.write_home(LOGIN, &login.to_string());
    }

    fn login(&self) -> String {
        fs_err::read_to_string(self.root.home().join(LOGIN)).expect("a login")
    }

    fn said(&self, what: &str) -> Vec<String> {
        let text = fs_err::read_to_string(self.server.join("events")).unwrap_or_default();
        text.lines().filter(|line| line.starts_with(what)).map(str::to_owned).collect()
    }

    fn wait_for(&self, what: &str, count: usize) {
        until(what, || if self.said(what).len() >= count { Ok(()) } else { Err(format!("{:?}", self.said(""))) });
    }

    /// Fails unless the login counts, and has its keys.
    fn assert_valid(&self) {
        let text = self.login();
        let login: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let login = login["claudeAiOauth"].as_object().expect("a login");
        let keys: Vec<&String> = login.keys().collect();
        assert_eq!(keys, ["accessToken", "refreshToken", "expiresAt", "scopes", "subscriptionType"]);
        let token = login["refreshToken"].as_str().expect("a token");
        assert!(self.server.join("valid").join(token).exists(), "{token} was spent: {:?}", self.said(""));
        assert_eq!(login["accessToken"], json!(format!("a-{token}")));
        assert_eq!(self.said("reused"), Vec::<String>::new());
    }

    /// Fails unless no copy, no note and no lock is left.
    fn assert_clean(&self) {
        let left = |dir: PathBuf| fs_err::read_dir(dir).map(|entries| entries.count()).unwrap_or_default();
        assert_eq!(left(self.root.path().join("state/logins")), 0, "notes are left");
        assert_eq!(self.root.files_with(&self.root.path(), "refreshToken"), Vec::<PathBuf>::new());
        assert_eq!(left(self.root.home().join(".claude")), 1, "something is left beside the login");
        assert!(!self.root.home().join(".claude.lock").exists());
    }

    /// Waits until nothing runs for the session.
    fn wait_for_end(&self, key: &str) {
        let lock = self.root.path().join(format!("state/locks/{key}.run"));
        until("end of the launcher", || match denizen::files::is_locked(&lock) {
            Ok(false) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn named(test: &str, walls: &str) -> String {
    format!("{test}-{walls}")
}

#[test]
fn sessions_at_once_renew_a_login_once() {
    for walls in MODES {
        let stage = Stage::new(&named("sessions_at_once_renew", walls), walls, "renew_if_due\nanswer done");
        thread::scope(|scope| {
            for number in 0..8 {
                let root = &stage.root;
                scope.spawn(move || assert_eq!(root.ok(&["send", &format!("s{number}"), "hello"]), "done\n"));
            }
        });
        assert_eq!(stage.said("spent"), ["spent r0"], "{walls}");
        stage.assert_valid();
        stage.assert_clean();
    }
}

#[test]
fn a_login_keeps_its_mode_its_owner_and_the_link_to_it() {
    for walls in MODES {
        let stage = Stage::new(&named("a_login_keeps_its_mode", walls), walls, "renew_if_due\nanswer done");
        let (link, real) = (stage.root.home().join(LOGIN), stage.root.home().join("dotfiles/login"));
        fs_err::create_dir(stage.root.home().join("dotfiles")).expect("a directory");
        fs_err::rename(&link, &real).expect("moved");
        symlink("../dotfiles/login", &link).expect("a link");
        fs_err::set_permissions(&real, PermissionsExt::from_mode(0o640)).expect("a mode");
        let owner = if rustix::process::geteuid().is_root() { USER } else { rustix::process::getuid().as_raw() };
        std::os::unix::fs::chown(&real, Some(owner), None).expect("an owner");
        assert_eq!(stage.root.ok(&["send", "alder", "hello"]), "done\n");
        let metadata = real.symlink_metadata().expect("the login");
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o640, owner), "{walls}");
        assert_eq!(fs_err::read_link(&link).expect("a link"), Path::new("../dotfiles/login"));
        stage.assert_valid();
        stage.assert_clean();
    }
}

#[test]
fn a_login_inside_another_program_s_mount_is_written_over() {
    // A file that is mounted alone, as into a container, cannot be replaced.
    if !rustix::process::geteuid().is_root() {
        println!("did not run: that takes root");
        return;
    }
    let stage = Stage::new("a_login_inside_another_mount", "off", "renew_if_due\nanswer done");
    let (login, mounted) = (stage.root.home().join(LOGIN), stage.root.dir().join("mounted"));
    fs_err::copy(&login, &mounted).expect("a copy");
    let mut command = stage.root.command("unshare");
    let script = format!("mount --bind '{}' '{}' && exec \"$@\"", mounted.display(), login.display());
    let program = env!("CARGO_BIN_EXE_denizen");
    command.args(["-m", "sh", "-c", &script, "sh", program, "send", "alder", "hello"]);
    let output = crate::support::root::run(command, "");
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "done\n"), "{output:?}");
    fs_err::copy(&mounted, &login).expect("a copy");
    assert!(!stage.said("renewed").is_empty());
    stage.assert_valid();
    stage.assert_clean();
}

/// Kills what a killed `denizen` leaves, too: its launcher.
fn kill_both(running: &Running) {
    let launcher = format!("/proc/{0}/task/{0}/children", running.pid().as_raw_nonzero());
    let launcher = fs_err::read_to_string(launcher).expect("its children");
    running.signal(Signal::STOP);
    for pid in launcher.split_whitespace() {
        let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a number");
        kill_process(pid, Signal::KILL).expect("it runs");
    }
    running.signal(Signal::KILL);
}

#[test]
fn a_renewal_in_flight_outlives_denizen() {
    for walls in MODES {
        let body = "renew_if_due 0.7\n[ \"$message\" = die ] && sleep 1000\nanswer done";
        let stage = Stage::new(&named("a_renewal_in_flight_outlives", walls), walls, body);
        let running = Running::denizen(&stage.root, &["send", "alder", "die"]);
        stage.wait_for("spent", 1);
        running.signal(Signal::KILL);
        assert_eq!(running.end().code, None);
        // Another cannot renew before that renewal is home.
        assert_eq!(stage.root.ok(&["send", "birch", "hello"]), "done\n");
        stage.wait_for_end("alder");
        assert!(!stage.login().contains("\"r0\""), "{walls}: it was cut short");
        stage.assert_valid();
        stage.assert_clean();
    }
}

#[test]
fn a_renewal_in_flight_outlives_a_stop_an_interrupt_and_the_deadline() {
    for how in ["stop", "interrupt", "hang-up", "deadline"] {
        let body = "[ \"$message\" != deadline ] || sleep 1\nrenew_if_due 1.2\nsleep 1000";
        let stage = Stage::new(&named("a_renewal_in_flight", how), "off", body);
        let running = Running::denizen(&stage.root, &["send", "alder", how, "-c", "limits.turn_timeout=2s"]);
        if how != "deadline" {
            stage.wait_for("spent", 1);
        }
        match how {
            "stop" => drop(stage.root.ok(&["stop", "alder"])),
            "interrupt" => running.signal(Signal::INT),
            "hang-up" => running.signal(Signal::HUP),
            _ => {}
        }
        let Output { code, stderr, .. } = running.end();
        assert_ne!(code, Some(0), "{stderr}");
        assert!(!stage.login().contains("\"r0\""), "{how}: it was cut short");
        stage.assert_valid();
        stage.assert_clean();
    }
}

#[test]
fn a_renewal_comes_home_when_everything_was_killed() {
    for (walls, next) in
        [("full", "birch"), ("full", "alder"), ("kernel", "birch"), ("full", "the daemon"), ("full", "rm")]
    {
        // It dies with its locks, and with a login that it has not renamed yet.
        let litter = "mkdir \"$CLAUDE_CONFIG_DIR/.oauth_refresh.lock\" \"$CLAUDE_CONFIG_DIR.lock\"; cp \"$login\" \"$login.tmp.2\"";
        let body = format!(
            "case \"$message\" in die) say \"there $$\"; read -r _ < \"$S/gate\"; {litter}; renew; kill -STOP $$ ;; esac\n\
             renew_if_due\nanswer done"
        );
        let stage =
            Stage::new(&named("a_renewal_comes_home", &format!("{walls}-{}", next.replace(' ', "-"))), walls, &body);
        let gate = stage.server.join("gate");
        let made = Command::new("mkfifo").arg(&gate).status().expect("mkfifo");
        assert!(made.success());
        let running = Running::denizen(&stage.root, &["send", "alder", "die"]);
        stage.wait_for("there", 1);
        // While it is stopped, nothing looks at the copy.
        running.signal(Signal::STOP);
        fs_err::OpenOptions::new()
            .write(true)
            .open(&gate)
            .and_then(|mut gate| std::io::Write::write_all(&mut gate, b"\n"))
            .expect("a gate");
        stage.wait_for("renewed", 1);
        kill_both(&running);
        drop(running);
        stage.wait_for_end("alder");
        assert!(stage.login().contains("\"r0\""), "{walls}: nobody was there to bring it home");
        match next {
            "rm" => drop(stage.root.ok(&["rm", "alder"])),
            "the daemon" => settle_all(&Store::at(&stage.root.path(), Durability::Power)).expect("settled"),
            next => assert_eq!(stage.root.ok(&["send", next, "hello"]), "done\n"),
        }
        assert_eq!(stage.said("renewed").len(), 1, "{walls}, {next}");
        stage.assert_valid();
        stage.assert_clean();
        let homes = stage.root.path().join("state/homes/alder");
        for lock in ["claude/.oauth_refresh.lock", "claude.lock"] {
            assert!(!homes.join(lock).exists(), "{walls}, {next}: the next {lock} would be waited for");
        }
    }
}

#[test]
fn kills_around_a_renewal_lose_no_login() {
    for walls in MODES {
        let body = "renew_if_due 0.05\nbegin on\nsleep 0.1\nanswer done";
        let stage = Stage::new(&named("kills_around_a_renewal", walls), walls, body);
        for round in 0..amount(3, 8, 70) {
            let login: Value = serde_json::from_str(&stage.login()).expect("JSON");
            let mut old = login.clone();
            old["claudeAiOauth"]["expiresAt"] = json!(1_000_000_000_000_u64);
            stage.root.write_home(LOGIN, &old.to_string());
            let running = Running::denizen(&stage.root, &["send", &format!("s{}", round % 3), "hello"]);
            thread::sleep(Duration::from_millis(20 + (round as u64 * 37) % 200));
            running.signal(Signal::KILL);
            drop(running);
            stage.wait_for_end(&format!("s{}", round % 3));
            stage.assert_valid();
        }
        stage.root.ok(&["send", "birch", "hello"]);
        stage.assert_valid();
        stage.assert_clean();
    }
}

#[test]
fn a_copy_that_was_forged_is_set_aside_and_told() {
    let full = r#"line r9 99999999999 | sed 's/99999999999000/'$(($(date +%s) + 28800))000'/'"#;
    let forgeries = [
        ("a new key", format!(r#"{full} | sed 's/"scopes"/"apiUrl":"https:\/\/x","scopes"/' > "$login""#)),
        ("a key beside", format!(r#"{full} | sed 's/^{{/{{"primaryApiKey":"k",/' > "$login""#)),
        (
            "a key twice",
            format!(
                r#"{full} | sed 's/"expiresAt":/"expiresAt":1,"refreshToken":"r0","expiresAt":"x","x":/' > "$login""#
            ),
        ),
        ("a missing key", format!(r#"{full} | sed 's/"scopes":.*/"x":1}}}}/' > "$login""#)),
        ("another kind", r#"printf '{"primaryApiKey":"k"}' > "$login""#.to_owned()),
        ("an older login", r#"line r9 1000000000 > "$login""#.to_owned()),
        ("one for ever", r#"line r9 99999999999 > "$login""#.to_owned()),
        ("a header", format!(r#"{full} | sed 's/a-r9/a\\r\\nX: y/' > "$login""#)),
        ("no JSON", r#"printf 'hello' > "$login""#.to_owned()),
        ("half of it", format!(r#"{full} | head -c 60 > "$login""#)),
        (
            "a long one",
            format!(r#"{{ {full}; head -c 2000000 /dev/zero | tr '\0' ' '; }} > "$login.x"; mv "$login.x" "$login""#),
        ),
        ("a link", format!(r#"{full} > "$S/forged"; rm "$login"; ln -s "$S/forged" "$login""#)),
        ("a hard link", format!(r#"{full} > "$login.x"; ln -f "$login.x" "$login""#)),
        ("a FIFO", r#"rm "$login"; mkfifo "$login""#.to_owned()),
        ("a directory", r#"rm "$login"; mkdir -p "$login/a/b""#.to_owned()),
    ];
    for walls in ["full", "kernel"] {
        for (what, forge) in &forgeries {
            let body = format!("{forge}\nanswer done");
            let stage = Stage::new(&named("a_copy_that_was_forged", walls), walls, &body);
            stage.log_in(7200);
            let before = stage.login();
            let output = stage.root.run(&["send", "alder", "hello"]);
            assert_eq!((output.code, output.stdout.as_str()), (Some(0), "done\n"), "{what}: {output:?}");
            assert!(output.stderr.contains("changed by more than a renewal"), "{walls}, {what}: {}", output.stderr);
            assert_eq!(stage.login(), before, "{walls}, {what}");
            let conflicts = fs_err::read_dir(stage.root.path().join("state/conflicts")).expect("a directory");
            assert_eq!(conflicts.count(), 1, "{walls}, {what}");
            // And the next turn has the login again.
            let stderr = stage.root.run(&["send", "alder", "-c", "providers.claude.program=/bin/true", "hello"]).stderr;
            assert!(!stderr.contains("copy of the login"), "{walls}, {what}: {stderr}");
        }
    }
}

#[test]
fn a_late_renewal_comes_home_and_reaches_who_is_running() {
    for walls in MODES {
        let body = r#"case "$message" in
renew) begin on; read -r _ < "$S/gate"; renew; until [ -e "$S/seen" ]; do sleep 0.05; done ;;
wait) begin on; until ! grep -q '"r0"' "$login"; do sleep 0.05; done; say "saw $(field refreshToken)"; : > "$S/seen" ;;
esac
answer done"#;
        let stage = Stage::new(&named("a_late_renewal_comes_home", walls), walls, body);
        // Not so soon that a lock would be taken.
        stage.log_in(1000);
        assert!(Command::new("mkfifo").arg(stage.server.join("gate")).status().expect("mkfifo").success());
        let running = ["renew", "wait"].map(|what| Running::denizen(&stage.root, &["send", what, what]));
        until("notes", || {
            let notes =
                fs_err::read_dir(stage.root.path().join("state/logins")).map(Iterator::count).unwrap_or_default();
            if notes == 2 { Ok(()) } else { Err(format!("{notes} notes")) }
        });
        let gate = fs_err::OpenOptions::new().write(true).open(stage.server.join("gate"));
        gate.and_then(|mut gate| std::io::Write::write_all(&mut gate, b"\n")).expect("a gate");
        for running in running {
            let output = running.end();
            assert_eq!((output.code, output.stdout.as_str()), (Some(0), "on\n\ndone\n"), "{output:?}");
        }
        assert_eq!(stage.said("saw").len(), 1);
        stage.assert_valid();
        stage.assert_clean();
    }
}

#[test]
fn who_waits_for_a_login_says_so_and_can_be_stopped() {
    let body = "case \"$message\" in slow) say \"runs\"; read -r _ < \"$S/gate\" ;; esac\nrenew_if_due\nanswer done";
    let stage = Stage::new("who_waits_for_a_login", "off", body);
    let gate = stage.server.join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().expect("mkfifo").success());
    let first = Running::denizen(&stage.root, &["send", "alder", "slow"]);
    stage.wait_for("runs", 1);
    // Who has no such login does not wait.
    assert_eq!(stage.root.run(&["send", "cedar", "hello", "--provider", "notes"]).code, Some(0));
    // What is waited for is said to a terminal.
    let mut command = stage.root.command("script");
    let program = env!("CARGO_BIN_EXE_denizen");
    command.args(["-qefc", &format!("exec {program} send birch hello"), "/dev/null"]);
    let second = Running::start(command);
    thread::sleep(Duration::from_millis(2500));
    let denizen = fs_err::read_to_string(format!("/proc/{0}/task/{0}/children", second.pid().as_raw_nonzero()));
    let denizen = Pid::from_raw(denizen.expect("its child").trim().parse().expect("a number")).expect("a number");
    kill_process(denizen, Signal::INT).expect("it runs");
    let output = second.end();
    assert!(output.stdout.contains("waiting: another turn may be renewing the login"), "{}", output.stdout);
    assert!(output.stdout.contains("the turn was stopped"), "{}", output.stdout);
    assert_eq!(stage.said("reused"), Vec::<String>::new());
    fs_err::OpenOptions::new()
        .write(true)
        .open(&gate)
        .and_then(|mut gate| std::io::Write::write_all(&mut gate, b"\n"))
        .expect("a gate");
    assert_eq!(first.end().stdout, "done\n");
    assert_eq!(stage.root.ok(&["send", "birch", "hello"]), "done\n");
    stage.assert_valid();
    stage.assert_clean();
}

#[test]
fn the_persons_own_claude_and_a_session_respect_each_other() {
    let stage = Stage::new("the_persons_own_claude", "full", "say runs\nrenew_if_due 0.5\nanswer done");
    let locks = [stage.root.home().join(".claude/.oauth_refresh.lock"), stage.root.home().join(".claude.lock")];
    // Theirs is waited for.
    fs_err::create_dir(&locks[0]).expect("a lock");
    let running = Running::denizen(&stage.root, &["send", "alder", "hello"]);
    thread::sleep(Duration::from_millis(800));
    assert_eq!(stage.said("runs"), Vec::<String>::new());
    fs_err::remove_dir(&locks[0]).expect("given up");
    // Ours is there while a renewal may be going on.
    stage.wait_for("spent", 1);
    assert!(locks.iter().all(|lock| lock.is_dir()));
    assert_eq!(running.end().stdout, "done\n");
    stage.assert_valid();
    stage.assert_clean();
}

#[test]
fn the_login_itself_is_out_of_reach() {
    for walls in ["kernel", "full"] {
        let body = r#"
cat "$S/../home/.claude/.credentials.json" > "$S/read" 2>/dev/null && say "read it"
printf x 2>/dev/null >> "$S/../home/.claude/.credentials.json" && say "wrote it"
ls -l /proc/self/fd > "$S/fds"
renew_if_due
answer done"#;
        let stage = Stage::new(&named("the_login_itself", walls), walls, body);
        assert_eq!(stage.root.ok(&["send", "alder", "hello"]), "done\n");
        assert_eq!((stage.said("read"), stage.said("wrote")), (Vec::new(), Vec::new()), "{walls}");
        let fds = fs_err::read_to_string(stage.server.join("fds")).expect("what was open");
        assert!(fds.contains("->") && !fds.contains("login-"), "{fds}");
        stage.assert_valid();
        stage.assert_clean();
    }
}

/// The person keeps the login where an agent may write, and an agent has put a
/// link to another file there.
#[test]
fn a_login_that_an_agent_steers_is_not_read() {
    for walls in ["off", "kernel", "full"] {
        let stage = Stage::new(
            &named("a_login_that_an_agent_steers", walls),
            walls,
            "cat \"$login\" > \"$S/seen\"\nanswer hello",
        );
        stage.log_in(28_800);
        let (login, kept) = (stage.root.home().join(LOGIN), stage.server.join("dotfiles/login.json"));
        write(&kept, &stage.login());
        fs_err::remove_file(&login).expect("removed");
        symlink(&kept, &login).expect("a link");
        assert_eq!(stage.root.ok(&["send", "alder", "hello"]).trim(), "hello", "{walls}");
        let key = stage.root.home().join(".ssh/id_ed25519");
        write(&key, r#"{"key": "SECRET"}"#);
        fs_err::remove_file(&kept).expect("removed");
        symlink(&key, &kept).expect("a link");
        let refused = stage.root.run(&["send", "alder", "hello"]);
        assert_ne!(refused.code, Some(0), "{walls}: {refused:?}");
        assert!(refused.stderr.contains("in a directory that agents can write"), "{walls}: {refused:?}");
        let seen = fs_err::read_to_string(stage.server.join("seen")).unwrap_or_default();
        assert!(!seen.contains("SECRET"), "{walls}: {seen}");
    }
}

#[test]
fn a_person_logs_in_without_a_session() {
    // Not below the usual place of tests, which everybody may write.
    let dir = Path::new("/opt").join(format!("denizen-logs-in-{}", std::process::id()));
    if let Err(error) = fs_err::create_dir(&dir) {
        return println!("a_person_logs_in did not run: {error}");
    }
    let mut stage = Stage::new("a_person_logs_in", "full", "");
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" \"$HOME\" > '{}/login'\nexit 3\n", stage.server.display());
    // The one that is found first lies where others could replace it.
    let refused = stage.root.run(&["login", "claude"]);
    assert_eq!((refused.code, refused.stderr.contains("is not run outside the walls")), (Some(2), true), "{refused:?}");
    write(&dir.join("claude"), &script);
    fs_err::set_permissions(dir.join("claude"), PermissionsExt::from_mode(0o755)).expect("a program");
    stage.root.add_path(&dir);
    let ended = stage.root.run(&["login", "claude"]);
    fs_err::remove_dir_all(&dir).expect("removed");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let seen = fs_err::read_to_string(stage.server.join("login")).expect("it ran");
    assert_eq!(seen, format!("auth login\n{}\n", stage.root.home().display()));
    assert!(!stage.root.path().join("sessions").exists());
    let none = stage.root.run(&["login", "notes"]);
    assert_eq!((none.code, none.stderr.contains("has no login of its own")), (Some(2), true), "{none:?}");
}
