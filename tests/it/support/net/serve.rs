//! The daemon of the network, in a process of its own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use denizen::config::{Config, ConfigInputs, Environment};
use denizen::daemon::{self, ConfigSource, Serve, ShutdownStage};
use denizen::ops::Control;
use denizen::session::Store;
use denizen::turn::Setup;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::super::root::Root;
use super::channel::Files;

/// What the daemon of a root is started with.
pub(super) fn command(root: &Root) -> Command {
    let mut command = root.command(std::env::current_exe().expect("this program"));
    command.args(["support::net::serve::serve", "--exact", "--ignored", "--nocapture"]);
    command
}

#[test]
#[ignore = "the daemon of other tests, which start it with a root of their own"]
fn serve() {
    let environment: Environment = std::env::vars_os().collect();
    let Some(root) = environment.get("DENIZEN_ROOT").map(PathBuf::from) else { return };
    let home = environment.get("HOME").map(PathBuf::from);
    let source = ConfigSource {
        file: root.join("denizen.toml"),
        root: root.clone(),
        home: home.clone(),
        required: false,
        environment: environment.clone(),
        overrides: Vec::new(),
        here: root.clone(),
    };
    let loaded = Config::load(ConfigInputs {
        root: &root,
        home: home.as_deref(),
        file: &source.file,
        required: false,
        environment: &environment,
        overrides: &[],
    });
    let config = loaded.expect("a configuration");
    let store = Arc::new(Store::at(&root, config.durability));
    let launcher = PathBuf::from(env!("CARGO_BIN_EXE_denizen"));
    let setup = Setup::attended(config, environment, home, launcher).unattended();
    let control = Control { setup: Arc::new(setup), store };
    let log = source.root.with_file_name("log");
    let log = fs_err::OpenOptions::new().append(true).create(true).open(log).expect("a log");
    let both = move || Both(log.try_clone().expect("the log"));
    tracing_subscriber::fmt().with_ansi(false).with_target(false).with_writer(both).init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let result = runtime.block_on(async {
        let (say, stage) = watch::channel(ShutdownStage::Serve);
        let mut terminate = signal(SignalKind::terminate()).expect("a signal");
        tokio::spawn(async move {
            for stage in [ShutdownStage::Leave, ShutdownStage::AtOnce] {
                terminate.recv().await;
                if say.send(stage).is_err() {
                    return;
                }
            }
        });
        daemon::run(Serve { control, source, channels: &[&Files] }, stage).await
    });
    runtime.shutdown_background();
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Standard error, for the end, and a file, for a test that looks while it runs.
struct Both(fs_err::File);

impl std::io::Write for Both {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::stderr().write_all(bytes)?;
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
