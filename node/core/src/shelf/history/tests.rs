//! Histories in records: what an edit writes, what is read back, what damage costs.

use super::*;
use crate::event::{Condition, Edit, Outputs};
use crate::ids::{Collection, PeerId};
use crate::sync::neighbour::Since;
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows and records as a store keeps them.
#[derive(Default)]
struct Disk {
    rows: BTreeMap<Key, Vec<u8>>,
    records: BTreeMap<u16, Vec<u8>>,
}

impl Disk {
    /// Writes what is in `outputs`; returns the bytes of history that took.
    fn commit(&mut self, outputs: &mut Outputs) -> usize {
        let mut written = 0;
        for (key, write) in std::mem::take(&mut outputs.writes) {
            self.rows.insert(key, write.row);
            match write.history {
                Some(History::Append { number, chunk }) => {
                    written += chunk.len();
                    assert_eq!(self.records.insert(number, chunk), None, "a record is written once");
                }
                Some(History::Replace { base, count }) => {
                    written += base.len();
                    self.records.retain(|number, _| *number >= count);
                    self.records.insert(0, base);
                }
                None => {}
            }
        }
        written
    }
}

impl Rows for Disk {
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.rows.get(key).cloned())
    }

    fn history(&self, _: &Key, count: u16) -> Result<Option<Vec<u8>>, ReadError> {
        let records: Option<Vec<_>> = (0..count).map(|number| self.records.get(&number).map(Vec::as_slice)).collect();
        Ok(records.map(|records| records.concat()))
    }
}

const WALL: Duration = Duration::from_secs(1_700_000_000);

fn shelf() -> Shelf {
    // No room for hot documents: every edit reads what the ones before it wrote.
    Shelf::new(PeerId([1; 32]), [1; 16], 0)
}

fn ship() -> Key {
    Key::new(&Collection::parse("ships").unwrap(), "one").unwrap()
}

fn edit(shelf: &mut Shelf, disk: &mut Disk, text: &str) -> usize {
    let mut outputs = Outputs::default();
    let edit = Edit::Put(Document::parse(text).unwrap());
    shelf.write(&ship(), &edit, Condition::Always, WALL, disk, &mut outputs).unwrap();
    disk.commit(&mut outputs)
}

fn text(disk: &Disk) -> String {
    View::parse(&disk.rows[&ship()]).unwrap().text().unwrap().to_owned()
}

#[test]
fn an_edit_writes_its_own_bytes_and_not_the_history_before_it() {
    let (mut shelf, mut disk) = (shelf(), Disk::default());
    let mut cost = |edits: std::ops::Range<u32>| -> usize {
        edits.map(|n| edit(&mut shelf, &mut disk, &format!(r#"{{"n":{n},"name":"Ada"}}"#))).sum()
    };
    cost(0..100);
    let (early, late) = (cost(100..300), cost(1800..2000));
    assert!(late * 2 <= early * 3, "200 edits wrote {early} bytes at first and {late} later");
    assert!(disk.records.len() <= usize::from(MOST));
    assert_eq!(text(&disk), r#"{"n":1999,"name":"Ada"}"#);
}

#[test]
fn edits_of_one_batch_become_one_record() {
    let (mut shelf, mut disk) = (shelf(), Disk::default());
    let mut outputs = Outputs::default();
    for n in 0..5 {
        let edit = Edit::Put(Document::parse(&format!(r#"{{"n":{n}}}"#)).unwrap());
        shelf.write(&ship(), &edit, Condition::Always, WALL, &disk, &mut outputs).unwrap();
    }
    disk.commit(&mut outputs);
    assert_eq!(disk.records.len(), 1);
    edit(&mut shelf, &mut disk, r#"{"n":9}"#);
    assert_eq!((disk.records.len(), text(&disk)), (2, r#"{"n":9}"#.to_owned()));
}

#[test]
fn a_document_whose_history_is_damaged_goes_on_from_its_text_and_neighbours_hear_of_it() {
    let (mut shelf, mut disk) = (shelf(), Disk::default());
    edit(&mut shelf, &mut disk, r#"{"a":1}"#);
    edit(&mut shelf, &mut disk, r#"{"a":1,"b":2}"#);
    disk.records.remove(&0);
    let outputs = Outputs::default();
    assert!(matches!(shelf.payload(&ship(), &Since::Start, 1, &disk, &outputs), Err(ShelfError::History)));
    let mut outputs = Outputs::default();
    assert_eq!(shelf.mend_found(&disk, &mut outputs), [ship()]);
    disk.commit(&mut outputs);
    assert_eq!(text(&disk), r#"{"a":1,"b":2}"#);
    assert!(shelf.payload(&ship(), &Since::Start, 1, &disk, &outputs).unwrap().is_some());
    // A put needs no help: it mends what it finds.
    disk.records.clear();
    edit(&mut shelf, &mut disk, r#"{"a":3,"b":2}"#);
    assert_eq!((text(&disk), shelf.mended()), (r#"{"a":3,"b":2}"#.to_owned(), 2));
}
