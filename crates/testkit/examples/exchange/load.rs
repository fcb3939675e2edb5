//! The load of a license server: calls that are all the same, over connections that stay open.

use std::{
    io::{BufRead, Write, stdin, stdout},
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::json;

use crate::Outcome;

/// One window of load.
#[derive(Deserialize)]
struct Order {
    url: String,
    /// Bearer token, if the call takes one.
    token: Option<String>,
    /// The JSON that is posted; without it the call is a GET.
    body: Option<String>,
    connections: usize,
    /// Calls of each connection.
    calls: usize,
    /// What every answer has to hold so often, if it has to hold something.
    holds: Option<(String, usize)>,
}

/// Answers every order on standard input when it is done.
pub(crate) fn serve() -> Outcome {
    for line in stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let started = Instant::now();
        let mut times = window(&order)?;
        let seconds = started.elapsed().as_secs_f64();
        times.sort_unstable();
        let at = |share: usize| {
            let time = times.get(times.len() * share / 100);
            time.map_or(0, Duration::as_micros)
        };
        let answer = json!({
            "requests": times.len(), "seconds": seconds,
            "p50": u64::try_from(at(50))?, "p99": u64::try_from(at(99))?,
        });
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}

fn window(order: &Order) -> Outcome<Vec<Duration>> {
    thread::scope(|scope| {
        let connections: Vec<_> = (0..order.connections)
            .map(|_| scope.spawn(|| connection(order)))
            .collect();
        let mut times = Vec::new();
        for connection in connections {
            times.extend(connection.join().map_err(|_| "a connection panicked")??);
        }
        Ok(times)
    })
}

fn connection(order: &Order) -> Outcome<Vec<Duration>> {
    let agent = ureq::Agent::new_with_defaults();
    (0..order.calls)
        .map(|_| {
            let started = Instant::now();
            let answer = call(&agent, order)?;
            let elapsed = started.elapsed();
            if let Some((what, times)) = &order.holds
                && answer.matches(what.as_str()).count() != *times
            {
                return Err(format!("not {times} times {what}: {answer:.200}").into());
            }
            Ok(elapsed)
        })
        .collect()
}

fn call(agent: &ureq::Agent, order: &Order) -> Outcome<String> {
    let mut response = match &order.body {
        None => agent.get(&order.url).call()?,
        Some(body) => {
            let mut request = agent.post(&order.url).content_type("application/json");
            if let Some(token) = &order.token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            request.send(body)?
        }
    };
    Ok(response.body_mut().read_to_string()?)
}
