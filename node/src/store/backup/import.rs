//! A new store out of a backup.
//!
//! Purpose: `peat-node restore`, while no node runs. Inputs: a backup and an empty data folder. Outputs: a store with
//! the rows, histories, numbers and wrapped data key of the backup and an id of its own, so that whoever follows
//! changes begins anew; its key is made by the node as ever. It becomes the store by a rename, so that it is there
//! whole or not at all. What it does not do: mix with documents that are there.

use super::read::{BackupError, Decoder, open};
use super::{Counts, Entry};
use crate::store::disk::FOLDER;
use crate::store::engine::Engine;
use crate::store::seal::StoreKeys;
use crate::store::{StoreError, journal, sync};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Entries of one batch.
const BATCH: usize = 1024;

/// How long the engine may take for its tables when everything is in its journal; it is sound there as well.
const WRITE_OUT_LIMIT: Duration = Duration::from_secs(60);

/// What a new file system has of its own.
const LOST_AND_FOUND: &str = "lost+found";

/// A backup that was not restored. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// There is something where the data should go.
    #[error("{} is not empty: a backup is restored into an empty folder only", path.display())]
    NotEmpty {
        /// The data folder.
        path: PathBuf,
    },
    /// A folder could not be read or made.
    #[error("use {}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the store of `data_dir` from the backup `file`. Blocks.
///
/// # Errors
/// [`RestoreError`]; `data_dir` is then as it was.
pub fn restore(file: &Path, data_dir: &Path) -> Result<Counts, RestoreError> {
    let source = open(file)?;
    let is_new = !is_there_and_empty(data_dir)?;
    let unfinished = data_dir.join(FOLDER).with_extension("restored");
    let restored = Decoder::new(source).map_err(RestoreError::from).and_then(|mut decoder| {
        fs::create_dir_all(data_dir).map_err(|source| failed(data_dir, source))?;
        fill(&mut decoder, &unfinished)?;
        fs::rename(&unfinished, data_dir.join(FOLDER)).map_err(|source| failed(&unfinished, source))?;
        sync::folder(data_dir).map_err(|source| failed(data_dir, source))?;
        Ok(decoder.counts())
    });
    if restored.is_err() {
        // What cannot be removed is no store: a node does not look at it, and another attempt names it.
        let _ = fs::remove_dir_all(&unfinished);
        if is_new {
            let _ = fs::remove_dir(data_dir);
        }
    }
    restored
}

fn failed(path: &Path, source: io::Error) -> RestoreError {
    RestoreError::DataDir { path: path.to_owned(), source }
}

/// Whether the folder is there; it is an error if something is in it.
fn is_there_and_empty(folder: &Path) -> Result<bool, RestoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(failed(folder, source)),
    };
    for entry in entries {
        let entry = entry.map_err(|source| failed(folder, source))?;
        if entry.file_name() != LOST_AND_FOUND {
            return Err(RestoreError::NotEmpty { path: folder.to_owned() });
        }
    }
    Ok(true)
}

fn fill<R: io::Read>(decoder: &mut Decoder<R>, folder: &Path) -> Result<(), RestoreError> {
    let write = |source: fjall::Error| StoreError::Open { path: folder.to_owned(), source: Box::new(source) };
    let engine = Engine::open(folder, &StoreKeys::default()).map_err(|damage| damage.into_error(folder))?;
    let mut batch: Vec<Entry> = Vec::with_capacity(BATCH);
    while let Some(entry) = decoder.entry()? {
        batch.push(entry);
        if batch.len() == BATCH {
            engine.import(std::mem::take(&mut batch)).map_err(write)?;
        }
    }
    engine.import(batch).map_err(write)?;
    engine.sync().map_err(write)?;
    let written_out = engine.write_out(WRITE_OUT_LIMIT).map_err(write)?;
    drop(engine);
    if written_out {
        journal::renew(folder).map_err(|source| failed(folder, source))?;
    }
    Ok(())
}
