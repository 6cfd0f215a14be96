//! `docs/operations.md` is run: every block of commands in it, in order and as
//! it is written, in one world that goes on from block to block. A block that is
//! not among the steps here fails the test, so the page cannot grow a line that
//! nobody ran.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::clis::did_not_run;
use crate::support::managers::{Managers, install_denizen};
use crate::support::root::{Output, Root, run, write};

/// The root, below a home directory.
const ROOT: &str = ".local/share/denizen";

/// The night that the page speaks of.
const NIGHT: &str = "2026-11-21";

/// What a crontab line starts with of its environment, as cron(8) of Debian has it.
const CRON_PATH: &str = "/usr/bin:/bin";

/// A block of the page.
#[derive(Debug)]
struct Block {
    /// The number of its first line.
    line: usize,
    language: String,
    text: String,
    /// What the page shows as printed by it.
    shown: Option<String>,
}

/// The blocks of the page; one that shows output belongs to the one before it.
fn blocks() -> Vec<Block> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs_err::read_to_string(page).expect("docs/operations.md");
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block { line: at + 2, language: language.to_owned(), text: String::new(), shown: None });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (Some(_), Some(_)) => {
                let block = open.take().expect("an open block");
                if block.language == "text" {
                    let printed_by = blocks.last_mut().expect("a block that prints");
                    assert_eq!(printed_by.shown.replace(block.text), None, "line {}", block.line);
                } else {
                    blocks.push(block);
                }
            }
            (None, None) => {}
        }
    }
    blocks
}

/// What a block is run as: what has to be so before it, and what it promises.
type Step = fn(&World, &Block);

/// The blocks of the page by their first lines, in order.
const STEPS: &[(&str, Step)] = &[
    ("denizen service install --dry-run", a_service),
    ("denizen service uninstall", no_service_any_more),
    ("[channels.discord]", where_a_token_comes_from),
    ("mkdir -p -m 700 ~/.local/share/denizen/access", a_token),
    ("mkdir -p ~/.config/environment.d", variables_of_a_service),
    ("denizen service status", logs),
    ("denizen service status > /dev/null && denizen doctor > /dev/null || echo \"Denizen needs you\"", health),
    ("mkdir -p -m 700 ~/backup/denizen", a_place_for_backups),
    ("NOT=--exclude=/state/ --exclude=/logs/ --exclude=/names/", two_nights),
    ("denizen verify ~/backup/denizen/latest", a_look_at_the_backup),
    (
        "find ~/backup/denizen/changed -mindepth 1 -maxdepth 1 -name '2???-??-??' -mtime +90 -exec rm -r {} +",
        old_copies_go,
    ),
    ("mkdir -p -m 700 ~/backup/snapshots", snapshots),
    ("denizen restore ~/backup/denizen/latest work", restore),
    ("denizen restore ~/backup/denizen/changed/2026-11-21 home", restore_what_was_deleted),
    ("rsync -a ~/backup/denizen/latest/sessions/work ~/backup/denizen/older/", restore_what_was_changed),
    (
        "cp ~/backup/denizen/latest/sessions/work/memory/MEMORY.md ~/.local/share/denizen/sessions/work/memory/",
        restore_one_file,
    ),
    ("rsync -a --delete ~/backup/denizen/latest/sessions/work/ ~/.local/share/denizen/sessions/work/", restore_by_hand),
    ("mkdir -p ~/.local/share", restore_everything),
    ("denizen rm home", the_trash),
    ("denizen export work home -o ~/sessions.tar.zst", one_file),
    ("ssh new mkdir -p .local/share", a_new_machine),
    ("sudo chown -R \"$(id -u):$(id -g)\" ~/.local/share/denizen", another_owner),
    ("cd ~/.local/share/denizen/sessions", folders_by_hand),
    ("mv ~/.local/share/denizen/sessions/work ~/.local/share/denizen/sessions/Work_2026", a_name_of_nobody),
    ("[retention]", the_retention),
    ("denizen cleanup --dry-run", cleanup),
    ("denizen verify", after_a_power_cut),
    ("denizen --version", after_an_upgrade),
];

