//! Whether a configuration can be served, at the start and at each change.

use super::config_watcher::ConfigSource;
use super::error::DaemonError;
use crate::channel::{self, Channel, SectionContext};
use crate::config::{Config, WallsMode};
use crate::turn::{may_drive, provider_of};

/// Everything that can be wrong with a configuration before it is used.
///
/// # Errors
/// With the first thing that is wrong.
pub fn check(config: &Config, channels: &[&'static dyn Channel], source: &ConfigSource) -> Result<(), DaemonError> {
    for name in config.providers.keys() {
        provider_of(config, name)?;
    }
    let agents: Vec<&str> = config.agents.keys().map(String::as_str).collect();
    for (name, section) in &config.channels {
        let channel = channel::of(channels, name)?;
        channel.check(section, section_context(&agents, source))?;
    }
    if config.channels.is_empty() { Ok(()) } else { no_bypass(config) }
}

/// Without walls, no chat drives an agent that asks nobody.
fn no_bypass(config: &Config) -> Result<(), DaemonError> {
    let walled = config.walls != WallsMode::Off;
    for name in config.providers.keys() {
        let (_, options) = provider_of(config, name)?;
        if !may_drive(options.permission_mode, walled) {
            return Err(DaemonError::Bypass(name.clone()));
        }
    }
    Ok(())
}

pub(super) fn section_context<'a>(agents: &'a [&'a str], source: &'a ConfigSource) -> SectionContext<'a> {
    SectionContext { agents, root: &source.root, home: source.home.as_deref() }
}
