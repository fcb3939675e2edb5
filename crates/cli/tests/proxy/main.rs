//! Between the parties: the loop through `keyward proxy`, and what becomes of a client whose messages are
//! carried badly.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

#[cfg(unix)]
mod busy;
mod carrier;
mod carriers;
mod files;
mod processes;
#[path = "../the_loop/world.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod world;
