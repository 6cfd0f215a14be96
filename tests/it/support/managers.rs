//! Fake service managers: `systemctl`, `loginctl`, `journalctl` and `launchctl`
//! as small programs that note how they were called and keep what they were
//! told in files. They start nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::root::{Root, write};

/// `$D` is their directory. A file `no-user`, `no-system` stands for a manager
/// that does not run, `fail-<word>` for a call that fails.
const SYSTEMCTL: &str = r#"
scope=system
if [ "$1" = --user ]; then scope=user; shift; fi
note "$@"
if [ -e "$D/no-$scope" ]; then
    echo offline
    echo "Failed to connect to bus: No medium found" >&2
    exit 1
fi
case "$*" in
is-system-running) echo degraded; exit 1 ;;
show-environment) cat "$D/$scope-environment" ;;
*UnitPath*)
    own="$D/etc"
    [ $scope = system ] || own="$HOME/.config"
    echo "$own/systemd/$scope.control /run/systemd/$scope $own/systemd/$scope /usr/lib/systemd/$scope"
    ;;
"show "*)
    echo "ActiveState=$(cat "$D/$scope-active" 2>/dev/null || echo inactive)"
    echo "UnitFileState=$(cat "$D/$scope-enabled" 2>/dev/null)"
    cat "$D/$scope-properties" 2>/dev/null || true
    ;;
daemon-reload) fail_if_told ;;
"enable denizen.service") fail_if_told; echo enabled >"$D/$scope-enabled" ;;
"start denizen.service" | "restart denizen.service" | "restart denizen") fail_if_told; echo active >"$D/$scope-active" ;;
"disable denizen.service") fail_if_told; rm -f "$D/$scope-enabled" ;;
"stop denizen.service") rm -f "$D/$scope-active" ;;
"reset-failed denizen.service") rm -f "$D/$scope-active" ;;
"disable --now denizen.service") fail_if_told; rm -f "$D/$scope-active" "$D/$scope-enabled" ;;
*) echo "Unknown command verb $1." >&2; exit 1 ;;
esac
"#;

const LOGINCTL: &str = r#"
note "$@"
case "$1" in
show-user) if [ -e "$D/lingers" ]; then echo yes; else echo no; fi ;;
enable-linger) fail_if_told; touch "$D/lingers" ;;
disable-linger) fail_if_told; rm -f "$D/lingers" ;;
*) exit 1 ;;
esac
"#;

const JOURNALCTL: &str = r#"
note "$@"
cat "$D/journal" 2>/dev/null || true
"#;

const GETENT: &str = r#"
note "$@"
grep -E "^$2:|^[^:]*:x:$2:" "$D/passwd"
"#;

/// The fakes, their directory, and an installed `denizen`.
pub(crate) struct Managers {
    pub(crate) dir: PathBuf,
    home: PathBuf,
    /// Where the fakes are, and nothing else.
    pub(crate) bin: PathBuf,
}

impl Managers {
    /// Puts a systemd of the user and one of the machine first in PATH.
    pub(crate) fn systemd(root: &mut Root) -> Self {
        Self::of(
            root,
            &[("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL), ("journalctl", JOURNALCTL), ("getent", GETENT)],
        )
    }

    fn of(root: &mut Root, programs: &[(&str, &str)]) -> Self {
        // Not below a directory that is open to others, as the one of the tests is:
        // programs from there are not called.
        let name = root.dir().file_name().expect("a name");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).join("manager");
        let managers = Self { bin: dir.join("bin"), dir, home: root.home() };
        for (name, text) in programs {
            let head = format!(
                "#!/bin/sh\nset -e\nD='{}'\nnote() {{ echo \"{name} ${{scope:+$scope: }}$*\" >>\"$D/calls\"; }}\n\
                 word=$1; [ \"$word\" != --user ] || word=$2\n\
                 fail_if_told() {{ [ ! -e \"$D/fail-$word\" ] || {{ cat \"$D/fail-$word\" >&2; exit 1; }}; }}\n",
                managers.dir.display()
            );
            program(&managers.bin.join(name), &format!("{head}{text}"));
        }
        for scope in ["user", "system"] {
            let given = format!("HOME={}\nPATH=/usr/bin:/bin\nUSER=tester\n", root.home().display());
            let given = if scope == "user" { given } else { "LANG=C.UTF-8\nPATH=/usr/bin\n".to_owned() };
            managers.put(&format!("{scope}-environment"), &given);
            fs_err::create_dir_all(managers.unit(scope).parent().expect("a parent")).expect("a directory");
        }
        root.add_path(&managers.bin);
        managers
    }

    /// Writes a file that the fakes look at.
    pub(crate) fn put(&self, name: &str, text: &str) {
        write(&self.dir.join(name), text);
    }

    /// Takes it away.
    pub(crate) fn take(&self, name: &str) {
        fs_err::remove_file(self.dir.join(name)).expect("removed");
    }

    /// What one of them holds.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        fs_err::read_to_string(self.dir.join(name)).ok()
    }

    /// The unit of the user or of the machine.
    pub(crate) fn unit(&self, scope: &str) -> PathBuf {
        let own = if scope == "user" { self.home.join(".config") } else { self.dir.join("etc") };
        own.join(format!("systemd/{scope}/denizen.service"))
    }

    /// What changed something, since the last look.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.get("calls").unwrap_or_default();
        if !calls.is_empty() {
            self.take("calls");
        }
        let looks =
            ["is-system-running", "show", "show-environment", "show-user", "passwd", "print", "--user", "--unit"];
        let changes = calls.lines().filter(|line| {
            let words: Vec<&str> = line.split(' ').filter(|word| !word.ends_with(':')).collect();
            !looks.contains(&words[1])
        });
        changes.map(str::to_owned).collect()
    }
}

impl Drop for Managers {
    fn drop(&mut self) {
        let dir = self.dir.parent().expect("its directory");
        fs_err::remove_dir_all(dir).expect("removed");
    }
}

/// Writes a program.
pub(crate) fn program(path: &Path, text: &str) {
    write(path, text);
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("runnable");
}

/// Installs `denizen` as `cargo install` does: a file of its own, far from the
/// checkout.
pub(crate) fn install_denizen(root: &mut Root, dir: &Path) -> PathBuf {
    let installed = dir.join("denizen");
    fs_err::create_dir_all(dir).expect("a directory");
    let built = env!("CARGO_BIN_EXE_denizen");
    // Another name of the same file is as good as a copy, and costs nothing.
    if fs_err::hard_link(built, &installed).is_err() {
        fs_err::copy(built, &installed).expect("a copy");
    }
    root.add_path(dir);
    installed
}
