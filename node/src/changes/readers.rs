//! Who follows the changes of this node, and how far each has come.
//!
//! Purpose: one that does not keep up is seen before its application complains. Inputs: the position of each reader, as
//! it moves. Outputs: their number, and the position of the slowest. What it does not do: hold a reader up, or keep the
//! place of one that is gone.

use crate::store::Seq;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Every reader of one node.
#[derive(Debug, Default)]
pub struct Readers(Mutex<Vec<Weak<AtomicU64>>>);

/// Where one reader is; it is one of the [`Readers`] until this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicU64>);

impl Place {
    /// Everything up to `position` is read.
    pub(super) fn move_to(&self, position: Seq) {
        self.0.store(position, Ordering::Relaxed);
    }
}

impl Readers {
    pub(super) fn enter(&self, position: Seq) -> Place {
        let place = Arc::new(AtomicU64::new(position));
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place| place.strong_count() > 0);
        places.push(Arc::downgrade(&place));
        Place(place)
    }

    /// How many there are, and the position of the slowest.
    pub(crate) fn look(&self) -> (usize, Option<Seq>) {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = places.iter().filter_map(Weak::upgrade).map(|place| place.load(Ordering::Relaxed));
        here.fold((0, None), |(count, slowest), position| {
            (count + 1, Some(slowest.map_or(position, |slowest| position.min(slowest))))
        })
    }
}
