//! `denizen serve`: the daemon, with its logs and its signals.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::app::{App, Global};
use super::error::CliError;
use crate::channel::CHANNELS;
use crate::daemon::{self, ConfigSource, Rotating, Serve, ShutdownStage};

/// Listen to the configured chat networks, until told to leave
///
/// SIGTERM and SIGINT let running turns finish for `limits.grace`; a second one
/// ends everything at once. What was accepted and not answered goes on at the
/// next start. Changes of the configuration file are picked up.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// How the log is written, on standard error and in `logs/denizen.log`
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// One line of text for each event.
    Text,
    /// One JSON object for each event.
    Json,
}

/// Within this time several signals are one: supervisors signal a process and
/// then its whole group.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// How many threads carry the daemon. Each may be held up by a slow disk.
const THREADS: usize = 4;

pub(super) fn run(app: App, args: &ServeArgs, global: &Global, here: &Path) -> Result<ExitCode, CliError> {
    let level = match (app.out.quiet, app.out.verbose) {
        (true, _) => tracing::Level::WARN,
        (_, true) => tracing::Level::DEBUG,
        _ => tracing::Level::INFO,
    };
    let setup = &app.control.setup;
    let source = ConfigSource {
        root: app.control.store.root().to_owned(),
        home: setup.home.clone(),
        file: app.config_file.clone(),
        required: global.config.is_some(),
        environment: setup.environment.clone(),
        overrides: global.overrides.clone(),
        here: here.to_owned(),
    };
    // Before anything is logged, so that a wrong configuration is told as by
    // every other command.
    daemon::check(&setup.config, CHANNELS, &source)?;
    if setup.config.channels.is_empty() {
        return Err(daemon::DaemonError::NothingToServe.into());
    }
    log(app.control.store.root(), args.log_format, level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let runtime = runtime.map_err(|error| CliError::failed(format!("could not start: {error}")))?;
    let serve = Serve { control: app.control, source, channels: CHANNELS };
    let result = runtime.block_on(async {
        let stage = signals().map_err(|error| CliError::failed(format!("could not listen for signals: {error}")))?;
        Ok::<_, CliError>(daemon::run(serve, stage).await?)
    });
    // What still runs at the second signal ends with this process.
    runtime.shutdown_background();
    result?;
    Ok(ExitCode::SUCCESS)
}

/// The first signal lets the daemon leave, the second makes it go at once.
fn signals() -> std::io::Result<watch::Receiver<ShutdownStage>> {
    let (say, stage) = watch::channel(ShutdownStage::Serve);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        let mut first: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let stage = match first {
                None => ShutdownStage::Leave,
                Some(first) if first.elapsed() < ONE_SIGNAL => continue,
                Some(_) => ShutdownStage::AtOnce,
            };
            first.get_or_insert_with(Instant::now);
            if say.send(stage).is_err() {
                return;
            }
        }
    });
    Ok(stage)
}

/// Lets the log go to standard error and to a file that is rotated.
fn log(root: &Path, format: LogFormat, level: tracing::Level) -> Result<(), CliError> {
    let path = root.join("logs/denizen.log");
    let file = Rotating::open(&path);
    let file =
        file.map_err(|error| CliError::failed(format!("the log `{}` cannot be written: {error}", path.display())))?;
    let writer = BoxMakeWriter::new(Both(Mutex::new(file)));
    let builder =
        tracing_subscriber::fmt().with_max_level(level).with_target(false).with_ansi(false).with_writer(writer);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
    Ok(())
}

/// Standard error and the log file.
struct Both(Mutex<Rotating>);

/// One event on its way to both.
struct LogLine<'a>(&'a Mutex<Rotating>);

impl<'a> MakeWriter<'a> for Both {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine(&self.0)
    }
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Neither a closed terminal nor a full disk stops the daemon.
        let _shown = std::io::stderr().write_all(bytes);
        let _kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
