//! The usage rules against `spec/rules.md`, read a second time: in their plainest form, and what
//! holds of every chain.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod generate;
mod naive;
mod properties;
mod stricter;

use std::collections::BTreeSet;

use keyward_license::usage_rules::Decision;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{RngSeed, TestRunner},
};

use generate::cases;
use naive::Answer;

proptest! {
    #![proptest_config(config(12_000))]

    /// the decision and its rule, its times, and of every output verdict, rule and engagement.
    #[test]
    fn the_library_says_what_the_spec_says(case in cases()) {
        let decision = case.decide();
        prop_assert_eq!(Answer::from(&decision), naive::answer(&case));
        if let Decision::Refused(refusal) = decision {
            prop_assert!(naive::particulars_fit(&case, &refusal), "{refusal:?}");
        }
    }
}

/// What is compared is worth as much as the cases: every rule decides some of them, and R-014 changes some.
#[test]
fn every_rule_decides_some_case() {
    let mut runner = TestRunner::deterministic();
    let strategy = cases();
    let mut decided = BTreeSet::new();
    for _ in 0..2000 {
        let mut case = strategy.new_tree(&mut runner).unwrap().current();
        let answer = naive::answer(&case);
        decided.insert(answer.rule());
        if let Answer::Allowed { outputs, .. } = &answer {
            decided.extend(outputs.iter().map(|(_, rule, _)| *rule));
        }
        case.usage.playing = !case.usage.playing;
        if naive::answer(&case).rule() != answer.rule() {
            decided.insert("R-014");
        }
    }
    let missing: Vec<_> = naive::numbers().filter(|rule| !decided.contains(rule)).collect();
    assert_eq!(missing, [""; 0]);
}

/// The same cases every time, unless `PROPTEST_RNG_SEED` and `PROPTEST_CASES` ask for others and more.
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
