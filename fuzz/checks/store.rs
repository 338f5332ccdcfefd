//! A store opens, whatever became of its files, or says why not; and it never tells a row that was not written.
//!
//! Input: edits of six bytes each: which file, where (3 bytes), what is turned over there, and what is done: a byte is
//! changed, or the file ends there. Small on purpose: what a store is worth is that it survives few faults, not many.
//!
//! All rows are in the journal alone. So they must be there up to the first fault in it, whatever became of the other
//! files; and where one changed byte of it costs rows, something was set aside. A journal that ends early says nothing:
//! that is what a power cut leaves of a write that was not acknowledged.

use peat_node::store::{DiskStore, SetAside, Store as _};
use peat_node_core::event::Write;
use peat_node_core::ids::{Collection, Key};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Most edits of one run.
const MOST: usize = 8;
/// Rows of the store.
const ROWS: u8 = 40;
/// Rows of one commit.
const ROWS_AT_ONCE: u8 = 10;

/// Panics when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let ends = written(folder.path());
    let files = files(folder.path());
    let read = |file: &PathBuf| fs::read(file).expect("a file of the store");
    let before: Vec<_> = files.iter().map(read).collect();
    for edit in bytes.chunks_exact(6).take(MOST) {
        damage(&files[usize::from(edit[0]) % files.len()], edit);
    }
    let faults: BTreeMap<_, _> =
        files.iter().zip(&before).filter_map(|(file, before)| Some((file, Fault::of(before, &read(file))?))).collect();
    let store = match DiskStore::open(folder.path()) {
        Ok(store) => store,
        // An error is a line for a person, and the files stay as they are: for what says of which release they are.
        Err(error) => {
            let says_release = |file: &&PathBuf| ["version", "format"].iter().any(|name| file.ends_with(name));
            assert!(faults.keys().any(says_release), "{error}: {faults:?}");
            return;
        }
    };
    let found = found(&store);
    expect(&found, store.set_aside(), &ends, &faults);
    store.commit(&rows(0..ROWS)).expect("a store that was mended is written to");
}

/// The first place at which a file is not as it was.
#[derive(Debug)]
struct Fault {
    place: usize,
    /// One byte is another one, all others are as they were, and it is not the last.
    is_one_byte: bool,
}

impl Fault {
    fn of(before: &[u8], after: &[u8]) -> Option<Self> {
        let mut changed = before.iter().zip(after).enumerate().filter(|(_, (before, after))| before != after);
        let first = changed.next().map(|(place, _)| place);
        let is_one_byte = before.len() == after.len() && changed.next().is_none();
        let place = first.or_else(|| (before.len() != after.len()).then_some(after.len()))?;
        Some(Self { place, is_one_byte: is_one_byte && place + 1 < before.len() })
    }
}

/// The rows that a start finds.
fn found(store: &DiskStore) -> BTreeSet<Key> {
    let found = Mutex::new(BTreeSet::new());
    let visit = |key: Key, row: &[u8]| {
        assert_eq!(row, of(&key), "a row that was not written");
        found.lock().expect("no panic").insert(key);
        true
    };
    store.restore(&visit).expect("a store that opens can be read");
    found.into_inner().expect("no panic")
}

fn expect(found: &BTreeSet<Key>, aside: SetAside, ends: &[usize], faults: &BTreeMap<&PathBuf, Fault>) {
    let of_journal = faults.iter().find(|(file, _)| file.extension().is_some_and(|extension| extension == "jnl"));
    let sound = of_journal.map_or(usize::MAX, |(_, fault)| fault.place);
    let commits = ends.iter().filter(|end| **end <= sound).count() as u8;
    let owed: BTreeSet<Key> = rows(0..commits * ROWS_AT_ONCE).into_keys().collect();
    assert!(found.is_superset(&owed), "of {} rows {} are there: {faults:?}", owed.len(), found.len());
    let is_told = aside.rows + aside.stores > 0;
    let must_tell = of_journal.is_some_and(|(_, fault)| fault.is_one_byte) && found.len() < usize::from(ROWS);
    assert!(is_told || !must_tell, "rows are gone without a word: {faults:?}");
    assert!(!is_told || !faults.is_empty(), "nothing was damaged");
}

/// Makes a store, and gives where in its journal each commit ends.
fn written(folder: &Path) -> Vec<usize> {
    let commit = |store: &DiskStore, first| store.commit(&rows(first..first + ROWS_AT_ONCE)).expect("a commit");
    let store = DiskStore::open(folder).expect("a new store");
    commit(&store, 0);
    drop(store);
    // From now on, the journal has no reserve.
    let store = DiskStore::open(folder).expect("the store again");
    let is_journal = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "jnl");
    let journal = files(folder).into_iter().find(is_journal).expect("a journal");
    let length = || fs::metadata(&journal).expect("a journal").len() as usize;
    let mut ends = vec![length()];
    for first in (ROWS_AT_ONCE..ROWS).step_by(usize::from(ROWS_AT_ONCE)) {
        commit(&store, first);
        ends.push(length());
    }
    ends
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
