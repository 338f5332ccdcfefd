//! The content of a change of a peer. What must hold is in `checks/change.rs`, which ordinary tests run over the corpus.
#![no_main]

#[path = "../checks/change.rs"]
mod check;

// Panics of Automerge are caught and are errors; the fuzzer's own hook would end it there. Others still reach it.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |bytes: &[u8]| check::check(bytes)
);
