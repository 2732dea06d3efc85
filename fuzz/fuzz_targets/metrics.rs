//! See `entries/metrics.rs`.
#![no_main]

#[path = "../entries/metrics.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::check(bytes));
