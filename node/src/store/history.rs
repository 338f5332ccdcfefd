//! History records in the engine.
//!
//! Purpose: the records of one document, by number, in the keyspace `history`. Inputs: keys and what the core wants
//! written. Outputs: records one behind the other, and changes of a batch. What it does not do: know what is in a
//! record.
//!
//! A history in which a record was found missing or damaged, or that the core gave up, is not deleted when the core
//! begins it anew: what is left of it moves to the keyspace `set-aside`.

use super::damaged::Damaged;
use super::engine::Engine;
use super::failure::is_of_the_disk;
use fjall::OwnedWriteBatch;
use peat_node_core::event::History;
use peat_node_core::ids::Key;
use tracing::error;

/// Behind the document's key: a NUL, which no document id has, and the number.
const SUFFIX: usize = 3;

/// Where record `number` of `key` is: no other document's row or record is there.
pub(super) fn record_key(key: &Key, number: u16) -> Vec<u8> {
    let mut raw = records(key.as_bytes());
    raw.extend(number.to_be_bytes());
    raw
}

/// Where the records of the document with this raw key begin.
pub(super) fn records(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The raw key of the document, if this is that of a record.
pub(super) fn document_of(raw: &[u8]) -> Option<&[u8]> {
    let (key, suffix) = raw.split_at_checked(raw.len().saturating_sub(SUFFIX))?;
    (suffix.first() == Some(&0) && Key::decode(key).is_ok()).then_some(key)
}

/// Whether this raw key is that of a record.
pub(super) fn is_record(raw: &[u8]) -> bool {
    document_of(raw).is_some()
}

/// The first `count` records of `key` one behind the other; none when one is missing or not sound, which is noted.
pub(super) fn read(engine: &Engine, key: &Key, count: u16, damaged: &Damaged) -> fjall::Result<Option<Vec<u8>>> {
    let mut history = Vec::new();
    for number in 0..count {
        let raw = record_key(key, number);
        let value = match engine.history.get(&raw) {
            // A disk that does not answer says nothing about the data.
            Err(error) if is_of_the_disk(&error) => return Err(error),
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, ?key, number, "a history record cannot be read");
                damaged.note_history(key);
                return Ok(None);
            }
            Ok(value) => value,
        };
        let record = value.as_ref().map(|value| engine.codec.decode(&raw, value));
        let Some(Ok((_, chunk))) = record else {
            error!(?key, number, missing = value.is_none(), "a history record is damaged");
            damaged.note_history(key);
            return Ok(None);
        };
        history.extend_from_slice(&chunk);
    }
    Ok(Some(history))
}

/// Adds what is to be written of the history of `key` to a batch.
pub(super) fn write(
    engine: &Engine,
    batch: &mut OwnedWriteBatch,
    key: &Key,
    history: Option<&History>,
    damaged: &Damaged,
) -> fjall::Result<()> {
    let insert = |batch: &mut OwnedWriteBatch, number, chunk| -> fjall::Result<()> {
        let raw = record_key(key, number);
        let value = engine.encode(&raw, 0, chunk)?;
        batch.insert(&engine.history, raw, value);
        Ok(())
    };
    match history {
        None => {}
        Some(History::Append { number, chunk }) => insert(batch, *number, chunk)?,
        Some(History::Replace { base, count }) => {
            if damaged.has_history(key) {
                set_aside(engine, batch, key.as_bytes());
            }
            (1..*count).for_each(|number| batch.remove(&engine.history, record_key(key, number)));
            if base.is_empty() {
                batch.remove(&engine.history, record_key(key, 0));
            } else {
                insert(batch, 0, base)?;
            }
        }
    }
    Ok(())
}

/// Moves every record of a document that can be read out of every read, sound or not.
pub(super) fn set_aside(engine: &Engine, batch: &mut OwnedWriteBatch, key: &[u8]) {
    // What cannot be read cannot be moved; it stays in the engine's files until those are rebuilt.
    for (raw, value) in engine.history.prefix(records(key)).filter_map(|guard| guard.into_inner().ok()) {
        batch.remove(&engine.history, raw.clone());
        batch.insert(&engine.set_aside, raw, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peat_node_core::ids::Collection;

    #[test]
    fn a_record_is_told_from_a_row_by_its_key() {
        let key = Key::new(&Collection::parse("agents").unwrap(), "id").unwrap();
        assert!(is_record(&record_key(&key, 0)) && is_record(&record_key(&key, 770)));
        assert!(!is_record(key.as_bytes()) && !is_record(b"") && !is_record(b"\0ab"));
    }
}
