//! See `entries/http.rs`.
#![no_main]

#[path = "../entries/http.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::check(bytes));
