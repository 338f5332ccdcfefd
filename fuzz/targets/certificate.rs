//! A peer's certificate, and a root. What must hold is in `checks/certificate.rs`, which ordinary tests run over the
//! corpus.
#![no_main]

#[path = "../checks/certificate.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
