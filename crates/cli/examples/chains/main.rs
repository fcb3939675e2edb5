//! What chains cost: making leaves for every crypto period, and playing content whose key changes with each segment.
//! The program that `bench/chains.py` runs.
//!
//! ```text
//!  chains make FOLDER PERIODS ROUNDS   an operator, a packager and a device in FOLDER: measures how leaves are made,
//!                                      and leaves the device there with its root license, and a channel
//!  chains play FOLDER ROUNDS BYTES     that device: segments of BYTES under a key each, and under one key
//!  chains hour FOLDER                  that device: the channel from its beginning to its end, and the memory it takes
//! ```
//! One line a figure on standard output, separated by tabs: what was measured, how often, median, 99th percentile.
//! Times are in microseconds, memory in KiB.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and says it"
)]

mod channel;
mod device;
mod make;
mod peer;
mod play;

use std::{error::Error, path::PathBuf, time::Instant};

/// Whatever goes wrong ends the benchmark.
type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: chains make|play|hour FOLDER ...");
    let (what, folder) = (next()?, PathBuf::from(next()?));
    match &what[..] {
        "make" => make::run(&folder, next()?.parse()?, next()?.parse()?),
        "play" => play::segments(&folder, next()?.parse()?, next()?.parse()?),
        "hour" => play::hour(&folder),
        other => Err(format!("there is no `{other}`").into()),
    }
}

/// Microseconds that something took, and what it gave.
fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(u64, T)> {
    let started = Instant::now();
    let done = work()?;
    Ok((u64::try_from(started.elapsed().as_micros())?, done))
}

/// Says median and 99th percentile.
fn say(what: &str, figures: &[u64]) {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable();
    let at = |hundredth: usize| sorted.get(sorted.len().saturating_sub(1) * hundredth / 100);
    let figure = |hundredth| at(hundredth).copied().unwrap_or_default();
    println!("{what}\t{}\t{}\t{}", sorted.len(), figure(50), figure(99));
}
