//! One proof: the adversary in one session, a process in another, both started
//! as every child is, and what came of the attempts held against the table.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStdout;

use super::attempt::{Attempt, AttemptLine, Expected, NeededNetwork, Prevention};
use super::stage::{ProofError, ProofStage};
use super::table::ATTEMPTS;
use crate::config::{NetworkMode, WallsMode};
use crate::files;
use crate::process::{self, ChildOutcome, Launch};
use crate::provider::{Invocation, child_environment};
use crate::sandbox::{Policy, Rule};
use crate::session::{Grant, MessageOptions, Store, WorkspaceGuard};
use crate::turn::{Asked, Setup, Subject, TurnPlan};

/// Longer than all attempts take.
const DEADLINE: Duration = Duration::from_secs(120);

/// How children are held in the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As with `walls = "full"`.
    Full,
    /// As with `walls = "kernel"`.
    Kernel,
    /// As with `walls = "off"`.
    Off,
    /// Not at all, and without a launcher: what every attempt has to be able to
    /// get through, or that it is stopped elsewhere says nothing.
    Control,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Kernel => "kernel",
            Self::Off => "off",
            Self::Control => "control",
        })
    }
}

impl From<WallsMode> for Mode {
    fn from(walls: WallsMode) -> Self {
        match walls {
            WallsMode::Full => Self::Full,
            WallsMode::Kernel => Self::Kernel,
            WallsMode::Off => Self::Off,
        }
    }
}

impl Attempt {
    /// What has to come of it in a mode, with a network.
    #[must_use]
    pub fn expected(&self, mode: Mode, network: NetworkMode) -> Expected {
        let expected = match mode {
            Mode::Full => self.full,
            Mode::Kernel => self.kernel,
            Mode::Off => return self.off,
            Mode::Control => return Expected::Through,
        };
        match (self.over, network) {
            (Some(NeededNetwork::Tcp), NetworkMode::Providers | NetworkMode::None)
            | (Some(NeededNetwork::Udp), NetworkMode::None) => Expected::Stopped(Prevention::Network),
            // In a network of its own there is nothing to change.
            (Some(NeededNetwork::Netlink), NetworkMode::None) if mode == Mode::Kernel => {
                Expected::Stopped(Prevention::Seccomp)
            }
            _ => expected,
        }
    }
}

/// How what came of an attempt compares with the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptVerdict {
    /// It is as the table says.
    AsExpected,
    /// Nothing of Denizen's stopped it, but this machine cannot do it.
    NotHere,
    /// The attempt could not be made.
    NotTried,
    /// It is otherwise.
    Otherwise,
}

/// What came of one attempt.
#[derive(Debug, Clone)]
pub struct AttemptRow {
    /// The attempt.
    pub attempt: &'static Attempt,
    /// What had to come of it.
    pub expected: Expected,
    /// What the adversary said, corrected by what is seen outside.
    pub seen: AttemptLine,
    /// How the two compare.
    pub verdict: AttemptVerdict,
}

/// What came of all attempts.
#[derive(Debug, Clone)]
pub struct Proof {
    /// How children were held.
    pub mode: Mode,
    /// One for each attempt.
    pub rows: Vec<AttemptRow>,
}

impl Proof {
    /// The attempts that got through and should not have.
    pub fn holes(&self) -> impl Iterator<Item = &'static Attempt> {
        let holes = self.rows.iter().filter(|row| row.verdict == AttemptVerdict::Otherwise && row.seen.through);
        holes.map(|row| row.attempt)
    }

    /// How many attempts ended so.
    #[must_use]
    pub fn count(&self, verdict: AttemptVerdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }
}

/// Makes all attempts from one throw-away session against another, in a root of
/// their own below `store`'s.
///
/// # Errors
/// If the proof cannot be made. That it turns out badly is not an error.
pub async fn prove(store: &Store, setup: &Setup, mode: Mode, without: Option<Rule>) -> Result<Proof, ProofError> {
    let mut stage = ProofStage::build(store, setup, mode == Mode::Full).await?;
    let how = How { mode, without };
    let args = stage.sibling_args();
    let (mut sibling, mut said) = start(&stage, &stage.beside, &args, how)?;
    let mut line = String::new();
    let heard = said.read_line(&mut line).await.map_err(ProofError::Stage)?;
    if heard == 0 {
        let reason = sibling.end().await;
        return Err(ProofError::Silent { who: "other session", reason });
    }
    stage
        .meet_sibling(&line)
        .map_err(|error| ProofError::Silent { who: "other session", reason: error.to_string() })?;

    let args = ["__adversary", "attack"].map(str::to_owned);
    let (mut adversary, mut told) = start(&stage, &stage.own, &args, how)?;
    let mut text = String::new();
    told.read_to_string(&mut text).await.map_err(ProofError::Stage)?;
    let outcome = adversary.wait().await;
    sibling.end().await;
    let lines: Vec<AttemptLine> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if lines.len() < ATTEMPTS.len() {
        return Err(ProofError::Ended { after: lines.last().map_or(0, |line| line.n), outcome });
    }
    go_on(&mut stage)?;
    if mode == Mode::Control {
        ask_git(&stage).await;
    }
    let network = setup.config.network;
    Ok(Proof {
        mode,
        rows: ATTEMPTS.iter().zip(lines).map(|(attempt, line)| judge(attempt, line, mode, network)).collect(),
    })
}

