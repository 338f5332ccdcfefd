//! Edits of the files of a store that is then opened. What must hold is in `checks/store.rs`, which ordinary tests run
//! over the corpus.
#![no_main]

#[path = "../checks/store.rs"]
mod check;

// The store contains panics of its engine over damaged files; a hook that ends the process at each would not let it.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |bytes: &[u8]| check::check(bytes)
);
