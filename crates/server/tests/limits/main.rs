//! What a license server gives to whom: how often, how much, how long, and to how many at once.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test that calls them"
)]

mod answers;
#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod crowd;
mod rates;
#[path = "../proxy/surroundings.rs"]
#[expect(dead_code, reason = "the tests of the proxy use the rest")]
mod surroundings;
