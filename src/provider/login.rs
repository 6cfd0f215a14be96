//! What a login file says, as far as its renewal goes: which of its values a
//! renewal changes, when the login ends, and whether a copy that an agent could
//! write differs from its original by a renewal and by nothing else. Pure.
//!
//! Values are taken on trust: that a token is one of the account's only its
//! server knows. What a JSON Web Token says of itself is read, not verified.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The longest time ahead that a renewed login may say it lasts.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// How far a clock may be ahead of ours.
const CLOCK: Duration = Duration::from_secs(24 * 60 * 60);

/// A file of the user that a provider's child needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginFile {
    /// Where it is. It need not exist.
    pub path: PathBuf,
    /// Where its copy is, in the provider's home: the CLI rewrites it when it
    /// renews a login. `None` if it reads the file itself.
    pub copy: Option<PathBuf>,
}

impl LoginFile {
    /// A file that is only read.
    pub(in crate::provider) fn read(path: PathBuf) -> Self {
        Self { path, copy: None }
    }

    /// A file that the CLI gets a copy of.
    pub(in crate::provider) fn copied(path: PathBuf, at: impl Into<PathBuf>) -> Self {
        Self { path, copy: Some(at.into()) }
    }
}

/// What a renewal may do with one value of a login file. What has no rule stays
/// as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// A token: another one, of the same account as far as it tells.
    Token,
    /// The same, and one may come if there was none.
    NewToken,
    /// When the login ends, in milliseconds since 1970: later.
    Ends,
    /// When it was renewed, as RFC 3339 writes it: later.
    Renewed,
    /// A word about the account: one may come if there was none.
    Word,
    /// A list of words: more may come.
    Words,
}

/// How a provider's login is renewed.
#[derive(Debug, Clone, Copy)]
pub struct LoginRules {
    /// The values that a renewal may change, each by its path; `*` is any key.
    pub fields: &'static [(&'static [&'static str], Field)],
    /// When the login ends.
    pub ends: fn(&Value) -> Ends,
}

impl LoginRules {
    /// A login that is never renewed.
    pub const FIXED: Self = Self { fields: &[], ends: |_| Ends::Never };
}

/// When a login ends, and with it whether it may be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Never: it is a key.
    Never,
    /// Then, in milliseconds since 1970.
    At(i64),
    /// It does not say.
    Unknown,
}

impl Ends {
    /// The end of what says it as a number of milliseconds.
    #[must_use]
    pub fn at(value: Option<&Value>) -> Self {
        value.and_then(Value::as_i64).map_or(Self::Unknown, Self::At)
    }

    /// Whether it ends before `time`, or may.
    #[must_use]
    pub fn is_before(self, time: Timestamp) -> bool {
        match self {
            Self::Never => false,
            Self::At(end) => end < time.as_millisecond(),
            Self::Unknown => true,
        }
    }
}

/// What became of a copy.
#[derive(Debug, Clone, PartialEq)]
pub enum CopyVerdict {
    /// It says what the original says, or less.
    Nothing,
    /// The login was renewed: what the original is to say now.
    Renewed(Value),
    /// It differs by something else, named here. It counts for nothing.
    Refused(String),
}

impl LoginRules {
    /// Compares a copy with its original.
    #[must_use]
    pub fn compare(&self, original: &Value, copy: &Value, now: Timestamp) -> CopyVerdict {
        let mut comparison = Comparison { rules: self, now, renewed: false, later: false, emptied: false };
        match comparison.value(&mut Vec::new(), original, copy) {
            // What a CLI leaves of a login that its server refused.
            _ if comparison.emptied => CopyVerdict::Nothing,
            Ok(_) if original == copy => CopyVerdict::Nothing,
            Ok(merged) if comparison.renewed && comparison.later => CopyVerdict::Renewed(merged),
            Ok(_) => CopyVerdict::Refused("it differs, but is no newer login".to_owned()),
            Err(reason) => CopyVerdict::Refused(reason),
        }
    }

    fn field(&self, path: &[&str]) -> Option<Field> {
        let fits = |rule: &[&str]| {
            rule.len() == path.len() && rule.iter().zip(path).all(|(rule, key)| *rule == "*" || rule == key)
        };
        self.fields.iter().find(|(rule, _)| fits(rule)).map(|(_, field)| *field)
    }
}

struct Comparison<'a> {
    rules: &'a LoginRules,
    now: Timestamp,
    /// Whether a token is another.
    renewed: bool,
    /// Whether a time is later.
    later: bool,
    /// Whether a token was taken away.
    emptied: bool,
}

