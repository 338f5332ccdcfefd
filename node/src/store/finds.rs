//! What was set aside, for a person who wants it back: behind `peat-node salvage`.
//!
//! Purpose: two kinds of places. A whole store that was renamed ([`places`]) is read as far as it opens, record by
//! record, and gives the documents whose checksums are right. The store in use has rows and histories that it set aside
//! itself: rows that are not sound, or that the engine refused. Inputs: a data folder. Outputs: each document as it
//! was, and [`Finds`], which says what there was and what could not be read. What it does not do: change or remove a
//! place; repair a record; find deletes, which are rows without text and only counted.

use super::disk::FOLDER;
use super::engine::{Engine, ROWS};
use super::replica::{JOURNALS, Replica};
use super::seal::StoreKeys;
use super::{StoreError, history, journal, stored};
use crate::vault::Vault;
use peat_node_core::docs::row::View;
use peat_node_core::ids::Key;
use std::borrow::Borrow as _;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What renamed stores are called, before the time at which it happened.
pub(super) const SET_ASIDE: &str = "set-aside-";

/// What one place had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finds {
    /// Documents that were given.
    pub documents: u64,
    /// Documents that were deleted when the place was set aside.
    pub deleted: u64,
    /// Records with a wrong checksum, or that are no row.
    pub damaged: u64,
    /// Documents of which a history lies there that was not used any more: what it says beyond the text is not given.
    pub histories: u64,
    /// Parts of the store that could not be read: keyspaces, but for what the journals have of them, and journals.
    pub left_out: Vec<&'static str>,
}

impl Finds {
    /// Whether all that the place had of documents was looked at.
    pub fn has_all_rows(&self) -> bool {
        ![ROWS, JOURNALS].iter().any(|part| self.left_out.contains(part))
    }
}

/// A place that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Files could not be read or made, or nobody takes what is found any more.
    #[error("{}", path.display())]
    Io {
        /// The place.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No store can be made beside it, into which it would be read.
    #[error("{}: it cannot be read", path.display())]
    Closed {
        /// The place.
        path: PathBuf,
    },
    /// It is encrypted, with another key.
    #[error(transparent)]
    Key(#[from] StoreError),
    /// A node is using it.
    #[error("{}: a node runs on it: stop it to see what that set aside itself", path.display())]
    InUse {
        /// The place.
        path: PathBuf,
    },
}

/// Takes a document and its JSON text; an error ends the reading.
pub type Take<'a> = dyn FnMut(&Key, &str) -> io::Result<()> + 'a;

/// The stores that were set aside in `data_dir`, oldest first, and the one in use if there is one, last.
///
/// # Errors
/// The folder cannot be read.
pub fn places(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let aside = format!("{FOLDER}.{SET_ASIDE}");
    let mut found = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&aside) {
            found.push(path);
        }
    }
    // The time in their names has the same number of digits for another two centuries.
    found.sort();
    found.extend(Some(data_dir.join(FOLDER)).filter(|store| store.is_dir()));
    Ok(found)
}

/// How a place is read.
#[derive(Debug)]
pub struct How {
    /// Of the store.
    pub keys: StoreKeys,
    /// Of the documents.
    pub vault: Vault,
    /// Gives also documents whose checksum is wrong and whose text is JSON nevertheless; they count as damaged all the
    /// same.
    pub with_damaged: bool,
}

/// Reads what there is in a place.
///
/// # Errors
/// [`FindError`]. What was found until then was given.
pub fn read(place: &Path, how: &How, take: &mut Take<'_>) -> Result<Finds, FindError> {
    let path = || place.to_owned();
    let lock = journal::exclusive(place).map_err(|source| FindError::Io { path: path(), source })?;
    let Some(lock) = lock else { return Err(FindError::InUse { path: path() }) };
    let replica = Replica::of(place, &how.keys)?.ok_or_else(|| FindError::Closed { path: path() })?;
    drop(lock);
    let is_in_use = place.file_name().is_some_and(|name| name == FOLDER);
    let mut reader = Reader { how, finds: Finds::default(), histories: BTreeSet::new(), take };
    let read = reader.read(replica.borrow(), is_in_use);
    read.map_err(|source| FindError::Io { path: path(), source })?;
    Ok(Finds { histories: reader.histories.len() as u64, left_out: replica.left_out.clone(), ..reader.finds })
}

