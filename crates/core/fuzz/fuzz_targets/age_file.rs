//! Feeds any bytes to `parsers::age_file`, which the property tests use as well.
#![no_main]

#[path = "../../tests/parsers/mod.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::age_file(bytes));
