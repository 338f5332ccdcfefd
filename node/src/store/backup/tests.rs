//! Backups there and back: of what stores hold, what a file has of it, and every way in which a file is none.

use super::*;
use crate::store::{DiskStore, MemoryStore, Row, Store};
use peat_node_core::event::{History, Write};
use peat_node_core::ids::{Collection, Key};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

fn key(id: &str) -> Key {
    Key::new(&Collection::parse("agents").unwrap(), id).unwrap()
}

fn put(store: &dyn Store, id: &str, row: &[u8], history: History) {
    let write = Write { row: row.to_vec(), history: Some(history), visible: true };
    store.commit(&BTreeMap::from([(key(id), write)])).unwrap();
}

/// Every document gets a row and a first record.
fn filled(store: &dyn Store, ids: impl Iterator<Item = u32>) {
    let write = |id: u32| {
        let history = Some(History::Append { number: 0, chunk: format!("history {id}").into_bytes() });
        (key(&format!("{id:05}")), Write { row: vec![id as u8; 500], history, visible: !id.is_multiple_of(5) })
    };
    store.commit(&ids.map(write).collect()).unwrap();
}

fn write_to(file: &Path, entries: Entries) {
    let mut encoder = Encoder::new(entries);
    let mut bytes = Vec::new();
    while let Some(piece) = encoder.piece().unwrap() {
        bytes.extend(piece);
    }
    fs::write(file, bytes).unwrap();
}

fn rows(store: &dyn Store) -> BTreeMap<Key, Vec<u8>> {
    let rows = Mutex::new(BTreeMap::new());
    store.restore(&|key, row| rows.lock().unwrap().insert(key, row.to_vec()).is_none()).unwrap();
    rows.into_inner().unwrap()
}

/// A folder with a backup of a small store; the data folder to restore it to is not there yet.
fn small() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::default();
    filled(&store, 0..200);
    let file = folder.path().join("backup");
    write_to(&file, store.entries().unwrap());
    let data = folder.path().join("data");
    (folder, file, data)
}

#[test]
fn a_restored_store_has_the_rows_histories_and_numbers_of_the_first_and_another_id() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(&folder.path().join("first")).unwrap();
    filled(&store, 0..3000);
    // Larger than a section.
    let large = vec![7; 3 * LARGEST_SECTION + 1];
    put(&store, "large", &large, History::Replace { base: large.clone(), count: 0 });
    let file = folder.path().join("backup");
    write_to(&file, store.entries().unwrap());
    let counts = Counts { rows: 3001, history: 3001, left_out: 0 };
    assert_eq!(verify(&file).unwrap(), counts);
    let data = folder.path().join("second");
    assert_eq!(restore(&file, &data).unwrap(), counts);
    let second = DiskStore::open(&data).unwrap();
    assert_eq!(rows(&second), rows(&store));
    assert_eq!(second.last(), store.last());
    assert_eq!(second.log(0, 9999, 9999).unwrap(), store.log(0, 9999, 9999).unwrap());
    assert_eq!(second.history(&key("large"), 1).unwrap().unwrap(), large);
    assert_eq!(second.history(&key("00042"), 1).unwrap().unwrap(), b"history 42");
    assert_ne!(second.id().unwrap(), store.id().unwrap(), "who followed the first begins anew");
    put(&second, "new", b"row", History::Append { number: 0, chunk: b"x".to_vec() });
    assert_eq!(second.read(&key("new")).unwrap(), Some(Row { seq: store.last() + 1, bytes: b"row".to_vec() }));
}

#[test]
fn a_backup_is_of_one_moment_whatever_is_written_while_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    filled(&store, 0..3000);
    let before: Vec<Entry> = store.entries().unwrap().map(Result::unwrap).collect();
    let mut entries = store.entries().unwrap();
    let mut seen: Vec<Entry> = entries.by_ref().take(10).map(Result::unwrap).collect();
    for id in (0..3000).step_by(7) {
        put(&store, &format!("{id:05}"), b"later", History::Replace { base: b"later".to_vec(), count: 1 });
    }
    filled(&store, 3000..6000);
    seen.extend(entries.map(Result::unwrap));
    assert!(seen == before, "rows and records of the moment at which it began");
}

