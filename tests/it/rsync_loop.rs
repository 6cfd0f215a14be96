//! Plain `rsync -a` of a root, again and again, while sessions work flat out:
//! rsync never finds fault with our files, no copy holds a temporary, and every
//! session of every copy goes on with each turn that was acknowledged before
//! the copy was begun.
//!
//! What is copied in the middle of a turn may be of different moments: rsync
//! lists the files first and reads them later. `Facts` counts what that does.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::support::clis::did_not_run;
use crate::support::fake::{Fake, Running, until};
use crate::support::root::{Root, amount, full, run, write};

/// How many copies are made: a hundred where the long version is asked for.
fn copies() -> usize {
    amount(5, 15, 100)
}

/// How many copies are made of one root.
const COPIES_A_ROUND: usize = 5;

/// What a backup leaves out.
const LEFT_OUT: [&str; 3] = ["--exclude=/state", "--exclude=/logs", "--exclude=/names"];

/// A turn that was acknowledged.
#[derive(Debug, Clone)]
struct Turn {
    key: String,
    text: String,
    turn: u64,
    provider: String,
    conversation: String,
}

/// What the sessions have been told so far, in the order of acknowledgement.
#[derive(Default)]
struct Told {
    turns: Mutex<Vec<Turn>>,
    stop: AtomicBool,
    pause: RwLock<()>,
}

impl Told {
    fn count(&self) -> usize {
        self.turns.lock().expect("the turns").len()
    }

    fn first(&self, count: usize) -> Vec<Turn> {
        self.turns.lock().expect("the turns")[..count].to_vec()
    }

    /// Waits until so many turns were acknowledged.
    fn wait_for(&self, count: usize) {
        until(&format!("{count} turns"), || if self.count() >= count { Ok(()) } else { Err(self.count().to_string()) });
    }

    fn is_over(&self) -> bool {
        self.stop.load(SeqCst)
    }

    /// Sends a message, and notes the turn when it was acknowledged.
    fn send(&self, root: &Root, key: &str, text: &str, more: &[&str]) {
        let reply = root.json(&[&["send", key, text], more].concat());
        let string = |name: &str| reply[name].as_str().expect("a string").to_owned();
        self.turns.lock().expect("the turns").push(Turn {
            key: key.to_owned(),
            text: text.to_owned(),
            turn: reply["turn"].as_u64().expect("a number"),
            provider: string("provider"),
            conversation: string("conversation"),
        });
    }
}

/// Whether there is an rsync; a test that needs it names itself otherwise.
fn has_rsync(test: &str) -> bool {
    let found = Command::new("rsync").arg("--version").output().is_ok();
    if !found {
        did_not_run(test, "rsync is missing", "install rsync");
    }
    found
}

fn rsync(root: &Root, options: &[&str], from: &Path, to: &Path) -> String {
    let mut rsync = root.command("rsync");
    rsync.args(options).args(LEFT_OUT).arg(format!("{}/", from.display())).arg(format!("{}/", to.display()));
    let output = run(rsync, "");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "rsync {options:?}");
    output.stdout
}

/// Runs `denizen` on a copy; it has to succeed.
fn on(root: &Root, copy: &Path, args: &[&str]) -> String {
    root.ok(&[&["--root", copy.to_str().expect("a path of text")], args].concat())
}

/// One of those who work, until it is over.
fn work(root: &Root, told: &Told, worker: usize) {
    let key = format!("worker-{worker}");
    for number in 0.. {
        if told.is_over() {
            return;
        }
        let _going = told.pause.read().expect("the pause");
        let text = format!("word {worker} {number}.");
        match worker {
            0..=2 => {
                if number % 7 == 6 {
                    root.ok(&["new", &key]);
                }
                told.send(root, &key, &text, &[]);
            }
            3 => {
                root.ok(&["rename", &key, &format!("Title {number}")]);
                told.send(root, &key, &format!("remember {text}"), &[]);
                root.ok(&["set", &key, "model", &format!("model-{}", number % 10)]);
                root.ok(&["archive", &key]);
            }
            4 | 5 => told.send(root, &key, &text, &["--provider", "fake"]),
            6 => told.send(root, &format!("fresh-{}", number % 12), &text, &[]),
            _ => {
                let file = root.dir().join(format!("attached-{number}"));
                write(&file, &text.repeat(1000));
                told.send(root, &key, &text, &["--attach", file.to_str().expect("a path of text")]);
                fs_err::remove_file(file).expect("removed");
                if number < 3 {
                    root.ok(&["fork", &key, &format!("fork-{number}")]);
                }
            }
        }
    }
}

