//! Which format the files of a store have, written twice.
//!
//! Purpose: fjall keeps its format in four bytes, the file `version`, and takes a store without them for a new one. So
//! one bad sector could close a store for good. Beside it lies the file `format`: one line, `format 2` and a checksum,
//! that tells the format of the whole store, that of the engine included (2, or 3 where values are sealed). [`settle`],
//! before the engine opens:
//!
//! | `format` | `version` | what happens |
//! |---|---|---|
//! | sound, another number | any | refused: another release wrote the store |
//! | sound, our number | not as it must be, or missing | `version` is damaged, and written again |
//! | damaged or missing | not a version at all, or missing | the same: whether the store can be read shows next |
//! | damaged or missing | another version of the engine | refused: nothing says that it is damage |
//!
//! [`record`] writes `format` once the engine is open and its own copy of the number (in the keyspace `meta`) agrees.
//! A release that writes another format raises the number and records it before it changes anything else, so that an
//! older one never opens what it does not know. Inputs: the folder of a store. Outputs: the same, mended, or
//! [`StoreError::Format`]. What it does not do: migrate.

use super::engine::{FORMAT, SEALED_FORMAT};
use super::{StoreError, journal, sync};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

/// The engine's file, and what must be in it.
const MARKER: &str = "version";
const MARKER_OF_THE_ENGINE: [u8; 4] = *b"FJL\x03";

/// Our file.
const RECORD: &str = "format";

/// Where the engine has its tables. A folder without it is no store yet.
pub(super) const TABLES: &str = "keyspaces";

/// See the module.
pub(super) fn settle(folder: &Path) -> Result<(), StoreError> {
    let failed = |source: io::Error| StoreError::Open { path: folder.to_owned(), source: Box::new(source) };
    let refused = |found| Err(StoreError::Format { path: folder.to_owned(), found, known: SEALED_FORMAT });
    let recorded = read(&folder.join(RECORD)).map_err(failed)?.and_then(|line| parse(&line));
    if let Some(number) = recorded.filter(|number| ![FORMAT, SEALED_FORMAT].contains(number)) {
        return refused(number.to_string());
    }
    let marker = read(&folder.join(MARKER)).map_err(failed)?.unwrap_or_default();
    if marker == MARKER_OF_THE_ENGINE || !folder.join(TABLES).exists() {
        return Ok(());
    }
    if let (None, [b'F', b'J', b'L', engine]) = (recorded, marker.as_slice()) {
        return refused(format!("{engine} of the engine"));
    }
    // Whoever has the store is making it, or will be told that it is taken.
    let Some(_lock) = journal::exclusive(folder).map_err(failed)? else { return Ok(()) };
    warn!("the file `{MARKER}` of the store is damaged: writing it again");
    replace(folder, MARKER, &MARKER_OF_THE_ENGINE).map_err(failed)
}

/// Writes our file where it is missing or not as it must be. The store works without it, so failing is no error.
pub(super) fn record(folder: &Path, format: u32) {
    let sum = xxh3_64(&format.to_be_bytes());
    let line = format!("format {format} {sum:016x}\n").into_bytes();
    let is_there = read(&folder.join(RECORD)).is_ok_and(|found| found.as_ref() == Some(&line));
    if !is_there && let Err(error) = replace(folder, RECORD, &line) {
        let error: &dyn std::error::Error = &error;
        warn!(error, "the format of the store could not be noted a second time");
    }
}

/// The number in our file, if the line is whole and sound.
fn parse(line: &[u8]) -> Option<u32> {
    let line = str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (number, sum) = line.strip_prefix("format ")?.split_once(' ')?;
    let number: u32 = number.parse().ok()?;
    (u64::from_str_radix(sum, 16).ok()? == xxh3_64(&number.to_be_bytes())).then_some(number)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts a file there whole or not at all.
pub(super) fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let unfinished = folder.join(format!("{name}.new"));
    let mut file = File::create(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    sync::folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::FOLDER;
    use crate::store::{DiskStore, Position, Store as _};
    use peat_node_core::event::Write;
    use peat_node_core::ids::{Collection, Key};
    use std::collections::BTreeMap;
    use tempfile::TempDir;

    /// A data folder with a store of one document.
    fn stored() -> TempDir {
        let data = tempfile::tempdir().unwrap();
        let key = Key::new(&Collection::parse("agents").unwrap(), "a").unwrap();
        let write = Write { row: b"row".to_vec(), history: None, visible: true };
        DiskStore::open(data.path()).unwrap().commit(&BTreeMap::from([(key, write)])).unwrap();
        data
    }

    fn opens_whole(data: &TempDir, what: &str) {
        let store = DiskStore::open(data.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(store.page(&Position::first()).unwrap().0.len(), 1, "{what}");
        assert_eq!(store.set_aside().stores, 0, "{what}");
        drop(store);
        let folder = data.path().join(FOLDER);
        assert_eq!(fs::read(folder.join(MARKER)).unwrap(), MARKER_OF_THE_ENGINE, "{what}");
        assert_eq!(parse(&fs::read(folder.join(RECORD)).unwrap()), Some(FORMAT), "{what}");
    }

    fn refused(data: &TempDir) -> String {
        DiskStore::open(data.path()).unwrap_err().to_string()
    }

    #[test]
    fn a_store_whose_version_is_damaged_in_any_way_opens_with_every_document() {
        let data = stored();
        let marker = data.path().join(FOLDER).join(MARKER);
        fs::remove_file(&marker).unwrap();
        opens_whole(&data, "missing");
        for length in 0..4 {
            fs::write(&marker, &MARKER_OF_THE_ENGINE[..length]).unwrap();
            opens_whole(&data, &format!("cut to {length}"));
        }
        for bit in 0..32 {
            let mut flipped = MARKER_OF_THE_ENGINE;
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&marker, flipped).unwrap();
            opens_whole(&data, &format!("bit {bit}"));
        }
        for garbage in [&[0_u8; 4][..], &[0xff; 4], b"FJL\x03 and more", &[7; 600]] {
            fs::write(&marker, garbage).unwrap();
            opens_whole(&data, &format!("{garbage:?}"));
        }
    }

    #[test]
    fn without_our_file_a_store_opens_and_has_it_again() {
        let data = stored();
        let folder = data.path().join(FOLDER);
        for damaged in [&b""[..], b"format", b"format 2 0000000000000000\n", b"format 4 beef\n", &[0xff; 40]] {
            fs::write(folder.join(RECORD), damaged).unwrap();
            opens_whole(&data, &format!("{damaged:?}"));
        }
        fs::remove_file(folder.join(RECORD)).unwrap();
        fs::write(folder.join(MARKER), b"????").unwrap();
        opens_whole(&data, "both");
    }

    #[test]
    fn a_store_of_a_newer_release_is_refused_and_left_alone() {
        let data = stored();
        let folder = data.path().join(FOLDER);
        let newer = SEALED_FORMAT + 1;
        fs::write(folder.join(RECORD), format!("format {newer} {:016x}\n", xxh3_64(&newer.to_be_bytes()))).unwrap();
        let text = refused(&data);
        assert!(text.ends_with(&format!("has format {newer}, this release reads {SEALED_FORMAT}")), "{text}");
        fs::remove_file(folder.join(RECORD)).unwrap();
        fs::write(folder.join(MARKER), b"FJL\x04").unwrap();
        let text = refused(&data);
        assert!(text.contains("has format 4 of the engine"), "{text}");
        assert_eq!(fs::read(folder.join(MARKER)).unwrap(), b"FJL\x04");
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1);
    }
}
