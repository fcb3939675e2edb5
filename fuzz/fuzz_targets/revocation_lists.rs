#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = keyward_testkit::fuzzing::revocation_lists(input);
});
