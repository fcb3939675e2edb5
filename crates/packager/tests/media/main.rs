//! MP4 files protected sample by sample: everything a reader can see of the result.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests: a failure is a failed test"
)]

mod build;
mod chromium;
mod embedding;
mod flow;
mod fragmented;
mod progressive;
mod qualities;
mod read;
mod refusals;
mod rotating_stream;
mod rotation;
mod stream;
