//! Discord: its gateway and HTTP API, spoken directly and leniently, so that
//! other servers of the same protocol do too.
//!
//! What is here is wire format and routing. What a message does in its session
//! is not.

mod answer;
mod catch_up;
mod client;
mod commands;
mod dispatch;
mod examine;
mod files;
mod gateway;
mod limits;
mod position;
mod rest;
mod route;
mod run;
mod section;
mod wire;

use std::sync::Arc;

use super::{BoxFuture, Channel, ChannelError, Connection, Examined, SectionContext, StartContext};
use crate::config::Secret;
use crate::config::keys::KeySpec;
use rest::Api;
use section::{KEYS, Section};

/// Discord.
pub(super) struct Discord;

impl Channel for Discord {
    fn name(&self) -> &'static str {
        route::NETWORK
    }

    fn keys(&self) -> &'static [KeySpec] {
        KEYS
    }

    fn check(&self, section: &toml::Table, context: SectionContext<'_>) -> Result<(), ChannelError> {
        Section::read(section, context).map(drop)
    }

    fn start(&self, section: &toml::Table, context: StartContext<'_>) -> Result<Connection, ChannelError> {
        let section = Arc::new(Section::read(section, context.section)?);
        let token = |error: rest::ApiError| ChannelError::Token {
            channel: route::NETWORK.to_owned(),
            reason: error.to_string(),
        };
        let api = Arc::new(Api::new(section.api.clone(), &context.token).map_err(token)?);
        let network = Arc::new(client::DiscordClient::new(Arc::clone(&api), section.owners.clone()));
        let task = tokio::spawn(run::run(api, section, run::Context::of(context)));
        Ok(Connection { network, task })
    }

    fn examine<'a>(
        &'a self,
        section: &'a toml::Table,
        context: SectionContext<'a>,
        token: &'a Secret,
    ) -> BoxFuture<'a, Result<Vec<Examined>, ChannelError>> {
        Box::pin(async move { Ok(examine::examine(&Section::read(section, context)?, token).await) })
    }

    fn invitation(&self, application: &str) -> Option<String> {
        Some(examine::invitation(application))
    }
}