impl Comparison<'_> {
    /// What the original is to say in this place.
    fn value<'v>(&mut self, path: &mut Vec<&'v str>, old: &'v Value, new: &'v Value) -> Result<Value, String> {
        let named = || format!("`{}`", path.join("."));
        match self.rules.field(path) {
            Some(field) => self.field(field, old, new).ok_or_else(|| format!("{} is no renewed value", named())),
            None => match (old, new) {
                (Value::Object(old), Value::Object(new)) => self.object(path, old, new).map(Value::Object),
                _ if old == new => Ok(old.clone()),
                _ => Err(format!("{} is another", named())),
            },
        }
    }

    fn object<'v>(
        &mut self,
        path: &mut Vec<&'v str>,
        old: &'v Map<String, Value>,
        new: &'v Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        let mut merged = Map::new();
        for (key, value) in old {
            path.push(key);
            let new = new.get(key).ok_or_else(|| format!("`{}` is gone", path.join(".")))?;
            merged.insert(key.clone(), self.value(path, value, new)?);
            path.pop();
        }
        for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
            path.push(key);
            let field = self.rules.field(path).filter(|field| matches!(field, Field::NewToken | Field::Word));
            let value = field.and_then(|field| self.field(field, &Value::Null, value));
            merged.insert(key.clone(), value.ok_or_else(|| format!("`{}` is new", path.join(".")))?);
            path.pop();
        }
        Ok(merged)
    }

    /// What the original is to say instead of `old`. `None` if a renewal does
    /// not put `new` there.
    fn field(&mut self, field: Field, old: &Value, new: &Value) -> Option<Value> {
        let limit = |ahead: Duration| self.now.as_millisecond().saturating_add(millis(ahead));
        let taken = match field {
            _ if old == new => true,
            Field::NewToken if old.is_null() => new.as_str().is_some_and(is_plain),
            Field::Token | Field::NewToken => {
                let (before, after) = (old.as_str()?, new.as_str()?);
                self.emptied |= after.is_empty();
                self.renewed = true;
                is_plain(after) && account(before) == account(after)
            }
            Field::Ends => {
                let (before, after) = (old.as_i64()?, new.as_i64()?);
                self.later |= after > before;
                after > before && after <= limit(LONGEST)
            }
            Field::Renewed => {
                let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
                let (before, after) = (time(old)?, time(new)?);
                self.later |= after > before;
                after > before && after.as_millisecond() <= limit(CLOCK)
            }
            // What is already there stays: a word is not worth a login.
            Field::Word if !old.is_null() => return Some(old.clone()),
            Field::Word => new.as_str().is_some_and(is_word),
            Field::Words => {
                let (before, after) = (old.as_array()?, new.as_array()?);
                let more = before.iter().all(|word| after.contains(word))
                    && after.iter().all(|word| word.as_str().is_some_and(is_word));
                return Some(if more { new } else { old }.clone());
            }
        };
        taken.then(|| new.clone())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a text could be a token: nothing in it ends a header or a line.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_word(text: &str) -> bool {
    text.len() <= 200 && is_plain(text)
}

/// Whom a token belongs to, as far as it says so: who made it, for whom, and the
/// account of OpenAI's tokens.
fn account(token: &str) -> Option<[Option<Value>; 4]> {
    let claims = claims(token)?;
    let openai = |name: &str| claims.get("https://api.openai.com/auth")?.get(name).cloned();
    let own = |name: &str| claims.get(name).cloned();
    Some([own("iss"), own("sub"), openai("chatgpt_account_id"), openai("chatgpt_user_id")])
}

/// When a JSON Web Token ends, by itself.
pub(super) fn token_ends(token: Option<&Value>) -> Ends {
    let claims = token.and_then(Value::as_str).and_then(claims);
    let seconds = claims.as_ref().and_then(|claims| claims.get("exp")?.as_i64());
    seconds.map_or(Ends::Unknown, |seconds| Ends::At(seconds.saturating_mul(1000)))
}

/// What a JSON Web Token says. `None` if it is none.
fn claims(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    match serde_json::from_slice(&payload) {
        Ok(Value::Object(claims)) => Some(claims),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::built_in;
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn rules(provider: &str) -> &'static LoginRules {
        built_in(provider).expect("a provider").login_rules()
    }

    fn compare(provider: &str, original: &Value, copy: &Value) -> CopyVerdict {
        rules(provider).compare(original, copy, Timestamp::from_millisecond(NOW).expect("a time"))
    }

    fn token(claims: &Value) -> String {
        format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn openai(account: &str, end: i64) -> String {
        token(&json!({"sub": "u", "exp": end / 1000, "https://api.openai.com/auth": {"chatgpt_account_id": account}}))
    }

    /// A login of each provider that is about to end.
    fn login(provider: &str) -> Value {
        match provider {
            "claude" => json!({"claudeAiOauth": {"accessToken": "a1", "refreshToken": "r1", "expiresAt": NOW,
                "scopes": ["user:inference"], "subscriptionType": "max"}, "mcpOAuth": {"x": {"accessToken": "m"}}}),
            "codex" => {
                json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": {"id_token": openai("acc", NOW),
                "access_token": openai("acc", NOW), "refresh_token": "r1", "account_id": "acc"},
                "last_refresh": "2027-01-01T00:00:00Z"})
            }
            "opencode" => json!({"openai": {"type": "oauth", "refresh": "r1", "access": "a1", "expires": NOW},
                "other": {"type": "api", "key": "k"}}),
            _ => json!({"access_token": "a1", "refresh_token": "r1", "token_type": "Bearer", "expiry_date": NOW}),
        }
    }

    /// The changes that its renewal makes, as paths and values.
    fn renewal(provider: &str) -> Vec<(&'static str, Value)> {
        let end = NOW + 3_600_000;
        match provider {
            "claude" => vec![
                ("/claudeAiOauth/accessToken", "a2".into()),
                ("/claudeAiOauth/refreshToken", "r2".into()),
                ("/claudeAiOauth/expiresAt", end.into()),
                ("/claudeAiOauth/scopes", json!(["user:profile", "user:inference"])),
                ("/claudeAiOauth/rateLimitTier", "t".into()),
            ],
            "codex" => vec![
                ("/tokens/id_token", openai("acc", end).into()),
                ("/tokens/access_token", openai("acc", end).into()),
                ("/tokens/refresh_token", "r2".into()),
                ("/last_refresh", "2027-01-15T08:00:00.123456789Z".into()),
            ],
            "opencode" => vec![
                ("/openai/refresh", "r2".into()),
                ("/openai/access", "a2".into()),
                ("/openai/expires", end.into()),
                ("/openai/accountId", "acc".into()),
            ],
            _ => vec![
                ("/access_token", "a2".into()),
                ("/expiry_date", end.into()),
                ("/id_token", token(&json!({"sub": "u"})).into()),
            ],
        }
    }

    fn with(mut login: Value, changes: &[(&str, Value)]) -> Value {
        for (path, value) in changes {
            let (parent, key) = path.rsplit_once('/').expect("a path");
            login.pointer_mut(parent).expect("its parent")[key] = value.clone();
        }
        login
    }

    const PROVIDERS: [&str; 4] = ["claude", "codex", "opencode", "gemini"];

    #[test]
    fn a_renewal_is_taken_as_it_is() {
        for provider in PROVIDERS {
            let renewed = with(login(provider), &renewal(provider));
            assert_eq!(
                compare(provider, &login(provider), &renewed),
                CopyVerdict::Renewed(renewed.clone()),
                "{provider}"
            );
            assert_eq!(compare(provider, &renewed, &renewed), CopyVerdict::Nothing, "{provider}");
        }
    }

    #[test]
    fn what_is_more_than_a_renewal_counts_for_nothing() {
        let forged: &[(&str, &str, Value)] = &[
            ("claude", "/claudeAiOauth/apiUrl", "https://x".into()),
            ("claude", "/primaryApiKey", "k".into()),
            ("claude", "/claudeAiOauth", json!({"accessToken": "a"})),
            ("claude", "/claudeAiOauth/expiresAt", (NOW - 1).into()),
            ("claude", "/claudeAiOauth/expiresAt", NOW.into()),
            ("claude", "/claudeAiOauth/expiresAt", "soon".into()),
            ("claude", "/claudeAiOauth/expiresAt", i64::MAX.into()),
            ("claude", "/claudeAiOauth/accessToken", "a\nX-Other: b".into()),
            ("claude", "/claudeAiOauth/accessToken", json!(["a"])),
            ("claude", "/claudeAiOauth/rateLimitTier", json!({})),
            ("claude", "/mcpOAuth/x/accessToken", "m2".into()),
            ("codex", "/OPENAI_API_KEY", "k".into()),
            ("codex", "/auth_mode", "apikey".into()),
            ("codex", "/tokens/account_id", "other".into()),
            ("codex", "/tokens/id_token", openai("other", NOW).into()),
            ("codex", "/tokens/access_token", openai("other", NOW).into()),
            ("codex", "/tokens/access_token", "no JSON Web Token".into()),
            ("codex", "/last_refresh", "2026-12-31T00:00:00Z".into()),
            ("codex", "/last_refresh", "2036-12-31T00:00:00Z".into()),
            ("opencode", "/other/key", "k2".into()),
            ("opencode", "/openai/type", "api".into()),
            ("opencode", "/more", json!({"type": "oauth", "refresh": "r", "access": "a", "expires": 1})),
            ("gemini", "/refresh_token", "r2".into()),
            ("gemini", "/token_type", "Basic".into()),
        ];
        for (provider, path, value) in forged {
            let copy = with(with(login(provider), &renewal(provider)), &[(path, value.clone())]);
            let verdict = compare(provider, &login(provider), &copy);
            assert!(matches!(verdict, CopyVerdict::Refused(_)), "{provider} {path} {value}: {verdict:?}");
        }
        for provider in PROVIDERS {
            for path in ["", "/tokens", "/claudeAiOauth", "/openai"] {
                let renewed = with(login(provider), &renewal(provider));
                for key in renewed.pointer(path).and_then(Value::as_object).into_iter().flat_map(Map::keys) {
                    let mut copy = renewed.clone();
                    let was_there = login(provider).pointer(path).is_some_and(|parent| parent.get(key).is_some());
                    copy.pointer_mut(path).and_then(Value::as_object_mut).expect("an object").remove(key);
                    let verdict = compare(provider, &login(provider), &copy);
                    assert_eq!(
                        matches!(verdict, CopyVerdict::Refused(_)),
                        was_there,
                        "{provider} without {key}: {verdict:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_time_alone_is_no_renewal_and_neither_is_a_token() {
        for provider in PROVIDERS {
            for change in renewal(provider) {
                let verdict =
                    compare(provider, &login(provider), &with(login(provider), std::slice::from_ref(&change)));
                assert!(matches!(verdict, CopyVerdict::Refused(_)), "{provider} {change:?}: {verdict:?}");
            }
        }
    }

    #[test]
    fn words_are_not_worth_a_login() {
        let renewed = with(login("claude"), &renewal("claude"));
        let words = [("/claudeAiOauth/subscriptionType", "pro".into()), ("/claudeAiOauth/scopes", json!(["other"]))];
        let kept = with(renewed.clone(), &[("/claudeAiOauth/scopes", json!(["user:inference"]))]);
        assert_eq!(compare("claude", &login("claude"), &with(renewed, &words)), CopyVerdict::Renewed(kept));
    }

    #[test]
    fn a_login_that_was_emptied_is_nothing() {
        let emptied = [("accessToken", "".into()), ("refreshToken", "".into()), ("expiresAt", Value::from(0))];
        let emptied = emptied.map(|(key, value)| (format!("/claudeAiOauth/{key}"), value));
        let emptied: Vec<(&str, Value)> = emptied.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
        assert_eq!(compare("claude", &login("claude"), &with(login("claude"), &emptied)), CopyVerdict::Nothing);
    }

    #[test]
    fn it_is_known_when_a_login_ends() {
        for provider in PROVIDERS {
            assert_eq!((rules(provider).ends)(&login(provider)), Ends::At(NOW / 1000 * 1000), "{provider}");
        }
        let ends = |provider: &str, login: Value| (rules(provider).ends)(&login);
        assert_eq!(ends("codex", json!({"OPENAI_API_KEY": "k"})), Ends::Never);
        assert_eq!(ends("claude", json!({"mcpOAuth": {}})), Ends::Never);
        assert_eq!(ends("opencode", json!({"x": {"type": "api", "key": "k"}})), Ends::Never);
        assert_eq!(ends("opencode", json!({"x": {"type": "oauth", "refresh": "r", "expires": 0}})), Ends::Never);
        assert_eq!(ends("gemini", json!({"refresh_token": "r"})), Ends::Unknown);
        assert_eq!(ends("codex", json!({"tokens": {"refresh_token": "r", "access_token": "a"}})), Ends::Unknown);
        let time = Timestamp::from_millisecond(NOW).expect("a time");
        assert_eq!(
            [Ends::Never, Ends::At(NOW), Ends::At(NOW - 1), Ends::Unknown].map(|ends| ends.is_before(time)),
            [false, false, true, true]
        );
    }
}
