//! The whole process, beside the smallest honest manager in the same run.
//!
//! `cargo bench --bench whole` takes about two minutes; `-- --full` adds 100,000
//! sessions, `-- --rows 1,3` runs some rows only. The directory on disk is
//! `DENIZEN_BENCH_DIR`, else `/var/tmp/denizen-bench-<uid>`; the one on tmpfs is
//! below `/dev/shm`. Only ratios within one run mean anything: the machine's
//! other work slows floor and product alike. The rows are those of `docs/performance.md`.

#![expect(clippy::disallowed_methods, reason = "a benchmark compares with the bare calls")]
#![expect(clippy::print_stdout, reason = "its output is a table")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use support::floor::{self, Floor};
use support::measure::{self, in_turns};
use support::product::{self, Product};
use support::serving;

/// The provider: reads its input to the end, waits if told to, answers.
const PROVIDER: &str = r#"
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    static char buffer[65536];
    static const char reply[] = "{\"reply\":\"ok\"}\n";
    while (read(0, buffer, sizeof buffer) > 0) {}
    if (argc > 1) usleep(1000 * (useconds_t)atoi(argv[1]));
    return write(1, reply, sizeof reply - 1) != sizeof reply - 1;
}
"#;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    // What this program starts itself as.
    match args.peek().map(String::as_str) {
        Some("__floor_run") => return floor::launch(args.skip(1)),
        Some("__floor_send") => return floor_send(args.skip(1).collect()),
        Some("__floor_list") => {
            floor::list(Path::new(&args.nth(1).expect("a directory")));
            return ExitCode::SUCCESS;
        }
        Some("__floor_migrate") => {
            let paths: Vec<PathBuf> = args.skip(1).map(PathBuf::from).collect();
            floor::migrate(&paths[0], &paths[1], paths.get(2).is_some());
            return ExitCode::SUCCESS;
        }
        Some("__serve") => return serving::serve(&args.skip(1).collect::<Vec<_>>()),
        Some("__memory") => return memory_of(args.skip(1).collect()),
        _ => {}
    }
    let args: Vec<String> = args.collect();
    let full = args.iter().any(|arg| arg == "--full");
    let rows = args.iter().position(|arg| arg == "--rows").and_then(|at| args.get(at + 1));
    let rows = rows.map(|rows| rows.split(',').map(str::to_owned).collect());
    let disk = std::env::var_os("DENIZEN_BENCH_DIR").map_or_else(
        || PathBuf::from(format!("/var/tmp/denizen-bench-{}", rustix::process::getuid().as_raw())),
        PathBuf::from,
    );
    let shared = PathBuf::from(format!("/dev/shm/denizen-bench-{}", rustix::process::getuid().as_raw()));
    for (name, base) in [("disk", disk), ("tmpfs", shared)] {
        // A directory of this run: what else is in the named one is not ours.
        let dir = base.join(format!("run-{}", std::process::id()));
        let Some(bench) = Bench::new(name, &dir, full, &rows) else { return ExitCode::FAILURE };
        bench.run();
        std::fs::remove_dir_all(&dir).expect("removed");
        // Left where another run or something else is in it.
        let _removed = std::fs::remove_dir(&base);
    }
    ExitCode::SUCCESS
}

struct Bench {
    place: &'static str,
    dir: PathBuf,
    full: bool,
    rows: Option<Vec<String>>,
    provider: PathBuf,
}

