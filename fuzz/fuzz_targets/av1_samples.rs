#![no_main]

use keyward_testkit::fuzzing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = fuzzing::av1_samples(input);
});