#[test]
fn every_command_of_the_page_does_what_the_page_says() {
    const TEST: &str = "operations::every_command_of_the_page_does_what_the_page_says";
    // Where cron would look, because the crontab is run as well.
    if !Path::new("/usr/bin/rsync").exists() && !Path::new("/bin/rsync").exists() {
        return did_not_run(TEST, "there is no rsync in /usr/bin", "install rsync");
    }
    let world = World::new();
    let mut steps = STEPS.iter();
    for block in blocks() {
        let first = block.text.lines().next().unwrap_or_default();
        let step = steps.next().filter(|(known, _)| *known == first);
        let (_, step) = step.unwrap_or_else(|| panic!("line {}: nobody tests `{first}`", block.line));
        step(&world, &block);
    }
    assert_eq!(steps.next().map(|(first, _)| first), None, "it is not on the page");
}

/// A machine with a few sessions, and another that `ssh` reaches.
struct World {
    root: Root,
    managers: Managers,
}

impl World {
    fn new() -> Self {
        let mut root = Root::new("operations");
        fs_err::remove_dir(root.path()).expect("the root is in HOME here");
        let bin = root.dir().join("bin");
        let new = root.dir().join("new");
        fs_err::create_dir(&new).expect("the home of another machine");
        let managers = Managers::systemd(&mut root);
        // No service would start a build in a checkout.
        for dir in [root.home().join(".cargo/bin"), bin.clone()] {
            install_denizen(&mut root, &dir);
        }
        // The command is put together by the far shell, as sshd does it.
        let ssh = format!(
            "#!/bin/sh\n[ \"$1\" = new ] || exit 255\nshift\nHOME='{0}'; export HOME\ncd '{0}' && exec sh -c \"$*\"\n",
            new.display()
        );
        script(&bin.join("ssh"), &ssh);
        script(&bin.join("sudo"), "#!/bin/sh\nexec \"$@\"\n");
        root.add_path(&bin);
        let world = Self { root, managers };
        world.sh("umask 077 && mkdir -p ~/.local/share/denizen");
        write(&world.at("denizen.toml"), "provider = \"notes\"\nworking_dirs = [\"~/projects\"]\n");
        for key in ["work", "home", "reading", "Ünï/x"] {
            world.sh(&format!("denizen send '{key}' 'remember {key}-1'"));
        }
        // Something that the owner granted, and a directory of a later version.
        world.sh("mkdir -p ~/projects && denizen cd reading ~/projects");
        write(&world.at("logs/denizen.log"), "x\n");
        world
    }

    fn home(&self) -> PathBuf {
        self.root.home()
    }

    /// A path in the root.
    fn at(&self, name: &str) -> PathBuf {
        self.home().join(ROOT).join(name)
    }

    /// A path in the other machine's home directory.
    fn new_machine(&self, name: &str) -> PathBuf {
        self.root.dir().join("new").join(name)
    }

    /// Runs commands in HOME, as a person does it.
    fn shell(&self, commands: &str) -> Output {
        let mut bash = self.root.command("bash");
        bash.env_remove("DENIZEN_ROOT").args(["-e", "-c", commands]);
        run(bash, "")
    }

