//! What the program and its crates do together. One program for all, since each links all of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod handler;
mod help;
mod inspect;
mod key_exchange;
mod media;
mod operation;
mod proxy;
mod scenarios;
mod test_server;
mod the_loop;
mod world;