struct Reader<'a, 'b> {
    how: &'a How,
    finds: Finds,
    /// Raw keys of their documents.
    histories: BTreeSet<Vec<u8>>,
    take: &'a mut Take<'b>,
}

impl Reader<'_, '_> {
    fn read(&mut self, engine: &Engine, is_in_use: bool) -> io::Result<()> {
        if !is_in_use {
            engine.salvage(&engine.rows, &mut |(raw, value)| self.row(engine, &raw, &value))?;
        }
        engine.salvage(&engine.set_aside, &mut |(raw, value)| match history::document_of(&raw) {
            Some(document) => {
                self.histories.insert(document.to_vec());
                Ok(())
            }
            None => self.row(engine, &raw, &value),
        })?;
        Ok(())
    }

    fn row(&mut self, engine: &Engine, raw: &[u8], value: &[u8]) -> io::Result<()> {
        let sound = engine.codec.decode(raw, value).ok().map(|(_, row)| row);
        let row = sound.as_deref().or_else(|| stored::unchecked(value).filter(|_| self.how.with_damaged));
        let (Ok(key), Some(Ok(view))) = (Key::decode(raw), row.map(View::parse)) else {
            self.finds.damaged += 1;
            return Ok(());
        };
        let document = view.document();
        match &sound {
            Some(_) if matches!(document, Ok(Some(_))) => self.finds.documents += 1,
            Some(_) if matches!(document, Ok(None)) => self.finds.deleted += 1,
            Some(_) | None => self.finds.damaged += 1,
        }
        match document {
            Ok(Some(document)) => {
                // Printed anew: what is damaged may be JSON of another form.
                let opened = view.sealed().and_then(|_| self.how.vault.text(&key, &view));
                (self.take)(&key, &opened.unwrap_or_else(|| document.to_json().into()))
            }
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DiskStore, Store as _};
    use peat_node_core::docs::row::{Chunks, Have, encode};
    use peat_node_core::event::{History, Write};
    use peat_node_core::ids::{Collection, PeerId};
    use peat_node_core::stamp::Stamp;
    use std::collections::BTreeMap;

    fn key(id: &str) -> Key {
        Key::new(&Collection::parse("agents").unwrap(), id).unwrap()
    }

    fn row(text: Option<&str>) -> Write {
        let have = Have::Latest { stamp: Stamp(7), writer: PeerId([3; 32]), ttl: None };
        let history = Some(History::Append { number: 0, chunk: b"change".to_vec() });
        Write { row: encode(&have, Chunks::default(), text), history, visible: true }
    }

    fn how(with_damaged: bool) -> How {
        How { keys: StoreKeys::default(), vault: Vault::default(), with_damaged }
    }

    fn found(place: &Path, with_damaged: bool) -> (Vec<String>, Finds) {
        let mut lines = Vec::new();
        let mut take = |key: &Key, json: &str| {
            lines.push(format!("{} {json}", key.doc_id()));
            Ok(())
        };
        let finds = read(place, &how(with_damaged), &mut take).unwrap();
        (lines, finds)
    }

    #[test]
    fn every_sound_document_of_a_place_is_found_and_the_rest_is_counted() {
        let data = tempfile::tempdir().unwrap();
        let store = DiskStore::open(data.path()).unwrap();
        let documents = [("a", Some("{\"n\":1}")), ("b", Some("{}")), ("c", None), ("d", Some("{\"n\":4}"))];
        store.commit(&documents.map(|(id, text)| (key(id), row(text))).into()).unwrap();
        store.keep_history(&key("a"));
        let history = Some(History::Replace { base: b"anew".to_vec(), count: 1 });
        store.commit(&BTreeMap::from([(key("a"), Write { history, ..row(Some("{\"n\":1}")) })])).unwrap();
        // One that the engine refuses although its checksum is right, as damage in memory leaves it.
        store.restore(&|key, _| key.doc_id() != "d").unwrap();
        let in_use = data.path().join(FOLDER);
        assert!(matches!(read(&in_use, &how(false), &mut |_, _| Ok(())), Err(FindError::InUse { .. })));
        drop(store);
        assert_eq!(places(data.path()).unwrap(), std::slice::from_ref(&in_use));
        let finds = Finds { documents: 1, histories: 2, ..Finds::default() };
        assert_eq!(found(&in_use, false), (vec!["d {\"n\":4}".to_owned()], finds));

        let aside = data.path().join(format!("{FOLDER}.{SET_ASIDE}1791111111111"));
        fs::rename(&in_use, &aside).unwrap();
        assert_eq!(places(data.path()).unwrap(), std::slice::from_ref(&aside));
        let (lines, finds) = found(&aside, false);
        assert_eq!(lines, ["a {\"n\":1}", "b {}", "d {\"n\":4}"]);
        assert_eq!(finds, Finds { documents: 3, deleted: 1, damaged: 0, histories: 2, left_out: Vec::new() });
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_document_with_a_wrong_checksum_is_given_only_when_asked_for() {
        let data = tempfile::tempdir().unwrap();
        let store = DiskStore::open(data.path()).unwrap();
        store.commit(&BTreeMap::from([(key("a"), row(Some("{\"n\":1}"))), (key("b"), row(Some("{}")))])).unwrap();
        drop(store);
        let folder = data.path().join(FOLDER);
        let engine = Engine::open(&folder, &StoreKeys::default()).ok().unwrap();
        let mut value = engine.rows.get(key("a").as_bytes()).unwrap().unwrap().to_vec();
        let last = value.len() - 2;
        value[last] = b'2';
        engine.rows.insert(key("a").as_bytes(), &value).unwrap();
        engine.rows.insert(key("b").as_bytes(), "no row").unwrap();
        drop(engine);
        let aside = data.path().join("store.set-aside-1");
        fs::rename(&folder, &aside).unwrap();
        let finds = Finds { damaged: 2, ..Finds::default() };
        assert_eq!(found(&aside, false), (Vec::new(), finds.clone()));
        assert_eq!(found(&aside, true), (vec!["a {\"n\":2}".to_owned()], finds));
    }

    #[test]
    fn of_a_journal_with_a_damaged_batch_every_other_document_is_found() {
        let data = tempfile::tempdir().unwrap();
        let store = DiskStore::open(data.path()).unwrap();
        for (id, text) in [("a", "{\"n\":1}"), ("b", "{\"n\":2}"), ("c", "{\"n\":3}")] {
            store.commit(&BTreeMap::from([(key(id), row(Some(text)))])).unwrap();
        }
        drop(store);
        let aside = data.path().join("store.set-aside-1");
        fs::rename(data.path().join(FOLDER), &aside).unwrap();
        let (_, journal) = journal::journals(&aside).unwrap().pop().unwrap();
        let mut bytes = fs::read(&journal).unwrap();
        let place = bytes.windows(7).position(|window| window == b"{\"n\":2}").unwrap();
        bytes[place] ^= 1;
        fs::write(&journal, &bytes).unwrap();
        let (lines, finds) = found(&aside, false);
        assert_eq!(lines, ["a {\"n\":1}", "c {\"n\":3}"]);
        assert_eq!(finds, Finds { documents: 2, left_out: vec![JOURNALS], ..Finds::default() });
        assert!(!finds.has_all_rows() && fs::read(&journal).unwrap() == bytes, "the place is as it was");
    }
}
