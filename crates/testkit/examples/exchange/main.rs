//! What key exchange costs: the program that `bench/exchange.py` runs.
//!
//! ```text
//!  exchange operations FOLDER ROUNDS    every operation: a prepared key of a client, the handle of a ring, the library
//!  exchange handles FOLDER COUNT        preparing and closing keys, and the memory of those that are held
//!  exchange load                        calls of a license server, as orders on standard input say
//! ```
//! One line a figure on standard output, separated by tabs; `load` answers each order, one line of JSON, with one.
//! Times are in nanoseconds.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and says it"
)]

mod device;
mod handle;
mod library;
mod load;

use std::{error::Error, fs, path::PathBuf, time::Instant};

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::key_exchange::{Input, Output, Performer};

use device::{Device, chance};
use handle::Handle;

/// Whatever goes wrong ends the benchmark.
type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// One call of an operation with the data and, for what takes one, the result.
type Call<'a> = Box<dyn FnMut() -> Outcome + 'a>;

/// Shortest time that is measured at once.
const BATCH: u128 = 1_000_000;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: exchange operations FOLDER ROUNDS | handles FOLDER COUNT | load";
    let mode = arguments.next().ok_or(usage)?;
    if mode == "load" {
        return load::serve();
    }
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let count = arguments.next().ok_or(usage)?.parse()?;
    let mut device = Device::enrolled(&folder)?;
    match mode.as_str() {
        "operations" => operations(&mut device, count),
        "handles" => handles(&mut device, count),
        _ => Err(usage.into()),
    }
}

/// Every algorithm and operation with messages of 64 bytes, 1 KiB and 1 MiB, or the longest key to wrap: the time of
/// the client, and in thousandths the speed of client and handle to that of the library, side by side in each round.
fn operations(device: &mut Device, rounds: usize) -> Outcome {
    for algorithm in Algorithm::ALL {
        let longest = if algorithm.permits(Operation::Wrap) {
            4096
        } else {
            1 << 20
        };
        for operation in algorithm.operations() {
            for len in [64, 1024, longest] {
                let [client, handle, library] = compare(device, algorithm, operation, len, rounds)?;
                let speed = |ours: &[u128]| {
                    let rounds = library.iter().zip(ours);
                    let thousandths: Vec<u128> = rounds.map(|(theirs, ours)| theirs * 1000 / ours).collect();
                    median(&thousandths)
                };
                let (time, client, handle) = (median(&client), speed(&client), speed(&handle));
                println!("{algorithm}\t{operation}\t{len}\t{time}\t{client}\t{handle}");
            }
        }
    }
    Ok(())
}

/// Nanoseconds of a call in each round: client, handle, library, measured in turn.
fn compare(
    device: &mut Device,
    algorithm: Algorithm,
    operation: Operation,
    len: usize,
    rounds: usize,
) -> Outcome<[Vec<u128>; 3]> {
    let data = vec![0xa5; len];
    let result = result(device, algorithm, operation, &data)?;
    let (taken, signature) = match operation {
        Operation::Verify => (&data, Some(&result[..])),
        _ if operation.produces() => (&data, None),
        _ => (&result, None),
    };
    let performer = Performer::new(device.ring(algorithm, operation)?)?;
    let input = Input {
        data: taken,
        signature,
        ..Input::default()
    };
    let mut rng = chance();
    let material = device.key(algorithm)?.material(operation)?;
    let public = device.key(algorithm)?;
    let library = library::call(&material, public, &data, result.get(4..).unwrap_or_default())?;
    let handle = Handle::prepare(device, algorithm, operation)?;
    let mut calls: [Call<'_>; 3] = [
        Box::new(|| handle.perform(&mut device.client, taken, signature)),
        Box::new(|| {
            std::hint::black_box(performer.perform(&input, &mut rng)?);
            Ok(())
        }),
        library,
    ];
    let mut times: [Vec<u128>; 3] = Default::default();
    let mut batches = [1; 3];
    for (call, batch) in calls.iter_mut().zip(&mut batches) {
        while timed(call, *batch)? < BATCH {
            *batch *= 2;
        }
    }
    for _ in 0..rounds {
        for ((call, batch), times) in calls.iter_mut().zip(batches).zip(&mut times) {
            times.push(timed(call, batch)? / u128::from(batch));
        }
    }
    Ok(times)
}

/// What the operation takes: the result of the other one.
fn result(device: &Device, algorithm: Algorithm, operation: Operation, data: &[u8]) -> Outcome<Vec<u8>> {
    if operation.produces() {
        return Ok(Vec::new());
    }
    let maker = Performer::new(device.ring(algorithm, operation.mirror())?)?;
    let input = Input {
        data,
        ..Input::default()
    };
    match maker.perform(&input, &mut chance())? {
        Output::Result(result) => Ok(result),
        _ => Err("no result".into()),
    }
}

fn timed(call: &mut Call<'_>, batch: u32) -> Outcome<u128> {
    let started = Instant::now();
    for _ in 0..batch {
        call()?;
    }
    Ok(started.elapsed().as_nanos())
}

/// Preparing and closing, with the license in the store, and the memory of keys that are held.
fn handles(device: &mut Device, count: usize) -> Outcome {
    let measured = [
        (Algorithm::A256Gcm, Operation::Decrypt),
        (Algorithm::HmacSha256, Operation::Sign),
        (Algorithm::Esp256, Operation::Verify),
        (Algorithm::A256Gcm, Operation::Encrypt),
    ];
    for (algorithm, operation) in measured {
        let (mut prepare, mut close) = (Vec::new(), Vec::new());
        // What records its uses waits for the disk.
        let rounds = if (algorithm, operation) == (Algorithm::A256Gcm, Operation::Encrypt) {
            200
        } else {
            2000
        };
        for _ in 0..rounds {
            let started = Instant::now();
            let handle = Handle::prepare(device, algorithm, operation)?;
            prepare.push(started.elapsed().as_nanos());
            let started = Instant::now();
            handle.close(&mut device.client)?;
            close.push(started.elapsed().as_nanos());
        }
        let [prepare, close] = [prepare, close].map(|times| median(&times));
        println!("time\t{algorithm} {operation}\t{prepare}\t{close}");
    }
    let before = resident()?;
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        held.push(Handle::prepare(device, Algorithm::A256Gcm, Operation::Decrypt)?);
    }
    let bytes = resident()?.saturating_sub(before) / held.len().max(1);
    let locked = held.iter().filter(|handle| handle.is_locked()).count();
    println!("memory\t{}\t{bytes}\t{locked}", held.len());
    Ok(())
}

/// Bytes of this process in memory.
fn resident() -> Outcome<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kibibytes.ok_or("no VmRSS")?.parse::<usize>()? * 1024)
}

fn median(times: &[u128]) -> u128 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
