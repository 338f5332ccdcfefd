//! The store on a real disk: what survives a restart, damage and a second process.

use super::*;
use crate::store::stored;
use crate::store::{PAGE_BYTES, PAGE_ROWS};
use peat_node_core::event::History;
use peat_node_core::ids::Collection;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, mpsc};

fn key(id: &str) -> Key {
    Key::new(&Collection::parse("agents").unwrap(), id).unwrap()
}

fn visible(row: Vec<u8>) -> Write {
    Write { row, history: None, visible: true }
}

fn writes<'a>(rows: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> BTreeMap<Key, Write> {
    rows.into_iter().map(|(id, row)| (key(id), visible(row.to_vec()))).collect()
}

/// All rows.
fn all(store: &DiskStore) -> Vec<(String, Vec<u8>)> {
    let rows = Mutex::new(BTreeMap::new());
    store
        .restore(&|key, row| {
            rows.lock().unwrap().insert(key.doc_id().to_owned(), row.to_vec());
            true
        })
        .unwrap();
    rows.into_inner().unwrap().into_iter().collect()
}

#[test]
fn what_was_committed_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    assert_eq!(store.commit(&writes([("a", &b"1"[..]), ("b", b"2")])).unwrap(), 2);
    assert_eq!(store.commit(&writes([("a", &b"3"[..])])).unwrap(), 3);
    drop(store);
    let store = DiskStore::open(folder.path()).unwrap();
    assert_eq!(store.last(), 3);
    assert_eq!(store.read(&key("a")).unwrap(), Some(Row { seq: 3, bytes: b"3".to_vec() }));
    assert_eq!(store.log(0, 9, 10).unwrap(), [(2, key("b")), (3, key("a"))]);
    assert_eq!(all(&store), [("a".into(), b"3".to_vec()), ("b".into(), b"2".to_vec())]);
}

#[test]
fn a_store_keeps_its_id_for_as_long_as_it_keeps_its_log() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let id = |folder: &tempfile::TempDir| DiskStore::open(folder.path()).unwrap().id().unwrap();
    let first = id(&one);
    assert_eq!(first, id(&one));
    assert_ne!(first, id(&two));
    let store = DiskStore::open(one.path()).unwrap();
    store.rebuild(&fjall::Error::Poisoned).unwrap();
    assert_ne!(first, store.id().unwrap(), "what is copied may lack something");
    drop(store);
    assert_ne!(first, id(&one));
}

#[test]
fn which_store_it_is_is_told_while_it_is_opened_again_and_no_longer_when_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(DiskStore::open(folder.path()).unwrap());
    let id = store.id().unwrap();
    // As the driver does for as long as an opening takes.
    let opening = store.engine.write().unwrap();
    let (answer, answered) = mpsc::channel();
    let asked = Arc::clone(&store);
    let asking = std::thread::spawn(move || answer.send(asked.id()).unwrap());
    assert_eq!(answered.recv_timeout(Duration::from_secs(10)).expect("it waits for the engine").unwrap(), id);
    drop(opening);
    asking.join().unwrap();
    store.reopen().unwrap();
    assert_eq!(store.id().unwrap(), id);
    store.close();
    assert!(matches!(store.id(), Err(StoreError::Stopped)));
}

#[test]
fn a_row_that_changes_unseen_keeps_its_place_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let unseen =
        |id: &str| BTreeMap::from([(key(id), Write { row: b"unseen".to_vec(), history: None, visible: false })]);
    store.commit(&writes([("a", &b"1"[..])])).unwrap();
    assert_eq!(store.commit(&unseen("a")).unwrap(), 1);
    assert_eq!(store.commit(&unseen("b")).unwrap(), 1);
    assert_eq!(store.read(&key("a")).unwrap(), Some(Row { seq: 1, bytes: b"unseen".to_vec() }));
    assert_eq!(store.read(&key("b")).unwrap(), Some(Row { seq: 0, bytes: b"unseen".to_vec() }));
    assert_eq!(store.log(0, 9, 10).unwrap(), [(1, key("a"))]);
    assert_eq!(store.commit(&writes([("b", &b"2"[..])])).unwrap(), 2);
    assert_eq!(store.log(0, 9, 10).unwrap(), [(1, key("a")), (2, key("b"))]);
}

