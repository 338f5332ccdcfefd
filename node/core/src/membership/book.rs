//! The peer book: one entry for each peer that somebody wants or that is connected.
//!
//! States of an entry: Idle (nobody wants it, or no address), Waiting (for the next dial), Dialing, Connected.
//! Two nodes that dial each other at once end up with two connections; both keep the one that the node with the smaller
//! id dialled, so they agree without a word.

use super::backoff::Backoff;
use super::view::{PeerState, PeerView};
use crate::event::{Address, CloseReason, DialFailure, Direction, Output, Reply, RequestError, Source};
use crate::ids::{ConnId, PeerId, RequestId};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Peers that calls may add: each is remembered until the node ends, wanted or kept away.
const MOST_BY_CALL: usize = 1_024;

/// A connection that lived this long clears its peer's failures.
const LIVED: Duration = Duration::from_secs(10);

/// How a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not wanted, or nowhere to dial. Left by a wish with an address, or by the peer's own dial.
    Idle,
    /// To be dialled at this uptime.
    Waiting(Duration),
    /// The shell dials. Left by its report.
    Dialing,
    /// Attached since this uptime. Left when the connection goes.
    Connected { conn: ConnId, direction: Direction, since: Duration },
}

#[derive(Debug)]
struct Peer {
    wishes: BTreeMap<Source, Vec<Address>>,
    state: State,
    banned: bool,
    backoff: Backoff,
    failure: Option<String>,
    /// An address came that the dial that is under way does not try.
    anew: bool,
    /// `ConnectPeer` calls that wait for this peer.
    waiting: Vec<RequestId>,
}

impl Peer {
    fn new() -> Self {
        Self {
            wishes: BTreeMap::new(),
            state: State::Idle,
            banned: false,
            backoff: Backoff::default(),
            failure: None,
            anew: false,
            waiting: Vec::new(),
        }
    }

    fn addresses(&self) -> Vec<Address> {
        let all: BTreeSet<&Address> = self.wishes.values().flatten().collect();
        all.into_iter().cloned().collect()
    }

    /// A dial that is under way does not try what is not among the addresses of before.
    fn note_new_since(&mut self, before: &[Address]) {
        self.anew |= self.state == State::Dialing && self.addresses().iter().any(|address| !before.contains(address));
    }

    fn shown(&self) -> PeerState {
        match self.state {
            State::Connected { direction, .. } => PeerState::Connected(direction),
            State::Idle | State::Waiting(_) | State::Dialing if self.banned => PeerState::Banned,
            State::Idle => PeerState::Idle,
            State::Waiting(at) => PeerState::Waiting(at),
            State::Dialing => PeerState::Dialing,
        }
    }

    /// Whether `ConnectPeer` or `DisconnectPeer` is why it is remembered.
    fn is_by_call(&self) -> bool {
        self.banned || self.wishes.contains_key(&Source::Api)
    }

    fn forgettable(&self) -> bool {
        self.wishes.is_empty() && !self.banned && self.waiting.is_empty() && self.state == State::Idle
    }
}

/// Answers to callers, appended by the book.
pub(crate) type Answers = Vec<(RequestId, Result<Reply, RequestError>)>;

/// All peers of one node.
#[derive(Debug)]
pub(crate) struct PeerBook {
    me: PeerId,
    peers: BTreeMap<PeerId, Peer>,
    revoked: BTreeSet<PeerId>,
}

/// What became of a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attach {
    /// It is the peer's connection now, in place of this one if there was one.
    Kept { replaces: Option<ConnId> },
    /// It is closed.
    Refused(CloseReason),
}

impl PeerBook {
    /// An empty book of node `me`.
    pub(crate) const fn new(me: PeerId) -> Self {
        Self { me, peers: BTreeMap::new(), revoked: BTreeSet::new() }
    }

    /// Notes that `source` wants `peer` at `addresses`; a new address is tried at once.
    pub(crate) fn want(&mut self, source: Source, peer: PeerId, addresses: Vec<Address>, uptime: Duration) {
        if peer == self.me || self.revoked.contains(&peer) {
            return;
        }
        let entry = self.peers.entry(peer).or_insert_with(Peer::new);
        let before = entry.addresses();
        entry.wishes.insert(source, addresses);
        let changed = entry.addresses() != before;
        entry.note_new_since(&before);
        if matches!(entry.state, State::Idle) || (changed && matches!(entry.state, State::Waiting(_))) {
            entry.state = State::Waiting(uptime);
        }
    }

