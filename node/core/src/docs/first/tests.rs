//! Tests of the first change against Automerge itself.

use super::*;
use crate::docs::full::FullDoc;
use crate::docs::full::tests::any_document;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const A: [u8; 16] = [1; 16];

fn document(json: &str) -> Document {
    Document::parse(json).unwrap()
}

/// A change that an Automerge document makes in one go after `before`.
fn second(before: &str, after: &str) -> Vec<u8> {
    let mut doc = FullDoc::new(A);
    doc.put(&document(before), Stamp(1)).unwrap();
    doc.put(&document(after), Stamp(2)).unwrap().unwrap()
}

#[test]
fn an_empty_document_has_no_change() {
    assert_eq!(make(&document("{}"), A, Stamp(7)).unwrap(), None);
}

#[test]
fn a_change_behind_another_is_left_to_automerge() {
    assert_eq!(read(&second(r#"{"a":1}"#, r#"{"a":2}"#)), None);
    assert_eq!(read(b"nonsense"), None);
}

#[test]
fn a_list_that_was_written_out_of_order_is_left_to_automerge() {
    use automerge::transaction::Transactable as _;
    let mut doc = automerge::Automerge::new();
    let mut edit = doc.transaction();
    let list = edit.put_object(automerge::ROOT, "/l", ObjType::List).unwrap();
    edit.insert(&list, 0, 1).unwrap();
    edit.insert(&list, 0, 2).unwrap();
    edit.commit();
    let change = doc.get_changes(&[]).remove(0).bytes().into_owned();
    assert_eq!(read(&change), None);
}

/// With the checksum made to fit, so that damage reaches what is behind it.
fn sealed(mut change: Vec<u8>) -> Vec<u8> {
    let sum = Sha256::digest(&change[8..]);
    change[4..8].copy_from_slice(&sum[..4]);
    change
}

proptest! {
    #[test]
    fn automerge_makes_the_same_change(wanted in any_document()) {
        let theirs = FullDoc::new(A).put(&wanted, Stamp(7)).unwrap();
        let ours = make(&wanted, A, Stamp(7)).unwrap();
        prop_assert_eq!(ours.as_ref().map(|first| first.bytes.clone()), theirs);
        if let Some(First { hash, bytes }) = ours {
            prop_assert_eq!(FullDoc::load(&bytes, A).unwrap().heads(), vec![hash]);
            let (read_hash, read) = read(&bytes).unwrap();
            prop_assert_eq!((read_hash, read.to_json()), (hash, wanted.to_json()));
        }
    }

    #[test]
    fn a_damaged_change_is_read_as_automerge_reads_it_or_not_at_all_and_nothing_panics(
        wanted in any_document(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let Some(First { mut bytes, .. }) = make(&wanted, A, Stamp(7)).unwrap() else { return Ok(()) };
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let bytes = sealed(bytes);
        let mut doc = FullDoc::new([2; 16]);
        let applied = doc.apply(&[&bytes]).map(|_| (doc.heads(), doc.document().to_json()));
        if let Some((hash, document)) = read(&bytes) {
            prop_assert_eq!(applied.unwrap(), (vec![hash], document.to_json()));
        }
    }
}