#[test]
fn two_openings_of_one_store_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let second = DiskStore::open(folder.path());
    assert!(matches!(second, Err(StoreError::Locked { .. })), "{second:?}");
    drop(store);
    DiskStore::open(folder.path()).unwrap();
}

#[test]
fn a_scan_gives_every_row_once_in_order_and_only_of_its_collection() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let mut rows: BTreeMap<Key, Write> =
        (0..2 * PAGE_ROWS + 3).map(|i| (key(&format!("{i:06}")), visible(vec![1; 9]))).collect();
    rows.insert(Key::new(&Collection::parse("agentsx").unwrap(), "z").unwrap(), visible(vec![2]));
    rows.insert(Key::new(&Collection::parse("agent").unwrap(), "z").unwrap(), visible(vec![2]));
    store.commit(&rows).unwrap();
    let mut position = Some(Position::of(&Collection::parse("agents").unwrap()));
    let mut ids = Vec::new();
    while let Some(at) = position {
        let (page, next) = store.page(&at).unwrap();
        assert!(page.len() <= PAGE_ROWS);
        ids.extend(page.into_iter().map(|(key, _)| key.doc_id().to_owned()));
        position = next;
    }
    assert_eq!(ids, (0..2 * PAGE_ROWS + 3).map(|i| format!("{i:06}")).collect::<Vec<_>>());
}

#[test]
fn large_rows_make_short_pages() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let big = vec![0; PAGE_BYTES];
    store.commit(&writes([("a", &big[..]), ("b", &big[..]), ("c", &big[..])])).unwrap();
    let (page, next) = store.page(&Position::first()).unwrap();
    assert_eq!((page.len(), next.is_some()), (1, true));
}

#[test]
fn a_corrupt_row_is_set_aside_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    store.commit(&writes([("a", &b"1"[..]), ("b", b"2"), ("c", b"3")])).unwrap();
    store
        .with(|engine| {
            let mut batch = engine.database.batch();
            batch.insert(&engine.rows, key("b").as_bytes(), stored::clear(key("x").as_bytes(), 2, b"2"));
            batch.insert(&engine.rows, &b"no separator"[..], &b"short"[..]);
            batch.commit().unwrap();
            Ok(())
        })
        .unwrap();
    assert!(matches!(store.read(&key("b")), Err(StoreError::Corrupt { .. })));
    let ids = |rows: Vec<(String, Vec<u8>)>| rows.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(all(&store)), ["a", "c"]);
    assert_eq!(store.set_aside(), SetAside { rows: 2, stores: 0 });
    assert_eq!(store.read(&key("b")).unwrap(), None);
    drop(store);
    let store = DiskStore::open(folder.path()).unwrap();
    assert_eq!(store.set_aside(), SetAside { rows: 2, stores: 0 });
    store.restore(&|key, _| key.doc_id() != "c").unwrap();
    assert_eq!(ids(all(&store)), ["a"]);
    assert_eq!(store.set_aside().rows, 3);
}

#[test]
fn history_records_are_read_in_order_and_replaced_as_one_and_a_damaged_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let put = |history| {
        let write = Write { row: b"row".to_vec(), history: Some(history), visible: true };
        store.commit(&BTreeMap::from([(key("a"), write)])).unwrap();
    };
    for (number, chunk) in [(0, b"one"), (1, b"two"), (2, b"six")] {
        put(History::Append { number, chunk: chunk.to_vec() });
    }
    assert_eq!(store.history(&key("a"), 3).unwrap().unwrap(), b"onetwosix");
    assert_eq!(store.history(&key("a"), 4).unwrap(), None, "one that was never written");
    put(History::Replace { base: b"base".to_vec(), count: 3 });
    assert_eq!(store.history(&key("a"), 1).unwrap().unwrap(), b"base");
    assert_eq!(store.history(&key("a"), 2).unwrap(), None, "the others are gone");
    let broken = |engine: &Engine| {
        let (raw, _) = engine.history.first_key_value().unwrap().into_inner().unwrap();
        engine.history.insert(raw, b"sixteen bytes here, and a chunk").map_err(read_error)
    };
    store.with(broken).unwrap();
    assert_eq!(store.history(&key("a"), 1).unwrap(), None);
}

