//! Which session a message belongs to, and what its author may do. Pure: the
//! same message, place and section always lead to the same answer.
//!
//! A key is made of ids only. What people call a channel or themselves is in
//! titles and authors, and decides nothing.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::section::{Directs, PlaceRules, Respond, Section};
use super::wire::{Id, WireChannel, WireMessage, WireUser, lenient};
use crate::channel::AccessRole;
use crate::key::{Key, KeyError};
use crate::session::{Address, Author};
use crate::unseen::is_unseen;

/// The network's name.
pub(super) const NETWORK: &str = "discord";

/// The session that all direct messages share where the section says so.
const SHARED: &str = "default";

/// The longest title, in characters.
const MOST_TITLE: usize = 100;

/// Who the bot is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Me {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) id: Id,
    /// The roles that are the bot's own: to mention one is to mention the bot.
    pub(super) roles: HashSet<Id>,
}

/// A place where something can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChannelRef {
    pub(super) id: Id,
    pub(super) guild: Option<Id>,
    /// The channel that a thread belongs to.
    pub(super) parent: Option<Id>,
    pub(super) name: String,
    pub(super) direct: bool,
    pub(super) archived: bool,
}

impl ChannelRef {
    /// The place that a channel is. `guild` is the one it was told with.
    pub(super) fn of(channel: &WireChannel, guild: Option<&Id>) -> Self {
        let guild = channel.guild_id.as_ref().or(guild).cloned();
        Self {
            id: channel.id.clone(),
            direct: channel.is_direct() && guild.is_none(),
            guild,
            parent: channel.parent_id.clone().filter(|_| channel.is_thread()),
            name: channel.name.clone(),
            archived: channel.thread_metadata.as_ref().is_some_and(|state| state.archived),
        }
    }

