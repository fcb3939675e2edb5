//! What a license server gives to whom: how often, how much, how long, and to how many at once.

mod answers;
#[cfg(target_os = "linux")]
mod crowd;
mod rates;
