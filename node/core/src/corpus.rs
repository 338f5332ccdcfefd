//! The corpora of the fuzz targets of this crate, replayed.
//!
//! Inputs: `fuzz/corpus`. What must hold is in `fuzz/checks`, which the targets themselves run; see `docs/fuzzing.md`.

#[path = "../../../fuzz/checks/change.rs"]
mod change;
#[path = "../../../fuzz/checks/document.rs"]
mod document;
#[path = "../../../fuzz/checks/frame.rs"]
mod frame;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;
#[path = "../../../fuzz/checks/row.rs"]
mod row;

use replay::replay;

#[test]
fn every_frame_of_the_corpus_reads_back_or_is_an_error() {
    replay("frame", frame::check);
}

#[test]
fn every_change_of_the_corpus_is_refused_or_leaves_a_document_as_any_other() {
    replay("change", change::check);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/change/");
    for name in ["a_leaf", "a_list_longer", "nested"] {
        // Else the document that they are made on is another one now.
        assert!(change::is_taken(&std::fs::read([folder, name].concat()).unwrap()), "{name}");
    }
}

#[test]
fn every_document_of_the_corpus_comes_back_as_it_was_or_is_an_error() {
    replay("document", document::check);
}

#[test]
fn every_row_of_the_corpus_is_one_or_an_error() {
    replay("row", row::check);
}
