//! The load: windows of prepared requests over kept connections.

use core::cell::{Cell, RefCell};
use std::{
    collections::VecDeque,
    io::{BufRead, Write},
    rc::Rc,
    thread,
};

use axum::body::Bytes;
use keyward_crypto::hpke::Suite;
use keyward_license::{discovery::media_type, ids::Kid};
use serde::{Deserialize, Serialize};
use tokio::{
    task::LocalSet,
    time::{Duration, Instant},
};

use crate::{
    Outcome,
    ceiling::Keys,
    connection::Connection,
    devices::{Device, Operator},
};

/// One line of standard input: a window to measure.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// Suite number of the devices.
    suite: u64,
    connections: usize,
    requests: usize,
    /// Key id that licenses are asked for, in hexadecimal.
    kid: String,
    /// Measure this crypto-only endpoint instead of the license server.
    ceiling: Option<String>,
}

/// What a window has shown. Times are in microseconds.
#[derive(Serialize)]
struct Window {
    requests: usize,
    seconds: f64,
    p50: u128,
    p99: u128,
}

/// Enrols one device a token, the first half without suite 2, and then measures what it is told to.
pub(crate) async fn run(profile: &str, tokens: Vec<String>) -> Outcome {
    let operator = Operator::read(&std::fs::read(profile)?)?;
    let ceiling = Keys::fixed()?;
    let mut connection = Connection::open(operator.origin()).await?;
    let mut fleets: [Vec<Device>; 2] = Default::default();
    let half = tokens.len().div_ceil(2);
    for (position, token) in tokens.into_iter().enumerate() {
        let best = if position < half {
            Suite::P256
        } else {
            Suite::XWing
        };
        let [first, second] = &mut fleets;
        let fleet = if best == Suite::P256 { first } else { second };
        fleet.push(operator.enrol(&mut connection, best, token).await?);
    }
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let [first, second] = &fleets;
        let fleet = if order.suite == 1 { first } else { second };
        let window = measure(&operator, &ceiling, fleet, &order).await?;
        say(&serde_json::to_string(&window)?)?;
    }
    Ok(())
}

/// One line on standard output, at once.
pub(crate) fn say(line: &str) -> Outcome {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

async fn measure(operator: &Operator, ceiling: &Keys, fleet: &[Device], order: &Order) -> Outcome<Window> {
    let kid = Kid::try_from(&hex::decode(&order.kid).map_err(|_| "a key id that is not hexadecimal")?[..])?;
    let device = fleet.first().ok_or("no device of this suite")?;
    // One more, to see that licenses come and how long their messages are.
    let probe = device.prepare(kid)?;
    let answer = Connection::open(device.url())
        .await?
        .post(device.url(), media_type::LICENSE_REQUEST, probe.sealed.clone())
        .await?;
    let lengths = operator.judge(&probe, &answer)?;
    let suite = Suite::from_number(order.suite).ok_or("a suite of no number")?;
    // All devices in turn.
    let ours = |turn: usize| {
        let device = fleet.get(turn % fleet.len()).ok_or("no device of this suite")?;
        Ok(device.prepare(kid)?.sealed)
    };
    let (url, bodies) = match &order.ceiling {
        None => (device.url(), distinct(order.requests, ours)?),
        Some(url) => (
            &url[..],
            distinct(order.requests, |_| ceiling.request(suite, lengths))?,
        ),
    };
    drive(url, order.connections, bodies).await
}

/// Distinct requests, made on all processors. One alone would be faster to answer than any: what verifying a signature
/// branches on would always be the same.
fn distinct(requests: usize, make: impl Fn(usize) -> Outcome<Bytes> + Sync) -> Outcome<VecDeque<Bytes>> {
    let threads = thread::available_parallelism()?.get();
    let make = &make;
    thread::scope(|scope| {
        let turns = |thread| (thread..requests).step_by(threads);
        let made: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || turns(thread).map(make).collect::<Outcome<Vec<_>>>()))
            .collect();
        let mut bodies = VecDeque::with_capacity(requests);
        for thread in made {
            let made = thread
                .join()
                .map_err(|_| "a thread that prepares requests died")??;
            bodies.extend(made);
        }
        Ok(bodies)
    })
}

/// Sends every body once, over so many connections at a time, each with one request under way.
async fn drive(url: &str, connections: usize, bodies: VecDeque<Bytes>) -> Outcome<Window> {
    let requests = bodies.len();
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(url).await?);
    }
    let bodies = Rc::new(RefCell::new(bodies));
    let latencies = Rc::new(RefCell::new(Vec::with_capacity(requests)));
    let failed = Rc::new(Cell::new(None));
    let started = Instant::now();
    let senders = LocalSet::new();
    for mut connection in open {
        let (bodies, latencies, failed) = (bodies.clone(), latencies.clone(), failed.clone());
        let url = url.to_owned();
        senders.spawn_local(async move {
            loop {
                let Some(body) = bodies.borrow_mut().pop_front() else {
                    break;
                };
                let sent = Instant::now();
                if let Err(error) = connection.post(&url, media_type::LICENSE_REQUEST, body).await {
                    failed.set(Some(error));
                    break;
                }
                latencies.borrow_mut().push(sent.elapsed());
            }
        });
    }
    senders.await;
    let seconds = started.elapsed().as_secs_f64();
    if let Some(error) = failed.take() {
        return Err(error);
    }
    let mut latencies = latencies.take();
    latencies.sort_unstable();
    Ok(Window {
        requests,
        seconds,
        p50: percentile(&latencies, 50),
        p99: percentile(&latencies, 99),
    })
}

fn percentile(sorted: &[Duration], percent: usize) -> u128 {
    let place = sorted.len().saturating_mul(percent) / 100;
    let found = sorted.get(place).or(sorted.last());
    found.map_or(0, Duration::as_micros)
}
