//! Archives that somebody made to do harm: each is refused by name before
//! anything is made, and nothing is changed anywhere.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::many::all;
use crate::support::root::full;
use crate::support::root::{Output, Root, run};
use crate::support::tree::Tree;

const DIR: u8 = b'5';
const FILE: u8 = b'0';
const LINK: u8 = b'2';

/// One entry of a tar, as bytes.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    kind: u8,
    target: Vec<u8>,
    content: Vec<u8>,
    /// What the header states instead of the true size.
    stated: Option<u64>,
}

fn entry(kind: u8, name: impl AsRef<[u8]>, target: &str, content: &[u8]) -> Entry {
    let name = name.as_ref().to_vec();
    Entry { name, kind, target: target.as_bytes().to_vec(), content: content.to_vec(), stated: None }
}

fn file(name: impl AsRef<[u8]>) -> Entry {
    entry(FILE, name, "", b"harm\n")
}

fn link(name: &str, target: &str) -> Entry {
    entry(LINK, name, target, b"")
}

impl Entry {
    fn bytes(&self) -> Vec<u8> {
        let mut header = [0; 512];
        header[..self.name.len()].copy_from_slice(&self.name);
        header[100..107].copy_from_slice(b"0000700");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        let size = self.stated.unwrap_or(self.content.len() as u64);
        // Base 256, which takes any size.
        header[124] = 0x80;
        header[128..136].copy_from_slice(&size.to_be_bytes());
        header[136..147].copy_from_slice(b"00000000001");
        header[156] = self.kind;
        header[157..157 + self.target.len()].copy_from_slice(&self.target);
        header[257..265].copy_from_slice(b"ustar  \0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let padding = self.content.len().next_multiple_of(512) - self.content.len();
        [&header[..], &self.content, &vec![0; padding]].concat()
    }
}

/// The blocks of a tar, whole.
fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::bytes).collect();
    bytes.extend([0; 1024]);
    bytes
}

fn frame_of(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.include_checksum(true).expect("a checksum");
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("a frame")
}

/// A frame that begins with these bytes and goes on with so many zeros, in four
/// bytes for each 128 KiB (RFC 8878, section 3.1.1.2).
fn frame_with_zeros(start: &[u8], zeros: u64) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    let mut block = |kind: u32, size: usize, last: bool, content: &[u8]| {
        let header = u32::from(last) | kind << 1 | u32::try_from(size).expect("a small block") << 3;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(content);
    };
    for chunk in start.chunks(100_000) {
        block(0, chunk.len(), false, chunk);
    }
    for _ in 0..zeros / 131_072 {
        block(1, 131_072, false, &[0]);
    }
    block(0, 0, true, &[]);
    frame
}

/// The entries of a real export of one session, `alder`: the head, the folder,
/// its record, the rest of it, and the foot.
struct Good {
    root: Root,
    packed: Vec<u8>,
    entries: Vec<Entry>,
}

impl Good {
    fn new(test: &str) -> Self {
        let root = Root::new(test);
        root.ok(&["send", "alder", "remember the gate", "--provider", "notes"]);
        root.ok(&["send", "birch", "here", "--provider", "notes"]);
        let path = root.dir().join("good");
        root.ok(&["export", "alder", "-o", &path.display().to_string()]);
        root.ok(&["rm", "alder", "--purge"]);
        let packed = fs_err::read(&path).expect("an export");
        let unpacked = zstd::decode_all(packed.as_slice()).expect("a frame");
        let mut archive = tar::Archive::new(unpacked.as_slice());
        let entries = archive.entries().expect("entries").map(|entry| {
            let mut entry = entry.expect("an entry");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("its content");
            let name = entry.path_bytes().into_owned();
            Entry { name, kind: entry.header().entry_type().as_byte(), target: Vec::new(), content, stated: None }
        });
        let entries = entries.collect();
        Self { root, packed, entries }
    }

    /// The same entries with others before the foot.
    fn with(&self, more: &[Entry]) -> Vec<Entry> {
        let (foot, rest) = self.entries.split_last().expect("entries");
        [rest, more, std::slice::from_ref(foot)].concat()
    }

