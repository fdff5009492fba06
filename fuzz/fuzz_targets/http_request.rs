//! libFuzzer's way into [`nano_fuzz::http_request`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nano_fuzz::http_request(input));
