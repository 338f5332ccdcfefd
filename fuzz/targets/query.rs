//! A query of a subscription, and a document to ask it of. What must hold is in `checks/query.rs`, which ordinary tests
//! run over the corpus.
#![no_main]

#[path = "../checks/query.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
