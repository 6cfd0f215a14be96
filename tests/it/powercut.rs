//! Power cuts: Denizen works on a disk that logs its writes and flushes, and
//! what the disk held at any moment is mounted and looked at. What was
//! acknowledged up to that moment is there, and nothing is torn.
//!
//! Writers that leave a sync out have to be found out by the same look: on each
//! file system some of them get away with it for a while, so each is tried.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::support::blocklog::{Disk, Format, in_own_mounts, missing};
use crate::support::clis::did_not_run;
use crate::support::fake::{Fake, Running};
use crate::support::promise::{Ledger, Place, Promise, Wrong};
use crate::support::root::{Output, Root, write};

/// How many states are looked at, unless `DENIZEN_TEST_POWERCUT_STATES` says otherwise.
const STATES: usize = 200;

/// In every so many states, each session also has to take a next turn.
const GO_ON: usize = 10;

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Denizen.
    Denizen,
    /// Denizen, told to survive no power cut.
    Process,
    /// The title, replaced by a rename with no sync at all.
    NoSync,
    /// The title, replaced by a rename of a synced file; the directory is not synced.
    NoDirectorySync,
    /// A turn, appended to the transcript without a sync; the record is.
    NoTranscriptSync,
}

#[test]
#[ignore = "needs root, FUSE and loop devices: see scripts/powercut.sh"]
fn ext4_loses_nothing() {
    loses_nothing(Format::Ext4);
}

#[test]
#[ignore = "needs root, FUSE and loop devices: see scripts/powercut.sh"]
fn ext4_finds_out_unsafe_writers() {
    finds_out_unsafe_writers(Format::Ext4);
}

#[test]
#[ignore = "needs root, FUSE and loop devices: see scripts/powercut.sh"]
fn xfs_loses_nothing() {
    loses_nothing(Format::Xfs);
}

#[test]
#[ignore = "needs root, FUSE and loop devices: see scripts/powercut.sh"]
fn xfs_finds_out_unsafe_writers() {
    finds_out_unsafe_writers(Format::Xfs);
}

#[test]
#[ignore = "needs root, FUSE and loop devices: see scripts/powercut.sh"]
fn btrfs_loses_nothing() {
    loses_nothing(Format::Btrfs);
}

#[test]
#[ignore = "needs root, FUSE and loop devices: see scripts/powercut.sh"]
fn btrfs_finds_out_unsafe_writers() {
    finds_out_unsafe_writers(Format::Btrfs);
}

fn loses_nothing(format: Format) {
    let Some(tally) = cut(format, Writer::Denizen, states()) else { return };
    let wrong = tally.wrong.len();
    assert!(wrong == 0, "{wrong} of {} states: {}", tally.states, tally.wrong[..wrong.min(10)].join("\n"));
    assert!(tally.early + tally.good == tally.states && tally.good > tally.states / 2, "{tally:?}");
}

/// Not all at once: they would wait for each other's disk.
fn finds_out_unsafe_writers(format: Format) {
    for writer in [Writer::Process, Writer::NoSync, Writer::NoDirectorySync, Writer::NoTranscriptSync] {
        let Some(tally) = cut(format, writer, states() / 4) else { return };
        assert!(!tally.wrong.is_empty(), "{writer:?} was not found out on {}: {tally:?}", format.name());
        assert!(tally.wrong.len() < tally.states, "the look finds fault with everything: {tally:?}");
    }
}

fn states() -> usize {
    let wanted = std::env::var("DENIZEN_TEST_POWERCUT_STATES").ok();
    wanted.map_or(STATES, |wanted| wanted.parse().expect("DENIZEN_TEST_POWERCUT_STATES is a number"))
}

/// What was seen in the states of one disk.
#[derive(Debug, Default)]
struct Tally {
    states: usize,
    /// All was well, and nothing promised yet.
    early: usize,
    /// All was well.
    good: usize,
    torn: usize,
    lost: usize,
    wrong: Vec<String>,
}