impl Bench {
    fn new(place: &'static str, dir: &Path, full: bool, rows: &Option<Vec<String>>) -> Option<Self> {
        std::fs::create_dir_all(dir).expect("a directory for the benchmark");
        let (source, provider) = (dir.join("provider.c"), dir.join("provider"));
        std::fs::write(&source, PROVIDER).expect("written");
        let compiled = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&provider).arg(&source).status();
        if !compiled.is_ok_and(|status| status.success()) {
            println!("the provider is a C program, and `cc -static` cannot compile it: install a C compiler");
            return None;
        }
        Some(Self { place, dir: dir.to_owned(), full, rows: rows.clone(), provider })
    }

    fn has(&self, row: &str) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows.iter().any(|wanted| wanted == row))
    }

    /// A root with its configuration, and floors over the same folders: without
    /// a launcher, and with one.
    fn root(&self, name: &str, durability: &str, milliseconds: Option<u32>) -> (PathBuf, Floor, Floor) {
        let root = self.dir.join(name);
        let mut provider = vec![self.provider.display().to_string()];
        provider.extend(milliseconds.map(|milliseconds| milliseconds.to_string()));
        product::configure(&root, &provider, durability);
        let (sessions, staging) = (root.join("sessions"), root.join("state/tmp"));
        std::fs::create_dir_all(&sessions).expect("a directory");
        std::fs::create_dir_all(&staging).expect("a directory");
        let bare = Floor { sessions, staging, provider, launcher: None, durable: durability == "power" };
        let launcher = Some(std::env::current_exe().expect("this program"));
        let launched = Floor { launcher, ..bare.clone() };
        (root, bare, launched)
    }

    fn run(&self) {
        println!("\n{} ({})", self.place, self.dir.display());
        println!(
            "{:<4} {:<46} {:>10} {:>10} {:>10} {:>8}  {:<10}",
            "row", "workload", "floor", "+launcher", "product", "ratio", "goal"
        );
        if self.has("1") || self.has("2") {
            self.one_key("1", "process", 1.05);
        }
        if self.has("3") {
            self.one_key("3", "power", 1.3);
        }
        if self.has("4") || self.has("6") {
            self.many_keys();
        }
        if self.has("5") {
            self.slow_provider();
        }
        if self.has("19") {
            self.channels("process");
            self.channels("power");
        }
        if self.has("7") || self.has("12") || self.has("9") || self.has("8") {
            self.many_sessions();
        }
        if self.has("17") || self.has("18") {
            self.whole_root();
        }
        if self.has("20") {
            self.walls();
        }
        if self.has("10") {
            self.cold("process");
            self.cold("power");
        }
        if self.has("11") {
            self.new_key("process");
            self.new_key("power");
        }
        if self.has("13") {
            self.migrate("process");
            self.migrate("power");
        }
    }

    /// 200 channels of a chat write five messages each, and 8 turns run at once.
    fn channels(&self, durability: &str) {
        let name = format!("channels-{durability}");
        let (root, ..) = self.root(&name, durability, Some(200));
        self.network(&root, "[channels.load]\ntoken = \"none\"\n");
        let (channels, messages, at_once) = (200, 5, 8);
        let ideal = (channels * messages) as f64 / at_once as f64 * 0.2;
        let needed = serving::talk(&root, channels, messages);
        assert!(needed.ordered, "a channel got its replies in another order");
        let what = format!("{channels} channels x {messages}, 8 at once, {durability}, s");
        line("19", &what, [ideal, f64::NAN, needed.seconds], needed.seconds / ideal, At::Most(1.05));
        line("19", "the same, RSS, MiB", [f64::NAN, f64::NAN, needed.peak], needed.peak, At::Most(40.0));
    }

    /// Adds a section to the configuration of a root.
    fn network(&self, root: &Path, section: &str) {
        let path = root.join("denizen.toml");
        let config = std::fs::read_to_string(&path).expect("a configuration");
        std::fs::write(&path, format!("{config}\n{section}")).expect("written");
    }

    /// The real daemon, from its start to ready, and what it then needs.
    fn ready(&self, root: &Path, sessions: usize) {
        let path = root.join("denizen.toml");
        let config = std::fs::read_to_string(&path).expect("a configuration");
        let nowhere = "[channels.discord]\ntoken = \"none\"\napi_url = \"http://127.0.0.1:9\"\ngateway_url = \"ws://127.0.0.1:9\"\n";
        self.network(root, nowhere);
        let rounds: Vec<(f64, f64)> = (0..7).map(|_| serving::ready(root)).collect();
        std::fs::write(&path, config).expect("written");
        let took = measure::median(&rounds.iter().map(|round| round.0).collect::<Vec<_>>());
        let memory = measure::median(&rounds.iter().map(|round| round.1).collect::<Vec<_>>());
        let what = format!("serve, {sessions} sessions, to ready, ms");
        line("8", &what, [f64::NAN, f64::NAN, took], took, At::Most(8.0));
        let what = format!("serve, {sessions} sessions, RSS idle, MiB");
        line("8", &what, [f64::NAN, f64::NAN, memory], memory, At::Nothing);
    }

    /// A file of 10,000 conversations of an earlier bot becomes sessions.
    fn migrate(&self, durability: &str) {
        let count = 10_000;
        let bot = self.dir.join("bot");
        let file = product::legacy(&bot, count);
        let me = std::env::current_exe().expect("this program");
        let run = |command: &mut Command| {
            assert!(command.env_clear().stdout(Stdio::null()).status().expect("started").success(), "it failed");
        };
        let root = self.dir.join(format!("migrated-{durability}"));
        let (mut floor, mut product) = (Vec::new(), Vec::new());
        for round in 0..6 {
            // What each made is removed outside its time.
            let timed = |samples: &mut Vec<f64>, command: &mut Command| {
                let start = Instant::now();
                run(command);
                let took = start.elapsed().as_secs_f64() * 1e3;
                std::fs::remove_dir_all(&root).expect("removed");
                if round > 0 {
                    samples.push(took);
                }
            };
            let mut command = Command::new(&me);
            command.arg("__floor_migrate").arg(&file).arg(&root).args((durability == "power").then_some("power"));
            timed(&mut floor, &mut command);
            let mut command = Command::new(product::program());
            command.args(["--quiet", "migrate", "--from"]).arg(&bot).arg("--root").arg(&root);
            timed(&mut product, command.args(["-c", &format!("durability={durability}")]));
        }
        let (b, c) = (measure::median(&floor), measure::median(&product));
        let what = format!("migrate {count} conversations, {durability}, ms");
        line("13", &what, [b, f64::NAN, c], c / b, At::Most(1.4));
    }

    fn one_key(&self, row: &str, durability: &str, goal: f64) {
        let (root, bare, launched) = self.root(&format!("one-{durability}"), durability, None);
        let product = Product::open(&root);
        let [a, b, c] = in_turns(
            300,
            [
                &mut |_| drop(bare.send("floor-1", "hello")),
                &mut |_| drop(launched.send("floor-2", "hello")),
                &mut |_| drop(product.send("product-1", "hello")),
            ],
        );
        let what = format!("one key, {durability}, p50 ms");
        line(row, &what, [a.wall(), b.wall(), c.wall()], c.wall() / b.wall(), At::Most(goal));
        let what = format!("manager CPU, {durability}, ms");
        line("2", &what, [a.cpu(), b.cpu(), c.cpu()], c.cpu() / b.cpu(), At::Most(1.4));
        line("", "bytes written per message", [a.written(), b.written(), c.written()], c.written(), At::Most(2048.0));
    }

    /// What walls add to a turn, whose provider does next to nothing.
    fn walls(&self) {
        let (root, ..) = self.root("walls", "process", None);
        let [off, kernel, full] = ["off", "kernel", "full"].map(|walls| Product::open_with(&root, walls));
        let [a, b, c] = in_turns(
            100,
            [&mut |_| drop(off.send("off", "hello")), &mut |_| drop(kernel.send("kernel", "hello")), &mut |_| {
                drop(full.send("full", "hello"))
            }],
        );
        let (a, b, c) = (a.wall(), b.wall(), c.wall());
        line("20", "Landlock and seccomp, to no walls, more ms", [a, f64::NAN, b], b - a, At::Most(2.0));
        line("", "bubblewrap too, to no walls, more ms", [a, f64::NAN, c], c - a, At::Most(12.0));
    }

    fn many_keys(&self) {
        let count = 600;
        let (root, bare, launched) = self.root("many", "process", None);
        let (full_root, ..) = self.root("many-full", "process", None);
        product::generate(&full_root, 0, 10_000);
        let (product, full) = (Product::open(&root), Product::open(&full_root));
        let per_second = |samples: &measure::Samples| count as f64 / samples.wall() * 1e3;
        let [a, b, c, d] = in_turns(
            5,
            [
                &mut |_| bare.send_many(count, 100, 8),
                &mut |_| launched.send_many(count, 100, 8),
                &mut |_| product.send_many(count, 100, 8),
                &mut |_| full.send_many(count, 100, 8),
            ],
        )
        .map(|samples| per_second(&samples));
        line("4", "100 keys, 8 at once, messages/s", [a, b, c], c / b, At::Least(0.82));
        line("6", "the same among 10,000 sessions, to row 4", [f64::NAN, f64::NAN, d], d / c, At::Least(0.9));
    }

    fn slow_provider(&self) {
        let (root, bare, launched) = self.root("slow", "process", Some(200));
        let product = Product::open(&root);
        let count = 80;
        let per_second = |send: &dyn Fn(usize)| {
            send(8);
            let start = Instant::now();
            send(count);
            count as f64 / start.elapsed().as_secs_f64()
        };
        let a = per_second(&|count| bare.send_many(count, 100, 8));
        let b = per_second(&|count| launched.send_many(count, 100, 8));
        let c = per_second(&|count| product.send_many(count, 100, 8));
        line("5", "200 ms provider, 8 at once, messages/s", [a, b, c], c, At::Least(39.5));
    }

    fn many_sessions(&self) {
        let (root, _, launched) = self.root("sessions", "process", None);
        let product = Product::open(&root);
        let mut sizes = vec![0, 10, 1_000, 10_000];
        if self.full {
            sizes.push(100_000);
        }
        let mut present = 0;
        let mut first = None;
        for size in sizes {
            product::generate(&root, present, size);
            present = size;
            if self.has("8") && (size == 0 || size >= 10_000) {
                self.ready(&root, size);
            }
            if self.has("9") && (size == 0 || size >= 10_000) {
                let goal = if size == 0 { 7.0 } else { 7.5 };
                self.memory(&root, &launched, "idle", &format!("RSS idle, {size} sessions, MiB"), goal);
            }
            if self.has("7") && size > 0 {
                let [b, c] = in_turns(
                    200,
                    [&mut |round| drop(launched.send(&format!("floor-{}", round % 10), "hello")), &mut |round| {
                        drop(product.send(&format!("product-{}", round % 10), "hello"))
                    }],
                );
                let what = format!("p50 with {size} sessions, ms, to 10");
                let ten = *first.get_or_insert(c.wall() / b.wall());
                // The machine drifts between sizes, so both are seen against the floor beside them.
                line("7", &what, [f64::NAN, b.wall(), c.wall()], c.wall() / b.wall() / ten, At::Most(1.15));
                line(
                    "",
                    "bytes written per message",
                    [f64::NAN, b.written(), c.written()],
                    c.written(),
                    At::Most(2048.0),
                );
            }
            if self.has("12") && size >= 1_000 {
                self.list(&root, &launched, size);
            }
        }
        if self.has("9") {
            self.memory(&root, &launched, "busy", "peak RSS, 600 messages over 100 keys, MiB", 10.0);
        }
    }

    /// What goes through all sessions once: time and memory of fresh processes.
    fn whole_root(&self) {
        let (root, _, launched) = self.root("whole", "process", None);
        let mut sizes = vec![1_000];
        // Some gigabytes, too much for memory.
        if self.full && self.place == "disk" {
            sizes.push(100_000);
        }
        let mut present = 0;
        for size in sizes {
            product::generate_whole(&root, present, size);
            present = size;
            for (row, what) in [("17", "verify"), ("18", "export")] {
                if !self.has(row) {
                    continue;
                }
                let rounds = if size > 1_000 { 3 } else { 11 };
                let (floor, product) = self.fresh(what, &root, &launched, rounds);
                let ratio = product.0 / floor.0;
                line(row, &format!("{what}, {size} sessions, ms"), [f64::NAN, floor.0, product.0], ratio, At::Nothing);
                let name = format!("{what}, {size} sessions, peak RSS, MiB");
                line("", &name, [f64::NAN, floor.1, product.1], product.1, At::Most(16.0));
            }
        }
    }

    /// Milliseconds and MiB of floor and product, each a process of its own.
    fn fresh(&self, what: &str, root: &Path, launched: &Floor, rounds: usize) -> ((f64, f64), (f64, f64)) {
        let me = std::env::current_exe().expect("this program");
        let peaks = std::cell::RefCell::new([Vec::new(), Vec::new()]);
        let run = |who: &str, at: usize| {
            let mut command = Command::new(&me);
            let out = command.args(["__memory", who, what]).arg(root).args(&launched.provider).output();
            let out = out.expect("a fresh process").stdout;
            peaks.borrow_mut()[at].push(String::from_utf8_lossy(&out).trim().parse().expect("a number"));
        };
        let [b, c] = in_turns(rounds, [&mut |_| run("floor", 0), &mut |_| run("product", 1)]);
        let peak = |at: usize| measure::median(&peaks.borrow()[at]);
        ((b.wall(), peak(0)), (c.wall(), peak(1)))
    }

    fn memory(&self, root: &Path, launched: &Floor, what: &str, name: &str, goal: f64) {
        let me = std::env::current_exe().expect("this program");
        let run = |who: &str| -> f64 {
            let out = Command::new(&me).args(["__memory", who, what]).arg(root).args(&launched.provider).output();
            let out = out.expect("a fresh process").stdout;
            String::from_utf8_lossy(&out).trim().parse().expect("a number")
        };
        let (b, c) = (run("floor"), run("product"));
        line("9", name, [f64::NAN, b, c], c, At::Most(goal));
    }

    fn list(&self, root: &Path, launched: &Floor, size: usize) {
        let me = std::env::current_exe().expect("this program");
        let run = |command: &mut Command| {
            assert!(command.env_clear().stdout(Stdio::null()).status().expect("started").success(), "`ls` failed");
        };
        let rounds = if size > 10_000 { 5 } else { 15 };
        let [b, c] = in_turns(
            rounds,
            [&mut |_| run(Command::new(&me).arg("__floor_list").arg(&launched.sessions)), &mut |_| {
                run(Command::new(product::program()).arg("--root").arg(root).args(["ls", "--json"]))
            }],
        );
        let what = format!("`ls --json`, {size} sessions, ms");
        line("12", &what, [f64::NAN, b.wall(), c.wall()], c.wall() / b.wall(), At::Most(1.3));
    }

    fn cold(&self, durability: &str) {
        let (root, bare, launched) = self.root(&format!("cold-{durability}"), durability, None);
        let me = std::env::current_exe().expect("this program");
        let run = |command: &mut Command| {
            command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
            assert!(command.status().expect("started").success(), "`send` failed");
        };
        let floor = |floor: &Floor, key: &str| {
            let launched = if floor.launcher.is_some() { "launched" } else { "bare" };
            let mut command = Command::new(&me);
            run(command.args(["__floor_send", launched, durability, key]).arg(&root).args(&floor.provider));
        };
        let [provider, a, b, c] = in_turns(
            150,
            [
                &mut |_| run(&mut Command::new(&self.provider)),
                &mut |_| floor(&bare, "floor-1"),
                &mut |_| floor(&launched, "floor-2"),
                &mut |_| {
                    run(Command::new(product::program()).arg("--root").arg(&root).args(["send", "product-1", "hello"]));
                },
            ],
        )
        .map(|samples| samples.wall());
        let what = format!("cold `send`, {durability}, minus the provider, ms");
        let (a, b, c) = (a - provider, b - provider, c - provider);
        line("10", &what, [a, b, c], c / b, At::Most(1.45));
    }

    fn new_key(&self, durability: &str) {
        let (root, bare, _) = self.root(&format!("new-{durability}"), durability, None);
        let product = Product::open(&root);
        let [old_floor, new_floor, old, new] = in_turns(
            150,
            [
                &mut |_| drop(bare.send("floor-old", "hello")),
                &mut |round| drop(bare.send(&format!("floor-{round}"), "hello")),
                &mut |_| drop(product.send("product-old", "hello")),
                &mut |round| drop(product.send(&format!("product-{round}"), "hello")),
            ],
        )
        .map(|samples| samples.wall());
        let what = format!("first message of a new key, {durability}, extra ms");
        let (a, c) = (new_floor - old_floor, new - old);
        line("11", &what, [a, f64::NAN, c], c / a, At::Most(1.4));
        let what = format!("the whole first message, {durability}, ms");
        line("", &what, [new_floor, f64::NAN, new], new / new_floor, At::Nothing);
    }
}