    /// Runs commands that have to succeed, and gives what they printed.
    #[track_caller]
    fn sh(&self, commands: &str) -> String {
        let Output { code, stdout, stderr } = self.shell(commands);
        assert_eq!(code, Some(0), "{commands}\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs a block, which has to succeed, and compares what it printed with
    /// what the page shows.
    fn run(&self, block: &Block) -> String {
        let Output { code, stdout, stderr } = self.shell(&block.text);
        assert_eq!(code, Some(0), "line {}\n{stdout}\n{stderr}", block.line);
        self.compare(block, &stdout);
        stdout
    }

    fn compare(&self, block: &Block, printed: &str) {
        if let Some(shown) = &block.shown {
            let printed = printed.replace(&self.home().display().to_string(), "~");
            assert_eq!(without_sizes(&printed), without_sizes(shown), "line {}", block.line);
        }
    }

    /// Runs one line of a crontab as cron does it: in HOME, with `sh`, and with
    /// the variables of the crontab in a small environment.
    fn cron(&self, crontab: &str, number: usize) -> Output {
        let mut sh = Command::new("/bin/sh");
        sh.env_clear().env("HOME", self.home()).env("LOGNAME", "x").env("SHELL", "/bin/sh").env("PATH", CRON_PATH);
        let mut entries = Vec::new();
        for line in crontab.lines() {
            match cron_entry(line) {
                Cron::Variable(name, value) => {
                    sh.env(name, value);
                }
                Cron::Entry(command) => entries.push(command),
            }
        }
        sh.current_dir(self.home()).arg("-c").arg(&entries[number]);
        run(sh, "")
    }

    /// What the messages of a session were, by its provider's own file.
    #[track_caller]
    fn said(&self, key: &str) -> Vec<String> {
        let printed = self.sh(&format!("denizen history '{key}' --json"));
        let lines = printed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        lines.filter(|line| line["who"] == "user").map(|line| line["text"].as_str().expect("a text").into()).collect()
    }

    /// What would be in a backup: every file's path, time of change and content.
    fn kept(root: &Path) -> BTreeMap<PathBuf, (i64, String)> {
        let mut kept = BTreeMap::new();
        for entry in walkdir::WalkDir::new(root).min_depth(1) {
            let entry = entry.expect("an entry");
            let path = entry.path().strip_prefix(root).expect("below it").to_owned();
            let machine_only = ["state", "logs", "names"].iter().any(|name| path.starts_with(name));
            if entry.file_type().is_file() && !machine_only {
                let time = entry.metadata().expect("its metadata").mtime();
                kept.insert(path, (time, fs_err::read_to_string(entry.path()).expect("text")));
            }
        }
        kept
    }
}

fn script(path: &Path, text: &str) {
    write(path, text);
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("runnable");
}

/// A text in which sizes, which differ by a byte or two from run to run, are `N`.
fn without_sizes(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace).collect::<Vec<_>>();
    let is_size = |at: usize| words.get(at + 1).is_some_and(|unit| matches!(unit.trim(), "B" | "KiB" | "MiB"));
    let word = |at: usize| if is_size(at) { "N ".to_owned() } else { words[at].to_owned() };
    (0..words.len()).map(word).collect()
}

/// A line of a crontab.
enum Cron {
    Variable(String, String),
    Entry(String),
}

/// Reads a line of a crontab by the rules of crontab(5): `\%` is `%`, and a bare
/// `%` would end the command.
fn cron_entry(line: &str) -> Cron {
    if let Some((name, value)) = line.split_once('=')
        && name.chars().all(|c| c.is_ascii_uppercase())
    {
        return Cron::Variable(name.to_owned(), value.trim().to_owned());
    }
    let fields: Vec<&str> = line.splitn(6, ' ').collect();
    let [minute, hour, day, month, weekday, command] = fields.as_slice() else { panic!("no crontab line: {line}") };
    for (field, range) in [(minute, 0..=59), (hour, 0..=23), (day, 1..=31), (month, 1..=12), (weekday, 0..=7)] {
        assert!(*field == "*" || field.parse().is_ok_and(|number: u32| range.contains(&number)), "{field} in {line}");
    }
    assert!(!command.replace("\\%", "").contains('%'), "cron would cut {line}");
    Cron::Entry(command.replace("\\%", "%"))
}

fn a_service(world: &World, block: &Block) {
    let lines: Vec<&str> = block.text.lines().collect();
    let [dry, install, status] = lines.as_slice() else { panic!("{lines:?}") };
    let unit = world.managers.unit("user");
    let printed = world.sh(dry);
    assert!(printed.contains("\n[Service]\n") && !unit.exists(), "{printed}");
    let printed = world.sh(install);
    assert!(printed.contains("\nThe service runs, and starts at boot\n"), "{printed}");
    assert!(printed.contains("ok   sessions         4 can be read\n"), "what doctor finds: {printed}");
    let properties = "ActiveEnterTimestamp=Fri 2026-11-27 17:00:00 UTC\nMainPID=4711\n";
    world.managers.put("user-properties", properties);
    world.managers.put("journal", "");
    fs_err::rename(world.at("logs"), world.home().join("logs")).expect("put away");
    let printed = world.sh(status);
    fs_err::rename(world.home().join("logs"), world.at("logs")).expect("put back");
    assert!(block.shown.is_some());
    world.compare(block, &printed);
    // What the page says of the program's place and of `--as`.
    let built = env!("CARGO_BIN_EXE_denizen");
    let refused = world.shell(&format!("PATH=/usr/bin:/bin {built} service install"));
    assert!(refused.stderr.contains("is a build in a checkout"), "{refused:?}");
    let options = denizen::cli::command()
        .try_get_matches_from("denizen --root DIR service install --system --as USER".split(' ').map(str::to_owned));
    assert!(options.is_ok());
}

fn no_service_any_more(world: &World, block: &Block) {
    let unit = world.managers.unit("user");
    let drop_in = unit.with_extension("service.d").join("override.conf");
    write(&drop_in, "[Service]\n");
    world.run(block);
    assert!(!unit.exists() && drop_in.exists() && world.managers.get("lingers").is_some());
    assert_eq!(world.managers.get("user-active"), None);
}

fn where_a_token_comes_from(world: &World, block: &Block) {
    let before = fs_err::read_to_string(world.at("denizen.toml")).expect("a configuration");
    // Each of the three.
    let lines: Vec<&str> = block.text.lines().map(|line| line.trim_start_matches("# ")).collect();
    let [section, sources @ ..] = lines.as_slice() else { panic!("{lines:?}") };
    for source in sources {
        write(&world.at("denizen.toml"), &format!("{before}{section}\n{source}\n"));
        let shown = source.strip_prefix("token = ").expect("a token");
        assert!(world.sh("denizen config channels").contains(shown), "{source}");
        world.sh("denizen service install --dry-run");
    }
    // What a shell has, a service has not.
    write(&world.at("denizen.toml"), &format!("{before}{section}\ntoken = {{ env = \"NAME\" }}\n"));
    let refused = world.shell("NAME=x denizen service install");
    assert!(refused.stderr.contains("the environment variable NAME, which the service does not have"), "{refused:?}");
    write(&world.at("denizen.toml"), &before);
}

fn a_token(world: &World, block: &Block) {
    world.run(block);
    let mode = |path| fs_err::metadata(world.at(path)).expect("made").mode() & 0o777;
    assert_eq!((mode("access"), mode("access/discord-token")), (0o700, 0o600));
    world.sh("rm ~/.local/share/denizen/access/discord-token");
}

fn variables_of_a_service(world: &World, block: &Block) {
    world.sh("denizen service install");
    let set = format!("export ANTHROPIC_API_KEY=secret-1\n{}", block.text);
    world.sh(&set);
    let file = world.home().join(".config/environment.d/denizen.conf");
    assert_eq!(fs_err::read_to_string(&file).expect("variables"), "ANTHROPIC_API_KEY=secret-1\n");
    assert_eq!(fs_err::metadata(file).expect("variables").mode() & 0o777, 0o600);
    let calls = world.managers.calls();
    let calls: Vec<&str> = calls.iter().rev().take(2).map(String::as_str).collect();
    assert_eq!(calls, ["systemctl user: restart denizen", "systemctl user: daemon-reload"]);
}

fn logs(world: &World, block: &Block) {
    world.managers.put("journal", "connected\n");
    let printed = world.run(block);
    assert!(printed.ends_with("log      connected\nconnected\nx\n"), "{printed}");
}

fn health(world: &World, block: &Block) {
    assert_eq!(world.run(block), "");
    world.managers.put("user-active", "failed");
    assert_eq!(world.run(block), "Denizen needs you\n");
    world.managers.put("user-active", "active");
}

fn a_place_for_backups(world: &World, block: &Block) {
    world.run(block);
    let mode = fs_err::metadata(world.home().join("backup/denizen")).expect("made").mode();
    assert_eq!(mode & 0o777, 0o700);
}

fn two_nights(world: &World, block: &Block) {
    let backup = world.home().join("backup/denizen");
    let latest = backup.join("latest");
    let silent = |output: &Output| assert_eq!((output.code, &*output.stdout, &*output.stderr), (Some(0), "", ""));
    let same = || assert_eq!(World::kept(&latest), World::kept(&world.at("")));
    let night = || {
        silent(&world.cron(&block.text, 0));
        silent(&world.cron(&block.text, 1));
        same();
    };
    night();
    for left_out in ["state", "logs", "names"] {
        assert!(world.at(left_out).is_dir() && !latest.join(left_out).exists(), "{left_out}");
    }
    assert!(latest.join("access/sessions/reading.json").is_file(), "what was granted");
    assert!(!backup.join("changed").exists(), "nothing was replaced");
    // A day.
    let before = World::kept(&world.at(""));
    world.sh("denizen send work 'remember work-2' && denizen rm home && denizen set reading model m");
    night();
    let changed = only_entry(&backup.join("changed"));
    let moved = World::kept(&changed);
    let after = World::kept(&world.at(""));
    let expected: BTreeMap<_, _> = before.into_iter().filter(|(path, was)| after.get(path) != Some(was)).collect();
    assert_eq!(moved, expected, "every version that was replaced or deleted");
    assert!(moved.contains_key(Path::new("sessions/home/memory/MEMORY.md")), "{moved:?}");
    assert!(moved.contains_key(Path::new("sessions/work/session.json")), "{moved:?}");
    // A root that is not there.
    fs_err::rename(world.at(""), world.home().join("away")).expect("moved");
    let output = world.cron(&block.text, 0);
    assert_eq!(output.code, Some(23), "{output:?}");
    fs_err::rename(world.home().join("away"), world.at("")).expect("moved back");
    same();
    // A backup that lost something.
    let transcript = latest.join("sessions/work/transcript.jsonl");
    let aside = world.home().join("aside");
    fs_err::rename(&transcript, &aside).expect("moved");
    let output = world.cron(&block.text, 1);
    assert_eq!((output.code, &*output.stderr), (Some(1), ""));
    let first = output.stdout.lines().next().expect("a finding");
    assert_eq!(first, format!("damaged  {}: there is no transcript, and there were 2 turns", transcript.display()));
    assert!(output.stdout.contains("lost at most: ") && output.stdout.contains("hint: "), "{output:?}");
    fs_err::rename(&aside, &transcript).expect("moved back");
    // The page speaks of a certain night.
    fs_err::rename(changed, backup.join("changed").join(NIGHT)).expect("renamed");
}

#[track_caller]
fn only_entry(dir: &Path) -> PathBuf {
    let entries: Vec<PathBuf> =
        fs_err::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").path()).collect();
    let [entry] = entries.as_slice() else { panic!("{}: {entries:?}", dir.display()) };
    entry.clone()
}

fn a_look_at_the_backup(world: &World, block: &Block) {
    assert!(block.shown.is_some());
    world.run(block);
}

fn old_copies_go(world: &World, block: &Block) {
    let changed = world.home().join("backup/denizen/changed");
    write(&changed.join("2026-01-01/sessions/work/session.json"), "old");
    write(&changed.join("mine/session.json"), "no copy");
    world.sh("touch -d '100 days ago' ~/backup/denizen/changed/{2026-01-01,mine}");
    world.run(block);
    assert!(!changed.join("2026-01-01").exists());
    assert!(changed.join(NIGHT).is_dir() && changed.join("mine").is_dir());
    fs_err::remove_dir_all(changed.join("mine")).expect("removed");
}

fn snapshots(world: &World, block: &Block) {
    let snapshots = world.home().join("backup/snapshots");
    let output = world.shell(&block.text);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("--link-dest arg does not exist"), "as the page says: {output:?}");
    let today = fs_err::read_link(snapshots.join("latest")).expect("a link");
    // It becomes the one of yesterday.
    fs_err::rename(snapshots.join(&today), snapshots.join("2026-11-20")).expect("renamed");
    world.sh("ln -sfn 2026-11-20 ~/backup/snapshots/latest");
    world.sh("denizen send reading 'remember reading-2'");
    let output = world.shell(&block.text);
    assert_eq!((output.code, &*output.stderr), (Some(0), ""));
    let latest = snapshots.join("latest");
    assert_eq!(World::kept(&latest.canonicalize().expect("there")), World::kept(&world.at("")));
    let names = |path: &str| fs_err::metadata(latest.join(path)).expect(path).nlink();
    assert_eq!(["work", "reading"].map(|key| names(&format!("sessions/{key}/session.json"))), [2, 1]);
    assert_eq!(world.sh("denizen verify --quiet ~/backup/snapshots/latest"), "");
    // Back from the older one; each file has one name again.
    let printed = world.sh("denizen restore ~/backup/snapshots/2026-11-20 reading");
    assert!(printed.starts_with("restored       reading: 1 turn, "), "{printed}");
    assert_eq!(world.said("reading"), ["remember Ünï/x-1".replace("Ünï/x", "reading")]);
    // Neither `cp -al` nor `mv` does that.
    world.sh("rm -r ~/.local/share/denizen/sessions/work");
    world.sh("cp -al ~/backup/snapshots/latest/sessions/work ~/.local/share/denizen/sessions/");
    let refused = world.shell("denizen send work hello");
    assert_eq!(refused.code, Some(1));
    let reason = "session.json` has 3 hard links, it must have one";
    assert!(refused.stderr.contains(reason), "{refused:?}");
    let found = world.shell("denizen verify --quiet");
    assert!(found.code == Some(1) && found.stdout.contains(reason), "{found:?}");
    let remedy = found.stdout.lines().find_map(|line| line.trim().strip_prefix("hint: make its files its own: "));
    world.sh(remedy.expect("a hint"));
    assert_eq!(world.sh("denizen verify --quiet"), "");
    world.sh("rm -r ~/.local/share/denizen/sessions/work");
    world.sh("cp -a ~/backup/snapshots/latest/sessions/work ~/.local/share/denizen/sessions/");
    assert_eq!(world.said("work"), ["remember work-1", "remember work-2"]);
}

