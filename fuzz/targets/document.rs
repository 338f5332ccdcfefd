//! Bytes of an application as a JSON document. What must hold is in `checks/document.rs`, which ordinary tests run over
//! the corpus.
#![no_main]

#[path = "../checks/document.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
