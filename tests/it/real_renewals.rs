//! With every real CLI: a login that has run out is renewed once, however many
//! sessions need it, and what comes of it is in the user's file as the CLI
//! alone would have left it; whoever is killed meanwhile, the login goes on to
//! be one; and what an agent makes of its copy comes to nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::clis::{Cli, Clis};
use crate::support::fake::until;
use crate::support::model::{Model, reply, tool_then_reply};
use crate::support::renewal::{Kept, kept, place};
use crate::support::root::{Root, amount};
use crate::support::tokens::{Count, MARK, Tokens};

/// How long the answer to a renewal takes, so that whoever asks as well does
/// it meanwhile.
const SLOW: Duration = Duration::from_millis(300);

#[test]
fn claude_renews_once_for_all_sessions() {
    renews_once_for_all_sessions(Cli::Claude, "claude_renews_once_for_all_sessions");
}

#[test]
fn codex_renews_once_for_all_sessions() {
    renews_once_for_all_sessions(Cli::Codex, "codex_renews_once_for_all_sessions");
}

#[test]
fn opencode_renews_once_for_all_sessions() {
    renews_once_for_all_sessions(Cli::OpenCode, "opencode_renews_once_for_all_sessions");
}

#[test]
fn gemini_renews_once_for_all_sessions() {
    renews_once_for_all_sessions(Cli::Gemini, "gemini_renews_once_for_all_sessions");
}

#[test]
fn claude_loses_no_login_to_a_kill() {
    loses_no_login_to_a_kill(Cli::Claude, "claude_loses_no_login_to_a_kill", amount(2, 6, 200));
}

#[test]
fn codex_loses_no_login_to_a_kill() {
    loses_no_login_to_a_kill(Cli::Codex, "codex_loses_no_login_to_a_kill", amount(2, 6, 200));
}

#[test]
fn opencode_loses_no_login_to_a_kill() {
    loses_no_login_to_a_kill(Cli::OpenCode, "opencode_loses_no_login_to_a_kill", amount(1, 1, 200));
}

#[test]
fn gemini_loses_no_login_to_a_kill() {
    loses_no_login_to_a_kill(Cli::Gemini, "gemini_loses_no_login_to_a_kill", amount(1, 1, 200));
}

#[test]
fn claude_takes_over_nothing_that_the_agent_wrote() {
    takes_over_nothing_that_the_agent_wrote(Cli::Claude, "claude_takes_over_nothing_that_the_agent_wrote");
}

#[test]
fn codex_takes_over_nothing_that_the_agent_wrote() {
    takes_over_nothing_that_the_agent_wrote(Cli::Codex, "codex_takes_over_nothing_that_the_agent_wrote");
}

/// A CLI with an account, in a root of its own.
struct Scene {
    _model: Model,
    tokens: Tokens,
    cli: Cli,
    // Last, because the model runs in it.
    root: Root,
}

impl Scene {
    fn new(cli: Cli, clis: &Clis, test: &str, more: Vec<serde_json::Value>) -> Self {
        let mut root = Root::new(test);
        let fixtures = more.into_iter().chain([reply("", "heard")]).collect();
        let model = Model::start(&root, clis, fixtures);
        let tokens = Tokens::start(&root, &model);
        cli.set_up_account(&mut root, clis, &tokens);
        Self { _model: model, tokens, cli, root }
    }

    /// The login that counts, run out, in the user's file or behind a link.
    fn run_out(&self, link: bool) {
        let content = self.cli.run_out(self.tokens.run_out());
        place(&self.root, self.cli.account_file(), &content, link);
    }

    fn login(&self) -> PathBuf {
        self.root.home().join(self.cli.account_file())
    }

    /// The refresh token in the user's file.
    fn refresh_token(&self) -> Option<String> {
        self.cli.refresh_token(&fs_err::read_to_string(self.login()).expect("the login"))
    }

