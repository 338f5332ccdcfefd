//! The engine's lists of tables, compared with their checksums before the engine reads them.
//!
//! Purpose: each keyspace has a file `v<number>` that lists its tables, and a file `current`: that number (8 bytes,
//! little endian) and the XXH3-128 of the list (16). The engine writes the checksum and does not compare it. It asserts
//! what it finds in the list while it holds a lock, and the poison of that lock ends the process in a destructor, where
//! nobody can contain it: one bad byte would keep a node from every start. Inputs: the folder of a store. Outputs:
//! nothing, or an error of the data. What it does not do: mend; a store with a damaged list is set aside.

use super::format::TABLES;
use super::journal;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

/// As the engine calls it.
const CURRENT: &str = "current";

/// Compares every list that counts. One that the engine misses, or cannot find, is left for it to say.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    if !folder.join(TABLES).exists() {
        return Ok(());
    }
    // Whoever has the store is changing the lists, or the engine will say that it is taken.
    let Some(_lock) = journal::exclusive(folder)? else { return Ok(()) };
    for keyspace in fs::read_dir(folder.join(TABLES))? {
        let keyspace = keyspace?.path();
        let Ok(current) = fs::read(keyspace.join(CURRENT)) else { continue };
        let Some((number, rest)) = current.split_first_chunk::<8>() else { continue };
        let Some(sum) = rest.first_chunk::<16>() else { continue };
        let list = keyspace.join(format!("v{}", u64::from_le_bytes(*number)));
        let Ok(bytes) = fs::read(&list) else { continue };
        if xxh3_128(&bytes) != u128::from_le_bytes(*sum) {
            let wrong = format!("{} does not match its checksum", list.display());
            return Err(io::Error::new(ErrorKind::InvalidData, wrong));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DiskStore;

    #[test]
    fn every_changed_byte_of_a_list_is_found_before_the_engine_asserts_it() {
        let folder = tempfile::tempdir().unwrap();
        drop(DiskStore::open(folder.path()).unwrap());
        let store = folder.path().join("store");
        check(&store).unwrap();
        let list = store.join(TABLES).join("1").join("v0");
        let sound = fs::read(&list).unwrap();
        for place in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[place] ^= 1;
            fs::write(&list, damaged).unwrap();
            assert_eq!(check(&store).unwrap_err().kind(), ErrorKind::InvalidData, "byte {place}");
        }
        // The store opens with any of them: as an empty one, beside the damaged.
        drop(DiskStore::open(folder.path()).unwrap());
        check(&store).unwrap();
    }
}