/// What a ratio should be.
enum At {
    Most(f64),
    Least(f64),
    Nothing,
}

fn line(row: &str, what: &str, [bare, launched, product]: [f64; 3], ratio: f64, goal: At) {
    let (goal, met) = match goal {
        At::Most(most) => (format!("<= {most}"), ratio <= most),
        At::Least(least) => (format!(">= {least}"), ratio >= least),
        At::Nothing => (String::new(), true),
    };
    let cell = |value: f64| match value {
        value if value.is_nan() => String::new(),
        value if value.abs() >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.3}"),
    };
    let [bare, launched, product, ratio] = [bare, launched, product, ratio].map(cell);
    let missed = if met { "" } else { "  MISSED" };
    println!("{row:<4} {what:<46} {bare:>10} {launched:>10} {product:>10} {ratio:>8}  {goal:<10}{missed}");
}

/// The floor as a program of its own: `bare|launched power|process KEY ROOT PROVIDER..`.
fn floor_send(args: Vec<String>) -> ExitCode {
    let [launched, durability, key, root, provider @ ..] = args.as_slice() else { return ExitCode::FAILURE };
    let root = Path::new(root);
    let floor = Floor {
        sessions: root.join("sessions"),
        staging: root.join("state/tmp"),
        provider: provider.to_vec(),
        launcher: (launched == "launched").then(|| PathBuf::from("/proc/self/exe")),
        durable: durability == "power",
    };
    println!("{}", floor.send(key, "hello"));
    ExitCode::SUCCESS
}

