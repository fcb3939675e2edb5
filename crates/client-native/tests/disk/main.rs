//! The native client on a real disk, in real processes.
//!
//! The server is `keyward_testkit::fake_server` in this process, and the clock stands at the time at
//! which its certificates are valid; files, locks, processes and their deaths are real.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod cuts;
mod doctor;
mod exchange;
mod failing;
mod files;
mod happy;
#[cfg(target_os = "linux")]
mod memory;
mod messages;
mod model;
mod process;
mod reading;
mod scenario;
mod secrets;
mod shield;
mod terms;
mod world;
