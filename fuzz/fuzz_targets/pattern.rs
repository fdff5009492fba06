//! libFuzzer's way into [`nano_fuzz::pattern`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nano_fuzz::pattern(input));
