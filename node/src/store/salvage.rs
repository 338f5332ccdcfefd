//! What to do with a damaged store: keep it, and go on with what can be read of it.
//!
//! Purpose: a store with an unreadable block is copied, row by row from both ends, to a new one; the damaged one is
//! renamed. Inputs: folders and engines. Outputs: an engine. What it does not do: delete anything but its own
//! unfinished copy.

use super::engine::Engine;
use super::{Seq, Source, StoreError, history, stored};
use fjall::{KvPair, PersistMode};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Rows in one batch while a damaged store is copied.
const COPY_BATCH: usize = 1024;

/// Copies what is readable of a damaged store to a new one, and puts that in its place.
pub(super) fn rebuild(damaged: Engine, folder: &Path) -> Result<Engine, StoreError> {
    let copy_folder = folder.with_extension("copy");
    let open = |source: Source| StoreError::Open { path: copy_folder.clone(), source };
    if copy_folder.exists() {
        std::fs::remove_dir_all(&copy_folder).map_err(|source| open(Box::new(source)))?;
    }
    let copy = Engine::open(&copy_folder).map_err(|damage| damage.into_error(&copy_folder))?;
    copy_rows(&damaged, &copy).map_err(|source| open(Box::new(source)))?;
    drop((damaged, copy));
    move_aside(folder)?;
    std::fs::rename(&copy_folder, folder).map_err(|source| open(Box::new(source)))?;
    Engine::open(folder).map_err(|damage| damage.into_error(folder))
}

fn copy_rows(damaged: &Engine, copy: &Engine) -> fjall::Result<()> {
    let keyspaces =
        [(&damaged.set_aside, &copy.set_aside), (&damaged.history, &copy.history), (&damaged.rows, &copy.rows)];
    for (from, to) in keyspaces {
        let mut rows = Engine::readable(from).peekable();
        while rows.peek().is_some() {
            let mut batch = copy.database.batch().durability(Some(PersistMode::Buffer));
            for (key, value) in rows.by_ref().take(COPY_BATCH) {
                if *to == copy.rows {
                    copy.insert_row(&mut batch, key, value);
                } else {
                    batch.insert(to, key, value);
                }
            }
            batch.commit()?;
        }
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
    let aside = folder.with_extension(format!("set-aside-{}", now.as_millis()));
    std::fs::rename(folder, &aside)
        .map_err(|source| StoreError::Open { path: folder.to_owned(), source: Box::new(source) })?;
    Ok(aside)
}
