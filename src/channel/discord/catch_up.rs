//! After a session was lost: which channels may hold something that was written
//! meanwhile, and what that is, over HTTP. Bounded in number and age. Not here:
//! whether it is answered, which is checked as if it had just been written.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::position::Mark;
use super::rest::Api;
use super::wire::{Guild, Id, WireMessage};

/// How old a message may be that is answered late.
const OLDEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How many messages of a channel are asked for at once, and at most.
const PAGE: usize = 100;
const MOST_PAGES: usize = 3;

/// How many channels without a mark of their own are looked at in a guild.
const MOST_UNKNOWN: usize = 25;

/// The direct channels, each with the message up to which it was read.
pub(super) fn directs(marks: &HashMap<Id, Mark>) -> Vec<(Id, Id)> {
    of(marks, None)
}

/// The channels of a guild that has come in sight: those that were read before,
/// and those in which something was written since `before`.
pub(super) fn guild(marks: &HashMap<Id, Mark>, before: Option<&Id>, id: &Id, guild: &Guild) -> Vec<(Id, Id)> {
    let own = of(marks, Some(id));
    let listed = || guild.channels.iter().chain(&guild.threads);
    let is_newer = |channel: &Id, after: &Id| {
        let last = listed().find(|it| it.id == *channel).and_then(|it| it.last_message_id.clone());
        last.is_none_or(|last| last.order() > after.order())
    };
    let mut wanted: Vec<(Id, Id)> = own.iter().filter(|(channel, after)| is_newer(channel, after)).cloned().collect();
    if let Some(before) = before {
        let unknown = listed().filter(|channel| !own.iter().any(|(id, _)| *id == channel.id));
        let written =
            unknown.filter(|it| it.last_message_id.as_ref().is_some_and(|last| last.order() > before.order()));
        wanted.extend(written.take(MOST_UNKNOWN).map(|channel| (channel.id.clone(), before.clone())));
    }
    wanted
}

fn of(marks: &HashMap<Id, Mark>, guild: Option<&Id>) -> Vec<(Id, Id)> {
    let own = marks.iter().filter(|(_, mark)| mark.guild.as_ref() == guild);
    own.map(|(channel, mark)| (channel.clone(), mark.last.clone())).collect()
}

/// What was written in a channel after a message, in order. What cannot be
/// fetched is missing, with a word in the log.
pub(super) async fn written(api: &Api, channel: &Id, guild: Option<&Id>, after: &Id) -> Vec<WireMessage> {
    let oldest = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(OLDEST);
    let oldest = Id::at_ms(u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX));
    // Ids that tell no time, as on some servers, are taken as they are.
    let mut after = if after.made_at_ms().is_some() && after.order() < oldest.order() { oldest } else { after.clone() };
    let mut found = Vec::new();
    for _ in 0..MOST_PAGES {
        let path = format!("/channels/{channel}/messages?after={after}&limit={PAGE}");
        let list = match api.get(&path).await {
            Ok(serde_json::Value::Array(list)) => list,
            Ok(_) => return found,
            Err(error) => {
                tracing::warn!(%channel, %error, "what was written while the connection was down is not known");
                return found;
            }
        };
        let full = list.len() >= PAGE;
        let messages = list.into_iter().filter_map(|message| serde_json::from_value::<WireMessage>(message).ok());
        // A server that does not know `after` gives what was read before too.
        let mut messages: Vec<WireMessage> = messages.filter(|message| message.id.order() > after.order()).collect();
        messages.sort_by(|a, b| a.id.order().cmp(&b.id.order()));
        let Some(last) = messages.last().map(|message| message.id.clone()) else { return found };
        found.extend(messages.into_iter().map(|mut message| {
            message.channel_id = channel.clone();
            message.guild_id = message.guild_id.or_else(|| guild.cloned());
            message
        }));
        if !full {
            break;
        }
        after = last;
    }
    found
}
