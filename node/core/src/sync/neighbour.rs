//! What one connected peer still has to hear from us.
//!
//! Everything owed is a set, keyed by document or tree place, so that memory is bounded by what exists and a slow peer
//! gets the latest state when it reads again. Frames are made only while there is room in the window of bytes in
//! flight. What it does not do: make the frames; the node does, because it has the rows.

use super::digest::Place;
use super::flow::Flow;
use super::frame::{SECOND, THIRD, fingerprint};
use super::one_way::OneWay;
use super::owed::Owed;
use super::spread::Spread;
use super::word::LastWord;
use crate::docs::row::Version;
use crate::ids::{ConnId, Key};
use crate::rights::Grants;
use automerge::ChangeHash;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Bytes that may wait in the transport for one peer. Enough to keep a 1 Gbit/s link with 20 ms round trip from idling
/// between two flushes of the driver, small enough that a stalled peer costs little.
const WINDOW: usize = 1 << 20;

/// Comparisons that are left out in a row because content is on its way, at most: half a minute.
const MOST_SKIPPED: u8 = 6;

/// Documents of which it is remembered that their content left gaps. Whatever is forgotten is asked for once more.
const MOST_GAPPED: usize = 1 << 12;

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
    /// Whether it has stored what it was sent.
    pub(crate) last: LastWord,
    /// Whether the peer speaks version 2 of the protocol.
    speaks_second: bool,
    /// Versions of which the content that the peer sent last left gaps.
    gapped: BTreeMap<Key, Version>,
    /// Whether it speaks version 3.
    speaks_third: bool,
    /// What may be told and asked.
    pub(crate) flow: Flow,
    /// What flows to it only, and has not been confirmed.
    pub(crate) one_way: OneWay,
    /// Whether it has to hear what it may do here.
    pub(crate) owes_grants: bool,
    /// Whether it has to hear what is known of its grants.
    pub(crate) owes_heard: bool,
    /// Whether our root is owed.
    pub(crate) open_root: bool,
    /// Uptime at which we open the next comparison of roots.
    pub(crate) next_root: Duration,
    /// Comparisons that were left out since the last one.
    skipped: u8,
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
            last: LastWord::default(),
            speaks_second: version >= SECOND,
            gapped: BTreeMap::new(),
            speaks_third: version >= THIRD,
            flow: Flow::new(Grants::ALL, Grants::ALL),
            one_way: OneWay::default(),
            owes_grants: false,
            owes_heard: false,
            open_root: false,
            next_root,
            skipped: 0,
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
        if self.tell(key) {
            self.dirty.add(key, since);
        }
    }

    /// Owes what the peer itself said it lacks, which is more exact than what we assumed.
    pub(crate) fn owe_exactly(&mut self, key: &Key, since: Since) {
        if self.tell(key) {
            self.dirty.set(key, since);
        }
    }

    /// Notes a change to announce.
    pub(crate) fn gather(&mut self, key: &Key, uptime: Duration) {
        if self.tell(key) {
            self.spread.gather(key, uptime);
        }
    }

    /// Whether the peer may be told of `key`; where it does not tell us in turn, it is asked for its word later.
    fn tell(&mut self, key: &Key) -> bool {
        if self.flow.tells(key) {
            self.one_way.open(key);
        }
        self.flow.sends(key)
    }

    /// What is here of `key` is not what it was. Our word of it is not given; and since no comparison of digests tells a
    /// peer that does not tell us in turn, it is asked for its own.
    pub(crate) fn doubt(&mut self, key: &Key) {
        self.stored.remove(key);
        self.one_way.forget_moot(key);
        if self.flow.tells(key) {
            self.one_way.open(key);
        }
    }

    /// Sets what the peer may do here; whether that changes anything. One that cannot be told may do nothing, if it may
    /// not do everything: it would compare all that it has with what it may see, for ever.
    pub(crate) fn permit(&mut self, grants: Grants) -> bool {
        let grants = if self.speaks_third || grants == Grants::ALL { grants } else { Grants::NONE };
        let changes = grants != *self.flow.mine();
        if changes {
            self.owes_grants = self.speaks_third;
            self.turn(Flow::new(grants, self.flow.theirs().clone()));
        }
        changes
    }

    /// Notes what may be done at the peer; whether that changes anything.
    pub(crate) fn learn(&mut self, grants: Grants) -> bool {
        let changes = self.speaks_third && grants != *self.flow.theirs();
        if changes {
            self.turn(Flow::new(self.flow.mine().clone(), grants));
        }
        changes
    }

    /// The peer knows the grants of this fingerprint as ours.
    pub(crate) fn is_known_as(&mut self, heard: u64) {
        self.owes_grants |= self.speaks_third && heard != fingerprint(self.flow.mine());
    }

    /// Whether digests can be compared with it.
    pub(crate) const fn compares(&self) -> bool {
        self.speaks_third || self.flow.is_all()
    }

    /// What does not flow any more is forgotten; what flows newly is found by asking and comparing.
    fn turn(&mut self, flow: Flow) {
        self.one_way.begin(!flow.out().is_empty());
        self.dirty.retain(|key| flow.sends(key));
        self.unsure.retain(|key| flow.sends(key));
        self.collected.retain(|key, _| flow.sends(key));
        self.last.retain(|key| flow.sends(key));
        self.wanted.retain(|key| flow.takes(key));
        self.stored.retain(|key, _| flow.takes(key));
        self.spread.retain(|key| flow.sends(key), |key| flow.takes(key));
        self.compare.clear();
        self.list.clear();
        self.flow = flow;
    }

    /// Lets time pass for what flows one way.
    pub(crate) fn pass_one_way(&mut self, uptime: Duration) {
        let is_busy = !(self.is_settled() && self.unsure.is_empty());
        self.unsure.extend(self.one_way.pass(uptime, is_busy).cloned());
    }

    /// Whether all that was found missing has been handed over, so that a comparison of roots tells something new.
    pub(crate) fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.wanted.is_empty() && self.list.is_empty() && self.compare.is_empty()
    }

    /// Whether a comparison of roots that is due tells something new. While content is on its way they differ for a known
    /// reason; but where it never ends, or takes long, what is missing for another reason must not wait for it.
    pub(crate) fn is_worth_comparing(&mut self) -> bool {
        let is_asking = !(self.wanted.is_empty() && self.list.is_empty() && self.compare.is_empty());
        let is_worth = self.compares() && !is_asking && (self.dirty.is_empty() || self.skipped >= MOST_SKIPPED);
        self.skipped = if is_worth { 0 } else { self.skipped.saturating_add(1) };
        is_worth
    }

    /// Whether a flush has anything to do for it.
    pub(crate) fn has_work(&self, uptime: Duration) -> bool {
        !self.is_settled()
            || self.open_root
            || !(self.collected.is_empty() && self.unsure.is_empty() && self.stored.is_empty())
            || self.last.due().is_some()
            || self.owes_grants
            || self.owes_heard
            || self.one_way.has_work(uptime)
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
        self.one_way.begin(!self.flow.out().is_empty());
    }

    /// Asks the peer whether it has stored `key` as it is here, once it was sent that. One that does not know the
    /// question is not asked.
    pub(crate) fn ask_whether_stored(&mut self, key: &Key) {
        if self.speaks_second && self.flow.sends(key) {
            self.unsure.insert(key.clone());
        }
    }

    /// The frame with this document at its end is the last that the peer was sent. One that cannot be asked is never
    /// asked.
    pub(crate) fn note_sent(&mut self, key: &Key) {
        if self.speaks_second {
            self.last.sent(key);
        }
    }

    /// Asks about what was sent last, once nothing more is to be sent.
    pub(crate) fn ask_about_last(&mut self) {
        if let Some(key) = self.last.due().filter(|key| self.dirty.is_empty() && self.flow.sends(key)) {
            self.unsure.insert(key.clone());
        }
    }

    /// Tells the peer that a delete it told of is collected here.
    pub(crate) fn tell_collected(&mut self, key: &Key, version: Version) {
        if self.speaks_second && self.flow.sends(key) {
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

    /// Content of this version came, with or without gaps. Whether the same version left some before: then the peer,
    /// which was asked, has no more of it either, and to ask again at once would never end.
    pub(crate) fn leaves_gaps_again(&mut self, key: &Key, version: Version, gaps: bool) -> bool {
        if !gaps {
            self.gapped.remove(key);
            return false;
        }
        if self.gapped.len() >= MOST_GAPPED {
            self.gapped.clear();
        }
        self.gapped.insert(key.clone(), version) == Some(version)
    }

    /// Both have the same of `key`, so neither owes the other anything of it.
    pub(crate) fn equal(&mut self, key: &Key) {
        self.dirty.remove(key);
        self.spread.equal(key);
    }
}