#[test]
fn every_copy_of_a_working_root_goes_on() {
    let test = "rsync_loop::every_copy_of_a_working_root_goes_on";
    if !has_rsync(test) {
        return;
    }
    let mut facts = Facts::default();
    let begun = Instant::now();
    // Each round has a root of its own, so that what is copied stays small.
    for round in 0..copies() / COPIES_A_ROUND {
        one_round(test, round, &mut facts);
    }
    println!("{} turns, {} copies in {:.1?}: {facts:#?}", facts.turns, copies(), begun.elapsed());
}

fn one_round(test: &str, round: usize, facts: &mut Facts) {
    let root = Root::new(&format!("{test}-{round}"));
    // Replies of many pages, and files of the agent's own, written in place.
    let script = "mkdir -p \"$1/scratch\"; for n in 1 2 3 4; do head -c 20000 /dev/zero | tr '\\0' \"$n\" > \"$1/scratch/$n\"; done\n\
                  head -c 20000 /dev/zero | tr '\\0' x; echo \" $message\"";
    let _fake = Fake::with_config(&root, script, "limits.turns = 8");
    let toml = fs_err::read_to_string(root.path().join("denizen.toml")).expect("a configuration");
    root.write_config(&toml.replace("provider = \"fake\"", "provider = \"notes\""));
    let told = Told::default();
    for worker in [0, 1, 2, 3, 4, 5, 7] {
        let provider = if matches!(worker, 4 | 5) { "fake" } else { "notes" };
        told.send(&root, &format!("worker-{worker}"), "the first.", &["--provider", provider]);
    }
    let again = root.dir().join("again");
    thread::scope(|scope| {
        for worker in 0..8 {
            let (root, told) = (&root, &told);
            scope.spawn(move || work(root, told, worker));
        }
        // Ends the workers also where a copy fails.
        let _over = Over(&told.stop);
        for number in 0..COPIES_A_ROUND {
            let copy = root.dir().join(format!("copy-{number}"));
            let begun = told.count();
            told.wait_for(begun + 4);
            let begun = told.count();
            rsync(&root, &["-a"], &root.path(), &copy);
            // They would only be in the way of what looks at the copy.
            let _paused = told.pause.write().expect("the pause");
            facts.look(&copy);
            check(&root, &copy, &told.first(begun));
            go_on_with_some(&root, &copy, &told.first(begun), round * COPIES_A_ROUND + number);
            fs_err::remove_dir_all(&copy).expect("removed");
            if number == 2 {
                rsync(&root, &["-a"], &root.path(), &again);
            }
        }
    });
    facts.turns += told.count();

    // When nobody works any more, one more plain run makes the copy the same.
    rsync(&root, &["-a"], &root.path(), &again);
    assert_eq!(rsync(&root, &["-anci"], &root.path(), &again), "");
    assert_eq!(tree(&again), tree(&root.path()));
    let all = told.first(told.count());
    check(&root, &again, &all);
    let keys: BTreeSet<&str> = all.iter().map(|turn| turn.key.as_str()).collect();
    keys.iter().filter(|_| round == 0).for_each(|key| go_on(&root, &again, key, &all));
}

