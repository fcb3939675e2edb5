//! Test operators: the published test scenarios with virtual time, and the commands of the guide.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod commands;
#[expect(dead_code, reason = "of the world of processes, a part is used here")]
#[path = "../the_loop/world.rs"]
mod processes;
mod scenarios;