fn restore(world: &World, block: &Block) {
    world.sh("denizen send work 'remember work-3' && denizen send 'Ünï/x' hello && denizen send fresh hello");
    let printed = world.run(block);
    let lines: Vec<&str> = printed.lines().collect();
    let begins = [
        "restored       work: 2 turns, ",
        // Dry, then for good: by folder.
        "would restore  Ünï/x: 1 turn, ",
        "unchanged      reading: 1 turn, ",
        "unchanged      work: 2 turns, ",
        "restored       Ünï/x: 1 turn, ",
        "unchanged      reading: 1 turn, ",
        "unchanged      work: 2 turns, ",
    ];
    assert_eq!(lines.len(), begins.len(), "{printed}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(begin), "{begin}: {printed}");
    }
    assert_eq!(world.said("work"), ["remember work-1", "remember work-2"]);
    assert_eq!(world.said("fresh"), ["hello"], "the backup does not have it");
    let trash = world.sh("denizen trash list");
    assert_eq!(trash.lines().filter(|line| line.ends_with("-work")).count(), 1, "{trash}");
    // A damaged one.
    let transcript = world.home().join("backup/denizen/latest/sessions/work/transcript.jsonl");
    let aside = world.home().join("aside");
    fs_err::rename(&transcript, &aside).expect("moved");
    world.sh("denizen send work 'remember work-3'");
    let refused = world.shell("denizen restore ~/backup/denizen/latest work");
    assert_eq!((refused.code, &*refused.stdout), (Some(1), ""));
    assert_eq!(world.said("work").len(), 3);
    assert!(
        world.sh("denizen restore --force ~/backup/denizen/latest work").starts_with("restored       work: 2 turns")
    );
    fs_err::rename(&aside, &transcript).expect("moved back");
    world.sh("denizen restore ~/backup/denizen/latest work");
}

