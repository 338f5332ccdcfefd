//! A backup file. What must hold is in `checks/backup.rs`, which ordinary tests run over the corpus.
#![no_main]

#[path = "../checks/backup.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
