//! Bytes of the store as a row. What must hold is in `checks/row.rs`, which ordinary tests run over the corpus.
#![no_main]

#[path = "../checks/row.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
