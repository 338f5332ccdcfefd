//! Copies of the store that are being read.
//!
//! Purpose: a reader of a copy may take hours, and the engine must not wait for it when it has to be opened again; nor
//! may a reader hold tables of an engine that is gone, whose files the next one may have replaced. So the engine's
//! iterators stay here, and end with the engine. Inputs: iterators. Outputs: [`Entries`] that end with an error in that
//! case. What it does not do: read ahead.

use super::StoreError;
use super::backup::{Entries, Entry};
use super::disk::read_error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

type Cursor = Box<dyn Iterator<Item = fjall::Result<Entry>> + Send>;
type Slot = Mutex<Option<Cursor>>;

/// Those that are being read.
#[derive(Default)]
pub(super) struct Copies(Mutex<Vec<Weak<Slot>>>);

#[derive(Debug, thiserror::Error)]
#[error("the store was closed while it was copied: try again")]
struct Ended;

impl Copies {
    /// Gives what `entries` gives, until [`Copies::end`].
    pub(super) fn begin(&self, entries: impl Iterator<Item = fjall::Result<Entry>> + Send + 'static) -> Entries {
        let slot: Arc<Slot> = Arc::new(Mutex::new(Some(Box::new(entries))));
        let mut slots = locked(&self.0);
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(&slot));
        let mut done = false;
        Box::new(std::iter::from_fn(move || {
            let mut cursor = locked(&slot);
            let next = match cursor.as_mut() {
                _ if done => None,
                Some(cursor) => cursor.next().map(|entry| entry.map_err(read_error)),
                None => Some(Err(StoreError::Read { source: Box::new(Ended) })),
            };
            done = !matches!(next, Some(Ok(_)));
            next
        }))
    }

    /// Before the engine is closed.
    pub(super) fn end(&self) {
        for slot in locked(&self.0).drain(..).filter_map(|slot| slot.upgrade()) {
            *locked(&slot) = None;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_ends_with_an_error_when_the_engine_does_and_with_nothing_when_it_is_whole() {
        let copies = Copies::default();
        let entry = || Ok(Entry::Row(b"key".to_vec(), b"value".to_vec()));
        let mut cut = copies.begin((0..9).map(move |_| entry()));
        let whole = copies.begin((0..9).map(move |_| entry()));
        assert_eq!(whole.filter(Result::is_ok).count(), 9);
        assert!(cut.next().is_some_and(|entry| entry.is_ok()));
        copies.end();
        assert!(matches!(cut.next(), Some(Err(StoreError::Read { .. }))));
        assert!(cut.next().is_none());
    }
}