fn restore_what_was_deleted(world: &World, block: &Block) {
    assert!(!world.at("sessions/home").exists());
    let printed = world.run(block);
    assert!(printed.starts_with("restored       home: 1 turn, "), "{printed}");
    assert_eq!(world.sh("denizen send home 'what did I say'"), "1. remember home-1\n");
}

fn restore_what_was_changed(world: &World, block: &Block) {
    let printed = world.run(block);
    assert!(printed.starts_with("restored       work: 1 turn, "), "{printed}");
    assert_eq!(world.said("work"), ["remember work-1"]);
    assert_eq!(world.sh("denizen verify --quiet"), "");
    assert_eq!(world.sh("denizen send work 'what did I say'"), "1. remember work-1\n");
    assert!(!world.home().join("backup/denizen/older").exists());
}

fn restore_one_file(world: &World, block: &Block) {
    let memory = world.at("sessions/work/memory/MEMORY.md");
    write(&memory, "nonsense\n");
    world.run(block);
    assert_eq!(fs_err::read_to_string(memory).expect("there"), "- work-1\n- work-2\n");
    assert_eq!(world.sh("denizen verify --quiet"), "");
}

fn restore_by_hand(world: &World, block: &Block) {
    write(&world.at("sessions/work/session.json"), "{");
    assert_eq!(world.shell("denizen send work hello").code, Some(1));
    world.run(block);
    assert_eq!(World::kept(&world.at("sessions/work")), {
        World::kept(&world.home().join("backup/denizen/latest/sessions/work"))
    });
    assert_eq!(world.sh("denizen send work 'what did I say'"), "1. remember work-1\n2. remember work-2\n");
}