#[test]
fn updates_of_one_size_within_a_second_are_never_stale() {
    let test = "rsync_loop::updates_of_one_size_within_a_second_are_never_stale";
    if !has_rsync(test) {
        return;
    }
    let root = Root::new(test);
    root.write_config("provider = \"notes\"\n");
    root.ok(&["send", "alder", "one"]);
    let copy = root.dir().join("copy");
    let file = "sessions/alder/session.json";
    let mut hurried = 0;
    for round in 0..30 {
        let versions = [1, 2].map(|version| {
            root.ok(&["rename", "alder", &format!("Title {round:02} {version}")]);
            let written = jiff::Timestamp::now().as_second();
            rsync(&root, &["-a"], &root.path(), &copy);
            let version = fs_err::read(root.path().join(file)).expect("a record");
            assert_eq!(fs_err::read(copy.join(file)).expect("a copy"), version, "{round}");
            (written, version.len())
        });
        hurried += usize::from(versions[0] == versions[1]);
    }
    println!("{hurried} of 30 pairs had one size and were written within one second");
    assert!(hurried > 0, "no pair was written within one second");
}

#[test]
fn a_conversation_that_was_copied_in_the_middle_of_a_turn_is_copied_again() {
    let test = "rsync_loop::a_conversation_that_was_copied_in_the_middle_of_a_turn_is_copied_again";
    if !has_rsync(test) {
        return;
    }
    let mut root = Root::new(test);
    // A database, changed in place twice within one second.
    let script = r#"
put() { printf '%s' "$1" > "$kept/a.db"; touch -d "$2-01-01 00:00:00.5" "$kept/a.db"; }
case "$message" in
    *first*) put old1 2025 ;;
    *) put half 2026; say half; gate; put done 2026 ;;
esac
answer heard
"#;
    let mut fake = Fake::claude(&mut root, script);
    root.ok(&["send", "alder", "the first"]);
    let (copy, file) = (root.dir().join("copy"), "sessions/alder/provider/claude/a.db");
    let content = |of: &Path| fs_err::read_to_string(of.join(file)).expect("the database");
    rsync(&root, &["-a"], &root.path(), &copy);
    assert_eq!(content(&copy), "old1");
    let running = Running::denizen(&root, &["send", "alder", "the second"]);
    fake.wait_for(1);
    rsync(&root, &["-a"], &root.path(), &copy);
    assert_eq!(content(&copy), "half");
    fake.release(1);
    assert_eq!(running.end().code, Some(0));
    rsync(&root, &["-a"], &root.path(), &copy);
    assert_eq!(content(&copy), "done");
}

/// Says that it is over when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn folder(copy: &Path, key: &str) -> PathBuf {
    copy.join("sessions").join(key)
}

/// The content of each file of a root that belongs in a backup.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let content = |path| (fs_err::read(root.join(&path)).expect("a readable file"), path);
    files(root).map(content).map(|(content, path)| (path, content)).collect()
}

/// The files of a root that belong in a backup.
fn files(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = walkdir::WalkDir::new(root).min_depth(1).into_iter().filter_entry(|entry| {
        let left_out = ["state", "logs", "names"].iter().any(|name| entry.file_name() == *name);
        !(entry.depth() == 1 && left_out)
    });
    let others = entries.map(|entry| entry.expect("an entry")).filter(|entry| !entry.file_type().is_dir());
    others.map(move |entry| {
        assert!(entry.file_type().is_file(), "{} is no file", entry.path().display());
        entry.path().strip_prefix(root).expect("below the root").to_owned()
    })
}

/// Whether a file of a copy is of a kind that belongs there.
fn is_known(path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str().expect("text")).collect();
    let is_uuid = |text: &str| text.parse::<uuid::Uuid>().is_ok();
    match parts.as_slice() {
        ["denizen.toml"] => true,
        ["sessions", _, "session.json" | "settings.json" | "transcript.jsonl"] => true,
        ["sessions", _, "memory", "MEMORY.md"] => true,
        ["sessions", _, "provider", "notes", name] => name.strip_suffix(".jsonl").is_some_and(is_uuid),
        ["sessions", _, "inbox", _, name] => name.starts_with("attached-"),
        ["sessions", _, "scratch", "1" | "2" | "3" | "4"] => true,
        ["sessions", _, "outbox", "sent", "report"] => true,
        _ => false,
    }
}