/// Lets a writer work on a new disk, and looks at so many states of it. `None`
/// where this machine has no such disks.
fn cut(format: Format, writer: Writer, states: usize) -> Option<Tally> {
    let test = format!("powercut::{}", format.name());
    if let Some((what, how)) = missing(format) {
        did_not_run(&test, &what, &how);
        return None;
    }
    let mut root = Root::new(&format!("{test}-{writer:?}"));
    let durability = if writer == Writer::Process { "process" } else { "power" };
    root.set_env("DENIZEN_DURABILITY", durability);
    in_own_mounts(|| {
        let disk = Disk::new(format, root.dir(), &root.path());
        let empty = disk.image();
        let begun = Instant::now();
        let mounted = match disk.mount() {
            Ok(mounted) => mounted,
            Err(said) => {
                did_not_run(&test, &said, "run it where the kernel has the file system and free loop devices");
                return None;
            }
        };
        let work = Work::begin(&root, &disk);
        let first = disk.position();
        let mut fake = Fake::new(&root, HEARD);
        sync(&root.path());
        match writer {
            Writer::Denizen | Writer::Process => work.denizen(&mut fake),
            unsafe_writer => work.unsafely(unsafe_writer),
        }
        let ledger = work.ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut log = disk.recorded(empty);
        drop(mounted);
        let worked = begun.elapsed();

        // What is sent again is not held on.
        fake.script("echo \"heard $message\"");
        let begun = Instant::now();
        let acknowledged = ledger.positions();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut points = points(&acknowledged, first, log.len(), states, &mut random);
        points.sort_unstable();
        let mut tally = Tally::default();
        for (number, (point, drops)) in points.into_iter().enumerate() {
            disk.set_image(log.state(point, || !drops || random.below(2) == 0));
            let mounted =
                disk.mount().unwrap_or_else(|said| panic!("the state after {point} cannot be mounted: {said}"));
            let early = acknowledged.first().is_none_or(|first| point < *first);
            let found = ledger.check(&root, point, number % GO_ON == 0);
            drop(mounted);
            let half = if drops { ", half of the unflushed lost" } else { "" };
            tally.add(early, found, &format!("after {point} of {}{half}", log.len()));
        }
        let seconds = Duration::as_secs_f32;
        println!(
            "{:<6} {:<17} {:>6} states, {:>3} ok before the first promise, {:>4} ok, {:>4} torn, {:>4} lost; \
             {} promises, {} writes and flushes in {:.1} s; looked at in {:.1} s",
            format.name(),
            format!("{writer:?}"),
            tally.states,
            tally.early,
            tally.good,
            tally.torn,
            tally.lost,
            acknowledged.len(),
            log.len(),
            seconds(&worked),
            seconds(&begun.elapsed()),
        );
        Some(tally)
    })
}

/// The points at which the power fails, and whether a half of what was not
/// flushed is lost: half of them just after something was promised, and the rest
/// anywhere.
fn points(promised: &[usize], first: usize, last: usize, count: usize, random: &mut Random) -> Vec<(usize, bool)> {
    (0..count)
        .map(|number| {
            let anywhere = first + random.below(last - first + 1);
            let point = if number % 4 < 2 { promised[number * promised.len() / count] } else { anywhere };
            // One is always before anything was promised, where all has to be well.
            (if number == 0 { first } else { point }, number % 2 == 1)
        })
        .collect()
}

impl Tally {
    fn add(&mut self, early: bool, found: Result<(), Wrong>, place: &str) {
        self.states += 1;
        let (count, said) = match found {
            Ok(()) if early => (&mut self.early, None),
            Ok(()) => (&mut self.good, None),
            Err(Wrong::Torn(said)) => (&mut self.torn, Some(said)),
            Err(Wrong::Lost(said)) => (&mut self.lost, Some(said)),
        };
        *count += 1;
        self.wrong.extend(said.map(|said| format!("{place}: {said}")));
    }
}

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// The provider `fake`: it repeats what it hears, and holds on or makes a file
/// where it is told to.
const HEARD: &str = r#"case "$message" in
    hold*) say began; gate ;;
    make*) mkdir -p "$1/outbox"; printf '%s' "$message" > "$1/outbox/made.txt" ;;
esac
echo "heard $message""#;

/// Work on a disk, and what was promised meanwhile.
struct Work<'a> {
    root: &'a Root,
    disk: &'a Disk,
    ledger: Mutex<Ledger>,
}