    /// What the CLI alone makes of the file.
    fn alone(cli: Cli, clis: &Clis, test: &str) -> Kept {
        let scene = Self::new(cli, clis, &format!("{test}-alone"), Vec::new());
        scene.run_out(false);
        let said = cli.ask_alone(&scene.root, clis);
        assert!(said.stdout.contains("heard"), "{said:#?} {:#?}", scene.tokens);
        assert_eq!(scene.tokens.count(), Count { renewed: 1, reused: 0, unheard: 0 });
        kept(&scene.login())
    }
}

fn renews_once_for_all_sessions(cli: Cli, test: &str) {
    let Some(clis) = Clis::find(test) else { return };
    let alone = Scene::alone(cli, &clis, test);
    let mut scene = Scene::new(cli, &clis, test, Vec::new());
    scene.tokens.take(Duration::ZERO, SLOW);
    // The slower two take seven times as long to start.
    let [full, kernel, off] = match cli {
        Cli::Claude | Cli::Codex => [amount(3, 8, 8), amount(2, 2, 8), amount(2, 2, 8)],
        Cli::OpenCode | Cli::Gemini => [amount(2, 2, 8), amount(1, 1, 8), amount(0, 0, 8)],
    };
    for (walls, link, sessions) in [("full", false, full), ("kernel", true, kernel), ("off", false, off)] {
        if sessions == 0 {
            continue;
        }
        scene.root.set_env("DENIZEN_WALLS", walls);
        scene.run_out(link);
        let before = (scene.tokens.count(), others(&scene));
        thread::scope(|scope| {
            for number in 0..sessions {
                let root = &scene.root;
                scope.spawn(move || {
                    let said = root.run(&["send", &format!("{walls}-{number}"), "hello"]);
                    assert_eq!((said.code, said.stdout.trim()), (Some(0), "heard"), "{walls}: {said:#?}");
                });
            }
        });
        let expected = Count { renewed: before.0.renewed + 1, ..before.0 };
        assert_eq!(scene.tokens.count(), expected, "{walls}: {:#?}", scene.tokens);
        assert_eq!(scene.refresh_token(), Some(scene.tokens.newest()), "{walls}");
        let now = kept(&scene.login());
        assert_eq!(now.link, link, "{walls}: the link");
        assert_eq!(Kept { link: alone.link, ..now }, alone, "{walls}: as the CLI alone leaves it");
        assert!(others(&scene) == before.1, "{walls}: something else in HOME changed: {:#?}", others(&scene).keys());
        assert_no_copy(&scene, walls);
    }
}

/// Everything in HOME, without the login, with what is in it.
fn others(scene: &Scene) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let content = |path: &Path| path.is_file().then(|| fs_err::read(path).expect("a file"));
    let entries =
        walkdir::WalkDir::new(scene.root.home()).into_iter().map(|entry| entry.expect("an entry").into_path());
    entries.filter(|path| *path != scene.login()).map(|path| (path.clone(), content(&path))).collect()
}

fn assert_no_copy(scene: &Scene, what: &str) {
    let copies = scene.root.files_with(&scene.root.path(), MARK);
    assert!(copies.is_empty(), "{what}: {copies:?}");
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Denizen,
    Both,
}

