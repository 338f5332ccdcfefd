//! What to do with a store that cannot stay as it is: put another in its place, with what can be read of it.
//!
//! Purpose: a store with an unreadable block is copied, row by row from both ends, to a new one; of one that does not
//! open, as much as can be opened beside it; a clear one for which there is a key, so that its values are sealed. The
//! damaged one is renamed. Whenever the process ends, there is one of them under the store's name or [`finish`] puts it
//! there. Inputs: folders and engines. Outputs: an engine. What it does not do: delete anything but its own unfinished
//! copy, and a clear store that was copied whole.

use super::engine::Engine;
use super::fail::{Place, reach};
use super::finds::SET_ASIDE;
use super::replica::Replica;
use super::seal::StoreKeys;
use super::{Seq, Source, StoreError, StoreId, history, runs, stored, sync};
use fjall::{KvPair, PersistMode};
use peat_node_core::event::StorageFault;
use std::borrow::Borrow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::{debug, error, info, warn};

/// Rows in one batch while a store is copied.
const COPY_BATCH: usize = 1024;

/// Extensions of the store's folder: a copy in the making, one that is whole and waits for its place, and the clear
/// store that had the place before.
const UNFINISHED: &str = "copy";
const READY: &str = "ready";
const CLEAR: &str = "clear";

/// Before a store is opened: ends what a process began that was killed between two steps of this module.
pub(super) fn finish(folder: &Path) -> Result<(), StoreError> {
    let (ready, clear) = (folder.with_extension(READY), folder.with_extension(CLEAR));
    let failed = |source: io::Error| StoreError::Open { path: folder.to_owned(), source: Box::new(source) };
    if !folder.exists() && ready.exists() {
        fs::rename(&ready, folder).map_err(failed)?;
    }
    if folder.exists() && clear.exists() {
        fs::remove_dir_all(&clear).map_err(failed)?;
    }
    Ok(())
}

/// Puts a store in the place of one that does not open: with what is readable of that, or an empty one.
pub(super) fn replace(folder: &Path, keys: &StoreKeys) -> Result<Engine, StoreError> {
    match Replica::of(folder, keys)?.map(|replica| rebuild(replica, folder, keys)) {
        Some(Ok(engine)) => return Ok(engine),
        // An empty store would not fit either: with more room, nothing is lost.
        Some(Err(error)) if error.fault() == StorageFault::Full => return Err(error),
        Some(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            error!(error, "what can be read of the store could not be copied");
        }
        None => {}
    }
    if folder.exists() {
        move_aside(folder)?;
    }
    warn!("nothing could be taken over: starting with an empty store");
    open(folder, keys)
}

/// Copies what is readable of a damaged store to a new one, and puts that in its place.
pub(super) fn rebuild(damaged: impl Borrow<Engine>, folder: &Path, keys: &StoreKeys) -> Result<Engine, StoreError> {
    copy(damaged.borrow(), folder, keys, None)?;
    drop(damaged);
    reach(Place::BeforeMove);
    move_aside(folder)?;
    reach(Place::BetweenNames);
    put_in_place(folder, keys)
}

/// Puts a store with the same rows, numbers and id, but sealed values, in the place of a clear one.
pub(super) fn seal(clear: Engine, folder: &Path, keys: &StoreKeys) -> Result<Engine, StoreError> {
    info!("the store is clear and there is a key: sealing its values");
    let copied_whole = copy(&clear, folder, keys, Some(clear.id))?;
    drop(clear);
    if copied_whole {
        rename(folder, &folder.with_extension(CLEAR))?;
    } else {
        let kept = move_aside(folder)?;
        error!(kept = %kept.display(), "the store had damage: what it was is kept, and is not encrypted");
    }
    let sealed = put_in_place(folder, keys)?;
    finish(folder)?;
    Ok(sealed)
}

