//! Histories in records: what an edit writes, what is read back, what damage costs.

use super::*;
use crate::docs::Kinds;
use crate::docs::epoch::Limits;
use crate::event::{Condition, Edit, Outputs};
use crate::ids::{Collection, PeerId};
use crate::rows::MemoryRows;
use crate::sync::neighbour::Since;

const KEPT: std::time::Duration = std::time::Duration::from_secs(3600);

fn shelf() -> Shelf {
    // No room for hot documents: every edit reads what the ones before it wrote.
    Shelf::new(PeerId([1; 32]), [1; 16], 0, (KEPT, None), (Limits::default(), Kinds::default()))
}

fn ship() -> Key {
    Key::new(&Collection::parse("ships").unwrap(), "one").unwrap()
}

fn edit(shelf: &mut Shelf, disk: &mut MemoryRows, text: &str) -> usize {
    let mut outputs = Outputs::default();
    let edit = Edit::Put(Document::parse(text).unwrap());
    shelf.write(&ship(), &edit, Condition::Always.into(), disk, &mut outputs).unwrap();
    disk.commit(outputs.writes)
}

fn text(disk: &MemoryRows) -> String {
    View::parse(&disk.rows[&ship()]).unwrap().text().unwrap().to_owned()
}

#[test]
fn an_edit_writes_its_own_bytes_and_not_the_history_before_it() {
    let (mut shelf, mut disk) = (shelf(), MemoryRows::default());
    let mut cost = |edits: std::ops::Range<u32>| -> usize {
        edits.map(|n| edit(&mut shelf, &mut disk, &format!(r#"{{"n":{n},"name":"Ada"}}"#))).sum()
    };
    cost(0..100);
    let (early, late) = (cost(100..300), cost(1800..2000));
    assert!(late * 2 <= early * 3, "200 edits wrote {early} bytes at first and {late} later");
    assert!(disk.history.len() <= usize::from(MOST));
    assert_eq!(text(&disk), r#"{"n":1999,"name":"Ada"}"#);
}

#[test]
fn edits_of_one_batch_become_one_record() {
    let (mut shelf, mut disk) = (shelf(), MemoryRows::default());
    let mut outputs = Outputs::default();
    for n in 0..5 {
        let edit = Edit::Put(Document::parse(&format!(r#"{{"n":{n}}}"#)).unwrap());
        shelf.write(&ship(), &edit, Condition::Always.into(), &disk, &mut outputs).unwrap();
    }
    disk.commit(std::mem::take(&mut outputs.writes));
    assert_eq!(disk.history.len(), 1);
    edit(&mut shelf, &mut disk, r#"{"n":9}"#);
    assert_eq!((disk.history.len(), text(&disk)), (2, r#"{"n":9}"#.to_owned()));
}

#[test]
fn a_document_whose_history_is_damaged_goes_on_from_its_text_and_neighbours_hear_of_it() {
    let (mut shelf, mut disk) = (shelf(), MemoryRows::default());
    edit(&mut shelf, &mut disk, r#"{"a":1}"#);
    edit(&mut shelf, &mut disk, r#"{"a":1,"b":2}"#);
    disk.history.remove(&(ship(), 0));
    let outputs = Outputs::default();
    assert!(matches!(shelf.payload(&ship(), &Since::Start, 1, &disk, &outputs), Err(ShelfError::History)));
    let mut outputs = Outputs::default();
    assert_eq!(shelf.mend_found(&disk, &mut outputs), BTreeSet::from([ship()]));
    disk.commit(std::mem::take(&mut outputs.writes));
    assert_eq!(text(&disk), r#"{"a":1,"b":2}"#);
    assert!(shelf.payload(&ship(), &Since::Start, 1, &disk, &outputs).unwrap().is_some());
    // A put needs no help: it mends what it finds.
    disk.history.clear();
    edit(&mut shelf, &mut disk, r#"{"a":3,"b":2}"#);
    assert_eq!((text(&disk), shelf.mended()), (r#"{"a":3,"b":2}"#.to_owned(), 2));
}

#[test]
fn a_mended_document_still_merges_with_what_neighbours_have_of_it() {
    let (mut here, mut disk) = (shelf(), MemoryRows::default());
    let (mut there, mut other) = (
        Shelf::new(PeerId([2; 32]), [2; 16], 0, (KEPT, None), (Limits::default(), Kinds::default())),
        MemoryRows::default(),
    );
    let mut hand_over = |from: &mut Shelf, disk: &MemoryRows| {
        let mut outputs = Outputs::default();
        let (payload, _) = from.payload(&ship(), &Since::Start, usize::MAX, disk, &outputs).unwrap().unwrap();
        let merged = there.merge(&ship(), payload, &other, &mut outputs).unwrap();
        other.commit(outputs.writes);
        assert!(!merged.gaps);
        text(&other)
    };
    edit(&mut here, &mut disk, r#"{"a":1}"#);
    assert_eq!(hand_over(&mut here, &disk), r#"{"a":1}"#);
    disk.history.clear();
    edit(&mut here, &mut disk, r#"{"a":1,"b":2}"#);
    assert_eq!(hand_over(&mut here, &disk), r#"{"a":1,"b":2}"#);
}

/// A store whose disk does not answer.
struct Silent;

impl Rows for Silent {
    fn read(&self, _: &Key) -> Result<Option<Vec<u8>>, ReadError> {
        Err(ReadError("no answer".into()))
    }

    fn history(&self, _: &Key, _: u16) -> Result<Option<Vec<u8>>, ReadError> {
        Err(ReadError("no answer".into()))
    }
}

#[test]
fn a_disk_that_does_not_answer_makes_no_document_a_new_one() {
    let (mut shelf, mut disk) = (shelf(), MemoryRows::default());
    edit(&mut shelf, &mut disk, r#"{"a":1,"b":2}"#);
    shelf.forget(&ship(), &Silent);
    let patch = Edit::Merge { patch: Document::parse(r#"{"a":3}"#).unwrap(), limit: 100 };
    let mut outputs = Outputs::default();
    let refused = shelf.write(&ship(), &patch, Condition::Always.into(), &Silent, &mut outputs);
    assert!(matches!(refused, Err(ShelfError::Read(_))) && outputs.writes.is_empty());
    shelf.write(&ship(), &patch, Condition::Always.into(), &disk, &mut outputs).unwrap();
    disk.commit(outputs.writes);
    assert_eq!(text(&disk), r#"{"a":3,"b":2}"#);
}
