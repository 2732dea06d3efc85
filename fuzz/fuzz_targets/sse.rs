//! See `entries/sse.rs`.
#![no_main]

#[path = "../entries/sse.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::check(bytes));