/// Makes a copy of what is readable, ready to be put in place; whether that was everything, and then it has this `id`.
fn copy(from: &Engine, folder: &Path, keys: &StoreKeys, id: Option<StoreId>) -> Result<bool, StoreError> {
    let unfinished = folder.with_extension(UNFINISHED);
    for leftover in [&unfinished, &folder.with_extension(READY)] {
        if leftover.exists() {
            let failed = |source| StoreError::Open { path: unfinished.clone(), source: Box::new(source) };
            fs::remove_dir_all(leftover).map_err(failed)?;
        }
    }
    let is_whole = fill(from, &unfinished, keys, id).inspect_err(|_| {
        // On a full disk it would keep the room that everything else needs; the next attempt removes it as well.
        let _ = fs::remove_dir_all(&unfinished);
    })?;
    rename(&unfinished, &folder.with_extension(READY))?;
    Ok(is_whole)
}

fn fill(from: &Engine, unfinished: &Path, keys: &StoreKeys, id: Option<StoreId>) -> Result<bool, StoreError> {
    let failed = |source: Source| StoreError::Open { path: unfinished.to_owned(), source };
    let mut to = open(unfinished, &StoreKeys::default())?;
    to.lock_like(from, keys).map_err(|damage| damage.into_error(unfinished))?;
    let is_whole = copy_rows(from, &to).map_err(|source| failed(Box::new(source)))?;
    if is_whole && let Some(id) = id {
        to.call_itself(id).map_err(|source| failed(Box::new(source)))?;
        runs::copy(from, &to).map_err(|source| failed(Box::new(source)))?;
    }
    let stores = from.count_stores_set_aside(0).unwrap_or(0);
    to.count_stores_set_aside(stores).map_err(|source| failed(Box::new(source)))?;
    // The newest row may be among those that were not copied; without a log, the copied rows tell.
    to.note_last(from.last_seq().unwrap_or(0)).map_err(|source| failed(Box::new(source)))?;
    Ok(is_whole)
}

fn put_in_place(folder: &Path, keys: &StoreKeys) -> Result<Engine, StoreError> {
    rename(&folder.with_extension(READY), folder)?;
    open(folder, keys)
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let renamed = fs::rename(from, to).and_then(|()| sync::parent(to));
    renamed.map_err(|source| StoreError::Open { path: from.to_owned(), source: Box::new(source) })
}

fn open(folder: &Path, keys: &StoreKeys) -> Result<Engine, StoreError> {
    Engine::open(folder, keys).map_err(|damage| damage.into_error(folder))
}

fn copy_rows(damaged: &Engine, copy: &Engine) -> fjall::Result<bool> {
    let keyspaces =
        [(&damaged.set_aside, &copy.set_aside), (&damaged.history, &copy.history), (&damaged.rows, &copy.rows)];
    let mut is_whole = true;
    for (from, to) in keyspaces {
        let new_batch = || copy.database.batch().durability(Some(PersistMode::Buffer));
        let (mut batch, mut count) = (new_batch(), 0);
        is_whole &= damaged.salvage(from, &mut |(key, value)| -> fjall::Result<()> {
            let renewed = copy.codec.renewed(&key, &value).map_err(io::Error::other)?;
            let value = renewed.map_or(value, Into::into);
            if *to == copy.rows {
                copy.insert_row(&mut batch, key, value);
            } else {
                batch.insert(to, key, value);
            }
            count += 1;
            if count % COPY_BATCH == 0 { std::mem::replace(&mut batch, new_batch()).commit() } else { Ok(()) }
        })?;
        batch.commit()?;
        debug!(count, "records were copied");
    }
    copy.sync()?;
    Ok(is_whole)
}