/// How the processes of the proof are started.
#[derive(Clone, Copy)]
struct How {
    mode: Mode,
    without: Option<Rule>,
}

/// A process of the proof.
enum Process {
    Launched(Option<process::Child>),
    Plain(tokio::process::Child),
}

impl Process {
    /// Waits for its end; says how it was.
    async fn wait(&mut self) -> String {
        match self {
            Self::Launched(child) => match child.take() {
                Some(child) => match child.end().await {
                    ChildOutcome::NotStarted(reason) => reason,
                    outcome => format!("{outcome:?}"),
                },
                None => "it was ended already".to_owned(),
            },
            Self::Plain(child) => {
                child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string())
            }
        }
    }

    /// Ends it.
    async fn end(&mut self) -> String {
        match self {
            Self::Launched(Some(child)) => child.stopper().stop(),
            Self::Launched(None) => {}
            Self::Plain(child) => {
                let _killed = child.start_kill();
            }
        }
        self.wait().await
    }
}

/// Starts this program in a session, as every child is started there.
#[expect(clippy::disallowed_methods, reason = "the control is what nothing confines, so it is no child of a session")]
fn start(
    stage: &ProofStage,
    guard: &WorkspaceGuard,
    args: &[String],
    how: How,
) -> Result<(Process, BufReader<ChildStdout>), ProofError> {
    let setup = &stage.setup;
    let mut invocation = Invocation::of(&setup.launcher);
    let secret = if guard.folder() == stage.beside.folder() { &stage.scene.sibling.secret } else { "" };
    invocation.args(args).env("DENIZEN_CANARY", secret);
    let (process, stdout) = if how.mode == Mode::Control {
        let mut command = tokio::process::Command::new(&invocation.program);
        command.args(&invocation.args).current_dir(guard.path()).env_clear().envs(setup.environment.iter());
        command.env("DENIZEN_CANARY", secret).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().map_err(ProofError::Stage)?;
        let stdout = child.stdout.take();
        (Process::Plain(child), stdout)
    } else {
        let plan = plan(setup, guard)?;
        let environment =
            child_environment(&setup.environment, plan.chosen.provider, &plan.chosen.options, &invocation);
        let launch = plan.launch(setup);
        let confinement = Policy { without: how.without, ..launch.confinement };
        let launch = Launch { confinement, deadline: Some(DEADLINE), environment, ..launch };
        let mut child = process::spawn(guard, &invocation, &launch)?;
        let stdout = child.stdout.take();
        (Process::Launched(Some(child)), stdout)
    };
    let stdout = stdout.ok_or_else(|| ProofError::Stage(io::ErrorKind::BrokenPipe.into()))?;
    Ok((process, BufReader::new(stdout)))
}

/// What would run at a turn of the built-in provider, which is this program too.
fn plan(setup: &Setup, guard: &WorkspaceGuard) -> Result<TurnPlan, ProofError> {
    let settings = guard.workspace().settings()?;
    let grant = Grant::read(guard.store(), guard.folder(), guard.record().uuid)?;
    let options = MessageOptions { provider: Some("notes".to_owned()), ..MessageOptions::default() };
    let asked = Asked::Provider { options: &options, can_ask: false };
    let subject = Subject::of(guard, &settings, &grant);
    Ok(TurnPlan::prepare(setup, &setup.ground(guard.store()), subject, asked)?)
}

/// What Denizen does in a session's folder at the next turn, all but the turn.
fn go_on(stage: &mut ProofStage) -> Result<(), ProofError> {
    let guard = &mut stage.own;
    guard.settle_granted();
    let settings = guard.workspace().settings()?;
    guard.own_told_files(&settings)?;
    plan(&stage.setup, guard)?;
    guard.own_dir(&["provider", "claude"])?;
    guard.save()?;
    Ok(())
}

/// What a person's prompt does in the folder: git is asked for its status there.
#[expect(clippy::disallowed_methods, reason = "the control does what Denizen must not")]
async fn ask_git(stage: &ProofStage) {
    let mut git = tokio::process::Command::new("git");
    git.arg("-C").arg(&stage.scene.own).args(["-c", "safe.directory=*", "status"]);
    // If it is not installed, nothing is left, and the table allows for that.
    let _asked = git.output().await;
}

/// Holds what came of an attempt against the table. What is said to have been
/// left has to be seen, and is removed.
fn judge(attempt: &'static Attempt, mut seen: AttemptLine, mode: Mode, network: NetworkMode) -> AttemptRow {
    if let Some(left) = &seen.left {
        seen.through = left.symlink_metadata().is_ok();
        if seen.through {
            let _removed = files::remove_whole(left);
        } else {
            seen.how = format!("nothing is seen of it outside: `{}`", left.display());
        }
    }
    let expected = attempt.expected(mode, network);
    let verdict = match expected {
        _ if seen.untried => AttemptVerdict::NotTried,
        Expected::Through if seen.through => AttemptVerdict::AsExpected,
        Expected::Stopped(_) if !seen.through => AttemptVerdict::AsExpected,
        Expected::Through if attempt.unless.is_some() => AttemptVerdict::NotHere,
        Expected::Through | Expected::Stopped(_) => AttemptVerdict::Otherwise,
    };
    AttemptRow { attempt, expected, seen, verdict }
}
