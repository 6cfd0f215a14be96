//! `denizen service`, with a fake in the place of systemd: what is
//! written, what is called in which order, what is refused, and what is taken
//! back where a step fails.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::clis::did_not_run;
use crate::support::managers::{Managers, install_denizen, program};
use crate::support::root::{Output, Root, run, write};
use crate::support::words::{plain, words};

/// A machine with an installed `denizen` and an agent CLI.
struct World {
    root: Root,
    managers: Managers,
    denizen: PathBuf,
}

impl World {
    fn new(test: &str) -> Self {
        Self::with(test, Managers::systemd)
    }

    fn with(test: &str, managers: fn(&mut Root) -> Managers) -> Self {
        let mut root = Root::new(&format!("service-{test}"));
        let managers = managers(&mut root);
        let bin = root.home().join(".cargo/bin");
        let denizen = install_denizen(&mut root, &bin);
        program(&bin.join("claude"), "#!/bin/sh\n");
        root.write_config("provider = \"claude\"\n");
        Self { root, managers, denizen }
    }

    /// Runs the installed `denizen service` with a PATH of its own directory and
    /// the fakes alone.
    fn service(&self, args: &[&str]) -> Output {
        let mut command = self.command(&self.denizen);
        command.env("PATH", self.path()).arg("service").args(args);
        run(command, "")
    }

    /// A program in an environment that sets nothing but the root.
    fn command(&self, program: &Path) -> Command {
        let mut command = self.root.command(program);
        command.env_remove("DENIZEN_WALLS");
        command
    }

    fn path(&self) -> String {
        format!(
            "{}:{}:/usr/bin:/bin",
            self.denizen.parent().expect("a directory").display(),
            self.managers.bin.display()
        )
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.service(args);
        assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{}", output.stdout);
        plain(&self.root, &output.stdout)
    }

    /// A refusal: exit code and words.
    #[track_caller]
    fn refused(&self, args: &[&str]) -> String {
        let output = self.service(args);
        assert_eq!(output.stdout, "", "{}", output.stderr);
        words(&self.root, &output)
    }

    fn unit(&self) -> String {
        let text = fs_err::read_to_string(self.managers.unit("user")).expect("a unit");
        plain(&self.root, &text)
    }
}

/// What is called to install a user's unit if there was none.
const BEGIN: &[&str] = &[
    "loginctl enable-linger",
    "systemctl user: daemon-reload",
    "systemctl user: enable denizen.service",
    "systemctl user: restart denizen.service",
];

const UNIT: &str = r#"# Written by `denizen service install`; `denizen service uninstall` removes it.
# Changes of your own belong into a drop-in: `systemctl --user edit denizen`.
# Why each line is here, and what is missing on purpose: docs/operations.md
# root: ~test/root

[Unit]
Description=Denizen: every conversation with an agent CLI has a home of its own
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart=~test/home/.cargo/bin/denizen --root ~test/root serve
WorkingDirectory=~
Environment="PATH=~test/home/.cargo/bin:~test/manager/bin:/usr/bin:/bin"
Restart=on-failure
RestartSec=5
# A wrong configuration does not mend itself.
RestartPreventExitStatus=2
TimeoutStartSec=60
# Longer than `limits.grace`, in which running turns end.
TimeoutStopSec=60
# Denizen ends its own children; what is left after the time above is killed.
KillMode=mixed
Delegate=yes
# An agent that takes all memory ends alone.
OOMPolicy=continue

NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target"#;

#[test]
fn a_unit_is_written_enabled_and_started_and_doctor_runs_where_it_runs() {
    let world = World::new("install");
    let printed = world.ok(&["install"]);
    let (done, doctor) = printed.split_once("\n\n").expect("two parts");
    assert_eq!(
        done,
        "called   loginctl enable-linger\n\
         wrote    ~test/home/.config/systemd/user/denizen.service\n\
         called   systemctl --user daemon-reload\n\
         called   systemctl --user enable denizen.service\n\
         called   systemctl --user restart denizen.service\n\
         The service runs, and starts at boot"
    );
    assert!(doctor.starts_with("`denizen doctor`, as the service sees the machine:\n"), "{doctor}");
    assert!(doctor.contains("provider claude  ~test/home/.cargo/bin/claude, no login was found\n"), "{doctor}");
    assert_eq!(world.managers.calls(), BEGIN);
    assert_eq!(world.unit(), UNIT);
    assert_eq!(fs_err::metadata(world.managers.unit("user")).expect("a unit").mode() & 0o777, 0o644);
    let beside = world.managers.unit("user").parent().expect("a parent").to_owned();
    assert_eq!(fs_err::read_dir(beside).expect("a directory").count(), 1, "no temporary is left");
}

