//! The peer proof of key exchange: what our handles make, the stock Python package `cryptography` opens or verifies,
//! and the reverse, with fresh random keys; and a program of stock packages opens key exchange licenses and performs
//! their operation.
//!
//! As `python_peer`: `KEYWARD_PEERS_PYTHON` names the interpreter; `cargo xtask test` makes one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failure is a failed test, and says its seed"
)]

mod licenses;
mod results;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng, UnwrapErr},
};
use serde_json::Value;

/// Chance that is new in every run; a run that fails says its seed.
fn chance() -> ChaCha20Rng {
    let mut seed = [0; 32];
    UnwrapErr(getrandom::SysRng).fill_bytes(&mut seed);
    println!("seed {}", hex::encode(seed));
    ChaCha20Rng::from_seed(seed)
}

fn random(rng: &mut ChaCha20Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Of `0..end`
fn below(rng: &mut ChaCha20Rng, end: usize) -> usize {
    usize::try_from(rng.next_u64() % u64::try_from(end).unwrap()).unwrap()
}

/// `bytes` with one bit turned.
fn altered(rng: &mut ChaCha20Rng, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = below(rng, bytes.len());
    bytes[at] ^= 1 << below(rng, 8);
    bytes
}

/// Runs a program of the peer with JSON in and out.
fn ask(python: &Path, program: &str, input: &Value) -> Value {
    let mut child = Command::new(python)
        .arg(script(program))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = input.to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn script(name: &str) -> PathBuf {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    top.join("tests-peers").join(name)
}
