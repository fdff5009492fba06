//! libFuzzer's way into [`nano_fuzz::register_body`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nano_fuzz::register_body(input));
