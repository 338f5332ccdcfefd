//! Journals with one fault in them, read as batches and opened as stores.

use super::*;
use crate::store::disk::FOLDER;
use crate::store::disk::tests::copy;
use crate::store::{DiskStore, SetAside, Store as _};
use peat_node_core::event::Write;
use peat_node_core::ids::{Collection, Key};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;
use tempfile::TempDir;

/// Rows of the stores here, each in a batch of its own.
const ROWS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A store whose process was killed: its rows, each so long, are in the journal only. With the journal's content, and
/// where in it the batches of the rows are.
struct Killed {
    data: TempDir,
    journal: PathBuf,
    bytes: Vec<u8>,
    batches: Vec<Range<usize>>,
}

impl Killed {
    fn with_rows_of(length: usize) -> Self {
        let (running, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = DiskStore::open(running.path()).unwrap();
        let key = |id: &str| Key::new(&Collection::parse("agents").unwrap(), id).unwrap();
        for id in ROWS {
            let write = Write { row: id.repeat(length).into_bytes(), history: None, visible: true };
            store.commit(&BTreeMap::from([(key(id), write)])).unwrap();
        }
        copy(running.path(), data.path());
        drop(store);
        let (_, journal) = journal::journals(&data.path().join(FOLDER)).unwrap().pop().unwrap();
        let mut bytes = fs::read(&journal).unwrap();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
        let mut batches = batches(&journal);
        assert_eq!(batches.last().unwrap().end, bytes.len());
        batches.drain(..batches.len() - ROWS.len());
        Self { data, journal, bytes, batches }
    }

    /// What there is after a start with this in the journal, and its reserve behind it.
    fn open_with(&self, bytes: &[u8]) -> (BTreeSet<String>, SetAside, TempDir) {
        let data = tempfile::tempdir().unwrap();
        copy(self.data.path(), data.path());
        write(&data.path().join(FOLDER).join(self.journal.file_name().unwrap()), bytes);
        let store = DiskStore::open(data.path()).unwrap();
        let found = Mutex::new(BTreeSet::new());
        let visit = |key: Key, _: &[u8]| found.lock().unwrap().insert(key.doc_id().to_owned());
        store.restore(&visit).unwrap();
        (found.into_inner().unwrap(), store.set_aside(), data)
    }

    fn with_flipped(&self, place: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[place] ^= 0x40;
        bytes
    }
}

fn write(journal: &Path, bytes: &[u8]) {
    fs::write(journal, bytes).unwrap();
    File::options().write(true).open(journal).unwrap().set_len(bytes.len() as u64 + 3 * PIECE as u64).unwrap();
}

fn batches(journal: &Path) -> Vec<Range<usize>> {
    let mut reader = Reader { file: BufReader::new(File::open(journal).unwrap()), at: 0 };
    let mut batches = Vec::new();
    loop {
        let begin = reader.at as usize;
        match reader.batch() {
            Ok(is_sound) => assert!(is_sound),
            Err(_) => return batches,
        }
        batches.push(begin..reader.at as usize);
    }
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn a_journal_that_ends_anywhere_is_whole_or_torn_and_one_with_a_changed_byte_is_damaged() {
    let killed = Killed::with_rows_of(20);
    let journal = killed.data.path().join("1.jnl");
    let all = batches(&killed.journal);
    let found = |bytes: &[u8]| {
        write(&journal, bytes);
        Batches::of(&journal).unwrap()
    };
    for length in 0..=killed.bytes.len() {
        let whole = all.iter().map(|batch| batch.end).filter(|end| *end <= length).max().unwrap_or(0);
        let state = if whole == length { State::Whole } else { State::Torn };
        let sound = (whole > 0).then_some(0..whole as u64).into_iter().collect();
        assert_eq!(found(&killed.bytes[..length]), Batches { sound, state }, "cut at {length}");
    }
    // The engine's checksum does not cover the number of a batch.
    let is_number = |place: &usize| all.iter().any(|batch| (5..13).contains(&place.wrapping_sub(batch.start)));
    for place in (0..killed.bytes.len()).filter(|place| !is_number(place)) {
        let begin = all.iter().map(|batch| batch.start).filter(|start| *start <= place).max().unwrap() as u64;
        let batches = found(&killed.with_flipped(place));
        assert_eq!(batches.state, State::Damaged(begin), "changed at {place}");
        let before = batches.sound.first().filter(|first| first.start == 0).map_or(0, |first| first.end);
        assert_eq!(before, begin, "changed at {place}");
    }
}

#[test]
fn a_changed_byte_in_a_value_costs_its_batch_and_no_other_and_the_store_is_kept_as_it_was() {
    let killed = Killed::with_rows_of(200);
    for (batch, id) in killed.batches.iter().zip(ROWS) {
        let bytes = killed.with_flipped((batch.start + batch.end) / 2);
        let (found, aside, data) = killed.open_with(&bytes);
        assert_eq!(found, &set(&ROWS) - &set(&[id]));
        assert_eq!(aside, SetAside { rows: 0, stores: 1 });
        let kept = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<_> = kept.filter(|path| path.extension().is_some()).collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        let journal = fs::read(kept[0].join(killed.journal.file_name().unwrap())).unwrap();
        assert!(journal.starts_with(&bytes), "{id}: the damaged journal is not as it was");
    }
}

#[test]
fn a_changed_byte_in_the_framing_costs_no_batch_before_it() {
    let killed = Killed::with_rows_of(200);
    for (number, batch) in killed.batches.iter().enumerate() {
        // Of the batch: its tag, how many entries it has; of the first entry: its tag and the length of its key; the
        // end of the batch.
        for place in [batch.start, batch.start + 1, batch.start + 13, batch.start + 24, batch.end - 1] {
            let (found, aside, _) = killed.open_with(&killed.with_flipped(place));
            assert!(found.is_superset(&set(&ROWS[..number])), "byte {place} of {batch:?}: {found:?}");
            assert!(!found.contains(ROWS[number]), "byte {place} of {batch:?}: {found:?}");
            assert_eq!(aside.stores, 1, "byte {place} of {batch:?}");
        }
    }
}

#[test]
fn a_batch_that_was_never_finished_is_no_damage() {
    let killed = Killed::with_rows_of(3000);
    let last = killed.batches.last().unwrap();
    for end in [last.start + 1, last.start + 13, last.start + 600, last.end - 13, last.end - 1] {
        let (found, aside, _) = killed.open_with(&killed.bytes[..end]);
        assert_eq!((found, aside), (set(&ROWS[..5]), SetAside::default()), "cut at {end}");
    }
    let sectors: Vec<_> =
        (0..killed.bytes.len() / SECTOR).map(|number| number * SECTOR..(number + 1) * SECTOR).collect();
    let missing = |sectors: &[Range<usize>]| {
        let mut bytes = killed.bytes.clone();
        for place in sectors.iter().cloned().flatten().filter(|place| last.contains(place)) {
            bytes[place] = 0;
        }
        bytes
    };
    let of_last: Vec<_> = sectors.into_iter().filter(|sector| sector.end > last.start).collect();
    for lost in [&of_last[..1], &of_last[1..2], &of_last[2..4], &of_last[..]] {
        let (found, aside, _) = killed.open_with(&missing(lost));
        assert_eq!((found, aside), (set(&ROWS[..5]), SetAside::default()), "missing: {lost:?}");
    }
}

#[test]
fn missing_sectors_before_a_finished_batch_are_damage() {
    let killed = Killed::with_rows_of(3000);
    let middle = killed.batches[3].start / SECTOR * SECTOR + 2 * SECTOR;
    let mut bytes = killed.bytes.clone();
    bytes[middle..middle + SECTOR].fill(0);
    let (found, aside, _) = killed.open_with(&bytes);
    assert_eq!((found, aside.stores), (&set(&ROWS) - &set(&[ROWS[3]]), 1));
}