/// Looks at a whole copy with nothing of the program's own code, then lets the
/// program look at it.
fn check(root: &Root, copy: &Path, acknowledged: &[Turn]) {
    let strange: Vec<_> = files(copy).filter(|path| !is_known(path)).collect();
    assert_eq!(strange, Vec::<PathBuf>::new());
    let mut read = BTreeMap::new();
    for turn in acknowledged {
        check_turn(copy, turn, &mut read);
    }
    let listed = on(root, copy, &["ls", "--json"]);
    let unreadable = listed.lines().filter(|line| line.contains("\"error\":\""));
    assert_eq!(unreadable.collect::<Vec<_>>(), Vec::<&str>::new());
    let verified = root.run(&["verify", copy.to_str().expect("a path of text")]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
}

/// Goes on with some sessions of a copy that had acknowledged turns: with one
/// in some copies, another each time; with all where the long version is asked for.
fn go_on_with_some(root: &Root, copy: &Path, acknowledged: &[Turn], number: usize) {
    let keys: BTreeSet<&str> = acknowledged.iter().map(|turn| turn.key.as_str()).collect();
    if full() {
        keys.iter().for_each(|key| go_on(root, copy, key, acknowledged));
    } else if number.is_multiple_of(3) {
        let key = keys.iter().nth(number / 3 % keys.len()).expect("a key");
        go_on(root, copy, key, acknowledged);
    }
}

/// An acknowledged turn is in the transcript of a copy, and where the provider
/// keeps files, in its conversation.
fn check_turn(copy: &Path, turn: &Turn, read: &mut BTreeMap<PathBuf, Vec<Value>>) {
    let session = folder(copy, &turn.key);
    let mut lines_of = |file: PathBuf, fits: &dyn Fn(&Value) -> bool| {
        read.entry(file.clone()).or_insert_with(|| lines(&file)).iter().any(fits)
    };
    let transcript = session.join("transcript.jsonl");
    let is = |line: &Value, who: &str| line["turn"] == turn.turn && line["who"] == who;
    let user = |line: &Value| is(line, "user") && line["text"] == turn.text;
    let agent = |line: &Value| is(line, "agent") && line["conversation"] == turn.conversation.as_str();
    let there = lines_of(transcript.clone(), &user) && lines_of(transcript, &agent);
    assert!(there, "{turn:?} is not in {}", session.display());
    if turn.provider == "notes" {
        let file = session.join("provider/notes").join(format!("{}.jsonl", turn.conversation));
        let said = |line: &Value| line["said"].as_str().is_some_and(|said| said.contains(&turn.text));
        assert!(lines_of(file, &said), "{turn:?} is not in its conversation in {}", session.display());
    }
}

/// The lines of a file that parse.
fn lines(file: &Path) -> Vec<Value> {
    let text = String::from_utf8_lossy(&fs_err::read(file).unwrap_or_default()).into_owned();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Takes a turn in a copy: its conversation knows what it was told before the
/// copy was begun.
fn go_on(root: &Root, copy: &Path, key: &str, acknowledged: &[Turn]) {
    let status: Value = serde_json::from_str(&on(root, copy, &["status", key, "--json"])).expect("JSON");
    let current = status["record"]["conversation"]["id"].as_str().map(str::to_owned);
    let said: Vec<&Turn> = acknowledged.iter().filter(|turn| turn.key == key).collect();
    let history = on(root, copy, &["history", key, "--all", "--json"]);
    for turn in &said {
        assert!(history.lines().any(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["who"] == "user" && line["text"] == turn.text.as_str()
        }));
    }
    let reply = on(root, copy, &["send", key, "what did I say"]);
    for turn in said.iter().filter(|turn| turn.provider == "notes" && Some(&turn.conversation) == current.as_ref()) {
        assert!(reply.contains(&turn.text), "{turn:?} is not known in {}: {reply}", copy.display());
    }
    // And that turn is not lost behind what was cut short.
    let again = on(root, copy, &["send", key, "what did I say"]);
    assert!(again.contains("what did I say") || !said.iter().any(|turn| turn.provider == "notes"), "{key}: {again}");
}

/// In which states copied sessions were, and how often.
#[derive(Debug, Default)]
struct Facts {
    turns: usize,
    sessions: usize,
    seen: BTreeMap<String, usize>,
}

impl Facts {
    fn look(&mut self, copy: &Path) {
        for entry in fs_err::read_dir(copy.join("sessions")).expect("sessions") {
            let state = state_of(&entry.expect("an entry").path());
            self.sessions += 1;
            *self.seen.entry(state).or_default() += 1;
        }
    }
}

/// How the parts of a copied session differ in age, in words.
fn state_of(session: &Path) -> String {
    let Ok(text) = fs_err::read_to_string(session.join("session.json")) else { return "no session.json".to_owned() };
    let record: Value = serde_json::from_str(&text).expect("a record is whole");
    let transcript = fs_err::read(session.join("transcript.jsonl")).unwrap_or_default();
    let last = lines(&session.join("transcript.jsonl")).pop().unwrap_or_default();
    let (turns, last_turn) = (record["turns"].as_u64().unwrap_or(0), last["turn"].as_u64().unwrap_or(0));
    let mut states = vec![match turns.cmp(&last_turn) {
        _ if transcript.is_empty() && turns == 0 => "no turn".to_owned(),
        _ if transcript.is_empty() => "transcript missing".to_owned(),
        Ordering::Greater => format!("record {} ahead", turns - last_turn),
        Ordering::Less => format!("transcript {} ahead", last_turn - turns),
        Ordering::Equal => "record and transcript agree".to_owned(),
    }];
    let bytes = usize::try_from(record["transcript_bytes"].as_u64().unwrap_or(0)).expect("a size");
    if transcript.last().is_some_and(|byte| *byte != b'\n') {
        states.push(format!("transcript torn {} bytes", if transcript.len() > bytes { "beyond" } else { "within" }));
    }
    if bytes > 0 && transcript.get(bytes - 1).is_some_and(|byte| *byte != b'\n') {
        states.push("transcript_bytes within a line".to_owned());
    }
    if last["who"] == "user" {
        states.push("transcript ends with the question".to_owned());
    }
    let newest = [&record["last_used_at"], &record["conversation"]["started_at"], &record["archived_at"]];
    if newest.iter().any(|value| seconds(value) > modified(&session.join("session.json")) + 0.001) {
        states.push("record newer than its mtime".to_owned());
    }
    let kept = session.join("provider/notes");
    let mut named = vec![("current", &record["conversation"])];
    named.extend(record["earlier"].as_array().into_iter().flatten().map(|earlier| ("earlier", earlier)));
    for (which, conversation) in named.into_iter().filter(|(_, named)| named["provider"] == "notes") {
        let file = kept.join(format!("{}.jsonl", conversation["id"].as_str().expect("an id")));
        let answered = conversation["turns"].as_u64().unwrap_or(0);
        let Ok(bytes) = fs_err::read(&file) else {
            let older = if modified(&kept) < seconds(&conversation["started_at"]) { "older" } else { "NEWER" };
            states.push(format!("{which} conversation with {answered} turns without file, directory {older}"));
            continue;
        };
        if bytes.last().is_some_and(|byte| *byte != b'\n') {
            states.push(format!("{which} conversation torn"));
        }
        match (lines(&file).len() as u64).cmp(&answered) {
            Ordering::Less => states.push(format!("{which} conversation BEHIND the record")),
            Ordering::Greater => states.push(format!("{which} conversation ahead of the record")),
            Ordering::Equal => {}
        }
    }
    for file in fs_err::read_dir(&kept).into_iter().flatten().flatten() {
        let name = file.file_name().into_string().expect("text");
        if !text.contains(name.trim_end_matches(".jsonl")) {
            states.push("conversation that the record does not name".to_owned());
        }
    }
    states.join(", ")
}

/// A time in a record, in seconds since 1970; 0 if there is none.
fn seconds(value: &Value) -> f64 {
    let time = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.map_or(0.0, |time| time.as_duration().as_secs_f64())
}

/// The time of change of a file or directory; 0 if there is none.
fn modified(path: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0.0, |data| data.mtime() as f64 + data.mtime_nsec() as f64 / 1e9)
}
