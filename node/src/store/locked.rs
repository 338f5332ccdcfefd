//! The data key of a store: where it lies, and how an engine gets the codec of its values.
//!
//! Purpose: a lost data key is a lost store, so it lies in two places, the file `seal` and the keyspace `meta`, and
//! either is written again from the other. Inputs: an engine that was just opened, and the keys of `--store-key-file`.
//! Outputs: the same engine with its codec. What it does not do: turn a store that has clear values into a sealed one;
//! see [`super::salvage::seal`].

use super::StoreError;
use super::engine::{Engine, FORMAT, SEALED_FORMAT};
use super::failure::Damage;
use super::format;
use super::seal::{SealError, Sealer, StoreKeys, Wrapped};
use super::stored::Codec;
use std::fs;
use std::path::Path;
use tracing::{info, warn};

/// The file; see [`Wrapped`] for what is in it.
const FILE: &str = "seal";

/// The same in `meta`.
const META_SEAL: &str = "seal";
const META_FORMAT: &str = "format";

impl Engine {
    /// Finds the data key and opens it; makes one for an empty store if there are keys.
    pub(super) fn unlock(&mut self, keys: &StoreKeys) -> Result<(), Damage> {
        let refused = |source| Damage::Fatal(StoreError::Key { path: self.folder.clone(), source });
        let found = self.wrapped_keys();
        let (sealer, wrapped) = match (found.is_empty(), keys.is_none()) {
            (true, _) if self.is_noted_as_sealed() => return Err(refused(SealError::Damaged)),
            (true, true) => return Ok(()),
            (true, false) if !self.is_empty() => return Ok(()),
            (true, false) => Sealer::create(keys).map_err(refused)?,
            (false, _) => Sealer::open(keys, &found).map_err(refused)?,
        };
        if found.first().is_some_and(|before| *before != wrapped) {
            info!("the data key of the store is wrapped by the first key of the key file from now on");
        }
        self.lay(&wrapped).map_err(|error| Damage::of(&self.folder, error))?;
        self.codec = Codec::sealed(sealer);
        Ok(())
    }

    /// Takes over the data key of another store, if it has one, so that values can go from that to this empty one.
    pub(super) fn lock_like(&mut self, other: &Self, keys: &StoreKeys) -> Result<(), Damage> {
        if let Some(wrapped) = other.wrapped_keys().first() {
            self.lay(wrapped).map_err(|error| Damage::of(&self.folder, error))?;
        }
        self.unlock(keys)
    }

    /// Writes a wrapped data key to both places, where it is not there.
    pub(super) fn lay(&self, wrapped: &Wrapped) -> fjall::Result<()> {
        let bytes = wrapped.bytes();
        if self.meta.get(META_SEAL)?.is_none_or(|found| *found != *bytes) {
            self.note([(META_SEAL, bytes), (META_FORMAT, &SEALED_FORMAT.to_be_bytes())])?;
        }
        if file(&self.folder).as_ref() != Some(wrapped) {
            format::replace(&self.folder, FILE, bytes)?;
        }
        Ok(())
    }

    /// As they are found, the file first. Those that are damaged beyond their form are not among them.
    pub(super) fn wrapped_keys(&self) -> Vec<Wrapped> {
        let noted = self.meta.get(META_SEAL).ok().flatten().and_then(|bytes| Wrapped::parse(&bytes));
        file(&self.folder).into_iter().chain(noted).collect()
    }

    /// Of this store, by whether its values are sealed.
    pub(super) fn format(&self) -> u32 {
        if self.codec.seals() { SEALED_FORMAT } else { FORMAT }
    }

    fn is_noted_as_sealed(&self) -> bool {
        self.meta.get(META_FORMAT).is_ok_and(|found| found.is_some_and(|found| *found == SEALED_FORMAT.to_be_bytes()))
    }

    /// Whether nothing was ever stored here that would have to be sealed.
    pub(super) fn is_empty(&self) -> bool {
        [&self.rows, &self.history, &self.set_aside].iter().all(|keyspace| keyspace.first_key_value().is_none())
    }
}

fn file(folder: &Path) -> Option<Wrapped> {
    fs::read(folder.join(FILE)).ok().and_then(|bytes| Wrapped::parse(&bytes))
}

