//! The client's flows against a license server in memory, in virtual time.
//!
//! Every test says in its name what holds, with the number of the rule in `spec/rules.md`. The server is
//! `keyward_testkit::fake_server`, bent where a test needs a dishonest one; the store, the clock and the
//! network are [`world::World`]'s.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod acknowledge;
mod acquire;
mod again;
mod carried;
mod chained;
mod chains;
mod choice;
mod crash;
mod decrypt;
mod discovery;
mod enforce;
mod enrol;
mod exchange_rules;
mod exchange_sequences;
mod exchange_streams;
mod exchanging;
mod first_play;
mod held;
mod host;
mod key_exchange;
mod license;
mod licensed;
mod limits;
mod messages;
mod playback;
mod reach;
mod response;
mod riding;
mod store;
mod trust;
mod uses;
mod world;
