//! A store opens, whatever became of its files, or says why not; and it never tells a row that was not written.
//!
//! Input: edits of six bytes each: which file, where (3 bytes), what is turned over there, and what is done: a byte is
//! changed, or the file ends there. Small on purpose: what a store is worth is that it survives few faults, not many.

use peat_node::store::{DiskStore, Store as _};
use peat_node_core::event::Write;
use peat_node_core::ids::{Collection, Key};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Most edits of one run.
const MOST: usize = 8;
/// Rows of the store: a few that are in a table, and a few that are only in the journal.
const ROWS: u8 = 40;

/// Panics when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    drop(written(folder.path()));
    let files = files(folder.path());
    for edit in bytes.chunks_exact(6).take(MOST) {
        damage(&files[usize::from(edit[0]) % files.len()], edit);
    }
    // An error is a line for a person, and the files stay as they are.
    let Ok(store) = DiskStore::open(folder.path()) else { return };
    let told = store.restore(&|key, row| {
        assert_eq!(row, of(&key), "a row that was not written");
        true
    });
    if told.is_ok() {
        store.commit(&rows(0..ROWS)).expect("a store that was mended is written to");
    }
}

fn written(folder: &Path) -> DiskStore {
    let store = DiskStore::open(folder).expect("a new store");
    store.commit(&rows(0..ROWS / 2)).expect("a commit");
    drop(store);
    let store = DiskStore::open(folder).expect("the store again");
    store.commit(&rows(ROWS / 2..ROWS)).expect("a commit");
    store
}

fn rows(numbers: std::ops::Range<u8>) -> BTreeMap<Key, Write> {
    let collection = Collection::parse("ferries").expect("a name");
    let keys = numbers.map(|n| Key::new(&collection, &n.to_string()).expect("a key"));
    keys.map(|key| (key.clone(), Write { row: of(&key), history: None, visible: true })).collect()
}

/// What is stored under a key: any bytes will do, for the store does not look into rows.
fn of(key: &Key) -> Vec<u8> {
    key.doc_id().repeat(60).into_bytes()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn damage(file: &Path, edit: &[u8]) {
    let mut bytes = fs::read(file).expect("a file of the store");
    if bytes.is_empty() {
        return;
    }
    let place = edit[1..4].iter().fold(0, |place, byte| place << 8 | usize::from(*byte)) % bytes.len();
    if edit[5].is_multiple_of(4) {
        bytes.truncate(place);
    } else {
        bytes[place] ^= edit[4];
    }
    fs::write(file, bytes).expect("the file with its fault");
}
