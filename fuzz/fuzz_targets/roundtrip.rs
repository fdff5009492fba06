//! libFuzzer's way into [`nano_fuzz::roundtrip`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nano_fuzz::roundtrip(input));
