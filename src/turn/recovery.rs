//! What is tried after a provider failed: a pure function of the failure and of
//! what this turn has tried so far. Not here: the trying.

use uuid::Uuid;

use crate::provider::{Continuation, FailureKind};

/// How the next attempt of a turn asks its provider, and what was tried before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    /// Which conversation it asks for.
    pub(super) continuation: Continuation,
    /// The id that a fresh conversation gets.
    pub(super) new_id: Uuid,
    /// Whether its prompt carries the last turns of the transcript.
    pub(super) replay: bool,
    /// Whether the provider's home was made for this turn.
    new_home: bool,
    /// Whether creating was tried for resuming already, or the other way round.
    corrected: bool,
    /// Whether the conversation was given up for one with an id of its own.
    gave_up: bool,
}

/// An attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FailedAttempt {
    /// What the provider said.
    pub(super) kind: FailureKind,
    /// Whether the file of the conversation that it was asked for is there.
    pub(super) is_kept: bool,
    /// Whether the session's conversation had turns.
    pub(super) had_turns: bool,
}

/// What is done about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextTry {
    /// The same again, with a home that is made from what the session holds.
    NewHome,
    /// Continue the conversation with this id.
    Resume(String),
    /// Begin a conversation.
    Fresh {
        /// Its id; `None` is one that nobody has used.
        id: Option<Uuid>,
        /// Whether the last turns go along now, and did not before.
        replay: bool,
    },
    /// Nothing: the turn has failed.
    GiveUp,
}

impl History {
    /// Before the first attempt.
    pub(super) fn new(continuation: Continuation, replay: bool, new_home: bool) -> Self {
        Self { continuation, new_id: Uuid::new_v4(), replay, new_home, corrected: false, gave_up: false }
    }

    /// Notes what is tried next.
    pub(super) fn note(&mut self, retry: &NextTry) {
        match retry {
            NextTry::NewHome => self.new_home = true,
            NextTry::Resume(id) => {
                self.continuation = Continuation::Resume(id.clone());
                self.corrected = true;
            }
            NextTry::Fresh { id, replay } => {
                self.continuation = Continuation::Fresh;
                self.new_id = id.unwrap_or_else(Uuid::new_v4);
                self.replay |= replay;
                self.corrected = true;
                self.gave_up |= id.is_none();
            }
            NextTry::GiveUp => {}
        }
    }
}

