//! See `entries/events.rs`.
#![no_main]

#[path = "../entries/events.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::check(bytes));