fn loses_no_login_to_a_kill(cli: Cli, test: &str, kills: usize) {
    let Some(clis) = Clis::find(test) else { return };
    let mut scene = Scene::new(cli, &clis, test, Vec::new());
    scene.run_out(false);
    let mut lots = Lots(0x9e37_79b9_7f4a_7c15);
    let mut beyond = 0;
    for round in 0..kills {
        let walls = ["full", "full", "kernel", "off"][round % 4];
        // Without namespaces nobody is left to end the CLI where both are killed.
        let victim = if walls == "full" && lots.next().is_multiple_of(2) { Victim::Both } else { Victim::Denizen };
        scene.root.set_env("DENIZEN_WALLS", walls);
        let (thinks, answers) = (lots.milliseconds(200), lots.milliseconds(400));
        scene.tokens.take(thinks, answers);
        let (asked, before) = (scene.tokens.asked(), scene.tokens.count());
        let mut child = start(&scene.root, &format!("killed-{round}"));
        scene.tokens.until_asked(asked);
        thread::sleep(lots.milliseconds(700));
        kill(&mut child, victim);
        until("the end of the turn", || {
            let busy = scene.root.json(&["status"])["busy"].clone();
            if busy == 0 { Ok(()) } else { Err(busy.to_string()) }
        });
        let what = format!("round {round}, {walls}, {victim:?} after {thinks:?} and {answers:?}");
        // Whoever has sent the new token to the model has kept it before.
        let on_its_way = scene.tokens.count().renewed > before.renewed && !scene.tokens.is_used();
        // Whichever session is the next.
        let key = if round % 2 == 0 { format!("killed-{round}") } else { format!("next-{round}") };
        let next = scene.root.run(&["send", &key, "hello"]);
        if next.code != Some(0) && victim == Victim::Both && on_its_way {
            // Nobody was left to whom the answer could have come.
            beyond += 1;
            scene.tokens.log_in();
        } else {
            assert_eq!((next.code, next.stdout.trim()), (Some(0), "heard"), "{what}: {next:#?} {:#?}", scene.tokens);
            assert_eq!(scene.tokens.count().reused, before.reused, "{what}: {:#?}", scene.tokens);
            assert_eq!(scene.refresh_token(), Some(scene.tokens.newest()), "{what}");
        }
        scene.run_out(false);
    }
    println!("{kills} kills, {beyond} of them between a spent token and its answer, with nobody left to take it");
    assert_no_copy(&scene, "at the end");
}

/// Starts a turn, of which nobody reads the answer.
fn start(root: &Root, key: &str) -> Child {
    let mut command = root.denizen();
    command.args(["send", key, "hello"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a turn")
}

/// Kills a turn that may have ended.
fn kill(child: &mut Child, victim: Victim) {
    let id = child.id();
    let children = fs_err::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let launcher = children.trim().parse().ok().and_then(Pid::from_raw);
    let _gone = child.kill();
    if let (Victim::Both, Some(launcher)) = (victim, launcher) {
        let _gone = kill_process(launcher, Signal::KILL);
    }
    let _status = child.wait().expect("its end");
}

/// Numbers that look like chance, and are the same each time.
struct Lots(u64);

impl Lots {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A time up to so many milliseconds.
    fn milliseconds(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.next() % (most + 1))
    }
}

fn takes_over_nothing_that_the_agent_wrote(cli: Cli, test: &str) {
    let Some(clis) = Clis::find(test) else { return };
    // Wherever its copy is: beside the HOME of its session, or in it.
    let plant = format!(
        "cd \"$(dirname \"$HOME\")\" && grep -rlZ {MARK} . | xargs -0 sed -i '0,/{{/s//{{ \"planted\": true,/'; \
         echo \"$(grep -rl planted . | grep -v jsonl | wc -l) planted\""
    );
    let more = tool_then_reply("plant", &cli.shell_call(&plant), "planted").to_vec();
    let mut scene = Scene::new(cli, &clis, test, more);
    let config = fs_err::read_to_string(scene.root.path().join("denizen.toml")).expect("the configuration");
    scene.root.write_config(&format!("{config}permission_mode = \"bypassPermissions\"\n"));
    for walls in ["full", "kernel"] {
        scene.root.set_env("DENIZEN_WALLS", walls);
        scene.run_out(false);
        let said = scene.root.run(&["send", walls, "plant"]);
        assert_eq!((said.code, said.stdout.trim()), (Some(0), "planted"), "{walls}: {said:#?}");
        assert!(said.stderr.contains("it counts for nothing"), "{walls}: {said:#?}");
        let content = fs_err::read_to_string(scene.login()).expect("the login");
        assert!(!content.contains("planted"), "{walls}: {content}");
        assert_eq!(scene.refresh_token(), Some(scene.tokens.newest()), "{walls}: what was renewed before counts");
        assert_eq!(scene.root.ok(&["send", walls, "hello"]).trim(), "heard", "{walls}");
    }
}
