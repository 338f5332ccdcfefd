//! Documents that time takes away: in collections under [`Deletion::ImplicitTtl`], and where their writer said so.
//!
//! Purpose: every node comes to the same row by itself, from the row and the policy alone: the document's last stamp,
//! with a counter that no write has. So an expiry needs no message, and one that a peer tells of is believed only when
//! it is due here as well: a node whose clock is wrong takes nothing from others. Inputs: keys that may be due, and
//! rows on their way in; outputs: rows. What it does not do: look for documents that are due; the shell does, page by
//! page.

use super::read::read;
use super::{Latest, Shelf, ShelfError};
use crate::docs::life::{Life, Ttl};
use crate::docs::row::{Have, View};
use crate::event::Outputs;
use crate::ids::{Collection, Key};
use crate::policy::{Deletion, Policy, RESERVED};
use crate::rows::Rows;
use crate::stamp::Stamp;
use crate::sync::frame::Payload;
use std::collections::BTreeMap;
use std::time::Duration;

/// How much sooner than here a document may be due at a peer: clocks that are kept at all are that near to each other.
const TOLERANCE: Duration = Duration::from_secs(60);

/// An unchanged put renews a document when this part of its life is over.
const RENEW_AFTER: u32 = 10;

/// Documents whose writers said when they go, that go in one batch.
const MOST_ENDS: usize = 256;

/// When one is looked at again that could not be read.
const UNREADABLE: Duration = Duration::from_secs(10);

/// How long a document stays after its last write; none: for ever. What its writer said goes before the policy.
fn life(policy: &Policy, ttl: Option<Ttl>) -> Option<Duration> {
    ttl.map(Ttl::duration).or_else(|| policy.life())
}

/// Wall time at which a document goes because its writer said so.
pub(super) fn end(have: &Have, is_live: bool) -> Option<Duration> {
    have.ttl().filter(|_| is_live).map(|ttl| have.newest().wall() + ttl.duration())
}

/// Policies of collections for which there is a row. Peers name collections as they like, so of no other anything is
/// remembered.
#[derive(Debug, Default)]
pub(super) struct Policies(BTreeMap<String, Policy>);

impl Policies {
    /// Forgets what the row of `key` says.
    pub(super) fn forget(&mut self, key: &Key) {
        if key.collection() == RESERVED {
            self.0.remove(key.doc_id());
        }
    }
}