    /// The same entries, with one changed.
    fn changed(&self, at: usize, change: impl FnOnce(&mut Entry)) -> Vec<Entry> {
        let mut entries = self.entries.clone();
        change(&mut entries[at]);
        entries
    }

    fn without(&self, at: usize) -> Vec<Entry> {
        let mut entries = self.entries.clone();
        entries.remove(at);
        entries
    }

    fn record(&self, change: impl FnOnce(&mut Value)) -> Vec<Entry> {
        let mut record: Value = serde_json::from_slice(&self.entries[2].content).expect("a record");
        change(&mut record);
        self.changed(2, |entry| entry.content = serde_json::to_vec(&record).expect("JSON"))
    }

    /// Demands that a file is refused with these words, and changes nothing.
    fn refused(&self, what: &str, packed: &[u8], words: &str) -> Result<(), String> {
        let path = self.root.dir().join(format!("archive-{:016x}", hash(what)));
        fs_err::write(&path, packed).map_err(|error| error.to_string())?;
        let refused = self.refused_at(what, &path, words);
        fs_err::remove_file(&path).map_err(|error| error.to_string())?;
        refused
    }

    fn refused_at(&self, what: &str, path: &Path, words: &str) -> Result<(), String> {
        let (root, home) = (self.root.path(), self.root.home());
        let before = Tree::of(&[root.clone(), home.clone()]);
        let at = path.display().to_string();
        for args in [&["import", &at][..], &["import", &at, "--dry-run"]] {
            let output = self.root.run(args);
            if output.code != Some(1) || !output.stderr.contains(words) || !output.stdout.is_empty() {
                return Err(format!("{what}: not refused with `{words}`: {output:?}"));
            }
            let changes = before.changes(&Tree::of(&[root.clone(), home.clone()]));
            if !changes.is_empty() {
                return Err(format!("{what}: changed {changes:?}"));
            }
        }
        Ok(())
    }
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Demands that each of these archives is refused, two at a time.
fn all_refused(good: &Good, cases: &[(&str, Vec<Entry>, &str)]) {
    // What the cases are made of is no part of what is refused.
    let path = good.root.dir().join("again");
    fs_err::write(&path, frame_of(&tar_of(&good.entries))).expect("written");
    let output = good.root.run(&["import", &path.display().to_string(), "--dry-run"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let wrong = all(cases, |(what, entries, words)| good.refused(what, &frame_of(&tar_of(entries)), words));
    println!("{} archives", cases.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let good = Good::new("paths_that_lead_elsewhere_are_refused");
    let long = |name: &[u8], kind: u8| entry(kind, "././@LongLink", "", &[name, b"\0"].concat());
    let deep = format!("sessions/alder/{}/x", vec!["d"; 60].join("/"));
    let cases = [
        ("up", good.with(&[file("../x")]), "`../x`"),
        ("up and up", good.with(&[file("../../../../../../tmp/x")]), "leads upwards"),
        ("up from a folder", good.with(&[file("sessions/../x")]), "leads upwards"),
        ("up from a session", good.with(&[file("sessions/alder/../x")]), "leads upwards"),
        ("to a sibling", good.with(&[file("sessions/alder/../birch/session.json")]), "leads upwards"),
        ("far up", good.with(&[file("sessions/alder/memory/../../../x")]), "leads upwards"),
        ("up at the end", good.with(&[entry(DIR, "sessions/alder/..", "", b"")]), "leads upwards"),
        ("up at the end, slash", good.with(&[entry(DIR, "sessions/alder/../", "", b"")]), "leads upwards"),
        ("absolute", good.with(&[file("/tmp/denizen-harm")]), "is absolute"),
        ("absolute below", good.with(&[file("/sessions/alder/x")]), "is absolute"),
        ("two slashes", good.with(&[file("//sessions/alder/x")]), "is absolute"),
        ("an empty part", good.with(&[file("sessions//alder/x")]), "empty part"),
        ("an empty part inside", good.with(&[file("sessions/alder//x")]), "empty part"),
        ("two slashes at the end", good.with(&[file("sessions/alder/x//")]), "empty part"),
        ("a dot", good.with(&[file("./sessions/alder/x")]), "empty part"),
        ("a dot inside", good.with(&[file("sessions/alder/./x")]), "empty part"),
        ("no name", good.with(&[file("")]), "empty part"),
        ("the sessions themselves", good.with(&[entry(DIR, "sessions", "", b"")]), "`sessions`"),
        ("beside the sessions", good.with(&[file("denizen.toml")]), "`denizen.toml` in the archive is refused"),
        ("a grant", good.with(&[file("access/sessions/alder.json")]), "not below `sessions/`"),
        ("state", good.with(&[file("state/locks/alder")]), "not below `sessions/`"),
        ("another session", good.with(&[file("sessions/birch/x")]), "its session was not begun"),
        ("an upper case folder", good.with(&[entry(DIR, "sessions/Alder", "", b"")]), "can belong to no session key"),
        ("a hidden folder", good.with(&[entry(DIR, "sessions/.alder", "", b"")]), "can belong to no session key"),
        ("a folder of bytes", good.with(&[entry(DIR, b"sessions/al\xffder", "", b"")]), "can belong to no session key"),
        ("a NUL", good.with(&[long(b"sessions/alder/x\0/../../y", b'L'), file("x")]), "NUL"),
        ("a long up", good.with(&[long(b"sessions/alder/../../x", b'L'), file("sessions/alder/x")]), "leads upwards"),
        ("a long absolute", good.with(&[long(b"/tmp/x", b'L'), file("sessions/alder/x")]), "is absolute"),
        (
            "two long names",
            good.with(&[long(b"sessions/alder/x", b'L'), long(b"../x", b'L'), file("x")]),
            "two long names",
        ),
        (
            "a long target out",
            good.with(&[long(b"../../../x", b'K'), link("sessions/alder/x", "y")]),
            "out of the session's folder",
        ),
        ("a long name for the end", good.with(&[long(b"../x", b'L')]), "`../x`"),
        ("nothing before it", good.with(&[file("sessions/alder/made/x")]), "was not made before it"),
        ("below a file", good.with(&[file("sessions/alder/x"), file("sessions/alder/x/y")]), "was not made before it"),
        ("too deep without directories", good.with(&[long(deep.as_bytes(), b'L'), file("x")]), "was not made before"),
        (
            "a name too long for a file",
            good.with(&[long(format!("sessions/alder/{}", "x".repeat(256)).as_bytes(), b'L'), file("x")]),
            "longer than 255 bytes",
        ),
        (
            "a path too long",
            good.with(&[long(format!("sessions/alder/{}", "x/".repeat(2_100)).as_bytes(), b'L'), file("x")]),
            "at most 4096",
        ),
    ];
    all_refused(&good, &cases);
    assert!(!Path::new("/tmp/denizen-harm").exists());
}

#[test]
fn links_that_lead_out_are_refused() {
    let good = Good::new("links_that_lead_out_are_refused");
    let sub = entry(DIR, "sessions/alder/sub", "", b"");
    let cases = [
        ("absolute", good.with(&[link("sessions/alder/x", "/etc/passwd")]), "`sessions/alder/x`"),
        ("absolute, back inside", good.with(&[link("sessions/alder/x", "/proc/self/cwd")]), "out of the session's"),
        ("up", good.with(&[link("sessions/alder/x", "../birch")]), "out of the session's folder"),
        ("up and down", good.with(&[link("sessions/alder/x", "sub/../../birch")]), "out of the session's folder"),
        ("the parent", good.with(&[link("sessions/alder/x", "..")]), "out of the session's folder"),
        (
            "a file through it",
            good.with(&[link("sessions/alder/x", "sub"), file("sessions/alder/x/y")]),
            "not made before",
        ),
        (
            "a file through it to a sibling",
            good.with(&[link("sessions/alder/x", "../birch"), file("sessions/alder/x/session.json")]),
            "out of the session's folder",
        ),
        (
            "a chain",
            good.with(&[sub.clone(), link("sessions/alder/sub/a", "../b"), link("sessions/alder/b", "../..")]),
            "`sessions/alder/b`",
        ),
        (
            "a chain the other way",
            good.with(&[sub.clone(), link("sessions/alder/b", "sub/a/../.."), link("sessions/alder/sub/a", "..")]),
            "`sessions/alder/b`",
        ),
        ("over a directory", good.with(&[sub.clone(), link("sessions/alder/sub", "memory")]), "twice"),
        ("a directory over it", good.with(&[link("sessions/alder/sub", "memory"), sub.clone()]), "twice"),
        ("the session itself", good.with(&[link("sessions/cedar", "birch")]), "has to be a directory"),
        (
            "the record",
            good.changed(2, |record| *record = link("sessions/alder/session.json", "x")),
            "only files belong",
        ),
        ("in the memory", good.with(&[link("sessions/alder/memory/x", "y")]), "only files belong"),
        ("instructions", good.with(&[link("sessions/alder/AGENTS.md", "memory/MEMORY.md")]), "only files belong"),
        ("the outbox", good.with(&[link("sessions/alder/outbox", "memory")]), "only files belong"),
        ("to nothing", good.with(&[link("sessions/alder/x", "")]), "`sessions/alder/x`"),
        (
            "with a NUL",
            good.with(&[entry(b'K', "././@LongLink", "", b"y\0/../../..\0"), link("sessions/alder/x", "y")]),
            "`sessions/alder/x`",
        ),
        ("hard", good.with(&[entry(b'1', "sessions/alder/x", "sessions/birch/session.json", b"")]), "a hard link"),
        ("hard, out", good.with(&[entry(b'1', "sessions/alder/x", "/etc/passwd", b"")]), "a hard link"),
        ("a character device", good.with(&[entry(b'3', "sessions/alder/x", "", b"")]), "a device"),
        ("a block device", good.with(&[entry(b'4', "sessions/alder/x", "", b"")]), "a device"),
        ("a FIFO", good.with(&[entry(b'6', "sessions/alder/x", "", b"")]), "a FIFO"),
        ("contiguous", good.with(&[entry(b'7', "sessions/alder/x", "", b"")]), "only files, directories and links"),
        ("sparse", good.with(&[entry(b'S', "sessions/alder/x", "", b"")]), "a sparse file"),
        ("a volume", good.with(&[entry(b'V', "sessions/alder/x", "", b"")]), "only files, directories and links"),
        (
            "of a later kind",
            good.with(&[entry(b'z', "sessions/alder/x", "", b"")]),
            "only files, directories and links",
        ),
        (
            "pax with a path",
            good.with(&[entry(b'x', "sessions/alder/pax", "", b"15 path=../../x\n"), file("sessions/alder/x")]),
            "pax format",
        ),
        (
            "pax with a size",
            good.with(&[entry(b'x', "sessions/alder/pax", "", b"19 size=9999999999\n"), file("sessions/alder/x")]),
            "pax format",
        ),
        (
            "pax for all",
            good.with(&[entry(b'g', "sessions/alder/pax", "", b"18 linkpath=../..\n"), file("sessions/alder/x")]),
            "pax format",
        ),
    ];
    all_refused(&good, &cases);
}

#[test]
fn twins_and_other_peoples_keys_are_refused() {
    let good = Good::new("twins_and_other_peoples_keys_are_refused");
    let twin = |name: &str| format!("sessions/alder/{name}");
    let again: Vec<Entry> = good.entries[1..3].to_vec();
    let head = good.entries[0].clone();
    let foot = good.entries[good.entries.len() - 1].clone();
    let cases = [
        ("files", good.with(&[file(twin("x")), file(twin("X"))]), "only in case"),
        ("umlauts", good.with(&[file(twin("ä")), file(twin("Ä"))]), "only in case"),
        ("directories", good.with(&[entry(DIR, twin("d"), "", b""), entry(DIR, twin("D"), "", b"")]), "only in case"),
        ("the record's", good.with(&[file(twin("Session.json"))]), "one of Denizen's own files"),
        ("the memory's", good.with(&[entry(DIR, twin("MEMORY"), "", b"")]), "one of Denizen's own files"),
        ("the same file twice", good.with(&[file(twin("x")), file(twin("x"))]), "twice"),
        ("the record twice", good.with(&[good.entries[2].clone()]), "twice"),
        ("the session twice", good.with(&again), "twice"),
        ("the session twice, without a record", good.with(&again[..1]), "it holds 2 of 1 sessions"),
        ("another's key", good.record(|record| record["key"] = "birch".into()), "belongs to the folder `birch`"),
        ("no key", good.record(|record| record["key"] = "..".into()), "session.json"),
        ("no record", good.without(2), "has to begin with its session.json"),
        ("nothing but a folder", vec![head.clone(), good.entries[1].clone(), foot.clone()], "session.json is missing"),
        (
            "the record later",
            {
                let mut entries = good.entries.clone();
                entries.swap(2, 3);
                entries
            },
            "has to begin with its session.json",
        ),
        ("a broken record", good.changed(2, |entry| entry.content.truncate(40)), "session.json"),
        ("an empty record", good.changed(2, |entry| entry.content.clear()), "session.json"),
        ("a record of NULs", good.changed(2, |entry| entry.content.fill(0)), "session.json"),
        ("a later record", good.record(|record| record["version"] = json!(2)), "version 2"),
        (
            "a record too large",
            good.changed(2, |entry| entry.content.resize(17 * 1024 * 1024, b' ')),
            "at most 16777216 are read",
        ),
        (
            "a record that is a directory",
            good.changed(2, |entry| {
                *entry = self::entry(DIR, "sessions/alder/session.json", "", b"");
            }),
            "has to begin with its session.json",
        ),
        ("without a folder", good.without(1), "its session was not begun"),
        ("no head", good.without(0), "its first entry is"),
        (
            "a later format",
            good.changed(0, |entry| {
                entry.content = br#"{"format":2,"by":"x","at":"2026-01-01T00:00:00Z"}"#.to_vec();
            }),
            "update denizen",
        ),
        ("a head of nonsense", good.changed(0, |entry| entry.content = b"[".to_vec()), "is no whole export"),
        ("no foot", good.without(good.entries.len() - 1), "its end is missing"),
        (
            "a wrong count",
            good.changed(good.entries.len() - 1, |entry| entry.content = br#"{"sessions":2}"#.to_vec()),
            "1 of 2",
        ),
        ("something after the foot", [good.entries.clone(), vec![file(twin("x"))]].concat(), "follows its last entry"),
        ("a second foot", [good.entries.clone(), vec![foot.clone()]].concat(), "follows its last entry"),
        ("a size that is not there", good.with(&[Entry { stated: Some(1_000_000), ..file(twin("x")) }]), "`"),
        ("a size of 9 EiB", good.with(&[Entry { stated: Some(u64::MAX / 2), ..file(twin("x")) }]), "would unpack to"),
        ("a size of 16 EiB", good.with(&[Entry { stated: Some(u64::MAX), ..file(twin("x")) }]), "`"),
    ];
    all_refused(&good, &cases);
    // Twins that a person wants, and names that only look bad, come in.
    let path = good.root.dir().join("wanted");
    let wanted =
        good.with(&[file(twin("x")), file(twin("X")), file(twin("..x")), file(twin("a\nb")), link(&twin("l"), "x")]);
    fs_err::write(&path, frame_of(&tar_of(&wanted))).expect("written");
    good.root.ok(&["import", &path.display().to_string(), "--case-twins"]);
    for name in ["x", "X", "..x", "a\nb", "l"] {
        assert_eq!(fs_err::read_to_string(good.root.session("alder").join(name)).expect("a file"), "harm\n");
    }
    // Of Denizen's own files there are no twins.
    good.root.ok(&["rm", "alder", "--purge"]);
    fs_err::write(&path, frame_of(&tar_of(&good.with(&[file(twin("SESSION.JSON"))])))).expect("written");
    let output = good.root.run(&["import", &path.display().to_string(), "--case-twins"]);
    assert!(output.code == Some(1) && output.stderr.contains("Denizen's own files"), "{output:?}");
}

#[test]
fn bombs_are_refused() {
    let good = Good::new("bombs_are_refused");
    let gib = 1 << 30;
    let start = |entry: Entry| {
        let rest = &good.entries[..good.entries.len() - 1];
        let mut bytes: Vec<u8> = rest.iter().flat_map(Entry::bytes).collect();
        bytes.extend(entry.bytes());
        bytes
    };
    let zeros = |size: u64| start(Entry { stated: Some(size), content: Vec::new(), ..file("sessions/alder/zeros") });
    let whole = frame_with_zeros(&zeros(12 * gib), 12 * gib);
    assert!(whole.len() < 500_000);
    let many = |count: usize| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.write_all(&start(entry(DIR, "sessions/alder/many", "", b""))).expect("written");
        for number in 0..count {
            encoder.write_all(&entry(FILE, format!("sessions/alder/many/{number}"), "", b"").bytes()).expect("written");
        }
        encoder.finish().expect("a frame")
    };
    let long = Entry { stated: Some(4 * gib), ..entry(b'L', "././@LongLink", "", b"") };
    let target = Entry { stated: Some(4 * gib), ..entry(b'K', "././@LongLink", "", b"") };
    let pax = Entry { stated: Some(4 * gib), ..entry(b'x', "sessions/alder/pax", "", b"") };
    let head = Entry { stated: Some(4 * gib), ..entry(FILE, "denizen-export.json", "", b"") };
    for (what, packed, words) in [
        ("zeros", whole, "`sessions/alder/zeros` in the archive is refused: the archive would unpack to more than"),
        ("a name of gigabytes", frame_with_zeros(&start(long), 4 * gib), "is refused"),
        ("a target of gigabytes", frame_with_zeros(&start(target), 4 * gib), "is refused"),
        ("an extension of gigabytes", frame_with_zeros(&start(pax), 4 * gib), "is refused"),
        ("a head of gigabytes", frame_with_zeros(&head.bytes(), 4 * gib), "is refused"),
        // 2 GiB of zeros after the last entry: read no further than padding goes.
        ("a tail of gigabytes", frame_with_zeros(&tar_of(&good.entries), 2 * gib), "is no whole export"),
        ("no end", many(20_000), "its end is missing"),
    ] {
        good.refused(what, &packed, words).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    if full() {
        // Millions of names, which have to be remembered.
        good.refused("millions of entries", &many(3_000_000), "too many entries")
            .unwrap_or_else(|wrong| panic!("{wrong}"));
    }
}

#[test]
fn what_is_no_export_is_refused_and_waits_for_nobody() {
    let good = Good::new("what_is_no_export_is_refused_and_waits_for_nobody");
    let gzip = {
        let mut gzip = Command::new("gzip");
        gzip.arg("-c").arg(good.root.dir().join("good"));
        gzip.output().map(|output| output.stdout).unwrap_or_else(|_| vec![0x1f, 0x8b, 8, 0])
    };
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &good.packed].concat();
    for (what, bytes, words) in [
        ("empty", Vec::new(), "is no whole export"),
        ("a letter", b"x".to_vec(), "is no whole export"),
        ("a plain tar", tar_of(&good.entries), "is no whole export"),
        ("gzip", gzip, "is no whole export"),
        ("a text", b"hello\n".repeat(10_000), "is no whole export"),
        ("an empty frame", frame_of(b""), "is no whole export"),
        ("an empty tar", frame_of(&[0; 1024]), "is no whole export"),
        ("a text in a frame", frame_of(&b"hello\n".repeat(1_000)), "is no whole export"),
        ("a frame before it", [frame_of(b""), good.packed.clone()].concat(), "is no whole export"),
        ("what a frame may be preceded by", skippable, "is no whole export"),
    ] {
        good.refused(what, &bytes, words).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    let fifo = good.root.dir().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("a FIFO");
    for (what, path, words) in [
        ("a FIFO", fifo, "not a regular file"),
        ("a directory", good.root.path(), "not a regular file"),
        ("a device", PathBuf::from("/dev/zero"), "not a regular file"),
        ("nothing", good.root.dir().join("gone"), "No such file"),
    ] {
        good.refused_at(what, &path, words).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    // The same through a pipe.
    let before = Tree::of_root(&good.root.path());
    let mut import = good.root.denizen();
    import.args(["import", "-"]);
    let Output { code, stderr, .. } = run(import, "hello");
    assert!(code == Some(1) && stderr.contains("is no whole export"), "{stderr}");
    before.assert_same(&Tree::of_root(&good.root.path()), "a text through a pipe");
}

/// Every file below a directory with its content, and each link with its target.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = walkdir::WalkDir::new(dir).into_iter().map(|entry| entry.expect("an entry"));
    let read = |path: &Path| match fs_err::read_link(path) {
        Ok(target) => target.as_os_str().as_bytes().to_vec(),
        Err(_) => std::fs::read(path).unwrap_or_default(),
    };
    entries.map(|entry| (entry.path().strip_prefix(dir).expect("below").to_owned(), read(entry.path()))).collect()
}

/// What comes out of a file, or nothing where it is refused.
fn unpacked(packed: &[u8], at: &Path) -> Option<BTreeMap<PathBuf, Vec<u8>>> {
    use denizen::backup::{inspect, unpack};
    use denizen::files::Dir;
    let path = at.with_extension("packed");
    fs_err::write(&path, packed).expect("written");
    let file = fs_err::File::open(&path).expect("a file").into_parts().0;
    let found = inspect(&file, &path, false, &mut |_| ()).ok()?;
    fs_err::create_dir(at).expect("a directory");
    let done = unpack(&file, &path, false, &mut |_| (), &mut |folder| {
        fs_err::create_dir(at.join(folder)).expect("a directory");
        Ok(Some(Dir::open(&at.join(folder))?))
    });
    done.unwrap_or_else(|error| panic!("inspected {found:?}, and not unpacked: {error}"));
    let content = content(at);
    fs_err::remove_dir_all(at).expect("removed");
    Some(content)
}

#[test]
fn a_cut_or_flipped_file_is_refused_or_whole() {
    let good = Good::new("a_cut_or_flipped_file_is_refused_or_whole");
    let dir = good.root.dir();
    let whole = unpacked(&good.packed, &dir.join("whole")).expect("the export");
    assert!(whole.len() > 5);
    // Cut where a copy may end: at any byte of the file, and at any block of the tar.
    let step = if full() { 1 } else { (good.packed.len() / 200).max(1) };
    for at in (0..good.packed.len()).step_by(step) {
        assert_eq!(unpacked(&good.packed[..at], &dir.join("cut")), None, "cut at {at} of {}", good.packed.len());
    }
    let tar = tar_of(&good.entries);
    let end = tar.len() - 1024;
    for at in (0..end).step_by(512) {
        assert_eq!(unpacked(&frame_of(&tar[..at]), &dir.join("blocks")), None, "cut at {at} of {end} of the tar");
        // And with the zeros that end a tar after it.
        let ended = [&tar[..at], &[0; 1024]].concat();
        assert_eq!(unpacked(&frame_of(&ended), &dir.join("ended")), None, "ended at {at} of {end} of the tar");
    }
    // One bit, anywhere.
    let step = if full() { 1 } else { (good.packed.len() * 8 / 700).max(1) };
    let (mut refused, mut same) = (0, 0);
    for at in (0..good.packed.len() * 8).step_by(step) {
        let mut flipped = good.packed.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        match unpacked(&flipped, &dir.join("flipped")) {
            None => refused += 1,
            Some(found) => {
                same += 1;
                assert_eq!(found, whole, "bit {at} flipped");
            }
        }
    }
    println!("{refused} flips refused, {same} without any effect");
    assert!(refused > same);
    // A second export after it, or anything else, would silently be left out.
    for after in [&b"x"[..], &good.packed, &frame_of(b""), &[0; 512]] {
        assert_eq!(unpacked(&[&good.packed, after].concat(), &dir.join("after")), None);
    }
}