fn set_aside(store: &DiskStore) -> Vec<Vec<u8>> {
    let keys = |engine: &Engine| engine.set_aside.iter().map(|guard| guard.key().unwrap().to_vec()).collect();
    store.with(|engine| Ok(keys(engine))).unwrap()
}

#[test]
fn a_damaged_history_that_is_begun_anew_is_set_aside_and_a_sound_one_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let put = |id: &str, history| {
        let write = Write { row: b"row".to_vec(), history: Some(history), visible: true };
        store.commit(&BTreeMap::from([(key(id), write)])).unwrap();
    };
    for id in ["bad", "good"] {
        (0..3).for_each(|number| put(id, History::Append { number, chunk: b"chunk".to_vec() }));
    }
    let second = history::record_key(&key("bad"), 1);
    store.with(|engine| engine.history.remove(&second).map_err(read_error)).unwrap();
    assert_eq!(store.history(&key("bad"), 3).unwrap(), None);
    assert!(store.history(&key("good"), 3).unwrap().is_some());
    for id in ["bad", "good"] {
        put(id, History::Replace { base: b"base".to_vec(), count: 3 });
        assert_eq!(store.history(&key(id), 1).unwrap().unwrap(), b"base");
    }
    let kept = [0, 2].map(|number| history::record_key(&key("bad"), number));
    assert_eq!(set_aside(&store), kept);
    assert_eq!(store.set_aside().rows, 0);
    put("bad", History::Replace { base: b"next".to_vec(), count: 1 });
    assert_eq!(set_aside(&store), kept, "the new history is sound");
    store.keep_history(&key("good"));
    put("good", History::Replace { base: b"next".to_vec(), count: 1 });
    assert_eq!(set_aside(&store).len(), 3, "one that the core gave up is kept as well");
    drop(store);
    assert_eq!(DiskStore::open(folder.path()).unwrap().set_aside().rows, 0, "records are no rows");
}

#[test]
fn a_row_that_a_read_found_damaged_is_set_aside_with_its_history_and_its_log_entry() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let history = Some(History::Append { number: 0, chunk: b"chunk".to_vec() });
    let mut rows = writes([("a", &b"1"[..]), ("b", b"2"), ("c", b"3")]);
    rows.get_mut(&key("b")).unwrap().history = history;
    store.commit(&rows).unwrap();
    let damage = |id: &str, seq| {
        let value = stored::clear(b"another key", seq, b"row");
        store.with(|engine| engine.rows.insert(key(id).as_bytes(), value).map_err(read_error)).unwrap();
    };
    damage("b", 2);
    damage("c", 3);
    let nothing = BTreeMap::new();
    assert_eq!(store.set_damaged_aside(&nothing).unwrap(), [], "nobody has read it");
    assert!(store.read(&key("b")).is_err());
    assert_eq!(store.page(&Position::first()).unwrap().0.len(), 1);
    // Overwritten before anything was done about it.
    let again = writes([("c", &b"again"[..])]);
    assert_eq!(store.set_damaged_aside(&again).unwrap(), [key("b")]);
    store.commit(&again).unwrap();
    assert_eq!(store.set_damaged_aside(&nothing).unwrap(), []);
    assert_eq!(set_aside(&store), [key("b").as_bytes().to_vec(), history::record_key(&key("b"), 0)]);
    assert_eq!(store.set_aside().rows, 1);
    assert_eq!(store.read(&key("b")).unwrap(), None);
    assert_eq!(store.log(0, 9, 9).unwrap(), [(1, key("a")), (4, key("c"))]);
}

#[test]
fn a_store_that_is_opened_again_has_everything_and_takes_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    store.commit(&writes([("a", &b"1"[..])])).unwrap();
    let mut copy = store.entries().unwrap();
    store.reopen().unwrap();
    assert!(copy.next().unwrap().is_err(), "a copy does not outlive the engine it reads");
    assert_eq!(store.commit(&writes([("b", &b"2"[..])])).unwrap(), 2);
    drop(store);
    assert_eq!(all(&DiskStore::open(folder.path()).unwrap()).len(), 2);
}

