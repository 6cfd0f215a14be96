//! Connecting again and again: with a pause between connections that grows, and
//! never against a server that forbids it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answer::Interactions;
use super::commands::Registrar;
use super::dispatch::Intake;
use super::gateway::{Ended, Gateway, Session, fraction};
use super::position::{self, Position, SeenEvents, StateDir};
use super::rest::Api;
use super::section::{Section, checked_url};
use super::wire::Id;
use crate::channel::{ChannelEvent, Leave, NetworkState, StartContext};
use crate::config::Secret;
use crate::files::Durability;
use crate::session::People;

/// Where Discord's gateway is, where the API does not say.
const GATEWAY: &str = "wss://gateway.discord.gg";

/// How many events may wait to be read.
const EVENTS: usize = 256;

/// The longest pause between two connections, in powers of two seconds.
const LONGEST: u32 = 6;

/// How long a session has to last before the pause is short again.
const LASTING: Duration = Duration::from_secs(120);

/// What the channel was started with, without what only reading the section needs.
pub(super) struct Context {
    heard: mpsc::Sender<ChannelEvent>,
    state: PathBuf,
    token: Secret,
    durability: Durability,
    people: Arc<People>,
    leave: Leave,
}

impl Context {
    pub(super) fn of(context: StartContext<'_>) -> Self {
        Self {
            heard: context.events,
            state: context.state,
            token: context.token,
            durability: context.durability,
            people: context.people,
            leave: context.leave,
        }
    }
}

/// Connects until it is time to leave, or there is no use in it.
pub(super) async fn run(api: Arc<Api>, section: Arc<Section>, context: Context) {
    let place = StateDir { dir: context.state, durability: context.durability };
    let position = place.position();
    let session = position.session.as_ref().map(|session| Session {
        id: session.id.clone(),
        sequence: position.sequence,
        url: session.url.clone(),
    });
    let mut gateway = Gateway::new(context.token, session);
    let (events, received) = mpsc::channel(EVENTS);
    let (passed, passing) = mpsc::unbounded_channel();
    let mut registrar = Registrar::new(Arc::clone(&api), place.clone());
    if let Some(session) = &position.session {
        registrar.begin(&session.application);
    }
    let intake = intake(&api, &section, &position, registrar, context.people, context.heard.clone(), passed);
    let reading = tokio::spawn(intake.run(received));
    let keeping = tokio::spawn(position::keep(place, position, passing));
    let end = connect(&api, &section, &mut gateway, &events, &context.heard, &context.leave).await;
    drop(events);
    if let Some((reason, remedy)) = end {
        let fatal = ChannelEvent::State(NetworkState::Fatal { reason, remedy });
        let _unheard = context.heard.send(fatal).await;
    }
    // What was received is read to its end, and what was read is kept.
    for task in [reading, keeping] {
        let _panicked = task.await;
    }
}

fn intake(
    api: &Arc<Api>,
    section: &Arc<Section>,
    position: &Position,
    registrar: Registrar,
    people: Arc<People>,
    heard: mpsc::Sender<ChannelEvent>,
    passed: mpsc::UnboundedSender<position::Passed>,
) -> Intake {
    let marks = position.channels.iter();
    let session = position.session.clone().unwrap_or_default();
    Intake {
        api: Arc::clone(api),
        section: Arc::clone(section),
        people,
        heard,
        passed,
        interactions: Interactions { application: session.application },
        registrar,
        me: session.me,
        places: std::collections::HashMap::new(),
        handled: SeenEvents::of(position.handled.iter().cloned()),
        marks: marks.filter_map(|(channel, mark)| Some((Id::new(channel)?, mark.clone()))).collect(),
        highest: position.highest.clone(),
        before: None,
        awaited: std::collections::HashSet::new(),
        until: None,
        session: None,
    }
}

/// Why it is of no use to connect again, and what to do; nothing where it was
/// time to leave.
type Surrender = Option<(String, Option<String>)>;