impl Shelf {
    /// The policy of `collection`, as the row says that is stored or about to be.
    pub(super) fn policy(
        &mut self,
        collection: &str,
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<Policy, ShelfError> {
        if let Some(policy) = self.policies.0.get(collection) {
            return Ok(*policy);
        }
        let key = Collection::parse(RESERVED).and_then(|reserved| Key::new(&reserved, collection));
        let Some(key) = key.ok().filter(|key| self.index.version(key).is_some()) else {
            return Ok(Policy::of(collection));
        };
        let row = self.document(&key, rows, outputs)?;
        let set = row.as_ref().and_then(Policy::from_document);
        let policy = set.unwrap_or_else(|| Policy::of(collection));
        self.policies.0.insert(collection.to_owned(), policy);
        Ok(policy)
    }

    /// Whether deletes are refused in the collection of `key`.
    pub(super) fn refuses_delete(&mut self, key: &Key, rows: &dyn Rows, outputs: &Outputs) -> Result<bool, ShelfError> {
        Ok(self.policy(key.collection(), rows, outputs)?.deletion == Deletion::Immutable)
    }

    /// Whether an unchanged put is to renew the document that was last written at `stamp` and has this time to live.
    pub(super) fn is_worn(
        &mut self,
        key: &Key,
        (stamp, ttl): (Option<Stamp>, Option<Ttl>),
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> bool {
        let policy = self.policy(key.collection(), rows, outputs);
        let life = policy.ok().and_then(|policy| life(&policy, ttl));
        life.zip(stamp).is_some_and(|(life, stamp)| self.wall >= stamp.wall() + life / RENEW_AFTER)
    }

    /// Takes the document of `key` away if it is due, or the mark of its delete.
    pub(crate) fn expire(&mut self, key: &Key, rows: &dyn Rows, outputs: &mut Outputs) -> Result<(), ShelfError> {
        let policy = self.policy(key.collection(), rows, outputs)?;
        let Some(row) = read(key, rows, outputs)? else { return Ok(()) };
        let view = View::parse(&row)?;
        let Some(life) = life(&policy, view.have.ttl()).filter(|_| view.is_live()) else {
            self.collect(key, &view, &policy, outputs);
            return Ok(());
        };
        if !self.is_due(view.have.newest(), life, Duration::ZERO) {
            return Ok(());
        }
        match view.have {
            Have::Latest { stamp, writer, ttl } => {
                self.keep_latest(key, Latest { stamp: stamp.expired(), writer, ttl, text: None }, true, outputs);
            }
            Have::Full { heads, life } => {
                let have = Have::Full { heads, life: Life { tombstone: life.edited.map(Stamp::expired), ..life } };
                self.keep_stamps(key, (have, view.chunks), (None, true), outputs);
            }
        }
        Ok(())
    }

    /// What comes from a peer, seen by our own clock: what is due is gone already, what is not due is not.
    pub(super) fn in_time(
        &mut self,
        key: &Key,
        payload: Payload,
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<Option<Payload>, ShelfError> {
        let ttl = match &payload {
            Payload::Latest { ttl, .. } => *ttl,
            Payload::Full { life, .. } => life.ttl,
        };
        let policy = self.policy(key.collection(), rows, outputs)?;
        let Some(life) = life(&policy, ttl) else { return Ok(Some(payload)) };
        let due = |stamp: Stamp, early| self.is_due(stamp, life, early);
        Ok(match payload {
            Payload::Latest { stamp, text: None, .. } if stamp.is_expiry() && !due(stamp, TOLERANCE) => None,
            Payload::Latest { stamp, writer, ttl, text: Some(_) } if due(stamp, Duration::ZERO) => {
                Some(Payload::Latest { stamp: stamp.expired(), writer, ttl, text: None })
            }
            Payload::Full { life, changes } => {
                // What took an edit away that is not the last one is of no consequence any more.
                let is_believed =
                    |stamp: &Stamp| !stamp.is_expiry() || Some(*stamp) < life.edited || due(*stamp, TOLERANCE);
                let tombstone = life.tombstone.filter(is_believed);
                let expired = life.edited.filter(|stamp| due(*stamp, Duration::ZERO)).map(Stamp::expired);
                Some(Payload::Full { life: Life { tombstone: tombstone.max(expired), ..life }, changes })
            }
            payload @ Payload::Latest { .. } => Some(payload),
        })
    }

    /// Takes away what is over of the documents whose writers said when, some of them if there are many.
    pub(crate) fn end_due(&mut self, rows: &dyn Rows, outputs: &mut Outputs) {
        while self.ended < MOST_ENDS {
            let Some(key) = self.ends.pop(self.today) else { return };
            self.ended += 1;
            if self.expire(&key, rows, outputs).is_err() {
                self.ends.set(&key, Some(self.today + UNREADABLE));
            }
        }
    }

    /// The batch ends: the next one has room.
    pub(crate) const fn batch_ends(&mut self) {
        self.ended = 0;
    }

    /// After what time [`Shelf::end_due`] has something to do.
    pub(crate) fn next_end(&self) -> Option<Duration> {
        self.ends.next().map(|end| end.saturating_sub(self.today))
    }

    /// Notes when the document of `key` goes by itself.
    pub(super) fn note_end(&mut self, key: &Key, have: &Have, is_live: bool) {
        self.ends.set(key, end(have, is_live));
    }

    fn is_due(&self, stamp: Stamp, life: Duration, early: Duration) -> bool {
        stamp.wall() + life <= self.today + early
    }
}

#[cfg(test)]
mod tests;