#[test]
fn a_store_that_is_opened_again_goes_on_with_its_run_also_where_no_note_of_it_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    store.reopen().unwrap();
    assert_eq!((store.run(0), store.commit(&writes([("a", &b"1"[..])])).unwrap()), (Some(0), 1));
    let run = store.run(1).unwrap();
    store.reopen().unwrap();
    assert_eq!((store.run(1), store.commit(&writes([("b", &b"2"[..])])).unwrap()), (Some(run), 2));
    assert_eq!([0, 1, 2].map(|seq| store.run(seq)), [0, run, run].map(Some));
    // As a disk may do that loses what it had said to have.
    store.with(|engine| engine.meta.remove("runs").map_err(read_error)).unwrap();
    store.reopen().unwrap();
    assert_eq!((store.run(2), store.commit(&writes([("c", &b"3"[..])])).unwrap()), (Some(0), 3));
    drop(store);
    let store = DiskStore::open(folder.path()).unwrap();
    assert_eq!([2, 3].map(|seq| store.run(seq)), [0, run].map(Some));
}

#[test]
fn a_closed_store_leaves_nothing_to_replay_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let rows: BTreeMap<Key, Write> = (0..5000).map(|i| (key(&format!("{i:06}")), visible(vec![7; 500]))).collect();
    store.commit(&rows).unwrap();
    let files = folder.path().join(FOLDER);
    assert!(journal::content(&files).unwrap() > SHORT_JOURNAL);
    store.close();
    assert!(matches!(store.read(&key("000001")), Err(StoreError::Stopped)));
    assert_eq!(journal::content(&files).unwrap(), 0);
    let store = DiskStore::open(folder.path()).unwrap();
    assert_eq!((store.last(), all(&store).len()), (5000, 5000));
    assert_eq!(store.commit(&writes([("000001", &b"new"[..])])).unwrap(), 5001);
    drop(store);
    let store = DiskStore::open(folder.path()).unwrap();
    assert_eq!(store.read(&key("000001")).unwrap(), Some(Row { seq: 5001, bytes: b"new".to_vec() }));
}

#[test]
fn a_store_of_another_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    store
        .with(|engine| {
            engine.set_format(9);
            Ok(())
        })
        .unwrap();
    drop(store);
    let refused = DiskStore::open(folder.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::Format { found, known: 3, .. } if found == "9"), "{refused}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_seldom_written_is_in_tables_after_a_start_and_holds_no_journal_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let tables = || store.with(|engine| Ok(engine.meta.table_count())).unwrap();
    let began = std::time::Instant::now();
    while tables() == 0 {
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "only in the journal");
        std::thread::yield_now();
    }
}

#[test]
fn an_unreadable_block_costs_its_rows_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let rows: BTreeMap<Key, Write> = (0..5000).map(|i| (key(&format!("{i:06}")), visible(vec![7; 200]))).collect();
    store.commit(&rows).unwrap();
    let table = store
        .with(|engine| {
            engine.rows.rotate_memtable_and_wait().unwrap();
            Ok(largest_file(&engine.rows.path().join("tables")))
        })
        .unwrap();
    drop(store);
    let mut file = fs::OpenOptions::new().write(true).open(&table).unwrap();
    file.seek(SeekFrom::Start(fs::metadata(&table).unwrap().len() / 2)).unwrap();
    file.write_all(&[0xff; 64]).unwrap();
    drop(file);

    let store = DiskStore::open(folder.path()).unwrap();
    let kept = all(&store).len();
    assert!((4800..5000).contains(&kept), "{kept} rows were kept");
    assert_eq!(store.set_aside().stores, 1);
    let aside = fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("set-aside"));
    assert_eq!(aside.count(), 1, "the damaged store is kept");
    store.commit(&writes([("000001", &b"new"[..])])).unwrap();
    assert_eq!(store.last(), 5001);
}

