//! The two programs that `bench/license.py` runs beside `keyward serve`.
//!
//! ```text
//!  issuance load PROFILE TOKEN...   devices: enrol, then send windows of distinct, prepared requests
//!  issuance ceiling                 an HTTP endpoint that does a license's cryptography and nothing else
//! ```
//! Both take their orders from standard input and end with it. `load` reads one JSON object a line and
//! answers with one: how long the window took and what latencies it saw.

mod ceiling;
mod connection;
mod devices;
mod load;

use std::error::Error;

use tokio::runtime;

/// Whatever goes wrong ends the benchmark.
type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        // As many threads as `keyward serve` has.
        Some("ceiling") => runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(ceiling::serve()),
        // One thread: the load takes no more than one processor from the server.
        Some("load") => runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(load::run(
                &arguments.next().unwrap_or_default(),
                arguments.collect(),
            )),
        _ => Err("usage: issuance load PROFILE TOKEN... | issuance ceiling".into()),
    }
}
