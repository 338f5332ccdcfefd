//! Callers that wait until neighbours have stored a document.
//!
//! Purpose: "sent" is not "stored", so a neighbour is asked for its word. A question (`Confirm`) goes out behind the
//! content of its document and says what is here of it. A neighbour that has that much answers at once; one that has
//! not asks for the content, which is followed by the question again. Frames leave after the rows of their batch are on
//! disk, so the answer (`Confirmed`) means durable. A question without an answer is repeated. Inputs:
//! [`Input::Await`](crate::event::Input), answers, time; outputs: questions owed to neighbours, replies to callers.
//! What it does not do: send content. Writes that nobody waits for cost nothing here.

use super::MeshNode;
use super::receive::{rank, want};
use crate::docs::row::Have;
use crate::event::{Outputs, Quorum, Reply};
use crate::ids::{Key, PeerId, RequestId};
use crate::rows::Rows;
use crate::shelf::ShelfError;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A question without an answer is asked again after this long.
const REPEAT: Duration = Duration::from_secs(1);

/// Answers that may wait for one neighbour. It asks again for more.
const MOST_ANSWERS: usize = 1 << 14;

/// One caller and its document.
#[derive(Debug)]
struct Concern {
    request: RequestId,
    /// Counts callers: a question that was asked under this number or a later one is about what the caller wrote.
    number: u64,
    quorum: Quorum,
    until: Duration,
    stored: BTreeSet<PeerId>,
}

impl Concern {
    fn is_met(&self) -> bool {
        self.stored.len() >= self.quorum.peers && self.quorum.named.is_subset(&self.stored)
    }

    fn answer(&self, outputs: &mut Outputs) {
        let reply = Reply::Stored { peers: self.stored.len(), enough: self.is_met() };
        outputs.answers.push((self.request, Ok(reply)));
    }
}

/// All callers that wait.
#[derive(Debug, Default)]
pub(super) struct Concerns {
    waiting: BTreeMap<Key, Vec<Concern>>,
    number: u64,
    /// When questions are asked again; only of use while somebody waits.
    again: Duration,
    /// No caller's time is over before; as `again`. Ten thousand may wait, and not every input is to look at them.
    next: Duration,
}

impl Concerns {
    /// Under which a question goes out now, and no other.
    pub(super) const fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.waiting.keys()
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.waiting.contains_key(key)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(self.next.min(self.again))
    }

    fn push(&mut self, key: Key, concern: Concern) {
        self.next = if self.waiting.is_empty() { concern.until } else { self.next.min(concern.until) };
        self.waiting.entry(key).or_default().push(concern);
    }

    /// Answers those whose time is over.
    fn pass(&mut self, uptime: Duration, outputs: &mut Outputs) {
        if self.next > uptime {
            return;
        }
        self.waiting.retain(|_, concerns| {
            answer(concerns, outputs, |concern| concern.until <= uptime);
            !concerns.is_empty()
        });
        self.next = self.waiting.values().flatten().map(|concern| concern.until).min().unwrap_or_default();
    }

    /// `peer` gave its word of `key` to whoever waited when this number was the last.
    fn confirmed(&mut self, peer: PeerId, key: &Key, number: u64, outputs: &mut Outputs) {
        let Some(concerns) = self.waiting.get_mut(key) else { return };
        for concern in concerns.iter_mut().filter(|concern| concern.number <= number) {
            concern.stored.insert(peer);
        }
        answer(concerns, outputs, Concern::is_met);
        if concerns.is_empty() {
            self.waiting.remove(key);
        }
    }
}

/// Answers those for which `is_over` holds, and forgets them.
fn answer(concerns: &mut Vec<Concern>, outputs: &mut Outputs, is_over: impl Fn(&Concern) -> bool) {
    concerns.retain(|concern| {
        let over = is_over(concern);
        if over {
            concern.answer(outputs);
        }
        !over
    });
}

impl MeshNode {
    /// `limit`: from now on.
    pub(super) fn on_await(
        &mut self,
        (request, key): (RequestId, Key),
        quorum: Quorum,
        limit: Duration,
        uptime: Duration,
        outputs: &mut Outputs,
    ) {
        self.concerns.number += 1;
        let until = uptime.saturating_add(limit);
        let concern = Concern { request, number: self.concerns.number, quorum, until, stored: BTreeSet::new() };
        if concern.is_met() {
            return concern.answer(outputs);
        }
        if self.concerns.waiting.is_empty() {
            self.concerns.again = uptime + REPEAT;
        }
        self.neighbours.values_mut().for_each(|neighbour| neighbour.ask_whether_stored(&key));
        self.concerns.push(key, concern);
    }

    /// Ends what has waited long enough, and asks again.
    pub(super) fn pass_concerns(&mut self, uptime: Duration, outputs: &mut Outputs) {
        if self.concerns.waiting.is_empty() {
            return;
        }
        self.concerns.pass(uptime, outputs);
        if self.concerns.again > uptime {
            return;
        }
        self.concerns.again = uptime + REPEAT;
        for (peer, neighbour) in &mut self.neighbours {
            for (key, concerns) in &self.concerns.waiting {
                if concerns.iter().any(|concern| !concern.stored.contains(peer)) {
                    neighbour.ask_whether_stored(key);
                }
            }
        }
    }

    /// A neighbour wants to know whether this much is stored here.
    pub(super) fn on_confirm(
        &mut self,
        peer: PeerId,
        (key, number, theirs): (Key, u64, Have),
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<(), ShelfError> {
        let covered = self.covers(&key, &theirs, rows, outputs)?;
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(()) };
        if !covered && !neighbour.one_way.take_moot(&key, theirs.version()) {
            // Who leaves takes nothing in.
            if !self.leaves {
                want(neighbour, &key);
            }
        } else if neighbour.stored.len() < MOST_ANSWERS {
            neighbour.stored.insert(key, number);
        }
        Ok(())
    }

    /// A neighbour has stored what it was asked for.
    pub(super) fn on_confirmed(&mut self, peer: PeerId, answers: Vec<(Key, u64)>, outputs: &mut Outputs) {
        for (key, number) in answers {
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.one_way.confirmed(&key, number);
                neighbour.last.confirmed(&key, number);
            }
            self.concerns.confirmed(peer, &key, number, outputs);
        }
    }

    /// Whether the row that is here has everything that `theirs` has.
    pub(crate) fn covers(
        &mut self,
        key: &Key,
        theirs: &Have,
        rows: &dyn Rows,
        outputs: &Outputs,
    ) -> Result<bool, ShelfError> {
        let Some(ours) = self.shelf.have(key, rows, outputs)? else { return Ok(false) };
        Ok(match (&ours, theirs) {
            (ours, theirs) if ours == theirs => true,
            (Have::Full { life, .. }, Have::Full { heads, life: theirs }) => {
                let is_same = life.generation == theirs.generation;
                life.join(*theirs) == *life
                    && if is_same {
                        self.shelf.knows(key, heads, rows, outputs)?
                    } else {
                        self.shelf.has_taken(key, *life, *theirs, heads)
                    }
            }
            (ours, theirs) => rank(ours) >= rank(theirs),
        })
    }
}