/// Moves rows, and the histories of their documents, out of every read. No entry of the log says that they went, so the
/// store gets another id: whoever followed the old log begins again.
pub(super) fn move_rows(engine: &mut Engine, rows: Vec<KvPair>, last: Seq) -> fjall::Result<()> {
    let mut batch = engine.database.batch().durability(Some(PersistMode::SyncData));
    for (key, value) in rows {
        // The number of a damaged row may be that of another document.
        if let Some(seq) = stored::seq(&value).map(Seq::to_be_bytes)
            && engine.log.get(seq)?.as_ref() == Some(&key)
        {
            batch.remove(&engine.log, seq);
        }
        history::set_aside(engine, &mut batch, &key);
        batch.remove(&engine.rows, key.clone());
        batch.insert(&engine.set_aside, key, value);
    }
    let id = engine.begin_anew(&mut batch, last);
    batch.commit()?;
    engine.id = id;
    Ok(())
}

/// Renames `folder` so that a person can look at it, and says to what.
pub(super) fn move_aside(folder: &Path) -> Result<PathBuf, StoreError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = folder.with_extension(format!("{SET_ASIDE}{}", now.as_millis()));
    rename(folder, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::FOLDER;
    use crate::store::{DiskStore, Store as _};
    use peat_node_core::event::Write;
    use peat_node_core::ids::{Collection, Key};
    use std::collections::BTreeMap;

    fn key(id: &str) -> Key {
        Key::new(&Collection::parse("agents").unwrap(), id).unwrap()
    }

    fn commit(store: &DiskStore, id: &str) -> Seq {
        let write = Write { row: b"row".to_vec(), history: None, visible: true };
        store.commit(&BTreeMap::from([(key(id), write)])).unwrap()
    }

    /// Puts a row there that is not sound, as rot would.
    fn damage(data: &Path, id: &str, seq: Seq) {
        let engine = Engine::open(&data.join(FOLDER), &StoreKeys::default()).ok().unwrap();
        engine.rows.insert(key(id).as_bytes(), stored::clear(b"another key", seq, b"row")).unwrap();
    }

    #[test]
    fn a_log_from_which_the_newest_row_was_set_aside_is_another_one_and_its_number_is_not_given_again() {
        let data = tempfile::tempdir().unwrap();
        let store = DiskStore::open(data.path()).unwrap();
        let first = store.id().unwrap();
        assert_eq!(["a", "b", "c"].map(|id| commit(&store, id)), [1, 2, 3]);
        drop(store);
        damage(data.path(), "c", 3);
        let store = DiskStore::open(data.path()).unwrap();
        assert_eq!((store.id().unwrap(), store.last()), (first, 3), "nobody has seen it yet");
        store.restore(&|_, _| true).unwrap();
        let second = store.id().unwrap();
        assert_ne!(first, second, "whoever followed the log was not told that a document went");
        assert_eq!(store.log(0, 9, 9).unwrap(), [(1, key("a")), (2, key("b"))]);
        drop(store);
        damage(data.path(), "b", 2);
        let store = DiskStore::open(data.path()).unwrap();
        assert_eq!((store.id().unwrap(), store.last()), (second, 3));
        store.read(&key("b")).unwrap_err();
        assert_eq!(store.set_damaged_aside(&BTreeMap::new()).unwrap(), [key("b")]);
        assert_ne!(second, store.id().unwrap(), "a read found it");
        assert_eq!(commit(&store, "d"), 4);
    }

    #[test]
    fn a_copy_without_the_newest_rows_gives_none_of_their_numbers_again() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join(FOLDER);
        let store = DiskStore::open(data.path()).unwrap();
        assert_eq!(["a", "b"].map(|id| commit(&store, id)), [1, 2]);
        drop(store);
        let engine = Engine::open(&folder, &StoreKeys::default()).ok().unwrap();
        engine.rows.remove(key("b").as_bytes()).unwrap();
        // What is no sound row has no number either.
        engine.rows.insert(key("x").as_bytes(), stored::clear(b"another key", Seq::MAX, b"row")).unwrap();
        drop(rebuild(engine, &folder, &StoreKeys::default()).unwrap());
        let store = DiskStore::open(data.path()).unwrap();
        assert_eq!((store.last(), store.log(0, 9, 9).unwrap()), (2, vec![(1, key("a"))]));
        assert_eq!(commit(&store, "c"), 3);
    }
}