/// Takes the file along where a store is put together anew.
pub(super) fn copy_file(from: &Path, to: &Path) {
    // Without it there is still the other place.
    if let Some(wrapped) = file(from)
        && let Err(error) = format::replace(to, FILE, wrapped.bytes())
    {
        warn!(error = &error as &dyn std::error::Error, "the data key of a store was not taken along");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::backup::{Encoder, restore, verify};
    use crate::store::disk::FOLDER;
    use crate::store::{DiskStore, Position, Row, Store as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use peat_node_core::event::{History, Write};
    use peat_node_core::ids::{Collection, Key};
    use tempfile::TempDir;

    const SECRET: &[u8] = b"the content of a document";
    const PAST: &[u8] = b"what a document once said";

    fn keys(lines: &[u8]) -> StoreKeys {
        let lines: Vec<String> = lines.iter().map(|byte| STANDARD.encode([*byte; 32])).collect();
        StoreKeys::parse(&lines.join("\n")).unwrap()
    }

    fn key(id: u32) -> Key {
        Key::new(&Collection::parse("agents").unwrap(), &format!("{id:05}")).unwrap()
    }

    fn fill(store: &DiskStore, ids: std::ops::Range<u32>) {
        let write = |id: u32| {
            let history = Some(History::Append { number: 0, chunk: PAST.to_vec() });
            Write { row: [SECRET, &id.to_be_bytes()].concat(), history, visible: true }
        };
        store.commit(&ids.map(|id| (key(id), write(id))).collect()).unwrap();
    }

    /// Whether the document is there with its history.
    fn has(store: &DiskStore, id: u32) -> bool {
        let row = store.read(&key(id)).unwrap().map(|Row { bytes, .. }| bytes);
        row == Some([SECRET, &id.to_be_bytes()].concat()) && store.history(&key(id), 1).unwrap().unwrap() == PAST
    }

    fn open(data: &TempDir, lines: &[u8]) -> Result<DiskStore, StoreError> {
        let keys = if lines.is_empty() { StoreKeys::default() } else { keys(lines) };
        DiskStore::open_sealed(data.path(), &keys)
    }

    /// Whether any file below `folder` has these bytes.
    fn anywhere(folder: &Path, bytes: &[u8]) -> bool {
        fs::read_dir(folder).unwrap().map(Result::unwrap).any(|entry| {
            let path = entry.path();
            // The reserve of a journal is tens of megabytes of zeros.
            let content = || fs::read(&path).unwrap().into_iter().filter(|byte| *byte != 0).collect::<Vec<u8>>();
            let here = || content().windows(bytes.len()).any(|window| window == bytes);
            if path.is_dir() { anywhere(&path, bytes) } else { here() }
        })
    }

    #[test]
    fn a_sealed_store_has_no_content_in_any_file_in_tables_or_in_the_journal() {
        let data = tempfile::tempdir().unwrap();
        let store = open(&data, &[1]).unwrap();
        fill(&store, 0..3000);
        assert!(anywhere(data.path(), &b"agents00007"[..]), "names stay clear");
        assert!(!anywhere(data.path(), &SECRET[..12]) && !anywhere(data.path(), &PAST[..12]));
        store.close();
        drop(store);
        assert!(!anywhere(data.path(), &SECRET[..12]) && !anywhere(data.path(), &PAST[..12]));
        let store = open(&data, &[1]).unwrap();
        assert!(has(&store, 0) && has(&store, 2999));
        assert_eq!((store.page(&Position::first()).unwrap().0.len() > 100, store.last()), (true, 3000));
        fill(&store, 7..8);
        assert!(has(&store, 7));
    }

    #[test]
    fn without_the_right_key_a_store_stays_closed_and_untouched() {
        let data = tempfile::tempdir().unwrap();
        fill(&open(&data, &[1]).unwrap(), 0..10);
        for lines in [&[][..], &[2], &[2, 3]] {
            let error = open(&data, lines).unwrap_err();
            assert!(matches!(&error, StoreError::Key { .. }), "{error}");
        }
        let left: Vec<_> = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [FOLDER]);
        assert!(has(&open(&data, &[3, 1]).unwrap(), 9));
        assert!(matches!(open(&data, &[1]), Err(StoreError::Key { .. })), "the first line wraps the data key now");
        assert!(has(&open(&data, &[3]).unwrap(), 9));
    }

    #[test]
    fn a_clear_store_is_sealed_at_once_and_keeps_its_id_and_numbers() {
        let data = tempfile::tempdir().unwrap();
        let clear = open(&data, &[]).unwrap();
        fill(&clear, 0..3000);
        clear.close();
        drop(clear);
        let clear = open(&data, &[]).unwrap();
        fill(&clear, 0..10);
        let (id, last) = (clear.id().unwrap(), clear.last());
        drop(clear);
        assert!(anywhere(data.path(), &SECRET[..12]));
        let sealed = open(&data, &[1]).unwrap();
        assert_eq!((sealed.id().unwrap(), sealed.last(), sealed.set_aside().stores), (id, last, 0));
        assert_eq!(sealed.log(0, 9999, 9999).unwrap().len(), 3000);
        assert!(has(&sealed, 0) && has(&sealed, 2999));
        assert!(!anywhere(data.path(), &SECRET[..12]) && !anywhere(data.path(), &PAST[..12]));
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "the clear store is gone");
    }

    #[test]
    fn a_sealing_that_was_cut_off_anywhere_is_ended_by_the_next_start() {
        let data = tempfile::tempdir().unwrap();
        fill(&open(&data, &[1]).unwrap(), 0..10);
        let [store, ready, clear] = ["store", "store.ready", "store.clear"].map(|name| data.path().join(name));
        fs::rename(&store, &ready).unwrap();
        fs::create_dir(&clear).unwrap();
        assert!(has(&open(&data, &[1]).unwrap(), 9));
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_data_key_that_is_lost_at_one_place_is_written_there_again() {
        let data = tempfile::tempdir().unwrap();
        fill(&open(&data, &[1]).unwrap(), 0..10);
        let path = data.path().join(FOLDER).join(FILE);
        let whole = fs::read(&path).unwrap();
        for damaged in [&b""[..], &whole[..40], &[&whole[..30], &[0; 39]].concat(), &[7; 69]] {
            fs::write(&path, damaged).unwrap();
            assert!(has(&open(&data, &[1]).unwrap(), 9));
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
        let engine = Engine::open(&data.path().join(FOLDER), &keys(&[1])).ok().unwrap();
        engine.note([(META_SEAL, &[7; 69])]).unwrap();
        drop(engine);
        assert!(has(&open(&data, &[1]).unwrap(), 9));
        fs::remove_file(&path).unwrap();
        assert!(has(&open(&data, &[1]).unwrap(), 9), "it was written to the other place again");
    }

    #[test]
    fn a_part_that_keeps_a_sealed_store_from_opening_costs_no_more_than_of_a_clear_one() {
        for id in [3, 4] {
            let data = tempfile::tempdir().unwrap();
            fill(&open(&data, &[1]).unwrap(), 0..100);
            let part = data.path().join(FOLDER).join("keyspaces").join(id.to_string());
            for file in fs::read_dir(part).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
                fs::write(file.path(), "garbage").unwrap();
            }
            assert!(matches!(open(&data, &[2]), Err(StoreError::Key { .. })), "keyspace {id}: also then");
            let store = open(&data, &[1]).unwrap();
            assert!(has(&store, 0) && has(&store, 99) && store.set_aside().stores == 1, "keyspace {id}");
        }
    }

    #[test]
    fn a_backup_of_a_sealed_store_is_sealed_and_needs_its_key_when_it_is_used() {
        let data = tempfile::tempdir().unwrap();
        let store = open(&data, &[1]).unwrap();
        fill(&store, 0..100);
        let file = data.path().join("backup");
        let mut encoder = Encoder::new(store.entries().unwrap());
        let pieces = std::iter::from_fn(|| encoder.piece().unwrap());
        fs::write(&file, pieces.collect::<Vec<_>>().concat()).unwrap();
        assert_eq!(verify(&file).unwrap().rows, 100);
        let second = tempfile::tempdir().unwrap();
        restore(&file, second.path()).unwrap();
        assert!(!anywhere(second.path(), &SECRET[..12]));
        assert!(matches!(open(&second, &[]), Err(StoreError::Key { .. })));
        let restored = open(&second, &[2, 1]).unwrap();
        assert!(has(&restored, 0) && has(&restored, 99));
        fill(&restored, 0..1);
    }
}
