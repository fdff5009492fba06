//! libFuzzer's way into [`nano_fuzz::frame`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nano_fuzz::frame(input));
