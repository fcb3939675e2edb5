//! No sequence of operations ever decrypts when the rules say no.
//!
//! Random sequences of everything that an application, a viewer and the world can do to a client (acquire simple,
//! root and leaf licenses, play under one key or several, with and without leave to acquire, with leaves that ride in
//! the content, delete, restart, crash, replay, set the clock, put back the store) run beside a model that was written
//! from `spec/rules.md` and `spec/license.md` and judges with the naive reading of the usage rules. Whatever the client
//! hands out, the model has to permit; and where nobody has tricked the clock or the store, whatever the model permits
//! the client hands out.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

#[expect(
    dead_code,
    reason = "shared with the test of the usage rules, which uses more of it"
)]
#[path = "../../../license/tests/usage_rules/generate.rs"]
mod generate;
#[expect(dead_code, reason = "shared with the flows, which use more of it")]
#[path = "../flows/licensed.rs"]
mod licensed;
mod model;
#[expect(
    dead_code,
    reason = "shared with the test of the usage rules, which uses more of it"
)]
#[path = "../../../license/tests/usage_rules/naive.rs"]
mod naive;
mod operations;
mod playback;
mod playing;
mod run;
#[expect(dead_code, reason = "shared with the flows, which use more of it")]
#[path = "../flows/world.rs"]
mod world;

use std::{cell::RefCell, collections::BTreeMap};

use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestError, TestRunner},
};

use operations::Sequence;

/// V-010, V-012, V-028, V-037, V-039, with a clock that is set at will and
/// copies of the store that are put back.
#[test]
fn no_sequence_of_operations_decrypts_when_the_rules_say_no() {
    hold(operations::tricky(), &run::TO_BE_SEEN);
}

/// The same rules, and the converse: what they permit is played.
#[test]
fn where_nobody_tricks_the_client_what_the_rules_permit_is_played_and_nothing_else() {
    let without_tricks: Vec<_> = run::TO_BE_SEEN
        .into_iter()
        .filter(|kind| *kind != run::SET_BACK)
        .collect();
    hold(operations::honest(), &without_tricks);
}

fn hold(sequences: impl Strategy<Value = Sequence>, to_be_seen: &[&str]) {
    let seen = RefCell::new(BTreeMap::new());
    let mut runner = TestRunner::new(config(100));
    let outcome = runner.run(&sequences, |sequence| {
        run::run(&sequence, &mut seen.borrow_mut()).map_err(TestCaseError::fail)
    });
    if let Err(TestError::Fail(why, sequence)) = outcome {
        panic!("{why}\n{sequence:#?}");
    }
    outcome.unwrap();
    // What was held against the model is worth as much as what came up.
    let missing: Vec<_> = to_be_seen
        .iter()
        .filter(|kind| !seen.borrow().contains_key(*kind))
        .collect();
    assert_eq!(missing, [&""; 0], "{:?}", seen.borrow());
}

/// The same sequences every time, unless `PROPTEST_RNG_SEED` and `PROPTEST_CASES` ask for others and more.
fn config(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: if asked.cases == UNASKED {
            cases
        } else {
            asked.cases
        },
        rng_seed: match asked.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            seed => seed,
        },
        failure_persistence: None,
        ..asked
    }
}

/// How many cases there are if nobody says so.
const UNASKED: u32 = 256;
