//! The corpora of the fuzz targets of this crate, replayed.
//!
//! Inputs: `fuzz/corpus`. What must hold is in `fuzz/checks`, which the targets themselves run; see `docs/fuzzing.md`.

#[path = "../../../fuzz/checks/document.rs"]
mod document;
#[path = "../../../fuzz/checks/frame.rs"]
mod frame;
#[path = "../../../fuzz/checks/row.rs"]
mod row;

use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        eprintln!("{}", file.display());
        check(&std::fs::read(file).unwrap());
    }
}

#[test]
fn every_frame_of_the_corpus_reads_back_or_is_an_error() {
    replay("frame", frame::check);
}

#[test]
fn every_document_of_the_corpus_comes_back_as_it_was_or_is_an_error() {
    replay("document", document::check);
}

#[test]
fn every_row_of_the_corpus_is_one_or_an_error() {
    replay("row", row::check);
}
