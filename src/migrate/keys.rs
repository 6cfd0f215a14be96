//! The names that earlier systems gave to conversations, as session keys. Pure.

use sha2::{Digest, Sha256};

use crate::key::{Key, MAX_KEY_BYTES, hex};

/// The key of a name as claudeclaw and tinyclaw wrote it. The second part is a
/// remark, where the name can be no key and had to be written otherwise.
#[must_use]
pub(super) fn of_name(name: &str) -> (Key, Option<String>) {
    let parsed = match name.split_once(':') {
        Some(("tg", rest)) => telegram(rest),
        Some(("agent", agent)) => format!("agent-{agent}").parse().ok().filter(is_plain),
        _ if is_snowflake(name) => format!("discord-{name}").parse().ok(),
        _ => whatsapp(name),
    };
    parsed.map_or_else(|| verbatim(name), |key| (key, None))
}

/// The key of an agent.
#[must_use]
pub(super) fn of_agent(agent: &str) -> (Key, Option<String>) {
    of_name(&format!("agent:{agent}"))
}

/// The key of a chat, by the number that Telegram gives it: groups are negative,
/// and 0 stood for the one session that all chats shared.
#[must_use]
pub(super) fn of_chat(id: i64) -> (Key, Option<String>) {
    match id {
        0 => shared(),
        1.. => verbatim(&format!("telegram-dm-{id}")),
        _ => verbatim(&format!("telegram-group-{}", id.unsigned_abs())),
    }
}

/// The key of a Discord channel or thread.
#[must_use]
pub(super) fn of_discord(id: &str) -> (Key, Option<String>) {
    if is_number(id) { verbatim(&format!("discord-{id}")) } else { of_name(id) }
}

/// The session that was the only one, or that all shared.
#[must_use]
pub(super) fn shared() -> (Key, Option<String>) {
    verbatim("default")
}

/// A name as a key, as it is if it can be one.
fn verbatim(name: &str) -> (Key, Option<String>) {
    if let Ok(key) = name.parse() {
        return (key, None);
    }
    // What no key may hold is written as in an address; what is too long is cut.
    let mut written = String::new();
    for c in name.chars() {
        if c.is_control() || (c == '.' && matches!(name, "." | "..")) {
            let mut bytes = [0; 4];
            written.extend(c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            written.push(c);
        }
    }
    if written.is_empty() {
        written.push_str("unnamed");
    }
    if written.len() > MAX_KEY_BYTES / 2 {
        let end = (0..=MAX_KEY_BYTES / 2).rev().find(|at| written.is_char_boundary(*at)).unwrap_or(0);
        written.truncate(end);
        written.push('~');
        written.push_str(&hex(&Sha256::digest(name.as_bytes())[..10]));
    }
    match written.parse::<Key>() {
        Ok(key) => {
            let remark = format!("`{}` can be no session key, so it became `{key}`", name.escape_debug());
            (key, Some(remark))
        }
        // Composing characters may make a text longer, never by half.
        Err(_) => shared(),
    }
}

/// `-100123`, `-100123:5` or `dm:42`, after `tg:`.
fn telegram(rest: &str) -> Option<Key> {
    if let Some(user) = rest.strip_prefix("dm:") {
        return if is_number(user) { format!("telegram-dm-{user}").parse().ok() } else { None };
    }
    let (chat, topic) = rest
        .strip_prefix('-')?
        .split_once(':')
        .map_or((rest.strip_prefix('-')?, None), |(chat, topic)| (chat, Some(topic)));
    match topic {
        _ if !is_number(chat) => None,
        None => format!("telegram-group-{chat}").parse().ok(),
        Some(topic) if is_number(topic) => format!("telegram-group-{chat}-topic-{topic}").parse().ok(),
        Some(_) => None,
    }
}

/// `4912@c.us`.
fn whatsapp(name: &str) -> Option<Key> {
    let digits = name.strip_suffix("@c.us").filter(|digits| is_number(digits))?;
    format!("whatsapp-{digits}").parse().ok()
}

fn is_snowflake(text: &str) -> bool {
    (17..=20).contains(&text.len()) && is_number(text)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_plain(key: &Key) -> bool {
    key.folder_name() == key.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> String {
        of_name(name).0.as_str().to_owned()
    }

    #[test]
    fn the_table() {
        for (legacy, key) in [
            ("1484567890123456789", "discord-1484567890123456789"),
            ("18446744073709551615", "discord-18446744073709551615"),
            ("1234567890123456", "1234567890123456"),
            ("tg:dm:42", "telegram-dm-42"),
            ("tg:-100123", "telegram-group-100123"),
            ("tg:-100123:5", "telegram-group-100123-topic-5"),
            ("tg:-100123:x", "tg:-100123:x"),
            ("tg:dm:me", "tg:dm:me"),
            ("default", "default"),
            ("agent:coder", "agent-coder"),
            ("agent:Coder", "agent:Coder"),
            ("agent:a/b", "agent:a/b"),
            ("4912@c.us", "whatsapp-4912"),
            ("slk:C0123:1700000000.000100", "slk:C0123:1700000000.000100"),
            ("agent/label", "agent/label"),
            ("../../etc", "../../etc"),
            ("-rf", "-rf"),
            ("Job", "Job"),
            ("..", "%2E%2E"),
            ("", "unnamed"),
            ("a\nb", "a%0Ab"),
        ] {
            assert_eq!(name(legacy), key, "{legacy}");
        }
        assert_eq!(of_chat(42).0.as_str(), "telegram-dm-42");
        assert_eq!(of_chat(-1_001_234_567_890).0.as_str(), "telegram-group-1001234567890");
        assert_eq!(of_chat(0).0.as_str(), "default");
        assert_eq!(of_chat(i64::MIN).0.as_str(), "telegram-group-9223372036854775808");
        assert_eq!(of_discord("7").0.as_str(), "discord-7");
    }

    #[test]
    fn what_can_be_no_key_stays_apart_and_is_said() {
        let long = "x".repeat(300);
        let (first, second) = (of_name(&format!("{long}a")), of_name(&format!("{long}b")));
        assert_ne!(first.0, second.0);
        assert!(first.1.is_some_and(|remark| remark.contains("can be no session key")));
        assert_eq!(of_name("agent/label").1, None);
    }
}
