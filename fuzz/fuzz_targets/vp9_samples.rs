#![no_main]

use keyward_testkit::fuzzing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = fuzzing::vp9_samples(input);
});