fn restore_everything(world: &World, block: &Block) {
    fs_err::remove_dir_all(world.home().join(".local")).expect("an empty disk");
    let printed = world.run(block);
    assert!(printed.starts_with("3 sessions, 3 sound: 0 damaged, 0 wrong, "), "{printed}");
    assert_eq!(World::kept(&world.at("")), World::kept(&world.home().join("backup/denizen/latest")));
    assert_eq!(world.sh("denizen send work 'what did I say'"), "1. remember work-1\n2. remember work-2\n");
    let projects = world.sh("denizen cd reading");
    assert!(projects.contains("/projects"), "what was granted came along: {projects}");
}

fn the_trash(world: &World, block: &Block) {
    world.sh("denizen trash restore home");
    let printed = world.run(block);
    assert!(printed.lines().any(|line| line.ends_with("Z-home")), "{printed}");
    assert_eq!(world.said("home"), ["remember home-1"]);
}

fn one_file(world: &World, block: &Block) {
    let printed = world.run(block);
    let begins = ["2 sessions, ", "would import   work-again: ", "imported       work-again: "];
    for (line, begin) in printed.lines().zip(begins) {
        assert!(line.starts_with(begin), "{begin}: {printed}");
    }
    assert_eq!(world.said("work-again"), world.said("work"));
    // On the other machine: all sessions, and nothing else.
    let there = world.new_machine(ROOT);
    let mut names: Vec<_> =
        fs_err::read_dir(&there).expect("a root").map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["names", "sessions", "state"]);
    assert_eq!(fs_err::read_dir(there.join("sessions")).expect("sessions").count(), 5);
    assert_eq!(world.sh("ssh new denizen verify --quiet"), "");
    world.sh("rm -r ~/sessions.tar.zst && ssh new rm -r .local && denizen rm work-again");
}

