//! See `entries/report.rs`.
#![no_main]

#[path = "../entries/report.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::check(bytes, tokentape::sample_analysis()));