    /// Notes that `source` no longer wants `peer`.
    pub(crate) fn unwant(&mut self, source: Source, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.wishes.remove(&source);
        if entry.wishes.is_empty() && matches!(entry.state, State::Waiting(_)) {
            entry.state = State::Idle;
        }
        self.forget(peer);
    }

    /// `ConnectPeer`: lifts a ban and answers when the peer is attached or the next dial fails.
    pub(crate) fn connect(
        &mut self,
        request: RequestId,
        peer: PeerId,
        addresses: Vec<Address>,
        uptime: Duration,
        answers: &mut Answers,
    ) {
        let known = self.peers.get(&peer).is_some_and(|entry| !entry.addresses().is_empty());
        let refusal = match () {
            () if peer == self.me => Some(RequestError::Own),
            () if self.revoked.contains(&peer) => Some(RequestError::Revoked(peer)),
            () if addresses.is_empty() && !known => Some(RequestError::NoAddress(peer)),
            () if self.is_one_too_many(&peer) => Some(RequestError::TooManyPeers { limit: MOST_BY_CALL }),
            () => None,
        };
        if let Some(refusal) = refusal {
            answers.push((request, Err(refusal)));
            return;
        }
        let entry = self.peers.entry(peer).or_insert_with(Peer::new);
        entry.banned = false;
        if !addresses.is_empty() {
            let before = entry.addresses();
            entry.wishes.insert(Source::Api, addresses);
            entry.note_new_since(&before);
        }
        match entry.state {
            State::Connected { .. } => answers.push((request, Ok(Reply::Done))),
            State::Dialing => entry.waiting.push(request),
            State::Idle | State::Waiting(_) => {
                entry.waiting.push(request);
                entry.state = State::Waiting(uptime);
            }
        }
    }

    /// `DisconnectPeer`: returns the connection to close. The peer stays away until the next `connect`, also one that
    /// nobody has heard of yet.
    pub(crate) fn disconnect(&mut self, peer: PeerId, answers: &mut Answers) -> Result<Option<ConnId>, RequestError> {
        if self.is_one_too_many(&peer) {
            return Err(RequestError::TooManyPeers { limit: MOST_BY_CALL });
        }
        let entry = self.peers.entry(peer).or_insert_with(Peer::new);
        entry.banned = true;
        Ok(Self::close(peer, entry, "disconnected by request", answers))
    }

    /// Whether a call names a new peer where calls have named enough. One that is here for another reason may always be
    /// named: its like are as many as the mesh has.
    fn is_one_too_many(&self, peer: &PeerId) -> bool {
        let by_call = || self.peers.values().filter(|entry| entry.is_by_call()).count();
        !self.peers.contains_key(peer) && by_call() >= MOST_BY_CALL
    }

    /// Refuses these peers until they are reinstated; returns the connections to close.
    pub(crate) fn revoke(&mut self, peers: BTreeSet<PeerId>, answers: &mut Answers) -> Vec<(PeerId, ConnId)> {
        let mut closed = Vec::new();
        for peer in peers {
            self.revoked.insert(peer);
            let Some(entry) = self.peers.get_mut(&peer) else { continue };
            closed.extend(Self::close(peer, entry, "revoked", answers).map(|conn| (peer, conn)));
            // Wishes go, a ban stays: it holds until `connect`, also for a peer that comes back.
            entry.wishes.clear();
            self.forget(peer);
        }
        closed
    }

    /// Refuses these peers no longer. Whoever wants one says so anew.
    pub(crate) fn reinstate(&mut self, peers: &BTreeSet<PeerId>) {
        self.revoked.retain(|peer| !peers.contains(peer));
    }

    fn close(peer: PeerId, entry: &mut Peer, reason: &str, answers: &mut Answers) -> Option<ConnId> {
        let conn = match entry.state {
            State::Connected { conn, .. } => Some(conn),
            State::Idle | State::Waiting(_) | State::Dialing => None,
        };
        entry.state = State::Idle;
        let reason = reason.to_owned();
        answers.extend(
            entry
                .waiting
                .drain(..)
                .map(|request| (request, Err(RequestError::Unreachable { peer, reason: reason.clone() }))),
        );
        conn
    }