fn a_new_machine(world: &World, block: &Block) {
    let turns = world.said("work").len();
    let printed = world.run(block);
    let expected = format!(
        "4 sessions, 4 sound: 0 damaged, 0 wrong, N 0 to note\nI have no note about that (turn {}). \
         `remember <text>` makes one.\n",
        turns + 1
    );
    let (first, second) = printed.split_once('\n').expect("two lines");
    let first = first.split(" to note").next().expect("a start").replace("wrong, 0", "wrong, N 0");
    assert_eq!(format!("{first} to note\n{second}"), expected);
    for left_out in ["logs", "state/queue/home"] {
        assert!(!world.new_machine(ROOT).join(left_out).exists(), "{left_out}");
    }
    assert!(world.new_machine(ROOT).join("denizen.toml").is_file());
    assert!(world.new_machine(ROOT).join("access/sessions/reading.json").is_file());
    assert_eq!(world.said("work").len(), turns, "the old machine has its own files");
}

fn another_owner(world: &World, block: &Block) {
    let root = world.at("");
    let is_mine = || {
        walkdir::WalkDir::new(&root).into_iter().all(|entry| {
            let owner = entry.expect("an entry").metadata().expect("its metadata").uid();
            owner == rustix::process::getuid().as_raw()
        })
    };
    // Only root can give files away; for others the command changes nothing.
    if rustix::process::getuid().is_root() {
        world.sh("chown -R 4711:4711 ~/.local/share/denizen/sessions/work");
        assert!(!is_mine());
        let found = world.shell("denizen verify --quiet");
        assert!(found.stdout.contains("it belongs to the user 4711"), "{found:?}");
    }
    world.run(block);
    assert!(is_mine());
    assert_eq!(world.sh("denizen verify --quiet"), "");
}

fn folders_by_hand(world: &World, block: &Block) {
    let lines: Vec<&str> = block.text.lines().collect();
    let [cd, copy, rename, attic, away, back, delete] = lines.as_slice() else { panic!("{lines:?}") };
    let step = |line: &str| world.sh(&format!("{cd}\n{line}"));
    let said = world.said("work");
    let keys = || {
        let printed = world.sh("denizen ls --all --json");
        let lines = printed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let mut keys: Vec<String> = lines.map(|line| line["key"].as_str().expect("a key").to_owned()).collect();
        keys.sort();
        keys
    };
    step(copy);
    assert_eq!(keys(), ["experiment", "home", "reading", "work", "Ünï/x"]);
    world.sh("denizen send experiment hello");
    assert_eq!(world.said("experiment").len(), said.len() + 1);
    assert_eq!(world.said("work"), said, "the copy goes its own way");
    assert!(world.sh("denizen status experiment").contains("forked from   work"));
    step(rename);
    assert_eq!(keys(), ["experiment", "household", "reading", "work", "Ünï/x"]);
    assert_eq!(world.sh("denizen send household 'what did I say'"), "1. remember home-1\n");
    step(attic);
    step(away);
    assert_eq!(keys(), ["experiment", "household", "reading", "Ünï/x"]);
    step(back);
    assert_eq!(world.said("work"), said);
    step(delete);
    assert_eq!(keys(), ["household", "reading", "work", "Ünï/x"]);
    assert!(!world.sh("denizen trash list").contains("experiment"));
    assert_eq!(world.sh("denizen verify --quiet"), "");
    // From another machine.
    let there = world.new_machine(ROOT).join("sessions/home");
    world.sh(&format!("cp -a {} ~/.local/share/denizen/sessions/", there.display()));
    assert_eq!(world.said("home"), ["remember home-1"]);
}

