//! Clocks and samples. Wall time is noisy on shared machines, so everything
//! that is compared is measured in turns, one call of each at a time.

use std::time::{Duration, Instant};

/// What one call took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    written: Vec<f64>,
}

impl Samples {
    /// Takes one sample.
    pub(crate) fn take(&mut self, call: impl FnOnce()) {
        let (cpu, written, wall) = (cpu_time(), bytes_written(), Instant::now());
        call();
        self.wall.push(wall.elapsed().as_secs_f64() * 1e3);
        self.cpu.push(cpu_time().saturating_sub(cpu).as_secs_f64() * 1e3);
        self.written.push((bytes_written() - written) as f64);
    }

    /// The median of the wall time, in milliseconds.
    pub(crate) fn wall(&self) -> f64 {
        median(&self.wall)
    }

    /// The median of this process's CPU time, in milliseconds. Children count for nothing.
    pub(crate) fn cpu(&self) -> f64 {
        median(&self.cpu)
    }

    /// The median of the bytes given to `write`, by this process and its children.
    pub(crate) fn written(&self) -> f64 {
        median(&self.written)
    }
}

/// Calls each in turn, `rounds` times, after some calls that are not counted.
pub(crate) fn in_turns<const N: usize>(rounds: usize, mut calls: [&mut dyn FnMut(usize); N]) -> [Samples; N] {
    let warm_up = (rounds / 10).min(20);
    let mut samples = [const { None::<Samples> }; N].map(Option::unwrap_or_default);
    for round in 0..rounds + warm_up {
        for (call, samples) in calls.iter_mut().zip(&mut samples) {
            if round < warm_up { call(round) } else { samples.take(|| call(round)) }
        }
    }
    samples
}

/// The middle value.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The CPU time of all threads of this process.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The bytes given to `write` so far, by this process and the children it has collected.
fn bytes_written() -> u64 {
    field("/proc/self/io", "wchar:")
}

/// The memory of this process, now and at its highest, in MiB.
pub(crate) fn memory() -> (f64, f64) {
    let mib = |name| field("/proc/self/status", name) as f64 / 1024.0;
    (mib("VmRSS:"), mib("VmHWM:"))
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect("procfs");
    let value = text.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
    value.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
