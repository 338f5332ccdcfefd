//! Text is a document or an error; a document prints canonically and comes back from Automerge as it was.
//!
//! Input: a document and, behind a line feed, perhaps a merge patch for it.

use peat_node_core::docs::{Document, first, full::FullDoc};
use peat_node_core::stamp::Stamp;

const ACTOR: [u8; 16] = [1; 16];

/// Panics when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (document, patch) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(mut document) = Document::parse(document) else { return };
    stored(&document);
    if let Ok(patch) = Document::parse(patch) {
        document.merge(&patch);
        let once = document.clone();
        document.merge(&patch);
        assert_eq!(document, once, "a patch that is made twice is made once");
        stored(&document);
    }
}

fn stored(document: &Document) {
    let text = document.to_json();
    let read = Document::parse(&text).expect("what was printed is read");
    assert_eq!((&read, read.to_json()), (document, text.clone()));
    let mut full = FullDoc::new(ACTOR);
    if full.put(document, Stamp(1)).is_err() {
        return;
    }
    assert_eq!(full.document().to_json(), text, "Automerge gives what it was given");
    let Ok(Some(first)) = first::make(document, ACTOR, Stamp(1)) else { return };
    if let Some((_, read)) = first::read(&first.bytes) {
        assert_eq!(read.to_json(), text, "so does the first change without it");
    }
}
