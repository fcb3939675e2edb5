//! Seeds of results of exchange keys.

use super::{Seeds, flipped};
use crate::fuzzing::exchange::KNOWN;

impl Seeds {
    pub(super) fn exchange_results(&mut self) {
        const TARGET: &str = "exchange_result";
        for (which, known) in (0_u8..).zip(&*KNOWN) {
            let name = known.name.trim_start_matches("exchange-result-valid-");
            let input = |result: &[u8]| [&[which, 3], result].concat();
            if known.algorithm.is_authenticated() {
                self.valid(TARGET, name, input(&known.result));
                let last = known.result.len() - 1;
                self.invalid(
                    TARGET,
                    &format!("{name}-altered"),
                    input(&flipped(&known.result, last)),
                );
            } else {
                self.accepted(TARGET, name, input(&known.result));
                self.invalid(
                    TARGET,
                    &format!("{name}-cut-off"),
                    input(known.result.get(..19).unwrap()),
                );
            }
            self.invalid(
                TARGET,
                &format!("{name}-version"),
                input(&flipped(&known.result, 3)),
            );
        }
        self.invalid(TARGET, "no-key", [255, 0, 0, 0, 0, 1]);
    }
}