fn a_name_of_nobody(world: &World, block: &Block) {
    let output = world.shell(&block.text);
    assert_eq!(output.code, Some(1), "{output:?}");
    world.compare(block, &output.stdout);
    assert!(block.shown.is_some());
    let hint = output.stdout.lines().find_map(|line| line.trim().strip_prefix("hint: ")).expect("a hint");
    for command in ["denizen ls", "denizen doctor"] {
        let output = world.shell(command);
        let printed = format!("{}{}", output.stdout, output.stderr);
        assert!(printed.contains("Work_2026` cannot be adopted: "), "{command}: {printed}");
        assert!(printed.contains(&format!("hint: {hint}\n")), "{command}: {printed}");
    }
    // Where that name is taken, `mv` would put it inside the other.
    world.sh("cp -a ~/.local/share/denizen/sessions/{Work_2026,work}");
    for command in ["denizen ls", "denizen doctor", "denizen verify"] {
        let output = world.shell(command);
        let other = "sessions/Work_2026 ";
        let printed = format!("{}{}", output.stdout, output.stderr);
        assert!(printed.contains(other) && printed.contains("sessions/work-2026\n"), "{command}: {printed}");
    }
    world.sh("rm -r ~/.local/share/denizen/sessions/work");
    world.sh(hint);
    assert_eq!(world.sh("denizen verify --quiet"), "");
}

/// Whether this program has a key of the configuration, or an option.
fn is_known(key: &str) -> bool {
    denizen::config::keys::KEYS.iter().any(|spec| spec.name == key)
}

fn the_retention(world: &World, block: &Block) {
    assert_eq!(block.language, "toml");
    let known = block
        .text
        .lines()
        .filter(|line| line.split_once(" = ").is_none_or(|(key, _)| is_known(&format!("retention.{key}"))));
    let known: Vec<&str> = known.collect();
    world.sh("sed -i '/^.retention/,$d' ~/.local/share/denizen/denizen.toml");
    let config = fs_err::read_to_string(world.at("denizen.toml")).expect("a configuration");
    write(&world.at("denizen.toml"), &format!("{config}{}\n", known.join("\n")));
    let printed = world.sh("denizen config retention");
    assert!(printed.contains("60d") && printed.contains("30d"), "{printed}");
}

fn cleanup(world: &World, block: &Block) {
    let lines: Vec<&str> = block.text.lines().collect();
    let [dry, wet, undo] = lines.as_slice() else { panic!("{lines:?}") };
    let long_ago = "s/(\"last_used_at\": \")2[0-9]{3}/\\12001/";
    world.sh(&format!("sed -i -E '{long_ago}' ~/.local/share/denizen/sessions/reading/session.json"));
    let archived = || {
        let sessions = world.sh("denizen ls --all --json");
        sessions.lines().filter(|line| !line.contains("\"archived_at\":null")).count()
    };
    let words = |line: &str| world.sh(line).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((words(dry).join(" "), archived()), ("would archive reading".to_owned(), 0));
    assert_eq!((words(wet).join(" "), archived()), ("archived reading".to_owned(), 1));
    let command = denizen::cli::command();
    let options = command.find_subcommand("cleanup").expect("a command").get_arguments();
    let has_undo = options.map(|option| option.get_id().as_str()).any(|option| option == "undo");
    assert_eq!(has_undo, is_known("retention.archived"), "they came together");
    world.sh(if has_undo { undo } else { "denizen unarchive reading" });
    assert_eq!(archived(), 0);
}

fn after_a_power_cut(world: &World, block: &Block) {
    let printed = world.run(block);
    assert!(printed.contains(" sound: 0 damaged, 0 wrong, "), "{printed}");
}

fn after_an_upgrade(world: &World, block: &Block) {
    let printed = world.run(block);
    assert!(printed.starts_with(concat!("denizen ", env!("CARGO_PKG_VERSION"), "\n")), "{printed}");
    // A file of a later version.
    let record = world.at("sessions/work/session.json");
    let later = fs_err::read_to_string(&record).expect("a record").replacen("\"version\": 1", "\"version\": 2", 1);
    write(&record, &later);
    let refused = world.shell("denizen send work hello");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("has version 2, this program knows up to 1"), "{refused:?}");
    assert_eq!(fs_err::read_to_string(&record).expect("a record"), later);
}