impl<'a> Work<'a> {
    fn begin(root: &'a Root, disk: &'a Disk) -> Self {
        Self { root, disk, ledger: Mutex::default() }
    }

    /// Does something that promises something about one session.
    fn act(&self, key: &str, change: impl FnOnce(&mut Promise), perform: impl FnOnce()) {
        let ledger = || self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger().begin(key, change);
        perform();
        let position = self.disk.position();
        ledger().acknowledge(key, position);
    }

    fn run(&self, args: &[&str], change: impl FnOnce(&mut Promise)) {
        let key = if args[0] == "trash" { args[2] } else { args[1] };
        self.act(key, change, || drop(self.root.ok(args)));
    }

    /// A message to `notes`.
    fn note(&self, key: &str, text: &str) {
        self.run(&["send", key, text, "--provider", "notes"], |promise| {
            promise.answered(text);
            promise.said.get_or_insert_default().push(text.to_owned());
            promise.noted.extend(text.strip_prefix("remember ").map(str::to_owned));
        });
    }

    /// A message to `fake`.
    fn tell(&self, key: &str, text: &str) {
        self.run(&["send", key, text, "--provider", "fake"], |promise| promise.answered(text));
    }

    /// All that Denizen can do, one after another and then at once: a sync of
    /// one command could hide that another has none.
    fn denizen(&self, fake: &mut Fake) {
        self.note("alder", "remember the gate is blue");
        self.note("alder", "alder two");
        self.tell("birch", "birch one");
        self.run(&["rename", "alder", "The garden"], |promise| promise.title = Some("The garden".to_owned()));
        self.tell("birch", &long("birch two"));
        self.run(&["set", "alder", "model", "opus"], |promise| promise.model = Some("opus".to_owned()));
        self.note("alder", &long("alder three"));
        self.run(&["new", "alder"], |promise| promise.said = Some(Vec::new()));
        self.note("alder", "alder four");
        self.note("cedar", "cedar one");
        self.run(&["rm", "cedar"], |promise| promise.place = Place::Trash);
        self.tell("birch", "birch three");
        self.run(&["trash", "restore", "cedar"], |promise| promise.place = Place::Sessions);
        self.note("cedar", "cedar two");
        self.fork("alder", "copy");
        self.note("copy", "copy one");
        self.note("alder", "alder five");
        self.run(&["resume", "alder", "1"], |promise| {
            promise.said =
                Some(vec!["remember the gate is blue".to_owned(), "alder two".to_owned(), long("alder three")]);
        });
        self.note("alder", "remember the fence is green");
        self.run(&["archive", "cedar"], |promise| promise.archived = true);
        self.attach("birch", "birch four");
        self.run(&["send", "birch", "make a file"], |promise| {
            promise.answered("make a file");
            promise.made.insert("made.txt".to_owned(), "make a file".to_owned());
        });
        self.run(&["rename", "copy", "A copy"], |promise| promise.title = Some("A copy".to_owned()));
        self.hold(fake, "birch", "elm");
        for number in 1..=4 {
            self.note(&format!("fir-{number}"), &format!("fir {number}"));
        }
        self.run(&["rm", "fir-2"], |promise| promise.place = Place::Trash);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=6 {
                    self.note("alder", &format!("alder at once {number}"));
                }
                self.run(&["new", "alder"], |promise| promise.said = Some(Vec::new()));
                self.note("alder", "alder last");
            });
            scope.spawn(|| {
                for number in 1..=6 {
                    self.tell("birch", &long(&format!("birch at once {number}")));
                    self.note(&format!("gorse-{number}"), "gorse");
                }
            });
            scope.spawn(|| {
                self.note("cedar", "remember the third");
                self.run(&["rm", "cedar"], |promise| promise.place = Place::Trash);
                self.run(&["trash", "restore", "cedar"], |promise| promise.place = Place::Sessions);
                self.fork("cedar", "hazel");
                self.note("hazel", "hazel one");
                self.run(&["set", "cedar", "model", "haiku"], |promise| promise.model = Some("haiku".to_owned()));
            });
        });
    }

    fn fork(&self, source: &str, key: &str) {
        let source_promise = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).last(source);
        let none = BTreeMap::new;
        let copied = Promise { received: none(), made: none(), title: None, archived: false, ..source_promise };
        self.act(key, |promise| *promise = copied, || drop(self.root.ok(&["fork", source, key])));
    }

    /// A message with a file.
    fn attach(&self, key: &str, text: &str) {
        let content = long("attached");
        let file = self.root.dir().join("leaf.txt");
        write(&file, &content);
        self.run(&["send", key, text, "--attach", &file.display().to_string()], |promise| {
            promise.answered(text);
            promise.received.insert("leaf.txt".to_owned(), content);
        });
    }

    /// A message whose turn began, and one for a session that does not exist
    /// yet: both are kept from there on.
    fn hold(&self, fake: &mut Fake, key: &str, fresh: &str) {
        for key in [key, fresh] {
            let text = format!("hold {key}");
            let events = fake.said().len();
            let mut running = None;
            let begin = || {
                running = Some(Running::denizen(self.root, &["send", key, &text, "--provider", "fake"]));
                fake.wait_for(events + 1);
            };
            self.act(
                key,
                |promise| {
                    promise.place = Place::Sessions;
                    promise.waiting = Some(text.clone());
                },
                begin,
            );
            // The disk moves on meanwhile.
            self.note("alder", &format!("alder beside {text}"));
            let answer = || {
                fake.release(1);
                let Output { code, stderr, .. } = running.take().expect("it was started").end();
                assert_eq!(code, Some(0), "{stderr}");
            };
            self.act(
                key,
                |promise| {
                    promise.answered(&text);
                    promise.waiting = None;
                },
                answer,
            );
        }
    }

    /// What an unsafe writer does, after a good start.
    fn unsafely(&self, writer: Writer) {
        self.note("alder", "alder one");
        self.note("birch", "birch one");
        sync(&self.root.path());
        for number in 0..12 {
            let key = ["alder", "birch"][number % 2];
            if writer == Writer::NoTranscriptSync {
                let text = format!("{key} unsafe {number}");
                self.act(key, |promise| promise.turns.push(text.clone()), || self.turn(key, &text));
            } else {
                let title = format!("title {number}");
                let retitle = || self.retitle(key, &title, writer == Writer::NoDirectorySync);
                self.act(key, |promise| promise.title = Some(title.clone()), retitle);
            }
        }
    }

    fn retitle(&self, key: &str, title: &str, synced: bool) {
        let path = self.root.session(key).join("session.json");
        let mut record = record(&path);
        record["title"] = title.into();
        self.replace(&path, &record, synced);
    }

    fn turn(&self, key: &str, text: &str) {
        let path = self.root.session(key).join("session.json");
        let mut record = record(&path);
        let turn = record["turns"].as_u64().unwrap_or_default() + 1;
        let transcript = path.with_file_name("transcript.jsonl");
        let mut file = fs_err::OpenOptions::new().append(true).open(transcript).expect("the transcript");
        for who in ["user", "agent"] {
            let line = serde_json::json!({"at": "2026-01-01T00:00:00Z", "who": who, "text": text, "turn": turn});
            writeln!(file, "{line}").expect("written");
        }
        record["turns"] = turn.into();
        record["transcript_bytes"] = file.metadata().expect("its size").len().into();
        self.replace(&path, &record, true);
        fs_err::File::open(path.parent().expect("a folder")).expect("it").sync_all().expect("synced");
    }

    fn replace(&self, path: &Path, record: &serde_json::Value, synced: bool) {
        let temporary = self.root.path().join("state/tmp/unsafe");
        let mut file = fs_err::File::create(&temporary).expect("a temporary");
        file.write_all(format!("{record:#}\n").as_bytes()).expect("written");
        if synced {
            file.sync_all().expect("synced");
        }
        fs_err::rename(&temporary, path).expect("replaced");
    }
}

impl Promise {
    fn answered(&mut self, text: &str) {
        self.place = Place::Sessions;
        self.archived = false;
        self.turns.push(text.to_owned());
    }
}

fn record(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs_err::read(path).expect("the record")).expect("JSON")
}

/// A message of several blocks.
fn long(text: &str) -> String {
    format!("{text}{}", " and more".repeat(1_500))
}

/// Everything of a file system is on its disk from here on.
fn sync(path: &Path) {
    rustix::fs::syncfs(fs_err::File::open(path).expect("a directory")).expect("synced");
}