    /// A connection is up and authenticated.
    pub(crate) fn connected(
        &mut self,
        conn: ConnId,
        peer: PeerId,
        direction: Direction,
        uptime: Duration,
        answers: &mut Answers,
    ) -> Attach {
        if self.revoked.contains(&peer) {
            return Attach::Refused(CloseReason::Revoked);
        }
        let smaller_is_me = self.me < peer;
        let entry = self.peers.entry(peer).or_insert_with(Peer::new);
        if entry.banned {
            return Attach::Refused(CloseReason::Requested);
        }
        let replaces = match entry.state {
            State::Connected { conn: old, direction: was, since } => {
                let smaller_dialled = (direction == Direction::Out) == smaller_is_me;
                // Both dialled at once, if the old one is young; else the peer has lost it and we have not noticed yet.
                let at_once = uptime.saturating_sub(since) < LIVED;
                if at_once && direction != was && !smaller_dialled {
                    return Attach::Refused(CloseReason::Duplicate);
                }
                Some(old)
            }
            State::Idle | State::Waiting(_) | State::Dialing => None,
        };
        entry.state = State::Connected { conn, direction, since: uptime };
        entry.failure = None;
        answers.extend(entry.waiting.drain(..).map(|request| (request, Ok(Reply::Done))));
        Attach::Kept { replaces }
    }

    /// A connection is gone. Returns whether it was the peer's.
    pub(crate) fn disconnected(&mut self, conn: ConnId, peer: PeerId, uptime: Duration, rng: &mut impl Rng) -> bool {
        let Some(entry) = self.peers.get_mut(&peer) else { return false };
        let State::Connected { conn: current, since, .. } = entry.state else { return false };
        if current != conn {
            return false;
        }
        if uptime.saturating_sub(since) >= LIVED {
            entry.backoff.lost(uptime);
        } else {
            // It is there, and did not want to stay.
            entry.backoff.refused();
        }
        Self::retry(entry, uptime, rng);
        self.forget(peer);
        true
    }

    /// A dial failed.
    pub(crate) fn dial_failed(
        &mut self,
        peer: PeerId,
        failure: DialFailure,
        uptime: Duration,
        rng: &mut impl Rng,
        answers: &mut Answers,
    ) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if entry.state != State::Dialing {
            return;
        }
        if std::mem::take(&mut entry.anew) && !entry.banned && !entry.addresses().is_empty() {
            // Whoever named the address waits for what becomes of that.
            entry.state = State::Waiting(uptime);
            return;
        }
        let error = match &failure {
            DialFailure::Unreachable(reason) => RequestError::Unreachable { peer, reason: reason.clone() },
            DialFailure::Refused(reason) => {
                entry.backoff.refused();
                RequestError::Refused { peer, reason: reason.clone() }
            }
        };
        answers.extend(entry.waiting.drain(..).map(|request| (request, Err(error.clone()))));
        entry.failure = Some(failure.to_string());
        Self::retry(entry, uptime, rng);
        self.forget(peer);
    }

    fn retry(entry: &mut Peer, uptime: Duration, rng: &mut impl Rng) {
        let wanted = !entry.banned && !entry.addresses().is_empty();
        entry.state = if wanted { State::Waiting(uptime + entry.backoff.fail(uptime, rng)) } else { State::Idle };
    }

    /// Dials that are due.
    pub(crate) fn due(&mut self, uptime: Duration) -> Vec<Output> {
        let mut dials = Vec::new();
        for (&peer, entry) in &mut self.peers {
            let State::Waiting(at) = entry.state else { continue };
            if at > uptime {
                continue;
            }
            let addresses = entry.addresses();
            if entry.banned || addresses.is_empty() {
                entry.state = State::Idle;
                continue;
            }
            (entry.state, entry.anew) = (State::Dialing, false);
            dials.push(Output::Dial { peer, addresses, patience: entry.backoff.patience(uptime) });
        }
        dials
    }

    /// Uptime of the next dial.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.peers
            .values()
            .filter_map(|entry| match entry.state {
                State::Waiting(at) => Some(at),
                State::Idle | State::Dialing | State::Connected { .. } => None,
            })
            .min()
    }

    /// Whether any source wants `peer`.
    pub(crate) fn knows(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|entry| !entry.wishes.is_empty())
    }

    /// The live connection of `peer`.
    pub(crate) fn connection(&self, peer: &PeerId) -> Option<ConnId> {
        match self.peers.get(peer)?.state {
            State::Connected { conn, .. } => Some(conn),
            State::Idle | State::Waiting(_) | State::Dialing => None,
        }
    }

    /// Every peer, by id.
    pub(crate) fn views(&self) -> impl Iterator<Item = PeerView> {
        self.peers.iter().map(|(&peer, entry)| PeerView {
            peer,
            addresses: entry.addresses(),
            connected: self.connection(&peer),
            sources: entry.wishes.keys().copied().collect(),
            state: entry.shown(),
            failures: entry.backoff.failures(),
            failure: entry.failure.clone(),
            backlog: 0,
            unconfirmed: false,
        })
    }

    fn forget(&mut self, peer: PeerId) {
        if self.peers.get(&peer).is_some_and(Peer::forgettable) {
            self.peers.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests;