async fn connect(
    api: &Api,
    section: &Section,
    gateway: &mut Gateway,
    events: &mpsc::Sender<super::gateway::GatewayEvent>,
    heard: &mpsc::Sender<ChannelEvent>,
    leave: &Leave,
) -> Surrender {
    let mut failures = 0_u32;
    loop {
        let pause = gateway.identify_pause();
        if !pause.is_zero() {
            let reason = format!("identifying again within {}s would cost the bot its token", pause.as_secs());
            let _unheard = heard.send(ChannelEvent::State(NetworkState::Reconnecting { reason })).await;
            if !pause_for(pause, leave).await {
                return None;
            }
        }
        let url = address(api, section, gateway.session.as_ref()).await;
        let resumes = gateway.session.is_some();
        let began = Instant::now();
        let ended = gateway.connect(&url, events, leave).await;
        let reason = match ended {
            Ended::Left => return None,
            Ended::Forbidden(code) => return Some(forbidden(api, section, code).await),
            Ended::Lost(reason) => reason,
        };
        // Resuming costs nothing, so it may be tried again soon.
        let lasted = gateway.was_ready && (resumes || began.elapsed() >= LASTING);
        failures = if lasted { 0 } else { failures + 1 };
        if resumes && !gateway.was_ready && failures > 1 {
            // Perhaps the address where it was to be resumed is no more.
            gateway.session.as_mut().and_then(|session| session.url.take());
        }
        let _unheard = heard.send(ChannelEvent::State(NetworkState::Reconnecting { reason })).await;
        let seconds = 2_u64.pow(failures.saturating_sub(1).min(LONGEST));
        if !pause_for(Duration::from_secs(seconds).mul_f64(1.0 + fraction() / 4.0), leave).await {
            return None;
        }
    }
}

/// Waits, unless it is time to leave.
async fn pause_for(span: Duration, leave: &Leave) -> bool {
    tokio::select! {
        () = leave.asked() => false,
        () = tokio::time::sleep(span) => true,
    }
}

/// Where to connect: what the section says, else where the server wants the
/// session resumed, else what the API says.
async fn address(api: &Api, section: &Section, session: Option<&Session>) -> String {
    if let Some(url) = &section.gateway {
        return url.clone();
    }
    let usable = |url: &str| checked_url(url, &["ws", "wss"]).is_some();
    if let Some(url) = session.and_then(|session| session.url.clone()).filter(|url| may_resume_at(section, url)) {
        return url;
    }
    for path in ["/gateway/bot", "/gateway"] {
        let said = api.get(path).await.ok().and_then(|value| value["url"].as_str().map(str::to_owned));
        if let Some(url) =
            said.map(|url| url.split('?').next().unwrap_or_default().to_owned()).filter(|url| usable(url))
        {
            return url;
        }
    }
    if section.api.is_discord {
        return GATEWAY.to_owned();
    }
    // Servers of one's own often have both in one place.
    let root = section.api.base.split("/api").next().unwrap_or_default();
    format!("{}/gateway", root.replacen("http", "ws", 1))
}

/// Whether the token may be told at an address where a session is to be resumed:
/// it has to be one of the same server's.
fn may_resume_at(section: &Section, url: &str) -> bool {
    let Some(uri) = checked_url(url, &["ws", "wss"]) else { return false };
    let host = uri.host().unwrap_or_default();
    if section.api.is_discord {
        return uri.scheme_str() == Some("wss") && (host == "discord.gg" || host.ends_with(".discord.gg"));
    }
    host.eq_ignore_ascii_case(&section.api.host)
}

/// What a close code that forbids to come back means, and what to do.
async fn forbidden(api: &Api, section: &Section, code: u16) -> (String, Option<String>) {
    let application = match &section.application {
        Some(id) => Some(id.to_string()),
        None => api
            .get("/applications/@me")
            .await
            .ok()
            .and_then(|value| serde_json::from_value::<Id>(value["id"].clone()).ok().map(|id| id.to_string())),
    };
    let page = application.map_or_else(
        || "https://discord.com/developers/applications (your application, then Bot)".to_owned(),
        |id| format!("https://discord.com/developers/applications/{id}/bot"),
    );
    let (reason, remedy) = match code {
        4004 => ("Discord refuses the token", format!("make a new one with `Reset Token` at {page}")),
        4011 => ("the bot is in more guilds than one connection may serve", "take it out of some guilds".to_owned()),
        4012 => ("the server does not speak version 10 of the gateway", "update Denizen, or the server".to_owned()),
        4014 => ("the bot may not read what is written", format!("enable the Message Content intent at {page}")),
        _ => ("the server does not accept what the bot asks for", "update Denizen, or the server".to_owned()),
    };
    (format!("{reason} (close code {code})"), Some(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::SectionContext;

    #[test]
    fn the_token_is_told_to_the_same_server_only() {
        let may = |api: &str, url: &str| {
            let context = SectionContext { agents: &[], root: std::path::Path::new("/"), home: None };
            let section = Section::read(&format!("api_url = \"{api}\"").parse().expect("TOML"), context);
            may_resume_at(&section.expect("a section"), url)
        };
        let discord = "https://discord.com/api";
        assert!(may(discord, "wss://gateway-us-east1-b.discord.gg"));
        for url in
            ["ws://gateway.discord.gg", "wss://discord.gg.evil.example", "wss://evildiscord.gg", "discord.gg", ""]
        {
            assert!(!may(discord, url), "{url}");
        }
        let own = "http://127.0.0.1:9";
        assert!(may(own, "ws://127.0.0.1:10/gateway") && !may(own, "wss://gateway.discord.gg"));
    }
}
