//! After a session was lost: what was written meanwhile in the channels that
//! are listened to, over HTTP. Bounded in number and age, and checked as if it
//! had just been written.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::dispatch::{Deaf, Intake};
use super::route::listens;
use super::wire::{Guild, Id, WireMessage};

/// How old a message may be that is answered late.
const OLDEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How many messages of a channel are asked for at once, and at most.
const PAGE: usize = 100;
const MOST_PAGES: usize = 3;

/// How many channels without a mark of their own are looked at in a guild.
const MOST_UNKNOWN: usize = 25;

/// Catches up the direct channels.
pub(super) async fn directs(intake: &mut Intake) -> Result<(), Deaf> {
    let own: Vec<(Id, Id)> = marks(intake, |guild| guild.is_none());
    for (channel, after) in own {
        one(intake, &channel, None, &after).await?;
    }
    Ok(())
}

/// Catches up a guild that has come in sight: the channels that were read
/// before, and those in which something was written since.
pub(super) async fn guild(intake: &mut Intake, id: &Id, guild: &Guild) -> Result<(), Deaf> {
    let own = marks(intake, |of| of == Some(id));
    let listed = || guild.channels.iter().chain(&guild.threads);
    let is_newer = |channel: &Id, after: &Id| {
        let last = listed().find(|it| it.id == *channel).and_then(|it| it.last_message_id.clone());
        last.is_none_or(|last| last.order() > after.order())
    };
    let mut wanted: Vec<(Id, Id)> = own.iter().filter(|(channel, after)| is_newer(channel, after)).cloned().collect();
    if let Some(before) = intake.before.clone() {
        let unknown = listed().filter(|channel| !own.iter().any(|(id, _)| *id == channel.id));
        let written =
            unknown.filter(|it| it.last_message_id.as_ref().is_some_and(|last| last.order() > before.order()));
        wanted.extend(written.take(MOST_UNKNOWN).map(|channel| (channel.id.clone(), before.clone())));
    }
    for (channel, after) in wanted {
        one(intake, &channel, Some(id), &after).await?;
    }
    Ok(())
}

/// Catches up guilds that were read before and have not come in sight.
pub(super) async fn guilds(intake: &mut Intake, guilds: &HashSet<Id>) -> Result<(), Deaf> {
    for id in guilds {
        guild(intake, id, &Guild::default()).await?;
    }
    Ok(())
}

fn marks(intake: &Intake, of: impl Fn(Option<&Id>) -> bool) -> Vec<(Id, Id)> {
    let own = intake.marks.iter().filter(|(_, mark)| of(mark.guild.as_ref()));
    own.map(|(channel, mark)| (channel.clone(), mark.last.clone())).collect()
}

/// Catches up one channel.
async fn one(intake: &mut Intake, channel: &Id, guild: Option<&Id>, after: &Id) -> Result<(), Deaf> {
    if intake.places.get(channel).is_some_and(|place| !listens(&intake.section, place)) {
        return Ok(());
    }
    let oldest = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(OLDEST);
    let oldest = Id::at_ms(u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX));
    // Ids that tell no time, as on some servers, are taken as they are.
    let mut after = if after.made_at_ms().is_some() && after.order() < oldest.order() { oldest } else { after.clone() };
    for _ in 0..MOST_PAGES {
        let path = format!("/channels/{channel}/messages?after={after}&limit={PAGE}");
        let list = match intake.api.get(&path).await {
            Ok(serde_json::Value::Array(list)) => list,
            Ok(_) => return Ok(()),
            Err(error) => {
                tracing::warn!(%channel, %error, "what was written while the connection was down is not known");
                return Ok(());
            }
        };
        let full = list.len() >= PAGE;
        let messages = list.into_iter().filter_map(|message| serde_json::from_value::<WireMessage>(message).ok());
        // A server that does not know `after` gives what was read before too.
        let mut messages: Vec<WireMessage> = messages.filter(|message| message.id.order() > after.order()).collect();
        messages.sort_by(|a, b| a.id.order().cmp(&b.id.order()));
        let Some(last) = messages.last().map(|message| message.id.clone()) else { return Ok(()) };
        for mut message in messages {
            message.channel_id = channel.clone();
            message.guild_id = message.guild_id.or_else(|| guild.cloned());
            intake.message(message, None, true).await?;
        }
        if !full {
            break;
        }
        after = last;
    }
    Ok(())
}
