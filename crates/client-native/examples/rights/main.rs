//! What licenses cost on the device, with a store on the disk that holds few or many: the program that
//! `bench/rights.py` runs.
//!
//! ```text
//!  rights FOLDER ROUNDS LICENSES...
//! ```
//! A license server in another thread, a client in `FOLDER`, and for each number of licenses, ascending: fill the
//! store up to it by ordinary responses of 256 licenses, then measure. Every license is signed and sealed by the
//! server and verified and opened by the client. One line a figure on standard output, separated by tabs: licenses
//! in the store, what was measured, how often, median, 99th percentile. Times are in microseconds.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and says it"
)]

mod device;
mod peer;
mod server;

use std::{error::Error, fmt::Display, path::PathBuf, time::Instant};

use device::{Device, LARGEST_REQUEST};

/// Whatever goes wrong ends the benchmark.
type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Responses that are installed for a measurement.
const RESPONSES: u64 = 40;
/// Times that the store is opened for a measurement.
const OPENINGS: usize = 7;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: rights FOLDER ROUNDS LICENSES...";
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let rounds = arguments.next().ok_or(usage)?.parse()?;
    let counts: Vec<u64> = arguments.map(|count| count.parse()).collect::<Result<_, _>>()?;
    let mut device = Device::enrolled(&folder)?;
    for count in counts {
        let filled = micros(|| device.fill(count))?;
        say(count, "fill", &[filled]);
        measure(&mut device, &folder, rounds)?;
    }
    Ok(())
}

/// Measures a store as it is; what is installed for that comes last.
fn measure(device: &mut Device, folder: &std::path::Path, rounds: usize) -> Outcome {
    let licenses = device.licenses();
    let peer = peer::Peer::new()?;
    let mut times: [Vec<u64>; 4] = Default::default();
    let [open, first, find, bind] = &mut times;
    for _ in 0..OPENINGS {
        device.close();
        open.push(micros(|| device.open())?);
        let kid = device.any_kid();
        first.push(micros(|| device.bind(kid))?);
    }
    let mut alone = Vec::new();
    for _ in 0..rounds {
        let kid = device.any_kid();
        find.push(micros(|| device.find(kid))?);
        let kid = device.any_kid();
        bind.push(micros(|| device.bind(kid))?);
        alone.push(micros(|| peer.verify_and_open())?);
    }
    for (what, times) in ["open store", "bind after opening", "find", "bind"]
        .iter()
        .zip(&times)
    {
        say(licenses, what, times);
    }
    say(licenses, "cryptography of one license", &alone);
    say(licenses, "bytes on the disk", &[device.bytes_on_disk()?]);
    say(licenses, "bytes of sealed records", &[device.bytes_of_records()]);
    measure_writing(device, folder, licenses)
}

/// Installs responses, and plays rentals for the first time.
fn measure_writing(device: &mut Device, folder: &std::path::Path, licenses: u64) -> Outcome {
    let (mut one, mut many, mut flush, mut rentals) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for at in 0..RESPONSES {
        let (kids, response) = device.answered(1, true)?;
        one.push(micros(|| device.install(response))?);
        let rental = kids.into_iter().next().ok_or("a response without a license")?;
        rentals.push(micros(|| device.bind(rental))?);
        flush.push(micros(|| peer::flush(folder))?);
        if at % 4 == 0 {
            let (_, response) = device.answered(LARGEST_REQUEST, false)?;
            many.push(micros(|| device.install(response))?);
        }
    }
    say(licenses, "install a response of 1", &one);
    say(licenses, "install a response of 256", &many);
    say(licenses, "bind with a first play to record", &rentals);
    say(licenses, "flush of a new file and its folder", &flush);
    Ok(())
}

/// Microseconds that something took.
fn micros<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<u64> {
    let started = Instant::now();
    work()?;
    Ok(u64::try_from(started.elapsed().as_micros())?)
}

/// Says median and 99th percentile.
fn say(licenses: u64, what: impl Display, figures: &[u64]) {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable();
    let at = |hundredth: usize| sorted.get((sorted.len().saturating_sub(1)) * hundredth / 100);
    let figure = |hundredth| at(hundredth).copied().unwrap_or_default();
    println!(
        "{licenses}\t{what}\t{}\t{}\t{}",
        sorted.len(),
        figure(50),
        figure(99)
    );
}
