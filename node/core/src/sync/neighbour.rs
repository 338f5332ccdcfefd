//! What one connected peer still has to hear from us.
//!
//! Everything owed is a set, keyed by document or tree place, so that memory is bounded by what exists and a slow peer
//! gets the latest state when it reads again. Frames are made only while there is room in the window of bytes in flight.
//! What it does not do: make the frames; the node does, because it has the rows.

use super::digest::Place;
use super::frame::SECOND;
use super::owed::Owed;
use super::spread::Spread;
use crate::docs::row::Version;
use crate::ids::{ConnId, Key};
use automerge::ChangeHash;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Bytes that may wait in the transport for one peer. Enough to keep a 1 Gbit/s link with 20 ms round trip from idling
/// between two flushes of the driver, small enough that a stalled peer costs little.
const WINDOW: usize = 1 << 20;

/// From where on a document's changes are owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Since {
    /// The peer has nothing that we know of.
    Start,
    /// The peer has, or was sent, everything up to these heads. Whatever is wrong with that is found by the peer, which
    /// then asks.
    Heads(Vec<ChangeHash>),
}

/// One connected peer.
#[derive(Debug)]
pub(crate) struct Neighbour {
    pub(crate) conn: ConnId,
    in_flight: usize,
    /// Documents whose state is owed.
    pub(crate) dirty: Owed,
    /// Documents to ask for.
    pub(crate) wanted: BTreeSet<Key>,
    /// Tree places whose own digests are owed.
    pub(crate) compare: BTreeSet<Place>,
    /// Tree places whose keys are owed, with the key behind which the list goes on.
    pub(crate) list: BTreeMap<Place, Option<Key>>,
    /// Deletes that it told of and that are collected here.
    pub(crate) collected: BTreeMap<Key, Version>,
    /// Whether changes are told at once or announced.
    pub(crate) spread: Spread,
    /// Documents of which somebody here waits for the peer's word.
    pub(crate) unsure: BTreeSet<Key>,
    /// Documents that the peer waits for our word of, with the number of its question.
    pub(crate) stored: BTreeMap<Key, u64>,
    /// Whether the peer speaks version 2 of the protocol.
    speaks_second: bool,
    /// Whether our root is owed.
    pub(crate) open_root: bool,
    /// Uptime at which we open the next comparison of roots.
    pub(crate) next_root: Duration,
}

impl Neighbour {
    /// `version`: of the protocol on this connection.
    pub(crate) fn new((conn, version): (ConnId, u16), next_root: Duration) -> Self {
        Self {
            conn,
            in_flight: 0,
            dirty: Owed::default(),
            wanted: BTreeSet::new(),
            compare: BTreeSet::new(),
            list: BTreeMap::new(),
            collected: BTreeMap::new(),
            spread: Spread::new(),
            unsure: BTreeSet::new(),
            stored: BTreeMap::new(),
            speaks_second: version >= SECOND,
            open_root: false,
            next_root,
        }
    }

    /// Whether another frame may be handed to the transport.
    pub(crate) const fn has_room(&self) -> bool {
        self.in_flight < WINDOW
    }

    pub(crate) fn took(&mut self, bytes: usize) {
        self.in_flight += bytes;
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Documents that the peer was not sent, and does not have for all that is known.
    pub(crate) fn backlog(&self, uptime: Duration) -> usize {
        self.dirty.len() + self.spread.untold(uptime)
    }

    /// Owes the state of `key` from `since` on. What is owed already reaches further back and stays.
    pub(crate) fn owe(&mut self, key: &Key, since: Since) {
        self.dirty.add(key, since);
    }

    /// Owes what the peer itself said it lacks, which is more exact than what we assumed.
    pub(crate) fn owe_exactly(&mut self, key: &Key, since: Since) {
        self.dirty.set(key, since);
    }

    /// Whether all that was found missing has been handed over, so that a comparison of roots tells something new.
    pub(crate) fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.wanted.is_empty() && self.list.is_empty() && self.compare.is_empty()
    }

    /// Whether a flush has anything to do for it.
    pub(crate) fn has_work(&self, uptime: Duration) -> bool {
        !self.is_settled()
            || self.open_root
            || !(self.collected.is_empty() && self.unsure.is_empty() && self.stored.is_empty())
            || self.next_root <= uptime
            || self.spread.has_work(uptime)
    }

    /// Forgets what is owed, when sync is switched off; the next comparison of roots finds it again.
    pub(crate) fn clear(&mut self) {
        self.dirty = Owed::default();
        self.wanted.clear();
        self.compare.clear();
        self.list.clear();
        self.unsure.clear();
        self.stored.clear();
        self.collected.clear();
        self.spread = Spread::new();
    }

    /// Asks the peer whether it has stored `key` as it is here, once it was sent that. One that does not know the
    /// question is not asked.
    pub(crate) fn ask_whether_stored(&mut self, key: &Key) {
        if self.speaks_second {
            self.unsure.insert(key.clone());
        }
    }

    /// Tells the peer that a delete it told of is collected here.
    pub(crate) fn tell_collected(&mut self, key: &Key, version: Version) {
        if self.speaks_second {
            self.collected.insert(key.clone(), version);
        }
    }

    /// Takes what can be asked now, at most `most`: of which nothing is on its way to the peer any more.
    pub(crate) fn take_unsure(&mut self, most: usize) -> Vec<Key> {
        let sent: Vec<Key> = self.unsure.iter().filter(|key| !self.dirty.contains(key)).take(most).cloned().collect();
        for key in &sent {
            self.unsure.remove(key);
        }
        sent
    }

    /// Both have the same of `key`, so neither owes the other anything of it.
    pub(crate) fn equal(&mut self, key: &Key) {
        self.dirty.remove(key);
        self.spread.equal(key);
    }
}
