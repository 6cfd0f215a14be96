//! The folder names of 100,000 hostile keys: no two keys share one, on any file
//! system, and each is legal everywhere.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use denizen::key::{Key, is_folder_name};
use unicode_normalization::UnicodeNormalization;

const COUNT: usize = 100_000;

/// What keys are made of: what file systems fold, forbid, cut off or take for
/// something else.
const PARTS: &[&str] = &[
    "a",
    "A",
    "b",
    "z",
    "0",
    "7",
    "ab",
    "Ab",
    "aB",
    "x-y",
    "x.y",
    "x_y",
    "x y",
    "x--y",
    "-",
    "--",
    ".",
    "..",
    "...",
    "/",
    "//",
    "\\",
    ":",
    " ",
    "  ",
    "_",
    "~",
    "$HOME",
    "%41",
    "%2e",
    "*",
    "?",
    "<",
    ">",
    "|",
    "\"",
    "'",
    "`",
    "&",
    ";",
    "#",
    "@",
    "!",
    "=",
    ",",
    "+",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "^",
    "con",
    "CON",
    "Con",
    "prn",
    "aux",
    "nul",
    "NUL",
    "com1",
    "COM1",
    "com9",
    "lpt1",
    "LPT9",
    "aux.txt",
    "nul.",
    "é",
    "e\u{301}",
    "É",
    "E\u{301}",
    "ñ",
    "n\u{303}",
    "å",
    "a\u{30a}",
    "\u{212b}",
    "ß",
    "ss",
    "SS",
    "ẞ",
    "ſ",
    "s",
    "S",
    "i",
    "I",
    "İ",
    "ı",
    "i\u{307}",
    "K",
    "\u{212a}",
    "Ω",
    "\u{2126}",
    "ﬁ",
    "fi",
    "ǅ",
    "ǆ",
    "σ",
    "ς",
    "Σ",
    "日本",
    "한국",
    "\u{1112}\u{1161}\u{11ab}",
    "🙂",
    "👨\u{200d}👩\u{200d}👧",
    "❤",
    "❤\u{fe0f}",
    "🇩🇪",
    "\u{200b}",
    "\u{200d}",
    "\u{feff}",
    "\u{202e}",
    "\u{a0}",
    "\u{3000}",
    "\u{fffd}",
    "\u{10ffff}",
    "discord-",
    "telegram-group-",
    "session",
    "agent-x-",
    "0123456789abcdef0123",
    "--0123456789abcdef0123",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "................................................",
    "ééééééééééééééééééééééééé",
];

/// What a file system or a CLI makes of a name.
type Map = fn(&str) -> String;

/// A small generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).expect("small")).expect("small")
    }
}

/// A text and those that are most easily taken for it.
fn twins(text: &str) -> Vec<String> {
    let mut twins: Vec<String> = vec![
        text.to_owned(),
        text.to_lowercase(),
        text.to_uppercase(),
        text.nfd().collect(),
        text.nfkc().collect(),
        format!("{text} "),
        format!("{text}."),
        format!(" {text}"),
        format!("-{text}"),
        format!("{text}/"),
        format!("../{text}"),
        format!("{text}.txt"),
    ];
    twins.extend(["-", "_", ".", " ", "/"].map(|with| text.replace(['-', '_', '.', ' ', '/'], with)));
    if let Ok(key) = text.parse::<Key>() {
        // A key that is spelt like the folder of another.
        twins.push(key.folder_name());
        twins.push(key.folder_name().to_uppercase());
    }
    twins
}

/// The keys, made once for all tests.
static KEYS: LazyLock<HashSet<Key>> = LazyLock::new(keys);

fn keys() -> HashSet<Key> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut keys = HashSet::new();
    while keys.len() < COUNT {
        let count = 1 + numbers.below(5);
        let text: String = (0..count).map(|_| PARTS[numbers.below(PARTS.len())]).collect();
        let room = COUNT - keys.len();
        keys.extend(twins(&text).into_iter().filter_map(|twin| twin.parse::<Key>().ok()).take(room));
    }
    keys
}

/// How many keys share what they are mapped to with another key.
fn collisions<'a>(keys: impl Iterator<Item = &'a Key>, map: impl Fn(&Key) -> String) -> Vec<String> {
    let mut seen: HashMap<String, &Key> = HashMap::new();
    let mut collisions = Vec::new();
    for key in keys {
        let name = map(key);
        if let Some(other) = seen.get(&name) {
            collisions.push(format!("{name}: {key:?} and {other:?}"));
        }
        seen.insert(name, key);
    }
    collisions
}

/// What Claude Code makes of a directory's name: `a.b`, `a-b` and `a_b` are one.
fn as_claude(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

#[test]
fn no_two_keys_share_a_folder() {
    let keys = &*KEYS;
    assert_eq!(keys.len(), COUNT);
    let names: HashMap<&Key, String> = keys.iter().map(|key| (key, key.folder_name())).collect();
    let maps: &[(&str, Map)] = &[
        ("as it is", str::to_owned),
        ("in small letters", str::to_lowercase),
        ("decomposed", |name| name.nfd().collect()),
        ("as Claude Code maps it", as_claude),
        ("as Claude Code maps it, in small letters", |name| as_claude(name).to_lowercase()),
    ];
    for (what, map) in maps {
        let found = collisions(keys.iter(), |key| map(&names[key]));
        assert!(found.is_empty(), "{what}: {} collisions: {:?}", found.len(), &found[..found.len().min(5)]);
    }
    // The keys themselves would collide by thousands: the generator is hostile enough.
    assert!(collisions(keys.iter(), |key| key.as_str().to_lowercase()).len() > 1000);
    assert!(collisions(keys.iter(), |key| as_claude(key.as_str())).len() > 1000);
}

#[test]
fn every_folder_name_is_legal_everywhere() {
    let numbered = ["com", "lpt"].iter().flat_map(|port| (0..10).map(move |number| format!("{port}{number}")));
    let devices: HashSet<String> =
        ["con", "prn", "aux", "nul"].map(str::to_owned).into_iter().chain(numbered).collect();
    let keys = &*KEYS;
    let mut plain = 0;
    for key in keys {
        let name = key.folder_name();
        assert!(!name.is_empty() && name.len() <= 255, "{key:?} -> {name}");
        // Nothing else is forbidden on Windows or changed by macOS.
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{key:?} -> {name}");
        assert!(!devices.contains(&name), "{key:?} -> {name}");
        assert!(!name.starts_with('-') && !name.ends_with('-'), "{key:?} -> {name}");
        assert!(is_folder_name(&name), "{key:?} -> {name}");
        if key.as_str() == name {
            plain += 1;
            assert_eq!(Key::from_plain_folder(&name).as_ref(), Some(key));
        } else {
            assert_eq!(Key::from_plain_folder(&name), None, "{key:?} -> {name}");
        }
    }
    assert!((100..COUNT / 2).contains(&plain), "{plain} are their own folder");
}