#[test]
fn installing_again_leaves_a_service_that_runs_alone() {
    let world = World::new("again");
    world.ok(&["install"]);
    world.managers.calls();
    let printed = world.ok(&["install"]);
    assert!(
        printed.contains(
            "It ran already and was left alone; after an upgrade: systemctl --user restart denizen.service\n"
        ),
        "{printed}"
    );
    let begin = ["daemon-reload", "enable denizen.service", "start denizen.service"];
    assert_eq!(world.managers.calls(), begin.map(|call| format!("systemctl user: {call}")));
    // One that failed is started in spite of how often it did.
    world.managers.put("user-active", "failed");
    world.ok(&["install"]);
    let begin = ["daemon-reload", "enable denizen.service", "reset-failed denizen.service", "start denizen.service"];
    assert_eq!(world.managers.calls(), begin.map(|call| format!("systemctl user: {call}")));
    // What changed counts from a restart on.
    world.root.write_config("provider = \"claude\"\nlimits.grace = \"2m\"\n");
    world.ok(&["install"]);
    assert!(world.unit().contains("\nTimeoutStopSec=160\n"));
    assert_eq!(world.managers.calls().last().map(String::as_str), Some("systemctl user: restart denizen.service"));
}

#[test]
fn a_dry_run_prints_everything_and_changes_nothing() {
    let world = World::new("dry");
    let printed = world.ok(&["install", "--dry-run"]);
    let head = "would call   loginctl enable-linger\n\
                would write  ~test/home/.config/systemd/user/denizen.service\n\
                would call   systemctl --user daemon-reload\n\
                would call   systemctl --user enable denizen.service\n\
                would call   systemctl --user restart denizen.service\n\
                would call   denizen --root ~test/root doctor\n\n";
    assert_eq!(printed, format!("{head}{UNIT}"));
    assert_eq!(world.managers.calls(), [""; 0]);
    assert!(!world.managers.unit("user").exists());
    let json = world.ok(&["install", "--dry-run", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["before"], serde_json::json!(["loginctl enable-linger"]));
    assert_eq!((json["writes"].as_bool(), json["text"].as_str()), (Some(true), Some(&*format!("{UNIT}\n"))));
    world.ok(&["install"]);
    world.managers.calls();
    assert!(world.ok(&["install", "--dry-run"]).starts_with("unchanged    ~test/home/.config"));
    assert!(world.ok(&["uninstall", "--dry-run"]).contains("would remove  ~test/home/.config"));
    assert_eq!(world.managers.calls(), [""; 0]);
}

#[test]
fn what_was_installed_is_removed_and_nothing_else() {
    let world = World::new("uninstall");
    assert_eq!(world.ok(&["uninstall"]), "No service of Denizen is installed");
    world.ok(&["install"]);
    let drop_in = world.managers.unit("user").with_extension("service.d").join("own.conf");
    write(&drop_in, "[Service]\n");
    world.managers.calls();
    assert_eq!(
        world.ok(&["uninstall"]),
        "called   systemctl --user disable --now denizen.service\n\
         removed  ~test/home/.config/systemd/user/denizen.service\n\
         called   systemctl --user daemon-reload\n\
         Your other services still start at boot; where there are none: loginctl disable-linger"
    );
    assert_eq!(
        world.managers.calls(),
        [
            "systemctl user: disable --now denizen.service",
            "systemctl user: daemon-reload",
            "systemctl user: reset-failed denizen.service"
        ]
    );
    assert!(!world.managers.unit("user").exists() && drop_in.exists());
    assert_eq!(world.ok(&["uninstall"]), "No service of Denizen is installed");
    // A service that does not stop keeps its unit.
    world.ok(&["install"]);
    world.managers.put("fail-disable", "Interactive authentication required.\n");
    assert_eq!(
        words(&world.root, &world.service(&["uninstall"])),
        "1\nerror: `systemctl --user disable --now denizen.service` failed: Interactive authentication required.\n\
         hint: `denizen service status` shows what is there now"
    );
    assert!(world.managers.unit("user").exists());
}

#[test]
fn a_unit_of_somebody_else_is_left_as_it_is() {
    let world = World::new("foreign");
    let unit = world.managers.unit("user");
    let refusal = "1\nerror: `~test/home/.config/systemd/user/denizen.service` was not written by Denizen, and is \
                   left as it is\nhint: look at it: ls -l ~test/home/.config/systemd/user/denizen.service";
    write(&unit, "[Service]\nExecStart=/usr/bin/denizen serve\n");
    for args in [&["install"][..], &["install", "--force"], &["uninstall", "--user"]] {
        assert_eq!(world.refused(args), refusal, "{args:?}");
    }
    assert_eq!(world.ok(&["uninstall"]), "No service of Denizen is installed");
    // As `systemctl mask` leaves it.
    fs_err::remove_file(&unit).expect("removed");
    fs_err::os::unix::fs::symlink("/dev/null", &unit).expect("a link");
    assert_eq!(world.refused(&["install"]), refusal);
    assert_eq!(world.managers.calls(), [""; 0]);
    // One of another root was written by Denizen, but not for this one.
    fs_err::remove_file(&unit).expect("removed");
    world.ok(&["install"]);
    let other = world.root.dir().join("other").display().to_string();
    let mut command = world.command(&world.denizen);
    command.env("PATH", world.path()).args(["--root", &other, "service", "install"]);
    assert_eq!(
        words(&world.root, &run(command, "")),
        "1\nerror: `~test/home/.config/systemd/user/denizen.service` is for the root `~test/root`\n\
         hint: `denizen service uninstall` removes it, `--force` replaces it"
    );
    assert_eq!(world.unit(), UNIT);
}

#[test]
fn what_was_done_is_taken_back_where_a_step_fails() {
    let world = World::new("undo");
    let job = "Job for denizen.service failed because the control process exited with error code.\n\
               See \"systemctl --user status denizen.service\" for details.\n";
    world.managers.put("fail-restart", job);
    world.managers.put("journal", "error: channels.discord.token is not set\n");
    let output = world.service(&["install"]);
    assert_eq!(
        words(&world.root, &output),
        "1\nlog      error: channels.discord.token is not set\n\
         error: `systemctl --user restart denizen.service` failed: Job for denizen.service failed because the control \
         process exited with error code.; what was done before it was taken back\n\
         hint: once that is mended, install again"
    );
    assert!(!world.managers.unit("user").exists());
    assert_eq!((world.managers.get("user-enabled"), world.managers.get("lingers")), (None, None));
    let mut undone = BEGIN[..3].to_vec();
    undone.extend([
        "systemctl user: restart denizen.service",
        "systemctl user: disable --now denizen.service",
        "systemctl user: daemon-reload",
        "systemctl user: reset-failed denizen.service",
        "loginctl disable-linger",
    ]);
    assert_eq!(world.managers.calls(), undone);
    // An earlier version is put back, and somebody who lingered goes on to.
    world.managers.take("fail-restart");
    world.ok(&["install"]);
    let before = world.unit();
    world.managers.calls();
    world.root.write_config("provider = \"claude\"\nlimits.grace = \"2m\"\n");
    world.managers.put("fail-enable", "no\n");
    let output = world.service(&["install"]);
    assert_eq!(output.code, Some(1));
    assert_eq!(world.unit(), before);
    assert!(world.managers.get("lingers").is_some());
    let undone = ["daemon-reload", "enable denizen.service", "daemon-reload", "restart denizen.service"];
    assert_eq!(world.managers.calls(), undone.map(|call| format!("systemctl user: {call}")));
    // One that was switched off by hand is off again.
    world.managers.take("user-enabled");
    world.managers.take("user-active");
    world.managers.take("fail-enable");
    world.managers.put("fail-restart", "no\n");
    assert_eq!(world.service(&["install"]).code, Some(1));
    assert_eq!((world.managers.get("user-enabled"), world.managers.get("user-active")), (None, None));
    assert_eq!(world.unit(), before);
    // Nobody may let users linger here.
    world.managers.take("fail-restart");
    world.ok(&["uninstall"]);
    world.managers.take("lingers");
    world.managers.calls();
    world.managers.put("fail-enable-linger", "Could not enable linger: Access denied\n");
    assert_eq!(
        words(&world.root, &world.service(&["install"])).lines().last(),
        Some("hint: let root do it: `sudo loginctl enable-linger \"$USER\"`; then install again")
    );
    assert!(!world.managers.unit("user").exists());
}

#[test]
fn a_program_that_would_soon_be_gone_is_refused() {
    let mut world = World::new("passing");
    world.denizen = env!("CARGO_BIN_EXE_denizen").into();
    world.root.write_config("");
    let mut command = world.command(&world.denizen);
    command.env("PATH", world.managers.bin.display().to_string() + ":/usr/bin:/bin").args(["service", "install"]);
    let refused = words(&world.root, &run(command, "")).replace(env!("CARGO_BIN_EXE_denizen"), "~built");
    assert_eq!(
        refused,
        "1\nerror: `~built` is a build in a checkout, which the next `cargo clean` removes\n\
         hint: `cargo install --path .` puts it into `~/.cargo/bin`; or take it all the same with `--force`"
    );
    // A link leads there as well.
    let link = world.root.home().join("bin/denizen");
    fs_err::create_dir_all(link.parent().expect("a parent")).expect("a directory");
    fs_err::os::unix::fs::symlink(&world.denizen, &link).expect("a link");
    let installed = |world: &World, args: &[&str]| {
        let mut command = world.command(&link);
        let path = format!("{}:{}:/usr/bin:/bin", link.parent().expect("one").display(), world.managers.bin.display());
        command.env("PATH", path).args(args);
        run(command, "")
    };
    assert_eq!(installed(&world, &["service", "install"]).code, Some(1));
    assert_eq!(world.managers.calls(), [""; 0]);
    // With --force it is taken, by the name that stays.
    assert_eq!(installed(&world, &["service", "install", "--force"]).code, Some(0));
    assert!(world.unit().contains("\nExecStart=~test/home/bin/denizen --root ~test/root serve\n"), "{}", world.unit());
    // A temporary directory.
    let temporary = world.root.dir().join("tmp");
    let denizen = install_denizen(&mut world.root, &temporary);
    let mut command = world.command(&denizen);
    let path = format!("{}:{}:/usr/bin:/bin", temporary.display(), world.managers.bin.display());
    command.env("PATH", path).env("TMPDIR", &temporary).args(["service", "install", "--user"]);
    assert!(words(&world.root, &run(command, "")).contains("is in a temporary directory, which the system cleans up"));
}

#[test]
fn no_secret_is_in_the_unit_and_one_that_stays_behind_is_told() {
    let mut world = World::new("secrets");
    world.root.set_env("DISCORD_TOKEN", "discord-secret-1");
    world.root.set_env("ANTHROPIC_API_KEY", "anthropic-secret-2");
    world.root.set_env("HTTPS_PROXY", "http://me:proxy-secret-3@localhost:1");
    world.root.write_config("provider = \"claude\"\n[channels.discord]\ntoken = { env = \"DISCORD_TOKEN\" }\n");
    let file = "~test/root/access/discord-token";
    let refused = format!(
        "1\nerror: `channels.discord.token` comes from the environment variable DISCORD_TOKEN, which the service does \
         not have\n\
         hint: put it into a file that only you can read, `(umask 077; mkdir -p ~test/root/access; printenv \
         DISCORD_TOKEN > {file})`, and write `token = {{ file = \"access/discord-token\" }}`; or have a program print \
         it: `token = {{ command = [\"pass\", \"show\", \"denizen\"] }}`"
    );
    assert_eq!(world.refused(&["install"]), refused);
    assert_eq!(world.managers.calls(), [""; 0]);
    // The remedy is one, as it is printed.
    let remedy = refused.split('`').find(|part| part.starts_with("(umask")).expect("a command");
    let mut shell = world.root.command("sh");
    shell.args(["-c", &remedy.replace("~test", &world.root.dir().display().to_string())]);
    assert_eq!(run(shell, "").code, Some(0));
    let token = world.root.path().join("access/discord-token");
    assert_eq!(fs_err::metadata(&token).expect("a file").mode() & 0o777, 0o600);
    assert_eq!(fs_err::metadata(token.parent().expect("access")).expect("a directory").mode() & 0o777, 0o700);
    world.root.write_config("provider = \"claude\"\n[channels.discord]\ntoken = { file = \"access/discord-token\" }\n");
    assert_eq!(world.service(&["install", "--dry-run"]).code, Some(0));
    // `doctor` would go and ask Discord.
    world.root.write_config("provider = \"claude\"\n");
    let output = world.service(&["install"]);
    let printed = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(
        output.stderr.lines().take(1).collect::<Vec<_>>(),
        ["note: set here, but not where the service runs: ANTHROPIC_API_KEY, HTTPS_PROXY"]
    );
    // Where it is set, `doctor` would find it.
    assert!(printed.contains("/claude, no login was found\n"), "{printed}");
    for secret in ["discord-secret-1", "anthropic-secret-2", "proxy-secret-3"] {
        assert!(!world.unit().contains(secret) && !printed.contains(secret), "{secret}");
        let found: Vec<PathBuf> = world.root.files_with(&world.managers.dir, secret);
        assert_eq!(found, [""; 0].map(PathBuf::from), "{secret}");
    }
    // What the manager itself gives its services is there.
    let given = world.managers.get("user-environment").expect("an environment");
    world.managers.put("user-environment", &format!("{given}ANTHROPIC_API_KEY=$'a b'\nHTTPS_PROXY=x\n"));
    let printed = world.ok(&["install"]);
    assert!(printed.contains("/claude, login by ANTHROPIC_API_KEY\n"), "{printed}");
}

#[test]
fn where_denizen_would_not_work_as_a_service_nothing_is_installed() {
    let world = World::new("unusable");
    world.root.write_config("provider = \"claude\"\n[limits]\nturn = 1\n");
    let refused = world.refused(&["install"]);
    assert_eq!(
        refused,
        "1\nerror: Denizen does not work as the service would run it: ~test/root/denizen.toml:3:1: there is no \
         key `limits.turn`, did you mean `limits.turns`?\n\
         hint: nothing was installed; `denizen doctor` says more"
    );
    world.root.write_config("a = = 1\n");
    assert!(world.refused(&["install"]).starts_with("1\nerror: `~test/root/denizen.toml` cannot be read: "));
    world.root.write_config("");
    assert_eq!(
        world.refused(&["install", "-c", "limits.turns=1"]),
        "2\nerror: `-c limits.turns=1` counts for one call, not for a service\nhint: write it into denizen.toml"
    );
    assert_eq!(world.managers.calls(), [""; 0]);
    // `doctor` finds something wrong: it is installed, and told.
    world.root.write_config("provider = \"codex\"\n");
    let output = world.service(&["install"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("bad  provider codex"), "{}", output.stdout);
    assert!(output.stderr.ends_with("warning: the service is installed and runs, but see above what is wrong there\n"));
    assert_eq!(world.managers.calls(), BEGIN);
}

#[test]
fn where_there_is_no_manager_it_is_said_what_to_do_instead() {
    let world = World::new("nowhere");
    world.managers.put("no-user", "");
    world.managers.put("no-system", "");
    let refused = world.refused(&["install", "--user"]);
    assert_eq!(
        refused,
        "1\nerror: there is no systemd of your own to be reached: `systemctl --user` finds no bus\n\
         hint: log in as that user, rather than with `su`, or install it for the machine: \
         `sudo denizen service install --system`"
    );
    if rustix::process::getuid().is_root() {
        let container = "1\nerror: systemd is installed, but it does not run this machine\n\
                         hint: in a container, make `denizen serve` its program; anywhere else, have it started at boot \
                         by what starts the rest";
        assert_eq!(world.refused(&["install"]), container);
        assert_eq!(world.refused(&["install", "--system"]), container);
    } else {
        assert_eq!(world.refused(&["install"]), refused);
        assert!(world.refused(&["install", "--system"]).starts_with("1\nerror: only root installs"));
    }
    assert_eq!(world.managers.calls(), [""; 0]);
    for name in ["systemctl", "loginctl", "journalctl", "getent"] {
        fs_err::remove_file(world.managers.bin.join(name)).expect("removed");
    }
    let mut command = world.command(&world.denizen);
    command.env("PATH", &world.managers.bin).args(["service", "status"]);
    assert!(words(&world.root, &run(command, "")).starts_with("1\nerror: there is no systemd here"));
}

#[test]
fn root_without_a_bus_of_its_own_installs_for_the_owner_of_the_root() {
    const TEST: &str = "service::root_without_a_bus_of_its_own_installs_for_the_owner_of_the_root";
    if !rustix::process::getuid().is_root() {
        return did_not_run(TEST, "only root installs for the machine", "run it as root");
    }
    let world = World::new("system");
    let set_mode = |path: &Path, mode| {
        fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("a mode");
    };
    for dir in [world.root.home(), world.root.home().join(".cargo"), world.root.home().join(".cargo/bin")] {
        set_mode(&dir, 0o755);
    }
    world.managers.put("no-user", "");
    let home = world.root.home().display().to_string();
    world.managers.put("passwd", &format!("root:x:0:0::{home}:/bin/sh\nann:x:1500:1500:Ann,,,:{home}:/bin/dash\n"));
    let root = world.root.path();
    for path in [root.clone(), root.join("denizen.toml")] {
        std::os::unix::fs::chown(path, Some(1500), Some(1500)).expect("given away");
    }
    set_mode(&root, 0o700);
    for above in world.root.dir().ancestors().take(2) {
        set_mode(above, 0o755);
    }
    let printed = world.ok(&["install"]);
    assert!(printed.contains("\nThe service runs as ann, and starts at boot\n"), "{printed}");
    // As the owner: for anybody else this root would be another's.
    assert!(printed.contains("\nok   root             ~test/root\n"), "{printed}");
    assert_eq!(
        world.managers.calls(),
        ["daemon-reload", "enable denizen.service", "restart denizen.service"]
            .map(|call| format!("systemctl system: {call}"))
    );
    let unit = fs_err::read_to_string(world.managers.unit("system")).expect("a unit");
    assert!(unit.contains("\nUser=ann\n") && unit.ends_with("\nWantedBy=multi-user.target\n"), "{unit}");
    assert!(!world.managers.unit("user").exists());
    assert_eq!(world.service(&["status"]).code, Some(0));
    assert!(world.ok(&["uninstall"]).starts_with("called   systemctl disable --now denizen.service\n"));
    std::os::unix::fs::chown(root.join("denizen.toml"), Some(0), Some(0)).expect("taken back");
    // As root only where that is asked for, and with a warning.
    let output = world.service(&["install", "--as", "root"]);
    assert!(output.stderr.contains("warning: it runs as root, and so do the agents"), "{output:?}");
    assert!(world.refused(&["install", "--as", "nobody-here"]).starts_with("1\nerror: there is no user `nobody-here`"));
    // With a bus of its own, root is a user like others, unless it says otherwise.
    world.managers.take("no-user");
    world.ok(&["uninstall", "--system"]);
    world.ok(&["install"]);
    assert!(world.managers.unit("user").exists() && !world.managers.unit("system").exists());
    assert!(world.refused(&["install", "--as", "ann"]).starts_with("1\nerror: a service of your own runs as you"));
    set_mode(&root.join("denizen.toml"), 0o644);
    world.ok(&["install", "--system"]);
    assert_eq!(
        world.refused(&["uninstall"]),
        "1\nerror: there are two services, one of yours and one of the machine\nhint: say which: `--user` or `--system`"
    );
}

#[test]
fn status_says_in_words_how_it_is() {
    let world = World::new("status");
    let output = world.service(&["status"]);
    assert_eq!(
        (output.code, &*output.stdout),
        (Some(1), "No service of Denizen is installed: `denizen service install`\n")
    );
    world.ok(&["install"]);
    world.managers.put(
        "user-properties",
        "ActiveEnterTimestamp=Fri 2026-11-27 17:00:00 UTC\nMainPID=4711\nNRestarts=1\nResult=success\n",
    );
    world.managers.put("journal", "connected to Discord\n\u{1b}[31mred\n");
    assert_eq!(
        world.ok(&["status"]),
        "service  ~test/home/.config/systemd/user/denizen.service\n\
         root     ~test/root\n\
         state    runs since Fri 2026-11-27 17:00:00 UTC, process 4711, started again once by itself\n\
         starts   at boot\n\
         log      connected to Discord\n\
         log      \\u{1b}[31mred"
    );
    let json: serde_json::Value = serde_json::from_str(&world.ok(&["status", "--json"])).expect("JSON");
    assert_eq!(
        (json["active"].as_str(), json["pid"].as_u64(), json["lingers"].as_bool()),
        (Some("active"), Some(4711), Some(true))
    );
    // Where the journal has nothing, Denizen's own log.
    world.managers.take("journal");
    let lines: String = (1..=30).map(|line| format!("line {line}\n")).collect();
    write(&world.root.path().join("logs/denizen.log"), &lines);
    let printed = world.ok(&["status"]);
    assert!(printed.contains("boot\nlog      line 21\n") && printed.ends_with("\nlog      line 30"), "{printed}");
    world.managers.put("user-active", "failed");
    world.managers.take("lingers");
    for (properties, expected) in [
        (
            "Result=exit-code\nExecMainStatus=2\n",
            "failed: the configuration or the command line is wrong (exit code 2)",
        ),
        (
            "Result=exit-code\nExecMainStatus=1\nNRestarts=5\n",
            "failed: it ended with exit code 1, started again 5 times by itself",
        ),
        ("Result=oom-kill\n", "failed: the machine ran out of memory"),
        ("Result=signal\nExecMainStatus=11\n", "failed: it was ended by signal 11"),
    ] {
        world.managers.put("user-properties", properties);
        let output = world.service(&["status"]);
        assert_eq!(output.code, Some(1));
        assert!(output.stdout.contains(&format!("\nstate    {expected}\n")), "{}", output.stdout);
        assert!(
            output.stdout.contains("\nstarts   when you log in, and stops when you log out: "),
            "{}",
            output.stdout
        );
    }
}

#[test]
fn paths_are_quoted_as_systemd_reads_them() {
    let mut world = World::new("quoting");
    let odd = world.root.home().join("a b%n");
    world.denizen = install_denizen(&mut world.root, &odd);
    let config = world.root.dir().join("my $conf.toml");
    write(&config, "provider = \"claude\"\n");
    let root = world.root.dir().join("r o%ot");
    program(&odd.join("claude"), "#!/bin/sh\n");
    let mut command = world.command(&world.denizen);
    let args = ["--config", config.to_str().expect("text"), "--root", root.to_str().expect("text")];
    command.env("PATH", world.path()).args(args).args(["service", "install"]);
    let output = run(command, "");
    assert_eq!(output.code, Some(0), "{output:?}");
    let unit = world.unit();
    let line = |start: &str| unit.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    assert_eq!(
        line("ExecStart=").as_deref(),
        Some(r#"ExecStart="~test/home/a b%%n/denizen" --root "~test/r o%%ot" --config "~test/my $$conf.toml" serve"#)
    );
    assert_eq!(
        line("Environment=").as_deref(),
        Some(r#"Environment="PATH=~test/home/a b%%n:~test/manager/bin:/usr/bin:/bin""#)
    );
    assert_eq!(line("# root:").as_deref(), Some("# root: ~test/r o%ot"));
    // Read by systemd itself, where it is: nothing else of it is needed for the tests.
    let analyze = Path::new("/usr/bin/systemd-analyze");
    if !analyze.exists() {
        return;
    }
    let mut verify = world.root.command(analyze);
    verify.args(["verify", "--man=no"]).arg(world.managers.unit("user"));
    let output = run(verify, "");
    let ours: Vec<&str> = output.stderr.lines().filter(|line| line.contains("denizen.service")).collect();
    assert_eq!((output.code, ours), (Some(0), Vec::new()), "{output:?}");
}
