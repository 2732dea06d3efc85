//! See `entries/tape.rs`.
#![no_main]

#[path = "../entries/tape.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::check(bytes));