#[test]
fn a_store_that_cannot_be_opened_is_renamed_and_an_empty_one_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    store.commit(&writes([("a", &b"1"[..])])).unwrap();
    let rows = store.with(|engine| Ok(engine.rows.path().to_owned())).unwrap();
    drop(store);
    for file in fs::read_dir(&rows).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        fs::write(file.path(), [0xff; 8]).unwrap();
    }
    let journals = journal::journals(&folder.path().join(FOLDER)).unwrap();
    journals.into_iter().for_each(|(_, path)| fs::write(path, "").unwrap());
    let store = DiskStore::open(folder.path()).unwrap();
    assert_eq!((store.last(), store.set_aside().stores), (0, 1));
    store.commit(&writes([("a", &b"2"[..])])).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left but the store and the damaged one");
}

/// A closed store with `count` rows in tables and one in the journal.
fn in_tables(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    let rows: BTreeMap<Key, Write> = (0..count).map(|i| (key(&format!("{i:06}")), visible(vec![7; 200]))).collect();
    store.commit(&rows).unwrap();
    store.with(|engine| Ok(engine.write_out(Duration::from_secs(10)).unwrap())).unwrap();
    store.commit(&writes([("in the journal", &b"row"[..])])).unwrap();
    folder
}

fn keyspace(folder: &tempfile::TempDir, id: u64) -> PathBuf {
    folder.path().join(FOLDER).join("keyspaces").join(id.to_string())
}

#[test]
fn a_store_that_does_not_open_because_of_one_part_loses_that_part_only() {
    // Lists of tables of the log, of the histories, of the node's notes, of what is set aside, of the engine's own.
    for id in [3, 2, 4, 5, 0] {
        let folder = in_tables(3000);
        let part = keyspace(&folder, id);
        for file in fs::read_dir(&part).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
            fs::write(file.path(), "garbage").unwrap();
        }
        let store = DiskStore::open(folder.path()).unwrap();
        assert_eq!((all(&store).len(), store.last(), store.set_aside().stores), (3001, 3001, 1), "keyspace {id}");
        assert_eq!(store.log(2999, 3001, 9).unwrap(), [(3000, key("002999")), (3001, key("in the journal"))]);
        let kept = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(kept, 2, "keyspace {id}: the damaged store is kept, and nothing else is left");
        store.commit(&writes([("new", &b"row"[..])])).unwrap();
        drop(store);
        assert_eq!(all(&DiskStore::open(folder.path()).unwrap()).len(), 3002, "keyspace {id}");
    }
}

#[test]
fn a_store_whose_list_of_tables_is_not_named_any_more_keeps_all_of_them() {
    for id in 0..=5 {
        let folder = in_tables(3000);
        fs::write(keyspace(&folder, id).join("current"), [0xff; 8]).unwrap();
        let store = DiskStore::open(folder.path()).unwrap();
        assert_eq!((all(&store).len(), store.last()), (3001, 3001), "keyspace {id}");
    }
}

#[test]
fn of_rows_between_two_unreadable_blocks_those_in_other_blocks_are_kept() {
    let folder = in_tables(20_000);
    let table = largest_file(&keyspace(&folder, 1).join("tables"));
    let (file, length) =
        (fs::OpenOptions::new().write(true).open(&table).unwrap(), fs::metadata(&table).unwrap().len());
    for place in [length / 4, length / 2] {
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 64], place).unwrap();
    }
    let store = DiskStore::open(folder.path()).unwrap();
    let kept = all(&store).len();
    assert!((19_600..20_000).contains(&kept), "{kept} rows were kept");
}

#[test]
fn a_torn_end_of_the_journal_costs_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path()).unwrap();
    store.commit(&writes([("a", &b"1"[..])])).unwrap();
    // What a crash leaves: the files as they are, without the farewell of a clean close.
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    drop(store);
    let journal = largest_file(&crashed.path().join(FOLDER));
    let bytes = fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut file = fs::OpenOptions::new().write(true).open(&journal).unwrap();
    file.seek(SeekFrom::Start(end as u64)).unwrap();
    file.write_all(&bytes[..end / 2]).unwrap();
    drop(file);
    let store = DiskStore::open(crashed.path()).unwrap();
    assert_eq!(all(&store), [("a".into(), b"1".to_vec())]);
    assert_eq!(store.commit(&writes([("b", &b"2"[..])])).unwrap(), 2);
}

fn largest_file(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap().path()
}

/// All of a folder, into one that is there.
pub(in crate::store) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}