    /// What is known of a place that nobody can describe.
    pub(super) fn unknown(id: &Id, guild: Option<&Id>) -> Self {
        Self {
            id: id.clone(),
            guild: guild.cloned(),
            parent: None,
            name: String::new(),
            direct: guild.is_none(),
            archived: false,
        }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Routed {
    /// It goes to a session.
    To(Routing),
    /// Somebody who may not talk wrote a direct message.
    Stranger,
    /// Nothing, and nobody is told.
    Ignored(Why),
}

/// Why a message is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The bot wrote it.
    Own,
    /// Another bot, a webhook or Discord itself wrote it.
    NoPerson,
    /// Nobody listens there.
    NotListened,
    /// It does not address the bot.
    NotAddressed,
    /// Its author may not talk there.
    MayNot,
    /// It says nothing.
    Empty,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Routing {
    pub(super) key: Key,
    pub(super) title: Option<String>,
    pub(super) standing: AccessRole,
    pub(super) agent: Option<String>,
    pub(super) text: String,
}

/// Decides on a message. `roles` are its author's in the guild, `paired` says
/// whether the author was let in by a code.
pub(super) fn route(
    section: &Section,
    me: &Me,
    place: &ChannelRef,
    message: &WireMessage,
    roles: &[Id],
    paired: &dyn Fn(&Id) -> bool,
) -> Routed {
    if message.author.id == me.id {
        return Routed::Ignored(Why::Own);
    }
    // 0 is a message, 19 one that answers another; the others are Discord's own.
    if message.author.bot || message.author.system || message.webhook_id.is_some() || !matches!(message.kind, 0 | 19) {
        return Routed::Ignored(Why::NoPerson);
    }
    if !listens(section, place) {
        return Routed::Ignored(Why::NotListened);
    }
    let respond = narrowest(section, place, |scope| scope.respond).unwrap_or(Respond::Mention);
    if !place.direct && respond == Respond::Mention && !addresses(me, message) {
        return Routed::Ignored(Why::NotAddressed);
    }
    let Some(standing) = standing(section, place, &message.author.id, roles, paired) else {
        return if place.direct { Routed::Stranger } else { Routed::Ignored(Why::MayNot) };
    };
    let text = without_mentions(&message.content, me);
    let (agent, text) = split_agent(section, place, &text);
    if text.is_empty() && message.attachments.is_empty() {
        return Routed::Ignored(Why::Empty);
    }
    // An id is short and plain, so this is always a key.
    let Ok(base) = key(section, place, &message.author) else { return Routed::Ignored(Why::Empty) };
    let own = agent.and_then(|name| Some((name, base.for_agent(name).ok()?)));
    let title = title(section, place, &message.author);
    match own {
        Some((name, key)) => Routed::To(Routing {
            key,
            title: title.map(|title| format!("{title} @{name}")),
            standing,
            agent: Some(name.to_owned()),
            text: text.to_owned(),
        }),
        None => Routed::To(Routing { key: base, title, standing, agent: None, text: text.to_owned() }),
    }
}

/// Whether anything is answered at a place.
pub(super) fn listens(section: &Section, place: &ChannelRef) -> bool {
    if place.direct {
        return section.directs != Directs::Off;
    }
    narrowest(section, place, |scope| scope.listen).unwrap_or(true)
}

/// What somebody may do at a place, if anything.
pub(super) fn standing(
    section: &Section,
    place: &ChannelRef,
    user: &Id,
    roles: &[Id],
    paired: &dyn Fn(&Id) -> bool,
) -> Option<AccessRole> {
    if section.owners.contains(user) {
        return Some(AccessRole::Owner);
    }
    let listed = scopes(section, place).any(|scope| {
        scope.users.contains(user) || (place.guild.is_some() && roles.iter().any(|role| scope.roles.contains(role)))
    });
    let open = [Some(&place.id), place.parent.as_ref()].into_iter().flatten();
    let open = !place.direct && open.into_iter().any(|id| section.open_channels.contains(id));
    (listed || open || paired(user)).then_some(AccessRole::Talker)
}

/// The session of a place, as its commands and buttons reach it too.
pub(super) fn key(section: &Section, place: &ChannelRef, author: &WireUser) -> Result<Key, KeyError> {
    if let Some(joined) = section.join.get(&place.id) {
        return Ok(joined.clone());
    }
    let text = match (place.direct, section.directs) {
        (true, Directs::Shared) => SHARED.to_owned(),
        (true, _) => format!("{NETWORK}-dm-{}", author.id),
        (false, _) => format!("{NETWORK}-{}", place.id),
    };
    text.parse()
}

/// The keys of a place that follow what happens to it: its own session, and
/// those of the agents that can be asked there. None where its session is
/// shared with other places.
pub(super) fn keys_of_place(section: &Section, place: &ChannelRef) -> Vec<Key> {
    if place.direct || section.join.contains_key(&place.id) {
        return Vec::new();
    }
    let Ok(own) = format!("{NETWORK}-{}", place.id).parse::<Key>() else { return Vec::new() };
    let agents = narrowest(section, place, |scope| scope.agents.as_ref());
    let others: Vec<Key> = agents.into_iter().flatten().filter_map(|name| own.for_agent(name).ok()).collect();
    std::iter::once(own).chain(others).collect()
}

/// What the session of a place is called. None where places share it.
pub(super) fn title(section: &Section, place: &ChannelRef, author: &WireUser) -> Option<String> {
    if section.join.contains_key(&place.id) || (place.direct && section.directs == Directs::Shared) {
        return None;
    }
    if place.direct { Some(tidy(author.display())).filter(|name| !name.is_empty()) } else { title_of(place) }
}

/// What a channel or thread is called.
pub(super) fn title_of(place: &ChannelRef) -> Option<String> {
    let name = tidy(&place.name);
    match (name.is_empty(), place.parent.is_some()) {
        (true, _) => None,
        (false, true) => Some(name),
        (false, false) => Some(format!("#{name}")),
    }
}

/// Who wrote something: id and name, and nothing that could be taken for text.
pub(super) fn author(user: &WireUser) -> Author {
    Author { id: user.id.to_string(), name: tidy(user.display()) }
}

/// Where an answer goes.
pub(super) fn address(channel: &Id, message: Option<&Id>) -> Address {
    Address { network: NETWORK.to_owned(), channel: channel.to_string(), message: message.map(Id::to_string) }
}

/// One line of at most 100 characters, without what cannot be seen.
fn tidy(name: &str) -> String {
    let shown = name.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !is_unseen(*c));
    shown.take(MOST_TITLE).collect::<String>().trim().to_owned()
}

/// The sections that count at a place, the narrowest first.
fn scopes<'a>(section: &'a Section, place: &'a ChannelRef) -> impl Iterator<Item = &'a PlaceRules> {
    let channel = section.channels.get(&place.id);
    let parent = place.parent.as_ref().and_then(|parent| section.channels.get(parent));
    let guild = place.guild.as_ref().and_then(|guild| section.guilds.get(guild));
    [channel, parent, guild, Some(&section.whole)].into_iter().flatten()
}

fn narrowest<'a, T>(
    section: &'a Section,
    place: &'a ChannelRef,
    of: impl Fn(&'a PlaceRules) -> Option<T>,
) -> Option<T> {
    scopes(section, place).find_map(of)
}

/// Whether a message mentions the bot, or answers it. `@everyone` does not.
fn addresses(me: &Me, message: &WireMessage) -> bool {
    let answered = message.referenced_message.as_ref().and_then(|answered| answered.author.as_ref());
    message.mentions.iter().any(|user| user.id == me.id)
        || message.mention_roles.iter().any(|role| me.roles.contains(role))
        || answered.is_some_and(|author| author.id == me.id)
        || mentions_of(me).any(|mention| message.content.contains(&mention))
}

/// How the bot is mentioned in a text.
fn mentions_of(me: &Me) -> impl Iterator<Item = String> {
    let own = [format!("<@{}>", me.id), format!("<@!{}>", me.id)];
    own.into_iter().chain(me.roles.iter().map(|role| format!("<@&{role}>")))
}

/// The text without what only addressed the bot.
fn without_mentions(text: &str, me: &Me) -> String {
    let mut text = text.trim().to_owned();
    for mention in mentions_of(me) {
        while let Some(at) = text.find(&mention) {
            let (before, after) = (&text[..at], &text[at + mention.len()..]);
            let gap = before.ends_with(char::is_whitespace) || before.is_empty();
            let after = if gap { after.trim_start_matches(' ') } else { after };
            text = format!("{before}{after}");
        }
    }
    text.trim().to_owned()
}

/// The agent that a text asks for, where one may be, and the rest.
fn split_agent<'a, 't>(section: &'a Section, place: &'a ChannelRef, text: &'t str) -> (Option<&'a str>, &'t str) {
    let allowed = narrowest(section, place, |scope| scope.agents.as_ref());
    let Some((word, rest)) =
        text.strip_prefix('@').map(|rest| rest.split_once(char::is_whitespace).unwrap_or((rest, "")))
    else {
        return (None, text);
    };
    let word = word.trim_end_matches([',', ':']);
    match allowed.into_iter().flatten().find(|name| name.eq_ignore_ascii_case(word)) {
        Some(name) => (Some(name), rest.trim()),
        None => (None, text),
    }
}

#[cfg(test)]
mod tests;
