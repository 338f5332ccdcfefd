//! Bytes of a peer as a frame of the mesh. What must hold is in `checks/frame.rs`, which ordinary tests run over the
//! corpus.
#![no_main]

#[path = "../checks/frame.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