/// What is tried next. Between creating and resuming the wrong choice is
/// corrected once; after that the conversation is given up, once.
pub(super) fn next(failed: FailedAttempt, history: &History) -> NextTry {
    let replay = failed.had_turns && !history.replay;
    match (failed.kind, &history.continuation) {
        // What the home holds may be older than the conversation's file, as
        // Codex's index is that names another place for it.
        (FailureKind::ConversationUnknown, Continuation::Resume(_) | Continuation::Fork(_))
            if failed.is_kept && !history.new_home =>
        {
            NextTry::NewHome
        }
        (FailureKind::ConversationInUse, Continuation::Fresh) if !history.corrected => {
            NextTry::Resume(history.new_id.to_string())
        }
        (FailureKind::ConversationUnknown, Continuation::Resume(id)) if !history.corrected => {
            NextTry::Fresh { id: Some(id.parse().unwrap_or(history.new_id)), replay }
        }
        (FailureKind::ConversationUnknown | FailureKind::ConversationInUse | FailureKind::ConversationOther, _)
            if !history.gave_up =>
        {
            NextTry::Fresh { id: None, replay }
        }
        _ => NextTry::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureKind::{
        ConversationInUse as InUse, ConversationOther as Elsewhere, ConversationUnknown as Unknown, NotLoggedIn, Other,
        RateLimited,
    };

    const ID: Uuid = Uuid::from_u128(1);
    const OLD: Uuid = Uuid::from_u128(2);

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Asked {
        Fresh,
        Resume,
        Fork,
    }

    /// One line of the table: what it is for, `None` being either, and what it says.
    struct Line {
        kinds: &'static [FailureKind],
        asked: &'static [Asked],
        kept_and_old_home: Option<bool>,
        corrected: Option<bool>,
        gave_up: Option<bool>,
        then: Then,
    }

    #[derive(Debug, Clone, Copy)]
    enum Then {
        NewHome,
        ResumeNew,
        FreshOld,
        FreshNew,
        GiveUp,
    }

    const ALL: &[Asked] = &[Asked::Fresh, Asked::Resume, Asked::Fork];

    const fn line(kinds: &'static [FailureKind], asked: &'static [Asked], then: Then) -> Line {
        Line { kinds, asked, kept_and_old_home: None, corrected: None, gave_up: None, then }
    }

    const TABLE: &[Line] = &[
        Line { kept_and_old_home: Some(true), ..line(&[Unknown], &[Asked::Resume, Asked::Fork], Then::NewHome) },
        Line { corrected: Some(false), ..line(&[InUse], &[Asked::Fresh], Then::ResumeNew) },
        Line {
            kept_and_old_home: Some(false),
            corrected: Some(false),
            ..line(&[Unknown], &[Asked::Resume], Then::FreshOld)
        },
        Line {
            kept_and_old_home: Some(false),
            gave_up: Some(false),
            corrected: Some(true),
            ..line(&[Unknown], &[Asked::Resume], Then::FreshNew)
        },
        Line {
            kept_and_old_home: Some(false),
            gave_up: Some(false),
            ..line(&[Unknown], &[Asked::Fork], Then::FreshNew)
        },
        Line { gave_up: Some(false), ..line(&[Unknown], &[Asked::Fresh], Then::FreshNew) },
        Line { gave_up: Some(false), corrected: Some(true), ..line(&[InUse], &[Asked::Fresh], Then::FreshNew) },
        Line { gave_up: Some(false), ..line(&[InUse], &[Asked::Resume, Asked::Fork], Then::FreshNew) },
        Line { gave_up: Some(false), ..line(&[Elsewhere], ALL, Then::FreshNew) },
        // Given up once: nothing is left to be tried.
        Line { gave_up: Some(true), ..line(&[Elsewhere], ALL, Then::GiveUp) },
        Line { gave_up: Some(true), ..line(&[InUse], &[Asked::Resume, Asked::Fork], Then::GiveUp) },
        Line { gave_up: Some(true), corrected: Some(true), ..line(&[InUse], &[Asked::Fresh], Then::GiveUp) },
        Line { gave_up: Some(true), ..line(&[Unknown], &[Asked::Fresh], Then::GiveUp) },
        Line { kept_and_old_home: Some(false), gave_up: Some(true), ..line(&[Unknown], &[Asked::Fork], Then::GiveUp) },
        Line {
            kept_and_old_home: Some(false),
            gave_up: Some(true),
            corrected: Some(true),
            ..line(&[Unknown], &[Asked::Resume], Then::GiveUp)
        },
        // The conversation is not to blame.
        line(&[RateLimited, NotLoggedIn, Other], ALL, Then::GiveUp),
    ];

    /// Every failure, asked in every way, after everything that can have been tried.
    fn every_case() -> impl Iterator<Item = (FailedAttempt, History, Asked)> {
        let kinds = [Unknown, InUse, Elsewhere, RateLimited, NotLoggedIn, Other];
        let asked = kinds.into_iter().flat_map(|kind| ALL.iter().map(move |asked| (kind, *asked)));
        asked.flat_map(|(kind, asked)| {
            (0..1_u8 << 6).map(move |bits| {
                let bit = |n: u8| bits & (1 << n) != 0;
                let failed = FailedAttempt { kind, is_kept: bit(0), had_turns: bit(1) };
                let continuation = match asked {
                    Asked::Fresh => Continuation::Fresh,
                    Asked::Resume => Continuation::Resume(OLD.to_string()),
                    Asked::Fork => Continuation::Fork(OLD.to_string()),
                };
                let history = History {
                    continuation,
                    new_id: ID,
                    replay: bit(2),
                    new_home: bit(3),
                    corrected: bit(4),
                    gave_up: bit(5),
                };
                (failed, history, asked)
            })
        })
    }

    #[test]
    fn every_failure_leads_where_the_table_says() {
        for (failed, history, asked) in every_case() {
            let is = |wanted: Option<bool>, found: bool| wanted.is_none_or(|wanted| wanted == found);
            let lines: Vec<&Line> = TABLE
                .iter()
                .filter(|line| {
                    line.kinds.contains(&failed.kind)
                        && line.asked.contains(&asked)
                        && is(line.kept_and_old_home, failed.is_kept && !history.new_home)
                        && is(line.corrected, history.corrected)
                        && is(line.gave_up, history.gave_up)
                })
                .collect();
            let [line] = lines.as_slice() else { panic!("{} lines for {failed:?} {history:?}", lines.len()) };
            let replay = failed.had_turns && !history.replay;
            let expected = match line.then {
                Then::NewHome => NextTry::NewHome,
                Then::ResumeNew => NextTry::Resume(ID.to_string()),
                Then::FreshOld => NextTry::Fresh { id: Some(OLD), replay },
                Then::FreshNew => NextTry::Fresh { id: None, replay },
                Then::GiveUp => NextTry::GiveUp,
            };
            assert_eq!(next(failed, &history), expected, "{failed:?} {history:?}");
        }
    }

    #[test]
    fn an_id_that_is_no_uuid_makes_way_for_ours() {
        let history = History { new_id: ID, ..History::new(Continuation::Resume("ses_1".to_owned()), false, true) };
        let failed = FailedAttempt { kind: Unknown, is_kept: false, had_turns: false };
        assert_eq!(next(failed, &history), NextTry::Fresh { id: Some(ID), replay: false });
    }

    #[test]
    fn whatever_fails_over_and_over_is_given_up_soon_and_replayed_once() {
        for (failed, mut history, _) in every_case().filter(|(_, history, _)| !history.corrected && !history.gave_up) {
            let (mut attempts, mut replays) = (1, u8::from(history.replay));
            loop {
                let retry = next(failed, &history);
                if retry == NextTry::GiveUp {
                    break;
                }
                replays += u8::from(matches!(retry, NextTry::Fresh { replay: true, .. }));
                history.note(&retry);
                attempts += 1;
                assert!(attempts <= 4 && replays <= 1, "{failed:?} {history:?}");
            }
        }
    }
}
