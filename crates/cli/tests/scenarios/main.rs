//! How content is offered, from end to end in one process: the license server with its database, the client with its
//! store, and a virtual clock, so that years pass in milliseconds.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod in_memory;
mod purchase;
mod rental;
mod server_time;
mod stores;
mod subscription;
mod tiers;
mod world;