#[test]
fn damage_anywhere_and_any_shorter_file_is_refused_and_leaves_nothing() {
    let (folder, file, data) = small();
    let whole = fs::read(&file).unwrap();
    let refused = |bytes: &[u8], place: usize| {
        fs::write(&file, bytes).unwrap();
        verify(&file).unwrap_err();
        // The same decoder, but with a store to be removed again.
        if place.is_multiple_of(16) {
            restore(&file, &data).unwrap_err();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the backup is there");
        }
    };
    for place in 0..=64 {
        let at = place * (whole.len() - 1) / 64;
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (place % 8);
        refused(&damaged, place);
        refused(&whole[..at], place);
    }
    refused(&[&whole[..], b"x"].concat(), 0);
    fs::write(&file, &whole).unwrap();
    assert_eq!(restore(&file, &data).unwrap(), Counts { rows: 200, history: 200, left_out: 0 });
}

#[test]
fn sections_out_of_order_and_impossible_lengths_are_refused() {
    const HEAD: usize = 14;
    let (_folder, file, _) = small();
    let whole = fs::read(&file).unwrap();
    let mut long = whole.clone();
    long[HEAD + 1..HEAD + 5].copy_from_slice(&u32::MAX.to_be_bytes());
    fs::write(&file, long).unwrap();
    assert!(matches!(verify(&file), Err(BackupError::Damaged { section: 0, wrong: "its length is impossible" })));
    let end = whole.len() - SECTION_HEADER - 24;
    fs::write(&file, [&whole[..HEAD], &whole[end..], &whole[HEAD..end]].concat()).unwrap();
    assert!(matches!(verify(&file), Err(BackupError::Damaged { section: 0, .. })));
    fs::write(&file, [&whole[..8], &[0, 9], &whole[10..]].concat()).unwrap();
    assert!(matches!(verify(&file), Err(BackupError::Format { found: 9, known: 2, .. })));
    fs::write(&file, "a text").unwrap();
    assert!(matches!(verify(&file), Err(BackupError::Magic)));
}

#[test]
fn a_folder_with_anything_in_it_is_refused_and_left_as_it_is() {
    let (_folder, file, data) = small();
    fs::create_dir_all(data.join("lost+found")).unwrap();
    fs::write(data.join("endpoint.key"), "a key").unwrap();
    assert!(matches!(restore(&file, &data), Err(RestoreError::NotEmpty { .. })));
    assert_eq!(fs::read_to_string(data.join("endpoint.key")).unwrap(), "a key");
    fs::remove_file(data.join("endpoint.key")).unwrap();
    restore(&file, &data).unwrap();
    assert!(matches!(restore(&file, &data), Err(RestoreError::NotEmpty { .. })));
}

#[test]
fn damaged_rows_and_records_are_left_out_and_counted_to_whoever_backs_up_or_restores() {
    let (good, bad) = (stored::clear(b"k", 1, b"row"), stored::clear(b"other", 1, b"row"));
    let entries =
        [Entry::Row(b"k".to_vec(), good), Entry::Row(b"k".to_vec(), bad.clone()), Entry::History(b"k".to_vec(), bad)];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    write_to(&file, Box::new(entries.into_iter().map(Ok)));
    assert_eq!(verify(&file).unwrap(), Counts { rows: 1, history: 0, left_out: 2 });
    assert_eq!(restore(&file, &folder.path().join("data")).unwrap().left_out, 2);
}

#[test]
fn a_file_of_the_first_format_is_read_and_tells_nothing_of_what_was_left_out() {
    let (_folder, file, data) = small();
    let mut first = fs::read(&file).unwrap();
    first[8..10].copy_from_slice(&FIRST_FORMAT.to_be_bytes());
    let counts = Counts { rows: 200, history: 200, left_out: 0 };
    let (body, end) = (counts.end(FIRST_FORMAT), first.len() - SECTION_HEADER - 24);
    first.truncate(end);
    first.push(END);
    first.extend((body.len() as u32).to_be_bytes());
    first.extend(checksum(1, END, &body).to_be_bytes());
    first.extend(body);
    fs::write(&file, &first).unwrap();
    assert_eq!((verify(&file).unwrap(), restore(&file, &data).unwrap()), (counts, counts));
    first[8..10].copy_from_slice(&FORMAT.to_be_bytes());
    fs::write(&file, &first).unwrap();
    assert!(matches!(verify(&file), Err(BackupError::Damaged { .. })), "one of this format has to tell");
}
