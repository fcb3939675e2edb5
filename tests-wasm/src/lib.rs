//! Vectors and corpora, judged inside a WebAssembly module. The host, `run.mjs`, reads the files.
//!
//! ```text
//!   host                                     module
//!   input(len)                          ──►  room for `len` bytes, which the host fills
//!   vector()                            ──►  1: the vector file in it got its verdict, 0: it did not
//!   corpus(n)                           ──►  its first n bytes name a fuzz target, which gets the rest:
//!                                            1: accepted, 0: refused
//!   words(), words_len()                ──►  what was wrong, after a 0 of `vector` and after a trap
//! ```
//!
//! A panic ends in a trap, and the module is then not to be called again. It imports nothing: what the
//! client's crates are, they are without a clock, without randomness and without any host.

#[expect(
    unused_imports,
    reason = "its own test, which reads the files itself, is not in here"
)]
#[path = "../../crates/license/tests/vectors/main.rs"]
mod vectors;

use std::{
    panic,
    sync::{Mutex, MutexGuard, PoisonError},
};

use keyward_testkit::fuzzing::TARGETS;

static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static WORDS: Mutex<String> = Mutex::new(String::new());

/// Makes room for an input of `len` bytes and returns where it begins.
#[unsafe(no_mangle)]
pub extern "C" fn input(len: usize) -> *mut u8 {
    panic::set_hook(Box::new(|info| *held(&WORDS) = info.to_string()));
    let mut input = held(&INPUT);
    *input = vec![0; len];
    input.as_mut_ptr()
}

/// Judges the vector file in the input.
#[unsafe(no_mangle)]
pub extern "C" fn vector() -> u32 {
    let vector = serde_json::from_slice(&held(&INPUT)).unwrap();
    let wrong = vectors::hold(&vector);
    let is_right = wrong.is_none();
    *held(&WORDS) = wrong.unwrap_or_default();
    is_right.into()
}

/// Feeds the input to the fuzz target that its first `name_len` bytes name.
#[unsafe(no_mangle)]
pub extern "C" fn corpus(name_len: usize) -> u32 {
    let input = held(&INPUT);
    let (wanted, bytes) = input.split_at(name_len);
    let target = TARGETS.iter().find(|(name, _)| name.as_bytes() == wanted);
    let (_, target) = target.expect("there is no fuzz target of this name");
    target(bytes).into()
}

/// Where the words begin, UTF-8.
#[unsafe(no_mangle)]
pub extern "C" fn words() -> *const u8 {
    held(&WORDS).as_ptr()
}

/// Bytes of the words.
#[unsafe(no_mangle)]
pub extern "C" fn words_len() -> usize {
    held(&WORDS).len()
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
