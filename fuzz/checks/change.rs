//! A change of a peer is refused, or leaves a document that is stored, sent on and edited as any other.
//!
//! Input: the content of a change, perhaps made on the document [`honest`]; its frame and checksum are added here, so
//! that bytes which are not right do not end at those.

use peat_node_core::docs::{Document, full::Applied, full::FullDoc};
use peat_node_core::stamp::Stamp;
use sha2::{Digest as _, Sha256};

const US: [u8; 16] = [1; 16];
const THEM: [u8; 16] = [2; 16];
const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHANGE: u8 = 1;

/// A document with leaves, a list, a list in it and an object in it.
fn honest() -> FullDoc {
    let mut doc = FullDoc::new(US);
    for (stamp, text) in
        [(1, r#"{"a":1,"b":{"c":"text"},"list":[1,[2],{"x":3}]}"#), (2, r#"{"a":2,"list":[1,{"x":3}]}"#)]
    {
        doc.put(&Document::parse(text).unwrap(), Stamp(stamp)).unwrap();
    }
    doc
}

/// The chunk of a change with this content. Source: Automerge binary document format, "Chunk Container Format".
fn chunk(content: &[u8]) -> Vec<u8> {
    let mut hashed = vec![CHANGE];
    let mut length = content.len();
    while length > 0x7f {
        hashed.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    hashed.push(length as u8);
    hashed.extend(content);
    [&MAGIC, &Sha256::digest(&hashed)[..4], &hashed].concat()
}

/// Panics when it does not hold.
pub(crate) fn check(content: &[u8]) {
    is_taken(content);
}

/// Whether the change is taken, and then it holds.
pub(crate) fn is_taken(content: &[u8]) -> bool {
    let change = chunk(content);
    let mut doc = honest();
    let Ok(Applied { document: Some(_), .. }) = doc.apply(&[&change]) else { return false };
    let text = doc.document().to_json();
    let loaded = FullDoc::load(&doc.save(), THEM).expect("what was taken is loaded again");
    assert_eq!((loaded.heads(), loaded.document().to_json()), (doc.heads(), text));
    let mut other = honest();
    other.apply(&doc.changes_since(&honest().heads())).expect("what was taken is taken by the next");
    assert_eq!(other.heads(), doc.heads());
    let after = Document::parse(r#"{"after":[1,2]}"#).unwrap();
    let written = doc.put(&after, Stamp(3)).expect("it can be written over").expect("there is a difference");
    assert_eq!(doc.document(), after);
    other.apply(&[written]).expect("and that is taken by the next");
    assert_eq!((other.heads(), other.document()), (doc.heads(), after));
    true
}
