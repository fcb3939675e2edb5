//! Every test of the server from outside, in one program: it is linked once.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail the test that calls them, and say when it is skipped"
)]

mod acknowledgement;
mod asking;
mod authorization;
mod backup;
mod common;
mod disk;
mod doctor;
mod enrol;
mod http;
mod issue;
mod key_exchange;
mod limits;
mod logs;
mod metrics;
mod operator;
mod packaging;
mod policies;
mod proxy;
mod revocation;
mod rolls;
mod roots;
mod served_world;
mod surroundings;
mod test_mode;
