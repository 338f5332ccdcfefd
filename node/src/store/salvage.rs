//! What to do with a damaged store: keep it, and go on with what can be read of it.
//!
//! Purpose: a store with an unreadable block is copied, row by row from both ends, to a new one; of one that does not
//! open, as much as can be opened beside it; the damaged one is renamed. Inputs: folders and engines. Outputs: an engine. What it does not do: delete anything but its own
//! unfinished copy.

use super::engine::Engine;
use super::finds::SET_ASIDE;
use super::replica::Replica;
use super::{Seq, Source, StoreError, history, stored};
use fjall::{KvPair, PersistMode};
use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::{debug, error, warn};

/// Rows in one batch while a damaged store is copied.
const COPY_BATCH: usize = 1024;

/// Puts a store in the place of one that does not open: with what is readable of that, or an empty one.
pub(super) fn replace(folder: &Path) -> Result<Engine, StoreError> {
    match Replica::of(folder).map(|replica| rebuild(replica, folder)) {
        Some(Ok(engine)) => return Ok(engine),
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
    Engine::open(folder).map_err(|damage| damage.into_error(folder))
}

/// Copies what is readable of a damaged store to a new one, and puts that in its place.
pub(super) fn rebuild(damaged: impl Borrow<Engine>, folder: &Path) -> Result<Engine, StoreError> {
    let copy_folder = folder.with_extension("copy");
    let open = |source: Source| StoreError::Open { path: copy_folder.clone(), source };
    if copy_folder.exists() {
        std::fs::remove_dir_all(&copy_folder).map_err(|source| open(Box::new(source)))?;
    }
    let copy = Engine::open(&copy_folder).map_err(|damage| damage.into_error(&copy_folder))?;
    copy_rows(damaged.borrow(), &copy).map_err(|source| open(Box::new(source)))?;
    drop((damaged, copy));
    move_aside(folder)?;
    std::fs::rename(&copy_folder, folder).map_err(|source| open(Box::new(source)))?;
    Engine::open(folder).map_err(|damage| damage.into_error(folder))
}

fn copy_rows(damaged: &Engine, copy: &Engine) -> fjall::Result<()> {
    let keyspaces =
        [(&damaged.set_aside, &copy.set_aside), (&damaged.history, &copy.history), (&damaged.rows, &copy.rows)];
    for (from, to) in keyspaces {
        let new_batch = || copy.database.batch().durability(Some(PersistMode::Buffer));
        let (mut batch, mut count) = (new_batch(), 0);
        damaged.salvage(from, &mut |(key, value)| {
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
    copy.sync()
}

/// Moves rows, and the histories of their documents, out of every read.
pub(super) fn move_rows(engine: &Engine, rows: Vec<KvPair>) -> fjall::Result<()> {
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
    batch.commit()
}

/// Renames `folder` so that a person can look at it, and says to what.
pub(super) fn move_aside(folder: &Path) -> Result<PathBuf, StoreError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = folder.with_extension(format!("{SET_ASIDE}{}", now.as_millis()));
    std::fs::rename(folder, &aside)
        .map_err(|source| StoreError::Open { path: folder.to_owned(), source: Box::new(source) })?;
    Ok(aside)
}
