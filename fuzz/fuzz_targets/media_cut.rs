#![no_main]

use keyward_testkit::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::let_panics_be_caught(), |input: &[u8]| {
    let _ = fuzzing::media_cut(input);
});
