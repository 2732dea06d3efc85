//! See `entries/sql.rs`.
#![no_main]

#[path = "../entries/sql.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::check(bytes));
