//! Which of a provider's conversations a turn continues, and that the record
//! names the one that it became.

use super::plan::TurnPlan;
use crate::provider::Continuation;
use crate::session::{Conversation, ProviderChoice, SessionError, WorkspaceGuard};

/// Which conversation the turn belongs to. An id counts only if the file
/// that makes it resumable is in this session's folder. The second part is a
/// notice, if a conversation with a past was lost.
pub(super) fn continuation(
    guard: &mut WorkspaceGuard,
    plan: &TurnPlan,
    new: bool,
) -> Result<(Continuation, Option<String>), SessionError> {
    let record = guard.record_mut();
    record.provider = Some(ProviderChoice { name: plan.chosen.name.clone() });
    if new {
        record.retire_conversation();
    }
    record.take_back_original();
    let Some(current) = &record.conversation else { return Ok((Continuation::Fresh, None)) };
    if current.provider != plan.chosen.name {
        record.retire_conversation();
        return Ok((Continuation::Fresh, None));
    }
    let id = current.id.clone();
    if plan.keeps(&id) {
        let fork = current.fork;
        return Ok((if fork { Continuation::Fork(id) } else { Continuation::Resume(id) }, None));
    }
    let lost = (current.turns > 0).then(|| {
        format!("the conversation {id} is no longer in the session's folder, so a fresh one was started with the last turns as context")
    });
    Ok((Continuation::Fresh, lost))
}

/// Makes `id` the current conversation, and saves that at once.
pub(super) fn remember(guard: &mut WorkspaceGuard, provider: &str, id: &str, about: &str) -> Result<(), SessionError> {
    let record = guard.record_mut();
    match &mut record.conversation {
        Some(current) if current.is(provider, id) => {
            if !std::mem::take(&mut current.fork) {
                return Ok(());
            }
        }
        current => {
            let copied = current.as_ref().filter(|current| current.fork && current.provider == provider);
            let copy_of = copied.map(|current| current.id.clone());
            record.retire_conversation();
            record.conversation = Some(Conversation { copy_of, ..Conversation::new(provider, id, about) });
        }
    }
    guard.save()
}