/// Prints the memory of a fresh process: `floor|product idle|busy|verify|export ROOT PROVIDER..`.
fn memory_of(args: Vec<String>) -> ExitCode {
    let [who, what, root, provider @ ..] = args.as_slice() else { return ExitCode::FAILURE };
    let root = Path::new(root);
    let floor = || Floor {
        sessions: root.join("sessions"),
        staging: root.join("state/tmp"),
        provider: provider.to_vec(),
        launcher: Some(std::env::current_exe().expect("this program")),
        durable: false,
    };
    let product = (who == "product").then(|| Product::open(root));
    match (product, what.as_str()) {
        (Some(product), "idle") => {
            product.send("product-0", "hello");
            println!("{}", measure::memory().0);
        }
        (None, "idle") => {
            floor().send("floor-0", "hello");
            println!("{}", measure::memory().0);
        }
        (Some(_), "verify") => {
            product::verify(root);
            println!("{}", measure::memory().1);
        }
        (None, "verify") => {
            floor::read_all(&root.join("sessions"));
            println!("{}", measure::memory().1);
        }
        (Some(product), "export") => {
            product.export();
            println!("{}", measure::memory().1);
        }
        (None, "export") => {
            floor::pack(&root.join("sessions"));
            println!("{}", measure::memory().1);
        }
        (Some(product), _) => {
            product.send_many(600, 100, 8);
            println!("{}", measure::memory().1);
        }
        (None, _) => {
            floor().send_many(600, 100, 8);
            println!("{}", measure::memory().1);
        }
    }
    ExitCode::SUCCESS
}
